"""Checks that Redis is as a deployment needs it: version, policy, memory, role, clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from stream.audit.finding import Finding, bad, good
from stream.projection.checks import ServerFacts
from stream.projection.memory import may_evict

LEAST_VERSION: Final = (7, 0)
CLOCKS_DIFFER_MS: Final = 60_000
NEARLY_FULL: Final = 0.9
SHOWN_COMMANDS: Final = 5


def check_redis(facts: ServerFacts) -> Iterator[Finding]:
    """What is good and bad of it."""
    yield _check_version(facts.version)
    yield _check_policy(facts.policy)
    if facts.role not in (None, "master"):
        yield bad(
            "Redis role",
            f"is a {facts.role}",
            "It takes no writes: readers' numbers stand still.",
            "contacts-report config   # CONTACTS_REDIS must lead to the primary, or to its Sentinels",
        )
    if facts.maxmemory and facts.used_memory is not None:
        yield _check_memory(facts.used_memory, facts.maxmemory, evicts=may_evict(facts.policy))
    if facts.persistence == "failing":
        yield bad(
            "Redis persistence",
            "its last snapshot or append failed",
            "It may refuse writes (stop-writes-on-bgsave-error), and starts empty or old after a loss. Nothing is "
            "lost: the workers send all of it again.",
            "redis-cli INFO persistence",
        )
    elif facts.persistence is not None:
        yield good("Redis persistence", f"{facts.persistence}; it saves time only: Kafka holds the counts")
    seconds = facts.ahead_ms / 1000
    if abs(facts.ahead_ms) >= CLOCKS_DIFFER_MS:
        yield bad(
            "clocks",
            f"Redis' clock is {seconds:.0f} s ahead of this machine's",
            "From 300 s between a worker and Redis on, the worker counts nothing.",
            "timedatectl   # on both machines",
        )
    else:
        yield good("clocks", f"Redis' clock and this machine's are {abs(seconds):.1f} s apart")


def check_permissions(refused: Sequence[str] | None) -> Finding:
    """Whether this user of Redis may do what a worker does; None: the server cannot tell."""
    subject = "rights in Redis"
    if refused is None:
        return bad(subject, "cannot be told by this server", "Redis 7.0 or newer, or Valkey, is needed.")
    if not refused:
        return good(subject, "every command of a worker is allowed")
    shown = ", ".join(refused[:SHOWN_COMMANDS]) + (", …" if len(refused) > SHOWN_COMMANDS else "")
    return bad(
        subject,
        f"{len(refused)} are missing: {shown}",
        "The worker's calls fail: readers' numbers stand still, or a part of them is never there.",
        "redis-cli ACL SETUSER …   # ~cr1:<group>:* &cr1:<group>:* and these commands",
    )


def _check_version(version: str | None) -> Finding:
    if version is None:
        return bad("Redis version", "is not told (INFO)", "Redis 7.0 or newer, or Valkey, is needed.")
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if parts < LEAST_VERSION:
        return bad("Redis version", version, "Redis 7.0 or newer, or Valkey, is needed.")
    return good("Redis version", version)


def _check_policy(policy: str | None) -> Finding:
    if policy is None:
        return bad(
            "Redis maxmemory-policy",
            "is not told (INFO)",
            "With an allkeys-… policy counts are evicted. Make sure that it is noeviction.",
        )
    if policy.startswith("allkeys"):
        return bad(
            "Redis maxmemory-policy",
            policy,
            "Redis evicts counts when it is full: nothing is counted until this is mended.",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    return good("Redis maxmemory-policy", policy)


def _check_memory(used: int, limit: int, *, evicts: bool) -> Finding:
    share = f"{100 * used // limit} % of maxmemory ({limit:,} bytes) are used"
    if used < NEARLY_FULL * limit:
        return good("Redis memory", share)
    return bad(
        "Redis memory",
        share,
        "When it is full it evicts counts."
        if evicts
        else "When it is full the oldest rows of activities go, then counting waits. Nothing is lost.",
        "redis-cli CONFIG SET maxmemory …",
    )
