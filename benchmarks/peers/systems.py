"""The systems that are measured: how each is started, and what it promises. docs/benchmarks.md says why these settings
are fair.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.installing import classpath_of, python_for
from benchmarks.peers.output import Decode, Record

INTERVAL_MS = 100
"""Between two commits, where a system lets its user choose: the default of Kafka Streams under exactly-once, and about
what a live report needs.
"""

KAFKA_STREAMS = "org.apache.kafka:kafka-streams:4.1.1"
FLINK = "2.2.1"
FLINK_KAFKA = "org.apache.flink:flink-connector-kafka:5.0.0-2.2"
SLF4J = "org.slf4j:slf4j-simple:1.7.36"

HEAP = ("-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
FLINK_OPENS = tuple(
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.lang.reflect", "java.net", "java.text", "java.time", "java.util")
)
"""What Flink's own configuration opens on a JVM of this age."""

Words = Callable[[Path], Sequence[str]]
"""The command of a job whose state lies in a folder. Raises UnavailableError where it cannot run here."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    promise: str
    words: Words
    decode: Decode
    interval_ms: int = INTERVAL_MS


def decode_text(record: Record) -> tuple[str, int] | None:
    return (record.key or b"").decode(), int(record.value or b"0")


def decode_pair(record: Record) -> tuple[str, int] | None:
    cell, counted = json.loads(record.value or b"null")
    return cell, counted


def decode_change(record: Record) -> tuple[str, int] | None:
    """Pathway takes the last count back before it writes a new one."""
    return None if ("pathway_diff", b"-1") in record.headers else decode_text(record)


def run_quix(_state: Path) -> Sequence[str]:
    return [str(python_for("quix")), "-m", "benchmarks.peers.jobs.quix_job"]


def run_bytewax(state: Path) -> Sequence[str]:
    """Recovery partitions are made once, as many as the topic has; a snapshot each 10 s is Bytewax's own default."""
    python = str(python_for("bytewax"))
    if not any(state.iterdir()):
        subprocess.run([python, "-m", "bytewax.recovery", str(state), "4"], check=True, timeout=60)
    flow = "benchmarks/peers/jobs/bytewax_job.py:flow"
    return [python, "-m", "bytewax.run", flow, "-r", str(state), "-s", "10", "-b", "0"]


def run_pathway(_state: Path) -> Sequence[str]:
    return ["env", "PATHWAY_THREADS=2", str(python_for("pathway")), "-m", "benchmarks.peers.jobs.pathway_job"]


def run_kafka_streams(_state: Path) -> Sequence[str]:
    classpath = classpath_of("kafka-streams", [KAFKA_STREAMS, SLF4J], ["Cell.java", "KafkaStreamsJob.java"])
    return ["java", *HEAP, "-cp", classpath, "KafkaStreamsJob"]


def run_flink(_state: Path) -> Sequence[str]:
    modules = [f"org.apache.flink:{name}:{FLINK}" for name in ("flink-streaming-java", "flink-clients")]
    artifacts = [*modules, f"org.apache.flink:flink-connector-base:{FLINK}", FLINK_KAFKA, SLF4J]
    classpath = classpath_of("flink", artifacts, ["Cell.java", "FlinkJob.java"])
    return ["java", *HEAP, *FLINK_OPENS, "-cp", classpath, "FlinkJob"]


EXACT = "exactly once"

PEERS = (
    Peer("quix", EXACT, run_quix, decode_pair),
    Peer("quix, 5 s", EXACT, run_quix, decode_pair, interval_ms=5_000),
    Peer("bytewax", "exact state, output at least once", run_bytewax, decode_text),
    Peer("pathway", "at least once", run_pathway, decode_change),
    Peer("kafka-streams", EXACT, run_kafka_streams, decode_text),
    Peer("flink", EXACT, run_flink, decode_text),
    Peer("flink, 1 s", EXACT, run_flink, decode_text, interval_ms=1_000),
)
