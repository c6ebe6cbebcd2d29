"""The events that publishers send, and what is true of each.

The truth is told by the one who made the record, not by a parser: so the oracle needs none.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Any

from tests.simulation.chance import Profile
from tests.simulation.kafka import Log, SimRecord, Txn

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_795_824_000_000  # 2026-11-28 00:00 UTC, so that a day ends now and then
START_MS += 20 * HOUR_MS
WORKSPACES = ("acme", "bolt.io", "c")
USERS = (None, "u1", "u2", "u\u00fc3")
SOURCES = (None, "user", "developer_api", "contact_import", "fax")
MAX_EVENT_BYTES = 900
AHEAD_MS = (30 * 60_000, HOUR_MS, HOUR_MS + 60_000, 3 * HOUR_MS, 30 * HOUR_MS, 400 * DAY_MS, 70 * 365 * DAY_MS)
LARGE_BYTES = 900


@dataclass(frozen=True, slots=True)
class Activity:
    """A good event."""

    workspace: str
    event_id: str
    activity: int
    source: str | None
    user: str | None
    user_name: str | None
    contact_id: str
    contact_name: str | None
    occurred_at: int
    digits: int
    batch_id: str | None


@dataclass(frozen=True, slots=True)
class Reject:
    reason: str


@dataclass(frozen=True, slots=True)
class Tombstone:
    pass


class Publishers:
    """All that is published, with the broker's clock, which stamps it."""

    def __init__(self, rng: Random, profile: Profile) -> None:
        self._rng, self._profile = rng, profile
        self.broker_ms = START_MS + int((profile.first_hour - 20) * HOUR_MS)
        """The true time, which the brokers' clock follows, but for what it is ahead."""
        self.brokers_ahead_ms = 0
        self._made: list[list[Activity]] = []
        self._numbers = 0

    def publish(self, log: Log, partition: int, txn: Txn | None) -> SimRecord:
        record = self._record(partition)
        log.append(record, txn)
        return record

    def _record(self, partition: int) -> SimRecord:
        rng, profile = self._rng, self._profile
        self.broker_ms += rng.randrange(60_000)
        if rng.random() < profile.hour_jumps:
            self.broker_ms += rng.choice((1, 1, 1, 2, 3)) * HOUR_MS - rng.choice((0, 0, 1000))
        if rng.random() < profile.day_jumps:
            self.broker_ms += rng.randrange(1, 3) * DAY_MS
        timestamp = self.broker_ms
        if rng.random() < profile.backwards:
            timestamp -= int(rng.random() * profile.backwards_hours * HOUR_MS)
        while len(self._made) <= partition:
            self._made.append([])
        stamp, publishers = timestamp + self.brokers_ahead_ms, False
        if profile.publishers_time and rng.random() < profile.publishers_time:
            stamp, publishers = timestamp, True
            if rng.random() < profile.ahead:
                stamp = self.broker_ms + rng.choice(AHEAD_MS)
        if rng.random() < profile.poison:
            value, truth = self._poison(stamp)
        else:
            activity = self._activity(self._made[partition], timestamp)
            value, truth = _written(activity), self._judged(activity, stamp)
        key = None if rng.random() < 0.1 else b"k%d" % rng.randrange(5)
        headers = [("trace", b"1")] if rng.random() < 0.1 else []
        if isinstance(truth, Reject) and rng.random() < profile.too_large_letter:
            key = b"k" * rng.choice((1, 100, LARGE_BYTES))
            headers = [("trace", b"h" * rng.choice((1, 100, LARGE_BYTES)))]
        record = SimRecord(key, value, headers, stamp, truth)
        record.timestamp_type, record.published_ms = int(not publishers), self.broker_ms
        return record

    def _activity(self, made: list[Activity], timestamp: int) -> Activity:
        rng, profile = self._rng, self._profile
        same = None
        if made and rng.random() < profile.duplicates:
            same = made[-1 - min(int(rng.expovariate(0.2)), len(made) - 1)]
            if rng.random() < 0.8:
                return same
        if same is None:
            self._numbers += 1
        user = rng.choice(USERS)
        activity = Activity(
            workspace=same.workspace if same else rng.choice(WORKSPACES[: 1 + rng.randrange(3)]),
            event_id=same.event_id if same else f"e{self._numbers}" + rng.choice(("", "", "\x00", "\u00e9")),
            activity=rng.randrange(2),
            source=rng.choice(SOURCES),
            user=user,
            user_name=rng.choice((None, "Ada", "Bo 1", f"N{self._numbers}")) if user or rng.random() < 0.1 else None,
            contact_id=f"c{rng.randrange(9)}",
            contact_name=rng.choice((None, "Zoe")),
            occurred_at=self._occurred(timestamp) * 1_000_000,
            digits=3,
            batch_id=rng.choice((None, None, "b1")),
        )
        made.append(activity)
        return activity

    def _occurred(self, timestamp: int) -> int:
        """Milliseconds since 1970."""
        rng = self._rng
        if rng.random() < self._profile.lateness:
            late = rng.choice((1, 10, 60, 6 * 60, 24 * 60, 3 * 24 * 60)) * 60_000
            timestamp -= int(rng.random() * late)
        elif rng.random() < 0.05:
            timestamp += rng.choice((299_999, 300_000, 300_001, 10 * 60_000))
        if rng.random() < 0.5:  # equal times, also from two partitions
            timestamp -= timestamp % (4 * HOUR_MS)
        return timestamp

    def _judged(self, activity: Activity, timestamp: int) -> Activity | Reject:
        retention = self._profile.retention_days
        occurred_ms = activity.occurred_at // 1_000_000
        if retention is not None and occurred_ms // DAY_MS < timestamp // DAY_MS - retention:
            return Reject("time_too_old")
        return Reject("time_in_future") if occurred_ms > timestamp + 300_000 else activity

    def _poison(self, timestamp: int) -> tuple[bytes | None, Any]:
        kind = self._rng.randrange(7)
        self._numbers += 1
        good: dict[str, Any] = {
            "id": f"p{self._numbers}",
            "type": "contact.added",
            "workspace_id": "acme",
            "contact_id": 7,
            "occurred_at": _text(timestamp * 1_000_000, 3),
        }
        if kind == 0:
            return None, Tombstone()
        if kind == 1:
            return b"{" + b"x" * self._numbers, Reject("not_json")
        if kind == 2:
            del good["id"]
            return json.dumps(good).encode(), Reject("missing_field")
        if kind == 3:
            return json.dumps(good | {"workspace_id": "no spaces"}).encode(), Reject("bad_field")
        if kind == 4:
            return json.dumps(good | {"type": "contact.moved"}).encode(), Reject("unknown_type")
        if kind == 5:
            return json.dumps(good | {"occurred_at": "2026-11-24T10:00:00"}).encode(), Reject("time_without_offset")
        return json.dumps(good | {"more": "m" * MAX_EVENT_BYTES}).encode(), Reject("too_large")


def _text(occurred_at: int, digits: int) -> str:
    seconds, nanos = divmod(occurred_at, 1_000_000_000)
    day = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{day}.{nanos // 1_000_000:03d}Z" if digits else f"{day}Z"


def _written(activity: Activity) -> bytes:
    return json.dumps(
        {
            "id": activity.event_id,
            "type": "contact.deleted" if activity.activity else "contact.added",
            "workspace_id": activity.workspace,
            "contact_id": activity.contact_id,
            "contact_name": activity.contact_name,
            "source": activity.source,
            "user_id": activity.user,
            "user_name": activity.user_name,
            "occurred_at": _text(activity.occurred_at, activity.digits),
            "batch_id": activity.batch_id,
        }
    ).encode()
