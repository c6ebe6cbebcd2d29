"""`./dev faults --minutes M --seed N`: every few seconds another fault, drawn from the seed; at the end nothing is
missing
and nothing extra, in any cell, row or dead letter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cli import output
from tests.faults import alerts
from tests.support.comparison import find_differences
from tests.support.deployment import SESSION_SECONDS, Deployment, InBackground, dead_letters
from tests.support.kafka import KafkaCluster
from tests.support.publisher import Workload

EVERY_SECONDS = 3.0
EVENTS_A_ROUND = 6_000


class Faults:
    """What can be done to a deployment; each returns when the fault is over, whatever it left behind."""

    def __init__(self, deployment: Deployment, chance: random.Random) -> None:
        self._deployment, self._chance = deployment, chance
        self._kept = deployment.redis.snapshot()

    def all(self) -> list[Callable[[], None]]:
        return [
            self.kill_a_worker,
            self.kill_both_workers,
            self.stop_a_worker,
            self.pause_a_worker,
            self.empty_redis,
            self.restart_redis,
            self.set_redis_back,
            self.slow_redis,
            self.restart_kafka,
            self.pause_kafka,
        ]

    def kill_a_worker(self) -> None:
        self._chance.choice(self._deployment.workers).kill()

    def kill_both_workers(self) -> None:
        for worker in self._deployment.workers:
            worker.kill()

    def stop_a_worker(self) -> None:
        worker = self._chance.choice(self._deployment.workers)
        if worker.running:
            worker.stop()

    def pause_a_worker(self) -> None:
        """Beyond its session, or not quite."""
        worker = self._chance.choice(self._deployment.workers)
        if worker.running:
            worker.pause()
            time.sleep(self._chance.choice((1, SESSION_SECONDS + 4)))
            worker.wake()

    def empty_redis(self) -> None:
        self._deployment.redis.client.flushall()

    def restart_redis(self) -> None:
        self._deployment.redis.kill()
        time.sleep(self._chance.random() * 3)
        self._deployment.redis.start()

    def set_redis_back(self) -> None:
        self._deployment.redis.go_back(self._kept)
        self._kept = self._deployment.redis.snapshot()

    def slow_redis(self) -> None:
        self._deployment.redis.client.execute_command("CLIENT", "PAUSE", 2000, "ALL")

    def restart_kafka(self) -> None:
        self._deployment.kafka.nodes[0].restart()

    def pause_kafka(self) -> None:
        with self._deployment.kafka.nodes[0].paused():
            time.sleep(self._chance.choice((1, 4)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--alerts", action="store_true", help="which alerts fire, in time, for thirteen faults")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="with --alerts: the faults whose name holds this text"
    )
    options = parser.parse_args()
    if options.alerts:
        return told(alerts.replay(options.only), "every alert as it should be", "alerts are wrong")
    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    print(f"seed {seed}, {options.minutes:g} minutes", flush=True)
    with tempfile.TemporaryDirectory() as folder, KafkaCluster() as kafka:
        deployment = Deployment(Path(folder), kafka)
        try:
            wrong = run(deployment, seed, options.minutes)
        finally:
            deployment.close()
    return told(wrong, "equal to the recount", f"seed {seed} is red")


def told(wrong: list[str], good: str, bad: str) -> int:
    for line in wrong:
        print(line)
    print(bad if wrong else good)
    return 1 if wrong else 0


def run(deployment: Deployment, seed: int, minutes: float) -> list[str]:
    """Faults until the time is over, then what differs from the recount, in words."""
    chance, now = random.Random(seed), datetime.now(UTC)
    workload, faults = Workload(seed, now), Faults(deployment, chance)
    ends = time.monotonic() + minutes * 60
    done = 0
    while time.monotonic() < ends:
        publisher = InBackground(deployment, workload, EVENTS_A_ROUND)
        for _ in range(3):
            fault = chance.choice(faults.all()[:8])
            print(f"{fault.__name__}", flush=True)
            fault()
            done += 1
            time.sleep(EVERY_SECONDS)
            deployment.revive()
        publisher.end()
        # A publisher that loses its broker may not know what became of a transaction: Kafka's own faults come between.
        fault = chance.choice(faults.all()[8:])
        print(f"{fault.__name__}", flush=True)
        fault()
        done += 1
    deployment.wait_until_caught_up()
    print(f"{len(workload.expected.rows)} events through {done} faults", flush=True)
    first, last = (now - timedelta(days=32)).date(), (now + timedelta(days=1)).date()
    wrong = find_differences(deployment.api, workload.expected.rows, first, last)
    letters = asyncio.run(dead_letters(deployment))
    if letters != workload.expected.dead:
        wrong.append(
            f"dead letters: missing {workload.expected.dead - letters}, extra {letters - workload.expected.dead}"
        )
    return wrong


if __name__ == "__main__":
    sys.exit(output.run(main))
