"""The compiled form of a partition, as the worker holds it: the same commits as the Python form, from the same batches,
in bytes or as records; and what becomes of a panic.
"""

import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.core import CoreFailed
from stream.ingest.event import EventRules
from stream.ingest.raw import RawRecords
from stream.kafka.fetch import decode_batches
from stream.kafka.unpacking import UNPACKED_BYTES
from stream.model.steps import finish
from stream.tables.batch import Batch
from stream.tables.compiled import CompiledState, new_table
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.simulation import chosen_core
from tests.simulation.cores import KEYS, BothStates
from tests.simulation.run import run_seed
from tests.support.names import changes
from tests.support.partition_log import INCARNATION, whole_aggregates
from tests.support.records import Received
from tests.unit.core.test_agreement import BATCH_BYTES, EVENT, PARTITION, packed, remembered
from tests.unit.tables.test_partition_properties import CUTS, HOUR, RULES, START, STEP, log_of

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("core")]

DAMAGED = int(os.environ.get("TEST_DAMAGED_BATCHES", "100000"))
DAMAGED_SEED = int(os.environ.get("TEST_DAMAGED_SEED", "2"))

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def raw_batch(raw: bytes, start: int, end: int, limit: int = UNPACKED_BYTES, fetched_at_ms: int = 1 << 63) -> Batch:
    def decode(batches: bytes) -> list[Any]:
        return decode_batches(batches, limit)

    return Batch(RawRecords(raw, start, decode, limit, None), start, end, fetched_at_ms)


def both(rules: CountingRules) -> BothStates:
    state = BothStates(PartitionState(PARTITION, rules), CompiledState(PARTITION, rules), KEYS)
    state.begin(incarnation=INCARNATION, first_offset=100, partitions=4)
    return state


