"""`./dev bench peers`: each system catches up with the same events, is killed in the midst of that, and takes events
under load; at the end come a table, and the figures in which this product is behind.

`PEERS=quix,flink` runs only those whose names begin so, beside this product's own; `PEERS_EVENTS` says how many events.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from benchmarks.datasets import Dataset, records
from benchmarks.machine import Bench, fill, machine, say
from benchmarks.peers.installing import UnavailableError
from benchmarks.peers.jobs.cells import cell_of
from benchmarks.peers.measuring import PARTITIONS, System, measure
from benchmarks.peers.results import table, where_behind
from benchmarks.peers.subjects import OurSystem, PeerSystem
from benchmarks.peers.systems import PEERS, Peer
from benchmarks.worker import END, cores

EVENTS = 400_000

Records = list[tuple[bytes, bytes]]


def run() -> Iterator[dict[str, Any]]:
    total = int(os.environ.get("PEERS_EVENTS", EVENTS))
    events = list(records(Dataset.REAL, total, end=END))
    wanted = Counter(cell_of(orjson.loads(value)) for _, value in events)
    results = []
    with machine() as bench:
        for core in sorted(cores()):
            of_ours = partial(OurSystem, bench, core, total=total)
            results.append(measure_or_say_why(bench, f"contacts-report ({core})", events, of_ours))
            yield results[-1]
        for peer in chosen_peers():
            results.append(measure_peer(bench, peer, events, wanted))
            yield results[-1]
    say(table(results))
    for line in where_behind(results):
        say(line)


def chosen_peers() -> list[Peer]:
    names = tuple(os.environ.get("PEERS", "").split(","))
    return [peer for peer in PEERS if peer.name.startswith(names)]


def measure_peer(bench: Bench, peer: Peer, events: Records, wanted: Mapping[str, int]) -> dict[str, Any]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            peer.words(Path(folder))  # installs it
    except UnavailableError as error:
        say(f"peers: {peer.name} is skipped: {error}")
        return {"system": peer.name, "skipped": str(error)}
    return measure_or_say_why(bench, peer.name, events, partial(PeerSystem, bench, peer, wanted=wanted))


def measure_or_say_why(
    bench: Bench, name: str, events: Records, system_of: Callable[..., AbstractAsyncContextManager[System]]
) -> dict[str, Any]:
    """One that does not get there is a result too, and the others go on."""
    say(f"peers: filling a topic with {len(events)} events for {name}")
    topic, _ = bench.topics(PARTITIONS)
    fill(bench.kafka.bootstrap, topic, events)
    try:
        return asyncio.run(measure(bench, topic, len(events), partial(system_of, topic=topic)))
    except (AssertionError, TimeoutError, KafkaError) as error:
        say(f"peers: {name} failed: {error}")
        return {"system": name, "failed": str(error).splitlines()[0]}
