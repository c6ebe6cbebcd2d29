"""Redis in sync with the committed state of one partition: claimed once, then call upon call, each building on the one
before.

Out of sync means: something was refused, not answered, or never tried. The only way back is `resync`, between two
commits, with counting at rest.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence

from stream.ports import Call, Clock, Replica, ReplicaAway, WorkerMustStop
from stream.projection.backfill import Found, RowBackfill
from stream.projection.calls import calls_of_commit, calls_of_whole
from stream.slices import run_in_slices
from stream.storage.keys import MISSING_ROWS_SLACK_MS, Keys, MissingRows, widen
from stream.tables.commit import Commit
from stream.tables.position import Position
from stream.tables.state import State

# Questions about the end of a partition that still wait for what lies before it to be published. A worker far behind
# keeps every second one.
EVIDENCE_LIMIT = 4096
# Of a commit: while the worker encodes the next one Redis has work for 50 ms, in up to 6 MB.
CALLS_AT_ONCE = 96


class Projector:
    """Sends Redis what one owner committed of its partition, and keeps track of the answers."""

    def __init__(
        self,
        partition: int,
        *,
        keys: Keys,
        replica: Replica,
        rows: RowBackfill | None,
        clock: Clock,
        worker: str,
        future_tolerance_seconds: int,
    ) -> None:
        """`rows`: None where rows are not kept."""
        self._partition, self._keys, self._replica, self._rows, self._clock, self._worker = (
            partition,
            keys,
            replica,
            rows,
            clock,
            worker,
        )
        self._fencing_token, self._sequence_number = "", 0
        self._missing_rows: MissingRows = ()
        self._sent = 0  # the next offset that was not sent
        self._counts_from: int | None = None
        self._ends: deque[tuple[int, int]] = deque()
        self._ahead_ms = max(future_tolerance_seconds * 1000 - MISSING_ROWS_SLACK_MS, 0)
        self.partitions = 0  # of the topic, as far as this worker knows
        self.last_call = 0.0  # seconds of the loop's clock, which nobody sets back

    @property
    def in_sync(self) -> bool:
        return bool(self._fencing_token)

    @property
    def lacks_rows(self) -> bool:
        """Whether there are rows to write; where rows are not kept, there are none."""
        return bool(self._fencing_token) and self._rows is not None and bool(self._missing_rows)

    @property
    def offsets_to_backfill(self) -> int:
        """How many offsets wait for their rows."""
        return 0 if self._rows is None else sum(upto - after for after, upto, _ in self._missing_rows)

    def lose_sync(self) -> None:
        self._fencing_token = ""

    def note_end(self, end: int, asked_ms: int) -> None:
        """The broker said that the partition ends at `end` (read committed) to a question sent at `asked_ms` (of the
        loop's clock, which nobody sets back): evidence for `as_of`.

        Of questions with one answer the latest says most; and where a broker has lost records, one from before says
        nothing that will ever be reached.
        """
        while self._ends and self._ends[-1][0] >= end:
            self._ends.pop()
        self._ends.append((end, asked_ms))
        if len(self._ends) > EVIDENCE_LIMIT:
            self._ends = deque(list(self._ends)[1::2])

    async def resync(self, state: State, committed_offset: int) -> bool:
        """Claim, and send whole whatever changed since the offset that Redis holds; then the position. False: refused,
        begin again.

        The caller has committed just before, and applies nothing until this returns: so a zombie learns there that it
        is one, and what is sent is one state.
        A copy that was disturbed goes on where it was, whoever sent it: nothing that it left there is taken back.
        Rows of what Redis did not hold are noted as missing from the first call on.
        """
        self._fencing_token = ""
        fencing_token = secrets.token_hex(16)
        claim = await self._replica.claim(self._partition, state.position.incarnation, fencing_token)
        if claim.reached is not None and claim.reached > committed_offset:
            raise WorkerMustStop(
                f"Redis is at offset {claim.reached} of partition {self._partition}, where {committed_offset} is "
                "committed: another worker owns it, or, where there is none, Kafka has lost committed records. If it "
                "was restored from a backup: `contacts-report rebuild-redis`, with all workers stopped"
            )
        self._sequence_number, self._missing_rows = 0, claim.missing_rows
        have = state.position.first_offset if claim.position is None else claim.position
        after = -1 if claim.reached is None else claim.reached - 1
        opening = self._note_counts_from(state.position)
        opening |= self._note_missing_rows(have, committed_offset, state.position)
        names = await run_in_slices(state.names_after(after))
        aggregates = await run_in_slices(state.whole_in_order(after))
        for call in calls_of_whole(self._keys, self._partition, names, aggregates):
            moved = {"moved": str(self._clock.now_ms())} if call.operations else {}
            call.fields |= self._name_fields(opening | moved)
            opening = {}
            if not await self._send(fencing_token, call):
                return False
        last = Call(keys=[], operations=[], workspaces=[], fields=self._name_fields(opening))
        self.partitions = max(self.partitions, state.position.partitions)
        self._seal(last, committed_offset, committed_offset, moved=claim.position != committed_offset)
        # Of days that were evicted while the copy was under way the next call made some anew, without the others. As
        # long as no position is there, only the number of evicted keys tells.
        await self._replica.notice_evictions()
        if not await self._send(fencing_token, last):
            return False
        self._fencing_token, self._sent = fencing_token, committed_offset
        return True

    async def project(self, commit: Commit) -> bool:
        """Send what was just committed; the last call moves the position. False or ReplicaAway: out of sync."""
        calls = list(calls_of_commit(self._keys, self._partition, commit))
        position = commit.position
        # Before any day aggregate of those days goes, readers know that they are gone; and before any count without its
        # row is there, that this one is.
        opening = self._note_counts_from(position)
        if self._rows is None:
            opening |= self._note_missing_rows(self._sent, position.next_offset, position)
        calls[0].fields |= self._name_fields(opening)
        self._seal(calls[-1], position.next_offset, position.next_offset)
        self._sent = position.next_offset
        return await self._send_all(calls)

    async def heartbeat(self, covered: int) -> bool:
        """Tell readers how fresh the numbers are: all before `covered` is applied and published. A loss in Redis is
        seen by the answer.
        """
        call = Call(keys=[], operations=[], workspaces=[], fields={})
        self._seal(call, None, covered)
        return await self._send_all([call])

    async def find_rows(self) -> Found:
        """Read some of the records whose rows are missing, newest first. Raises KafkaAway."""
        assert self._rows is not None, "without an activity table no rows are missing"
        return await self._rows.find(self._missing_rows)

    async def write_rows(self, found: Found, state: State, covered: int) -> bool:
        """Write the rows of what was found, and narrow the missing rows by them in the same call. What was
        found for other missing rows than those of now is dropped: Redis may have lost what it had then.
        """
        assert self._rows is not None, "without an activity table no rows are missing"
        if found.missing_rows != self._missing_rows:
            return True
        step = self._rows.make_step(found, state, self._counts_from)
        calls = list(step.calls(self._keys, self._partition))
        calls[-1].fields |= self._name_fields({"owed": self._keys.missing_rows_text(step.left)} | step.fields)
        self._seal(calls[-1], None, covered)
        if not await self._send_all(calls):
            return False
        self._missing_rows = step.left
        return True

    def _seal(self, call: Call, offset: int | None, covered: int, *, moved: bool = True) -> None:
        """Make this the call that tells the position, and give it the freshest true `as_of`. `moved`: the position is
        another than the one before: readers take a partition for advancing by that.
        """
        while self._ends and self._ends[0][0] <= covered:
            call.asked_ms = self._ends.popleft()[1]
        now = str(self._clock.now_ms())
        fields = {"when": now, "worker": self._worker}
        if call.asked_ms is not None or (offset is not None and moved):
            fields["moved"] = now
        if offset is not None:
            fields["position"] = str(offset)
        call.partitions = self.partitions
        call.fields |= self._name_fields(fields)

    def _note_missing_rows(self, first: int, end: int, position: Position) -> dict[str, str]:
        """The rows of [first, end) are missing, and counted now. Where rows are not kept they stay missing: readers see
        it, and a worker that keeps rows again writes them.
        """
        if first >= end:
            return {}
        self._missing_rows = widen(
            self._missing_rows, (first - 1, end - 1, position.greatest_broker_ms + self._ahead_ms)
        )
        return {"owed": self._keys.missing_rows_text(self._missing_rows)}

    def _note_counts_from(self, position: Position) -> dict[str, str]:
        """The day from which counts are kept, as committed."""
        self._counts_from = position.counts_from
        return {} if position.counts_from is None else {"counts_from": str(position.counts_from)}

    def _name_fields(self, fields: dict[str, str]) -> dict[str, str]:
        return {self._keys.position_field(self._partition, name): value for name, value in fields.items()}

    async def _send_all(self, calls: Sequence[Call]) -> bool:
        for first in range(0, len(calls), CALLS_AT_ONCE):
            if not self._fencing_token or not await self._send(
                self._fencing_token, *calls[first : first + CALLS_AT_ONCE]
            ):
                self._fencing_token = ""
                return False
        return True

    async def _send(self, fencing_token: str, *calls: Call) -> bool:
        number = self._sequence_number + 1
        self._sequence_number += len(calls)
        for call in calls:
            call.clock_ms = self._clock.now_ms()
        try:
            if len(calls) == 1:
                taken = await self._replica.project(self._partition, fencing_token, number, calls[0])
            else:
                taken = await self._replica.project_all(self._partition, fencing_token, number, calls)
        except ReplicaAway:
            self._fencing_token = ""
            raise
        self.last_call = asyncio.get_running_loop().time()
        return taken
