"""The guards of the product, and how each is taken away: a text of a module is replaced before the module is loaded.

Each mutant has a fault list of its own: what must go wrong so that the guard is missed. Where a mutant stays green, no
check can see its guard: then it is none, or a check is missing.

The compiled core has some of these guards too (IN_CORE): built with the feature `mutants`, it goes on without the one
that it is told (`core/src/mutants.rs`), and counts alone.

`red_seeds.json` says which seed turned each red last, and that one is tried first: a hint that saves time and claims
nothing, because the search goes on where it is not red any more. `--mutants --remember` writes it.
"""

import importlib.abc
import importlib.machinery
import json
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from tests.simulation import chosen_core
from tests.simulation.apart import search_forked
from tests.simulation.chance import Profile, changed, draw

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
RED_SEEDS = Path(__file__).with_name("red_seeds.json")
BEGIN = "<!-- guards: written by `./dev docs` -->"
END = "<!-- end of guards -->"
OWNERSHIP, PROJECTOR, ROWS = (
    "stream/worker/partition_task.py",
    "stream/projection/projector.py",
    "stream/projection/backfill.py",
)
CALLS, COMMIT, ENDS = "stream/projection/calls.py", "stream/kafka/transaction.py", "stream/worker/ends.py"
PARTITION, COUNTS, IDS = "stream/tables/partition.py", "stream/tables/counts.py", "stream/tables/recent_ids.py"
NAMES, SCRIPT, READER = "stream/tables/names.py", "tests/simulation/redis.py", "tests/simulation/reader.py"
KEYS, CLOCKS, RECORD_TIME = "stream/storage/keys.py", "stream/worker/clocks.py", "stream/ingest/record_time.py"
LETTERS, ATTEMPTS = "stream/kafka/dead_letters.py", "stream/worker/attempts.py"
REPLICA, RECOVERY = "stream/projection/replica.py", "stream/worker/recovery.py"
CHANGELOG, READING = "stream/tables/changelog.py", "stream/kafka/changelog.py"
NEW_PARTITIONS, TOPICS = "stream/worker/new_partitions.py", "stream/kafka/topics.py"
SAMPLED, SAMPLING = "stream/projection/sampled.py", "stream/worker/sampling.py"

FIGHT = {"workers": 3, "rebalance": 0.4, "zombie": 1.0, "pause": 0.3, "zombie_returns": 0.1}
KAFKA = {"kafka_fails": 0.15, "answer_lost": 0.15, "batch_fails": 0.1}
LOSSES = {"redis_restore": 0.3, "redis_empty": 0.1, "redis_lose_delta": 0.5}
CALLS_LOST = {"call_lost": 0.1, "call_late": 0.1, "call_answer_lost": 0.1}
GROWTH = {"topics_command": 1.0, "raise_partitions": 0.0, "partitions": 1, "events": 200, "poison": 0.0}
QUIET = {"rebalance": 0.0, "crash": 0.0, "pause": 0.0, "stop": 0.0, "kafka_away": 0.0, "redis_away": 0.0} | {
    "kafka_fails": 0.0,
    "answer_lost": 0.0,
    "batch_fails": 0.0,
    "raise_partitions": 0.0,
    "slow": 0.0,
}
TIMES = {"publishers_time": 0.6, "ahead": 0.4, "head_retention": 0.0}
STREAM = {"duplicates": 0.4, "hour_jumps": 0.3, "backwards": 0.3, "backwards_hours": 0.9, "max_ids": 1000}


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    guard: str
    """What the product does, as a sentence for the list in the documentation."""
    replace: tuple[tuple[str, str, str], ...]
    """Module, text, text in its place."""
    faults: dict[str, Any] = field(default_factory=dict)
    seeds: int = 300


FORM = (PARTITION, COUNTS, IDS, NAMES, COMMIT)
"""Modules in whose place the compiled core is: what is replaced in them is replaced in the core."""

