"""The connection to Redis: transactions within a bounded time, and words for readers and the log where one fails."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from api.errors import Unavailable
from stream.faults import FaultWatch
from stream.settings.redis import Command, PackedInC, pack_around, redis_client
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
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._idle: list[PackedInC] = []

    async def close(self) -> None:
        if self._client is not None:
            client, self._client, self._idle = self._client, None, []
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

    async def transaction(self, commands: Iterable[Command]) -> list[Any]:
        """The replies to commands that are carried out as one, as they come: without what the client makes of them."""
        self.transactions += 1
        asked = [_MULTI, *commands, _EXEC]
        replies = await self._listen(self._execute(asked), self._reads)
        if self._rights.lasting is not None:
            self._refused.difference_update(map(_kind_of, asked))
            if not self._refused:
                self._rights.clear()
        return replies

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        """On a connection that is kept: to lend one of the client's for each read, and to give it back, takes longer
        than the smallest read itself; and so does a bound around all of it, where only the replies are waited for.
        """
        until = asyncio.get_running_loop().time() + self._timeout_seconds
        if self._idle and not self._slots.locked():
            async with self._slots:
                connection = self._idle.pop()
                try:
                    if connection.is_connected and not await connection.can_read():
                        return await self._exchange(connection, commands, until)
                except RedisConnectionError:
                    pass  # as of one that was closed meanwhile
                finally:
                    self._idle.append(connection)  # whatever failed has disconnected it
        async with asyncio.timeout_at(until), self._slots:
            connection = self._idle.pop() if self._idle else await self._connect()
            try:
                if connection.is_connected and await connection.can_read():
                    await connection.disconnect()  # the server closed it meanwhile; it connects again by itself
                return await connection.retry.call_with_retry(
                    lambda: self._exchange(connection, commands), lambda _error: connection.disconnect()
                )
            finally:
                self._idle.append(connection)

    async def _exchange(
        self, connection: PackedInC, commands: Sequence[Command], until: float | None = None
    ) -> list[Any]:
        """The replies of a transaction. Raises the first error that is among them."""
        *queued, replies = await connection.exchange(commands, until)
        for command, reply in zip(commands, [*queued, replies], strict=True):
            if isinstance(reply, NoPermissionError):
                self._refused.add(_kind_of(command))
        if isinstance(replies, ResponseError):
            raise next((reply for reply in queued if isinstance(reply, ResponseError)), replies)
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return cast("list[Any]", replies)

    async def _connect(self) -> PackedInC:
        pool = self.client.connection_pool
        return cast("PackedInC", await pool.get_connection())  # type: ignore[no-untyped-call]

    async def subscribed_in_time(self, call: Awaitable[T]) -> T:
        """The answer of a subscription, within the time of a read; Redis may refuse it to those who may read."""

        async def in_time() -> T:
            async with asyncio.timeout(self._timeout_seconds):
                return await call

        return await self._listen(in_time(), self._changes)

    async def _listen(self, call: Awaitable[T], watch: FaultWatch) -> T:
        """What Redis answers; Unavailable where it does not, or not in time."""
        try:
            answer = await call
        except (RedisError, OSError, TimeoutError) as error:
            self.refuses = is_refusal(error)
            of_rights = watch is self._reads and lacks_right(error)
            raise self._unavailable(error, self._rights if of_rights else watch) from error
        watch.clear()
        return answer

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
