"""Remembers which users and sources were seen, and the latest label of each user.

    key    6e ("n") workspace 00 75 ("u") user      value  msgpack [1, occurred_at, offset, label|nil]
           6e ("n") workspace 00 73 ("s") source    value  msgpack [1, offset of the first sight]

The label is that of the event with the latest `occurred_at`; of equal ones the later offset stands. An event without a
label changes nothing, but for the first sight of a user. An empty user, or source, stands for events without one.
A record is written whenever a label's text or time moves, at most one a user and commit.

A partition keeps so many names; a user or source that comes when it has them is counted without one. So which names it
keeps depends on the log alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from stream.model.activity import ContactActivity
from stream.model.steps import ITEMS_A_STEP, Steps, order_after
from stream.storage.formats import Changes, FormatError, decode_array

KIND: Final = b"n"
VERSION: Final = 1

_USER: Final = b"u"
_SOURCE: Final = b"s"


class UserName(msgspec.Struct, frozen=True, gc=False):
    """A user's latest label, and the event that it is from."""

    workspace_id: str
    user_id: str | None
    """None for events without a user."""
    occurred_at: int
    """Nanoseconds since 1970; without a label, of the first event."""
    offset: int
    label: str | None


class SourceName(msgspec.Struct, frozen=True, gc=False):
    """A source that occurs."""

    workspace_id: str
    source: str | None
    """None for events without a source."""


class NameChanges(msgspec.Struct, frozen=True):
    """What a commit changed about names."""

    users: list[UserName]
    sources: list[SourceName]


class NamesAfter(msgspec.Struct, frozen=True):
    """What changed about names after an offset."""

    sources: list[SourceName]
    users: Iterator[tuple[int, UserName]]
    """With the offset that moved each last, ascending."""


class WorkspaceNames:
    """The names of one workspace; the counting loop reads and changes them in place."""

    __slots__ = ("sources", "users", "workspace_id")

    def __init__(self, workspace_id: str) -> None:
        self.workspace_id: Final = workspace_id
        self.users: dict[str | None, LatestLabel] = {}
        self.sources: dict[str | None, int] = {}
        """Offset of the first sight."""


class LatestLabel(msgspec.Struct, eq=False, gc=False):
    """A user's latest label while it may still change; `offset` is that of the event which moved it last."""

    occurred_at: int
    offset: int
    label: str | None


