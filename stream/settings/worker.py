"""How the worker is configured: every setting with its unit, its default and what happens when it is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from stream.model.time import DAY_MILLISECONDS
from stream.settings.declare import Config, setting
from stream.settings.kafka import KafkaAccess, Mechanism, Security
from stream.settings.kinds import (
    HOST,
    KAFKA_SERVERS,
    NAME,
    PATH,
    PORT,
    REDIS_URL,
    SECRET,
    TEXT,
    choice,
    number,
    or_none,
    whole_number,
)

ACCESS_SETTINGS = (
    "kafka",
    "kafka_security",
    "kafka_ca_file",
    "kafka_cert_file",
    "kafka_key_file",
    "kafka_mechanism",
    "kafka_username",
)
"""How a command gets into Kafka; the password is no flag's."""


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class CommitMode(StrEnum):
    """How a commit is made durable."""

    TRANSACTIONS = "transactions"
    EMBEDDED = "embedded"
    """Not at all: for the broker of `./dev run`, which has no transactions and whose data dies with it anyway."""


def dead_letter_topic(topic: str) -> str:
    """Where the rejected events of a topic go."""
    return f"{topic}.dlq"


@dataclass(frozen=True, kw_only=True)
class SharedConfig(Config):
    """What the worker and the API must agree on."""

    redis: str = setting(
        REDIS_URL,
        "redis://127.0.0.1:6379/0",
        meaning="The Redis (7.0 or newer) or Valkey that holds what the API reads.",
        when_wrong="The worker counts nothing while it cannot reach it; the API answers 503.",
    )
    topic: str = setting(
        NAME,
        "contacts.activity.v1",
        meaning="The topic of contact activity. Dead letters go to this name and `.dlq`.",
        when_wrong="Another topic under the same group is recognised by its records, and the worker stops.",
    )
    group: str = setting(
        NAME,
        "contacts-report",
        meaning="The consumer group and Faust's app id; names the changelog, transactional ids and all keys in Redis.",
        when_wrong="A new name counts the whole topic again, from its beginning, beside the old counts; worker and API "
        "that differ in it do not see each other.",
    )
    log_format: LogFormat = setting(
        choice(LogFormat),
        LogFormat.TEXT,
        meaning="Lines for people, or one JSON object a line.",
        when_wrong="Only the log looks different.",
    )
    log_level: LogLevel = setting(
        choice(LogLevel),
        LogLevel.INFO,
        meaning="The least level that is logged.",
        when_wrong="`debug` costs throughput; `error` hides what an operator wants to see.",
    )


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(SharedConfig):
    """The counting worker, and the topics that it reads and writes."""

    kafka: str = setting(
        KAFKA_SERVERS,
        "127.0.0.1:9092",
        meaning="The brokers that are asked first for all others.",
        when_wrong="The worker keeps trying, and says so; nothing is counted.",
    )
    kafka_security: Security = setting(
        choice(Security),
        Security.PLAINTEXT,
        meaning="How the brokers are spoken to: by TLS (`ssl`), with a name and a password (`sasl_…`), or both.",
        when_wrong="The brokers close the connection: Kafka seems to be away.",
    )
    kafka_ca_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="Certificates (PEM) of those who vouch for the brokers. None: whom this machine trusts.",
        when_wrong="The worker stops at its start where it cannot be read; else it trusts no broker.",
    )
    kafka_cert_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="Our own certificate (PEM), where the brokers ask for one. It is read once a process.",
        when_wrong="The worker stops at its start where it cannot be read; else the brokers refuse it.",
    )
    kafka_key_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The key of our own certificate (PEM). None: it is in the file of the certificate.",
        when_wrong="The worker stops at its start where it does not fit.",
    )
    kafka_mechanism: Mechanism = setting(
        choice(Mechanism),
        Mechanism.PLAIN,
        meaning="How name and password are shown to the brokers.",
        when_wrong="The brokers refuse it. `plain` without TLS shows the password to the network.",
    )
    kafka_username: str | None = setting(
        or_none(TEXT),
        None,
        meaning="The name for `sasl_…`.",
        when_wrong="The brokers refuse it: Kafka seems to be away.",
    )
    kafka_password: str | None = setting(
        or_none(SECRET),
        None,
        meaning="The password for `sasl_…`.",
        when_wrong="The brokers refuse it: Kafka seems to be away.",
    )
    data_dir: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The folder of Faust's own files; nothing in it needs to last. None: a temporary one.",
        when_wrong="The worker stops at its start where it cannot write there.",
    )
    worker_host: str = setting(
        HOST,
        "127.0.0.1",
        meaning="The address of the worker's probes and metrics.",
        when_wrong="On loopback nothing outside the machine or container can probe it; `0.0.0.0` shows them to all.",
    )
    worker_port: int = setting(
        PORT,
        8081,
        meaning="The port of the worker's probes and metrics.",
        when_wrong="The worker stops at its start where the port is taken.",
    )
    dedupe_window_hours: int = setting(
        whole_number(0, 32_768),
        72,
        unit="hours of broker time",
        meaning="How long after a counted event its copies are recognised.",
        when_wrong="Too short: what a publisher repeats later counts twice. Too long: 40 bytes of memory an id.",
    )
    dedupe_max_ids: int = setting(
        whole_number(1, 1_000_000_000),
        5_000_000,
        unit="ids a partition",
        meaning="How many ids are remembered at most; above it the oldest hour goes early.",
        when_wrong="Too small: the window shrinks, as a metric and an alert show. Too large: 40 bytes of memory an id.",
    )
    max_event_bytes: int = setting(
        whole_number(1, 64 * 1024 * 1024),
        65_536,
        unit="bytes",
        meaning="The largest value of a record that is read as an event.",
        when_wrong="Too small: events are rejected as `too_large`. Too large: the dead-letter topic must take as much.",
    )
    future_tolerance_seconds: int = setting(
        whole_number(0, 365 * 86_400),
        300,
        unit="seconds",
        meaning="How far `occurred_at` may lie ahead of the record's broker time.",
        when_wrong="Too small: publishers whose clocks run ahead are rejected as `time_in_future`.",
    )
    record_future_tolerance_seconds: int = setting(
        whole_number(60, 100 * 365 * 86_400),
        3_600,
        unit="seconds",
        meaning="How far a record's own time may be ahead of the worker's clock. Beyond it a record whose publisher "
        "set the time is rejected as `time_in_future`; where the broker set it, the partition waits.",
        when_wrong="Too small: publishers, or a broker, whose clocks run ahead are not counted. Too large: one record "
        "far ahead ends deduplication until time catches up, and with retention drops counts.",
    )
    retention_days: int | None = setting(
        or_none(whole_number(1, 36_500)),
        None,
        unit="days",
        meaning="How long counts are kept. None: for ever.",
        when_wrong="Too short: older events are rejected as `time_too_old`; counts that were dropped do not come back.",
    )
    row_days: int | None = setting(
        or_none(whole_number(0, 36_500)),
        None,
        unit="days",
        meaning="How long rows of the activity table are kept. None: while Redis has room; 0: there is no table, "
        "and what comes meanwhile is read again from the topic when there is to be one again.",
        when_wrong="Too short: the table ends early, and `truncated_before` says where; counts are untouched.",
    )
    row_limit: int | None = setting(
        or_none(whole_number(1, 1_000_000_000)),
        None,
        unit="rows a workspace",
        meaning="How many rows of the activity table are kept, the newest. None: as many as Redis has room for.",
        when_wrong="Too small: the table ends early, and `truncated_before` says where; counts are untouched.",
    )
    redis_memory_share: float = setting(
        number(0.1, 1.0),
        0.8,
        unit="share of Redis' maxmemory",
        meaning="Above it the oldest days of rows go, so that counts always find room.",
        when_wrong="Too large: a burst may fill Redis before rows are dropped, and counting waits.",
    )
    commit_interval_seconds: float = setting(
        number(0.0, 60.0),
        0.05,
        unit="seconds",
        meaning="The least time between two commits of a partition.",
        when_wrong="Too short: more load on the broker. Too long: reports lag by it.",
    )
    commit_max_events: int = setting(
        whole_number(1, 1_000_000),
        50_000,
        unit="events",
        meaning="While catching up, a commit is made after so many events at the latest.",
        when_wrong="Too small: catching up is slow. Too large: more memory, and transactions that may time out.",
    )
    fetch_min_bytes: int = setting(
        whole_number(1, 50 * 1024 * 1024),
        16_384,
        unit="bytes",
        meaning="The broker waits for so much before it answers a fetch, up to the wait below.",
        when_wrong="Too small: an event or two a fetch, which costs four times the CPU. Too large: the wait decides.",
    )
    fetch_max_wait_seconds: float = setting(
        number(0.001, 30.0),
        0.02,
        unit="seconds",
        meaning="The longest that the broker waits before it answers a fetch.",
        when_wrong="Too long: quiet topics are read late by it.",
    )
    session_timeout_seconds: float = setting(
        number(1.0, 1_800.0),
        10.0,
        unit="seconds",
        meaning="After so long without a sign of life Kafka gives a worker's partitions to another.",
        when_wrong="Too short: a slow moment is taken for a crash. Too long: a crash is noticed late. Kafka refuses "
        "what lies outside its group.min/max.session.timeout.ms.",
    )
    transaction_timeout_seconds: float = setting(
        number(1.0, 900.0),
        12.0,
        unit="seconds",
        meaning="Kafka ends a transaction that is open for longer, and its worker starts over.",
        when_wrong="Too short: a slow broker ends the worker's commits. Too long: readers wait for what a crash left.",
    )
    stall_seconds: float = setting(
        number(1.0, 86_400.0),
        60.0,
        unit="seconds",
        meaning="With events waiting and none counted for so long, Redis told nothing, or a partition not begun, the "
        "worker ends itself, with the reason.",
        when_wrong="Too short: restarts while Kafka or Redis is only slow. Too long: a hang is noticed late.",
    )
    stuck_seconds: float = setting(
        number(1.0, 86_400.0 * 7),
        1_800.0,
        unit="seconds",
        meaning="With events waiting and a position that has not moved for so long, whatever the partition fails at or "
        "waits for, the worker ends itself, with the reason. Not less than `CONTACTS_STALL_SECONDS`.",
        when_wrong="Too short: restarts while Kafka or Redis is away, or in the middle of a long recovery. Too long: "
        "what a new start would mend is mended late.",
    )
    stop_timeout_seconds: float = setting(
        number(0.1, 3_600.0),
        8.0,
        unit="seconds",
        meaning="The longest that a stop waits for commits in flight.",
        when_wrong="Longer than what the supervisor grants: the worker is killed, which loses nothing but time.",
    )
    topic_retention_ms: int = setting(
        whole_number(1, 2**63 - 1, -1),
        -1,
        unit="milliseconds",
        meaning="How long `topics` lets the activity topic keep events; -1: for ever.",
        when_wrong="Too short: a lost Redis does not get its rows back, and `verify` calls cells unverifiable.",
    )
    dlq_retention_ms: int = setting(
        whole_number(1, 2**63 - 1, -1),
        14 * DAY_MILLISECONDS,
        unit="milliseconds",
        meaning="How long `topics` lets the dead-letter topic keep rejected events; -1: for ever.",
        when_wrong="Too short: rejected events are gone before anyone looked at them.",
    )
    replication_factor: int = setting(
        whole_number(1, 32_767),
        1,
        unit="copies",
        meaning="How many brokers keep each topic that `topics` creates.",
        when_wrong="1 loses counts with a broker's disk; more than there are brokers is refused by Kafka.",
    )
    partitions: int = setting(
        whole_number(1, 65_535),
        4,
        unit="partitions",
        meaning="How many partitions the topics that `topics` creates have: the unit of scaling.",
        when_wrong="Too few: no more workers than these can count. Too many: reports read more and Redis holds more.",
    )
    commit: CommitMode = setting(
        choice(CommitMode),
        CommitMode.TRANSACTIONS,
        meaning="`embedded` keeps nothing durable; only `./dev run` passes it, for its own broker.",
        when_wrong="`embedded` elsewhere counts the whole topic again at each start.",
    )

    @property
    def access(self) -> KafkaAccess:
        """The Kafka of the events, and how one gets in."""
        return KafkaAccess(
            self.kafka,
            self.kafka_security,
            self.kafka_mechanism,
            self.kafka_username,
            self.kafka_password,
            self.kafka_ca_file,
            self.kafka_cert_file,
            self.kafka_key_file,
        )

    @property
    def dead_letter_topic(self) -> str:
        return dead_letter_topic(self.topic)

    @property
    def changelog_topic(self) -> str:
        return f"{self.group}-state-changelog"

    def conflicts(self) -> Iterator[tuple[str, str]]:
        yield from self._conflicts_of_access()
        if self.commit_interval_seconds >= self.transaction_timeout_seconds:
            yield (
                "commit_interval_seconds",
                f"must be less than CONTACTS_TRANSACTION_TIMEOUT_SECONDS ({self.transaction_timeout_seconds:g})",
            )
        if self.transaction_timeout_seconds >= self.stall_seconds:
            yield "transaction_timeout_seconds", f"must be less than CONTACTS_STALL_SECONDS ({self.stall_seconds:g})"
        if self.fetch_max_wait_seconds >= self.session_timeout_seconds:
            yield (
                "fetch_max_wait_seconds",
                f"must be less than CONTACTS_SESSION_TIMEOUT_SECONDS ({self.session_timeout_seconds:g})",
            )

    def _conflicts_of_access(self) -> Iterator[tuple[str, str]]:
        if self.kafka_security.sasl:
            for name in ("kafka_username", "kafka_password"):
                if getattr(self, name) is None:
                    yield name, f"is needed where CONTACTS_KAFKA_SECURITY is {self.kafka_security}"
        if self.kafka_key_file is not None and self.kafka_cert_file is None:
            yield "kafka_key_file", "does not go without CONTACTS_KAFKA_CERT_FILE"
        for name, alone in (
            ("kafka_ca_file", replace(self.access, cert_file=None, key_file=None)),
            ("kafka_cert_file", replace(self.access, ca_file=None)),
        ):
            if getattr(self, name) is not None:
                try:
                    alone.ssl_context()
                except OSError as error:
                    yield name, f"does not serve: {error.strerror or error}"

    def remarks(self) -> Iterator[str]:
        if self.retention_days is not None and self.row_days is not None and self.row_days > self.retention_days:
            yield (
                f"CONTACTS_ROW_DAYS ({self.row_days}) is more than CONTACTS_RETENTION_DAYS ({self.retention_days}); "
                "rows go with their counts"
            )
