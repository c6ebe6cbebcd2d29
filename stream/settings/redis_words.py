"""Says in words what is wrong with a Redis: what it does, what that means, and which setting leads there."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

CLOSED = (
    "Redis closed the connection: it stopped, or what listens there is no Redis or wants TLS (rediss:// in "
    "CONTACTS_REDIS)"
)
NO_PASSWORD = "Redis wants a password, and CONTACTS_REDIS has none"
SILENT_TO_TLS = "Redis does not answer in time: perhaps its port is one without TLS, and CONTACTS_REDIS says rediss://"
"""Where TLS is asked for: a Redis without it waits for the end of a command that never comes."""

BY_TEXT = (
    ("Authentication required", NO_PASSWORD),
    ("HELLO must be called with the client already authenticated", NO_PASSWORD),
    ("without any password configured", "Redis has no password, and CONTACTS_REDIS has one"),
    ("no password is set", "Redis has no password, and CONTACTS_REDIS has one"),
    ("DB index is out of range", "Redis has no database of that number (the end of CONTACTS_REDIS)"),
    ("max number of clients reached", "Redis has as many clients as it may (maxclients)"),
    ("running in protected mode", "Redis takes connections of its own machine alone (protected-mode)"),
    ("MISCONF", "Redis cannot save its data (a full disk?), and is set to take no writes then"),
    ("NOREPLICAS", "Redis has fewer replicas than it must have to take writes (min-replicas-to-write)"),
    ("No master found for", "no Sentinel says which server is the primary (CONTACTS_REDIS names the service)"),
    ("CERTIFICATE_VERIFY_FAILED", "the certificate of Redis is not to be trusted (ssl_ca_certs in CONTACTS_REDIS)"),
    (
        "Timeout connecting to server",
        "no connection to Redis in time: its machine does not answer, or CONTACTS_REDIS says rediss:// for a port "
        "without TLS",
    ),
    (
        "[SSL",
        "Redis does not take our TLS: rediss:// in CONTACTS_REDIS is for a port with TLS, redis:// for one without",
    ),
    ("Connection closed by server", CLOSED),
    ("Connection reset by peer", CLOSED),
)
"""Parts of what the client says, and what they mean; those of the client's own errors, which have no class for it."""


def is_refusal(error: BaseException) -> bool:
    """Whether Redis answers, and does not do what it was asked."""
    return isinstance(error, ResponseError)


def lacks_right(error: BaseException) -> bool:
    """Whether Redis lets us in, and its access list does not let us do what we asked for."""
    return isinstance(error, NoPermissionError)


def name_trouble(error: BaseException) -> str:
    """What is wrong, in our words alone: nothing of the server's is in it, so that readers may be told."""
    match error:
        case OutOfMemoryError():
            return "Redis is full (maxmemory) and takes no writes"
        case ReadOnlyError():
            return "Redis is a read-only replica and takes no writes: CONTACTS_REDIS must lead to the primary"
        case NoPermissionError():
            return "Redis does not allow a command to our user (its ACL; CONTACTS_REDIS names the user)"
        case BusyLoadingError():
            return "Redis loads its data, and answers when it has it all"
        case InvalidResponse():
            return "what listens there is no Redis, or wants TLS (rediss:// in CONTACTS_REDIS)"
    text = str(error)
    for part, meaning in BY_TEXT:
        if part in text:
            return meaning
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError):
        return "Redis refuses our name or password (CONTACTS_REDIS)"
    return "Redis refuses a call" if isinstance(error, ResponseError) else "Redis does not answer"


def describe_redis(error: BaseException) -> str:
    """What is wrong, with what the client says of it, for the log of who operates it."""
    name = name_trouble(error)
    if isinstance(error, OutOfMemoryError | ReadOnlyError):
        return name
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{name} ({told[:300]})"
