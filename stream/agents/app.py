"""The Faust application: transport, table and agent wired to the partitions that count. Importing opens nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import faust
from faust.types.tuples import TP

from stream.agents.changelog_table import StateTableManager, state_table
from stream.agents.count_contacts import count_contacts
from stream.agents.transport import Consumer, Producer, Transport
from stream.settings.kafka import KafkaAccess
from stream.settings.worker import WorkerConfig
from stream.worker.assignment import OwnedPartitions
from stream.worker.partition_task import OwnedPartition

# Records of a batch, at most: some 25 ms of counting, after which other work of the process has its turn.
BATCH_RECORDS = 5_000
PARTITION_FETCH_BYTES = 2 << 20
# How often metadata is refreshed: how soon new partitions are noticed, and a topic that was too new for a rebalance.
METADATA_MS = 5_000


class BytesSchema(faust.Schema):
    """Keys and values are taken as they are: a decode error in Faust acknowledges the message and ends the agent."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.key

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:
        return message.value


class ContactsApp(faust.App):
    config: WorkerConfig
    partitions: OwnedPartitions
    fetch_control: StreamFetchControl

    def _new_transport(self) -> Transport:
        consumer = type("BoundConsumer", (Consumer,), {"partitions": self.partitions, "settings": self.config})
        producer = type("BoundProducer", (Producer,), {"settings": self.config})
        transport = type("BoundTransport", (Transport,), {"Consumer": consumer, "Producer": producer})
        return transport(self.conf.broker_consumer, self)

    @property
    def batches(self) -> Consumer:
        """The consumer, by its own type."""
        consumer = self.consumer
        assert isinstance(consumer, Consumer)
        return consumer


class StreamFetchControl:
    """What partitions may ask of the stream; each call returns at once."""

    def __init__(self, app: ContactsApp, topic: str) -> None:
        self._app, self._topic = app, topic

    def seek(self, partition: int, offset: int) -> None:
        self._consumer().seek_soon(partition, offset)

    def pause(self, partition: int) -> None:
        self._consumer().pause_partitions({TP(self._topic, partition)})

    def resume(self, partition: int) -> None:
        self._consumer().resume_owned(partition)

    def _consumer(self) -> Consumer:
        return self._app.batches


def credentials(kafka: KafkaAccess) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """What the options of our own clients say, for Faust's."""
    if kafka.security.sasl:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password,
            ssl_context=kafka.ssl_context(),
            mechanism=kafka.mechanism.upper(),
        )
    return faust.SSLCredentials(kafka.ssl_context()) if kafka.security.tls else None


def create_app(config: WorkerConfig, partitions: int, make: Callable[[int], OwnedPartition]) -> ContactsApp:
    """The worker's application. `partitions`: of the source topic now. `make`: begins what this worker comes to own."""
    owned = OwnedPartitions(config.topic, make, revoke_seconds=config.session_timeout_seconds / 3)
    app = ContactsApp(
        config.group,
        broker=";".join(f"kafka://{server}" for server in config.kafka.split(",")),
        broker_credentials=credentials(config.access),
        datadir=str(config.data_dir) if config.data_dir is not None else tempfile.mkdtemp(prefix="contacts-report-"),
        store="memory://",
        topic_partitions=partitions,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        TableManager=StateTableManager,
        broker_session_timeout=config.session_timeout_seconds,
        broker_heartbeat_interval=config.session_timeout_seconds / 6,
        broker_request_timeout=max(90.0, config.session_timeout_seconds + 1),
        broker_rebalance_timeout=max(30.0, config.session_timeout_seconds),
        broker_max_poll_records=BATCH_RECORDS,
        broker_max_poll_interval=300.0,
        consumer_max_fetch_size=PARTITION_FETCH_BYTES,
        consumer_metadata_max_age_ms=METADATA_MS,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )
    app.config, app.partitions, app.fetch_control = config, owned, StreamFetchControl(app, config.topic)
    state_table(app, partitions)
    count_contacts(app, app.topic(config.topic, schema=BytesSchema(), partitions=partitions))

    async def revoke(_: Any, revoked: set[TP], **kwargs: Any) -> None:
        await owned.revoke({tp.partition for tp in revoked if tp.topic == config.topic})

    app.on_partitions_revoked.connect(revoke)
    return app
