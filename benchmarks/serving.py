"""Servers to ask, and the CPU that an answer costs them."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.filling import GROUP
from benchmarks.machine import say
from tests.support.kafka import spawn
from tests.support.ports import free_port
from tests.support.stack import Api, RedisServer, eventually, get_json

ROUNDS = 3
BARE_REQUESTS = 500
SETTLE_SECONDS = 0.005
"""After the last byte of an answer its process has still a little to do."""


class Server:
    """A process that answers, and one connection to it that is kept open."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid, self.port = pid, port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
        """An answer of 200 or 304, read to its end."""
        try:
            answer = self._sent(path, headers or {})
        except http.client.RemoteDisconnected:  # it was idle for longer than the server keeps connections
            answer = self._sent(path, headers or {})
        body = answer.read()
        assert answer.status in (200, 304), body
        return answer

    def _sent(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        self._connection.request("GET", path, headers=dict(headers))
        return self._connection.getresponse()

    def cpu_us(self, ask: Callable[[], object], times: int, between: Callable[[], object] = lambda: None) -> float:
        """Microseconds of its CPU for each of so many calls of `ask`, with something that others do before each."""
        before = cpu_ns(self.pid)
        for _ in range(times):
            between()
            ask()
        time.sleep(SETTLE_SECONDS)
        return (cpu_ns(self.pid) - before) / times / 1000


@dataclass
class Desk:
    """A Redis, a bare server, and APIs over that Redis."""

    redis: RedisServer
    bare: Server
    folder: Path

    def api(self, **environ: str) -> Server:
        """A process as production starts it. What differs between two of them stands in `environ`."""
        name = f"api-{free_port()}"
        settings = {
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_GROUP": GROUP,
            # No worker is here to keep it live, and revisions would change while they are compared.
            "CONTACTS_LIVE_LAG_SECONDS": "86400",
        }
        api = Api(self.folder, name, settings | environ)
        api.start()
        eventually("an API that answers", lambda: api.get("/readyz")[0] == 200 or None)
        return Server(api.pid, api.port)

    def compared(self, server: Server, what: Mapping[str, Asking]) -> dict[str, Cost]:
        """What each costs beside a bare 200, in turns: a machine may be half as fast a second later."""
        rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in what}
        paced: dict[str, list[float]] = {name: [] for name in what}
        for _ in range(ROUNDS):
            for name, asking in what.items():
                asking.before()
                bare_us = self.bare.cpu_us(lambda: self.bare.get("/"), BARE_REQUESTS)
                us = (asking.of or server).cpu_us(asking.ask, asking.times, asking.between)
                rounds[name].append((us, bare_us))
                if asking.between is not _nothing:
                    paced[name].append(self.bare.cpu_us(lambda: self.bare.get("/"), asking.times, asking.between))
        return {name: Cost.of(pairs, paced[name]) for name, pairs in rounds.items()}


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Asking:
    """Requests of one kind: `ask` makes one. `before` is done once a round, `between` before each request, both by
    others than the server.
    """

    ask: Callable[[], object]
    times: int
    before: Callable[[], object] = _nothing
    of: Server | None = None
    between: Callable[[], object] = _nothing


@dataclass(frozen=True)
class Cost:
    """CPU of one request in microseconds, and of a bare 200: of one right after the other, and of one after whatever
    others did `between`, which leaves nothing of a server in the processor's caches.
    """

    us: float
    bare_us: float
    ratio: float
    bare_between_us: float | None

    @classmethod
    def of(cls, pairs: list[tuple[float, float]], bare_between: list[float]) -> Cost:
        """The median round."""
        us, bare_us = zip(*pairs, strict=True)
        return cls(
            round(statistics.median(us), 1),
            round(statistics.median(bare_us), 1),
            round(statistics.median(one / bare for one, bare in pairs), 2),
            round(statistics.median(bare_between), 1) if bare_between else None,
        )

    def fields(self) -> dict[str, float]:
        told = {"cpu_us": self.us, "bare_200_cpu_us": self.bare_us, "ratio_to_bare_200": self.ratio}
        if self.bare_between_us is None:
            return told
        ratio = round(self.us / self.bare_between_us, 2)
        return {**told, "bare_200_likewise_cpu_us": self.bare_between_us, "ratio_to_bare_200_likewise": ratio}


@contextlib.contextmanager
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="contacts-bench-") as name:
        folder, port = Path(name), free_port()
        redis = RedisServer(folder / "redis")
        redis.start()
        with open(folder / "bare.log", "ab") as output:
            process = spawn([sys.executable, "-m", "benchmarks.bare", str(port), redis.url], output)
        try:
            eventually("a bare server that answers", lambda: get_json(f"http://127.0.0.1:{port}/")[0] == 200)
            yield Desk(redis, Server(process.pid, port), folder)
        except AssertionError:
            say(*(log.read_text(errors="replace")[-3000:] for log in folder.glob("*.log")))
            raise
        finally:
            process.kill()
            redis.kill()


def cpu_ns(pid: int) -> int:
    """CPU time of a process so far, in nanoseconds: /proc/<pid>/stat counts in steps of 10 ms."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))
