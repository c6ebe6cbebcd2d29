"""Rejected records that were taken compressed, and are too large for the dead-letter topic as they are: none of them
blocks its partition on Apache Kafka.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest

from stream.ingest.event import Reason
from stream.kafka.letter_limit import letter_limit
from stream.kafka.topics import open_topics
from stream.kafka.transaction import TransactionalStore
from stream.ports import TooLarge
from stream.settings.kafka import KafkaAccess
from stream.tables.commit import DeadLetter
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from stream.worker.attempts import Attempts
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name
from tests.support.records import Received

MEBIBYTE = 1 << 20
BLANKS = b" " * (3 * MEBIBYTE)


class Site:
    def __init__(self, kafka: RunningKafka) -> None:
        self.kafka = kafka
        self.group, self.changelog, self.dead = unique_name("group"), unique_name("changelog"), unique_name("letters")

    async def limit(self) -> int:
        async with open_topics(KafkaAccess(self.kafka.bootstrap)) as topics:
            settings = (await topics.describe([self.dead]))[self.dead].settings
            return letter_limit(settings, await topics.request_bytes())

    def store(self, limit: int) -> TransactionalStore:
        return TransactionalStore(
            kafka=KafkaAccess(self.kafka.bootstrap),
            group=self.group,
            partition=0,
            changelog=self.changelog,
            dead_letters=self.dead,
            source="source",
            timeout_seconds=20,
            letter_bytes=limit,
        )

    async def letters(self, number: int) -> list[tuple[Any, Any, dict[str, bytes]]]:
        """All of them, once there are so many: a commit is answered before its markers are written."""
        async with asyncio.timeout(30):
            while len(records := await read_partition(self.kafka.bootstrap, self.dead)) < number:
                await asyncio.sleep(0.1)
        return [(record.key, record.value, dict(record.headers)) for record in records]


@pytest.fixture
async def site(kafka: RunningKafka) -> Site:
    site = Site(kafka)
    await create_topic(kafka.bootstrap, site.changelog)
    await create_topic(kafka.bootstrap, site.dead)
    return site


def commit_of(*records: Received) -> Any:
    state = PartitionState(0, CountingRules())
    state.begin(incarnation=bytes(16), first_offset=0, partitions=1)
    commit = state.encode()
    commit.dead_letters.extend(DeadLetter(record, Reason.NOT_JSON, "why") for record in records)
    return commit


async def test_large_values_headers_and_keys_are_left_out_and_their_neighbours_are_whole(site: Site) -> None:
    # Given records that compress to a few KB, each too large in another part, and one that is not,
    assert len(gzip.compress(BLANKS)) < 10_000
    commit = commit_of(
        Received(b"{", key=b"k", offset=0, headers=[("h", b"1")]),
        Received(BLANKS, key=b"k", offset=1, headers=[("h", b"1")]),
        Received(b"{", key=b"k", offset=2, headers=[("h", BLANKS)]),
        Received(b"{", key=BLANKS, offset=3, headers=[("h", b"1")]),
        Received(b" " * (120 * MEBIBYTE), key=None, offset=4),
    )
    # when they are committed, the first time,
    store = site.store(await site.limit())
    await store.fence()
    await store.commit(commit, Attempts())
    await store.close()
    # then each is there, without what did not fit.
    found = await site.letters(5)
    assert [(key, value, headers.get("h")) for key, value, headers in found] == [
        (b"k", b"{", b"1"),
        (b"k", None, b"1"),
        (b"k", None, None),
        (None, None, None),
        (None, None, None),
    ]
    assert [{n[9:-8]: int(v) for n, v in h.items() if n.endswith("_omitted")} for _, _, h in found] == [
        {},
        {"value": 3 * MEBIBYTE},
        {"value": 1, "headers": 3 * MEBIBYTE + 1},
        {"value": 1, "headers": 2, "key": 3 * MEBIBYTE},
        {"value": 120 * MEBIBYTE},
    ]


async def test_a_topic_whose_limit_was_lowered_meanwhile_gets_less_each_time(site: Site) -> None:
    commit = commit_of(Received(b"{", key=BLANKS, offset=0, headers=[("h", BLANKS)]))
    attempts, refused, said = Attempts(), 0, list[str]()
    for _ in range(6):
        store = site.store(50 * MEBIBYTE)
        await store.fence()
        try:
            await store.commit(commit, attempts)
            break
        except TooLarge as error:
            refused += 1
            said.append(str(error))
            attempts.note_failure(0, error)
        finally:
            await store.close()
    assert refused == 3  # then no letter is larger than any broker takes
    # Each time it is said which record that is, how large, what the topic took, and what to raise.
    assert said[0].startswith(f"the dead letter of offset 0 is too large for {site.dead}: a batch of 6,291,")
    assert "and its max.message.bytes was 52,428,800 or more when this worker began" in said[0]
    assert f"--topic {site.dead} --add-config max.message.bytes=52428800" in said[0]
    ((key, value, headers),) = await site.letters(1)
    assert (key, value, int(headers["contacts.key_omitted"])) == (None, None, len(BLANKS))


async def test_the_brokers_tell_how_large_a_request_may_be(site: Site) -> None:
    async with open_topics(KafkaAccess(site.kafka.bootstrap)) as topics:
        assert await topics.request_bytes() == 100 * MEBIBYTE
