"""The two totals, each with the earlier side's and the change between them."""

from collections.abc import Sequence

from api.wire import Total


def total(counts: Sequence[int], previous: int | None) -> Total:
    """A total from the counts of its buckets; `previous` is None where nothing is compared."""
    count = sum(counts)
    return Total(count, previous, None if previous is None else change_percent(count, previous))


def change_percent(count: int, previous: int) -> float | None:
    """In percent of the earlier side, to one decimal, half away from zero; None where there was nothing."""
    if not previous:
        return None
    thousandths = abs(count - previous) * 1_000
    tenths = (2 * thousandths + previous) // (2 * previous)
    return tenths / 10 if count >= previous else -tenths / 10
