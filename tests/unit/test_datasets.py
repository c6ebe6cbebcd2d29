"""The benchmarks' sets of events: repeatable, valid, and as narrow or wide as they say."""

from collections import Counter
from datetime import UTC, datetime
from functools import cache

import pytest

from benchmarks.datasets import Dataset, distinct, records
from stream.ingest.event import EventRules, parse
from stream.model.activity import ContactActivity
from tests.support.records import Received

END = datetime(2026, 11, 23, tzinfo=UTC)
COUNT = 30_000


@cache
def activities(dataset: Dataset) -> list[ContactActivity]:
    found = []
    for key, value in records(dataset, COUNT, end=END):
        activity = parse(Received(value, key=key, timestamp=round(END.timestamp() * 1000)), EventRules())
        assert isinstance(activity, ContactActivity)
        assert activity.workspace_id.encode() == key
        found.append(activity)
    return found


def cells(dataset: Dataset) -> int:
    return len(
        {(e.workspace_id, e.occurred_at // (900 * 10**9), e.activity, e.source, e.user_id) for e in activities(dataset)}
    )


def days(dataset: Dataset) -> int:
    return len({(e.workspace_id, e.occurred_at // (86_400 * 10**9)) for e in activities(dataset)})


@pytest.mark.parametrize("dataset", Dataset)
def test_the_same_seed_gives_the_same_records(dataset: Dataset) -> None:
    first, again, other = (list(records(dataset, 1_000, end=END, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("dataset", Dataset)
def test_one_in_a_hundred_is_a_copy_and_all_end_in_time(dataset: Dataset) -> None:
    found = activities(dataset)
    assert len(found) == COUNT
    assert len({activity.event_id for activity in found}) == distinct(COUNT) == COUNT - COUNT // 100
    assert max(activity.occurred_at for activity in found) < END.timestamp() * 10**9


def test_real_traffic_meets_in_cells_and_has_imports_and_working_hours() -> None:
    found = activities(Dataset.REAL)
    assert cells(Dataset.REAL) < 0.5 * distinct(COUNT)
    assert 0.25 < sum(activity.batch_id is not None for activity in found) / COUNT < 0.45
    hours = Counter(activity.occurred_at // (3_600 * 10**9) % 24 for activity in found)
    assert sum(hours[hour] for hour in range(8, 18)) > 0.65 * COUNT
    # The largest workspace is hot, and most of them are there.
    workspaces = Counter(activity.workspace_id for activity in found)
    assert workspaces.most_common(1)[0][1] > 0.1 * COUNT
    assert len(workspaces) > 350


def test_wide_traffic_makes_a_cell_of_nearly_every_event() -> None:
    assert cells(Dataset.WIDE) > 0.999 * distinct(COUNT)
    assert days(Dataset.WIDE) < 0.5 * distinct(COUNT)


def test_sparse_traffic_makes_a_day_of_nearly_every_event() -> None:
    assert days(Dataset.SPARSE) > 0.95 * distinct(COUNT)
