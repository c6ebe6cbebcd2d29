"""The settings of the API, each with its unit, its default and what happens when it is wrong."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.settings.declare import setting
from stream.settings.kinds import (
    FRAME_ANCESTORS,
    HOST,
    ORIGINS,
    PATH,
    PORT,
    SECRET,
    TEXT,
    WEB_ADDRESS,
    number,
    or_none,
    whole_number,
)
from stream.settings.worker import SharedConfig

SECRET_BYTES = 32
"""RFC 7518, 3.2: a key of HS256 is at least as long as its hash."""


@dataclass(frozen=True, kw_only=True)
class ApiConfig(SharedConfig):
    """The report's HTTP API and its page."""

    api_host: str = setting(
        HOST,
        "127.0.0.1",
        meaning="The address on which the API listens.",
        when_wrong="Without authentication the API refuses to start on any address but loopback.",
    )
    api_port: int = setting(
        PORT,
        8080,
        meaning="The port on which the API listens.",
        when_wrong="The API stops at start if the port is taken.",
    )
    api_connections: int = setting(
        whole_number(10, 1_000_000),
        12_000,
        unit="connections a process",
        meaning=(
            "How many connections may be open; the API answers 503 to further ones. More than `CONTACTS_LIVE_STREAMS`."
        ),
        when_wrong="Too small: readers are refused. Too large: the process runs out of memory or file descriptors.",
    )
    api_metrics_port: int | None = setting(
        or_none(PORT),
        None,
        meaning="A separate port for `/metrics`, `/readyz?verbose` and the probes. None: the API's own port.",
        when_wrong="The API stops at start if the port is taken.",
    )
    api_cors_origins: tuple[str, ...] = setting(
        ORIGINS,
        (),
        meaning="Origins whose pages may call the API from a browser.",
        when_wrong="Too few: browsers block the answers. Too many: those pages can read with their users' tokens.",
    )
    api_frame_ancestors: tuple[str, ...] = setting(
        FRAME_ANCESTORS,
        (),
        meaning="Origins (or `self`) that may show the page in a frame.",
        when_wrong="Too few: the frame stays empty. Too many: those pages can overlay it (clickjacking).",
    )
    jwt_secret: str | None = setting(
        or_none(SECRET),
        None,
        meaning="The secret of HS256 tokens, at least 32 bytes.",
        when_wrong="The API answers 401 to every token signed with another secret.",
    )
    jwks_url: str | None = setting(
        or_none(WEB_ADDRESS),
        None,
        meaning="The address of the JSON Web Key Set for RS256 and ES256 tokens.",
        when_wrong="The API answers 401 to every such token.",
    )
    jwt_audience: str | None = setting(
        or_none(TEXT),
        None,
        meaning="The `aud` that a token must contain. None: not checked.",
        when_wrong="The API answers 401 to every token for another audience.",
    )
    jwt_issuer: str | None = setting(
        or_none(TEXT),
        None,
        meaning="The `iss` that a token must have. None: not checked.",
        when_wrong="The API answers 401 to every token of another issuer.",
    )
    tokens_file: Path | None = setting(
        or_none(PATH),
        None,
        meaning="The file with the hashes of static tokens, written by `contacts-report token new`.",
        when_wrong="The API stops at start if it cannot read the file.",
    )
    live_lag_seconds: float = setting(
        number(0.1, 86_400.0),
        10.0,
        unit="seconds",
        meaning="A report whose lag is below this is called `live`.",
        when_wrong="Only the word changes, never a number.",
    )
    stalled_after_seconds: float = setting(
        number(0.1, 86_400.0),
        30.0,
        unit="seconds",
        meaning="A report that lags is called `stalled` if it has not advanced for this long, otherwise `catching_up`.",
        when_wrong="Only the word changes, never a number.",
    )
    positions_cache_ms: int = setting(
        whole_number(0, 60_000),
        250,
        unit="milliseconds",
        meaning="How long the API answers from positions and versions it has read, without asking Redis again.",
        when_wrong="Too large: reports are up to this old. 0: each answer asks Redis.",
    )
    cache_bytes: int = setting(
        whole_number(0, 2**40),
        64 * 1024 * 1024,
        unit="bytes a process",
        meaning=(
            "How much a process caches: sums of days, users (80 bytes each for names, 160 for counts; without the "
            "compiled core 350), workspaces, queries, answers, tokens, and what live streams are sent."
        ),
        when_wrong=(
            "Too small: days are summed and names read again and again. Too large: the process is killed for its "
            "memory."
        ),
    )
    live_streams: int = setting(
        whole_number(1, 1_000_000),
        10_000,
        unit="streams a process",
        meaning="How many live streams may be open; the API answers 503 to further ones.",
        when_wrong="Too small: pages poll instead. Too large: the process runs out of memory or file descriptors.",
    )
    live_streams_per_principal: int = setting(
        whole_number(1, 1_000_000),
        200,
        unit="streams a process",
        meaning=(
            "How many live streams the tokens of one subject (or one static token) may have open; the API answers "
            "429 to further ones."
        ),
        when_wrong="Too small: pages poll instead. Too large: one token can take all streams of a process.",
    )
    redis_timeout_seconds: float = setting(
        number(0.01, 300.0),
        2.0,
        unit="seconds",
        meaning="The longest time the API waits for Redis.",
        when_wrong="Too short: 503 in slow moments. Too long: requests pile up while Redis is down.",
    )

    @property
    def authenticated(self) -> bool:
        """Whether a token is asked for."""
        return not (self.jwt_secret is None and self.jwks_url is None and self.tokens_file is None)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if not self.authenticated and not is_loopback(self.api_host):
            yield (
                "api_host",
                "without authentication only a loopback address is served; set CONTACTS_JWT_SECRET, CONTACTS_JWKS_URL "
                "or CONTACTS_TOKENS_FILE",
            )

        if self.api_connections <= self.live_streams:
            yield "api_connections", f"must be more than CONTACTS_LIVE_STREAMS ({self.live_streams})"
        if self.api_metrics_port is not None and self.api_metrics_port == self.api_port != 0:
            yield "api_metrics_port", "must be another one than CONTACTS_API_PORT"

    def remarks(self) -> Iterator[str]:
        if self.jwt_secret is not None and len(self.jwt_secret.encode()) < SECRET_BYTES:
            yield f"CONTACTS_JWT_SECRET is shorter than {SECRET_BYTES} bytes; it can be guessed"
        if self.jwt_secret is not None or self.jwks_url is not None:
            if self.jwt_audience is None:
                yield "CONTACTS_JWT_AUDIENCE is not set; a token that was made for another service is accepted"
            if self.jwt_issuer is None:
                yield "CONTACTS_JWT_ISSUER is not set; a token of any issuer with such a key is accepted"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address; a name counts only if it is `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
