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

from operator import attrgetter
from typing import Final

import msgspec

from stream.model.activity import ContactActivity
from stream.storage.formats import Changes, FormatError, decode_array
from stream.tables.commit import NameChanges, NamesAfter, SourceName, UserName

KIND: Final = b"n"
VERSION: Final = 1

_USER: Final = b"u"
_SOURCE: Final = b"s"


class Names:
    """The names that a partition has seen."""

    def __init__(self, limit: int) -> None:
        """`limit`: how many names of users and sources to keep at most; those of the changelog stay, however many."""
        self._limit: Final = limit
        self._users: dict[tuple[str, str | None], UserName] = {}
        """By workspace and user."""
        self._sources: dict[SourceName, int] = {}
        """The offset of the first sight."""
        self._moved_users: dict[tuple[str, str | None], UserName] = {}
        self._new_sources: dict[SourceName, int] = {}
        """Both: since the last commit."""
        self.not_kept = 0
        """How often a user or source came whose name is not kept."""

    def see_user(self, event: ContactActivity, offset: int) -> None:
        """Notes who did it, by what name."""
        user = event.workspace_id, event.user_id
        label = None if event.user_id is None else event.user_name
        known = self._users.get(user)
        if known is None:
            if not self._has_room():
                return
        elif label is None or not (event.occurred_at >= known.occurred_at or known.label is None):
            return
        self._users[user] = self._moved_users[user] = UserName(*user, event.occurred_at, offset, label)

    def see_source(self, workspace_id: str, source: str | None, offset: int) -> None:
        """Notes the first event of a source."""
        name = SourceName(workspace_id, source)
        if name not in self._sources and self._has_room():
            self._sources[name] = self._new_sources[name] = offset

    def _has_room(self) -> bool:
        """Whether one name more is kept."""
        if len(self._users) + len(self._sources) >= self._limit:
            self.not_kept += 1
            return False
        return True

    def encode(self, changes: Changes) -> NameChanges:
        """Adds the changelog records of what moved since the last call, and says what it was."""
        users, sources = list(self._moved_users.values()), self._new_sources
        self._moved_users, self._new_sources = {}, {}
        for user in users:
            stored = _StoredUser(user.occurred_at, user.offset, user.label)
            changes[_key(user.workspace_id, _USER, user.user_id)] = _encode(stored)
        for name, offset in sources.items():
            changes[_key(name.workspace_id, _SOURCE, name.source)] = _encode(_StoredSource(offset))
        return NameChanges(users, list(sources))

    def after(self, offset: int) -> NamesAfter:
        """The users whose label moved last, and the sources that were first seen, at an offset above this one."""
        sources = [name for name, seen in self._sources.items() if seen > offset]
        users = sorted((user for user in self._users.values() if user.offset > offset), key=attrgetter("offset"))
        return NamesAfter(sources, ((user.offset, user) for user in users))

    def adopt(self, key: bytes, value: bytes) -> None:
        """Takes a record of the changelog. Raises FormatError."""
        workspace, _, rest = key[1:].partition(b"\0")
        of = workspace.decode(), rest[1:].decode() or None
        if rest.startswith(_USER):
            user = decode_array(_STORED_USER, value, VERSION, key)
            self._users[of] = UserName(*of, user.occurred_at, user.offset, user.label)
        elif rest.startswith(_SOURCE):
            self._sources[SourceName(*of)] = decode_array(_STORED_SOURCE, value, VERSION, key).offset
        else:
            raise FormatError(f"{key!r} is no name's key")


def _key(workspace_id: str, kind: bytes, name: str | None) -> bytes:
    return b"%b%b\0%b%b" % (KIND, workspace_id.encode(), kind, (name or "").encode())


class _StoredUser(msgspec.Struct, array_like=True, tag=VERSION):
    occurred_at: int
    offset: int
    label: str | None


class _StoredSource(msgspec.Struct, array_like=True, tag=VERSION):
    offset: int


_encode: Final = msgspec.msgpack.Encoder().encode
_STORED_USER: Final = msgspec.msgpack.Decoder(_StoredUser)
_STORED_SOURCE: Final = msgspec.msgpack.Decoder(_StoredSource)
