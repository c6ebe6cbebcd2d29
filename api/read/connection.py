"""The connection to Redis: transactions within a bounded time, and words for readers and the log where one fails."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError

from api.errors import Unavailable
from stream.faults import FaultWatch
from stream.settings.redis import PLAIN, Command, PackedInC, pack_around, redis_client
from stream.settings.redis_words import SILENT_TO_TLS, describe_redis, is_refusal, lacks_right, name_trouble
from stream.storage.keys import kind_of_key

T = TypeVar("T")

READS_AT_ONCE = 32
"""Connections to Redis a process; further reads wait for one, within the time that a read may take."""


class Connection:
    """To one Redis. Raises Unavailable where it does not answer within its time."""

    def __init__(self, redis_url: str, timeout_seconds: float) -> None:
        self.transactions = 0
        self._url = redis_url
        self._timeout_seconds = timeout_seconds
        self._client: Redis | None = None
        self._reads = FaultWatch(meanwhile="readers get 503", over="Redis answers reads again")
        self._rights = FaultWatch(meanwhile="readers get 503", over="Redis allows our user what it refused")
        self._refused: set[bytes] = set()
        """The kinds of commands that our user may not send, each until one of it was taken."""
        self._changes = FaultWatch(
            subject="live reports: ",
            meanwhile="they are asked for every second in place of changes",
            over="changes are heard again",
        )
        self.refuses = False
        """Whether Redis answered the last read that failed, and would not do it."""
        self._in_trouble = False
        """Whether a read has failed since the last one that did not."""
        self._idle: list[PackedInC | None] = [None] * READS_AT_ONCE
        """Connections that nobody reads with, those last that were used last; None: one that is not made yet."""
        self._waiting: deque[asyncio.Future[PackedInC | None]] = deque()

    async def close(self) -> None:
        if self._client is not None:
            client, self._client, self._idle = self._client, None, [None] * READS_AT_ONCE
            with suppress(RedisError, OSError):
                await client.aclose()

    @property
    def client(self) -> Redis:
        """For transactions, each of which has its bound."""
        if self._client is None:
            # A bound of the client's own would be set again for every reply, four to ten times a read: about a tenth
            # of what the smallest read costs.
            self._client = redis_client(self._url, timeout_seconds=None, retries=1)
        return self._client

    def subscriber(self) -> Redis:
        """A client of its own, for one subscription; whoever asks closes it."""
        return redis_client(self._url, timeout_seconds=None, retries=0)

    async def transaction(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that are carried out as one, as they come: without what the client makes of them.

        On a connection that is kept: to lend one of the client's for each read, and to give it back, takes longer than
        the smallest read itself; and so does a bound around all of it, where only the replies are waited for.
        """
        self.transactions += 1
        asked = [_MULTI, *commands, _EXEC]
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        try:
            connection = self._idle[-1] if self._idle else None
            waiting = None if connection is None else connection.ask(asked, until)
            if waiting is None:
                found = await self._exchange(asked, until)
            else:
                self._idle.pop()
                try:
                    found = await waiting
                except RedisConnectionError:
                    found = []  # as of one that was closed meanwhile
                finally:
                    self._give_back(connection)
                found = found or await self._exchange(asked, until)
            replies = found[-1]
            if type(replies) is not list or not PLAIN.issuperset(map(type, replies)):
                self._raise_errors(asked, found)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error, self._rights if lacks_right(error) else self._reads) from error
        if self._in_trouble:
            self._note_success(asked)
        return cast("list[Any]", replies)

    async def _exchange(self, commands: Sequence[Command], until: float) -> list[Any]:
        """On a connection that is made first, or made again, as soon as there is a place for one."""
        async with asyncio.timeout_at(until):
            place = self._idle.pop() if self._idle else await self._wait_for_place()
            try:
                lent = place = place or await self._connect()
                return await lent.retry.call_with_retry(
                    lambda: lent.exchange(commands), lambda _error: lent.disconnect()
                )
            finally:
                self._give_back(place)

    async def _wait_for_place(self) -> PackedInC | None:
        waiter: asyncio.Future[PackedInC | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it came together with the place
                self._give_back(waiter.result())
            raise

    def _give_back(self, connection: PackedInC | None) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def _raise_errors(self, commands: Sequence[Command], found: Sequence[Any]) -> None:
        """Raise what is wrong with a transaction: with a command that was not queued, else with one that was carried
        out.
        """
        *queued, replies = found
        carried_out = replies if isinstance(replies, list) else [replies]
        for command, reply in zip(commands, found, strict=True):
            if isinstance(reply, NoPermissionError):
                self._refused.add(_kind_of(command))
        error = next((reply for reply in (*queued, *carried_out) if isinstance(reply, RedisError)), None)
        if error is not None:
            raise error

    def _note_success(self, commands: Sequence[Command]) -> None:
        self._reads.clear()
        if self._rights.lasting is not None:
            self._refused.difference_update(map(_kind_of, commands))
            if not self._refused:
                self._rights.clear()
        self._in_trouble = self._rights.lasting is not None

    async def _connect(self) -> PackedInC:
        pool = self.client.connection_pool
        return cast("PackedInC", await pool.get_connection())  # type: ignore[no-untyped-call]

    async def subscribed_in_time(self, call: Awaitable[T]) -> T:
        """The answer of a subscription, within the time of a read; Redis may refuse it to those who may read."""

        async def in_time() -> T:
            async with asyncio.timeout(self._timeout_seconds):
                return await call

        try:
            answer = await in_time()
        except (RedisError, OSError, TimeoutError) as error:
            raise self._failed(error, self._changes) from error
        self._changes.clear()
        return answer

    def _failed(self, error: Exception, watch: FaultWatch) -> Unavailable:
        """What to raise where Redis does not answer, or not in time."""
        self.refuses, self._in_trouble = is_refusal(error), True
        return self._unavailable(error, watch)

    def unheard(self, error: Exception) -> Unavailable:
        """What to raise for an error of a subscription."""
        return self._unavailable(error, self._changes)

    def _unavailable(self, error: Exception, watch: FaultWatch) -> Unavailable:
        known = self._explain(error)
        watch.note(known or describe_redis(error))
        return Unavailable("redis_unavailable", f"{known or name_trouble(error)}.")

    def _explain(self, error: Exception) -> str | None:
        """What is known here alone of it."""
        if isinstance(error, OutOfMemoryError):
            return "Redis is full (maxmemory), and so refuses reads"  # each transaction, above its limit
        return SILENT_TO_TLS if isinstance(error, TimeoutError) and self._url.startswith("rediss:") else None


_MULTI, _EXEC = b"".join(pack_around(["MULTI"])), b"".join(pack_around(["EXEC"]))


def _kind_of(command: Command) -> bytes:
    """The name of a command, and of what kind its key is: what a user's rights may tell apart."""
    packed = command if isinstance(command, bytes) else b"".join(pack_around(command))
    _, _, name, *key = packed.split(b"\r\n", 5)
    return name + b" " + kind_of_key(key[1]) if len(key) > 1 else name
