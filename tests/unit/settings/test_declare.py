"""What a setting's value is, where it came from, and what is said about a wrong one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from stream.settings.api import ApiConfig
from stream.settings.declare import Config, Reading, SettingsError, Sources, read, setting, settings_of
from stream.settings.kinds import NAME, SECRET, number, or_none, whole_number
from stream.settings.worker import CommitMode, LogLevel, WorkerConfig


@dataclass(frozen=True, kw_only=True)
class Shop(Config):
    name: str = setting(NAME, "corner", meaning="", when_wrong="")
    shelves: int = setting(whole_number(1, 9, -1), 3, meaning="", when_wrong="")
    discount: float | None = setting(or_none(number(0, 1)), None, meaning="", when_wrong="")
    key: str | None = setting(or_none(SECRET), None, meaning="", when_wrong="")


@dataclass(frozen=True, kw_only=True)
class Garden(Config):
    trees: int = setting(whole_number(0, 9), 0, meaning="", when_wrong="")


def reading(
    flags: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Mapping[str, object] | None = None,
) -> Reading[Shop]:
    return read(Shop, Sources(flags or {}, environ or {}, file or {}, "shop.toml"), [Garden])


def shown(of: Reading[Shop]) -> dict[str, tuple[str, str]]:
    return {value.setting.variable: (value.shown, value.origin) for value in of.values}


def told(of: Reading[Shop]) -> list[str]:
    return [str(problem) for problem in of.problems]


def test_flags_win_over_the_environment_over_the_file_over_the_default() -> None:
    # Given each setting set in one place more than the one before it
    file: dict[str, object] = {"discount": 0.5, "shelves": 4, "name": "file"}
    environ = {"CONTACTS_SHELVES": "5", "CONTACTS_NAME": "environment"}
    # When they are read
    of = reading({"name": "flag"}, environ, file)
    # Then the first place in the order gives the value, and its name is kept
    assert of.config() == Shop(name="flag", shelves=5, discount=0.5, key=None)
    assert shown(of) == {
        "CONTACTS_NAME": ("flag", "flag --name"),
        "CONTACTS_SHELVES": ("5", "environment"),
        "CONTACTS_DISCOUNT": ("0.5", "file shop.toml"),
        "CONTACTS_KEY": ("none", "default"),
    }


def test_all_problems_are_told_together() -> None:
    # Given a wrong value in each place, and a key that is none
    of = reading(
        {"shelves": "many"},
        {"CONTACTS_NAME": "a b", "CONTACTS_KEY": ""},
        {"discount": 1.5, "shelfs": 2, "trees": 3, "api": {"port": 1}},
    )
    # When the configuration is asked for, then one error names them all, and never a secret
    with pytest.raises(SettingsError) as raised:
        of.config()
    assert str(raised.value).splitlines() == [
        "CONTACTS_NAME = 'a b' (environment): expected a name of 1 to 200 of A-Z a-z 0-9 . _ -",
        "CONTACTS_SHELVES = 'many' (flag --shelves): expected a whole number from 1 to 9, or -1",
        "CONTACTS_DISCOUNT = '1.5' (file shop.toml): expected a number from 0 to 1, or none",
        "CONTACTS_KEY = *** (environment): expected a secret that is not empty, or none (it is empty)",
        "shelfs = … (file shop.toml): no such setting; the nearest is shelves",
        "api = … (file shop.toml): a table; keys are flat",
    ]


def test_a_variable_that_is_no_setting_is_a_warning_with_the_nearest_name() -> None:
    # Given variables with our prefix, one of another configuration, one that names the file
    of = reading(environ={"CONTACTS_NMAE": "x", "CONTACTS_TREES": "1", "CONTACTS_CONFIG": "shop.toml", "PATH": "/"})
    # Then the configuration stands, and only the unknown one is named
    assert of.config() == Shop()
    assert of.warnings == ("CONTACTS_NMAE (environment): no such setting; the nearest is CONTACTS_NAME",)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("9", 9), ("-1", -1), ("0", None), ("10", None), ("1.0", None), ("0x1", None), (" 2 ", 2), ("-2", None)],
)
def test_a_whole_number_lies_between_its_bounds(text: str, value: int | None) -> None:
    of = reading(environ={"CONTACTS_SHELVES": text})
    assert bool(of.problems) == (value is None)
    assert value is None or of.config().shelves == value


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "1.1", "x"])
def test_a_number_is_finite_and_lies_between_its_bounds(text: str) -> None:
    assert told(reading(environ={"CONTACTS_DISCOUNT": text})) == [
        f"CONTACTS_DISCOUNT = '{text}' (environment): expected a number from 0 to 1, or none"
    ]


@pytest.mark.parametrize("empty", ["", "none", "NONE"])
def test_an_empty_value_is_as_if_absent_and_none_is_a_word(empty: str) -> None:
    assert reading(environ={"CONTACTS_DISCOUNT": empty}).config() == Shop(discount=None)


def test_the_file_gives_what_a_variable_could_say() -> None:
    assert reading(file={"shelves": 4, "name": "x", "discount": "none"}).config() == Shop(name="x", shelves=4)
    assert told(reading(file={"shelves": True, "name": [1, 2]})) == [
        "CONTACTS_NAME = '[1, 2]' (file shop.toml): expected a name of 1 to 200 of A-Z a-z 0-9 . _ -",
        "CONTACTS_SHELVES = 'true' (file shop.toml): expected a whole number from 1 to 9, or -1",
    ]


def test_a_secret_is_shown_nowhere() -> None:
    of = reading(environ={"CONTACTS_KEY": "open-sesame"})
    assert of.config().key == "open-sesame"
    assert shown(of)["CONTACTS_KEY"] == ("***", "environment")
    assert "open-sesame" not in repr(of)
    assert next(one for one in settings_of(Shop) if one.name == "key").flag is None


def worker(**environ: str) -> Reading[WorkerConfig]:
    return read(
        WorkerConfig, Sources({}, {f"CONTACTS_{name}": text for name, text in environ.items()}, {}), [ApiConfig]
    )


def api(**environ: str) -> Reading[ApiConfig]:
    return read(
        ApiConfig, Sources({}, {f"CONTACTS_{name}": text for name, text in environ.items()}, {}), [WorkerConfig]
    )


def test_the_defaults_are_a_configuration() -> None:
    assert worker().config() == WorkerConfig()
    assert api().config() == ApiConfig()
    assert (WorkerConfig().dead_letter_topic, WorkerConfig().changelog_topic) == (
        "contacts.activity.v1.dlq",
        "contacts-report-state-changelog",
    )


def test_the_worker_takes_what_its_settings_say() -> None:
    read_config = worker(
        KAFKA="a, b:9093,[::1]:9094",
        DATA_DIR="/var/lib/x",
        LOG_LEVEL="WARNING",
        COMMIT="embedded",
        RETENTION_DAYS="400",
        ROW_DAYS="none",
        TOPIC_RETENTION_MS="-1",
    ).config()
    assert read_config == WorkerConfig(
        kafka="a:9092,b:9093,[::1]:9094",
        data_dir=Path("/var/lib/x"),
        log_level=LogLevel.WARNING,
        commit=CommitMode.EMBEDDED,
        retention_days=400,
    )


def test_times_that_do_not_go_together_are_problems() -> None:
    assert [
        str(problem)
        for problem in worker(COMMIT_INTERVAL_SECONDS="12", FETCH_MAX_WAIT_SECONDS="10", STALL_SECONDS="11").problems
    ] == [
        "CONTACTS_COMMIT_INTERVAL_SECONDS = 12 (environment): "
        "must be less than CONTACTS_TRANSACTION_TIMEOUT_SECONDS (12)",
        "CONTACTS_TRANSACTION_TIMEOUT_SECONDS = 12 (default): must be less than CONTACTS_STALL_SECONDS (11)",
        "CONTACTS_FETCH_MAX_WAIT_SECONDS = 10 (environment): must be less than CONTACTS_SESSION_TIMEOUT_SECONDS (10)",
    ]


@pytest.mark.parametrize(
    ("url", "shown_url"),
    [
        ("redis://cache:6380/2", "redis://cache:6380/2"),
        ("rediss://:pw@cache", "rediss://:***@cache"),
        ("redis://:p%3Fw@cache", "redis://:***@cache"),
        ("redis://cache/0?password=pw@ret", "redis://***"),
        ("rediss://me:p%40w@cache?ssl_ca_certs=/ca.pem", "rediss://me:***@cache?ssl_ca_certs=/ca.pem"),
        (
            "redis+sentinel://me:pw@a,b:26380/main/1?sentinel_password=pw2",
            "redis+sentinel://me:***@a,b:26380/main/1?sentinel_password=***",
        ),
    ],
)
def test_a_redis_url_is_taken_whole_and_shown_without_its_password(url: str, shown_url: str) -> None:
    of = worker(REDIS=url)
    assert of.config().redis == url
    assert [value.shown for value in of.values if value.setting.name == "redis"] == [shown_url]
    assert "pw" not in repr(of)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:pw@cache", "the scheme is none of redis://, rediss://, redis+sentinel://"),
        ("redis://:pw?pw@cache:6379/0", "a server is no host:port"),
        ("me:pw@cache:6379", "the scheme is none of redis://, rediss://, redis+sentinel://"),
        ("redis://me:pw@a,b/0", "several servers need redis+sentinel://"),
        ("redis://me:pw@cache:port", "a server is no host:port"),
        ("redis://me:pw@cache/x", "the database is no number"),
        ("redis+sentinel://me:pw@a", "the service's name is missing, as in redis+sentinel://host:26379/service"),
    ],
)
def test_a_wrong_redis_url_is_refused_without_its_password(url: str, reason: str) -> None:
    [problem] = worker(REDIS=url).problems
    assert problem.expected.endswith(f"({reason})")
    assert "pw" not in str(problem)


def test_without_authentication_the_api_is_served_on_loopback_alone() -> None:
    assert [api(API_HOST=host).problems for host in ("127.0.0.1", "::1", "localhost", "127.3.2.1")] == [(), (), (), ()]
    [problem] = api(API_HOST="0.0.0.0").problems
    assert str(problem) == (
        "CONTACTS_API_HOST = 0.0.0.0 (environment): without authentication only a loopback address is served; "
        "set CONTACTS_JWT_SECRET, CONTACTS_JWKS_URL or CONTACTS_TOKENS_FILE"
    )
    with_tokens = api(API_HOST="0.0.0.0", TOKENS_FILE="tokens")
    assert with_tokens.config().authenticated


def test_a_short_secret_is_a_warning() -> None:
    checked = {"JWT_AUDIENCE": "reports", "JWT_ISSUER": "https://id.example"}
    assert api(JWT_SECRET="x" * 32, **checked).warnings == ()
    [warning] = api(JWT_SECRET="x" * 31, **checked).warnings
    assert warning == "CONTACTS_JWT_SECRET is shorter than 32 bytes; it can be guessed"


@pytest.mark.parametrize("keys", [{"JWT_SECRET": "x" * 32}, {"JWKS_URL": "https://id.example/keys"}])
def test_claims_that_are_not_looked_at_are_a_warning(keys: dict[str, str]) -> None:
    assert [text.partition(" ")[0] for text in api(**keys).warnings] == ["CONTACTS_JWT_AUDIENCE", "CONTACTS_JWT_ISSUER"]
    assert api(**keys, JWT_AUDIENCE="reports", JWT_ISSUER="https://id.example").warnings == ()
    assert api(TOKENS_FILE="tokens").warnings == ()


def test_the_api_takes_what_its_settings_say() -> None:
    config = api(
        API_CORS_ORIGINS="https://App.example.com, http://localhost:3000/",
        API_FRAME_ANCESTORS="self https://app.example.com",
    ).config()
    assert config.api_cors_origins == ("https://app.example.com", "http://localhost:3000")
    assert config.api_frame_ancestors == ("'self'", "https://app.example.com")


def test_a_service_variable_of_kubernetes_is_recognised() -> None:
    [problem] = api(API_PORT="tcp://10.0.0.1:8080").problems
    assert "enableServiceLinks: false" in str(problem)


def test_every_setting_says_what_it_means_and_what_a_wrong_value_does() -> None:
    for config_type in (WorkerConfig, ApiConfig):
        assert {one.name for one in settings_of(config_type)} == {each.name for each in fields(config_type)}
        for one in settings_of(config_type):
            assert one.meaning, one.name
            assert one.when_wrong, one.name


def test_what_kafka_asks_for_must_be_there() -> None:
    of = worker(KAFKA_SECURITY="sasl_ssl", KAFKA_CA_FILE="/nowhere/ca.pem", KAFKA_KEY_FILE="/nowhere/key.pem")
    assert [str(problem) for problem in of.problems] == [
        "CONTACTS_KAFKA_USERNAME = none (default): is needed where CONTACTS_KAFKA_SECURITY is sasl_ssl",
        "CONTACTS_KAFKA_PASSWORD = none (default): is needed where CONTACTS_KAFKA_SECURITY is sasl_ssl",
        "CONTACTS_KAFKA_KEY_FILE = /nowhere/key.pem (environment): does not go without CONTACTS_KAFKA_CERT_FILE",
        "CONTACTS_KAFKA_CA_FILE = /nowhere/ca.pem (environment): does not serve: No such file or directory",
    ]
    access = worker(KAFKA_SECURITY="sasl_plaintext", KAFKA_USERNAME="me", KAFKA_PASSWORD="secret").config().access
    assert access.options() == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "me",
        "sasl_plain_password": "secret",
    }
    assert "secret" not in repr(access)
