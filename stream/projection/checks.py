"""Reads from Redis the facts that a deployment depends on. Changes nothing."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stream.projection.memory import counted_bytes, is_above_limit, is_full
from stream.settings.redis_words import describe_redis


class ServerFacts(msgspec.Struct, frozen=True):
    """What could be seen; None where the server does not tell it."""

    version: str | None
    role: str | None
    policy: str | None
    maxmemory: int | None
    used_memory: int | None
    """Bytes against `maxmemory`."""
    persistence: str | None
    ahead_ms: int
    """How far its clock is ahead of ours, about."""

    @property
    def full(self) -> bool:
        """Whether it refuses writes for its memory."""
        return is_full(is_above_limit(self.maxmemory, self.used_memory), self.policy)


class RedisRefused(Exception):
    """It could not be asked; the text is for the person who asked."""


async def ask_server(client: Redis) -> ServerFacts:
    """Raises RedisRefused."""
    try:
        before = time.time()
        seconds, microseconds = await client.time()
        ours = (before + time.time()) / 2
        info: dict[str, Any] = await client.info()
    except (RedisError, OSError) as error:
        raise RedisRefused(describe_redis(error)) from error
    return ServerFacts(
        version=_text(info.get("valkey_version") or info.get("redis_version")),
        role=_text(info.get("role")),
        policy=_text(info.get("maxmemory_policy")),
        maxmemory=_number(info.get("maxmemory")),
        used_memory=counted_bytes(info),
        persistence=_persistence(info),
        ahead_ms=round((seconds + microseconds / 1_000_000 - ours) * 1000),
    )


async def ask_certificate(client: Redis) -> bytes | None:
    """What the server shows with TLS, in DER; None without. Raises RedisRefused."""
    pool: Any = client.connection_pool
    try:
        connection = await pool.get_connection()
    except (RedisError, OSError) as error:
        raise RedisRefused(describe_redis(error)) from error
    try:
        tls = connection._writer.get_extra_info("ssl_object")
        shown: bytes | None = None if tls is None else tls.getpeercert(binary_form=True)
        return shown
    finally:
        await pool.release(connection)


def _persistence(info: dict[str, Any]) -> str | None:
    if "aof_enabled" not in info:
        return None
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        return "failing"
    return "append-only file" if info["aof_enabled"] else "snapshots, or none"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> int | None:
    return None if value is None else int(value)
