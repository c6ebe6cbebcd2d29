"""What must hold at every write to Redis, and at the end."""

import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream.storage import day_parts as packed
from stream.storage.keys import parse_label
from stream.tables.partition import PartitionState
from tests.simulation import reader
from tests.simulation.clients import LETTER_BYTES_LIMIT
from tests.simulation.kafka import Log, SimRecord, Txn
from tests.simulation.recount import BELIEVED_AHEAD_MS, CLOCKS_DIFFER_MS, COUNTED, REJECTED, Recount, is_ahead
from tests.simulation.redis import State
from tests.simulation.workload import DAY_MS, START_MS, Activity

if TYPE_CHECKING:
    from tests.simulation.worker import World

TOLERANCE_MS = 300_000
SIZES_DIFFER = 200
"""The product's sizes are upper bounds."""


class Broken(Exception):
    """Something that must hold did not."""


class Checks:
    def __init__(self, world: "World") -> None:
        self._world = world
        self.recounts: list[Recount] = []
        self.committed: dict[int, list[int]] = defaultdict(list)
        """Every next offset that was ever committed, by partition."""
        self.histories: dict[int, bytes] = {}
        self._words: set[bytes] = set()
        self._reading = reader.Reading()
        self._rows: dict[tuple[int, int], tuple[object, set[tuple[int, int]]]] = {}
        world.redis.on_write = self._guarded
        world.broker.on_commit = self._on_commit
        self.grow()

    def grow(self) -> None:
        """There are more partitions now."""
        logs = [*self._world.broker.source, *self._world.broker.unborn]
        for partition in range(len(self.recounts), len(logs)):
            self.recounts.append(Recount(partition, logs[partition], self._world.profile))

    def advance(self) -> None:
        """Recount as far as the logs are stable."""
        self.grow()
        for recount in self.recounts:
            recount.advance()

    # ---- what is committed -------------------------------------------------------------------------------------------

    def _on_commit(self, txn: Txn) -> None:
        rejected = self._rejected_for_their_time(txn)
        for log, first in txn.first.items():
            if log not in self._world.broker.changelog:
                continue
            partition = self._world.broker.changelog.index(log)
            mine = [r for r in log.visible(first, log.end, dirty=True) if r.txn is txn]
            if not mine or mine[-1].key != b"p" or mine[-1].value is None:
                self._world.fail(Broken(f"p{partition}: a commit without a position at its end"))
                return
            position = msgspec.msgpack.decode(mine[-1].value)
            if self.committed[partition] and position[1] < self.committed[partition][-1]:
                self._world.fail(Broken(f"p{partition}: committed {position[1]} after {self.committed[partition][-1]}"))
            if self.histories.setdefault(partition, position[3]) != position[3]:
                self._world.fail(Broken(f"p{partition}: the incarnation changed"))
            self._keep_verdicts(partition, position[1], rejected)
            self.committed[partition].append(position[1])

    def _rejected_for_their_time(self, txn: Txn) -> set[int]:
        letters = (
            r
            for log in txn.first
            if log in self._world.broker.letters
            for r in log.visible(txn.first[log], log.end, dirty=True)
            if r.txn is txn
        )
        told = (dict(letter.headers) for letter in letters)
        return {int(h["__connect.errors.offset"]) for h in told if h["contacts.reason"] == b"time_in_future"}

    def _keep_verdicts(self, partition: int, upto: int, rejected: set[int]) -> None:
        """Of times far ahead: the verdicts that are committed now, which must be ones that a clock could give."""
        self.grow()
        recount, log = self.recounts[partition], self._world.broker.source_log(partition)
        latest = self._world.true_ms() + BELIEVED_AHEAD_MS + CLOCKS_DIFFER_MS
        for record in log.visible(self.committed_upto(partition), upto):
            believed = record.timestamp_type == 1 or is_ahead(record)
            if record.timestamp > latest and believed and record.offset not in rejected:
                self._world.fail(Broken(f"p{partition} offset {record.offset} counts at {record.timestamp}, far ahead"))
        recount.kept.rejected |= rejected
        recount.kept.upto = max(recount.kept.upto, upto)

    def committed_upto(self, partition: int) -> int:
        return self.committed[partition][-1] if self.committed[partition] else 0

    # ---- at every write ----------------------------------------------------------------------------------------------

    def _guarded(self, before: State, after: State, argv: Sequence[bytes]) -> None:
        if self._world.failure is not None:
            return
        try:
            if argv[0] == b"project":
                self._on_call(before, after, argv)
            if argv[0] == b"partitions" and reader.answers(before) and not reader.answers(after):
                raise Broken(f"readers wait for partitions that nobody began: {reader.partitions(after)} are announced")
        except Broken as error:
            self._world.fail(error)
        except Exception as error:  # noqa: BLE001 - content that cannot be read is a finding too
            self._world.fail(Broken(f"{type(error).__name__}: {error}"))

    def _on_call(self, before: State, after: State, argv: Sequence[bytes]) -> None:
        self.advance()
        changed = [key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)]
        partition, word = int(argv[1]), argv[4]
        days, names = self._check_words(before, after, changed, word)
        places = [reader.Place(after, r.partition) for r in self.recounts]
        if reader.is_spoilt(after, self._world.redis.evicted_keys):
            self._check_spoilt(after, places)
            return
        old = reader.Place(before, partition)
        gone = max((p.counts_from or 0 for p in places), default=0)
        for workspace, day in days:
            for recount in self.recounts:
                self._check_aggregate(after, workspace, day, recount, places[recount.partition], gone)
        for workspace in names:
            self._check_names(after, workspace)
        self._check_moved(old, partition, argv)
        self._check_place(after, self.recounts[partition], old, places[partition], gone)
        if reader.answers(after):
            self._check_answer(places[: reader.partitions(after)])
            if not self._world.raised_by_hand:
                self._check_left_out(places, reader.partitions(after))

    def _check_spoilt(self, state: State, places: Sequence[reader.Place]) -> None:
        """Of a workspace that has its days, no day is left out: where they went whole, readers see that they did."""
        listed = state.get(reader.WORKSPACES, {})
        for recount, place in zip(self.recounts, places, strict=True):
            for (workspace, day), aggregate in recount.aggregates.items():
                days = f"{reader.PREFIX}days:{workspace}".encode()
                known = workspace.encode() in listed and days in state and reader.answers(state)
                counted = aggregate.before(place.position or 0) and day >= (place.counts_from or 0)
                if known and counted and recount.partition not in reader.manifest(state, workspace, day):
                    raise Broken(f"p{recount.partition} {workspace} day {day} reads as zero after an eviction")

    def _check_answer(self, places: Sequence[reader.Place]) -> None:
        """Where a report would be given, no partition is left out of what it says to be complete."""
        told = [place.as_of for place in places if place.as_of is not None]
        for partition, place in enumerate(places):
            if place.position is None and told:
                log = self._world.broker.source_log(partition)
                if any(True for _ in log.visible(0, log.stable_at((min(told) - START_MS) / 1000))):
                    raise Broken(f"an answer is given as of {min(told) - START_MS}, without anything of p{partition}")

    def _check_left_out(self, places: Sequence[reader.Place], known: int) -> None:
        """Of a partition that readers do not know of, nothing is missing in what they say to be complete."""
        upto = min((place.as_of or 0 for place in places[:known]), default=0)
        for partition, log in list(enumerate(self._world.broker.source))[known:]:
            if any(True for _ in log.visible(0, log.stable_at((upto - START_MS) / 1000))):
                raise Broken(f"readers do not know of p{partition}, which holds events of before {upto - START_MS}")

    def _check_words(
        self, before: State, after: State, changed: Iterable[bytes], word: bytes
    ) -> tuple[set[tuple[str, int]], set[str]]:
        """Every version of a workspace is that of its call, and a version is used once. Returns the days and names
        that were touched.
        """
        days: set[tuple[str, int]] = set()
        names: set[str] = set()
        fresh = word not in self._words
        for raw in changed:
            key = raw.decode().removeprefix(reader.PREFIX)
            if key in ("positions", "workspaces"):
                continue
            kind, workspace, *rest = key.split(":")
            old, new = before.get(raw, {}), after.get(raw, {})
            if old == new:
                continue
            if not fresh:
                raise Broken(f"the version {word!r} was used before, and {key} is another now")
            manifests = after.get(f"{reader.PREFIX}days:{workspace}".encode(), {})
            if manifests.get(b"all", b"").split(b" ")[0] != word:
                raise Broken(f"{key} changed, and not the version of the workspace")
            if kind == "names":
                names.add(workspace)
            elif kind == "rows1":
                days.add((workspace, int(rest[0])))
            else:
                for field in [f for f in old.keys() | new.keys() if old.get(f) != new.get(f)]:
                    if field == b"all":
                        continue
                    day = field.split(b".")[0]
                    if not manifests.get(day, word).startswith(word):
                        raise Broken(f"{key} {field!r} changed, and not the version of its day")
                    days.add((workspace, int(day)))
        self._words.add(word)
        return days, names

    def _check_aggregate(
        self, state: State, workspace: str, day: int, recount: Recount, place: reader.Place, gone: int
    ) -> None:
        """A day aggregate is a committed state of it, covers the position, and its rows are there or known to be
        missing.
        """
        if day < gone or (place.position is None and self._world.redis.evicted_keys):
            return  # what is to be sent again is not all there
        what = f"p{recount.partition} {workspace} day {day}"
        shown = self._reading.aggregate(state, workspace, day, recount.partition)
        if isinstance(shown, str):
            raise Broken(f"{what}: {shown}")
        aggregate = recount.aggregates.get((workspace, day))
        if aggregate is None:
            if shown:
                raise Broken(f"{what}: {dict(shown)} where nothing counts")
            return
        number = shown.total()
        if number > len(aggregate.offsets) or shown != aggregate.first(number):
            raise Broken(f"{what}: {dict(shown)} is no state of {aggregate.offsets} {aggregate.cells}")
        upto = self.committed_upto(recount.partition)
        if number > aggregate.before(upto):
            raise Broken(f"{what}: {number} events, of {aggregate.offsets}, and committed is {upto}")
        if number and not self._was_committed(recount, aggregate.offsets, number):
            raise Broken(f"{what}: {number} events of {aggregate.offsets} is a state that never was committed")
        if place.position is not None and number < aggregate.before(place.position):
            raise Broken(f"{what}: {number} events of {aggregate.offsets} at position {place.position}")
        self._check_rows(state, workspace, day, recount, place, aggregate.offsets[:number])

    def _was_committed(self, recount: Recount, offsets: Sequence[int], number: int) -> bool:
        """Whether there was a commit after this event and not after the next."""
        commits = self.committed[recount.partition]
        at = bisect_left(commits, offsets[number - 1] + 1)
        return at < len(commits) and (number == len(offsets) or commits[at] <= offsets[number])

    def _check_rows(
        self, state: State, workspace: str, day: int, recount: Recount, place: reader.Place, counted: Sequence[int]
    ) -> None:
        here = self._check_row_contents(state, workspace, day)
        for offset in counted:
            if (recount.partition, offset) in here or day < (place.rows_from or 0):
                continue
            missing_rows = [greatest for after, upto, greatest in place.missing_rows if after < offset <= upto]
            if not missing_rows:
                raise Broken(
                    f"p{recount.partition} offset {offset} of day {day} counts, has no row, and that is not noted: "
                    f"{place.missing_rows}, rows from {place.rows_from}"
                )
            # What is left of a range is as old as brokers' clocks allow, which differ by less than an hour.
            if day >= (max(missing_rows) + TOLERANCE_MS) // DAY_MS + 1 and self._clocks_agree:
                raise Broken(
                    f"p{recount.partition} offset {offset} of day {day} lacks its row; readers are told {missing_rows}"
                )

    @property
    def _clocks_agree(self) -> bool:
        profile = self._world.profile
        return profile.backwards_hours < 1 and not profile.ahead and not profile.broker_ahead

    def _check_row_contents(self, state: State, workspace: str, day: int) -> set[tuple[int, int]]:
        members = state.get(f"{reader.PREFIX}rows1:{workspace}:{day}".encode())
        if members is None:
            return set()
        known = self._rows.get((id(members), day))
        if known is not None:  # what was right stays right
            return known[1]
        here: set[tuple[int, int]] = set()
        self._rows[id(members), day] = members, here
        for row in reader.rows(state, workspace, day):
            recount = self.recounts[row.partition]
            if recount.verdicts.get(row.offset) != COUNTED or row.offset >= self.committed_upto(row.partition):
                raise Broken(f"p{row.partition} offset {row.offset} has a row: {recount.verdicts.get(row.offset)}")
            a: Activity = recount.records[row.offset].truth
            told = (
                a.occurred_at,
                a.event_id,
                a.activity,
                a.digits,
                a.contact_id,
                a.contact_name,
                a.source,
                a.user,
                a.user_name,
                a.batch_id,
            )
            shown = (
                row.occurred_at,
                row.event_id,
                row.activity,
                row.fraction_digits,
                row.contact_id,
                row.contact_name,
                row.source,
                row.user_id,
                row.user_name,
                row.batch_id,
            )
            if told != shown or a.workspace != workspace or recount.day_of(row.offset) != day:
                raise Broken(f"a row says {shown}, its event {told}")
            here.add((row.partition, row.offset))
        return here

    def _check_names(self, state: State, workspace: str) -> None:
        for field, value in state.get(f"{reader.PREFIX}names:{workspace}".encode(), {}).items():
            name: str | None = field.decode()[2:] or None
            if field.startswith(b"s:"):
                if not any(
                    self.committed_upto(r.partition) > r.sources.get((workspace, name), 1 << 60) for r in self.recounts
                ):
                    raise Broken(f"{workspace} shows a source {name!r} that never was")
                continue
            label = parse_label(value)
            stamp = (label.has_label, label.occurred_at, label.partition, label.offset, label.label)
            seen = self.recounts[label.partition].labels.get((workspace, name), [])
            if label.offset >= self.committed_upto(label.partition) or stamp not in seen:
                raise Broken(f"{workspace} user {name!r} shows {stamp}; counted were {seen}")

    def _check_moved(self, old: reader.Place, partition: int, argv: Sequence[bytes]) -> None:
        """Only what advances says so: counts, the position, or the time up to which they are complete."""
        upto = 10 + 2 * int(argv[9])
        fields = dict(zip(argv[10:upto:2], argv[11:upto:2], strict=True))
        position = int(fields.get(b"%d.position" % partition, old.position or 0))
        advances = bool(argv[7]) or position != old.position or len(argv) > upto
        if b"%d.moved" % partition in fields and not advances:
            raise Broken(f"p{partition} stands at {position}, and readers are told that it moved")

    def _check_place(self, state: State, recount: Recount, old: reader.Place, new: reader.Place, gone: int) -> None:
        p = recount.partition
        for name in ("position", "as_of", "counts_from", "rows_from"):
            was, now = getattr(old, name), getattr(new, name)
            was_ahead = name == "as_of" and was is not None and was > self._world.redis.clock_ms()
            if was is not None and (now is None or now < was) and not was_ahead:
                raise Broken(f"p{p}: {name} went back from {was} to {now}")
        if new.position is not None:
            if new.position > self.committed_upto(p):
                raise Broken(f"p{p}: position {new.position}, committed {self.committed_upto(p)}")
            if new.position != old.position:
                self._check_covered(state, recount, old.position or 0, new.position, gone)
            self._check_as_of(recount, old, new)
        if (new.missing_rows, new.rows_from) != (old.missing_rows, old.rows_from):
            # What is narrowed must have been written.
            for (workspace, day), aggregate in recount.aggregates.items():
                if day >= gone:
                    shown = self._reading.aggregate(state, workspace, day, p)
                    number = shown.total() if not isinstance(shown, str) else 0
                    self._check_rows(state, workspace, day, recount, new, aggregate.offsets[:number])

    def _check_covered(self, state: State, recount: Recount, start: int, position: int, gone: int) -> None:
        """All that counted below the position is shown: cells, workspace, labels, sources."""
        p = recount.partition
        named = {workspace for workspace, _ in (*recount.labels, *recount.sources)}
        for (workspace, day), aggregate in recount.aggregates.items():
            number = aggregate.before(position)
            if aggregate.before(start) == number or (day < gone and workspace not in named):
                continue
            if workspace.encode() not in state.get(reader.WORKSPACES, {}):
                raise Broken(f"{workspace} is not in the list")
            if day < gone:
                continue
            shown = self._reading.aggregate(state, workspace, day, p)
            if isinstance(shown, str):
                raise Broken(f"p{p} {workspace} day {day}: {shown}")
            if shown.total() < number:
                raise Broken(
                    f"p{p} {workspace} day {day} shows {shown.total()} of {number} events below position {position}"
                )
        for (workspace, user), stamps in recount.labels.items():
            value = state.get(f"{reader.PREFIX}names:{workspace}".encode(), {}).get(f"u:{user or ''}".encode())
            stamp = max((s for s in stamps if s[3] < position), default=None, key=lambda s: s[:4])
            if stamp is None:
                continue
            if value is None:
                raise Broken(f"{workspace} user {user!r} has no name at position {position}")
            label = parse_label(value)
            if stamp[0] and (label.has_label, label.occurred_at, label.partition, label.offset) < stamp[:4]:
                raise Broken(f"{workspace} user {user!r} shows {label}, behind {stamp}")
        for (workspace, source), first in recount.sources.items():
            shown_names = state.get(f"{reader.PREFIX}names:{workspace}".encode(), {})
            if first < position and f"s:{source or ''}".encode() not in shown_names:
                raise Broken(f"{workspace} does not know source {source!r}")

    def _check_as_of(self, recount: Recount, old: reader.Place, place: reader.Place) -> None:
        if place.as_of is None or place.position is None:
            return
        if place.as_of == old.as_of and place.as_of in self._world.redis.said_ahead:
            return  # it waits for one that is true
        if place.as_of > self._world.redis.clock_ms():
            raise Broken(f"p{recount.partition}: as_of {place.as_of - START_MS} is ahead of the time")
        log = self._world.broker.source_log(recount.partition)
        covered = log.stable_at((place.as_of - START_MS) / 1000)
        missing = next((r for r in log.visible(place.position, covered)), None)
        if missing is not None:
            raise Broken(
                f"p{recount.partition}: as_of {place.as_of - START_MS} at {place.position} without {missing.offset}"
            )

    # ---- at the end --------------------------------------------------------------------------------------------------

    def check_end(self) -> None:
        """Everything is counted: tables, Redis and dead letters equal the recount."""
        self.advance()
        state = self._world.redis.state
        places = [reader.Place(state, r.partition) for r in self.recounts]
        gone = max((p.counts_from or 0 for p in places), default=0)
        for recount in self.recounts[: len(self._world.broker.source)]:
            self._check_letters(recount)
            self._check_tables(recount)
        if not reader.answers(state) or reader.partitions(state) < len(self._world.broker.source):
            raise Broken("a partition has no position")
        self._check_whole_redis(state, places, gone)

    def _check_letters(self, recount: Recount) -> None:
        letters = Counter()
        log = self._world.broker.letters[recount.partition]
        for record in log.visible(0, log.end):
            headers = dict(record.headers)
            offset = int(headers["__connect.errors.offset"])
            letters[offset, headers["contacts.reason"].decode()] += 1
            original = recount.records[offset]
            self._check_letter(record, original, headers)
        if letters != Counter(recount.letters.items()):
            raise Broken(f"p{recount.partition}: dead letters {letters}, rejected {recount.letters}")

    def _check_letter(self, record: Any, original: Any, headers: dict[str, bytes]) -> None:
        """It is its record, but for what did not fit: the value, then the headers, then the key, each told by its size,
        and nothing that would have fitted, where the limit was told.
        """
        own = record.headers[: len(record.headers) - 6 - sum(name.endswith("_omitted") for name in headers)]
        size_of_headers = sum(len(name) + len(content) for name, content in original.headers)
        left_out = [
            (name, was)
            for name, is_there, was in (
                ("value", record.value == original.value, len(original.value or b"")),
                ("headers", list(own) == list(original.headers), size_of_headers),
                ("key", record.key == original.key, len(original.key or b"")),
            )
            if not is_there
        ]
        told = [(name[9:-8], int(size)) for name, size in headers.items() if name.endswith("_omitted")]
        if told != left_out or (told and not self._world.letters_limited):
            raise Broken(f"a dead letter left {left_out} out, and says {told}")
        if told and not self._world.profile.limit_hidden:
            last = told[-1][0]
            kept = DefaultRecordBatchBuilder.estimate_size_in_bytes(
                original.key if last == "key" else record.key,
                original.value if last == "value" else record.value,
                [*(original.headers if last == "headers" else own), *record.headers[len(own) : -1]],
            )
            if kept + SIZES_DIFFER < LETTER_BYTES_LIMIT:
                raise Broken(f"a dead letter left {told} out, and would have had {kept} bytes")

    def _check_tables(self, recount: Recount) -> None:
        table = latest(self._world.broker.changelog[recount.partition])
        what = f"p{recount.partition} tables: "
        position = msgspec.msgpack.decode(table[b"p"])
        if position[9] != len(table):
            raise Broken(f"{what}{len(table)} keys are alive, and the position says {position[9]}")
        gone = position[5] or 0
        counts: dict[tuple[str, int], dict[int, bytes]] = defaultdict(dict)
        for key, value in table.items():
            if key[:1] == b"c":
                counts[key[7:].decode(), int.from_bytes(key[1:5], "big")][int.from_bytes(key[5:7], "big")] = value
        shown = {}
        for (workspace, day), parts in counts.items():
            delta = parts.pop(0xFFFF, None)
            if sorted(parts) != list(range(len(parts))):
                raise Broken(f"{what}{workspace} day {day} has bases {sorted(parts)}")
            bases = tuple((*packed.decode_base(parts[n]), None) for n in sorted(parts))
            cells = reader.cells_of(bases, delta)  # type: ignore[arg-type]
            if isinstance(cells, str):
                raise Broken(f"{what}{workspace} day {day}: {cells}")
            if day < gone:
                raise Broken(f"{what}{workspace} day {day} is still there, and counts are kept from {gone}")
            shown[workspace, day] = cells
        expected = {key: Counter(aggregate.cells) for key, aggregate in recount.aggregates.items() if key[1] >= gone}
        if shown != expected:
            missing = {k: v - shown.get(k, Counter()) for k, v in expected.items() if v - shown.get(k, Counter())}
            extra = {k: v - expected.get(k, Counter()) for k, v in shown.items() if v - expected.get(k, Counter())}
            raise Broken(f"{what}missing {missing} extra {extra}")
        state = self._world.recover(recount.partition, table)
        # What the topic has lost nobody asks about.
        first = max(position[2], self._world.broker.source_log(recount.partition).first)
        wrong = [o for o, v in recount.verdicts.items() if o >= first and state.was_counted(o) != (v == COUNTED)]
        if wrong:
            raise Broken(f"{what}other verdicts at {[(o, recount.verdicts[o]) for o in wrong]}")

    def _check_whole_redis(self, state: State, places: Sequence[reader.Place], gone: int) -> None:
        for recount, place in zip(self.recounts, places, strict=True):
            if place.missing_rows:
                raise Broken(f"p{recount.partition} still lacks rows {place.missing_rows}")
            for (workspace, day), aggregate in recount.aggregates.items():
                if day < gone:
                    continue
                shown = self._reading.aggregate(state, workspace, day, recount.partition)
                if shown != Counter(aggregate.cells):
                    raise Broken(
                        f"p{recount.partition} {workspace} day {day} in Redis: {shown}, recounted: {aggregate.cells}"
                    )
                self._check_rows(state, workspace, day, recount, place, aggregate.offsets)
        self._check_nothing_else(state, gone)
        self._check_all_names(state)

    def _check_nothing_else(self, state: State, gone: int) -> None:
        for raw in state:
            kind, _, rest = raw.decode().removeprefix(reader.PREFIX).partition(":")
            if kind == "days":
                for day in state[raw].keys() - {b"all"}:
                    for partition in reader.manifest(state, rest, int(day)):
                        if int(day) >= gone and (rest, int(day)) not in self.recounts[partition].aggregates:
                            raise Broken(f"Redis shows {rest} day {day!r} of p{partition}, where nothing counts")
            elif kind == "rows1":
                workspace, _, day_text = rest.partition(":")
                rows = reader.rows(state, workspace, int(day_text))
                if len({(r.partition, r.offset) for r in rows}) != len(rows):
                    raise Broken(f"a row is there twice: {rest}")
                if int(day_text) >= gone:
                    self._check_row_contents(state, workspace, int(day_text))

    def _check_all_names(self, state: State) -> None:
        expected: dict[tuple[str, str | None], tuple[bool, int, int, int, str]] = {}
        for recount in self.recounts:
            for user, stamps in recount.labels.items():
                expected[user] = max([*stamps, *([expected[user]] if user in expected else [])], key=lambda s: s[:4])
        for (workspace, name), stamp in expected.items():
            value = state.get(f"{reader.PREFIX}names:{workspace}".encode(), {}).get(f"u:{name or ''}".encode())
            label = parse_label(value) if value is not None else None
            if (
                label is None
                or (stamp[0] and (True, *msgspec.structs.astuple(label)[1:]) != stamp)
                or label.has_label != stamp[0]
            ):
                raise Broken(f"{workspace} user {name!r} is {label} in Redis, and {stamp}")


def latest(log: Log) -> dict[bytes, bytes]:
    """The latest committed value of each key."""
    return {key: record.value for key, record in live(log).items() if record.value is not None}


def live(log: Log) -> dict[bytes, SimRecord]:
    """The latest committed record of each key that is not deleted."""
    table: dict[Any, SimRecord] = {}
    for record in log.visible(0, log.end):
        table.pop(record.key, None)
        if record.value is not None:
            table[record.key] = record
    return table


__all__ = ["REJECTED", "Broken", "Checks", "PartitionState", "json", "latest", "live"]
