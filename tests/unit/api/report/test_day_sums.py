"""Sums of days that are remembered: what they share is held as long as a day has it."""

from api.report.days import KindSums
from api.report.sums import DaySums
from stream.model.activity import ADDED

DAY = 20_780


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
