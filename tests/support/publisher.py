"""A publisher for flow tests: believable and awkward events in a known order, and what must be counted of them, known
without the product's code.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer

COMPRESSIONS = (None, "gzip", "snappy", "lz4", "zstd")
SOURCES = ("incoming_message", "developer_api", "contact_import", "user", "echo_message", "shop", None)


def broken(**changed: str | None) -> bytes:
    """An event as it should be, but for what is changed; None leaves a field out."""
    fields = {
        "id": "x",
        "type": "contact.added",
        "workspace_id": "w_1",
        "contact_id": "c",
        "occurred_at": "2026-01-01T00:00:00Z",
    }
    return json.dumps({name: value for name, value in (fields | changed).items() if value is not None}).encode()


BROKEN = {
    "not_json": b"{",
    "missing_field": broken(id=None),
    "unknown_type": broken(type="contact.renamed"),
    "bad_field": broken(workspace_id="w 1"),
    "time_without_offset": broken(occurred_at="2026-01-01T00:00:00"),
    "time_too_old": broken(occurred_at="1999-12-31T23:59:59Z"),
    "time_in_future": broken(occurred_at="2099-01-01T00:00:00Z"),
    "too_large": broken(id="x" * 70_000),
}


@dataclass
class Expected:
    """What must come out: rows by event, dead letters by reason. A row: (occurred_at, contact, activity, source, user,
    event, batch).
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    dead: Counter[str] = field(default_factory=Counter)


class Workload:
    """Events of `workspaces` over the last days before `now`, seeded: copies, late and broken ones among them."""

    def __init__(self, seed: int, now: datetime, *, workspaces: int = 12, users: int = 20) -> None:
        self._random, self._now = random.Random(seed), now.astimezone(UTC)
        self._workspaces = [f"w_{n}" for n in range(workspaces)]
        self._users = [f"u_{n}" for n in range(users)]
        self._number = 0
        self._recent: list[tuple[bytes, bytes]] = []
        self.expected = Expected()

    def next(self, count: int) -> list[tuple[bytes, bytes]]:
        """Key and value of so many records; what they must lead to is added to `expected`."""
        return [self._one() for _ in range(count)]

    def abandoned(self, count: int) -> list[tuple[bytes, bytes]]:
        """Events of a transaction that is aborted: none may be counted."""
        return [self._encoded(self._event()) for _ in range(count)]

    def _one(self) -> tuple[bytes, bytes]:
        chance = self._random.random()
        if chance < 0.03 and self._recent:
            return self._random.choice(self._recent)
        if chance < 0.04:
            reason = self._random.choice(list(BROKEN))
            self.expected.dead[reason] += 1
            return b"w_1", BROKEN[reason]
        event = self._event()
        self.expected.rows.append(event)
        record = self._encoded(event)
        self._recent.append(record)
        del self._recent[:-2000]
        return record

    def _event(self) -> dict[str, Any]:
        r = self._random
        self._number += 1
        back = timedelta(seconds=r.random() * 86_400 * (30 if r.random() < 0.05 else 2))
        return {
            "id": f"e_{self._number}",
            "type": "contact.added" if r.random() < 0.8 else "contact.deleted",
            "workspace_id": r.choice(self._workspaces[: 1 + int(len(self._workspaces) * r.random() ** 2)]),
            "contact_id": f"c_{r.randrange(10_000)}",
            "contact_name": r.choice(("Ada", "Zoë", "王芳", None)),
            "source": r.choice(SOURCES),
            "user_id": r.choice([*self._users, None]),
            "occurred_at": (self._now - back).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "batch_id": r.choice((None, None, None, "import_1")),
        }

    def _encoded(self, event: dict[str, Any]) -> tuple[bytes, bytes]:
        return event["workspace_id"].encode(), json.dumps(event, ensure_ascii=False).encode()


async def publish(
    bootstrap: str, topic: str, workload: Workload, total: int, *, part: int = 500, rest_seconds: float = 0.0
) -> None:
    """Publish `total` records in parts: each with another compression, some in transactions, some aborted ones between
    them.
    """
    plain = [
        AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=c, linger_ms=5, enable_idempotence=True)
        for c in COMPRESSIONS
    ]
    transactional = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{topic}-publisher", linger_ms=5)
    for producer in (*plain, transactional):
        await producer.start()
    try:
        for number, size in enumerate(parts(total, part)):
            if number % 7 == 3:
                async with transactional.transaction():
                    await send(transactional, topic, workload.next(size))
            else:
                await send(plain[number % len(plain)], topic, workload.next(size))
            if number % 9 == 4:
                await transactional.begin_transaction()
                await send(transactional, topic, workload.abandoned(20))
                await transactional.abort_transaction()
            await asyncio.sleep(rest_seconds)
    finally:
        for producer in (*plain, transactional):
            await producer.stop()


def parts(total: int, part: int) -> Iterator[int]:
    for at in range(0, total, part):
        yield min(part, total - at)


async def send(producer: AIOKafkaProducer, topic: str, records: list[tuple[bytes, bytes]]) -> None:
    for answer in [await producer.send(topic, key=key, value=value) for key, value in records]:
        await answer
