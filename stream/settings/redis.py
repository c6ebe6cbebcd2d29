"""Makes a Redis client from CONTACTS_REDIS. It opens no connection before the first command."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, cast

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


class PackedInC(AbstractConnection):
    """Commands are written by hiredis, as answers are read by it, in a quarter of the time for the hundreds of
    arguments of a projected commit. The client's own asyncio connections pack each argument in Python.

    And a cancel is never lost: the client writes within `asyncio.wait_for`, which before Python 3.12 forgets a cancel
    that comes together with the end of the writing, in every third call of a busy worker.
    """

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

    async def exchange(self, commands: Sequence[Command], until: float | None = None) -> list[Any]:
        """Send commands in one piece, and read the reply to each; errors among them are left as they are. Raises
        TimeoutError where they are not there `until` a time of the loop. From here on the connection is good for this
        alone, until it is disconnected.
        """
        giving_up: asyncio.TimerHandle | None = None
        try:
            if not self.is_connected:
                await self.connect()  # type: ignore[no-untyped-call]
            writer = self._writer
            assert writer is not None
            transport = writer.transport
            protocol = transport.get_protocol()
            if not isinstance(protocol, Replies):
                parser: Any = self._parser
                protocol = Replies(protocol, parser._reader)
                transport.set_protocol(protocol)
            replies = protocol.expect(len(commands))
            if until is not None:
                giving_up = asyncio.get_running_loop().call_at(until, protocol.give_up)
            transport.write(b"".join([of if isinstance(of, bytes) else hiredis.pack_command(of) for of in commands]))
            return await replies
        except TimeoutError:  # is an OSError too
            await self.disconnect(nowait=True)
            raise
        except OSError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"The connection to Redis broke: {error}") from error
        except BaseException:
            await self.disconnect(nowait=True)  # there is a reply on its way that nobody would read
            raise
        finally:
            if giving_up is not None:
                giving_up.cancel()


class Replies(asyncio.Protocol):
    """Reads the replies to commands that were sent together, in place of the client's stream once that has connected:
    the way through stream, buffer and parser takes 38 us for the smallest read, and this 29 (docs/benchmarks.md). The
    protocol `behind` hears of the connection's end and its flow as ever.
    """

    def __init__(self, behind: Any, reader: hiredis.Reader) -> None:
        """`reader` is the parser's own, so that the client sees in it what came unasked."""
        self._behind = behind
        self._reader = reader
        self._number = 0
        self._found: list[Any] = []
        self._waiting: asyncio.Future[list[Any]] | None = None

    def expect(self, number: int) -> asyncio.Future[list[Any]]:
        """So many replies. Raises RedisError and OSError."""
        self._number, self._found = number, []
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        waiting = self._waiting
        if waiting is None:
            return
        try:
            while len(self._found) < self._number:
                reply = self._reader.gets()
                if reply is NOT_ENOUGH_DATA:
                    return
                if not isinstance(reply, hiredis.PushNotification):
                    self._found.append(_without_end_of_service(reply))
        except RedisError as error:
            self._fail(error)
            return
        self._waiting = None
        if not waiting.done():
            waiting.set_result(self._found)

    def eof_received(self) -> bool | None:
        self._fail(RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR))
        ends: bool | None = self._behind.eof_received()
        return ends

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or RedisConnectionError(SERVER_CLOSED_CONNECTION_ERROR))
        self._behind.connection_lost(exc)

    def give_up(self) -> None:
        self._fail(TimeoutError("Redis did not reply in time"))

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)


def _without_end_of_service(reply: Any) -> Any:
    """A reply, unless it says that the server answers nothing at present, as the client's parser looks at it."""
    first = reply[0] if isinstance(reply, list) and reply else reply
    if isinstance(first, RedisConnectionError):
        raise first
    return reply


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
