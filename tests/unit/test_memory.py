"""What is remembered, for how long, and how it is counted."""

import ast
import random
from pathlib import Path

from api.cache import ENTRY_BYTES, Memory

SIZE = ENTRY_BYTES + 101


def test_it_keeps_its_limit_and_forgets_the_longest_unused() -> None:
    memory = Memory(3 * SIZE)
    for name in "abc":
        memory.put(name, name, 101)
    assert memory.get("a") == "a"
    memory.put("d", "d", 101)
    assert [memory.get(name) for name in "abcd"] == ["a", None, "c", "d"]
    assert (memory.hits, memory.misses) == (4, 1)
    memory.put("a", "A", 151)
    assert memory.bytes <= memory.limit_bytes
    assert memory.get("a") == "A"
    memory.put("huge", "x", 10_000)
    assert memory.get("huge") is None
    assert memory.bytes <= memory.limit_bytes


def test_what_several_share_counts_once_as_long_as_one_is_there() -> None:
    memory = Memory(100 * SIZE)
    table = ("t",) * 10

    def size_of(_table: tuple[str, ...]) -> int:
        return 5_000

    for name in "ab":
        memory.put(name, name, 101, shared=[(table, size_of)])
    assert memory.bytes == 2 * SIZE + 5_000
    memory.put("a", "without", 101)
    assert memory.bytes == 2 * SIZE + 5_000
    memory.forget("b")
    assert memory.bytes == SIZE
    memory.forget("a")
    assert (memory.bytes, memory._shared, len(memory._entries)) == (0, {}, 0)


def test_what_several_share_takes_what_was_told_of_it_last() -> None:
    memory = Memory(10 * SIZE)
    table = ("t",)
    for name in "ab":
        memory.put(name, name, 101, shared=[(table, len)])
    for size in (3_000, 3_000, 2_000):
        memory.resize(table, size)
        assert memory.bytes == 2 * SIZE + size
    # Others make room for it, and what nobody holds is not counted
    memory.resize(table, 9 * SIZE)
    assert [memory.get(name) for name in "ab"] == [None, "b"]
    memory.forget("b")
    memory.resize(table, 3_000)
    assert memory.bytes == 0


def test_a_value_is_renewed_where_one_is_that_shares_the_same() -> None:
    memory = Memory(10 * SIZE)
    one, other = ("t",), ("o",)
    for name in "ab":
        memory.put(name, name, 101, [(one, len)])
    assert memory.renew("a", "A", 201, one)
    assert (memory.get("a"), memory.bytes) == ("A", 2 * SIZE + 100 + 1)
    # It is the last one that was used
    memory.hold(8 * SIZE - 1)
    assert (memory.get("b"), memory.get("a")) == (None, "A")
    # What is not there, shares something else, or is too large by now is put anew
    assert not memory.renew("b", "B", 1, one)
    assert not memory.renew("a", "B", 1, other)
    assert not memory.renew("a", "B", 20 * SIZE, one)
    assert (memory.get("a"), memory.bytes) == ("A", SIZE + 100 + 1)


def test_what_is_in_use_leaves_less_for_the_rest() -> None:
    memory = Memory(10 * SIZE)
    for name in "abcdefghij":
        memory.put(name, name, 101)
    memory.hold(8 * SIZE)
    assert [name for name in "abcdefghij" if memory.get(name)] == ["i", "j"]
    memory.hold(100 * SIZE)
    assert memory.bytes == 0
    memory.hold(-108 * SIZE)
    assert memory.held_bytes == 0


def test_it_counts_the_same_whatever_happens() -> None:
    rng = random.Random(1)
    memory = Memory(50 * SIZE)
    tables = [(str(number),) for number in range(5)]
    for _ in range(5_000):
        key, size = rng.randint(0, 100), rng.randint(0, 5_000)
        shared = [(table, lambda _: 3_000) for table in rng.sample(tables, rng.randint(0, 3))]
        if rng.random() < 0.5 or not memory.renew(key, "y", 3 * size, rng.choice(tables)):
            memory.put(key, "x", size, shared)
        assert memory.bytes <= memory.limit_bytes
        entries = memory._entries.values()
        held = {id(table) for *_, tables_of in entries for table in tables_of}
        assert memory.bytes == sum(size for _, size, _ in entries) + 3_000 * len(held)


FIXED = {
    "formats._recall": (256, 1_000),
    "query/periods.day_start": (8_192, 400),
    "query/periods.quarter_text": (2_048, 400),
    "query/periods.bucket_bounds": (32, 50_000),
    "query/periods.utc_text": (64, 300),
    "query/periods._second_text": (64, 300),
    "query/earlier._lay_buckets": (32, 50_000),
    "read/freshness._digest": (64, 40_000),
    "read/manifests._wording": (128, 60_000),
    "routes._timezones": (1, 20_000),
}
"""Tables outside the memory: their entries, and the bytes of the largest."""


def test_other_tables_are_few_and_small() -> None:
    """Whatever has no limit in bytes is listed, with a limit that follows from what may be in it."""
    api = Path(__file__).parents[2] / "api"
    found = {}
    for path in api.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "lru_cache":
                    name = f"{path.relative_to(api).with_suffix('').as_posix()}.{node.name}"
                    found[name] = ast.literal_eval(decorator.keywords[0].value)
    assert found == {name: entries for name, (entries, _) in FIXED.items()}
    assert sum(entries * size for entries, size in FIXED.values()) < 20_000_000
