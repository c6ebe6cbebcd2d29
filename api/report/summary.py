"""The two totals, each with the earlier side's and the change between them."""

from api.wire import Total


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