MUTANTS = (
    Mutant(
        "fence-before-read",
        "The last owner is fenced before the changelog is read.",
        (
            (
                OWNERSHIP,
                "        self._asking = asyncio.ensure_future(store.fence())\n        await self._asking\n"
                "        records = await self._read(store)\n",
                "        records = await self._read(store)\n        await store.fence()\n",
            ),
        ),
        FIGHT | {"slow": 0.2},
    ),
    Mutant(
        "closed-fences-nobody",
        "A partition that was closed fences nobody, however long its changelog store takes to let go.",
        (
            (OWNERSHIP, "            if self._closing:\n                break\n", ""),
            (OWNERSHIP, "        if self._closing:\n            raise asyncio.CancelledError\n", ""),
        ),
        KAFKA | {"slow_close": 1.0, "rebalance": 0.4, "zombie": 0.0},
        seeds=600,
    ),
    Mutant(
        "revoked-fences-nobody",
        "Between the revocation of a partition and its assignment nobody fences it.",
        ((OWNERSHIP, "        await self._stays.wait()\n", ""),),
        KAFKA | {"slow_close": 0.5, "rebalance": 0.6, "zombie": 0.0, "pause": 0.3},
    ),
    Mutant(
        "answers-before-commit",
        "Every batch of a transaction is acknowledged before the transaction is committed.",
        ((COMMIT, "                        raise answer\n", "                        pass\n"),),
        {"batch_fails": 0.2, "batch_bytes": 300},
    ),
    Mutant(
        "position-in-the-transaction",
        "The position is committed in the same transaction as the counts.",
        (
            (
                COMMIT,
                "                await self._producer.commit()\n",
                "                await self._producer.commit()\n"
                "                if len(commit.table) > 1 and commit.table[-1][0] == b'p':\n"
                "                    late = Batches(self._producer)\n"
                "                    late.put(*commit.table[-1], [])\n"
                "                    await self._producer.send([((self._changelog, self._partition), late.built[0])])\n"
                "                    await self._producer.commit()\n",
            ),
            (
                COMMIT,
                "        for key, value in commit.table:\n",
                "        for key, value in commit.table[: -1 if len(commit.table) > 1 else None]:\n",
            ),
        ),
        {"crash": 0.5},
    ),
    Mutant(
        "ids-in-the-transaction",
        "Recent ids are committed in the same transaction as what they counted.",
        (
            (
                COMMIT,
                "        for key, value in commit.table:\n",
                "        late, self._late = getattr(self, '_late', []), [i for i in commit.table if i[0][:1] == b'i']\n"
                "        for key, value in [*late, *(i for i in commit.table if i[0][:1] != b'i')]:\n",
            ),
        ),
        STREAM | {"crash": 0.4, "stop": 0.3, "window_hours": 3},
    ),
    Mutant(
        "letters-in-the-transaction",
        "Dead letters are committed in the same transaction as the position that passes them.",
        (
            (
                COMMIT,
                "                answers = await",
                "                if letters:\n"
                "                    await self._producer.send(batches[: len(letters)])\n"
                "                    await self._producer.commit()\n"
                "                    batches, letters = batches[len(letters) :], []\n"
                "                answers = await",
            ),
        ),
        KAFKA | {"poison": 0.5, "crash": 0.3},
    ),
    Mutant(
        "read-committed",
        "Only what is committed is read of the changelog.",
        ((READING, 'isolation_level="read_committed"', 'isolation_level="read_uncommitted"'),),
        FIGHT | KAFKA,
    ),
    Mutant(
        "drop-after-a-doubt",
        "After a commit whose outcome is not known, the state is dropped and recovered.",
        (
            (OWNERSHIP, "        self._state, self._doubt = None, None\n", "        self._doubt = None\n"),
            (
                OWNERSHIP,
                " = await unpack_state(self.partition,",
                " = self._state or await unpack_state(self.partition,",
            ),
        ),
        KAFKA,
    ),
    Mutant(
        "seek-to-the-position",
        "After a recovery the stream is sought to the position, and again where it stands still.",
        (
            (OWNERSHIP, "        self._fetch_control.seek(self.partition, state.position.next_offset)\n", ""),
            (OWNERSHIP, "            self._fetch_control.seek(self.partition, missed)\n", ""),
        ),
        {},
        40,
    ),
    Mutant(
        "asked-again",
        "Where a fetched batch was dropped on its way and nothing follows it, the stream is asked again.",
        ((OWNERSHIP, "            self._fetch_control.seek(self.partition, missed)\n", ""),),
        QUIET | {"partitions": 3, "workers": 1, "events": 30, "seconds": 20.0},
    ),
    Mutant(
        "a-gap-is-sought-again",
        "A batch that begins above the next offset is dropped, and the stream is sought to what is missing.",
        (
            (OWNERSHIP, "        if batch.start > needed:\n", "        if False:\n"),
            (
                PARTITION,
                '        assert batch.start <= next_offset, f"a batch from',
                '        assert True, f"a batch from',
            ),
        ),
        {},
    ),
    Mutant(
        "skipped-not-judged",
        "A record below the position that comes again is passed over, never judged.",
        (
            (
                PARTITION,
                "[record for record in batch.records if record.offset >= next_offset]",
                "list(batch.records)",
            ),
        ),
        {"window_hours": 0, "hour_jumps": 0.5},
    ),
    Mutant(
        "one-moment",
        "A commit is encoded at one moment: nothing that is applied meanwhile gets into it.",
        (
            (
                OWNERSHIP,
                "        commit = self._require_state().encode()\n",
                "        early = self._require_state().position\n        await asyncio.sleep(0.05)\n"
                "        commit = self._require_state().encode()\n"
                "        from stream.tables.position import KEY, encode_position\n"
                "        from msgspec.structs import replace\n"
                "        commit = replace(commit, position=early, "
                "table=[*commit.table[:-1], (KEY, encode_position(early))])\n",
            ),
        ),
        {"events": 110, "crash": 0.3},
    ),
    Mutant(
        "project-what-is-committed",
        "Redis gets a commit after Kafka has it, never before.",
        (
            (
                OWNERSHIP,
                "        self._asking = asyncio.ensure_future(store.commit(",
                "        if self._projector.in_sync:\n            await self._projector.project(commit)\n"
                "        self._asking = asyncio.ensure_future(store.commit(",
            ),
        ),
        {},
        40,
    ),
    Mutant(
        "fencing-token",
        "A call that an older claim sent is refused.",
        ((SCRIPT, 'if writing.get(positions, partition + b".token") != fencing_token:', "if False:"),),
        FIGHT | CALLS_LOST,
        600,
    ),
    Mutant(
        "sequence-number",
        "A call is taken only after the one before it.",
        (
            (
                SCRIPT,
                'if int(writing.get(positions, partition + b".number") or b"0") != int(sequence_number) - 1:',
                "if False:",
            ),
        ),
        CALLS_LOST | {"redis_lose_delta": 0.6, "wire_survives": 1.0},
    ),
    Mutant(
        "commit-before-claim-and-whole",
        "A claim follows a commit of one's own, and a resync sends day aggregates whole.",
        (
            (
                OWNERSHIP,
                "            await self._commit(store)  # a replaced owner learns it here, and disturbs no other\n",
                "            await asyncio.sleep(0.001)\n            if self._state.pending_weight or "
                "not hasattr(self, '_once'):\n                self._once = True\n"
                "                await self._commit(store)\n",
            ),
            (
                COUNTS,
                "        bases = self._bases_from(0)\n",
                "        bases = self._bases_from(max(len(self.bases) - 1, 0))\n",
            ),
        ),
        FIGHT | CALLS_LOST | LOSSES,
        600,
    ),
    Mutant(
        "commit-before-claim",
        "A claim follows a commit of one's own: who was replaced learns it there, and the quarrel ends.",
        (
            (
                OWNERSHIP,
                "            await self._commit(store)  # a replaced owner learns it here, and disturbs no other\n",
                "            await asyncio.sleep(0.001)\n            if self._state.pending_weight or "
                "not hasattr(self, '_once'):\n                self._once = True\n"
                "                await self._commit(store)\n",
            ),
        ),
        FIGHT | {"zombies_stay": True},
    ),
    Mutant(
        "whole-aggregates",
        "A resync sends each day aggregate whole, whatever Redis has of it.",
        (
            (
                COUNTS,
                "        bases = self._bases_from(0)\n",
                "        bases = self._bases_from(max(len(self.bases) - 1, 0))\n",
            ),
        ),
        LOSSES | {"delta_floor": 0, "base_bytes_limit": 120},
    ),
    Mutant(
        "stop-when-redis-is-ahead",
        "A worker that finds Redis above its own committed position stops: it was replaced.",
        (
            (
                PROJECTOR,
                "        if claim.reached is not None and claim.reached > committed_offset:\n",
                "        if False:\n",
            ),
        ),
        FIGHT | CALLS_LOST | {"redis_away": 0.2},
        600,
    ),
    Mutant(
        "another-incarnation",
        "Counts of another incarnation are refused.",
        ((SCRIPT, "    if stored is not None and stored != incarnation:\n", "    if False:\n"),),
        {"changelog_lost": 0.3},
        60,
    ),
    Mutant(
        "copied-of-what-was-sent",
        "How far a copy came is said of what was sent, in the order in which things changed.",
        (
            (
                COUNTS,
                'key=attrgetter("changed_at"))\n',
                "key=lambda one: -one.changed_at)\n",
            ),
        ),
        LOSSES | CALLS_LOST | {"call_bytes": 200},
    ),
    Mutant(
        "copied-goes-with-the-position",
        "Where the positions go, so does how far a copy came: what it left there may be gone.",
        ((SCRIPT, "(position|token|copied)", "(position|token)"),),
        QUIET
        | {"redis_evicts": 0.6, "call_bytes": 200, "redis_empty": 0.0, "redis_restore": 0.0, "redis_lose_delta": 0.0}
        | {"call_lost": 0.1, "events": 200, "lateness": 0.9, "seconds": 12.0, "poison": 0.0, "clock_wrong": 0.0},
    ),
    Mutant(
        "names-again",
        "A resync sends names too.",
        (
            (CALLS, "calls.names(NameChanges([], names.sources))", "calls.names(NameChanges([], []))"),
            (CALLS, "merge(names.users, aggregates,", "merge(aggregates,"),
        ),
        LOSSES,
    ),
    Mutant(
        "position-last",
        "The position moves with the last call of a commit.",
        (
            (
                PROJECTOR,
                "        self._seal(calls[-1], position.next_offset, position.next_offset)\n",
                "        self._seal(calls[0], position.next_offset, position.next_offset)\n",
            ),
        ),
        {"call_bytes": 200, "events": 110},
    ),
    Mutant(
        "missing-rows-first",
        "What is missing is told with the first call of a resync, before anything counts without its row.",
        (
            (
                PROJECTOR,
                "            call.fields |= self._name_fields(opening | moved)\n            opening = {}\n",
                "            call.fields |= self._name_fields(moved)\n",
            ),
        ),
        LOSSES,
    ),
    Mutant(
        "missing-rows-added",
        "A range of missing rows is added to those that were, never put in their place.",
        ((PROJECTOR, "            self._missing_rows, (first - 1,", "            (), (first - 1,"),),
        LOSSES | {"step_offsets": 1},
    ),
    Mutant(
        "found-for-what-is-missing",
        "Rows that were read for other missing rows than those of now are not written as if they were these.",
        ((PROJECTOR, "        if found.missing_rows != self._missing_rows:\n            return True\n", ""),),
        LOSSES | CALLS_LOST | {"slow_reads": 0.8, "step_offsets": 3, "head_retention": 0.0},
    ),
    Mutant(
        "missing-rows-while-not-kept",
        "While rows are not kept, each commit adds its own to the missing ones.",
        ((PROJECTOR, "        if self._rows is None:\n", "        if self.last_call < 0:\n"),),
        {"without_rows": 0.5},
    ),
    Mutant(
        "missing-rows-narrowed-by-what-was-written",
        "What is missing is narrowed by the call that writes the rows, and no further.",
        ((ROWS, "(*missing_rows[:-1], (after, low, greatest_ms))", "missing_rows[:-1]"),),
        LOSSES | {"step_offsets": 2},
    ),
    Mutant(
        "rows-of-what-counted",
        "Only rows of offsets that counted are written.",
        ((ROWS, "            if not state.was_counted(record.offset):\n", "            if state.was_counted(-1):\n"),),
        LOSSES | STREAM | {"poison": 0.0},
    ),
    Mutant(
        "duplicates-get-no-row",
        "The offset of a duplicate is noted as uncounted, so that no row is written of it later.",
        (
            (
                PARTITION,
                "            self._uncounted.add(record.offset)\n",
                "            if not isinstance(event, ContactActivity):\n"
                "                self._uncounted.add(record.offset)\n",
            ),
        ),
        LOSSES | STREAM | {"poison": 0.0},
    ),
    Mutant(
        "rows-of-a-lost-head",
        "What the topic has lost moves the day from which rows are complete.",
        ((ROWS, "            fields = await self._note_gone(first, end, greatest_ms)\n", ""),),
        LOSSES | {"head_retention": 0.5},
    ),
    Mutant(
        "clocks-differ",
        "What a lost head may have held is as late as another broker's clock allows.",
        ((ROWS, "CLOCKS_DIFFER_MS = HOUR_MILLISECONDS\n", "CLOCKS_DIFFER_MS = 0\n"),),
        LOSSES
        | {
            "head_retention": 1.0,
            "first_hour": 23.6,
            "hour_jumps": 0.0,
            "day_jumps": 0.0,
            "backwards": 0.5,
            "backwards_hours": 0.9,
            "lateness": 0.0,
            "step_offsets": 1,
        },
    ),
    Mutant(
        "rest-while-sending",
        "Counting rests while counts are sent whole.",
        (
            (
                OWNERSHIP,
                "        if self._phase is not Phase.COUNTING or state is None:\n",
                "        if self._phase not in (Phase.COUNTING, Phase.REPAIRING) or state is None:\n",
            ),
            (
                OWNERSHIP,
                "        if phase in (Phase.RECOVERING, Phase.REPAIRING):\n",
                "        if phase is Phase.RECOVERING:\n",
            ),
            (
                COUNTS,
                '        assert not self._changed, "a whole day aggregate is one that is committed"\n'
                "        return aggregate.changed_at",
                "        return aggregate.changed_at",
            ),
        ),
        LOSSES | {"events": 110},
    ),
    Mutant(
        "evicted-is-sent-again",
        "Where Redis has evicted keys since the last look, everything is sent again.",
        ((SCRIPT, "    if int(count) <= since or of_others:\n", "    if True:\n"),),
        {"redis_evicts": 0.5, "redis_empty": 0.0, "redis_restore": 0.0, "redis_lose_delta": 0.0},
    ),
    Mutant(
        "evicted-while-it-might-be",
        "What was evicted by a policy that an administrator has changed since is sent again, whatever the new one is.",
        ((SCRIPT, ' and before_policy.startswith(b"volatile")\n', "\n"),),
        {"redis_evicts": 0.5, "redis_empty": 0.0, "redis_restore": 0.0, "redis_lose_delta": 0.0},
        600,
    ),
    Mutant(
        "evicted-while-it-is-copied",
        "What was evicted while all was sent anew is noticed before readers get the position.",
        ((PROJECTOR, "        await self._replica.notice_evictions()\n", ""),),
        {
            "redis_evicts": 6.0,
            "evicts_seconds": 0.05,
            "operation_limit": 4,
            "events": 200,
            "partitions": 1,
            "redis_empty": 1.0,
            "call_lost": 0.03,
            "day_jumps": 0.2,
            "clock_wrong": 0.0,
            "clock_steps": 0.0,
            "commit_max_events": 5,
            "redis_restore": 0.0,
            "redis_lose_delta": 0.0,
            "changelog_lost": 0.0,
            "keys_lost": 0.0,
            "topic_anew": 0.0,
        },
    ),
    Mutant(
        "listed-and-its-days",
        "A workspace that is listed without its days, or has days and is not listed, is seen by the next call.",
        ((SCRIPT, "            if is_new == (stored is not None) and ", "            if False and "),),
        QUIET | {"redis_evicts": 1.0, "events": 110},
    ),
    Mutant(
        "no-answer-without-a-position",
        "Readers answer nothing (503) as long as a partition has no position.",
        ((READER, 'all(b"%d.position" % p in held for p in range(known))', "True"),),
        {"redis_empty": 0.3, "partitions": 2},
    ),
    Mutant(
        "asked-before",
        "`as_of` is the time before the question for the end, not after its answer.",
        (
            (
                ENDS,
                "            for partition, end in ends.items():\n",
                "            asked_ms = steady_ms()\n            for partition, end in ends.items():\n",
            ),
        ),
        {"slow": 0.3, "events": 110},
    ),
    Mutant(
        "as-of-by-the-time-of-redis",
        "`as_of` lies as far behind Redis' own time as the question that it rests on, whatever a worker's clock says.",
        (
            (
                REPLICA,
                "            as_of = min(as_of, call.asked_ms + self._redis_ahead_ms)\n",
                "            pass\n",
            ),
        ),
        QUIET | {"clock_steps": 3.0, "events": 200, "commit_interval": 0.4, "commit_max_events": 50, "seconds": 6.0},
    ),
    Mutant(
        "as-of-ahead-goes-back",
        "An `as_of` that lies ahead of Redis' time gives way to an earlier one.",
        ((SCRIPT, "        if stored < int(as_of) or stored > now_ms:\n", "        if stored < int(as_of):\n"),),
        {"as_of_ahead": 0.5, "redis_empty": 0.0, "redis_restore": 0.0, "redis_lose_delta": 0.0},
    ),
    Mutant(
        "as-of-with-its-position",
        "`as_of` travels with the position that it is true of.",
        ((PROJECTOR, "        while self._ends and self._ends[0][0] <= covered:\n", "        while self._ends:\n"),),
        {"events": 110},
    ),
    Mutant(
        "as-of-of-what-is-committed",
        "`as_of` speaks of what is committed and published, not of what is applied.",
        (
            (
                OWNERSHIP,
                "        return self._committed_offset if self._held else self._require_state().position.next_offset\n",
                "        return self._require_state().position.next_offset\n",
            ),
        ),
        LOSSES | {"events": 110, "commit_interval": 0.4, "step_offsets": 1, "commit_max_events": 50},
    ),
    Mutant(
        "later-label",
        "Of two labels of a user the one of the later event stands, whichever partition sent it.",
        (
            (
                SCRIPT,
                '        return a[5] == b"1"\n    return tuple(',
                '        return a[5] == b"1"\n    return True or tuple(',
            ),
        ),
        {"partitions": 2, "events": 110, "poison": 0.0},
    ),
    Mutant(
        "no-more-names",
        "A partition keeps no more names than its limit.",
        ((NAMES, "        if len(self._users) + len(self._sources) >= self._limit:\n", "        if False:\n"),),
        {"name_limit": 3},
    ),
    Mutant(
        "names-of-the-changelog",
        "Names that the changelog has count for the limit.",
        (
            (
                NAMES,
                "        of = workspace.decode(), rest[1:].decode() or None\n",
                "        of = workspace.decode(), rest[1:].decode() or None\n        self._limit += 1\n",
            ),
        ),
        {"name_limit": 3, "crash": 0.3},
    ),
    Mutant(
        "label-tie",
        "Equal times of labels are decided by partition and offset.",
        (
            (
                SCRIPT,
                "return tuple(map(int, a.groups()[:4])) >= tuple(map(int, b.groups()[:4]))",
                "return tuple(map(int, a.groups()[:2])) >= tuple(map(int, b.groups()[:2]))",
            ),
        ),
        {"partitions": 2, "events": 110, "poison": 0.0},
    ),
    Mutant(
        "label-beats-none",
        "Any label beats none, whatever its time.",
        ((SCRIPT, '    if a[5] != b[5]:\n        return a[5] == b"1"\n', ""),),
        {"partitions": 2, "events": 110, "poison": 0.0},
    ),
    Mutant(
        "label-by-its-time",
        "A partition keeps the label of the latest `occurred_at`, not the one that came last.",
        ((NAMES, "(event.occurred_at >= known.occurred_at or known.label is None)", "True"),),
        {"lateness": 0.8},
    ),
    Mutant(
        "window-of-the-two-records",
        "A duplicate is judged by the hours of the two records.",
        ((IDS, "if known is not None and hour - known <= self._window:", "if known is not None:"),),
        STREAM,
    ),
    Mutant(
        "extra-hour",
        "Ids are kept an hour longer than the window, for brokers whose clocks differ.",
        ((IDS, "self.latest_hour - hour > self._window + 1", "self.latest_hour - hour > self._window"),),
        STREAM,
    ),
    Mutant(
        "expiry-whatever-the-batch",
        "A record too far behind the latest hour is judged alike in whatever batch it comes.",
        (
            (
                IDS,
                "        if self._is_too_old(hour):\n",
                "        if False:\n",
            ),
        ),
        STREAM | {"backwards_hours": 3.5, "window_hours": 0, "backwards": 0.4},
        600,
    ),
    Mutant(
        "a-duplicate-does-not-move-the-hour",
        "Only records that count move the latest hour.",
        (
            (
                IDS,
                "            return False\n",
                "            self._turn_to(hour)\n            return False\n",
            ),
        ),
        STREAM
        | {"window_hours": 1, "duplicates": 0.8, "hour_jumps": 0.6, "backwards": 0.5, "backwards_hours": 3.5}
        | {"partitions": 1, "events": 110, "poison": 0.0},
    ),
    Mutant(
        "retention-before-aggregates-go",
        "The day from which counts are kept is told before day aggregates of earlier days go.",
        (
            (
                PROJECTOR,
                "        calls[0].fields |= self._name_fields(opening)\n",
                "        calls[-1].fields |= self._name_fields(opening)\n",
            ),
        ),
        {"retention_days": 1, "day_jumps": 0.2, "call_bytes": 200},
    ),
    Mutant(
        "retention-of-rows-as-committed",
        "Rows are written by the retention that is committed, not by the one that is applied.",
        (
            (
                PROJECTOR,
                "self._rows.make_step(found, state, self._counts_from)",
                "self._rows.make_step(found, state, state.position.counts_from)",
            ),
        ),
        QUIET
        | {"redis_restore": 1.0, "redis_empty": 0.5, "step_offsets": 1, "commit_interval": 0.4}
        | {"retention_days": 1, "day_jumps": 0.3, "lateness": 0.0, "head_retention": 0.0}
        | {"workers": 1, "events": 110, "commit_max_events": 50},
    ),
    Mutant(
        "retention-never-goes-back",
        "The day from which counts are kept never goes back, when broker time does.",
        (
            (
                COUNTS,
                "        if self.counts_from is not None and day <= self.counts_from:\n            return\n",
                "",
            ),
            (
                PARTITION,
                "self._counts.drop_before(day_of_hour(latest_hour) - days)",
                "self._counts.drop_before(day_of_hour(records_hour) - days)",
            ),
            (
                PARTITION,
                "        self._keep_retention()\n",
                "        global records_hour\n        records_hour = self._ids.latest_hour\n"
                "        records_hour = records[-1].timestamp // 3_600_000\n"
                "        self._keep_retention()\n",
            ),
        ),
        {"retention_days": 1, "day_jumps": 0.1, "hour_jumps": 0.4, "backwards": 0.5},
        600,
    ),
    Mutant(
        "retention-when-read",
        "An event of a day that retention has dropped is neither counted into a new day aggregate nor committed.",
        (
            (
                COUNTS,
                "            if self.counts_from is not None and day < self.counts_from:\n"
                "                return None\n",
                "",
            ),
            (COUNTS, "                self._changed.pop(days[old], None)\n", ""),
        ),
        {
            "retention_days": 1,
            "first_hour": 23.6,
            "day_jumps": 0.05,
            "backwards": 0.6,
            "backwards_hours": 3.5,
            "lateness": 0.9,
        },
    ),
    Mutant(
        "publishers-time-far-ahead",
        "A record whose publisher set its time far ahead is rejected, and moves neither hours nor days.",
        ((RECORD_TIME, "    if record.timestamp <= trusted_ms:\n", "    if True:\n"),),
        TIMES,
        60,
    ),
    Mutant(
        "brokers-time-far-ahead",
        "What a broker stamped far ahead waits until the clocks have gone on.",
        (
            (CLOCKS, " or broker_ahead(", " or None and broker_ahead("),
            (RECORD_TIME, "    assert record.timestamp_type", "    assert True or record.timestamp_type"),
        ),
        {"broker_ahead": 0.3, "head_retention": 0.0},
        60,
    ),
    Mutant(
        "clocks-agree",
        "How far a time is ahead is judged only while the worker's clock and Redis' agree.",
        ((CLOCKS, "return self._clocks.why_not(batch.fetched_at_ms) or ", "return "),),
        TIMES | {"clock_wrong": 0.5},
        60,
    ),
    Mutant(
        "lost-keys",
        "A changelog that holds fewer keys than its last commit left, or more, is refused.",
        ((CHANGELOG, "    if known.live_keys is not None and known", "    if False and known"),),
        {"keys_lost": 1.0, "changelog_lost": 0.0},
        60,
    ),
    Mutant(
        "left-out-by-known-size",
        "What would not fit into the dead-letter topic is left out before it is sent.",
        ((LETTERS, " if BATCH_OVERHEAD + form.size <= limit)", ")"),),
        {"too_large_letter": 1.0, "poison": 0.5, "limit_hidden": False},
        60,
    ),
    Mutant(
        "batches-by-known-size",
        "No batch of dead letters is larger than their topic takes.",
        ((COMMIT, " or self._size > self._limit", ""),),
        {"too_large_letter": 0.5, "poison": 0.5, "limit_hidden": False, "batch_bytes": 1 << 20},
        60,
    ),
    Mutant(
        "left-out-once-refused",
        "A dead letter that was refused for its size, which was not foreseen, goes with less the next time.",
        ((ATTEMPTS, "        if isinstance(error, TooLarge):\n", "        if False:\n"),),
        {"too_large_letter": 1.0, "poison": 0.5, "limit_hidden": True},
        60,
    ),
    Mutant(
        "moved-follows-the-position",
        "Readers are not told that a partition advances where its position stands still.",
        (
            (PROJECTOR, ", moved=claim.position != committed_offset)", ")"),
            (PROJECTOR, " if call.operations else {}\n", "\n"),
        ),
        LOSSES | CALLS_LOST,
        60,
    ),
    Mutant(
        "sent-once",
        "A call to Redis is sent once: a client that repeats it leaves copies on the way.",
        (("tests/simulation/clients.py", "if profile.copies and world.chance(0.3):", "if world.chance(0.3):"),),
        CALLS_LOST
        | LOSSES
        | {"wire_survives": 1.0, "redis_restore": 0.8, "redis_lose_delta": 0.9, "workers": 1, "crash": 0.0},
    ),
    Mutant(
        "begun-before-announced",
        "Readers are told of a new partition when it has a position, and never before.",
        (
            (
                NEW_PARTITIONS,
                "            begun = [p for p in range(known, partitions) if await self._begin(p)]\n"
                "            await self._announcements.announce(partitions, begun)\n",
                "            await self._announcements.announce(partitions)\n"
                "            [p for p in range(known, partitions) if await self._begin(p)]\n",
            ),
        ),
        GROWTH,
    ),
    Mutant(
        "announced-before-raised",
        "The source is raised when readers know of its new partitions.",
        (
            (
                TOPICS,
                "    await growth.prepare(known, partitions)\n"
                "    try:\n        await topics.add_partitions(name, partitions)\n",
                "    await topics.add_partitions(name, partitions)\n"
                "    try:\n        await growth.prepare(known, partitions)\n",
            ),
        ),
        GROWTH,
    ),
    Mutant(
        "what-is-there-is-a-workers",
        "A partition that the topic has by now is a worker's: the command that adds partitions says nothing of it.",
        ((NEW_PARTITIONS, "        if known > partition:\n            return False\n", ""),),
        GROWTH | {"topics_command": 4.0, "slow": 0.3, "topics_fail": 0.15},
        600,
    ),
    Mutant(
        "fingerprint",
        "The record of the fingerprint is read again: another one there is another topic.",
        ((RECOVERY, "        if fingerprint.offset >= first and [", "        if found is None and ["),),
        {"topic_anew": 0.3},
        60,
    ),
    Mutant(
        "sample-of-what-is-newer",
        "A sample of the counts says nothing of a day on which Redis is ahead of what it compares.",
        ((SAMPLED, "_last_event(shown) >= committed:", "_last_event(shown) >= 1 << 62:"),),
        FIGHT | {"zombies_stay": True},
    ),
    Mutant(
        "sample-of-all-parts",
        "A sample of the counts compares each part of a day.",
        ((SAMPLED, "(shown.bases, shown.delta) == (bases, aggregate.delta):", "shown.delta == aggregate.delta:"),),
        {"delta_floor": 0},
        40,
    ),
    Mutant(
        "sample-looks-again",
        "A sample of the counts says that Redis differs when several looks have said so.",
        ((SAMPLING, "LOOKS: Final = 3", "LOOKS: Final = 1"),),
        {"retention_days": 1, "day_jumps": 0.3, "events": 110, "call_bytes": 200},
    ),
)

