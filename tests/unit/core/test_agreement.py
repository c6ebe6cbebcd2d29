"""The compiled core gives the same bytes as the Python form, which says what is right: verdicts, changelog records,
calls to Redis and sums of days, for the same records in the same batches.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.read.parts import PartitionDay
from api.report import days
from api.report.days import kind_sums_of_users
from api.report.user_days import user_sums
from api.report.user_table import UserTable
from stream.ingest.record_time import parse_believing
from stream.model.activity import ContactActivity
from stream.model.steps import finish
from stream.projection.calls import calls_of_commit
from stream.storage.keys import Keys
from stream.tables.batch import Batch
from stream.tables.commit import Commit
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.day_parts import day_parts
from tests.support.names import changes
from tests.support.partition_log import begun, whole_aggregates
from tests.support.records import Received
from tests.support.user_columns import by_user
from tests.unit.tables.test_partition_properties import CUTS, HOUR, RULES, START, STEP, log_of

pytestmark = pytest.mark.timeout(900)  # the first one builds the core

KEYS = Keys("group")
PARTITION = 3
UNLIMITED = 1 << 62
BATCH_BYTES = 1 << 20
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def packed(records: Sequence[Received], compression: int = 0, transactional: int = 0, producer: int = -1) -> bytes:
    """A record batch as a broker holds it; its first offset is that of its first record."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=transactional,
        producer_id=producer,
        producer_epoch=0 if producer >= 0 else -1,
        base_sequence=0,
        batch_size=1 << 26,
    )
    first = records[0].offset
    for record in records:
        builder.append(record.offset - first, record.timestamp, record.key, record.value, list(record.headers))
    return first.to_bytes(8, "big") + bytes(builder.build())[8:]


class Compiled:
    """A partition of the core, with the strict reader beside it as the worker would have it."""

    def __init__(self, core: Any, rules: CountingRules) -> None:
        self._core, self._rules, event = core, rules, rules.event
        self.state = core.CorePartition(
            PARTITION,
            max_event_bytes=event.max_event_bytes,
            future_tolerance_seconds=event.future_tolerance_seconds,
            retention_days=event.retention_days,
            dedupe_window_hours=rules.dedupe_window_hours,
            dedupe_max_ids=rules.dedupe_max_ids,
            name_limit=rules.name_limit,
            unkept_limit=3,
            delta_floor=rules.delta_floor,
            base_bytes_limit=rules.base_bytes_limit,
            keep_rows=rules.keep_rows,
        )

    def apply(self, raw: bytes, start: int, trusted_ms: int = UNLIMITED) -> tuple[int, int, int, int]:
        """Read and judge everything; how many counted, were duplicates, had no value, were of a dropped day."""
        fetched = self._core.Fetched(raw, start, [], False, BATCH_BYTES)
        *_, odd = self.state.read(fetched, UNLIMITED, trusted_ms)
        return self.state.judge([self._strictly(record, trusted_ms) for record in odd])

    def _strictly(self, odd: Any, trusted_ms: int) -> tuple[object, ...] | None:
        offset, timestamp, by_broker, key, value, headers = odd
        names = [(name.decode(), content) for name, content in headers]
        record = Received(value, names, timestamp, key, offset, int(by_broker))
        read = parse_believing(record, self._rules.event, trusted_ms)
        if not isinstance(read, ContactActivity):
            return None
        return (
            read.event_id,
            read.activity,
            read.workspace_id,
            read.contact_id,
            read.contact_name,
            read.source,
            read.user_id,
            read.user_name,
            read.occurred_at,
            read.fraction_digits,
            read.batch_id,
        )


def as_core(commit: Commit) -> tuple[Any, ...]:
    """A commit of the Python form as the core shows one."""
    aggregates = [
        (e.workspace_id, e.day, list(e.bases), e.delta, e.base_count, list(e.rows), e.dropped)
        for e in commit.aggregates
    ]
    users = [(n.workspace_id, n.user_id, n.occurred_at, n.offset, n.label) for n in commit.names.users]
    return commit.table[:-1], aggregates, users, [(n.workspace_id, n.source) for n in commit.names.sources]


def bulk(item: str | bytes | int) -> bytes:
    """A bulk text of Redis' protocol."""
    content = item if isinstance(item, bytes) else str(item).encode()
    return b"$%d\r\n%b\r\n" % (len(content), content)


def calls_as_core(commit: Commit) -> list[tuple[Any, ...]]:
    return [
        (
            b"".join(map(bulk, call.keys)),
            len(call.keys),
            b"".join(map(bulk, call.operations)),
            len(call.operations),
            "\n".join(call.workspaces).encode(),
        )
        for call in calls_of_commit(KEYS, PARTITION, commit)
    ]


def remembered(latest: dict[bytes, bytes], commit: Commit) -> None:
    for key, value in commit.table:
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = value