class Names:
    """The names that a partition has seen, by workspace."""

    def __init__(self, limit: int) -> None:
        """`limit`: how many names of users and sources to keep at most; those of the changelog stay, however many."""
        self._limit: Final = limit
        self._workspaces: dict[str, WorkspaceNames] = {}
        self._users: dict[tuple[str, str | None], LatestLabel] = {}
        """Those that moved since the last commit."""
        self._sources: dict[tuple[str, str | None], int] = {}
        self.keys = 0
        """How many keys the changelog has of them, with what was encoded."""
        self.not_kept = 0
        """How often a user or source came whose name is not kept."""

    def of(self, workspace_id: str) -> WorkspaceNames:
        """The names of a workspace, which is seen from now on."""
        known = self._workspaces.get(workspace_id)
        if known is None:
            known = self._workspaces[workspace_id] = WorkspaceNames(workspace_id)
        return known

    def see_user(self, names: WorkspaceNames, event: ContactActivity, offset: int) -> None:
        """Notes who did it: called for the first event of a user, and for each that has a label."""
        user_id = event.user_id
        label = None if user_id is None else event.user_name
        known = names.users.get(user_id)
        if known is None:
            if not self._take_room():
                return
            known = names.users[user_id] = LatestLabel(event.occurred_at, offset, label)
        elif label is not None and (event.occurred_at >= known.occurred_at or known.label is None):
            known.occurred_at, known.offset, known.label = event.occurred_at, offset, label
        else:
            return
        self._users[names.workspace_id, user_id] = known

    def see_source(self, names: WorkspaceNames, source: str | None, offset: int) -> None:
        """Notes the first event of a source."""
        if self._take_room():
            names.sources[source] = self._sources[names.workspace_id, source] = offset

    def let_go(self, workspace_id: str) -> None:
        """A workspace has no counts any more: without names of it nothing is kept."""
        known = self._workspaces.get(workspace_id)
        if known is not None and not known.users and not known.sources:
            del self._workspaces[workspace_id]

    def _take_room(self) -> bool:
        """Whether one name more is kept."""
        if self.keys >= self._limit:
            self.not_kept += 1
            return False
        self.keys += 1
        return True

    def encode(self, changes: Changes) -> NameChanges:
        """Adds the changelog records of what moved since the last call, and says what it was."""
        moved = NameChanges(
            [_user_name(workspace_id, user_id, known) for (workspace_id, user_id), known in self._users.items()],
            [SourceName(workspace_id, source) for workspace_id, source in self._sources],
        )
        for user in moved.users:
            key = _key(user.workspace_id, _USER, user.user_id)
            changes[key] = _encode((VERSION, user.occurred_at, user.offset, user.label))
        for (workspace_id, source), offset in self._sources.items():
            changes[_key(workspace_id, _SOURCE, source)] = _encode((VERSION, offset))
        self._users, self._sources = {}, {}
        return moved

    def after(self, offset: int) -> Steps[NamesAfter]:
        """The users whose label moved last, and the sources that were first seen, at an offset above this one."""
        sources: list[SourceName] = []
        for number, (workspace_id, source, seen) in enumerate(self._all_sources()):
            if seen > offset:
                sources.append(SourceName(workspace_id, source))
            if number % ITEMS_A_STEP == 0:
                yield
        moved = yield from order_after(self._all_users(), lambda user: user[2].offset, offset)
        return NamesAfter(sources, ((user[2].offset, _user_name(*user)) for user in moved))

    def _all_sources(self) -> Iterator[tuple[str, str | None, int]]:
        """Each with the offset of its first sight."""
        for names in self._workspaces.values():
            for source, seen in names.sources.items():
                yield names.workspace_id, source, seen

    def _all_users(self) -> Iterator[tuple[str, str | None, LatestLabel]]:
        for names in self._workspaces.values():
            for user_id, known in names.users.items():
                yield names.workspace_id, user_id, known

    def __iter__(self) -> Iterator[str]:
        """The workspaces seen."""
        return iter(self._workspaces)

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog. Raises FormatError."""
        workspace, separator, rest = key[1:].partition(b"\0")
        kind, name = rest[:1], rest[1:].decode() or None
        if not separator or kind not in (_USER, _SOURCE):
            raise FormatError(f"{key!r} is no name's key")
        names = self.of(workspace.decode())
        self.keys += 1
        if kind == _USER:
            user = decode_array(_STORED_USER, value, VERSION, key)
            names.users[name] = LatestLabel(user.occurred_at, user.offset, user.label)
        else:
            names.sources[name] = decode_array(_STORED_SOURCE, value, VERSION, key).offset


def _user_name(workspace_id: str, user_id: str | None, known: LatestLabel) -> UserName:
    return UserName(workspace_id, user_id, known.occurred_at, known.offset, known.label)


def _key(workspace_id: str, kind: bytes, name: str | None) -> bytes:
    return b"%b%b\0%b%b" % (KIND, workspace_id.encode(), kind, (name or "").encode())


class _StoredUser(msgspec.Struct, array_like=True, gc=False):
    version: int
    occurred_at: int
    offset: int
    label: str | None


class _StoredSource(msgspec.Struct, array_like=True, gc=False):
    version: int
    offset: int


_encode: Final = msgspec.msgpack.Encoder().encode
_STORED_USER: Final = msgspec.msgpack.Decoder(_StoredUser)
_STORED_SOURCE: Final = msgspec.msgpack.Decoder(_StoredSource)