IN_CORE = tuple(
    mutant
    for mutant in MUTANTS
    if mutant.name
    in {
        "a-duplicate-does-not-move-the-hour",
        "copied-of-what-was-sent",
        "duplicates-get-no-row",
        "expiry-whatever-the-batch",
        "extra-hour",
        "ids-in-the-transaction",
        "label-by-its-time",
        "no-more-names",
        "publishers-time-far-ahead",
        "rest-while-sending",
        "retention-never-goes-back",
        "retention-when-read",
        "skipped-not-judged",
        "whole-aggregates",
        "window-of-the-two-records",
    }
)


def take_away(name: str, seed: int, core: Path | None = None) -> Profile:
    """Load the product from now on without a guard. Returns the profile of a seed with the mutant's faults.

    `core`: count with this compiled core, built with the feature `mutants`, without its guard of that name.
    """
    mutant = next(m for m in MUTANTS if m.name == name)
    replace = mutant.replace
    if core is not None:
        os.environ |= {chosen_core.FORM: "compiled", chosen_core.FILE: str(core)}
        module = chosen_core.load_core_file()
        assert module is not None
        module.take_away(name)
        replace = tuple(text for text in replace if text[0] not in FORM)
    texts: dict[str, list[tuple[str, str]]] = {}
    for path, old, new in replace:
        module = path.removesuffix(".py").replace("/", ".")
        assert module not in sys.modules, f"{module} is loaded already"
        texts.setdefault(module, []).append((old, new))
    sys.meta_path.insert(0, _Finder(texts))
    return profile_of(mutant, seed)


