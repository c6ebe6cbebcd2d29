"""What of Faust and aiokafka our transport, table and commit build on, and what they are built to avoid.

A test that fails with a new version of either says that something which the code relies on has changed: the overrides
for the first group, and for the second perhaps only that a work-around is no longer needed.
"""

import asyncio
import inspect
import logging
from collections import defaultdict
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import faust
import pytest
import pytest_asyncio
from aiokafka.errors import GroupAuthorizationFailedError, OffsetOutOfRangeError
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.producer import ProducerBuffer
from faust.types import TP, FutureMessage
from intervaltree import IntervalTree  # type: ignore[import-untyped]

from stream.agents import app as ours
from stream.agents import changelog_table as state
from stream.agents.count_contacts import count_contacts
from stream.agents.handover import Handover
from stream.agents.transport import Consumer, ConsumerThread, Delivering, Fetcher, Producer, Transport
from stream.settings.worker import WorkerConfig
from stream.tables.batch import Batch

PLACE = TP("t", 0)

# ---- what we build on ----------------------------------------------------------------------------------------------

OVERRIDDEN: dict[type[object], set[str]] = {
    ConsumerThread: {
        "_create_worker_consumer",
        "on_start",
        "on_thread_stop",
        "verify_event_path",
        "verify_recovery_event_path",
    },
    Consumer: {
        "_new_consumer_thread",
        "getmany",
        "stop_flow",
        "seek_to_committed",
        "_drain_messages",
        "commit",
        "verify_event_path",
        "verify_recovery_event_path",
    },
    Fetcher: {"_fetcher"},
    Producer: {"_new_producer"},
    Transport: {"Consumer", "Fetcher", "Producer"},
    state.StateStore: {
        "on_rebalance",
        "persisted_offset",
        "set_persisted_offset",
        "apply_changelog_batch",
        "reset_state",
        "backup_partition",
        "restore_backup",
    },
    state.StateTable: {"_new_store"},
    state.NoRecovery: {"need_recovery", "_build_highwaters", "_build_offsets", "_seek_offsets"},
    state.StateTableManager: {"recovery"},
    ours.BytesSchema: {"loads_key", "loads_value"},
    ours.ContactsApp: {"_new_transport"},
}


@pytest.mark.parametrize(
    ("owner", "name"), [(owner, name) for owner, names in OVERRIDDEN.items() for name in sorted(names)]
)
def test_what_we_override_is_there_and_called_the_same_way(owner: type, name: str) -> None:
    (theirs,) = [vars(base)[name] for base in owner.__mro__[1:] if name in vars(base)][:1]
    own = vars(owner)[name]
    if not inspect.isfunction(own):
        return
    known = set(inspect.signature(own).parameters)
    takes_all = any(one.kind is one.VAR_KEYWORD for one in inspect.signature(own).parameters.values())
    for parameter in inspect.signature(theirs).parameters.values():
        optional = parameter.kind is parameter.VAR_KEYWORD or parameter.default is not parameter.empty
        assert parameter.name in known or takes_all or optional, f"{name} is called with {parameter.name}"


@pytest.mark.parametrize("owner", OVERRIDDEN)
def test_no_override_is_missing_above(owner: type[object]) -> None:
    inherited = {name for base in owner.__mro__[1:] for name in vars(base)}
    own = {name for name, value in vars(owner).items() if not name.startswith("__") and name != "_abc_impl"}
    assert own & inherited - {"annotations"} <= OVERRIDDEN[owner] | {"app", "logger"}


def made_consumer(app: faust.App) -> Any:
    """The aiokafka consumer that a worker's thread makes; nothing is connected."""
    consumer = app.transport.create_consumer(
        callback=AsyncMock(), on_partitions_revoked=AsyncMock(), on_partitions_assigned=AsyncMock()
    )
    thread = consumer._new_consumer_thread()
    return thread._create_worker_consumer(app.transport)


async def test_faust_fixes_how_it_fetches_and_we_set_it() -> None:
    plain = made_consumer(faust.App("plain", broker="kafka://127.0.0.1:1", store="memory://"))
    config = WorkerConfig(kafka="127.0.0.1:1")
    own = made_consumer(ours.create_app(config, 4, make=MagicMock()))

    def fetching(made: Any) -> tuple[Any, ...]:
        return made._isolation_level, made._auto_offset_reset

    assert fetching(plain) == ("read_uncommitted", "earliest")
    assert fetching(own) == ("read_committed", "none")
    assert own._max_poll_records == ours.BATCH_RECORDS
    assert not own._enable_auto_commit


