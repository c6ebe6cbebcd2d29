"""Parses a Redis URL: one server, with or without TLS, or a service that Sentinels watch."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

SCHEMES = ("redis", "rediss", "redis+sentinel")
SENTINEL_PORT = 26379
REDIS_PORT = 6379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed URL. `service` is None unless Sentinels are to be asked where the primary is."""

    servers: tuple[tuple[str, int], ...]
    service: str | None
    database: int
    tls: bool
    username: str | None
    password: str | None
    options: str
    """The query of the URL as it is, for the client (`ssl_ca_certs=…` and the like)."""

    @classmethod
    def parse(cls, url: str) -> "RedisAddress":
        """Read a URL; raises ValueError naming what is wrong with it, never with the password in it."""
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"the scheme is none of {', '.join(scheme + '://' for scheme in SCHEMES)}")
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, colon, password = credentials.partition(":")
        sentinel = parts.scheme == "redis+sentinel"
        port = SENTINEL_PORT if sentinel else REDIS_PORT
        servers = tuple(_server(host, port) for host in hosts.split(","))
        path = parts.path.strip("/").split("/") if parts.path.strip("/") else []
        if not sentinel and len(servers) > 1:
            raise ValueError("several servers need redis+sentinel://")
        if sentinel and not path:
            raise ValueError("the service's name is missing, as in redis+sentinel://host:26379/service")
        service = path.pop(0) if sentinel else None
        if len(path) > 1 or (path and not path[0].isdecimal()):
            raise ValueError("the database is no number")
        return cls(
            servers=servers,
            service=service,
            database=int(path[0]) if path else 0,
            tls=parts.scheme == "rediss",
            username=unquote(username) or None,
            password=unquote(password) if colon else None,
            options=parts.query,
        )


def without_password(url: str, *, options: bool = True) -> str:
    """The URL as it may be shown, its passwords masked; also one that `parse` refuses. `options`: whether values are
    shown of parameters that are not called a password.
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if 0 <= rest.find("?") < rest.rfind("@"):
        return f"{scheme}{separator}***"  # of a password, or of an option: nobody can tell
    credentials, at, hosts = rest.rpartition("@")
    address, _, query = hosts.partition("?")
    shown = f"{scheme}{separator}"
    if at:
        shown += f"{credentials.partition(':')[0] if scheme else ''}:***@"
    return shown + address + ("?" + "&".join(_show_option(one, options) for one in query.split("&")) if query else "")


def _show_option(option: str, shown: bool) -> str:
    name, equals, _ = option.partition("=")
    return option if shown and "password" not in name else f"{name}{equals}***"


def _server(text: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (host.startswith("[") and not host.endswith("]")):
        host, port = text, str(default_port)
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) <= 65_535:
        raise ValueError("a server is no host:port")
    return host, int(port)
