"""Sums of days: what they share is held as long as a day has it, and they keep to their share of the memory."""

from api.cache import Memory
from api.query.periods import Compare, Dates, Interval, Weekday
from api.query.question import Query, view_of_dates
from api.read.freshness import Positions
from api.read.parts import HEADS, PartitionDay
from api.read.snapshot import Snapshot, State
from api.report.days import KindSums
from api.report.form import PythonForm
from api.report.plan import plan_of
from api.report.sums import DAYS_SHARE, DaySums, Sums, UserFolds
from stream.model.activity import ADDED
from stream.model.time import date_of
from tests.support.user_columns import base_of

DAY, DAYS = 20_780, 60
SOMEBODY = frozenset(["u1"])


def sums_with_own_kinds() -> KindSums:
    """Equal to others', and no other's object."""
    return KindSums(tuple([(ADDED, source) for source in ("user", None)]), (1, 2))


def test_what_a_day_shared_before_it_changed_is_held_no_longer() -> None:
    known = DaySums()
    for change in range(50):
        sums = sums_with_own_kinds()
        known.put((DAY, (96,)), b"%d" % change, sums, [sums.shared])
    assert len(known.shared) == 1
    assert known.shared[0][0] is sums.kinds
    assert known.get((DAY, (96,)), b"49") is sums


def test_what_two_days_share_is_held_until_both_have_changed() -> None:
    known, both = DaySums(), sums_with_own_kinds()
    for day in (1, 2):
        known.put(day, b"1", both, [both.shared])
    assert [of for of, _ in known.shared] == [both.kinds]
    # A day that changes, and one that is put again as it was
    other = sums_with_own_kinds()
    known.put(1, b"2", other, [other.shared])
    known.put(2, b"1", both, [both.shared])
    assert {id(of) for of, _ in known.shared} == {id(both.kinds), id(other.kinds)}
    known.put(2, b"2", other, [other.shared])
    assert [id(of) for of, _ in known.shared] == [id(other.kinds)]


def sums_of_many_days(memory: Memory) -> Sums:
    query = Query(None, None, "UTC", Interval.DAY, Weekday.MONDAY, None, None, Compare.NONE)
    view = view_of_dates(query, Dates(date_of(DAY), date_of(DAY + DAYS - 1)), (DAY + DAYS) * 96)
    return Sums(
        memory, PythonForm(""), "w", plan_of(view), UserFolds(),
        kinds=True, users=False, chosen_sources=None, chosen_users=SOMEBODY, every=False,
    )  # fmt: skip


async def test_days_that_are_read_at_once_take_their_share_of_the_memory_and_no_more() -> None:
    # Given a memory, in a fourth of which some of the days have room
    memory = Memory(40_000)
    share = memory.limit_bytes // DAYS_SHARE
    days = range(DAY, DAY + DAYS)
    manifests = dict.fromkeys(days, b"1")
    parts = {day: [PartitionDay(heads=[base_of(["u0", "u1"])[0]], cells=[b""])] for day in days}
    state = State(Positions(((0, 0),), True, None, None, (), 0.0), b"1")
    # When all are read
    sums = sums_of_many_days(memory)
    assert len(sums.lacking(manifests)) == DAYS
    await sums.take(Snapshot(state, manifests, parts, {}, dict.fromkeys(days, HEADS), []))
    # Then those are remembered that have room, and all are counted
    size = sums._day_sums("kinds").size_bytes
    known = [day for day in days if sums._day_sums("kinds").get((day, (96,)), b"1") is not None]
    assert share < size <= share + size // len(known)
    assert 5 < len(known) < DAYS
    assert sum(sums.kinds.counts.added) == 2 * DAYS