def profile_of(mutant: Mutant, seed: int) -> Profile:
    return changed(draw(seed), **mutant.faults)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, texts: dict[str, list[tuple[str, str]]]) -> None:
        self._texts = texts

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in self._texts:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._texts[name])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, origin: str, texts: list[tuple[str, str]]) -> None:
        super().__init__(name, origin)
        self._texts = texts

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text()
        for old, new in self._texts:
            assert source.count(old) >= 1, f"{self.path} has no {old!r}"
            source = source.replace(old, new)
        return compile(source, self.path, "exec", dont_inherit=True)


def search(name: str, core: str | None = None) -> int:
    """In a process of its own: run a mutant until it is red."""
    mutant = next(m for m in MUTANTS if m.name == name)
    logging.disable(logging.CRITICAL)
    take_away(name, 0, Path(core) if core else None)
    from tests.simulation.run import run_seed

    for seed in (red_seeds().get(seed_name(mutant, core), 0), *range(mutant.seeds)):
        result = run_seed(seed, profile=profile_of(mutant, seed))
        if result.failure is not None:
            print(f"{seed}\t{result.calls + result.commits}\t{' '.join(result.failure.split())[:200]}")
            return 0
    return 1


def seed_name(mutant: Mutant, core: object | None) -> str:
    return mutant.name if core is None else f"core: {mutant.name}"


