"""Explains Redis' failures to the person on call."""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)


def is_refusal(error: BaseException) -> bool:
    """Whether Redis answers, and does not do what it was asked."""
    return isinstance(error, ResponseError)


def describe_redis(error: BaseException) -> str:
    told = f"{type(error).__name__}: {error}"[:300]
    if isinstance(error, OutOfMemoryError):
        return "Redis is full (maxmemory) and takes no writes"
    if isinstance(error, ReadOnlyError):
        return "Redis is a read-only replica and takes no writes: CONTACTS_REDIS must lead to the primary"
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError | NoPermissionError):
        return f"Redis refuses our name or password (CONTACTS_REDIS): {error}"[:300]
    if isinstance(error, ResponseError):
        return f"Redis refuses a call ({told})"
    return f"Redis does not answer ({told})"
