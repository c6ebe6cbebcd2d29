"""Owners of one partition on a real Kafka, each ended at any moment of a commit, or fenced while it goes on: the next
one finds whole commits, and each dead letter is there once.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from threading import Thread

import pytest

from stream.kafka.transaction import TransactionalStore
from stream.ports import CommitFailed, Fenced
from stream.settings.kafka import KafkaAccess
from stream.worker.attempts import Attempts
from tests.contract.test_model_kafka import commit
from tests.support.kafka import RunningKafka, create_topic, read_partition, unique_name

OWNERS = 12


class Owner:
    """Counts commits, one after another, each with a dead letter: `a` and `b` say how many there were."""

    def __init__(self, store: TransactionalStore) -> None:
        self.store, self.acknowledged = store, 0

    async def begin(self) -> int:
        """Become the owner; how many commits there were, as the changelog tells it in each of its records."""
        await self.store.fence()
        held = await self.store.read(lambda _done, _all: None)
        told = {int(value) for key, value in held.items() if key in (b"a", b"b")} or {0}
        assert len(told) == 1, f"half a commit: {held}"
        (self.acknowledged,) = told
        return self.acknowledged

    async def count(self) -> None:
        while True:
            number = b"%d" % (self.acknowledged + 1)
            await self.store.commit(commit({b"a": number, b"b": number}, [b"letter " + number]), Attempts())
            self.acknowledged += 1


class Site:
    def __init__(self, kafka: RunningKafka, *, whole: bool) -> None:
        self._kafka, self._whole = kafka, whole
        self.group, self.changelog, self.dead = unique_name("group"), unique_name("changelog"), unique_name("letters")
        self.stores: list[TransactionalStore] = []

    def owner(self) -> Owner:
        store = TransactionalStore(
            kafka=KafkaAccess(self._kafka.bootstrap),
            group=self.group,
            partition=0,
            changelog=self.changelog,
            dead_letters=self.dead,
            source="source",
            timeout_seconds=20,
        )
        store._producer._whole = self._whole
        self.stores.append(store)
        return Owner(store)


@pytest.mark.parametrize("whole", [True, False], ids=["version 2", "before"])
async def test_whenever_an_owner_ends_the_next_one_finds_whole_commits(kafka: RunningKafka, whole: bool) -> None:
    site, chance = Site(kafka, whole=whole), Random(5)
    for topic in (site.changelog, site.dead):
        await create_topic(kafka.bootstrap, topic)
    before = site.owner()
    counting = asyncio.create_task(asyncio.sleep(0))
    for number in range(OWNERS):
        owner = site.owner()
        found = await owner.begin()
        # One that went on is told that it is not the owner any more; one that was ended has ended.
        with contextlib.suppress(Fenced, CommitFailed, asyncio.CancelledError):
            await counting
        # A commit that was not answered may have happened; no other is missing or extra.
        assert before.acknowledged <= found <= before.acknowledged + 1
        counting, before = asyncio.create_task(owner.count()), owner
        while owner.acknowledged == found and not counting.done():
            await asyncio.sleep(0.005)
        await asyncio.sleep(chance.random() * 0.05)
        if number % 3 < 2:
            counting.cancel()
    last = site.owner()
    commits = await last.begin()
    with contextlib.suppress(Fenced, CommitFailed):
        await counting
    assert commits >= OWNERS
    letters = [record.value for record in await read_partition(kafka.bootstrap, site.dead)]
    assert letters == [b"letter %d" % number for number in range(1, commits + 1)]
    for store in site.stores:
        await store.close()


async def test_a_state_that_another_owner_goes_on_with_while_it_is_read_is_not_taken(kafka: RunningKafka) -> None:
    """Compaction may have halved it: what was read first is of before, and what was read last is of after."""
    site = Site(kafka, whole=True)
    for topic in (site.changelog, site.dead):
        await create_topic(kafka.bootstrap, topic)
    first = site.owner()
    await first.begin()
    await first.store.commit(commit({b"a": b"1", b"b": b"1"}, []), Attempts())

    async def go_on() -> None:
        following = site.owner()
        await following.begin()
        await following.store.commit(commit({b"a": b"2", b"b": b"2"}, []), Attempts())
        while (await following.store.read(lambda _done, _all: None))[b"a"] != b"2":
            await asyncio.sleep(0.01)  # the broker writes a transaction's end after its answer

    began: list[Thread] = []

    def in_the_midst(_done: int, _all: int) -> None:
        if not began:
            began.append(Thread(target=asyncio.run, args=(go_on(),)))
            began[0].start()
            began[0].join()

    replaced = site.owner()
    await replaced.store.fence()
    with pytest.raises(Fenced, match="counted on by another worker while its state was read"):
        await replaced.store.read(in_the_midst)
    for store in (first.store, replaced.store):
        await store.close()
