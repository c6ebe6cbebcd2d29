"""Names of a workspace, packed: found as by a plain look at each, and the same however they came about."""

import random

import pytest

from api.report import names
from api.report.names import Names, found_in, packed_names, updated, users_of
from stream.model.steps import finish
from stream.storage.keys import format_label

LABELS = [None, "", "Ada", "ADA", "ada", "Zoë", "ẞ", "İstanbul", "a\nb", "张伟", "x" * 300, " ", "1 2 3 4 1x"]


def fields_of(rng: random.Random, users: int) -> dict[bytes, bytes]:
    found = {f"u:{rng.choice('aBcü')}{i}\n".encode(): label(rng) for i in range(users)}
    return {b"u:": b"", b"s:": b"", b"s:shop": b"", **found}


def label(rng: random.Random) -> bytes:
    return format_label(rng.randrange(2**60), 0, rng.randrange(99), rng.choice(LABELS)).encode()


def plain(fields: dict[bytes, bytes], wanted: str) -> list[tuple[str, str | None]]:
    users = []
    for name, value in fields.items():
        if name.startswith(b"u:") and name != b"u:":
            text = value.decode().split(" ", 4)[4]
            users.append((name[2:].decode(), text[1:] if text[0] == "1" else None))
    users.sort(key=lambda user: ((user[1] or user[0]).casefold(), user[0]))
    return [(user, name) for user, name in users if wanted in user.casefold() or wanted in (name or "").casefold()]


def looked_up(of: Names, wanted: str) -> list[tuple[str, str | None]]:
    return [users_of(block)[place] for block in of.blocks for place in found_in(block, wanted)]


@pytest.mark.parametrize("users", [0, 1, 7, 40, 300])
def test_what_is_found_is_what_a_plain_look_finds(monkeypatch: pytest.MonkeyPatch, users: int) -> None:
    monkeypatch.setattr(names, "BLOCK_USERS", 8)
    monkeypatch.setattr(names, "USERS_A_PIECE", 30)
    fields = fields_of(random.Random(users), users)
    packed = finish(packed_names(fields))
    assert packed.users == users
    assert packed.sources == {"", "shop"}
    for wanted in ("", "ada", "ss", "1", "\n", "b\n", "a\nb", "张", "i̇", "nobody"):
        assert looked_up(packed, wanted) == plain(fields, wanted), wanted


@pytest.mark.parametrize("seed", range(6))
def test_what_is_updated_is_what_is_packed_anew(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(names, "BLOCK_USERS", 8)
    monkeypatch.setattr(names, "USERS_A_PIECE", 30)
    monkeypatch.setattr(names, "MOST_CHANGES", 12)
    rng = random.Random(seed)
    fields = fields_of(rng, 60)
    packed = finish(packed_names(fields))
    for step in range(40):
        # Given some labels of another time, some of another text, new users and sources, and now and then one less
        fields = dict(fields)
        for name in rng.sample(
            [name for name in fields if name[:2] == b"u:" and name != b"u:"], rng.choice([1, 5, 30])
        ):
            fields[name] = label(rng)
        for i in range(rng.choice([0, 1, 20])):
            fields[f"u:new{step}.{i}".encode()] = label(rng)
        if rng.random() < 0.3:
            fields[f"s:{step}".encode()] = b""
        if rng.random() < 0.2:
            del fields[rng.choice([name for name in fields if name.startswith(b"u:new")] or [b"u:"])]
            fields.setdefault(b"u:", b"")
        # When the names are updated, then they are those of the fields
        packed = finish(updated(packed, fields))
        anew = finish(packed_names(fields))
        assert looked_up(packed, "") == looked_up(anew, "") == plain(fields, "")
        assert looked_up(packed, "ada") == plain(fields, "ada")
        assert packed.sources == anew.sources
        assert len(packed.digests) == len(fields)


def test_names_of_which_only_the_time_moved_stay_the_same_object() -> None:
    fields = {f"u:{i}".encode(): format_label(i, 0, i, f"User {i}").encode() for i in range(5_000)}
    packed = finish(packed_names(fields))
    later = {name: value.replace(b" 0 ", b" 7 ", 1) for name, value in fields.items()}
    assert finish(updated(packed, later)) is packed


def test_they_tell_what_they_take() -> None:
    fields = {f"u:user-{i}".encode(): format_label(i, 0, i, f"Member {i}").encode() for i in range(20_000)}
    packed = finish(packed_names(fields))
    texts = sum(len(block.shown) + len(block.folded) for block in packed.blocks)
    assert texts + 8 * 20_000 < packed.size_bytes < 90 * 20_000