def red_seeds() -> dict[str, int]:
    seeds: dict[str, int] = json.loads(RED_SEEDS.read_text())
    return seeds


def main(only: str | None, remember: bool = False, core: Path | None = None) -> int:
    """Every mutant must turn red. Prints each with the seed that does.

    `core`: as in `take_away`, for the guards of the core; None leaves them out.
    """
    in_core = [] if core is None else [(mutant, core) for mutant in IN_CORE]
    chosen = [pair for pair in [*((m, None) for m in MUTANTS), *in_core] if only is None or only in seed_name(*pair)]
    green, seeds = [], red_seeds()
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        answers = pool.map(lambda pair: search_apart(*pair), chosen)
        for (mutant, where), answer in zip(chosen, answers, strict=True):
            name = seed_name(mutant, where)
            if answer is None:
                green.append(name)
                print(f"NOT RED  {name}: {mutant.seeds} seeds, and nobody missed it", flush=True)
            else:
                seeds[name] = answer.seed
                print(f"red      {name}: {answer}", flush=True)
    if remember:
        names = {seed_name(m, None) for m in MUTANTS} | {seed_name(m, ROOT) for m in IN_CORE}
        RED_SEEDS.write_text(json.dumps({n: s for n, s in sorted(seeds.items()) if n in names}, indent=2) + "\n")
    print(f"{len(chosen) - len(green)} of {len(chosen)} guards are missed when they are taken away")
    return 1 if green else 0


@dataclass(frozen=True, slots=True)
class Red:
    seed: int
    steps: int
    why: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.steps} steps: {self.why}"


def search_apart(mutant: Mutant, core: Path | None = None) -> Red | None:
    """Search in a process of its own, which loads the product without the guard; None where all seeds are green."""
    done = search_forked(mutant.name, None if core is None else str(core))
    if done.code == 0:
        seed, steps, why = done.stdout.strip().splitlines()[-1].split("\t")
        return Red(int(seed), int(steps), why)
    if done.code == 1 and not done.stderr:
        return None
    raise RuntimeError(f"{mutant.name}: exit code {done.code}: {done.stderr[-2000:]}")


def in_page(page: str) -> str:
    """The documentation's page with the list of guards as it is now."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    rows = [f"| `{m.name}` | {m.guard} | {'yes' if m in IN_CORE else ''} |" for m in MUTANTS]
    head = ["| name | guard | in the core too |", "| --- | --- | --- |"]
    return "\n".join([f"{before}{BEGIN}", "", *head, *rows, "", f"{END}{after}"])
