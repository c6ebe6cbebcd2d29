"""Bases and deltas of a day aggregate: when they are merged, and when a base is never touched again."""

from dataclasses import replace

import pytest

from stream.model.activity import ContactActivity
from stream.model.time import QUARTER_NANOSECONDS
from stream.storage import day_parts as packed
from stream.storage.formats import VALUE_BYTES_LIMIT, FormatError
from stream.tables.counts import DELTA_SLOT, Counts, key_of
from stream.tables.partition import PartitionState
from stream.tables.rules import CountingRules
from tests.support.partition_log import CommitSink, batch, begun, cells_of, whole_aggregates
from tests.unit.tables.test_partition import DAY, log, value

pytestmark = pytest.mark.usefixtures("each_form")

RULES = CountingRules(delta_floor=2)


class Counted:
    """A state to which events of users are applied, one commit a call."""

    def __init__(self, rules: CountingRules) -> None:
        self.state, self.sink, self.offset = begun(rules), CommitSink(), 0

    def commit(self, *users: str, **changed: str) -> dict[int, bytes | None]:
        """The slots that the commit wrote, None for those deleted."""
        values = [value(f"e{self.offset + n}", user_id=user, **changed) for n, user in enumerate(users)]
        self.state.apply(batch(log(*values, first=self.offset), self.offset))
        self.offset += len(users)
        commit = self.state.encode()
        self.sink.take(commit)
        return {int.from_bytes(key[5:7], "big"): stored for key, stored in commit.table if key[:1] == b"c"}

    def recover(self, rules: CountingRules) -> None:
        self.state = PartitionState.recover(3, rules, self.sink.table)

    def users(self) -> dict[str | None, int]:
        found = cells_of(whole_aggregates(self.state))
        return {cell[5]: count for cell, count in found.items()}


def test_a_delta_is_written_until_it_has_too_many_cells_then_it_is_part_of_the_base() -> None:
    counted = Counted(RULES)

    written = [counted.commit(*users) for users in ("a", "ab", "c", "a", "abc", "d", "ef")]

    slots = [{slot: stored is not None for slot, stored in each.items()} for each in written]
    delta, merged = {DELTA_SLOT: True}, {0: True, DELTA_SLOT: False}
    assert slots == [delta, delta, merged, delta, merged, delta, merged]
    assert counted.users() == {"a": 4, "b": 2, "c": 2, "d": 1, "e": 1, "f": 1}


def test_a_base_without_a_delta_before_it_deletes_none() -> None:
    assert list(Counted(RULES).commit(*"abcd")) == [0]


def test_the_limit_of_a_delta_grows_with_the_root_of_its_base() -> None:
    counted = Counted(RULES)
    counted.commit(*(f"u{n}" for n in range(25)))

    below = counted.commit(*(f"v{n}" for n in range(5)))
    above = counted.commit("v5")

    assert (list(below), list(above)) == ([DELTA_SLOT], [0, DELTA_SLOT])


def test_a_delta_carries_only_what_its_base_has_not() -> None:
    counted = Counted(RULES)
    counted.commit("a", "b", source="one")
    counted.commit("c", source="two")

    written = counted.commit("a", "d", source="two")[DELTA_SLOT]

    assert written is not None
    delta = packed.decode_delta(written)
    assert (delta.first_series, delta.first_source, delta.new_sources, delta.new_users) == (3, 2, [], ["a", "d"])
    assert delta.written_at == 4
    assert (delta.keys.tolist(), delta.counts.tolist(), delta.kinds.tolist()) == (
        [3 * 96 + 4, 4 * 96 + 4],
        [1, 1],
        [4, 4],
    )


def test_a_full_base_is_never_written_again() -> None:
    counted = Counted(replace(RULES, base_bytes_limit=150))
    for n in range(40):
        counted.commit(f"user {n % 23}")
        counted.recover(replace(RULES, base_bytes_limit=150))

    bases = [slot for slot in range(9) if key_of("w", DAY, slot) in counted.sink.table]
    full = {slot: counted.sink.table[key_of("w", DAY, slot)] for slot in bases[:-1]}
    written = [counted.commit(f"user {n % 23}") for n in range(40, 60)]

    assert len(full) >= 3
    assert not {slot for each in written for slot in each} & set(full)
    assert {slot: counted.sink.table[key_of("w", DAY, slot)] for slot in full} == full
    assert sum(counted.users().values()) <= 60
    assert cells_of(whole_aggregates(counted.state)).total() == 60


def test_only_changed_bases_are_told_and_all_of_them_when_whole() -> None:
    counted = Counted(replace(RULES, base_bytes_limit=150))
    for n in range(40):
        counted.commit(f"user {n}")
    state = counted.state

    state.apply(batch(log(*(value(f"x{n}", user_id=f"new {n}") for n in range(9)), first=40), 40))
    (change,) = state.encode().aggregates
    (whole,) = whole_aggregates(state)

    assert len(whole.bases) == whole.base_count == change.base_count
    assert 0 < len(change.bases) < change.base_count
    assert change.bases == whole.bases[-len(change.bases) :]


def test_bases_that_do_not_follow_are_refused() -> None:
    counted = Counted(replace(RULES, base_bytes_limit=150))
    for n in range(40):
        counted.commit(f"user {n}")
    table = counted.sink.table
    table[key_of("w", DAY, 99)] = table.pop(key_of("w", DAY, 1))

    with pytest.raises(FormatError, match="does not follow on 1 bases"):
        counted.recover(RULES)


def test_a_day_of_many_users_is_several_values_below_the_limit() -> None:
    users, limit = 100_000, CountingRules().base_bytes_limit
    days = Counts(CountingRules())
    table: dict[bytes, bytes | None] = {}

    for number in range(users):
        user = f"a_user_of_ordinary_length_{number}"
        at = (DAY * 96 + number % 96) * QUARTER_NANOSECONDS
        assert days.add(ContactActivity("e", 0, "w", "c", None, "user", user, None, at, 0, None), number, None)
        if number % 25_000 == 24_999:
            days.encode(table)

    ((_, whole),) = days.whole(-1)
    assert len(table) == whole.base_count > 5
    assert all(stored is not None and len(stored) <= limit + 16 < VALUE_BYTES_LIMIT for stored in table.values())
    assert max(len(part) for base in whole.bases for part in base[1:]) < limit
    heads = [packed.decode_head(head) for _, head, _, _ in whole.bases]
    assert sum(len(head.users) for head in heads) == users
    assert {user for head in heads for user in head.users} == {f"a_user_of_ordinary_length_{n}" for n in range(users)}
