"""The oracle: what is true of a partition, by a recount of its log that shares no code with the product.

Duplicates: a record of broker hour c is a duplicate where one of the same workspace and id counted in an hour h with c
- h <= window, as long as the greatest counted
hour is at most window + 1 after h. Above `max_ids` ids within reach, the oldest hour is forgotten at once, whole.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.chance import Profile
from tests.simulation.kafka import Log, SimRecord
from tests.simulation.workload import DAY_MS, HOUR_MS, Activity, Reject, Tombstone

COUNTED, DUPLICATE, REJECTED, SKIPPED = "counted", "duplicate", "rejected", "skipped"
QUARTER_NS = 900 * 1_000_000_000

BELIEVED_AHEAD_MS, CLOCKS_DIFFER_MS = HOUR_MS, 300_000
"""How far a publisher's time may be ahead of the worker's clock, and this one be off."""

Cell = tuple[int, str | None, str | None, int]
"""(activity, source, user, quarter of the day)"""


@dataclass(slots=True)
class DayAggregate:
    """What a partition counted of one workspace and UTC day, in the order of offsets."""

    offsets: list[int] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    _sums: dict[int, Counter[Cell]] = field(default_factory=dict)

    def before(self, offset: int) -> int:
        """How many events of it lie below an offset."""
        return bisect_left(self.offsets, offset)

    def first(self, number: int) -> Counter[Cell]:
        """The cells of its first so many events."""
        if number not in self._sums:
            self._sums[number] = Counter(self.cells[:number])
        return self._sums[number]


class Kept:
    """What was committed of one partition about times far ahead: a recount has no clock, and takes that."""

    def __init__(self) -> None:
        self.upto = 0
        self.rejected: set[int] = set()


def is_ahead(record: SimRecord) -> bool:
    """Whether the verdict on a record is that of a clock reading: its publisher set a time that is far ahead."""
    latest = record.published_ms + BELIEVED_AHEAD_MS - CLOCKS_DIFFER_MS
    return record.timestamp_type == 0 and isinstance(record.truth, Activity) and record.timestamp > latest


class Recount:
    """One partition, recounted as far as its log is stable, and the verdicts that must be taken are there."""

    def __init__(self, partition: int, log: Log, profile: Profile) -> None:
        self.partition, self._log, self._profile = partition, log, profile
        self.kept = Kept()
        self._next = 0
        self.verdicts: dict[int, str] = {}
        self.records: dict[int, SimRecord] = {}
        self.aggregates: dict[tuple[str, int], DayAggregate] = {}
        self.letters: dict[int, str] = {}
        self.labels: dict[tuple[str, str | None], list[tuple[bool, int, int, int, str]]] = {}
        """Of each user whose name is kept, every counted event: (has a label, occurred at, partition, offset, label),
        in the order of offsets.
        """
        self.sources: dict[tuple[str, str | None], int] = {}
        """The offset at which each source that is kept was counted first."""
        self._latest_hour: int | None = None
        self._hours: dict[int, set[tuple[str, str]]] = {}

    def advance(self) -> None:
        """Judge what has become stable."""
        stable = self._log.stable
        if self._next >= stable:
            return
        for record in self._log.visible(self._next, stable):
            if is_ahead(record) and record.offset >= self.kept.upto:
                self._next = record.offset
                return
            self._judge(record)
        self._next = stable

    def _judge(self, record: SimRecord) -> None:
        truth: Any = record.truth
        self.records[record.offset] = record
        if isinstance(truth, Tombstone):
            self.verdicts[record.offset] = SKIPPED
        elif isinstance(truth, Reject):
            self.verdicts[record.offset] = REJECTED
            self.letters[record.offset] = truth.reason
        elif is_ahead(record) and record.offset in self.kept.rejected:
            self.verdicts[record.offset] = REJECTED
            self.letters[record.offset] = "time_in_future"
        elif self._is_copy(truth, record.timestamp // HOUR_MS):
            self.verdicts[record.offset] = DUPLICATE
        else:
            self.verdicts[record.offset] = COUNTED
            self._count(truth, record.offset)

    def _is_copy(self, activity: Activity, hour: int) -> bool:
        identity, window = (activity.workspace, activity.event_id), self._profile.window_hours
        for counted, ids in self._hours.items():
            if identity in ids and hour - counted <= window:
                return True
        latest = self._latest_hour = max(hour, self._latest_hour if self._latest_hour is not None else hour)
        for counted in [h for h in self._hours if latest - h > window + 1]:
            del self._hours[counted]
        if latest - hour <= window + 1:
            self._hours.setdefault(hour, set()).add(identity)
            if sum(map(len, self._hours.values())) > self._profile.max_ids:
                del self._hours[min(self._hours)]
        return False

    def _count(self, activity: Activity, offset: int) -> None:
        quarters = activity.occurred_at // QUARTER_NS
        day, quarter = divmod(quarters, 96)
        aggregate = self.aggregates.setdefault((activity.workspace, day), DayAggregate())
        aggregate.offsets.append(offset)
        aggregate.cells.append((activity.activity, activity.source, activity.user, quarter))
        label = activity.user_name if activity.user is not None else None
        stamp = (label is not None, activity.occurred_at, self.partition, offset, label or "")
        user, source = (activity.workspace, activity.user), (activity.workspace, activity.source)
        if user in self.labels or self._has_room():
            self.labels.setdefault(user, []).append(stamp)
        if source not in self.sources and self._has_room():
            self.sources[source] = offset

    def _has_room(self) -> bool:
        """Whether one name more is kept."""
        return len(self.labels) + len(self.sources) < self._profile.name_limit

    def day_of(self, offset: int) -> int:
        """UTC day of the event of a counted offset."""
        return self.records[offset].truth.occurred_at // 1_000_000 // DAY_MS
