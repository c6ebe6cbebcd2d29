"""The settings of the worker, each with its unit, its default and what happens when it is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from stream.core import CoreChoice
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

EVENT_SETTINGS = ("max_event_bytes", "future_tolerance_seconds", "retention_days")
"""What a command needs to judge events as the worker does."""

TOPICS_SETTINGS = (
    *ACCESS_SETTINGS,
    "redis",
    "topic",
    "group",
    "partitions",
    "replication_factor",
    "topic_retention_ms",
    "dlq_retention_ms",
    "max_event_bytes",
)
"""Of a command that compares a deployment's topics with what they should be."""


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


class Traces(StrEnum):
    """Where spans of commits and requests go."""

    OFF = "off"
    OTLP = "otlp"


@dataclass(frozen=True, kw_only=True)
class SharedConfig(Config):
    """What the worker and the API must agree on."""

    redis: str = setting(
        REDIS_URL,
        "redis://127.0.0.1:6379/0",
        meaning="The Redis (7.0 or newer) or Valkey that holds what the API reads.",
        when_wrong="The worker cannot reach Redis and counts nothing; the API answers 503.",
    )
    topic: str = setting(
        NAME,
        "contacts.activity.v1",
        meaning="The Kafka topic of contact events. Dead letters go to `<topic>.dlq`.",
        when_wrong="The worker notices another topic under the same group by its records, and stops.",
    )
    group: str = setting(
        NAME,
        "contacts-report",
        meaning=(
            "The consumer group and Faust's app id. It names the changelog, the transactional ids and every key in "
            "Redis."
        ),
        when_wrong=(
            "A new name counts the whole topic from its beginning, beside the old counts. A worker and an API with "
            "different groups do not see each other."
        ),
    )
    log_format: LogFormat = setting(
        choice(LogFormat),
        LogFormat.TEXT,
        meaning="`text`: lines for people. `json`: one JSON object a line.",
        when_wrong="Only the log looks different.",
    )
    log_level: LogLevel = setting(
        choice(LogLevel),
        LogLevel.INFO,
        meaning="The lowest level that is logged.",
        when_wrong="`debug` costs throughput; `error` hides warnings that operators need.",
    )
    traces: Traces = setting(
        choice(Traces),
        Traces.OFF,
        meaning=(
            "`otlp`: send a span of each commit, projection and request by OpenTelemetry, as its own variables "
            "`OTEL_…` say (`OTEL_EXPORTER_OTLP_ENDPOINT`). Needs the extra `[otel]`."
        ),
        when_wrong="Without the extra the process does not start. Where no collector answers, spans are lost.",
    )
    core: CoreChoice = setting(
        choice(CoreChoice),
        CoreChoice.AUTO,
        meaning="Which form of the counting, and of the sums of reports, runs: the `compiled` core, the one in "
        "`python`, or (`auto`) the compiled one where it is installed and the one in Python elsewhere. Both give the "
        "same bytes and the same answers, so workers with either may take partitions from each other.",
        when_wrong="`compiled` where it is not installed: worker and API stop at their start, with the reason. "
        "`python`: counting takes some 7 times the CPU, and reports several times as much.",
    )


