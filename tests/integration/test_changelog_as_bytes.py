"""What the compiled core reads of a changelog on a real Kafka is what is read of it record by record."""

from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from stream.core import CoreFailed, load_core
from stream.kafka.changelog import read_changelog, read_changelog_into
from stream.settings.kafka import KafkaAccess
from stream.tables.compiled import new_table
from tests.support.kafka import RunningKafka, create_topic, settled, unique_name

pytestmark = pytest.mark.usefixtures("core")


async def write(kafka: RunningKafka, topic: str, compression: str | None) -> None:
    """Transactions of many batches, of which one is aborted; values that are replaced, and keys that are deleted."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        transactional_id=unique_name("writer"),
        compression_type=compression,
        max_batch_size=2_000,
    )
    await producer.start()
    for transaction in range(4):
        await producer.begin_transaction()
        for number in range(300):
            key, kept = b"c%04d" % (number * (transaction + 1) % 500), (number + transaction) % 7
            value = b"%d of %d " % (number, transaction) * kept
            await producer.send(topic, value or None, key)
        if transaction == 2:
            await producer.flush()
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()
    await producer.stop()
    await settled(kafka.bootstrap, topic)


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
async def test_both_ways_find_the_same(kafka: RunningKafka, compression: str | None) -> None:
    # Given a changelog with all that one may have
    topic = unique_name("changelog")
    await create_topic(kafka.bootstrap, topic)
    await write(kafka, topic, compression)
    told: list[tuple[int, int]] = []
    # When it is read record by record, and as bytes
    where = KafkaAccess(kafka.bootstrap), topic, topic, 0
    latest = await read_changelog(*where, lambda _done, _all: None)
    table: Any = new_table()
    await read_changelog_into(table, *where, lambda done, total: told.append((done, total)))
    # Then both have the same keys and values, and all of it was read
    assert 300 < len(latest) < 500
    assert len(table) == len(latest)
    assert {key: table.get(key) for key in latest} == latest
    assert told[-1][0] >= told[-1][1] > 1_200


async def test_a_panic_while_it_is_read_is_an_error_with_its_reason(kafka: RunningKafka) -> None:
    # Given a table of a core that has a bug
    topic = unique_name("changelog")
    await create_topic(kafka.bootstrap, topic)
    await write(kafka, topic, None)

    class Panicking:
        def read(self, _fetched: object) -> None:
            raise load_core().Panic("a bug")

    table: Any = Panicking()
    # When a changelog is read into it, then that is an Exception, which ends the worker
    with pytest.raises(CoreFailed, match="a bug in the compiled core, in a changelog from offset 0 on: a bug"):
        await read_changelog_into(table, KafkaAccess(kafka.bootstrap), topic, topic, 0, lambda _done, _all: None)
