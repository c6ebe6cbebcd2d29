"""Draws the layout of Redis: the keys, and the format of the small values. Writers and readers both import it.

Every key begins `cr1:<group>:{0}:`. The tag keeps all keys of one workspace, and the positions that speak of it, on
one server. Below, `p` is a source partition, `day` the number of a UTC day since 1970, `n` is day // 32:

    positions                hash     per partition the fields `<p>.<name>`, see POSITION_FIELDS;
                                      `partitions` -> the largest number of them that anyone saw
                                      `evicted` -> `<run id> <keys evicted> <policy>` of the server, at a worker's last
                                      look; `lost` -> seconds since 1970, when a reader last missed keys
    workspaces               zset     every workspace seen, all of score 0: a list in the order of its bytes
    days:<workspace>         hash     `all` -> version of the last call that changed the workspace, its names too
                                      behind it, where rows were dropped, the UTC day from which they are complete
                                      `<day>` -> `<version> <p>:<bases> <p>:<bases>…`: version of the last call that
                                      changed the day, and which parts there are of it
    cells:<workspace>:<n>    hash     `<day>.<p>.<base>.h` `.c` `.s` -> head, cells and summary of each base, from 0 on
                                      `<day>.<p>.t` -> the delta, absent where empty    (stream/storage/day_parts.py)
    rows1:<workspace>:<day>  zset     packed activity rows, all of score 0                  (stream/storage/row.py)
    names:<workspace>        hash     `u:<user id>` -> `<seconds> <nanos> <partition> <offset> <0|1><label>`: the later
                                      stamp stands; 1 means that there is a label, and any label beats none.
                                      `u:` alone -> events without a user were seen
                                      `s:<source>` -> empty. `s:` alone -> events without a source were seen
    changes                  channel  workspace ids, one a line, of what a call changed
    ops                      zset     workers -> ms since 1970 when each told its status last
    ops:<worker>             string   JSON: what a worker reports of itself every two seconds; it expires
    apis                     zset     processes of the API, as in `ops`
    apis:<process>           string   JSON: what a process of the API reports of itself, as `ops:<worker>`

A version is a word drawn at random for each call: equal versions mean equal content, and they have no order.
"""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Final

import msgspec

from stream.model.time import NANOSECONDS

POSITION_FIELDS: Final = (
    "history",  # whose counts these are: hex, see stream/tables/position.py
    "token",  # of the last claim
    "number",  # of the last call that was taken since
    "position",  # next offset that readers do not see counted; absent until the first whole copy is there
    "copied",  # all that changed last below this offset is there whole, where a copy was disturbed before its end
    "owed",  # JSON [[after, upto, greatest ms], …]: offsets in (after, upto] whose rows are still missing
    "as_of",  # ms since 1970 up to which all that the broker had taken is counted; never ahead of Redis' own time
    "moved",  # ms since 1970 by the worker, never ahead of Redis: when position or as_of moved, or counts were sent
    "counts_from",  # UTC day before which retention has dropped counts
    "rows_from",  # UTC day before which rows are gone for good
    "end",  # the partition's end, when the worker asked last
    "when",  # ms since 1970, the worker's clock: the last call of any kind
    "worker",  # who made it
)

DAYS_A_HASH: Final = 32
ALL: Final = "all"
PARTITIONS: Final = "partitions"

MissingRows = tuple[tuple[int, int, int], ...]
"""Ranges of offsets, ascending: (after, upto, greatest ms); the first offset is after + 1, the last is upto. No event
in it is later than MISSING_ROWS_SLACK_MS after the third: the greatest broker time, and more where events may be
further ahead.
"""

MISSING_ROWS_SLACK_MS: Final = 5 * 60 * 1000


