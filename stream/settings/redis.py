"""Makes a Redis client from CONTACTS_REDIS. It opens no connection before the first command."""

import asyncio
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from types import NoneType
from typing import Any, Final, NamedTuple, cast

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis._parsers.socket import SERVER_CLOSED_CONNECTION_ERROR
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from stream.settings.redis_url import RedisAddress

SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
"""Options of a redis+sentinel:// URL that are for the Sentinels; its user and password are for the servers."""


def redis_client(
    url: str,
    *,
    timeout_seconds: float | None,
    retries: int = 1,
    connections: int | None = None,
    kind: type[Redis] = Redis,
) -> Redis:
    """A client of the server, or of whichever server the Sentinels call the primary when a connection is made.

    `timeout_seconds` bounds each connecting and each answer; None waits for ever, which a subscription needs. A command
    whose connection failed is sent again `retries` times, so it must be one that may run twice. Answers are bytes.
    """
    address = RedisAddress.parse(url)
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.01), retries),
    }
    if connections is not None:
        options["max_connections"] = connections
    if address.service is None:
        return pack_in_c(kind.from_url(url, **options))
    host, port = address.servers[0]
    shape = f"redis://{host}:{port}/{address.database}" + (f"?{address.options}" if address.options else "")
    options = dict(parse_url(shape)) | options | {"username": address.username, "password": address.password}
    del options["host"], options["port"]
    asking = {name.removeprefix("sentinel_"): options.pop(name) for name in SENTINEL_OPTIONS if name in options}
    asking |= {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    sentinel = Sentinel(list(address.servers), sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    return pack_in_c(cast("Redis", sentinel.master_for(address.service, redis_class=kind)))


class PackedWords(NamedTuple):
    """Words of a command that are packed already, one bulk text after the other."""

    content: bytes
    number: int


Command = tuple[Any, ...] | bytes
"""Its words, or all of it as it is sent."""


def pack_around(words: Iterable[Any]) -> Iterator[bytes]:
    """A command of which some words are packed already, in one piece after another."""
    groups = [(packed, list(group)) for packed, group in groupby(words, lambda word: type(word) is PackedWords)]
    yield b"*%d\r\n" % sum(word.number if packed else 1 for packed, group in groups for word in group)
    for packed, group in groups:
        if packed:
            yield from (word.content for word in group)
        else:
            yield hiredis.pack_command(tuple(group)).partition(b"\r\n")[2]  # without its own number of words


NOT_CONNECTED = "Timeout connecting to server"
"""As the client says it. A cancel that comes meanwhile has it as its note, for whoever bounds more than connecting."""


TIMER_SECONDS = 0.001
"""Timers of a loop go off in steps of it, so up to half of one too early."""


class PackedInC(AbstractConnection):
    """Commands are written by hiredis, as answers are read by it, in a quarter of the time for the hundreds of
    arguments of a projected commit. The client's own asyncio connections pack each argument in Python.

    And a cancel is never lost: the client writes within `asyncio.wait_for`, which before Python 3.12 forgets a cancel
    that comes together with the end of the writing, in every third call of a busy worker.
    """

    _replies: "Replies | None" = None

    async def _connect(self) -> None:
        try:
            await super()._connect()  # type: ignore[no-untyped-call, safe-super]
        except asyncio.CancelledError as cancelled:
            cancelled.add_note(NOT_CONNECTED)
            raise

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        words = name.split() if isinstance(name, (str, bytes)) else [name]  # `CONFIG GET` is two
        if PackedWords in map(type, rest):
            return [b"".join(pack_around((*words, *rest)))]
        return [hiredis.pack_command((*words, *rest))]

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        if not self.is_connected:
            # This asks the Sentinels where there are any; the client's own way leads where the connection was.
            await self.connect()  # type: ignore[no-untyped-call]
        limit, self.socket_timeout = self.socket_timeout, None  # without one, the client writes plainly
        if limit is None:
            await super().send_packed_command(command, check_health)
            return
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise RedisTimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit

    async def disconnect(self, *given: Any, **more: Any) -> None:
        self._replies = None
        await super().disconnect(*given, **more)

    @property
    def is_ready(self) -> bool:
        """Whether what is sent now is the next that the server answers: the connection was used for `exchange` before,
        and neither has ended since, nor said what nobody asked for, nor owes a reply.
        """
        return self._replies is not None and self._replies.ready

    async def exchange(self, commands: Sequence[Command], until: float | None = None) -> list[Any]:
        """As `ask`; a connection that is not ready connects first, which `until` does not bound. From here on it is
        good for this alone, until it is disconnected.
        """
        try:
            replies = self._replies
            if replies is None or not replies.ready:
                replies = self._replies = await self._begin_exchanges()
            return await replies.ask(_pack(commands), len(commands), until)
        except BaseException:
            await self.disconnect(nowait=True)  # there may be a reply on its way that nobody would read
            raise

    def ask(self, commands: Sequence[Command], until: float | None = None) -> asyncio.Future[list[Any]] | None:
        """Send commands in one piece, and read the reply to each; errors among them are left as they are. Raises
        TimeoutError where they are not there `until` a time of the loop, else RedisError. None: the connection is not
        ready, as after whatever has failed.
        """
        replies = self._replies
        if replies is None or not replies.ready:
            return None
        return replies.ask(_pack(commands), len(commands), until)

    async def _begin_exchanges(self) -> "Replies":
        if self._replies is not None:
            await self.disconnect()  # the server closed it meanwhile
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        writer, parser = self._writer, cast("Any", self._parser)
        assert writer is not None
        return Replies(cast("asyncio.Transport", writer.transport), parser._reader)


def _pack(commands: Sequence[Command]) -> bytes:
    if not _PACKED.issuperset(map(type, commands)):
        commands = [of if isinstance(of, bytes) else hiredis.pack_command(of) for of in commands]
    return b"".join(cast("Sequence[bytes]", commands))


_PACKED: Final = frozenset({bytes})

PLAIN: Final = frozenset({bytes, int, float, bool, NoneType, list, dict, set})
"""The types of replies that are neither errors nor pushes."""


def _replies_among(said: list[Any]) -> list[Any]:
    """What the server said, without its pushes. Raises what it says where it answers nothing at present, as the parser
    of the client does.
    """
    for reply in said:
        if isinstance(reply, RedisConnectionError):
            raise reply
    return [reply for reply in said if type(reply) is not hiredis.PushNotification]


class Replies(asyncio.Protocol):
    """Reads the replies to commands that were sent together, in place of the client's stream once that has connected:
    the way through stream, buffer and parser takes 38 us for the smallest read, and this 29 (docs/benchmarks.md). The
    protocol that was there before hears of the connection's end and its flow as ever.
    """

    def __init__(self, transport: asyncio.Transport, reader: hiredis.Reader) -> None:
        """`reader` is the parser's own, so that the client sees in it what came unasked."""
        self.ready = True
        """Whether the next reply is to what is sent next."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._behind: Any = transport.get_protocol()
        self._reader = reader
        self._number = 0
        self._found: list[Any] = []
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._until = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        transport.set_protocol(self)

    def ask(self, packed: bytes, number: int, until: float | None = None) -> asyncio.Future[list[Any]]:
        """The replies to so many commands, once they are there. Raises RedisError and TimeoutError. Who gives it up
        leaves the connection to be ready again once they are.
        """
        self.ready = False
        self._number, self._found = number, []
        waiting = self._waiting = self._loop.create_future()
        self._until = math.inf if until is None else until
        if self._until < self._timer_at:
            self._set_timer()
        self._transport.write(packed)
        return waiting

    def data_received(self, data: bytes) -> None:
        reader, waiting, found = self._reader, self._waiting, self._found
        reader.feed(data)
        if waiting is None:
            self.ready = False
            return
        try:
            # Never more than is lacking: the reader would not say that it holds a part of what nobody asked for.
            while lacking := self._number - len(found):
                got = list(islice(iter(reader.gets, NOT_ENOUGH_DATA), lacking))
                if not got:
                    return
                found += got if PLAIN.issuperset(map(type, got)) else _replies_among(got)
        except RedisError as error:
            self._fail(error)
            return
        self._waiting = None
        self.ready = not reader.has_data()
        if not waiting.done():
            waiting.set_result(found)

    def eof_received(self) -> bool | None:
        self._fail(RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR))
        ends: bool | None = self._behind.eof_received()
        return ends

    def connection_lost(self, exc: Exception | None) -> None:
        broken = f"The connection to Redis broke: {exc}" if exc else SERVER_CLOSED_CONNECTION_ERROR
        self._fail(RedisConnectionError(broken))
        if self._timer is not None:
            self._timer.cancel()
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    def _set_timer(self) -> None:
        """One is enough for all exchanges that begin before it goes off: most of them end long before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._until
        self._timer = self._loop.call_at(self._until, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._waiting is None:
            return
        if self._loop.time() >= self._until - TIMER_SECONDS:
            self._fail(TimeoutError("Redis did not reply in time"))
        elif self._until < math.inf:
            self._set_timer()

    def _fail(self, error: Exception) -> None:
        self.ready = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


def pack_in_c(client: Redis) -> Redis:
    """The same client, whose connections (none is open yet) pack their commands in C."""
    pool = client.connection_pool
    pool.connection_class = type("Packed" + pool.connection_class.__name__, (PackedInC, pool.connection_class), {})
    return client


COMMANDS_AT_ONCE = 32


class KeepingRedis(Redis):
    """A client that sends each command once, on a connection that it keeps for the next ones.

    To lend a connection of the pool for each command and to give it back, with what the client records about both,
    takes three times as long as to send a small command and to read its answer. The pool knows the connections that
    are kept as lent, and closes them with its own. Pipelines go their own way, through the pool, which must not be used
    up by what is kept: it lends a hundred.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._kept: list[AbstractConnection] = []
        self._slots = asyncio.Semaphore(COMMANDS_AT_ONCE)
        self._limit_seconds: float | None = self.connection_pool.connection_kwargs.get("socket_timeout")

    async def execute_command(self, *words: Any, **options: Any) -> Any:
        """The answer, within the time of one answer, connecting included. Raises RedisError, OSError."""
        try:
            async with asyncio.timeout(self._limit_seconds), self._slots:
                connection: Any = self._kept.pop() if self._kept else await self._lend()
                try:
                    if connection.is_connected and await connection.can_read():
                        await connection.disconnect()  # closed meanwhile, by the server: it connects again by itself
                    await connection.send_command(*words)
                    return await self.parse_response(connection, words[0], **options)
                finally:
                    self._kept.append(connection)  # whatever failed in between has disconnected it
        except TimeoutError as late:
            unconnected = NOT_CONNECTED in getattr(late.__cause__, "__notes__", ())
            told = NOT_CONNECTED if unconnected else f"no answer within {self._limit_seconds} s"
            raise RedisTimeoutError(told) from None

    async def _lend(self) -> AbstractConnection:
        connection: AbstractConnection = await self.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection.socket_timeout = None  # one bound for the command and its answer, instead of one each
        return connection
