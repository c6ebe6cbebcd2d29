"""The kinds of values that settings have: how each is read from text."""

import math
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from stream.settings.declare import Kind
from stream.settings.redis_url import RedisAddress, without_password

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def whole_number(smallest: int, largest: int, *also: int) -> Kind[int]:
    """A whole number in [smallest, largest], or one of `also`; `_` may group its digits."""
    apart = "".join(f", or {number}" for number in also)

    def read(text: str) -> int:
        number = int(text)
        if number not in also and not smallest <= number <= largest:
            raise ValueError
        return number

    return Kind(f"a whole number from {smallest} to {largest}{apart}", _silence(read))


def number(smallest: float, largest: float) -> Kind[float]:
    """A decimal number in [smallest, largest]."""

    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or not smallest <= value <= largest:
            raise ValueError
        return value

    return Kind(f"a number from {smallest:g} to {largest:g}", _silence(read), lambda value: f"{value:g}")


def or_none(kind: Kind[T]) -> Kind[T | None]:
    """The kind, or the word `none`."""

    def read(text: str) -> T | None:
        return None if text.lower() == "none" else kind.read(text)

    # Setting.shown writes None itself, so the kind's own `show` never meets one.
    return Kind(f"{kind.expects}, or none", read, kind.show, kind.mask, kind.secret)  # type: ignore[arg-type]


def choice(choices: type[E]) -> Kind[E]:
    """One member of a closed set, in any case of letters."""
    return Kind(f"one of {', '.join(choices)}", _silence(lambda text: choices(text.lower())))


def _name(text: str) -> str:
    if not _NAME.fullmatch(text) or text in (".", ".."):
        raise ValueError
    return text


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError
    return text.strip("[]")


def _port(text: str) -> int:
    if text.startswith("tcp://"):
        raise ValueError(
            "this looks like what Kubernetes sets for a service of this name; set enableServiceLinks: false"
        )
    return whole_number(0, 65_535).read(text)


def _servers(text: str) -> str:
    return ",".join(_server(item.strip()) for item in text.split(",") if item.strip()) or _refuse()


def _server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or (host.startswith("[") != host.endswith("]")):
        host, port = text, "9092"
    if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) <= 65_535:
        raise ValueError(f"'{text}' is no host:port")
    return f"{host}:{port}"


def _redis(text: str) -> str:
    RedisAddress.parse(text)
    return text


def _origins(text: str) -> tuple[str, ...]:
    return tuple(_origin(item.strip()) for item in text.split(",") if item.strip())


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if (
        parts.scheme not in ("http", "https")
        or not parts.netloc
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ValueError(f"'{text}' is no origin")
    return f"{parts.scheme}://{parts.netloc}".lower()


def _frame_ancestors(text: str) -> tuple[str, ...]:
    return tuple(
        "'self'" if item.strip("'\"").lower() == "self" else _origin(item)
        for item in re.split(r"[\s,]+", text.strip())
        if item
    )


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _refuse() -> str:
    raise ValueError


def _silence(read: Callable[[str], T]) -> Callable[[str], T]:
    """Python's own words about a failed conversion add nothing to `expects`."""

    def silent(text: str) -> T:
        try:
            return read(text)
        except ValueError:
            raise ValueError from None

    return silent


def _list_choices(items: tuple[str, ...]) -> str:
    return ",".join(items) or "none"


NAME = Kind("a name of 1 to 200 of A-Z a-z 0-9 . _ -", _name)
HOST = Kind("a host name or an IP address", _host)
PORT = Kind("a port from 0 to 65535 (0: any free one)", _port)
KAFKA_SERVERS = Kind("host:port, or several with commas", _servers)
REDIS_URL = Kind(
    "redis://[user:password@]host[:port][/database], rediss://… or redis+sentinel://host:port,host:port/service[/database]",
    _redis,
    show=without_password,
    mask=without_password,
)
ORIGINS = Kind("origins such as https://app.example.com, with commas", _origins, _list_choices)
FRAME_ANCESTORS = Kind("origins such as https://app.example.com, or self, with commas", _frame_ancestors, _list_choices)
WEB_ADDRESS = Kind(
    "an http:// or https:// address",
    _silence(_web_address),
    show=partial(without_password, options=False),
    mask=partial(without_password, options=False),
)
TEXT = Kind("a text", str)
SECRET = Kind("a secret that is not empty", str, secret=True)
PATH = Kind("a path", _path)