class Keys:
    """The keys and fields of one deployment; `group` is its consumer group."""

    def __init__(self, group: str) -> None:
        self.group: Final = group
        self.prefix: Final = f"cr1:{group}:{{0}}:"
        self.positions: Final = self.prefix + "positions"
        self.workspaces: Final = self.prefix + "workspaces"
        self.changes: Final = self.prefix + "changes"
        self.ops: Final = self.prefix + "ops"
        self.apis: Final = self.prefix + "apis"

    def days(self, workspace_id: str) -> str:
        return f"{self.prefix}days:{workspace_id}"

    def cells(self, workspace_id: str, day: int) -> str:
        """The hash that holds a day's cells; DAYS_A_HASH consecutive days share one."""
        return f"{self.prefix}cells:{workspace_id}:{day // DAYS_A_HASH}"

    def rows(self, workspace_id: str, day: int) -> str:
        return f"{self.prefix}rows1:{workspace_id}:{day}"

    def names(self, workspace_id: str) -> str:
        return f"{self.prefix}names:{workspace_id}"

    def ops_of(self, worker: str) -> str:
        return f"{self.prefix}ops:{worker}"

    def api_of(self, process: str) -> str:
        return f"{self.prefix}apis:{process}"

    @staticmethod
    def position_field(partition: int, name: str) -> str:
        """A field of `positions`; `name` is one of POSITION_FIELDS."""
        return f"{partition}.{name}"

    @staticmethod
    def head_field(day: int, partition: int, base: int) -> str:
        return f"{day}.{partition}.{base}.h"

    @staticmethod
    def cells_field(day: int, partition: int, base: int) -> str:
        return f"{day}.{partition}.{base}.c"

    @staticmethod
    def summary_field(day: int, partition: int, base: int) -> str:
        return f"{day}.{partition}.{base}.s"

    @classmethod
    def base_fields(cls, day: int, partition: int, base: int) -> tuple[str, str, str]:
        """Those of its head, its cells and its summary."""
        at = day, partition, base
        return cls.head_field(*at), cls.cells_field(*at), cls.summary_field(*at)

    @classmethod
    def aggregate_fields(cls, day: int, partition: int, bases: int) -> list[str]:
        """Those of a whole day aggregate: of its delta, then of its bases, one after the other."""
        of_bases = (cls.base_fields(day, partition, base) for base in range(bases))
        return [cls.delta_field(day, partition), *chain.from_iterable(of_bases)]

    @staticmethod
    def delta_field(day: int, partition: int) -> str:
        return f"{day}.{partition}.t"

    @staticmethod
    def without_day(field: str) -> str:
        """The field of a part, without the day that it begins with."""
        return field.partition(".")[2]

    @staticmethod
    def fields_of_day(day: int, rests: Iterable[str]) -> list[str]:
        """The fields of a day's parts, of which `rests` are without it."""
        return [f"{day}.{rest}" for rest in rests]

    @staticmethod
    def user_field(user_id: str | None) -> str:
        """A field of `names`; None stands for events without a user."""
        return f"u:{user_id or ''}"

    @staticmethod
    def source_field(source: str | None) -> str:
        """A field of `names`; None stands for events without a source."""
        return f"s:{source or ''}"

    @staticmethod
    def missing_rows_text(missing_rows: MissingRows) -> str:
        return format_missing_rows(missing_rows)


class Manifest(msgspec.Struct, frozen=True):
    """Which parts of a workspace-day there are, and the version, that of the last call that touched it."""

    version: str
    bases: dict[int, int]
    """Number of bases by partition; 0: a delta alone. A partition that is not here has nothing of this day."""


def format_manifest(manifest: Manifest) -> str:
    """The value of a day in `days:<workspace>`; partitions ascend."""
    return " ".join((manifest.version, *(format_segment(p, manifest.bases[p]) for p in sorted(manifest.bases))))


def format_segment(partition: int, bases: int) -> str:
    """One partition's part of a manifest."""
    return f"{partition}:{bases}"


def parse_manifest(value: bytes) -> Manifest:
    """Reads the value of a day in `days:<workspace>`."""
    version, *segments = value.decode().split(" ")
    bases = {}
    for segment in segments:
        partition, _, number = segment.partition(":")
        bases[int(partition)] = int(number)
    return Manifest(version, bases)


def rows_from_of(version: bytes) -> int | None:
    """The UTC day from which on a workspace's rows are complete, out of its field `all`; None: none were dropped."""
    _, _, day = version.partition(b" ")
    return int(day) if day else None


def format_missing_rows(missing_rows: MissingRows) -> str:
    return msgspec.json.encode(missing_rows).decode()


def parse_missing_rows(value: bytes | str) -> MissingRows:
    """Reads the field `owed`; an empty value is none."""
    return _MISSING_ROWS.decode(value) if value else ()


def widen(missing_rows: MissingRows, more: tuple[int, int, int]) -> MissingRows:
    """Adds a range. Ranges that overlap or touch become one, with the greater of their broker times. An empty range
    adds nothing."""
    after, upto, greatest_ms = more
    if after >= upto:
        return missing_rows
    apart = []
    for known in missing_rows:
        if known[0] > upto or known[1] < after:
            apart.append(known)
        else:
            after, upto, greatest_ms = min(after, known[0]), max(upto, known[1]), max(greatest_ms, known[2])
    return tuple(sorted([*apart, (after, upto, greatest_ms)]))


class Label(msgspec.Struct, frozen=True, order=True):
    """A user's label and where it is from. Of two the greater stands: (has a label, occurred_at, partition, offset)
    decide."""

    has_label: bool
    occurred_at: int
    """Nanoseconds since 1970; without a label, of the first event that the partition saw of the user."""
    partition: int
    offset: int
    label: str


def format_label(occurred_at: int, partition: int, offset: int, label: str | None) -> str:
    """The value of a user in `names:<workspace>`."""
    seconds, nanos = divmod(occurred_at, NANOSECONDS)
    return f"{seconds} {nanos} {partition} {offset} {'0' if label is None else '1' + label}"


def parse_label(value: bytes) -> Label:
    """Reads the value of a user in `names:<workspace>`; a label may hold spaces and line ends."""
    match = _LABEL.fullmatch(value.decode())
    if match is None:
        raise ValueError(f"not a label of a user: {value[:80]!r}")
    seconds, nanos, partition, offset, flag, label = match.groups()
    return Label(flag == "1", int(seconds) * NANOSECONDS + int(nanos), int(partition), int(offset), label)


_MISSING_ROWS: Final = msgspec.json.Decoder(MissingRows)
_LABEL: Final = re.compile(r"(\d+) (\d+) (\d+) (\d+) ([01])(.*)", re.DOTALL)


def kind_of_key(key: bytes) -> bytes:
    """What a key holds, as in the drawing: `days` of `cr1:g:{0}:days:w`. No id has a brace in it."""
    return key.rpartition(b":{0}:")[2].partition(b":")[0]
