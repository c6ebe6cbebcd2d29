"""Redis that evicts keys: a policy that may take ours stops the counting, and what was evicted is sent again.

Counts of an evicted key would read as zero. Only the status of a worker expires (`worker_status.py`), and no key with
counts, names or rows: so the `volatile-*` policies leave those alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from stream.ports import WorkerMustStop
from stream.projection.lost_keys import SCRIPT
from stream.storage.keys import Keys

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
# While a policy forbids to count: how soon counting goes on once it was mended.
REFUSED_LOOK_SECONDS = 2.0
# Not in redis-py's answer: a proxy in front of Redis, or a user who may not ask.
UNKNOWN = "unknown"


class Evictions:
    """What the server says of its policy, and how many keys it has evicted."""

    def __init__(
        self, client: Redis, keys: Keys, noticed: Callable[[bool, bool], None] = lambda _may, _did: None
    ) -> None:
        """`noticed` is told at each look whether keys of ours may be evicted, and whether some may have been."""
        self._client, self._keys, self._noticed = client, keys, noticed
        self._script = client.register_script(SCRIPT.read_text())
        self._policy = ""
        self.used_bytes = self.limit_bytes = self.evicted_keys = 0
        """As the server told at the last look: its memory, `maxmemory` (0: none), keys evicted since its start."""
        self.refusal: str | None = None
        """Why nothing may be sent at present; None: it may."""

    @property
    def policy(self) -> str | None:
        """The server's `maxmemory-policy` at the last look; None: there was none yet."""
        return self._policy or None

    async def refuse_at_start(self) -> None:
        """Raises WorkerMustStop where keys may be evicted. A Redis that does not answer is asked again by `watch`."""
        await self.look_quietly()
        if self.refusal is not None:
            raise WorkerMustStop(self.refusal)

    async def watch(self) -> None:
        """Look once a minute, and every two seconds while nothing may be sent, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS if self.refusal is None else REFUSED_LOOK_SECONDS)
            await self.look_quietly()

    async def look_quietly(self) -> None:
        try:
            await self.look()
        except (RedisError, OSError) as error:
            log.debug("Redis was not asked for its policy: %s", error)

    async def look(self) -> None:
        """Look once. Raises RedisError."""
        policy, run, evicted = await self._ask()
        self._judge(policy)
        self._noticed(self.refusal is not None, False)
        arguments: list[Any] = ["evicted", run, evicted, policy]
        if await self._script(keys=[self._keys.positions], args=arguments):
            log.error(
                "Redis evicted keys (evicted_keys: %d), perhaps counts: resending everything; it needs the "
                "maxmemory-policy noeviction, and more maxmemory",
                evicted,
            )
            self._noticed(False, True)

    def _judge(self, policy: str) -> None:
        self.refusal = None
        if policy.startswith("allkeys"):
            self.refusal = (
                f"Redis evicts keys (maxmemory-policy {policy}), and evicted counts would read as zero: nothing is "
                "counted until the policy is noeviction"
            )
        if policy != self._policy:
            self._policy = policy
            if self.refusal is not None:
                log.error("%s", self.refusal)
            elif policy.startswith("volatile"):
                log.info("Redis' maxmemory-policy is %s: it evicts only keys that expire, and no count does", policy)
            elif policy == UNKNOWN:
                log.warning("Redis does not show its maxmemory-policy; it must be noeviction")

    async def _ask(self) -> tuple[str, str, int]:
        """Policy, run id, and the number of keys evicted. INFO has all; CONFIG is often forbidden."""
        try:
            info = await self._client.info()
        except ResponseError:  # NOPERM is one
            info = {}
        policy = info.get("maxmemory_policy")
        if policy is None:
            try:
                policy = (await self._client.config_get("maxmemory-policy")).get("maxmemory-policy")
            except ResponseError:
                policy = None
        self.used_bytes, self.limit_bytes = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
        self.evicted_keys = int(info.get("evicted_keys", 0))
        return str(policy or UNKNOWN), str(info.get("run_id") or "-"), self.evicted_keys
