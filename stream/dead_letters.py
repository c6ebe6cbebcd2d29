"""What a rejected event looks like on the dead-letter topic.

Same partition number and key, value and headers untouched, and behind them the headers that Kafka Connect gave such
records a name for.
"""

from __future__ import annotations

from stream.partition import DeadLetter

PREFIX = "__connect.errors."


def posted(
    letter: DeadLetter, topic: str, partition: int, leave_value_out: bool
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Value and headers of a dead letter. A value that is left out is told by its size in `contacts.value_omitted`,
    bytes.
    """
    record = letter.record
    headers = [
        *record.headers,
        (PREFIX + "topic", topic.encode()),
        (PREFIX + "partition", str(partition).encode()),
        (PREFIX + "offset", str(record.offset).encode()),
        (PREFIX + "exception.class.name", b"contacts.Rejected"),
        (PREFIX + "exception.message", letter.message.encode("utf-8", "replace")),
        ("contacts.reason", letter.reason.value.encode()),
    ]
    if not leave_value_out:
        return record.value, headers
    return None, [*headers, ("contacts.value_omitted", str(len(record.value or b"")).encode())]
