"""The sample traffic: the same for the same seed and time, and believable."""

import itertools
import unicodedata
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from aiokafka.partitioner import murmur2

from examples.samples.feed import SEED, Sample, history, live
from examples.samples.workspaces import WORKSPACES
from stream.ingest.event import EventRules, Reason, Rejected, parse
from stream.model.activity import ADDED, DELETED, KNOWN_SOURCES, ContactActivity
from tests.support.records import Received

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
NOW_NS = round(NOW.timestamp()) * 10**9
DAY_NS = 86_400 * 10**9
ZONES = {workspace.workspace_id: workspace.zone for workspace in WORKSPACES}


@cache
def samples() -> list[Sample]:
    return list(history(SEED, NOW))


@cache
def found() -> list[ContactActivity | Rejected | None]:
    """What the worker reads of each sample when it is published at `NOW`."""
    rules = EventRules()
    return [parse(Received(sample.value, timestamp=NOW_NS // 10**6), rules) for sample in samples()]


@cache
def activities() -> list[ContactActivity]:
    return [one for one in found() if isinstance(one, ContactActivity)]


def test_the_same_seed_and_time_give_the_same_history() -> None:
    assert list(history(7, NOW, days=5)) == list(history(7, NOW, days=5))
    assert list(history(7, NOW, days=5)) != list(history(8, NOW, days=5))


def test_the_same_seed_and_time_give_the_same_live_events() -> None:
    def first(seed: int) -> list[Sample]:
        return list(itertools.islice(live(seed, NOW), 300))

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_the_history_is_of_its_days_and_in_order() -> None:
    times = [sample.published_at for sample in samples()]
    assert 60_000 <= len(times) <= 95_000
    assert times == sorted(times)
    assert NOW_NS - 60 * DAY_NS <= times[0] < NOW_NS - 59 * DAY_NS
    assert NOW_NS - 3_600 * 10**9 < times[-1] <= NOW_NS
    assert all(activity.occurred_at <= NOW_NS for activity in activities())


@pytest.mark.parametrize("days", [1, 3, 30])
def test_fewer_days_are_as_many_events_a_day(days: int) -> None:
    assert 200 * days < len(list(history(SEED, NOW, days))) < 6_000 * days


def test_a_few_events_are_broken_in_every_way_and_all_others_are_good() -> None:
    reasons = Counter(one.reason for one in found() if isinstance(one, Rejected))
    assert set(reasons) == set(Reason)
    assert 20 < sum(reasons.values()) < 100
    assert sum(reasons.values()) + len(activities()) == len(samples())


def test_a_few_events_are_copies_to_the_byte_shortly_after() -> None:
    seen: dict[str, Sample] = {}
    copies = 0
    for sample, one in zip(samples(), found(), strict=True):
        if isinstance(one, ContactActivity):
            earlier = seen.setdefault(one.event_id, sample)
            if earlier is not sample:
                copies += 1
                assert (earlier.key, earlier.value) == (sample.key, sample.value)
                assert sample.published_at - earlier.published_at < 120 * 10**9
    assert 0.001 < copies / len(samples()) < 0.01


def test_keys_are_workspaces_and_fill_four_partitions() -> None:
    assert {activity.workspace_id for activity in activities()} == set(ZONES)
    for sample, one in zip(samples(), found(), strict=True):
        assert not isinstance(one, ContactActivity) or sample.key.decode() == one.workspace_id
    assert {(murmur2(key.encode()) & 0x7FFFFFFF) % 4 for key in ZONES} == {0, 1, 2, 3}


def test_every_source_occurs_none_and_one_of_a_publishers_own_too() -> None:
    sources = Counter(activity.source for activity in activities())
    assert set(sources) == {*KNOWN_SOURCES, None, "web_form"}
    assert min(sources.values()) > 200


def test_imports_come_in_bursts_under_one_batch() -> None:
    batches: dict[str, list[ContactActivity]] = {}
    for activity in activities():
        assert (activity.batch_id is not None) == (activity.source == "contact_import")
        if activity.batch_id is not None:
            batches.setdefault(activity.batch_id, []).append(activity)
    assert len(batches) >= 8
    for rows in batches.values():
        assert len(rows) >= 400
        assert len({(row.workspace_id, row.user_id, row.activity) for row in rows}) == 1
        assert max(row.occurred_at for row in rows) - min(row.occurred_at for row in rows) < 300 * 10**9


def test_deletions_follow_their_additions_by_a_day_or_more() -> None:
    added = {(one.workspace_id, one.contact_id): one for one in activities() if one.activity == ADDED}
    deleted = [one for one in activities() if one.activity == DELETED]
    assert 0.02 < len(deleted) / len(added) < 0.1
    for one in deleted:
        # Those added before the first day are not in the history.
        addition = added.get((one.workspace_id, one.contact_id))
        if addition is not None:
            assert one.occurred_at - addition.occurred_at > 3 * 3_600 * 10**9


def test_offices_work_by_day_and_on_working_days() -> None:
    for workspace in WORKSPACES:
        by_user = [
            datetime.fromtimestamp(one.occurred_at / 10**9, workspace.zone)
            for one in activities()
            if one.workspace_id == workspace.workspace_id and one.source in ("user", "echo_message")
        ]
        at_work = sum(8 <= moment.hour < 18 for moment in by_user)
        assert at_work / len(by_user) > 0.85
        resting = sum(moment.weekday() in workspace.weekend for moment in by_user)
        assert resting / len(by_user) < 0.2 * len(workspace.weekend) / 2 + 0.001


def test_customers_write_in_the_evening_and_at_weekends_too() -> None:
    writing = [
        datetime.fromtimestamp(one.occurred_at / 10**9, ZONES[one.workspace_id])
        for one in activities()
        if one.source == "incoming_message"
    ]
    assert 0.15 < sum(moment.hour >= 19 for moment in writing) / len(writing) < 0.4
    assert 0.08 < sum(moment.weekday() >= 5 for moment in writing) / len(writing) < 0.28


def test_some_events_are_late() -> None:
    delays = [
        sample.published_at - one.occurred_at
        for sample, one in zip(samples(), found(), strict=True)
        if isinstance(one, ContactActivity)
    ]
    late = [delay for delay in delays if delay > 200 * 10**9]
    assert 0.0005 < len(late) / len(samples()) < 0.01
    assert max(late) < 2 * DAY_NS


def test_people_have_names_of_many_scripts() -> None:
    names = {name for one in activities() for name in (one.contact_name, one.user_name) if name}
    scripts = {unicodedata.name(letter).split()[0] for name in names for letter in name if letter.isalpha()}
    assert scripts >= {"LATIN", "CJK", "HIRAGANA", "ARABIC", "HEBREW", "DEVANAGARI", "TAMIL", "CYRILLIC"}
    assert any(one.contact_name is None for one in activities())


def test_publishers_write_times_in_different_ways() -> None:
    assert {one.fraction_digits for one in activities()} == {0, 3, 6}
    text = b"".join(sample.value for sample in samples())
    assert all(ending in text for ending in (b'Z"', b'+09:00"', b'+01:00"'))


def test_live_events_come_a_few_a_second_with_imports_between() -> None:
    hour = list(itertools.takewhile(lambda sample: sample.published_at < NOW_NS + 3_600 * 10**9, live(SEED, NOW)))
    times = [sample.published_at for sample in hour]
    assert times == sorted(times)
    assert times[0] >= NOW_NS
    assert 2.0 < len(hour) / 3_600 < 8.0
    read = [parse(Received(sample.value, timestamp=sample.published_at // 10**6), EventRules()) for sample in hour]
    good = [one for one in read if isinstance(one, ContactActivity)]
    assert {one.activity for one in good} == {ADDED, DELETED}
    assert {one.workspace_id for one in good} == set(ZONES)
    assert len({one.batch_id for one in good}) > 5
    assert 0 < len(read) - len(good) < 30
    # Nothing of it was in the history.
    assert {one.event_id for one in good}.isdisjoint(one.event_id for one in activities())


def test_workspaces_that_sleep_send_less() -> None:
    def share(now: datetime) -> float:
        first = list(itertools.islice(live(SEED, now), 2_000))
        return sum(sample.key == b"harbour-clinic" for sample in first) / len(first)

    # 20 h and 4 h in Kuala Lumpur
    assert share(NOW.replace(hour=12)) > 2 * share(NOW.replace(hour=20) + timedelta(days=1))
