"""The users and sources of a workspace as a process keeps them: packed in blocks, in the order that they are shown in.

    block    up to BLOCK_USERS users: `shown` has ids and labels, `folded` the same without regard to case, for searches
    blocks   by label without regard to case (the id where there is none), then id
    digests  of each field with its text: they tell which fields of a later read are new or have another text

A packed user takes some 80 bytes where its id and label take 30; as Python objects it would take 250. All work is cut
in pieces of a few milliseconds: a function that does more is a generator, and yields between two pieces.
"""

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import NamedTuple

import msgspec

from stream.model.steps import Steps

BLOCK_USERS = 512
USERS_A_PIECE = 2_000
MOST_CHANGES = 200
"""Each costs a look through all blocks, some milliseconds in a million users; with more, all is packed again."""

BLOCK_BYTES = 400
"""What a block costs beside its packed texts."""

BETWEEN = "\n"
"""Stands between label and id in what is searched."""

User = tuple[str, str | None]
"""(id, label)"""

_encode = msgspec.msgpack.encode
_decode_shown = msgspec.msgpack.Decoder(list[User]).decode
_decode_folded = msgspec.msgpack.Decoder(list[str]).decode


class Block(NamedTuple):
    users: int
    shown: bytes
    folded: bytes
    last: tuple[str, str]
    """The sort key of the last user."""


