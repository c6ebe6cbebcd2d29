"""What Redis says of its memory, read in one way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def counted_bytes(memory: Mapping[str, Any]) -> int | None:
    """What Redis holds against its `maxmemory`, out of INFO: not what clients and replicas have not read yet."""
    used = memory.get("used_memory")
    return None if used is None else int(used) - int(memory.get("mem_not_counted_for_evict", 0))


def is_above_limit(maxmemory: int | None, counted: int | None) -> bool:
    """Whether it holds more than it may."""
    return 0 < (maxmemory or 0) < (counted or 0)


def is_full(above_limit: bool, policy: str | None) -> bool:
    """Whether it refuses writes, in place of evicting."""
    return above_limit and not may_evict(policy)


def may_evict(policy: str | None) -> bool:
    """Whether it takes what it likes of our keys when it holds more than it may."""
    return policy is not None and policy.startswith("allkeys")
