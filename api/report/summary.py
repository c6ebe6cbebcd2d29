"""The two totals, each with the earlier side's and the change between them."""

from api.report.plan import Plan
from api.wire import Total


def totals(plan: Plan, counts: tuple[int, int, int, int]) -> tuple[Total, Total]:
    """Of added and deleted, and both of the earlier side."""
    added, deleted, added_before, deleted_before = counts
    compared = plan.compared
    return total(added, added_before if compared else None), total(deleted, deleted_before if compared else None)


def total(count: int, previous: int | None) -> Total:
    """A total; `previous` is None where nothing is compared."""
    return Total(count, previous, None if previous is None else change_percent(count, previous))


def change_percent(count: int, previous: int) -> float | None:
    """In percent of the earlier side, to one decimal, half away from zero; None where there was nothing."""
    if not previous:
        return None
    thousandths = abs(count - previous) * 1_000
    tenths = (2 * thousandths + previous) // (2 * previous)
    return tenths / 10 if count >= previous else -tenths / 10