@SLOW
@given(
    st.lists(STEP, min_size=20, max_size=60),
    CUTS,
    RULES,
    st.sampled_from([None, 0, 3 * HOUR]),
    st.integers(0, 4),
    st.booleans(),
)
def test_both_forms_say_the_same(
    steps: list[Any], cuts: list[tuple[int, str]], rules: CountingRules, clock: int | None, codec: int, as_bytes: bool
) -> None:
    # Given any log, in record batches of any compression or as records, with commits and recoveries anywhere
    records = [Received(r.value, r.headers, r.timestamp, r.key, r.offset, 0) for r in log_of(steps)]
    state, latest, at = both(rules), dict[bytes, bytes](), 0
    for size, then in cuts:
        some, at = records[at : at + size], at + size
        if some:
            start, end = state.position.next_offset, some[-1].offset + 1
            at_ms = 1 << 63 if clock is None else START + clock
            # Then what each says of a batch, a commit and a recovery is the same
            batch = raw_batch(packed(some, codec), start, end, fetched_at_ms=at_ms)
            state.apply(batch if as_bytes else Batch(some, start, end, at_ms))
        if then:
            remembered(latest, state.encode())
            list(finish(state.whole_in_order(-1)))
            for chance in (0.0, 0.5, 0.999):
                state.draw(chance)
            changes(state.names_after(len(records) // 2 + 100))
        if then == "recover":
            state = finish(BothStates.unpack(PARTITION, rules, latest))


def events(number: int) -> list[Received]:
    made: list[Received] = log_of([({"id": f"e{n}"} | EVENT, 1, 0) for n in range(number)])
    return made


def test_a_batch_may_overlap_what_is_counted() -> None:
    state, records = both(CountingRules()), events(10)
    state.apply(raw_batch(packed(records[:6]), 100, 106))
    state.apply(raw_batch(packed(records[:6]), 100, 106))
    state.apply(raw_batch(packed(records), 100, 112))
    assert (state.position.next_offset, state.encode().outcomes.counted) == (112, 10)


def test_of_a_batch_that_is_too_large_the_strict_reader_decides() -> None:
    # Given three record batches, of which the middle one comes to more than is unpacked
    records = events(9)
    records[4] = Received(b" " * (BATCH_BYTES + 1), timestamp=records[4].timestamp, offset=104)
    raw = b"".join(packed(part, 1) for part in (records[:3], records[3:6], records[6:]))
    state = both(CountingRules())
    # When they are applied
    state.apply(raw_batch(raw, 100, 109, BATCH_BYTES))
    # Then the others count, and this one is one dead letter
    commit = state.encode()
    assert (commit.outcomes.counted, [(d.record.offset, d.reason) for d in commit.dead_letters]) == (
        6,
        [(103, "too_large")],
    )


def test_a_record_of_many_headers_is_left_to_the_strict_reader() -> None:
    big = Received(b"{}" + b" " * (1 << 20), [("h", b"")] * 10_001, events(1)[0].timestamp, offset=100)
    few = Received(b"{}", [("h", b"")] * 10_001, big.timestamp, offset=101)
    state = both(CountingRules(EventRules(max_event_bytes=1 << 24)))
    state.apply(raw_batch(packed([big]) + packed([few]), 100, 102))
    assert [d.reason for d in state.encode().dead_letters] == ["too_large", "missing_field"]


def test_damaged_batches_end_the_worker_like_in_python() -> None:
    state = CompiledState(PARTITION, CountingRules())
    state.begin(incarnation=INCARNATION, first_offset=100, partitions=4)
    raw = bytearray(packed(events(5), 1))
    raw[70:90] = bytes(20)
    with pytest.raises(Exception, match="cannot be unpacked"):
        state.apply(raw_batch(bytes(raw), 100, 105))


@pytest.mark.parametrize("place", ["read", "judge", "encode"])
def test_a_panic_is_an_error_with_its_reason_and_counts_nothing(place: str) -> None:
    # Given a core that has a bug
    state = CompiledState(PARTITION, CountingRules())
    state.begin(incarnation=INCARNATION, first_offset=100, partitions=4)
    state._core.panic_in(place)
    steps: list[Callable[[], object]] = [lambda: state.apply(raw_batch(packed(events(5)), 100, 105)), state.encode]
    if place == "encode":
        steps.pop(0)()
    # When it is reached, then that is an Exception, which ends the worker, and the position stands
    before = state.position
    with pytest.raises(CoreFailed, match=f"partition 3: a panic in {place}"):
        steps[0]()
    assert state.position == before


def test_a_panic_in_a_recovery_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    first = both(CountingRules())
    first.apply(raw_batch(packed(events(5)), 100, 105))
    latest: dict[bytes, bytes] = {}
    remembered(latest, first.encode())
    monkeypatch.setattr(CompiledState, "__init__", panicking(CompiledState.__init__, "adopt"))
    with pytest.raises(CoreFailed, match="a panic in adopt"):
        CompiledState.recover(PARTITION, CountingRules(), latest)


def test_a_table_of_the_core_is_taken_like_a_mapping() -> None:
    # Given what a commit has left, as a mapping and in a table of the core, which read something older before
    first = both(CountingRules())
    first.apply(raw_batch(packed(events(5)), 100, 105))
    latest: dict[bytes, bytes] = {}
    remembered(latest, first.encode())
    table = new_table()
    for key, value in latest.items():
        table.put(key, b"older")
        table.put(key, value)
    table.put(b"gone", b"")
    table.put(b"gone", None)
    # When a state is made of each
    of_mapping, of_table = (CompiledState.recover(PARTITION, CountingRules(), records) for records in (latest, table))
    # Then both are the same
    assert of_table.position == of_mapping.position
    assert whole_aggregates(of_table) == whole_aggregates(of_mapping)
    assert (of_table.ids, len(table)) == (5, len(latest))


@pytest.mark.parametrize("place", ["read", "judge", "encode"])
def test_a_panic_ends_the_worker_with_its_reason(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    # Given a worker that counts with a core that has a bug
    monkeypatch.setenv(chosen_core.FORM, "compiled")
    monkeypatch.setattr(CompiledState, "__init__", panicking(CompiledState.__init__, place))
    # When it applies or encodes
    result = run_seed(3)
    # Then it ends, and says why
    assert result.failure is not None
    assert result.failure.startswith("Broken: CoreFailed: a bug in the compiled core, partition ")
    assert f"a panic in {place}" in result.failure


def panicking(make: Callable[..., None], place: str) -> Callable[..., None]:
    def wrapped(state: CompiledState, *given: Any) -> None:
        make(state, *given)
        state._core.panic_in(place)

    return wrapped


def damaged(random: Random, batches: Sequence[bytes]) -> bytes:
    raw = bytearray(random.choice(batches))
    for _ in range(random.choice([1, 1, 2, 8])):
        raw[random.randrange(len(raw))] = random.choice([0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)])
    del raw[random.randrange(len(raw)) if random.random() < 0.2 else len(raw) :]
    return bytes(raw)


def test_damaged_bytes_never_panic(core: Any) -> None:
    """Lengths that lie, numbers without an end, compressed blocks cut short, offsets in any order: an error, or records
    that are judged."""
    random, errors = Random(DAMAGED_SEED), 0
    batches = [packed(events(12), codec) for codec in range(5)]
    mixed = events(12)
    mixed[3] = Received(None, timestamp=mixed[3].timestamp, offset=103)
    mixed[5] = Received(b"{", [("n", b"v")], mixed[5].timestamp, offset=105)
    batches.append(packed(mixed))
    state, end = new_core(core), 100
    for number in range(DAMAGED):
        if number % 50 == 0:
            state, end = new_core(core), 100
        fetched = core.Fetched(damaged(random, batches), end, [], False, BATCH_BYTES)
        try:
            _, last, _, odd = state.read(fetched, 1_000, 1 << 62)
        except (core.CorruptError, core.UnsupportedError, core.TooLargeError):
            errors += 1
            continue
        if last is None or last[0] < end + 1_000:  # what lies beyond its batch is not judged
            state.judge([None] * len(odd))
            end = end if last is None else last[0] + 1
    assert errors > DAMAGED // 20


def new_core(core: Any) -> Any:
    return CompiledState(PARTITION, CountingRules())._core
