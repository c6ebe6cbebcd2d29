"""The examples that the publishing guide quotes are read as they say."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stream.ingest.event import Reason, Rejected, parse
from stream.model.activity import ACTIVITIES, ContactActivity
from tests.support.examples import Example, examples


def shown(activity: ContactActivity) -> dict[str, Any]:
    """What a row shows of an activity, its time in UTC."""
    fields = {name: getattr(activity, name) for name in activity.__struct_fields__}
    digits = fields.pop("fraction_digits")
    seconds, nanoseconds = divmod(activity.occurred_at, 1_000_000_000)
    fraction = f".{nanoseconds:09}"[: digits + 1] if digits else ""
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return fields | {"activity": ACTIVITIES[activity.activity], "occurred_at": f"{whole}{fraction}Z"}


@pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)
def test_an_example_is_read_as_it_says(example: Example) -> None:
    outcome = parse(example.record, example.rules)
    if example.expected == "skipped":
        assert outcome is None
    elif "counted" in example.expected:
        assert isinstance(outcome, ContactActivity), outcome
        assert shown(outcome) == example.expected["counted"]
    else:
        assert isinstance(outcome, Rejected), outcome
        assert outcome.reason == example.expected["rejected"]
        assert [name for name in example.expected["fields"] if name not in outcome.message] == []


def test_every_reason_has_an_example() -> None:
    assert {example.expected["rejected"] for example in examples() if "rejected" in example.expected} == set(Reason)
