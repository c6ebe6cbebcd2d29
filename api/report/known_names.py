"""The names of workspaces that this process has read: read again when something changed, in pieces.

nothing changed in the workspace since ─> what is known, with the freshness of now
it did, and the names are few          ─> they are read again
it did, and they are many              ─> what is known, with the freshness that it has, for some seconds
"""

import asyncio
import time
from typing import NamedTuple
from weakref import WeakValueDictionary

from api.cache import Memory
from api.read.redis import Reader
from api.read.snapshot import State, require_complete
from api.report.names import Names, packed_names, updated
from stream.slices import run_in_slices

MANY_USERS = 20_000
"""From here on names are not read at every change: that takes some 3 us of CPU a user."""

KNOWN_SECONDS = 5.0
"""How old the names of many users may be, where something changed since. Answers say it (`as_of`)."""


class _Known(NamedTuple):
    state: State
    read_at: float
    names: Names


class KnownNames:
    """Raises Unavailable, as the reader does, and where counts are not complete."""

    def __init__(self, reader: Reader, memory: Memory) -> None:
        self._reader = reader
        self._memory = memory
        self._reading: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def of(self, workspace_id: str) -> tuple[State, Names]:
        """The names of a workspace, with the state that they are true of."""
        found = await self._known(workspace_id)
        if found is not None:
            return found
        lock = self._reading.setdefault(workspace_id, asyncio.Lock())
        async with lock:  # whoever else asks meanwhile waits, and finds them known
            found = await self._known(workspace_id)
            return found if found is not None else await self._read(workspace_id)

    async def _known(self, workspace_id: str) -> tuple[State, Names] | None:
        known: _Known | None = self._memory.get(_key(workspace_id))
        if known is None:
            return None
        state = require_complete(await self._reader.state(workspace_id))
        if state.version == known.state.version:
            return state, known.names
        if known.names.users >= MANY_USERS and time.monotonic() - known.read_at < KNOWN_SECONDS:
            return known.state, known.names
        return None

    async def _read(self, workspace_id: str) -> tuple[State, Names]:
        read_at = time.monotonic()
        fields: dict[bytes, bytes] = {}
        first: State | None = None
        async for state, piece in self._reader.name_pieces(workspace_id):
            # What is read after the first piece is as new as that, or newer.
            first = first or require_complete(state)
            require_complete(state)
            fields.update(piece)
        assert first is not None
        before: _Known | None = self._memory.get(_key(workspace_id))
        names = await run_in_slices(packed_names(fields) if before is None else updated(before.names, fields))
        self._memory.put(_key(workspace_id), _Known(first, read_at, names), names.size_bytes)
        return first, names


def _key(workspace_id: str) -> tuple[str, str]:
    return "names", workspace_id
