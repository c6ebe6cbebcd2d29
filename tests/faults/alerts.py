"""`./dev faults --alerts`: a night on call, replayed. A live deployment, watched by a real Prometheus with the shipped
rules, is broken in one way after the other; each time the right alerts must fire in time, no other, and clear in time.

It takes some 25 minutes, since the alerts wait as long as in production; `--only TEXT` runs some of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import KafkaError

from stream.kafka.clients import mute_unread_failures
from tests.support.deployment import PARTITIONS, Deployment
from tests.support.kafka import KafkaCluster, RunningKafka, spawn
from tests.support.ports import free_port
from tests.support.records import event
from tests.support.stack import Process, eventually

ROOT = Path(__file__).parents[2]
EVENTS_A_SECOND: Final = 40
FIRES_SECONDS: Final = 120.0
"""From what readers feel to the page."""
CLEARS_SECONDS: Final = 90.0
"""A minute, and the two evaluations and the scrape that a busy machine may be late for."""
QUIET_SECONDS: Final = 100.0
"""How long a breakage that heals by itself is looked at."""


class Prometheus:
    """Prometheus as it is shipped, but for the addresses that it asks; `every`: and for how often it asks and looks."""

    def __init__(self, folder: Path, targets: dict[str, list[str]], every: str | None = None) -> None:
        config = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text(encoding="utf-8"))
        if every is not None:
            config["global"] = {"scrape_interval": every, "evaluation_interval": every}
        config["rule_files"] = [str(ROOT / "ops/prometheus/rules/*.yml")]
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": targets[job["job_name"]]}]
        file, port = folder / "prometheus.yml", free_port()
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        self._address = f"http://127.0.0.1:{port}"
        binary = shutil.which("prometheus")
        assert binary is not None, "Debian has it in the package prometheus"
        options = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"]
        with (folder / "prometheus.log").open("ab") as output:
            self._process = spawn([binary, *options, f"--web.listen-address=127.0.0.1:{port}"], output)

    def alerts(self) -> dict[str, str]:
        """The state of each alert that is pending or firing; of several of one name the worse."""
        with urllib.request.urlopen(f"{self._address}/api/v1/alerts", timeout=20) as answer:
            found = json.loads(answer.read())["data"]["alerts"]
        ordered = sorted(found, key=lambda one: one["state"] == "firing")
        return {one["labels"]["alertname"]: one["state"] for one in ordered}

    def pages(self) -> set[str]:
        """The names of severity `page` that fire."""
        rules = yaml.safe_load((ROOT / "ops/prometheus/rules/contacts-report.yml").read_text(encoding="utf-8"))
        pages = {
            rule["alert"]
            for group in rules["groups"]
            for rule in group["rules"]
            if rule.get("labels", {}).get("severity") == "page"
        }
        return {name for name, state in self.alerts().items() if state == "firing"} & pages

    def ready(self) -> bool:
        try:
            self.alerts()
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Publisher:
    """Sends events for as long as it is open; a share of them may be garbage."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self.garbage = 0
        """Of ten events."""
        self._closed = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._publish()), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        self._thread.join(30)

    async def _publish(self) -> None:
        mute_unread_failures(asyncio.get_running_loop())
        while not self._closed:
            producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, request_timeout_ms=5000)
            try:
                await producer.start()
                while not self._closed:
                    for number in range(10):
                        value = b"garbage" if number < self.garbage else self._event(number)
                        await producer.send(self._topic, value, key=f"w_{number}".encode())
                    await producer.flush()
                    await asyncio.sleep(10 / EVENTS_A_SECOND)
            except (KafkaError, OSError, TimeoutError):
                await asyncio.sleep(0.5)
            finally:
                stopping = asyncio.ensure_future(producer.stop())
                await asyncio.wait([stopping], timeout=5)

    @staticmethod
    def _event(number: int) -> bytes:
        at = datetime.now(UTC).isoformat()
        return json.dumps(event(id=str(uuid.uuid4()), workspace_id=f"w_{number}", occurred_at=at)).encode()


