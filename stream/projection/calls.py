"""Cuts a commit, or a whole state, into calls to Redis: each of bounded size, each day aggregate whole within one.

A day aggregate's base and delta speak of each other (the delta goes on with the base's numbers), so they never travel
apart. Rows come with the day aggregate that counts
them; where they alone are more than a call may hold they go ahead of it, since a row may wait for its count and never
the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import attrgetter, itemgetter

from stream.ports import Call
from stream.storage.keys import Keys, format_label, format_segment
from stream.tables.commit import AggregateChange, Commit, NameChanges, NamesAfter, UserName

# One call holds the server for half a millisecond at this size (of rows, the dearest kind, in 300 members). What a call
# is made of lies in Redis four times while it is done: as it came, as arguments, and for Lua and in commands. Of 64,000
# bytes that stays in a cache; of 200,000 it takes an eighth more CPU, and of 30,000 what a call takes as such is more.
CALL_BYTES = 64_000
# Lua's unpack takes some 8,000 values; one operation never has more than this many.
OPERATION_LIMIT = 2_000
# Of a day aggregate, beside its parts and its rows, about.
AGGREGATE_BYTES = 200
# Of a label and whence it is, about; more where it is long.
NAME_BYTES = 400


class Calls:
    """Operations gathered into calls. A call is closed where the next thing would make it too large: what adds things
    yields the calls that are closed before them."""

    def __init__(self, keys: Keys, partition: int) -> None:
        self._keys, self._partition = keys, partition
        self._begin()

    def _begin(self) -> None:
        self._call = Call(keys=[], operations=[], workspaces=[], fields={})
        self._numbers: dict[str, int] = {}
        """Of the keys, as the script has them."""
        self._bytes = 0
        self._workspace = ""
        """The one that was touched last."""
        self._gathered: dict[tuple[str, int], list[str | bytes]] = {}
        """Pairs of values of its operations, by name and number of the key, that are not in the call yet."""
        self._lone_rows: list[tuple[str, bytes]] = []
        """Its keys that get one row each, of which the call knows nothing yet, and that row."""

    def close(self) -> Call:
        self._leave_workspace()
        call = self._call
        self._begin()
        return call

    def aggregate(self, change: AggregateChange) -> Iterator[Call]:
        """A day aggregate, and its rows in the same call; ahead of it where both are too large for one."""
        of_bases = sum(len(part) for _, *parts in change.bases for part in parts)
        size = AGGREGATE_BYTES + of_bases + len(change.delta or b"")
        size_of_rows = sum(map(len, change.rows))
        if size_of_rows + size > CALL_BYTES:
            yield from self.rows(change.workspace_id, change.day, change.rows)
            yield from self._make_room(size)
        else:
            yield from self._make_room(size_of_rows + size)
            self._add_rows(change.workspace_id, change.day, change.rows)
        self._add_aggregate(change)

    def rows(self, workspace: str, day: int, rows: Sequence[bytes]) -> Iterator[Call]:
        """Rows alone, half a call at a time."""
        part: list[bytes] = []
        size = 0
        for row in rows:
            if size + len(row) > CALL_BYTES // 2:
                yield from self._make_room(size)
                self._add_rows(workspace, day, part)
                part, size = [], 0
            part.append(row)
            size += len(row)
        yield from self._make_room(size)
        self._add_rows(workspace, day, part)

    def names(self, changes: NameChanges) -> Iterator[Call]:
        for user in sorted(changes.users, key=attrgetter("workspace_id")):
            yield from self.label(user)
        for name in sorted(changes.sources, key=attrgetter("workspace_id")):
            yield from self._make_room(NAME_BYTES)
            self._touch(name.workspace_id)
            self._gather("h", self._keys.names(name.workspace_id), self._keys.source_field(name.source), "")

    def label(self, user: UserName) -> Iterator[Call]:
        yield from self._make_room(NAME_BYTES)
        self._touch(user.workspace_id)
        label = format_label(user.occurred_at, self._partition, user.offset, user.label)
        self._gather("l", self._keys.names(user.workspace_id), self._keys.user_field(user.user_id), label)

    def _make_room(self, size: int) -> Iterator[Call]:
        """Closes the call, and yields it, where about this many more bytes would make it too large."""
        if self._bytes and self._bytes + size > CALL_BYTES:
            yield self.close()
        self._bytes += size

    def _add_rows(self, workspace: str, day: int, rows: Sequence[bytes]) -> None:
        if not rows:
            return
        self._touch(workspace)
        key = self._keys.rows(workspace, day)
        if len(rows) == 1:
            self._lone_rows.append((key, rows[0]))
        else:
            self._add("z", key, rows)

    def _add_aggregate(self, change: AggregateChange) -> None:
        workspace, day, partition = change.workspace_id, change.day, self._partition
        self._touch(workspace)
        days, cells = self._keys.days(workspace), self._keys.cells(workspace, day)
        delta = self._keys.delta_field(day, partition)
        if change.dropped:
            self._add("x", cells, self._keys.aggregate_fields(day, partition, change.base_count))
            self._gather("d", days, str(day), "")
            self._operation("u", self._keys.rows(workspace, day))
            return
        for number, *parts in change.bases:
            for field, part in zip(self._keys.base_fields(day, partition, number), parts, strict=True):
                self._gather("h", cells, field, part)
        if change.delta is None:
            self._add("x", cells, [delta])
        else:
            self._gather("h", cells, delta, change.delta)
        self._gather("d", days, str(day), format_segment(partition, change.base_count))

    def _touch(self, workspace: str) -> None:
        """Once a call and workspace: it is listed, and has changed."""
        if workspace != self._workspace:
            self._leave_workspace()
            self._workspace = workspace
        days = self._keys.days(workspace)
        if days not in self._numbers:
            self._call.workspaces.append(workspace)
            self._operation("w", self._keys.workspaces, self._number(days), workspace)

    def _gather(self, name: str, key: str, field: str, value: str | bytes) -> None:
        """Add a pair to the operation of a key of the workspace. It goes into the call when it is full, or all of the
        workspace is there: one command of Redis for all days that lie in one hash costs little more than for one.
        """
        operation = name, self._number(key)
        pairs = self._gathered.setdefault(operation, [])
        pairs += (field, value)
        if len(pairs) + 2 > OPERATION_LIMIT:
            self._send(operation, pairs)

    def _leave_workspace(self) -> None:
        for operation, pairs in self._gathered.items():
            if pairs:
                self._send(operation, pairs)
        self._gathered.clear()
        if self._lone_rows:
            first = len(self._call.keys) + 2
            self._call.keys += (key for key, _ in self._lone_rows)
            self._call.operations += ("r", first, len(self._lone_rows), *(row for _, row in self._lone_rows))
            self._lone_rows.clear()

    def _send(self, operation: tuple[str, int], pairs: list[str | bytes]) -> None:
        self._call.operations += (*operation, len(pairs) // 2, *pairs)
        pairs.clear()

    def _add(self, name: str, key: str, values: Sequence[str | bytes]) -> None:
        for at in range(0, len(values), OPERATION_LIMIT):
            part = values[at : at + OPERATION_LIMIT]
            self._operation(name, key, len(part), *part)

    def _operation(self, name: str, key: str, *values: str | bytes | int) -> None:
        self._call.operations += (name, self._number(key), *values)

    def _number(self, key: str) -> int:
        if key not in self._numbers:
            self._call.keys.append(key)
            self._numbers[key] = len(self._call.keys) + 1  # KEYS[1] is `positions`
        return self._numbers[key]


def calls_of_commit(keys: Keys, partition: int, commit: Commit) -> Iterator[Call]:
    """The calls of one commit, in order; at least one, and the last is the one to move the position with.

    A workspace's day aggregates follow each other, so that few calls have to tell that it has changed.
    """
    if commit.packed is not None:
        for packed in commit.packed.calls:
            yield Call(keys=[], operations=[], workspaces=[], fields={}, packed=packed)
        return
    calls = Calls(keys, partition)
    for change in sorted(commit.aggregates, key=attrgetter("workspace_id")):
        yield from calls.aggregate(change)
    yield from calls.names(commit.names)
    yield calls.close()


def calls_of_whole(
    keys: Keys, partition: int, names: NamesAfter, aggregates: Iterator[tuple[int, AggregateChange]]
) -> Iterator[Call]:
    """All names and day aggregates that changed after an offset, whole, in place of what Redis has of them; those with
    the offset that they changed at, ascending. Perhaps one empty call.

    In the order of the offsets, so that each call can say how far the copy is, and whoever begins it again goes on
    there: what has changed since then has a greater offset.
    """
    calls = Calls(keys, partition)
    yield from calls.names(NameChanges([], names.sources))
    parts: Iterator[tuple[int, UserName | AggregateChange]] = merge(names.users, aggregates, key=itemgetter(0))
    for offset, part in parts:
        for call in calls.label(part) if isinstance(part, UserName) else calls.aggregate(part):
            call.fields[keys.position_field(partition, "copied")] = str(offset)
            yield call
    yield calls.close()


def calls_of_rows(keys: Keys, partition: int, rows: Iterable[tuple[str, int, Sequence[bytes]]]) -> Iterator[Call]:
    """Rows alone, by workspace and day; at least one call."""
    calls = Calls(keys, partition)
    for workspace, day, packed in rows:
        yield from calls.rows(workspace, day, packed)
    yield calls.close()
