"""Makes the events that the benchmarks run with.

Each set is the same for the same count, seed and end. Keys are workspace ids; every hundredth record is a copy of an
earlier one. Events are 230 to 260 bytes, in the order in which they would be published.

    real   400 workspaces of very different sizes, working hours and weekends, 100,000 events a day, five sources, some
           users each, and a third of all in imports of hundreds: many events meet in one cell
    wide   400 workspaces of 100 users each over 30 days: nearly every event makes a new cell
    sparse 2,000 workspaces of 500 users each over a year: nearly every event makes a new day of a workspace, and a user
"""

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from random import Random

from stream.model.activity import KNOWN_SOURCES

COPY_EVERY = 100
COPIED_FROM_LAST = 1_000

REAL_WORKSPACES = 400
REAL_USERS = 12
REAL_EVENTS_A_DAY = 100_000
IMPORT_SHARE = 1 / 3
IMPORT_ROWS = (100, 1_500)
SOURCE_WEIGHTS = (55, 22, 0, 15, 8)
"""Of KNOWN_SOURCES, imports apart."""
HOUR_WEIGHTS = (1, 1, 1, 1, 1, 1, 2, 4, 8, 12, 13, 12, 9, 10, 12, 12, 11, 9, 7, 6, 5, 4, 2, 1)
WEEKEND_WEIGHT = 0.3

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Spread:
    """Events that fall on all workspaces, days, sources and users alike."""

    workspaces: int
    users: int
    days: int


WIDE = Spread(workspaces=400, users=100, days=30)
SPARSE = Spread(workspaces=2_000, users=500, days=365)


class Dataset(StrEnum):
    REAL = "real"
    WIDE = "wide"
    SPARSE = "sparse"


def records(dataset: Dataset, count: int, *, end: datetime, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of `count` records whose last events lie right before `end`, a time with a zone."""
    rng = Random(f"{dataset} {seed}")
    match dataset:
        case Dataset.REAL:
            fresh = _real(rng, count, end)
        case Dataset.WIDE:
            fresh = _spread(rng, WIDE, end)
        case Dataset.SPARSE:
            fresh = _spread(rng, SPARSE, end)
    recent: deque[tuple[bytes, bytes]] = deque(maxlen=COPIED_FROM_LAST)
    for number in range(1, count + 1):
        if number % COPY_EVERY == 0:
            yield recent[rng.randrange(len(recent))]
        else:
            record = next(fresh)
            recent.append(record)
            yield record


def distinct(count: int) -> int:
    """How many of `count` records are no copies."""
    return count - count // COPY_EVERY


def _real(rng: Random, count: int, end: datetime) -> Iterator[tuple[bytes, bytes]]:
    """Days in order; within a day the hours in order; imports are runs of one workspace, inside an hour."""
    days = max(1, count // REAL_EVENTS_A_DAY)
    first_day = int(end.timestamp()) // DAY_SECONDS - days
    weights = [WEEKEND_WEIGHT if _is_weekend(first_day + day) else 1.0 for day in range(days)]
    sizes = list(accumulate((rank + 1) ** -1.2 for rank in range(REAL_WORKSPACES)))
    imported = made = 0
    for day in itertools.count():
        # What rounding leaves over falls on the last day again.
        day = min(day, days - 1)
        for hour, share in enumerate(HOUR_WEIGHTS):
            events = round(count * weights[day] / sum(weights) * share / sum(HOUR_WEIGHTS)) or 1
            started = (first_day + day) * DAY_SECONDS + hour * 3_600
            done = 0
            while done < events:
                (workspace,) = rng.choices(range(REAL_WORKSPACES), cum_weights=sizes)
                rows, batch_id = 1, None
                if imported < IMPORT_SHARE * made:
                    rows, batch_id = min(events - done, rng.randint(*IMPORT_ROWS)), f"import-{started + done}"
                    imported += rows
                for row in range(rows):
                    yield _real_event(rng, workspace, started + (done + row) * 3_600 // events, batch_id)
                done += rows
                made += rows


def _is_weekend(day: int) -> bool:
    return (day + 3) % 7 >= 5  # day 0, 1970-01-01, was a Thursday


def _real_event(rng: Random, workspace: int, at: int, batch_id: str | None) -> tuple[bytes, bytes]:
    kind = "contact.deleted" if rng.random() < 0.06 else "contact.added"
    if batch_id is not None:
        return _event(rng, workspace, at, kind, "contact_import", rng.randrange(2), batch_id)
    (source,) = rng.choices(KNOWN_SOURCES, SOURCE_WEIGHTS)
    user = None if source in ("incoming_message", "developer_api") else int(REAL_USERS * rng.random() ** 2)
    return _event(rng, workspace, at, kind, source, user, None)


def _spread(rng: Random, over: Spread, end: datetime) -> Iterator[tuple[bytes, bytes]]:
    last = int(end.timestamp()) - 1
    first = last - over.days * DAY_SECONDS
    while True:
        at = rng.randint(first, last)
        kind = "contact.added" if rng.random() < 0.8 else "contact.deleted"
        yield _event(
            rng, rng.randrange(over.workspaces), at, kind, rng.choice(KNOWN_SOURCES), rng.randrange(over.users), None
        )


def _event(
    rng: Random, workspace: int, at: int, kind: str, source: str, user: int | None, batch_id: str | None
) -> tuple[bytes, bytes]:
    bits = rng.getrandbits(128)
    workspace_id = f"workspace-{workspace:04d}"
    who = f',"user_id":"u_{user}","user_name":"Member {user}"' if user is not None else ""
    batch = f',"batch_id":"{batch_id}"' if batch_id is not None else ""
    contact = bits % 10_000_000
    value = (
        f'{{"id":"{bits:032x}","type":"{kind}","workspace_id":"{workspace_id}","contact_id":"{contact}",'
        f'"contact_name":"Contact {contact}","source":"{source}"{who},'
        f'"occurred_at":"{minute_text(at // 60)}{at % 60:02d}.{bits % 1000:03d}Z"{batch}}}'
    )
    return workspace_id.encode(), value.encode()


@lru_cache(maxsize=65_536)
def minute_text(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M:")
