"""A real Apache Kafka for tests and benchmarks, of one node or three, from its jars and without containers.

The jars come once from Maven into a cache folder (by default `~/.cache/contacts-report/kafka-4.1.1`, else the one that
`TEST_KAFKA_JARS` names). By hand: `python -m tests.support.kafka` starts one, prints its address and waits.

Fixtures: `kafka` is one broker shared by all processes of a run, so every test uses names of its own (`unique_name`);
`TEST_KAFKA=HOST:PORT` gives it one that already runs. `kafka_cluster` starts clusters that a test may stop,
kill and pause.

A node's folder:
    server.properties · log4j2.yaml
    data/                kept across stop, kill and start
    server.log           what the broker says; `stdout` what the JVM itself says
"""

import argparse
import asyncio
import base64
import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing.connection import Client
from pathlib import Path
from typing import IO

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from tests.support.ports import free_port
from tests.support.require import require

KAFKA_VERSION = "4.1.1"
LOG4J_VERSION = "2.24.3"  # the binding that Kafka's own archive carries and its Maven package does not
MINIMUM_JAVA = 17
START_TIMEOUT_SECONDS = 90.0

FAST_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-Xms64m", "-Xmx384m")
"""JVM options for tests: up in half the time, and slow for long runs."""
STEADY = ("-XX:+UseG1GC", "-Xms512m", "-Xmx1g")
"""JVM options for benchmarks: the compiler that production has."""

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>contacts-report</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>{LOG4J_VERSION}</version></dependency>
  </dependencies>
</project>
"""

LOG4J = """\
Configuration:
  Appenders:
    File:
      name: file
      fileName: ${sys:node.folder}/server.log
      append: true
      PatternLayout:
        pattern: "%d %p %m (%c)%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: file
    Logger:
      - name: kafka.server.KafkaRaftServer
        level: INFO
"""

STARTED = "Kafka Server started"
BOOTSTRAP = "bootstrap.checkpoint"


class KafkaUnavailableError(Exception):
    """This machine cannot run Apache Kafka; the message says what is missing."""


def unique_name(prefix: str) -> str:
    """A name that no other test uses, for topics, groups and transactional ids."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def random_id() -> str:
    """As Kafka names a cluster or a folder."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


# ---- the jars ------------------------------------------------------------------------------------------------------


def jars_folder() -> Path:
    override = os.environ.get("TEST_KAFKA_JARS")
    if override:
        return Path(override)
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "contacts-report" / f"kafka-{KAFKA_VERSION}"


def java_version() -> int | None:
    """The major version of `java` on PATH, None where there is none."""
    if shutil.which("java") is None:
        return None
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', said.stderr + said.stdout)
    return int(found.group(1)) if found else None


@cache
def kafka_jars() -> Path:
    """The folder with Kafka's jars, fetched when it is not there yet.

    Raises KafkaUnavailableError without Java 17, or without both the jars and a Maven that can fetch them.
    """
    version = java_version()
    if version is None:
        raise KafkaUnavailableError("java is not on PATH")
    if version < MINIMUM_JAVA:
        raise KafkaUnavailableError(f"java is {version}, Kafka {KAFKA_VERSION} needs {MINIMUM_JAVA}")
    folder = jars_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes side by side fetch once
        if not folder.is_dir():
            fetch_jars(folder)
    return folder


def fetch_jars(folder: Path, pom: str = POM) -> None:
    """Fetch the jars that `pom` names into `folder`, which appears whole or not at all."""
    if shutil.which("mvn") is None:
        raise KafkaUnavailableError(f"mvn is not on PATH, and {folder} does not hold the jars")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        Path(work, "pom.xml").write_text(pom)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={work}/jars"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            raise KafkaUnavailableError(f"mvn could not fetch the jars: {(done.stdout + done.stderr).strip()[-500:]}")
        Path(work, "jars").rename(folder)


@cache
def class_archive() -> Path:
    """The JVM's archive of Kafka's classes, made by starting a node once: 4.1 s to start became 2.4 s."""
    said = subprocess.run(["java", "-version"], capture_output=True, check=False).stderr
    archive = jars_folder().with_name(f"kafka-{KAFKA_VERSION}-{hashlib.sha256(said).hexdigest()[:12]}.jsa")
    with open(archive.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            part = archive.with_suffix(".part")
            cluster = KafkaCluster(jvm=FAST_START)
            try:
                cluster.format()
                cluster.nodes[0].jvm += (f"-XX:ArchiveClassesAtExit={part}",)
                cluster.start()
                cluster.stop()
            finally:
                cluster.close()
            if part.exists():
                part.rename(archive)
    return archive


@cache
def bootstrap_checkpoint() -> Path:
    """What a new cluster begins with, as Kafka's own tool writes it: the features of its release. The tool is a JVM for
    each node: 1.1 s of CPU, and 2.4 s in which a test waits.
    """
    kept = jars_folder().with_name(f"kafka-{KAFKA_VERSION}-{BOOTSTRAP}")
    with open(kept.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            cluster = KafkaCluster(jvm=FAST_START)
            try:
                node, part = cluster.nodes[0], kept.with_suffix(".part")
                node.format_by_tool(cluster.cluster_id)
                shutil.copyfile(node.data / BOOTSTRAP, part)
                part.rename(kept)
            finally:
                cluster.close()
    return kept


# ---- processes -----------------------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1

# PR_SET_PDEATHSIG fires when the *thread* that forked ends, and tests restart nodes from short-lived threads:
# so one thread, which lives as long as this process, starts all children.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-spawner")


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(command: Sequence[str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start a child that dies with this process, even when this process is killed."""
    return _spawner.submit(
        subprocess.Popen,
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_parent,  # it makes one system call and takes no lock
    ).result()


