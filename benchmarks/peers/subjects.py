"""The two kinds of systems that `measuring` knows: a peer, whose counts go to a topic, and this product's worker, whose
counts are read through the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from benchmarks.datasets import distinct
from benchmarks.machine import Bench, applied
from benchmarks.peers.measuring import (
    BEGIN_SECONDS,
    GIVE_UP_SECONDS,
    PARTITIONS,
    SAMPLE_SECONDS,
    SESSION_TIMEOUT_MS,
    WAIT_SECONDS,
    Probes,
    ticks,
)
from benchmarks.peers.output import Output
from benchmarks.peers.results import Difference, Stretch, Usage, difference, measured_stretch, progress
from benchmarks.peers.systems import Peer
from stream.settings.worker import WorkerConfig
from tests.support.kafka import create_topic, spawn, unique_name
from tests.support.stack import Api, get_json

POLL_SECONDS = 0.01
COMMIT_INTERVAL_SECONDS = WorkerConfig().commit_interval_seconds
OUTPUT_SETTINGS = {"message.timestamp.type": "LogAppendTime"}
"""The broker's clock says when a count was written."""


class PeerSystem:
    """A peer's job with a group, a state folder and an output topic of its own."""

    def __init__(self, bench: Bench, peer: Peer, topic: str, wanted: Mapping[str, int]) -> None:
        self.name, self.promise = peer.name, peer.promise
        self._bench, self._peer, self._wanted = bench, peer, wanted
        self._group, self._topic, self._output_topic = unique_name("peer"), topic, unique_name("counts")
        self._state = bench.folder / self._group
        self._log = bench.folder / f"{self._group}.log"
        self._quiet_seconds = max(3.0, 2.5 * peer.interval_ms / 1000)
        self._process: subprocess.Popen[bytes] | None = None
        self._output = Output(bench.kafka.bootstrap, self._output_topic, PARTITIONS, peer.decode)

    async def __aenter__(self) -> PeerSystem:
        self._state.mkdir()
        await create_topic(self._bench.kafka.bootstrap, self._output_topic, PARTITIONS, OUTPUT_SETTINGS)
        await self._output.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        await self._output.__aexit__(None, None, None)

    def start(self) -> None:
        environ = {
            "PEER_KAFKA": self._bench.kafka.bootstrap,
            "PEER_TOPIC": self._topic,
            "PEER_OUTPUT": self._output_topic,
            "PEER_GROUP": self._group,
            "PEER_STATE": str(self._state),
            "PEER_INTERVAL_MS": str(self._peer.interval_ms),
            "PEER_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
        }
        with open(self._log, "ab") as log:
            settings = [f"{name}={value}" for name, value in environ.items()]
            self._process = spawn(["env", *settings, *self._peer.words(self._state)], log)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-2_000:]

    async def catch_up(self, total: int, usages: list[Usage]) -> tuple[Stretch, int]:
        done = await self._settle(total, WAIT_SECONDS)
        assert self._output.events() >= total, f"{self.name} counted {self._output.events()} of {total} events"
        stretch = measured_stretch(progress(self._output.counts), usages, total, done)
        return stretch, await self._output.end()

    async def reach(self, committed: int) -> None:
        async for _ in ticks(self, WAIT_SECONDS, POLL_SECONDS):
            if await self._output.end() >= committed:
                break
        await asyncio.sleep(self._peer.interval_ms / 2000)

    async def begin(self) -> None:
        async for _ in ticks(self, BEGIN_SECONDS, 0.2):
            await self._output.read()
            if self._output.has_more_than_marked():
                return

    async def note_crash(self) -> None:
        await self._output.mark()

    async def lacks(self, total: int) -> bool:
        return await self._output.read() < total

    def counted_before_crash(self) -> int:
        return self._output.events_before_mark()

    async def settle(self, total: int) -> None:
        await self._settle(total, GIVE_UP_SECONDS)

    async def _settle(self, total: int, give_up_seconds: float) -> float:
        """Returns when the last commit was seen; nothing is read before nothing more comes."""
        end, changed, since = -1, time.time(), time.monotonic()
        async for _ in ticks(self, 2 * WAIT_SECONDS, SAMPLE_SECONDS):
            now = await self._output.end()
            if now != end:
                end, changed, since = now, time.time(), time.monotonic()
                continue
            still = time.monotonic() - since
            if end and still > self._quiet_seconds and (await self._output.read() >= total or still > give_up_seconds):
                break
        return changed

    async def difference(self) -> Difference:
        return difference(self._wanted, self._output.counts)

    @contextlib.asynccontextmanager
    async def watch(self, probes: Probes) -> AsyncIterator[None]:
        consumer: AIOKafkaConsumer[bytes, bytes] = AIOKafkaConsumer(
            self._output_topic,
            bootstrap_servers=self._bench.kafka.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="latest",
        )
        await consumer.start()
        await consumer.seek_to_end()

        async def read() -> None:
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        decoded = self._peer.decode(record)
                        if decoded is not None:
                            probes.seen(decoded[0].partition("|")[0])

        reading = asyncio.create_task(read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await consumer.stop()


class OurSystem:
    """This product's worker, with Redis behind it; rows are not kept, since no peer keeps any."""

    promise = "exactly once"

    def __init__(self, bench: Bench, core: str, topic: str, total: int) -> None:
        self.name = f"contacts-report ({core})"
        self._bench, self._topic, self._total = bench, topic, total
        settings = {"CONTACTS_CORE": core, "CONTACTS_ROW_DAYS": "0"}
        self._environ = bench.environ(topic, unique_name("group"), **settings)
        self._worker = bench.worker(self._environ)
        self._before_crash = 0

    async def __aenter__(self) -> OurSystem:
        await asyncio.to_thread(self._bench.topics, PARTITIONS, self._topic, self._environ["CONTACTS_GROUP"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._worker.kill()
        self._bench.redis.client.flushall()

    def start(self) -> None:
        self._worker.start()

    def kill(self) -> None:
        self._before_crash = applied(self._worker)
        self._worker.kill()

    def stop(self) -> None:
        self._worker.stop()

    @property
    def pid(self) -> int:
        return self._worker.pid

    @property
    def running(self) -> bool:
        return self._worker.running

    def tail(self) -> str:
        return self._worker.tail()

    async def catch_up(self, total: int, usages: list[Usage]) -> tuple[Stretch, int]:
        seen: list[tuple[float, int]] = []
        async for _ in ticks(self, WAIT_SECONDS, SAMPLE_SECONDS):
            now = await asyncio.to_thread(applied, self._worker)
            if now:
                seen.append((time.time(), now))
            if now >= total:
                break
        await asyncio.sleep(3 * SAMPLE_SECONDS)
        return measured_stretch(seen, usages, total), total

    async def reach(self, committed: int) -> None:
        async for _ in ticks(self, WAIT_SECONDS, POLL_SECONDS):
            if await asyncio.to_thread(applied, self._worker) >= committed:
                break
        await asyncio.sleep(COMMIT_INTERVAL_SECONDS / 2)

    async def begin(self) -> None:
        async for _ in ticks(self, BEGIN_SECONDS, SAMPLE_SECONDS):
            if await asyncio.to_thread(applied, self._worker):
                return
            left = await asyncio.to_thread(self._position) < self._total
            assert left, f"{self.name} had counted all before it was killed: more events are needed"

    async def note_crash(self) -> None:
        pass  # `kill` did

    async def lacks(self, total: int) -> bool:
        return self._before_crash < total

    def counted_before_crash(self) -> int:
        return self._before_crash

    async def settle(self, total: int) -> None:
        async for _ in ticks(self, WAIT_SECONDS, 0.2):
            if await asyncio.to_thread(self._position) >= total:
                return

    def _position(self) -> int:
        """How many events the positions of all partitions come to, once all are owned."""
        status, facts = get_json(f"http://127.0.0.1:{self._worker.port}/readyz?verbose")
        places = facts["partitions"].values() if status == 200 else []
        return sum(place["position"] or 0 for place in places)

    async def difference(self) -> Difference:
        found = await self._verify()
        # What `verify` recounts lacks copies; that no event is missing altogether is known by their number.
        lost = distinct(self._total) - found["counted"]
        return Difference(found["missing"] + max(lost, 0), found["extra"] + max(-lost, 0), 0)

    async def _verify(self) -> dict[str, int]:
        words = [sys.executable, "-m", "cli.main", "verify", "--json"]
        process = await asyncio.create_subprocess_exec(
            *words, env={**os.environ, **self._environ}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        said, _ = await process.communicate()
        found = json.loads(said)
        return {
            "missing": found["missing"],
            "extra": found["extra"],
            "counted": sum(one["counted"] for one in found["partitions"]),
        }

    @contextlib.asynccontextmanager
    async def watch(self, probes: Probes) -> AsyncIterator[None]:
        api = Api(Path(self._bench.folder), unique_name("api"), self._environ | {"CONTACTS_POSITIONS_CACHE_MS": "0"})
        api.start()
        try:
            async with asyncio.timeout(60):
                while (await asyncio.to_thread(api.get, "/readyz"))[0] != 200:
                    await asyncio.sleep(0.1)
            polling = asyncio.create_task(self._poll(api, probes))
            try:
                yield
            finally:
                polling.cancel()
                await asyncio.gather(polling, return_exceptions=True)
        finally:
            api.stop()

    async def _poll(self, api: Api, probes: Probes) -> None:
        """Asks for each probe that is not seen yet, over and over, as a dashboard would."""
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=10)

        def ask(workspace: str) -> int:
            path = f"/v1/workspaces/{workspace}/reports/contacts/summary?period=last_7_days&compare=none"
            connection.request("GET", path)
            counted: int = json.load(connection.getresponse())["added"]["count"]
            return counted

        while True:
            for workspace in list(probes.pending):
                if await asyncio.to_thread(ask, workspace):
                    probes.seen(workspace)
            await asyncio.sleep(POLL_SECONDS)