class Night:
    """The deployment, who starts its processes again, and Prometheus."""

    def __init__(self, folder: Path, kafka: KafkaCluster | RunningKafka, every: str | None = None) -> None:
        self.kafka = kafka
        self.deployment = Deployment(folder, kafka)
        self.api: Process = self.deployment.api
        self.publisher = Publisher(kafka.bootstrap, self.deployment.topic)
        workers = [f"127.0.0.1:{worker.port}" for worker in self.deployment.workers]
        targets = {"worker": workers, "api": [f"127.0.0.1:{self.deployment.api.port}"]}
        self.prometheus = Prometheus(folder, targets, every)
        self.supervised = True
        self._closed = False
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)
        self._supervisor.start()

    def _supervise(self) -> None:
        """As `restart: unless-stopped`."""
        while not self._closed:
            if self.supervised:
                self.deployment.revive()
            time.sleep(2)

    def close(self) -> None:
        self._closed = True
        self._supervisor.join(10)
        self.publisher.close()
        self.prometheus.close()
        self.api.kill()
        self.deployment.close()

    def restart_api(self, **settings: str) -> None:
        """On its port, with other settings."""
        self.api.kill()
        words = {**self.deployment.environ, "CONTACTS_API_PORT": str(self.deployment.api.port), **settings}
        self.api = Process(self.deployment.api.log.parent, "api-again", ["api"], words)
        self.api.start()

    async def change_topic(self, change: Callable[[AIOKafkaAdminClient], Any]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            await change(admin)
        finally:
            await admin.close()

    def add_partition(self) -> None:
        topic = self.deployment.topic
        asyncio.run(self.change_topic(lambda admin: admin.create_partitions({topic: NewPartitions(PARTITIONS + 1)})))

    def add_to_others(self) -> None:
        """`contacts-report topics --partitions`."""
        words = ["topics", "--partitions", str(PARTITIONS + 1)]
        command = Process(self.deployment.api.log.parent, "topics", words, self.deployment.environ)
        command.start()
        assert command.wait() == 0, command.tail()

    def delete_topic(self) -> None:
        topic = self.deployment.topic
        asyncio.run(self.change_topic(lambda admin: admin.delete_topics([topic])))


@dataclass(frozen=True)
class Breakage:
    """What is done, what must fire, and how it is mended."""

    name: str
    act: Callable[[Night], object]
    mend: Callable[[Night], object]
    fires: frozenset[str] = frozenset()
    """All of these within FIRES_SECONDS; none: nothing may fire within QUIET_SECONDS."""
    may: frozenset[str] = frozenset()
    """Tickets that may come with it, or not."""
    after: Callable[[Night], object] | None = None
    """A cause before it, whose end is right before this one begins; its alerts are of no interest."""
    can_be_mended: bool = True


def stop_kafka_until_paged(night: Night) -> None:
    night.kafka.kill()  # type: ignore[union-attr]
    eventually("paged", lambda: "ContactsKafkaAway" in night.prometheus.pages(), seconds=FIRES_SECONDS, every=1)
    night.kafka.start()  # type: ignore[union-attr]


def kill_all(night: Night) -> None:
    night.supervised = False
    for worker in night.deployment.workers:
        worker.kill()


def pause_one(night: Night) -> None:
    worker = night.deployment.workers[0]
    worker.pause()
    time.sleep(30)
    worker.wake()


def set_redis(name: str, value: str) -> Callable[[Night], object]:
    return lambda night: night.deployment.redis.client.config_set(name, value)


def supervise(night: Night) -> None:
    night.supervised = True


def nothing(_night: Night) -> None:
    """It heals by itself, or is the last."""


RESTARTS = frozenset({"ContactsRestarting"})
BREAKAGES: Final = (
    Breakage("a worker is killed, and started again", lambda n: n.deployment.workers[0].kill(), nothing),
    Breakage("Redis is emptied", lambda n: n.deployment.redis.client.flushall(), nothing),
    Breakage("a worker is paused for 30 s", pause_one, nothing, may=RESTARTS),
    Breakage(
        "the API has another group",
        lambda n: n.restart_api(CONTACTS_GROUP="contacts-reprot"),
        lambda n: n.restart_api(),
        frozenset({"ContactsApiFailing"}),
    ),
    Breakage(
        "Redis is stopped",
        lambda n: n.deployment.redis.kill(),
        lambda n: n.deployment.redis.start(),
        frozenset({"ContactsRedisAway"}),
    ),
    Breakage(
        "Kafka is stopped",
        lambda n: n.kafka.kill(),  # type: ignore[union-attr]
        lambda n: n.kafka.start(),  # type: ignore[union-attr]
        frozenset({"ContactsKafkaAway"}),
        RESTARTS,
    ),
    Breakage(
        "Redis is full",
        set_redis("maxmemory", "1000000"),
        set_redis("maxmemory", "0"),
        frozenset({"ContactsRedisFull"}),
        frozenset({"ContactsRowsDropped"}),
    ),
    Breakage(
        "Redis may evict",
        set_redis("maxmemory-policy", "allkeys-lru"),
        set_redis("maxmemory-policy", "noeviction"),
        frozenset({"ContactsRedisEvicts"}),
        frozenset({"ContactsRowsDropped"}),
    ),
    Breakage("all workers are killed", kill_all, supervise, frozenset({"ContactsUnowned"}), RESTARTS),
    Breakage(
        "Kafka comes back, and all workers are killed",
        kill_all,
        supervise,
        frozenset({"ContactsUnowned"}),
        RESTARTS | {"ContactsProcessDown"},
        after=stop_kafka_until_paged,
    ),
    Breakage(
        "a partition is added by hand",
        lambda n: n.add_partition(),
        lambda n: n.add_to_others(),
        frozenset({"ContactsUnowned"}),
        RESTARTS | {"ContactsProcessDown"},
    ),
    Breakage(
        "a fifth of what is published is garbage",
        lambda n: setattr(n.publisher, "garbage", 2),
        lambda n: setattr(n.publisher, "garbage", 0),
        frozenset({"ContactsRejected"}),
    ),
    Breakage(
        "the topic is deleted",
        lambda n: (n.publisher.close(), n.delete_topic()),
        nothing,
        frozenset({"ContactsUnowned"}),
        RESTARTS,
        can_be_mended=False,
    ),
)
"""Tickets of those before may still stand."""


@contextmanager
def night(folder: Path) -> Iterator[Night]:
    with KafkaCluster() as kafka, watched(Night(folder, kafka)) as made:
        yield made


@contextmanager
def watched(made: Night) -> Iterator[Night]:
    try:
        eventually("Prometheus answers", made.prometheus.ready)
        yield made
    finally:
        made.close()


def wait_until_quiet(of: Night, seconds: float) -> set[str]:
    """Until no page fires or is about to; the pages that are left when the time is over."""
    deadline = time.monotonic() + seconds
    while (left := of.prometheus.pages()) and time.monotonic() < deadline:
        time.sleep(1)
    return left


def wait_until_well(of: Night, look: Callable[[], object] = lambda: None) -> None:
    """Until nothing is pending, and workers and readers have all they need; `look` is called again and again."""

    def well() -> bool:
        look()
        _, told = of.deployment.api.get("/readyz?verbose")
        workers = [worker for worker in of.deployment.workers if worker.running]
        quiet = "pending" not in of.prometheus.alerts().values()
        return quiet and bool(told) and told.get("state") == "live" and any(worker.ready() for worker in workers)

    eventually("well again", well, seconds=180, every=1)


def try_breakage(of: Night, breakage: Breakage) -> list[str]:
    """Break, watch, mend and watch; returns what was wrong."""
    wait_until_well(of)
    if breakage.after is not None:
        breakage.after(of)
    before = {name for name, state in of.prometheus.alerts().items() if state == "firing"}
    wanted = set(breakage.fires) - before
    began = time.monotonic()
    seen: dict[str, float] = {}

    def look() -> None:
        for name, state in of.prometheus.alerts().items():
            if state == "firing" and name not in before:
                seen.setdefault(name, time.monotonic() - began)

    acting = threading.Thread(target=breakage.act, args=(of,))
    acting.start()
    limit = FIRES_SECONDS if breakage.fires else QUIET_SECONDS
    while time.monotonic() - began < limit and not (wanted and wanted <= seen.keys()):
        time.sleep(1)
        look()
    acting.join(60)
    wrong = [f"{name} did not fire within {FIRES_SECONDS:.0f} s" for name in sorted(wanted - seen.keys())]
    breakage.mend(of)
    mended = time.monotonic()
    left: set[str] = set()
    if breakage.mend is not nothing:
        left = wait_until_quiet(of, CLEARS_SECONDS)
        wrong += [f"{name} still fires {CLEARS_SECONDS:.0f} s after the end" for name in sorted(left)]
    cleared = time.monotonic() - mended
    look()
    if breakage.can_be_mended:  # a second page for it would come now
        wait_until_well(of, look)
    others = seen.keys() - breakage.fires - breakage.may
    wrong += [f"{name} fired, after {seen[name]:.0f} s" for name in sorted(others)]
    told = ", ".join(f"{name} after {seconds:.0f} s" for name, seconds in seen.items()) or "nothing fired"
    print(
        f"{breakage.name}: {told}" + (f"; no page {cleared:.0f} s after the end" if breakage.fires else ""), flush=True
    )
    return [f"{breakage.name}: {one}" for one in wrong]


def replay(only: str = "") -> list[str]:
    """Every breakage whose name holds `only`; returns what was wrong."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the publisher's, while Kafka is stopped
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, night(Path(folder)) as of:
        for breakage in BREAKAGES:
            if only in breakage.name:
                wrong += try_breakage(of, breakage)
    return wrong