# ---- nodes and clusters --------------------------------------------------------------------------------------------


class KafkaNode:
    """One node, broker and controller in one process."""

    def __init__(
        self, node_id: int, port: int, folder: Path, properties: Mapping[str, str], jvm: Sequence[str]
    ) -> None:
        self.node_id = node_id
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self.folder = folder
        self.jvm = tuple(jvm)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        folder.mkdir(parents=True)
        (folder / "log4j2.yaml").write_text(LOG4J)
        (folder / "server.properties").write_text("".join(f"{key}={value}\n" for key, value in properties.items()))

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"node {self.node_id} was never started"
        return self._process.pid

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def format(self, cluster_id: str) -> None:
        """Prepare the data folder as `format_by_tool` does."""
        self.data.mkdir()
        shutil.copyfile(bootstrap_checkpoint(), self.data / BOOTSTRAP)
        facts = {"version": 1, "cluster.id": cluster_id, "node.id": self.node_id, "directory.id": random_id()}
        (self.data / "meta.properties").write_text("".join(f"{name}={value}\n" for name, value in facts.items()))

    def format_by_tool(self, cluster_id: str, scram: Sequence[str] = ()) -> None:
        """Prepare the data folder, users of SCRAM in it. Raises RuntimeError with what Kafka said against it."""
        users = [word for user in scram for word in ("--add-scram", user)]
        command = self._java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", self._properties, *users)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"cannot format the folder of node {self.node_id}: {done.stdout}{done.stderr}")

    def launch(self) -> None:
        """Start the process; `wait_started` says when it serves."""
        assert not self.running, f"node {self.node_id} already runs"
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with open(self.folder / "stdout", "ab") as output:
            self._process = spawn(self._java("kafka.Kafka", self._properties), output)

    def wait_started(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Return once the broker serves. Raises RuntimeError with the end of its log when it does not."""
        deadline = time.monotonic() + timeout_seconds
        while STARTED not in self._log_since_launch():
            if not self.running or time.monotonic() > deadline:
                said = self._log_since_launch()[-2000:] + (self.folder / "stdout").read_text()[-2000:]
                raise RuntimeError(f"Kafka node {self.node_id} did not start: {said}")
            time.sleep(0.05)

    def start(self) -> None:
        self.launch()
        self.wait_started()

    def stop(self, timeout_seconds: float = 30.0) -> None:
        """SIGTERM, and SIGKILL where that takes too long (without a quorum a broker waits for one)."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL. What the operating system was given is still there at the next start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered, until `resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    @property
    def _properties(self) -> str:
        return str(self.folder / "server.properties")

    def _java(self, *arguments: str) -> list[str]:
        return [
            "java",
            *self.jvm,
            f"-Dnode.folder={self.folder}",
            f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml",
            "-cp",
            f"{kafka_jars()}/*",
            *arguments,
        ]

    def _log_since_launch(self) -> str:
        if not self.log.exists():
            return ""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")


class KafkaCluster:
    """`nodes` (1 or 3) combined brokers and controllers on free ports of 127.0.0.1, with replicas on all of them.

    Data is kept across `stop`, `kill` and `start`; without `folder` it lies in a temporary one that `close` removes.
    `settings` are added to every node's `server.properties`, `doors` (of one node) to its listeners, and `scram`
    (`SCRAM-SHA-256=[name=…,password=…]`) are its users. Its methods block: async tests call them from a thread
    (`await asyncio.to_thread(cluster.nodes[0].restart)`), or the loop's own clients miss their heartbeats.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        folder: Path | None = None,
        settings: Mapping[str, str] | None = None,
        jvm: Sequence[str] | None = None,
        doors: str = "",
        scram: Sequence[str] = (),
    ) -> None:
        assert nodes in (1, 3), "one node, or three that outlive the loss of one"
        kafka_jars()
        if jvm is None:
            jvm = (*FAST_START, f"-XX:SharedArchiveFile={class_archive()}")
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="contacts-kafka-"))
        self.cluster_id = random_id()
        ports = [free_port() for _ in range(2 * nodes)]
        brokers, controllers = ports[:nodes], ports[nodes:]
        voters = ",".join(f"{number}@127.0.0.1:{port}" for number, port in enumerate(controllers, start=1))
        self.nodes: list[KafkaNode] = []
        for number, (broker, controller) in enumerate(zip(brokers, controllers, strict=True), start=1):
            node_folder = self.folder / f"node-{number}"
            properties = server_properties(number, nodes, broker, controller, voters, node_folder)
            for name in ("listeners", "advertised.listeners") if doors else ():
                properties[name] += f",{doors}"
            self.nodes.append(KafkaNode(number, broker, node_folder, properties | dict(settings or {}), jvm))
        self._formatted, self._scram = False, scram

    @property
    def bootstrap(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def format(self) -> None:
        """Prepare the data folders, once."""
        if not self._formatted:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(self._format, self.nodes))
            self._formatted = True

    def _format(self, node: KafkaNode) -> None:
        if self._scram:
            node.format_by_tool(self.cluster_id, self._scram)
        else:
            node.format(self.cluster_id)

    def start(self) -> None:
        """Start the nodes that do not run, and return when all serve."""
        self.format()
        for node in self.nodes:
            if not node.running:
                node.launch()
        for node in self.nodes:
            node.wait_started()

    def stop(self) -> None:
        """Stop all nodes in order, keeping the data."""
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def close(self) -> None:
        """Kill all nodes and remove the data."""
        self.kill()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "KafkaCluster":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def server_properties(
    node_id: int, nodes: int, broker_port: int, controller_port: int, voters: str, folder: Path
) -> dict[str, str]:
    replicas, in_sync = str(nodes), str(nodes // 2 + 1)
    return {
        "process.roles": "broker,controller",
        "node.id": str(node_id),
        "controller.quorum.voters": voters,
        "listeners": f"PLAINTEXT://127.0.0.1:{broker_port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker_port}",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "false",
        "delete.topic.enable": "true",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Short waits, so that tests of losses and fences stay short.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.backoff.ms": "500",
        "log.retention.check.interval.ms": "1000",
        # Small buffers, so that a node fits beside everything else on a small machine.
        "log.cleaner.dedupe.buffer.size": "16777216",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "4",
    }


# ---- reading and making topics in tests ----------------------------------------------------------------------------


async def create_topic(
    bootstrap: str, name: str, partitions: int = 1, settings: Mapping[str, str] | None = None, replicas: int = 1
) -> None:
    """Create a topic. Raises the broker's error."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(name, partitions, replicas, topic_configs=dict(settings or {}))])
        for _, code, *message in answer.topic_errors:
            if code:
                raise for_code(code)(*message)
    finally:
        await admin.close()


async def read_partition(
    bootstrap: str, topic: str, partition: int = 0, *, isolation_level: str = "read_committed", offset: int = 0
) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    """All records of a partition from `offset` to its present end (the last stable offset when read committed)."""
    consumer: AIOKafkaConsumer[bytes | None, bytes | None] = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        isolation_level=isolation_level,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        end = (await consumer.end_offsets([place]))[place]
        records: list[ConsumerRecord[bytes | None, bytes | None]] = []
        async with asyncio.timeout(30):
            while await consumer.position(place) < end:
                for fetched in (await consumer.getmany(place, timeout_ms=100)).values():
                    records += fetched
        return records
    finally:
        await consumer.stop()


async def end_offset(bootstrap: str, topic: str, isolation_level: str) -> int:
    """Of partition 0: the last stable offset when read committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation_level)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        return int((await consumer.end_offsets([place]))[place])
    finally:
        await consumer.stop()


async def settled(bootstrap: str, topic: str) -> None:
    """Wait until no transaction is open in partition 0.

    The end of a transaction is answered once the coordinator has written it down; its markers follow a moment later,
    and only then readers see it.
    """
    async with asyncio.timeout(30):
        while await end_offset(bootstrap, topic, "read_committed") != await end_offset(
            bootstrap, topic, "read_uncommitted"
        ):
            await asyncio.sleep(0.02)


# ---- fixtures ------------------------------------------------------------------------------------------------------


class RunningKafka:
    """A broker that others use too; all that a test may know of it is its address."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


def require_kafka() -> None:
    """Skip where Apache Kafka cannot run here (fail with `REQUIRE=kafka`)."""
    try:
        kafka_jars()
    except KafkaUnavailableError as error:
        require("kafka", False, str(error))


def ask_host(door: str) -> str:
    """The address of the run's Kafka (tests/support/shared_kafka.py), which starts when it is asked for."""
    with Client(door) as host:
        assert host.poll(2 * START_TIMEOUT_SECONDS), "the Kafka of this run did not start"
        answer: dict[str, str] = host.recv()
    assert "address" in answer, answer
    return answer["address"]


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[RunningKafka]:
    """One Apache Kafka for the whole run: use topics, groups and transactional ids of your own."""
    running = os.environ.get("TEST_KAFKA")
    if running:
        yield RunningKafka(running)
        return
    require_kafka()
    host = getattr(request.config, "workerinput", {}).get("kafka_host")
    if host:
        yield RunningKafka(ask_host(host))
        return
    with KafkaCluster() as cluster:
        yield RunningKafka(cluster.bootstrap)


@pytest.fixture
def kafka_cluster() -> Iterator[Callable[..., KafkaCluster]]:
    """Starts clusters of a test's own (`kafka_cluster(nodes=3)`), which end with it."""
    require_kafka()
    with contextlib.ExitStack() as stack:

        def start(nodes: int = 1, **options: object) -> KafkaCluster:
            return stack.enter_context(KafkaCluster(nodes, **options))  # type: ignore[arg-type]

        yield start


# ---- by hand -------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Start Apache Kafka on this machine, print its address, and wait.")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--steady", action="store_true", help="JVM options for benchmarks instead of a fast start")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with KafkaCluster(options.nodes, jvm=STEADY if options.steady else None) as cluster:
            print(cluster.bootstrap, flush=True)
            signal.pause()
    except KafkaUnavailableError as error:
        sys.exit(f"Apache Kafka cannot run here: {error}")
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