@dataclass(frozen=True, kw_only=True)
class WorkerConfig(SharedConfig):
    """The counting worker, and the topics that it reads and writes."""

    kafka: str = setting(
        KAFKA_SERVERS,
        "127.0.0.1:9092",
        meaning="The brokers to connect to first; they name all others.",
        when_wrong="The worker cannot connect, logs it, and retries; nothing is counted.",
    )
    kafka_security: Security = setting(
        choice(Security),
        Security.PLAINTEXT,
        meaning=(
            "How to connect to the brokers: with TLS (`ssl`), with a user name and password (`sasl_plaintext`), or "
            "both (`sasl_ssl`)."
        ),
        when_wrong="The brokers close the connection; the worker reports that Kafka is unreachable.",
    )
    kafka_ca_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="CA certificates (PEM) to verify the brokers. None: the system trust store.",
        when_wrong="The worker stops at start if it cannot read the file; otherwise it rejects every broker.",
    )
    kafka_cert_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The client certificate (PEM), if the brokers require one. Read once per process.",
        when_wrong="The worker stops at start if it cannot read the file; otherwise the brokers reject it.",
    )
    kafka_key_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The private key (PEM) of the client certificate. None: it is in the certificate's file.",
        when_wrong="The worker stops at start if the key does not match the certificate.",
    )
    kafka_mechanism: Mechanism = setting(
        choice(Mechanism),
        Mechanism.PLAIN,
        meaning="The SASL mechanism.",
        when_wrong="The brokers reject the login. `plain` without TLS sends the password unencrypted.",
    )
    kafka_username: str | None = setting(
        or_none(TEXT),
        None,
        meaning="The SASL user name.",
        when_wrong="The brokers reject the login; the worker reports that Kafka is unreachable.",
    )
    kafka_password: str | None = setting(
        or_none(SECRET),
        None,
        meaning="The SASL password.",
        when_wrong="The brokers reject the login; the worker reports that Kafka is unreachable.",
    )
    data_dir: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The folder for Faust's own files. Nothing in it must survive a restart. None: a temporary folder.",
        when_wrong="The worker stops at start if it cannot write there.",
    )
    worker_host: str = setting(
        HOST,
        "127.0.0.1",
        meaning="The address on which the worker serves probes and metrics.",
        when_wrong=(
            "On loopback nothing outside the machine or container can reach them; `0.0.0.0` exposes them to the "
            "network."
        ),
    )
    worker_port: int = setting(
        PORT,
        8081,
        meaning="The port on which the worker serves probes and metrics.",
        when_wrong="The worker stops at start if the port is taken.",
    )
    dedupe_window_hours: int = setting(
        whole_number(0, 32_768),
        72,
        unit="hours of broker time",
        meaning="How long after a counted event its duplicates are recognised.",
        when_wrong=(
            "Too short: what a publisher sends again later counts twice. Too long: more memory (40 bytes an id; 150 in"
            " the Python form)."
        ),
    )
    dedupe_max_ids: int = setting(
        whole_number(1, 1_000_000_000),
        5_000_000,
        unit="ids a partition",
        meaning="How many recent ids to keep at most. Above it the oldest hour is dropped early.",
        when_wrong=(
            "Too small: the dedupe window shrinks (a metric and an alert show it). Too large: more memory (40 bytes"
            " an id; 150 in the Python form)."
        ),
    )
    name_limit: int = setting(
        whole_number(1, 1_000_000_000),
        5_000_000,
        unit="names a partition",
        meaning=(
            "How many names of users and sources to keep at most. A user or source that comes above it is counted as"
            " ever, and shown by its id; it is not among the choices of filters. What is kept already stays."
        ),
        when_wrong=(
            "Too small: reports show ids of users that came late (a metric and an alert show it). Too large: more"
            " memory (430 bytes a name in the worker, 120 in Redis)."
        ),
    )
    max_event_bytes: int = setting(
        whole_number(1, 64 * 1024 * 1024),
        65_536,
        unit="bytes",
        meaning="The largest record value that is read as an event.",
        when_wrong=(
            "Too small: valid events are rejected as `too_large`. Too large: the dead-letter topic must accept "
            "records of this size."
        ),
    )
    future_tolerance_seconds: int = setting(
        whole_number(0, 365 * 86_400),
        300,
        unit="seconds",
        meaning="How far `occurred_at` may lie ahead of the record's broker time.",
        when_wrong="Too small: events from publishers whose clocks run ahead are rejected as `time_in_future`.",
    )
    record_future_tolerance_seconds: int = setting(
        whole_number(60, 100 * 365 * 86_400),
        3_600,
        unit="seconds",
        meaning=(
            "How far a record's timestamp may lie ahead of the worker's clock. Beyond it, a record whose publisher "
            "set the timestamp is rejected as `time_in_future`; if the broker set it, the partition waits."
        ),
        when_wrong=(
            "Too small: events from publishers or brokers whose clocks run ahead are not counted. Too large: one "
            "record far ahead disables deduplication until time catches up, and with `CONTACTS_RETENTION_DAYS` it "
            "drops counts."
        ),
    )
    retention_days: int | None = setting(
        or_none(whole_number(1, 36_500)),
        None,
        unit="days",
        meaning="How long counts are kept. None: for ever.",
        when_wrong="Too short: older events are rejected as `time_too_old`, and dropped counts do not come back.",
    )
    row_days: int | None = setting(
        or_none(whole_number(0, 36_500)),
        None,
        unit="days",
        meaning=(
            "How long rows of the activity table are kept. None: as long as Redis has room. 0: no table; if it is "
            "turned on later, the rows are read from the topic again."
        ),
        when_wrong="Too short: the table ends early, and `truncated_before` says where. Counts are not affected.",
    )
    row_limit: int | None = setting(
        or_none(whole_number(1, 1_000_000_000)),
        None,
        unit="rows a workspace",
        meaning=(
            "How many rows of the activity table are kept per workspace, newest first. None: as many as Redis has "
            "room for."
        ),
        when_wrong="Too small: the table ends early, and `truncated_before` says where. Counts are not affected.",
    )
    redis_memory_share: float = setting(
        number(0.1, 1.0),
        0.8,
        unit="share of Redis' maxmemory",
        meaning=(
            "Above this share of Redis' `maxmemory`, the oldest days of rows are dropped, so that counts always "
            "have room."
        ),
        when_wrong="Too large: a burst may fill Redis before rows are dropped, and counting waits.",
    )
    commit_interval_seconds: float = setting(
        number(0.0, 60.0),
        0.05,
        unit="seconds",
        meaning="The shortest time between two commits of a partition.",
        when_wrong="Too short: more load on the brokers. Too long: reports lag by it.",
    )
    commit_max_events: int = setting(
        whole_number(1, 1_000_000),
        50_000,
        unit="events",
        meaning="While it catches up, a partition commits after at most this many events.",
        when_wrong="Too small: catching up is slow. Too large: more memory, and transactions that may time out.",
    )
    fetch_min_bytes: int = setting(
        whole_number(1, 50 * 1024 * 1024),
        512 * 1024,
        unit="bytes",
        meaning=(
            "After a fetch that brings fewer bytes the worker rests for `CONTACTS_FETCH_MAX_WAIT_SECONDS`, so that "
            "events gather."
        ),
        when_wrong=(
            "Too small: busy partitions are read in many small fetches. Too large: the worker rests in the middle of "
            "catching up."
        ),
    )
    fetch_max_wait_seconds: float = setting(
        number(0.001, 30.0),
        0.05,
        unit="seconds",
        meaning=(
            "How long the worker waits after a small fetch. On a quiet topic the first event arrives at once. At "
            "`CONTACTS_COMMIT_INTERVAL_SECONDS` or more, what a fetch brings is committed at once, and events wait for "
            "one of the two alone."
        ),
        when_wrong="Too short: more load on worker and brokers. Too long: events are read late by it.",
    )
    session_timeout_seconds: float = setting(
        number(1.0, 1_800.0),
        10.0,
        unit="seconds",
        meaning="Kafka reassigns a worker's partitions after this long without a heartbeat.",
        when_wrong=(
            "Too short: a slow moment counts as a crash. Too long: a crash is noticed late. Kafka rejects values "
            "outside its `group.min.session.timeout.ms` and `group.max.session.timeout.ms`."
        ),
    )
    transaction_timeout_seconds: float = setting(
        number(1.0, 900.0),
        12.0,
        unit="seconds",
        meaning="Kafka aborts a transaction that stays open for longer; its worker starts over.",
        when_wrong=(
            "Too short: a slow broker aborts the worker's commits. Too long: readers wait for a transaction that a "
            "crash left open."
        ),
    )
    verify_samples_an_hour: int = setting(
        whole_number(0, 3_600),
        6,
        unit="workspace-days of each partition",
        meaning=(
            "How many workspace-days an hour are held against Redis in the background, as `contacts-report verify` "
            "does with all. 0: none."
        ),
        when_wrong=(
            "Too many: with a million workspace-days each stops counting for 50 ms. Too few: a difference is found "
            "later."
        ),
    )
    stall_seconds: float = setting(
        number(1.0, 86_400.0),
        60.0,
        unit="seconds",
        meaning=(
            "Exit with the reason if, for this long, events wait uncounted, Redis gets no update, or an assigned "
            "partition has not started."
        ),
        when_wrong="Too short: restarts while Kafka or Redis is only slow. Too long: a hang is noticed late.",
    )
    stuck_seconds: float = setting(
        number(1.0, 86_400.0 * 7),
        1_800.0,
        unit="seconds",
        meaning=(
            "Exit with the reason if, for this long, events wait and the position does not move, whatever the "
            "cause. At least `CONTACTS_STALL_SECONDS`."
        ),
        when_wrong=(
            "Too short: restarts while Kafka or Redis is down, or in the middle of a long recovery. Too long: what "
            "a restart would mend is mended late."
        ),
    )
    stop_timeout_seconds: float = setting(
        number(0.1, 3_600.0),
        8.0,
        unit="seconds",
        meaning="The longest time a stop waits for commits in flight.",
        when_wrong="Longer than the supervisor's limit: the worker is killed, which costs time and loses nothing.",
    )
    topic_retention_ms: int = setting(
        whole_number(1, 2**63 - 1, -1),
        -1,
        unit="milliseconds",
        meaning="The retention with which `topics` creates the event topic. -1: for ever.",
        when_wrong=(
            "Too short: after Redis is lost its rows cannot be written again, and `verify` reports cells as "
            "unverifiable."
        ),
    )
    dlq_retention_ms: int = setting(
        whole_number(1, 2**63 - 1, -1),
        14 * DAY_MILLISECONDS,
        unit="milliseconds",
        meaning="The retention with which `topics` creates the dead-letter topic. -1: for ever.",
        when_wrong="Too short: rejected events are gone before anyone looks at them.",
    )
    replication_factor: int = setting(
        whole_number(1, 32_767),
        1,
        unit="copies",
        meaning="How many brokers keep a copy of each topic that `topics` creates.",
        when_wrong="1 loses counts with a broker's disk. Kafka rejects more than there are brokers.",
    )
    partitions: int = setting(
        whole_number(1, 65_535),
        4,
        unit="partitions",
        meaning="How many partitions `topics` creates: the unit of scaling.",
        when_wrong="Too few: no more workers than these can count. Too many: reports read more, and Redis holds more.",
    )
    commit: CommitMode = setting(
        choice(CommitMode),
        CommitMode.TRANSACTIONS,
        meaning="`embedded` keeps nothing durable. Only `./dev run` passes it, for its own broker.",
        when_wrong="`embedded` anywhere else counts the whole topic again at each start.",
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
