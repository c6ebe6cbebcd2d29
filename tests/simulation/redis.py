"""A model Redis: the script of stream/projection/replica.lua once more in Python, and every state that ever was.

A state is a mapping that is never changed, nor are its values; a call makes a new one that shares what it leaves
alone. So each state can be restored, and
two are compared by what is not the same object. tests/contract/test_model_redis.py holds `run` to the script on a
real Redis.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

State = Mapping[bytes, Mapping[bytes, bytes]]
"""Hashes as field -> value; sorted sets (here all of score 0) as member -> b"0"."""

LABEL = re.compile(rb"(\d+) (\d+) (\d+) (\d+) ([01])")
KEPT_FROM = re.compile(rb" \d+$")
"""What stream/projection/row_retention.py puts behind a workspace's version."""
PART = re.compile(rb"(\d+):")
FORGOTTEN = re.compile(rb"\d+\.(position|token|copied)")


def as_bytes(value: Any) -> bytes:
    """As redis-py sends it."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else str(value).encode()


class Writing:
    """One call: reads and changes a copy of what it touches."""

    def __init__(self, state: State) -> None:
        self.state: dict[bytes, Any] = dict(state)
        self.touched: set[bytes] = set()

    def get(self, key: bytes, field: bytes) -> bytes | None:
        return self.state.get(key, {}).get(field)

    def of(self, key: bytes) -> dict[bytes, bytes]:
        if key not in self.touched:
            self.touched.add(key)
            self.state[key] = dict(self.state.get(key, {}))
        return self.state[key]

    def unlink(self, key: bytes) -> None:
        self.touched.add(key)
        self.state[key] = {}

    def done(self) -> State:
        for key in self.touched:
            if not self.state[key]:
                del self.state[key]
        return self.state


def run(state: State, keys: Sequence[bytes], argv: Sequence[bytes], now_ms: int = 0) -> tuple[Any, State]:
    """The answer of the script at a time, and the state after it."""
    writing = Writing(state)
    answer: Any
    if argv[0] == b"claim":
        answer = _claim(writing, keys[0], argv, now_ms)
    elif argv[0] == b"evicted":
        answer = _evicted(writing, keys[0], argv)
    elif argv[0] == b"lost":
        answer = _lost(writing, keys[0], argv, now_ms // 1000)
    else:
        answer = _project(writing, keys, argv, now_ms)
    return answer, writing.done()


def _evicted(writing: Writing, positions: bytes, argv: Sequence[bytes]) -> int:
    _, run_id, count, policy = argv
    held = writing.of(positions)
    before_run, before_count, before_policy = held.get(b"evicted", b"- 0 unknown").split(b" ")
    if policy.startswith(b"allkeys"):
        held[b"evicted"] = b" ".join((before_run, before_count, policy))
        return 0
    held[b"evicted"] = b" ".join((run_id, count, policy))
    since = int(before_count) if run_id == before_run else 0
    of_others = policy.startswith(b"volatile") and before_policy.startswith(b"volatile")
    if int(count) <= since or of_others:
        return 0
    return _forget_positions(held)


def _lost(writing: Writing, positions: bytes, argv: Sequence[bytes], now: int) -> int:
    held = writing.of(positions)
    least, most = int(argv[1]), int(argv[2])
    since, wait = now - int(held.get(b"lost", b"0")), int(held.get(b"lost_wait", b"0"))
    if 0 <= since < wait:
        return 0
    wait = min(2 * wait, most) if 0 <= since < 4 * wait else least
    held |= {b"lost": b"%d" % now, b"lost_wait": b"%d" % wait}
    return _forget_positions(held)


def _forget_positions(held: dict[bytes, bytes]) -> int:
    for field in [f for f in held if FORGOTTEN.fullmatch(f)]:
        del held[field]
    return 1


def _claim(writing: Writing, positions: bytes, argv: Sequence[bytes], now_ms: int) -> list[Any]:
    _, partition, incarnation, fencing_token = argv
    stored = writing.get(positions, partition + b".history")
    if stored is not None and stored != incarnation:
        return [0, stored]
    held = writing.of(positions)
    held |= {partition + b".history": incarnation, partition + b".token": fencing_token, partition + b".number": b"0"}
    told = [held.get(partition + name, b"") for name in (b".position", b".owed", b".as_of", b".copied")]
    return [1, *told[:3], now_ms, told[3]]


def _project(writing: Writing, keys: Sequence[bytes], argv: Sequence[bytes], now_ms: int) -> int:
    _, partition, fencing_token, sequence_number, version, _channel, _message, as_of, partitions, n = argv[:10]
    positions = keys[0]
    if writing.get(positions, partition + b".token") != fencing_token:
        return 0
    if int(writing.get(positions, partition + b".number") or b"0") != int(sequence_number) - 1:
        return 0
    fields_end = 10 + 2 * int(n)
    if not _operations(writing, keys, argv, fields_end, partition, version):
        _forget_positions(writing.of(positions))
        return 0
    mine = writing.of(positions)
    if as_of:
        stored = int(mine.get(partition + b".as_of", b"-1"))
        if stored < int(as_of) or stored > now_ms:
            mine[partition + b".as_of"] = as_of
    if partitions and int(mine.get(b"partitions", b"-1")) < int(partitions):
        mine[b"partitions"] = partitions
    fields = dict(zip(argv[10:fields_end:2], argv[11:fields_end:2], strict=True))
    moved = fields.get(partition + b".moved")
    if moved is not None and int(moved) > now_ms:
        fields[partition + b".moved"] = b"%d" % now_ms
    mine.update(fields)
    mine[partition + b".number"] = sequence_number
    return now_ms


def _operations(
    writing: Writing, keys: Sequence[bytes], argv: Sequence[bytes], at: int, partition: bytes, version: bytes
) -> bool:
    """False where a key was missed."""
    while at < len(argv):
        op, key = argv[at], keys[int(argv[at + 1]) - 1]
        if op == b"h":
            n = 2 * int(argv[at + 2])
            writing.of(key).update(zip(argv[at + 3 : at + 3 + n : 2], argv[at + 4 : at + 3 + n : 2], strict=True))
            at += 3 + n
        elif op == b"d":
            n = 2 * int(argv[at + 2])
            for day, segment in zip(argv[at + 3 : at + 3 + n : 2], argv[at + 4 : at + 3 + n : 2], strict=True):
                _manifest(writing, key, day, segment, partition, version)
            at += 3 + n
        elif op == b"w":
            days, workspace = keys[int(argv[at + 2]) - 1], argv[at + 3]
            is_new, stored = writing.get(key, workspace) is None, writing.get(days, b"all")
            writing.of(key)[workspace] = b"0"
            if is_new == (stored is not None) and writing.get(keys[0], partition + b".position") is not None:
                return False
            kept = KEPT_FROM.search(stored or b"")
            writing.of(days)[b"all"] = version + (kept[0] if kept else b"")
            at += 4
        elif op == b"z":
            n = int(argv[at + 2])
            writing.of(key).update(dict.fromkeys(argv[at + 3 : at + 3 + n], b"0"))
            at += 3 + n
        elif op == b"r":
            first, n = int(argv[at + 1]) - 1, int(argv[at + 2])
            for key, member in zip(keys[first : first + n], argv[at + 3 : at + 3 + n], strict=True):
                writing.of(key)[member] = b"0"
            at += 3 + n
        elif op == b"l":
            n = 2 * int(argv[at + 2])
            labels = writing.of(key)
            for field, value in zip(argv[at + 3 : at + 3 + n : 2], argv[at + 4 : at + 3 + n : 2], strict=True):
                if _later(value, labels.get(field)):
                    labels[field] = value
            at += 3 + n
        elif op == b"x":
            n = int(argv[at + 2])
            held = writing.of(key)
            for field in argv[at + 3 : at + 3 + n]:
                held.pop(field, None)
            at += 3 + n
        elif op == b"u":
            writing.unlink(key)
            at += 2
        else:
            raise AssertionError(f"unknown operation {op!r}")
    return True


def _later(new: bytes, old: bytes | None) -> bool:
    if old is None:
        return True
    a, b = LABEL.match(new), LABEL.match(old)
    assert a is not None, new
    assert b is not None, old
    if a[5] != b[5]:
        return a[5] == b"1"
    return tuple(map(int, a.groups()[:4])) >= tuple(map(int, b.groups()[:4]))


def _manifest(writing: Writing, key: bytes, day: bytes, segment: bytes, partition: bytes, version: bytes) -> None:
    parts = [segment] if segment else []
    stored = writing.get(key, day)
    if stored is not None:
        others = stored.split(b" ")[1:]
        parts += [part for part in others if PART.match(part)[1] != partition]  # type: ignore[index]
    if parts:
        parts.sort(key=lambda part: int(PART.match(part)[1]))  # type: ignore[index]
        writing.of(key)[day] = b" ".join([version, *parts])
    else:
        writing.of(key).pop(day, None)


class ModelRedis:
    """The server: one state now, and all that were."""

    def __init__(self) -> None:
        self.state: State = {}
        self.states: list[State] = [self.state]
        self.away = False
        self.policy = "noeviction"
        self.was_volatile = False
        """Whether it had, or is about to have, a policy that takes only keys that expire."""
        self.evicted_keys = 0
        self.said_ahead: set[int] = set()
        """What was once put into `as_of`, and was not true: when its time has come nobody can tell any more."""
        self.clock_ms: Callable[[], int] = lambda: 0
        self.generation = 0
        """How often it was restored or emptied: what was on its way before may be cut off then."""
        self.on_write: Callable[[State, State, Sequence[bytes]], None] | None = None
        self.on_restore: Callable[[], None] | None = None

    def run(self, keys: Sequence[bytes], argv: Sequence[bytes]) -> Any:
        before = self.state
        answer, self.state = run(before, keys, argv, self.clock_ms())
        if answer != 0:
            self.states.append(self.state)
            if self.on_write is not None:
                self.on_write(before, self.state, argv)
        return answer

    def announce(self, key: bytes, partitions: int, begun: Sequence[int]) -> int:
        held = self.state.get(key, {})
        known = int(held.get(b"partitions", b"0"))
        if any(b"%d.position" % partition not in held for partition in begun):
            return -1
        if partitions > known:
            self._put_partitions(key, partitions)
        return known

    def withdraw(self, key: bytes, announced: int, partitions: int) -> int:
        if self.state.get(key, {}).get(b"partitions") != b"%d" % announced:
            return 0
        self._put_partitions(key, partitions)
        return 1

    def _put_partitions(self, key: bytes, partitions: int) -> None:
        before = self.state
        self.state = {**before, key: {**before.get(key, {}), b"partitions": b"%d" % partitions}}
        self.states.append(self.state)
        if self.on_write is not None:
            self.on_write(before, self.state, [b"partitions"])

    def evict(self, keys: Sequence[bytes]) -> None:
        """Keys go, and nobody is told."""
        self.state = {key: value for key, value in self.state.items() if key not in keys}
        self.states.append(self.state)
        self.evicted_keys += len(keys)

    def restore(self, state: State) -> None:
        self.state = state
        self.states.append(state)
        self.generation += 1
        if self.on_restore is not None:
            self.on_restore()