def recovered(core: Any, rules: CountingRules, latest: Mapping[bytes, bytes]) -> tuple[PartitionState, Compiled]:
    state, compiled = PartitionState.recover(PARTITION, rules, latest), Compiled(core, rules)
    known = state.position
    table = core.LatestRecords()
    for key, value in latest.items():
        table.put(key, value)
    while table.arrange():
        pass
    while compiled.state.adopt(table, 3, UNLIMITED):
        pass
    compiled.state.finish_adopting(known.latest_hour, known.counts_from)
    return state, compiled


@SLOW
@given(st.lists(STEP, min_size=20, max_size=60), CUTS, RULES, st.sampled_from([None, 0, 3 * HOUR]))
def test_the_same_records_give_the_same_bytes(
    core: Any, steps: list[Any], cuts: list[tuple[int, str]], rules: CountingRules, clock: int | None
) -> None:
    # Given any log, in any batches, with commits and recoveries anywhere, and perhaps times that are far ahead
    records, at = [Received(r.value, r.headers, r.timestamp, r.key, r.offset, 0) for r in log_of(steps)], 0
    state, compiled, latest = begun(rules, 100), Compiled(core, rules), dict[bytes, bytes]()
    early = 0  # a recovered state begins to count anew what it drops
    for size, then in cuts:
        some = records[at : at + size]
        at += size
        if some:
            start, before = state.position.next_offset, state.outcomes.copy()
            fetched_at = 1 << 63 if clock is None else START + clock
            # When both forms apply them
            state.apply(Batch(some, start, some[-1].offset + 1, fetched_at))
            trusted = UNLIMITED if clock is None else fetched_at + rules.event.record_future_tolerance_seconds * 1000
            verdicts = compiled.apply(packed(some), start, trusted)
            # Then the verdicts are the same, and so is what they know
            since = state.outcomes - before
            assert verdicts == (since.counted, since.duplicate, since.skipped, since.expired)
            own = compiled.state
            assert (own.ids, own.latest_hour) == (state.ids, state.position.latest_hour)
            assert own.counts_from == state.position.counts_from
            assert own.names_not_kept == state.outcomes.names_not_kept
            assert own.ids_dropped_early == state.outcomes.ids_dropped_early - early
        if then:
            commit = state.encode()
            assert compiled.state.encode(commit.position.next_offset) == as_core(commit)
            assert compiled.state.keys + 1 == commit.position.live_keys
            remembered(latest, commit)
            compare_whole(state, compiled, after=len(records) // 2 + 100)
            compare_whole(state, compiled, after=-1)
            compare_sums(core, state)
        if then == "recover":
            state, compiled = recovered(core, rules, latest)
            early = state.outcomes.ids_dropped_early - compiled.state.ids_dropped_early


def walk(look: Callable[..., Any], after: int) -> Iterator[list[Any]]:
    """All that the core finds above an offset, three at a time."""
    place: tuple[int, int] | None = (0, 0)
    while place is not None:
        *piece, place = look(after, *place, 3)
        yield piece


def compare_whole(state: PartitionState, compiled: Compiled, after: int) -> None:
    pieces = list(walk(compiled.state.aggregates_piece, after))
    numbers = [number for _, number in sorted(aggregate for [aggregates] in pieces for aggregate in aggregates)]
    assert [compiled.state.whole_aggregate(number)[:5] for number in numbers] == [
        (e.workspace_id, e.day, list(e.bases), e.delta, e.base_count) for e in whole_aggregates(state, after)
    ]
    names = changes(state.names_after(after))
    pieces = list(walk(compiled.state.names_piece, after))
    moved = sorted(user for users, _ in pieces for user in users)
    users = [compiled.state.user_name(workspace, user) for _, workspace, user in moved]
    assert users == [(n.workspace_id, n.user_id, n.occurred_at, n.offset, n.label) for n in names.users]
    # In any order: a reader of Redis sees none.
    found = [source for _, sources in pieces for source in sources]
    expected = [(n.workspace_id, n.source) for n in names.sources]
    assert sorted(found, key=repr) == sorted(expected, key=repr)
    known = range(state.position.first_offset, state.position.next_offset)
    assert [compiled.state.is_uncounted(o) for o in known] == [not state.was_counted(o) for o in known]
    assert compiled.state.uncounted(after, known.stop) == list(state._uncounted.ranges(after, known.stop))


def compare_sums(core: Any, state: PartitionState) -> None:
    """Of the day aggregates that the tables really have; `test_report_sums.py` draws views."""
    for aggregate in whole_aggregates(state):
        heads, cells, summaries = ([base[i] for base in aggregate.bases] for i in (1, 2, 3))
        parts = [PartitionDay(summaries, heads, cells, aggregate.delta)] * 2
        of_day = day_parts({aggregate.day: parts})
        for cuts in ((96,), (50, 96), (1, 49, 95, 96)):
            plan = core.Plan([("", "")], [], [(aggregate.day, cuts, [0] * len(cuts), [], (0, 96))])
            for users in (None, frozenset({"u1", None})):
                sums = days.kind_sums(parts, cuts) if users is None else finish(kind_sums_of_users(parts, cuts, users))
                fold = core.KindFold(plan, None).exchange([], {}, of_day, users, UNLIMITED)[0]
                found = fold.sums_of(aggregate.day)
                assert by_kind(found, len(cuts)) == by_kind(sums, len(cuts))
        for window in ((0, 96), (10, 96), (0, 1)):
            plan = core.Plan([("", "")], [], [(aggregate.day, [96], [0], [], window)])
            for sources in (None, frozenset({"user", None})):
                added, deleted = by_user(finish(user_sums(UserTable(), parts, window, sources)))
                table = core.UserTable()
                fold = core.UserFold().exchange([], {}, plan, table, of_day, sources, UNLIMITED)[0]
                rows = fold.listed(table, [], 0, 1_000).rows
                assert {user: (one, other) for user, one, other in rows} == {
                    user: (added.get(user, 0), deleted.get(user, 0)) for user in added.keys() | deleted.keys()
                }
        assert core.first_quarter(of_day) == days.first_quarter(parts)


def by_kind(sums: Any, pieces: int) -> dict[Any, list[int]]:
    """Of each kind that has any: its counts."""
    counts = list(sums.counts)
    found = {kind: counts[i * pieces : (i + 1) * pieces] for i, kind in enumerate(sums.kinds)}
    return {kind: of_pieces for kind, of_pieces in found.items() if any(of_pieces)}


@SLOW
@given(st.lists(STEP, min_size=20, max_size=60), RULES, st.integers(1, 30))
def test_calls_and_batches_carry_the_same_bytes(core: Any, steps: list[Any], rules: CountingRules, size: int) -> None:
    records = log_of(steps)
    state, compiled = begun(rules, 100), Compiled(core, rules)
    for at in range(0, len(records), size):
        some = records[at : at + size]
        start = state.position.next_offset
        state.apply(Batch(some, start, some[-1].offset + 1))
        compiled.apply(packed(some), start)
        commit = state.encode()
        stored = commit.table[-1]
        bodies, calls = compiled.state.encode_packed(
            commit.position.next_offset, lambda keys, stored=stored: stored, KEYS.prefix, 300, 200_000, 2_000
        )
        assert calls == calls_as_core(commit)
        # The bodies, framed, are what a reader of Kafka reads.
        read: list[tuple[bytes, bytes | None]] = []
        for records_of, count in bodies:
            batch = core.frame_batch(records_of, count, 7, 5, 1, 0)
            fetched = core.Fetched(batch, 0, [], True, BATCH_BYTES)
            number, *_, odd = Compiled(core, rules).state.read(fetched, UNLIMITED, UNLIMITED)
            assert number == count
            read += [(key, value) for _, _, _, key, value, _ in odd]
        assert read == [(key, value) for key, value in commit.table if value is not None]


@pytest.mark.parametrize("compression", [1, 2, 3, 4])
def test_compressed_batches_read_alike(core: Any, compression: int) -> None:
    records = log_of([({"id": f"e{n}"} | EVENT, 1, 0) for n in range(300)])
    plain, compiled = Compiled(core, CountingRules()), Compiled(core, CountingRules())
    assert plain.apply(packed(records), 100) == compiled.apply(packed(records, compression), 100) == (300, 0, 0, 0)
    assert plain.state.encode(400) == compiled.state.encode(400)


EVENT = {
    "type": "contact.added",
    "workspace_id": "w",
    "contact_id": "c",
    "occurred_at": "2026-11-20T12:00:00Z",
}


def test_a_batch_that_comes_to_too_much_is_an_error(core: Any) -> None:
    [record] = log_of([(b" " * (BATCH_BYTES + 1), 1, 0)])
    for compression in (1, 2, 3, 4):
        with pytest.raises(core.TooLargeError):
            Compiled(core, CountingRules()).apply(packed([record], compression), 100)


def test_aborted_transactions_and_markers_are_not_seen(core: Any) -> None:
    records = log_of([({"id": f"e{n}"} | EVENT, 1, 0) for n in range(4)])
    # Given two of an aborted transaction, its marker, and one that was committed
    aborted, kept = packed(records[:2], 0, 1, 9), packed(records[3:], 0, 1, 8)
    marker = bytearray(packed([Received(b"", (), START, b"\x00\x00\x00\x00", 102)], 0, 1, 9))
    marker[22] |= 0x20
    fetched = core.Fetched(aborted + bytes(marker) + kept, 100, [(100, 9)], False, BATCH_BYTES)
    compiled = Compiled(core, CountingRules())
    number, last, *_ = compiled.state.read(fetched, UNLIMITED, UNLIMITED)
    assert (number, last[0], fetched.next_offset, fetched.has_next) == (1, 103, 104, False)
