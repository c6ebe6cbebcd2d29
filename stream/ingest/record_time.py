"""Limits how far a record's timestamp may be ahead of the clock reading that came with its fetch.

Whether an event is a duplicate, and which days retention keeps, is told from the hours of records' timestamps: one that
is years ahead would end both until time catches up with it. Where publishers set the time (CreateTime), such a record
is rejected. Where the broker sets it, the broker's clock or ours is wrong, and nobody can say which: the batch waits.
"""

from __future__ import annotations

from collections.abc import Sequence

from stream.ingest.event import LOG_APPEND_TIME, EventRules, Reason, Record, Rejected, parse
from stream.ingest.raw import RawRecords
from stream.model.activity import ContactActivity

SETTING = "CONTACTS_RECORD_FUTURE_TOLERANCE_SECONDS"


def parse_believing(record: Record, rules: EventRules, trusted_ms: int) -> ContactActivity | Rejected | None:
    """As `parse`, and rejects an event whose publisher set the record's timestamp above `trusted_ms`, in milliseconds
    since 1970. Asserts that no broker did: the owner of a partition holds such a batch back."""
    event = parse(record, rules)
    if record.timestamp <= trusted_ms:
        return event
    assert record.timestamp_type != LOG_APPEND_TIME, "a broker's time is far ahead"
    return _too_far_ahead(rules) if isinstance(event, ContactActivity) else event  # other reasons come first


def _too_far_ahead(rules: EventRules) -> Rejected:
    return Rejected(
        Reason.TIME_IN_FUTURE,
        f"the record's own timestamp is more than {rules.record_future_tolerance_seconds} s ahead of the worker's "
        "clock",
    )


def broker_ahead(records: Sequence[Record], fetched_at_ms: int, rules: EventRules) -> str | None:
    """Why a fetched batch is not to be applied yet: a broker's clock was further ahead of ours than is believed."""
    trusted_ms = fetched_at_ms + rules.record_future_tolerance_seconds * 1000
    if isinstance(records, RawRecords):
        if records.by_broker is None or records.by_broker[0] <= trusted_ms:
            return None
        return _describe_stamp_ahead(records.by_broker[1], records.by_broker[0], fetched_at_ms)
    if not records or max(record.timestamp for record in records) <= trusted_ms:
        return None
    for record in records:
        if record.timestamp > trusted_ms and record.timestamp_type == LOG_APPEND_TIME:
            return _describe_stamp_ahead(record.offset, record.timestamp, fetched_at_ms)
    return None


def broker_time(records: Sequence[Record]) -> int | None:
    """The time that the broker set of the newest of some records, in ms since 1970; None where publishers set it."""
    if isinstance(records, RawRecords):
        return None if records.by_broker is None else records.by_broker[0]
    return records[-1].timestamp if records and records[-1].timestamp_type == LOG_APPEND_TIME else None


def _describe_stamp_ahead(offset: int, timestamp: int, fetched_at_ms: int) -> str:
    seconds = (timestamp - fetched_at_ms) // 1000
    return (
        f"the broker stamped offset {offset} {seconds} s ahead of this worker's clock. Set the clock "
        f"that is wrong, or let it through with {SETTING} above {seconds}"
    )
