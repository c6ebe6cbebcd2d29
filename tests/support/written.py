"""How many bytes a commit writes, before compression and without the frames of Kafka's and Redis' own protocols."""

from __future__ import annotations

from stream.ports import Call
from stream.projection.calls import calls_of_commit
from stream.storage.keys import Keys
from stream.tables.state import State

RECORD_BYTES = 10
"""Of a record in a batch of Kafka, besides key and value, about."""
CALL_OVERHEAD_BYTES = 110
"""Of a call to Redis, besides what it carries: the script's name, token, number, and the position's fields."""


def commit_bytes(state: State, keys: Keys) -> tuple[int, int]:
    """Encode the next commit. Its bytes in the changelog without recent ids, and in the calls to Redis."""
    commit = state.encode()
    changelog = sum(len(key) + len(value or b"") + RECORD_BYTES for key, value in commit.table if key[:1] != b"i")
    return changelog, sum(map(call_bytes, calls_of_commit(keys, 0, commit)))


def call_bytes(call: Call) -> int:
    """What a call carries."""
    return sum(len(str(o)) if isinstance(o, int) else len(o) for o in (*call.keys, *call.operations, *call.workspaces))