class Digests:
    """64 bits of each field with its text, in buckets of some thousand, each ascending."""

    def __init__(self, expected: int = 0) -> None:
        self.buckets: list[array[int]] = [array("Q") for _ in range(1 + expected // USERS_A_PIECE)]

    def __len__(self) -> int:
        return sum(map(len, self.buckets))

    def __contains__(self, digest: int) -> bool:
        bucket = self.buckets[digest % len(self.buckets)]
        place = bisect_left(bucket, digest)
        return place < len(bucket) and bucket[place] == digest

    def append(self, digest: int) -> None:
        """Out of order: `sort` comes after the last one."""
        self.buckets[digest % len(self.buckets)].append(digest)

    def sort(self) -> Iterator[None]:
        for place, bucket in enumerate(self.buckets):
            self.buckets[place] = array("Q", sorted(bucket))
            yield

    def copy(self) -> "Digests":
        other = Digests()
        other.buckets = [bucket[:] for bucket in self.buckets]
        return other

    def replace(self, before: int | None, digest: int) -> None:
        if before is not None:
            bucket = self.buckets[before % len(self.buckets)]
            del bucket[bisect_left(bucket, before)]
        insort(self.buckets[digest % len(self.buckets)], digest)


@dataclass(frozen=True, slots=True)
class Names:
    """All that was seen in a workspace at one time. Never changed: `updated` makes another."""

    blocks: Sequence[Block] = ()
    digests: Digests = field(default_factory=Digests)
    sources: frozenset[str] = frozenset()
    """Empty: without one."""

    @property
    def users(self) -> int:
        return sum(block.users for block in self.blocks)

    @property
    def size_bytes(self) -> int:
        packed = sum(len(block.shown) + len(block.folded) + BLOCK_BYTES for block in self.blocks)
        return packed + 8 * len(self.digests) + 80 * len(self.digests.buckets) + 120 * len(self.sources)


def found_in(block: Block, wanted: str) -> Sequence[int]:
    """Places of the users whose label or id holds the folded text."""
    if not wanted:
        return range(block.users)
    if wanted.encode() not in block.folded:
        return ()
    places = [place for place, text in enumerate(_decode_folded(block.folded)) if wanted in text]
    if BETWEEN not in wanted:
        return places
    users = users_of(block)
    return [place for place in places if any(wanted in (text or "").casefold() for text in users[place])]


def users_of(block: Block) -> list[User]:
    """In the order of places."""
    return _decode_shown(block.shown)


def packed_names(fields: Mapping[bytes, bytes]) -> Steps[Names]:
    """The names in fields of `names:<workspace>`, all of them."""
    digests, sources = Digests(len(fields)), set()
    runs: list[Iterator[tuple[str, str, str | None]]] = []
    items = iter(fields.items())
    while piece := list(islice(items, USERS_A_PIECE)):
        run = []
        for name, value in piece:
            digests.append(digest_of(name, value))
            if is_user(name):
                user_id, label = user_of(name, value)
                run.append(((label or user_id).casefold(), user_id, label))
            elif name.startswith(b"s:"):
                sources.add(name[2:].decode())
        run.sort(key=_folded_and_id, reverse=True)
        runs.append(_drained(run))
        yield
    yield from digests.sort()
    blocks: list[Block] = []
    block: list[User] = []
    for _, user_id, label in merge(*runs):
        block.append((user_id, label))
        if len(block) == BLOCK_USERS:
            blocks.append(packed_block(block))
            block = []
            yield
    if block:
        blocks.append(packed_block(block))
    return Names(tuple(blocks), digests, frozenset(sources))


def updated(names: Names, fields: Mapping[bytes, bytes]) -> Steps[Names]:
    """The names of a later read; where little changed, only that is packed again."""
    changed = {}
    for done, (name, value) in enumerate(fields.items(), 1):
        if digest_of(name, value) not in names.digests:
            changed[name] = value
        if done % USERS_A_PIECE == 0:
            yield
    if len(changed) > MOST_CHANGES:
        return (yield from packed_names(fields))
    blocks, digests, sources = list(names.blocks), names.digests.copy(), set(names.sources)
    for name, value in changed.items():
        yield
        before = None
        if is_user(name):
            user = user_of(name, value)
            known = _removed(blocks, user[0])
            before = None if known is None else hash_of(name, text_of_label(known[1]))
            _insert(blocks, user)
        elif name.startswith(b"s:"):
            sources.add(name[2:].decode())
        digests.replace(before, digest_of(name, value))
    if len(digests) != len(fields):  # some are gone
        return (yield from packed_names(fields))
    return Names(tuple(blocks), digests, frozenset(sources)) if changed else names


def is_user(name: bytes) -> bool:
    return name.startswith(b"u:") and len(name) > 2


def user_of(name: bytes, value: bytes) -> User:
    """A field of a user: its value ends in a digit, whether there is a label, and the label (projection/keys.py)."""
    return name[2:].decode(), label_of(value)


def label_of(value: bytes | None) -> str | None:
    """The label in the value of a user's field."""
    if not value:
        return None
    text = value.split(b" ", 4)[4]
    return text[1:].decode() if text.startswith(b"1") else None


def text_of(value: bytes) -> bytes:
    """What of a value readers see: not when and where it came from."""
    return value.split(b" ", 4)[4] if value else b""


def text_of_label(label: str | None) -> bytes:
    return b"0" if label is None else b"1" + label.encode()


def key_of(user: User) -> tuple[str, str]:
    return (user[1] or user[0]).casefold(), user[0]


def digest_of(name: bytes, value: bytes) -> int:
    return hash_of(name, text_of(value))


def hash_of(name: bytes, text: bytes) -> int:
    """By a key that is drawn for each process; two texts of a user share one in 10^19."""
    return hash((name, text)) & 0xFFFF_FFFF_FFFF_FFFF


def packed_block(users: Sequence[User]) -> Block:
    folded = [f"{(label or '').casefold()}{BETWEEN}{user_id.casefold()}" for user_id, label in users]
    return Block(len(users), _encode(users), _encode(folded), key_of(users[-1]))


def _removed(blocks: list[Block], user_id: str) -> User | None:
    """Take a user out of the block that has it."""
    part = _encode(user_id)
    for place, block in enumerate(blocks):
        if part not in block.shown:
            continue
        users = _decode_shown(block.shown)
        found = next((user for user in users if user[0] == user_id), None)
        if found is not None:
            users.remove(found)
            blocks[place : place + 1] = [packed_block(users)] if users else []
            return found
    return None


def _insert(blocks: list[Block], user: User) -> None:
    key = key_of(user)
    place = min(bisect_left([block.last for block in blocks], key), len(blocks) - 1)
    if place < 0:
        blocks.append(packed_block([user]))
        return
    users = _decode_shown(blocks[place].shown)
    users.insert(bisect_right([key_of(one) for one in users], key), user)
    half = len(users) // 2 if len(users) > 2 * BLOCK_USERS else 0
    blocks[place : place + 1] = [packed_block(part) for part in (users[:half], users[half:]) if part]


def _folded_and_id(one: tuple[str, str, str | None]) -> tuple[str, str]:
    return one[0], one[1]


def _drained(run: list[tuple[str, str, str | None]]) -> Iterator[tuple[str, str, str | None]]:
    """From the end, so that what is packed is let go piece by piece."""
    while run:
        yield run.pop()