@pytest_asyncio.fixture
async def consumer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ours, of one partition, without a thread."""
    app = ours.create_app(WorkerConfig(kafka="127.0.0.1:1", topic=PLACE.topic), 1, make=MagicMock())
    made = app.transport.create_consumer(
        callback=AsyncMock(), on_partitions_revoked=AsyncMock(), on_partitions_assigned=AsyncMock()
    )
    monkeypatch.setattr(made, "assignment", lambda: {PLACE})
    loop = asyncio.get_running_loop()
    made._thread = MagicMock(_consumer=None, fetched=Handover(loop, loop, 2))
    made.resume_flow()
    made.resume_partitions({PLACE})
    return made


async def test_only_what_is_neither_paused_nor_rebalanced_delivers(consumer: Any) -> None:
    deliver = Delivering(consumer)
    assert PLACE in deliver
    consumer.pause_partitions({PLACE})
    assert PLACE not in deliver
    consumer._thread.look_again.assert_not_called()
    # What was fetched meanwhile is looked at as soon as it may deliver
    consumer.resume_owned(PLACE.partition)
    assert PLACE in deliver
    consumer._thread.look_again.assert_called_once_with()
    consumer.stop_flow()
    assert PLACE not in deliver


async def test_a_fetch_of_this_generation_becomes_one_message_and_one_of_another_none(consumer: Any) -> None:
    consumer.app.consumer_generation_id = 7
    other, lost = PLACE._replace(partition=1), PLACE._replace(partition=2)
    consumer.partitions.out_of_range = MagicMock()
    for generation in (6, 7):
        batch = Batch(records=[], start=generation, end=generation + 1)
        fetched = {PLACE: batch, other: batch, lost: OffsetOutOfRangeError({lost: 5})}
        consumer._thread.fetched.give((generation, fetched))
    async with asyncio.timeout(60):
        assert [message async for message in consumer.getmany(timeout=600)] == []
        consumer.partitions.out_of_range.assert_not_called()
        [(place, message)] = [message async for message in consumer.getmany(timeout=600)]
    assert (place, message.offset, message.generation_id) == (PLACE, 7, 7)
    assert [(partition, batch.start) for partition, batch in message.value] == [(0, 7), (1, 7)]
    consumer.partitions.out_of_range.assert_called_once_with(2)


async def test_no_fetch_is_taken_before_the_agent_has_the_one_before(consumer: Any) -> None:
    for start in (0, 1):
        consumer._thread.fetched.give((consumer.app.consumer_generation_id, {PLACE: Batch([], start, start + 1)}))
    async with asyncio.timeout(60):
        assert [message.offset async for _, message in consumer.getmany(timeout=600)] == [0]
        following = asyncio.create_task(anext(consumer.getmany(timeout=600)))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not following.done()
        consumer.note_taken()
        _, message = await following
    assert message.offset == 1


async def test_what_is_left_of_a_message_is_dropped_once_the_group_has_dealt_anew() -> None:
    """As Faust drops messages of a generation that is over."""
    app, accepted = MagicMock(consumer_generation_id=7), list[int]()
    app.agent = lambda _topic, name: lambda function: function
    batch = Batch(records=[], start=0, end=1)

    def accept(partition: int, _batch: Batch) -> None:
        accepted.append(partition)
        if partition == 1:
            app.consumer_generation_id = 8

    async def events() -> Any:
        for generation, partitions in ((7, (0, 1, 2)), (8, (3, 4))):
            message = SimpleNamespace(generation_id=generation, value=[(one, batch) for one in partitions])
            yield SimpleNamespace(message=message)

    app.partitions.accept = accept
    await count_contacts(app, None)(MagicMock(**{"noack.return_value.events": events}))
    assert accepted == [0, 1, 3, 4]


async def test_why_nothing_can_be_fetched_ends_the_consumer(consumer: Any) -> None:
    consumer._thread.fetched.give((1, GroupAuthorizationFailedError("group")))
    with pytest.raises(GroupAuthorizationFailedError):
        await anext(consumer.getmany(timeout=600))


def test_the_defaults_that_we_must_not_have() -> None:
    conf = faust.App("plain", broker="kafka://127.0.0.1:1", store="memory://").conf
    assert {
        "topic_partitions": conf.topic_partitions,
        "table_standby_replicas": conf.table_standby_replicas,
        "web_enabled": conf.web_enabled,
        "web_bind": conf.web_bind,
        "stream_wait_empty": conf.stream_wait_empty,
        "worker_redirect_stdouts": conf.worker_redirect_stdouts,
        "topic_allow_declare": conf.topic_allow_declare,
    } == {
        "topic_partitions": 8,
        "table_standby_replicas": 1,
        "web_enabled": True,
        "web_bind": "0.0.0.0",
        "stream_wait_empty": True,
        "worker_redirect_stdouts": True,
        "topic_allow_declare": True,
    }


def test_our_application_has_none_of_them() -> None:
    conf = ours.create_app(WorkerConfig(kafka="127.0.0.1:1"), 3, make=MagicMock()).conf
    assert (conf.topic_partitions, conf.table_standby_replicas, conf.web_enabled) == (3, 0, False)
    assert (conf.stream_wait_empty, conf.worker_redirect_stdouts, conf.topic_allow_declare) == (False, False, False)


def test_the_changelog_has_the_name_that_topics_gives_it() -> None:
    config = WorkerConfig(kafka="127.0.0.1:1", group="some-group")
    app = ours.create_app(config, 4, make=MagicMock())
    (table,) = app.tables.values()
    assert table.changelog_topic_name == config.changelog_topic == "some-group-state-changelog"


async def test_a_rebalance_reaches_the_store_before_the_recovery() -> None:
    app = ours.create_app(WorkerConfig(kafka="127.0.0.1:1"), 4, make=MagicMock())
    order: list[str] = []

    async def note(*_: Any, **__: Any) -> None:
        order.append("store")

    app.partitions.own = note  # type: ignore[method-assign]
    app.tables._update_channels = AsyncMock()
    app.tables._recovery = SimpleNamespace(on_rebalance=AsyncMock(side_effect=lambda *_: order.append("recovery")))
    await app.tables.on_rebalance({PLACE}, set(), {PLACE}, 1)
    assert order == ["store", "recovery"]


# ---- what we avoid -------------------------------------------------------------------------------------------------


def bookkeeping(committed: int | None, acked: list[int]) -> Any:
    """A Faust consumer with nothing but its bookkeeping of acknowledgements of one partition."""
    concrete = type("C", (FaustConsumer,), dict.fromkeys(FaustConsumer.__abstractmethods__, lambda *_: None))
    consumer: Any = object.__new__(concrete)
    consumer._gap = defaultdict(IntervalTree)
    consumer._acked = defaultdict(list, {PLACE: acked})
    consumer._acked_index = defaultdict(set, {PLACE: set(acked)})
    consumer._read_offset = defaultdict(lambda: None)
    consumer._committed_offset = defaultdict(lambda: None, {PLACE: committed})
    consumer.app, consumer.diag, consumer.log = MagicMock(), MagicMock(), MagicMock()
    return consumer


def test_faust_commits_past_an_event_that_is_still_running() -> None:
    # 100 is still running, 101 is acknowledged: the commit says that 102 is next.
    assert bookkeeping(100, [101])._new_offset(PLACE) == 102


async def test_faust_commits_past_a_running_record_behind_a_gap() -> None:
    # 11 to 14 are markers of transactions; 15 is still running, 16 is acknowledged.
    consumer = bookkeeping(10, [10])
    await consumer._add_gap(PLACE, 11, 15)
    consumer._acked[PLACE].append(16)
    assert consumer._new_offset(PLACE) == 17


async def test_faust_drops_acknowledgements_before_the_commit_of_a_rebalance() -> None:
    consumer = bookkeeping(5, [5, 6, 7])
    consumer._active_partitions, consumer._paused_partitions = {PLACE}, set()
    seen: list[dict[TP, list[int]]] = []

    async def revoked(_: set[TP]) -> None:
        seen.append(dict(consumer._acked))

    consumer._on_partitions_revoked = revoked
    await FaustConsumer.on_partitions_revoked(consumer, {PLACE})
    assert seen == [{}]


async def test_faust_takes_a_refused_commit_for_done() -> None:
    consumer = bookkeeping(5, [])
    consumer.in_transaction, consumer.assignment = False, lambda: {PLACE}
    consumer.app.producer.flush = AsyncMock()
    consumer._commit = AsyncMock(return_value=False)
    assert await consumer._commit_offsets({PLACE: 50}) is False
    assert consumer._committed_offset[PLACE] == 50


async def test_fausts_flush_returns_although_nothing_was_sent() -> None:
    buffer: Any = ProducerBuffer(loop=asyncio.get_running_loop())
    buffer.app = faust.App("plain", broker="kafka://127.0.0.1:1", store="memory://")
    waits = asyncio.Event()

    async def never(_: Any) -> None:
        await waits.wait()

    buffer._send_pending = never
    await buffer.start()
    for number in range(5):
        buffer.put(number)
    async with asyncio.timeout(30):
        await buffer.flush()
    assert buffer.size == 4  # the fifth is with the broker, which never answers
    buffer.pending = asyncio.Queue()
    waits.set()
    await buffer.stop()


async def test_a_changelog_record_that_failed_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = faust.App("plain", broker="kafka://127.0.0.1:1", store="memory://")
    topic = app.topic("some-changelog", internal=True)
    failed = asyncio.get_running_loop().create_future()
    failed.set_exception(RuntimeError("too large"))
    message: Any = FutureMessage(SimpleNamespace(channel=topic, callback=None))
    with caplog.at_level(logging.CRITICAL):
        topic._on_published(failed, message=message, producer=MagicMock(), state=None)
    assert isinstance(message.exception(), RuntimeError)


async def test_fausts_memory_keeps_the_keys_of_partitions_that_it_lost() -> None:
    app = faust.App("plain", broker="kafka://127.0.0.1:1", store="memory://")
    store: Any = app.Table("counts", default=int, partitions=2).data
    store.data["key"] = 7
    await store.on_recovery_completed(set(), set())
    assert store.data == {"key": 7}
