"""The scripts of a partition's owner on a real Redis: claim and project. What they promise stands in replica.lua."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from stream.ports import AnotherIncarnation, Call, Claim, ReplicaAway
from stream.projection.evictions import Evictions
from stream.projection.lost_keys import SCRIPT
from stream.settings.redis import PackedWords
from stream.settings.redis_words import describe_redis
from stream.storage.keys import Keys, parse_missing_rows

log = logging.getLogger(__name__)

EMPTY_BATCH = 500


class RedisReplica:
    """Redis, through one client. A call that is not answered in the client's time may still arrive later, and is then
    refused or taken once.
    """

    def __init__(self, client: Redis, keys: Keys, evictions: Evictions | None = None) -> None:
        """`evictions`: while keys may be evicted, nothing is sent. None: Redis is known to evict nothing."""
        self._client, self._keys, self._evictions = client, keys, evictions
        self._redis_ahead_ms: int | None = None
        """Of Redis' time before the loop's, at least, by the last answer: what it said, less when it came."""
        self._script = client.register_script(SCRIPT.read_text())

    async def claim(self, partition: int, incarnation: bytes, fencing_token: str) -> Claim:
        answer = await self._run([self._keys.positions], ["claim", partition, incarnation.hex(), fencing_token])
        if answer[0] == 0:
            raise AnotherIncarnation(
                f"Redis holds counts of partition {partition} with the incarnation id {answer[1].decode()}, "
                f"and the changelog has {incarnation.hex()}: two deployments use one group, or Redis is older. "
                "`contacts-report rebuild-redis` empties it"
            )
        self._compare_clocks(answer[4])
        position, missing_rows = answer[1], answer[2]
        copied = int(answer[5]) if answer[5] else None
        return Claim(
            position=int(position) if position else None, missing_rows=parse_missing_rows(missing_rows), copied=copied
        )

    async def project(self, partition: int, fencing_token: str, sequence_number: int, call: Call) -> bool:
        now = await self._run(*self._words(partition, fencing_token, sequence_number, call))
        if not now:
            return False
        self._compare_clocks(now)
        return True

    async def project_all(
        self, partition: int, fencing_token: str, sequence_number: int, calls: Sequence[Call]
    ) -> bool:
        commands = []
        for number, call in enumerate(calls, sequence_number):
            keys, arguments = self._words(partition, fencing_token, number, call)
            commands.append(("EVALSHA", self._script.sha, count_words(keys), *keys, *arguments))
        answers = await self._run_in_order(commands)
        now = answers[-1]  # behind one that is refused, all are
        if not now:
            return False
        self._compare_clocks(now)
        return True

    def _words(
        self, partition: int, fencing_token: str, sequence_number: int, call: Call
    ) -> tuple[list[Any], list[Any]]:
        """Keys and arguments of a call."""
        fields = [text for pair in call.fields.items() for text in pair]
        arguments: list[Any] = [
            "project",
            partition,
            fencing_token,
            sequence_number,
            secrets.token_hex(8),
            self._keys.changes,
            "\n".join(call.workspaces) if call.packed is None else call.packed.workspaces,
        ]
        arguments += [
            self._as_of(call),
            "" if call.partitions is None else call.partitions,
            len(call.fields),
        ]
        keys: list[Any] = [self._keys.positions, *call.keys]
        arguments += [*fields, *call.operations]
        if call.packed is not None:
            keys.append(PackedWords(call.packed.keys, call.packed.key_count))
            arguments.append(PackedWords(call.packed.operations, call.packed.operation_count))
        return keys, arguments

    async def notice_evictions(self) -> None:
        if self._evictions is None:
            return
        try:
            await self._evictions.look()
        except (RedisError, OSError, TimeoutError) as error:
            raise ReplicaAway(describe_redis(error)) from error

    def _compare_clocks(self, now_ms: int) -> None:
        self._redis_ahead_ms = now_ms - steady_ms()

    def _as_of(self, call: Call) -> str:
        """When the question was asked, by the worker's clock and by that of Redis as its last answer showed it: the
        earlier of the two. It is computed before the call is sent, however long that is on its way.
        """
        if call.asked_ms is None:
            return ""
        age = max(steady_ms() - call.asked_ms, 0)
        as_of = call.clock_ms - age
        if self._redis_ahead_ms is not None:
            as_of = min(as_of, call.asked_ms + self._redis_ahead_ms)
        return str(as_of)

    async def now_ms(self) -> int:
        """What Redis' clock says, in milliseconds since 1970. Raises ReplicaAway."""
        try:
            seconds, microseconds = await self._client.time()
        except (RedisError, OSError, TimeoutError) as error:
            raise ReplicaAway(describe_redis(error)) from error
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def _run(self, keys: list[Any], arguments: list[Any]) -> Any:
        self._require_no_evictions()
        try:
            if isinstance(keys[-1], PackedWords):
                return await self._run_packed(count_words(keys), [*keys, *arguments])
            return await self._script(keys=keys, args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            raise ReplicaAway(describe_redis(error)) from error

    async def _run_in_order(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to commands that are sent at once."""
        self._require_no_evictions()
        try:
            answers = await self._send(commands)
            lost = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if lost:  # as below; and whatever stands behind the first of them was refused
                await self._client.script_load(self._script.script)
                answers[lost[0] :] = await self._send(commands[lost[0] :])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        except (RedisError, OSError, TimeoutError) as error:
            raise ReplicaAway(describe_redis(error)) from error
        return answers

    async def _send(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    def _require_no_evictions(self) -> None:
        if self._evictions is not None and self._evictions.refusal is not None:
            raise ReplicaAway(self._evictions.refusal)

    async def _run_packed(self, key_count: int, words: list[Any]) -> Any:
        """As redis-py's Script, which counts its keys itself."""
        try:
            return await self._client.evalsha(self._script.sha, key_count, *words)
        except NoScriptError:  # Redis was restarted, or is another one: nothing was run
            await self._client.script_load(self._script.script)
            return await self._client.evalsha(self._script.sha, key_count, *words)


def count_words(words: Sequence[Any]) -> int:
    return sum(word.number if isinstance(word, PackedWords) else 1 for word in words)


def steady_ms() -> int:
    """Milliseconds of the running loop's clock, which nobody sets back."""
    return int(asyncio.get_running_loop().time() * 1000)


async def empty(client: Redis, keys: Keys) -> int:
    """Delete all that a deployment keeps in Redis, `positions` again with each batch; the workers send everything anew.
    Returns the number of keys.
    """
    deleted = 0
    batch: list[Any] = []
    async for key in client.scan_iter(match=glob_of(keys.prefix) + "*", count=1000):
        batch.append(key)
        if len(batch) == EMPTY_BATCH:
            deleted += await client.unlink(keys.positions, *batch)
            batch = []
    return deleted + int(await client.unlink(keys.positions, *batch))


def glob_of(text: str) -> str:
    """A text as a pattern that matches only itself."""
    return "".join("\\" + c if c in "*?[]\\^-" else c for c in text)
