"""What a partition's state is given: records that follow on one another, as they were fetched."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stream.ingest.event import Record


class Batch(msgspec.Struct, frozen=True):
    records: Sequence[Record]
    start: int
    """The offset that was asked for; the first record's may be higher."""
    end: int
    """The next offset to ask for; higher than the last record's by at least one, for markers of transactions have
    offsets."""
    fetched_at_ms: int = 1 << 63
    """The worker's clock when the records were fetched, in milliseconds since 1970: it judges how far a record's
    timestamp is ahead. As it stands, no timestamp is ahead: for records whose times are believed."""
