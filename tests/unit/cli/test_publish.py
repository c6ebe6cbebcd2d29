"""What `publish` makes of a file: lines, keys, what is wrong with them, and what a person sees."""

import errno
import io
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.command import CommandError
from cli.main import main
from cli.publish import BadLine, KeyTemplate, LineReader, Lines, ProgressBar, Tally, chunk_of
from stream.ingest.event import EventRules


def line(**changed: Any) -> bytes:
    event: dict[str, Any] = {
        "id": "e1",
        "type": "contact.added",
        "workspace_id": "w1",
        "contact_id": "c1",
        "occurred_at": "2026-11-23T09:13:07Z",
    }
    return json.dumps(event | changed).encode()


def cut(content: bytes, size: int, longest_bytes: int = 1_000) -> list[bytes]:
    """The lines of a file that is read in chunks of `size` bytes."""
    lines = Lines(longest_bytes)
    found = []
    for start in range(0, len(content), size):
        found += lines.feed(content[start : start + size])
    return found + lines.end()


# ---- lines ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\n", b" "))), st.integers(1, 12), st.booleans())
def test_lines_do_not_depend_on_how_the_file_is_read(texts: list[bytes], size: int, ended: bool) -> None:
    content = b"\n".join(texts) + (b"\n" if ended and texts else b"")
    expected = content.split(b"\n")
    if expected[-1] == b"":
        del expected[-1]
    assert cut(content, size) == expected


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_end_of_a_line_that_is_too_long_is_dropped_and_the_next_is_whole(size: int) -> None:
    lines = cut(b"short\n" + b"x" * 30 + b"\nnext\n", size, longest_bytes=10)
    assert (lines[0], lines[2]) == (b"short", b"next")
    assert len(lines) == 3
    # Some more may stay, where it came in one piece; never all of a file without line ends.
    assert 10 <= len(lines[1]) <= 30


def test_a_line_that_never_ends_does_not_fill_the_memory() -> None:
    lines = Lines(10)
    for _ in range(1_000):
        assert lines.feed(b"x" * 10) == []
    assert lines.end() == [b"x" * 10]


# ---- records -------------------------------------------------------------------------------------------------------


def read(
    *lines: bytes, lint: bool = True, key: KeyTemplate = KeyTemplate.WORKSPACE, takes_bytes: int = 10**9
) -> tuple[list[tuple[bytes | None, bytes]], list[BadLine], Tally]:
    bad: list[BadLine] = []
    reader = LineReader(
        EventRules(max_event_bytes=500), key, bad.append, lint, takes=lambda key, value: len(value) <= takes_bytes
    )
    return list(reader.records(lines)), bad, reader.tally


def test_good_lines_become_records_and_bad_ones_are_named_by_number() -> None:
    records, bad, tally = read(
        line(),
        b"{",
        b"",
        b"   \t",
        line(workspace_id="w2") + b"\r",
        line(type="contact.renamed"),
        line(occurred_at="2026-11-23T09:13:07"),
        line(contact_name="x" * 500),
        line(id="last"),
    )
    assert records == [(b"w1", line()), (b"w2", line(workspace_id="w2")), (b"w1", line(id="last"))]
    assert [(one.number, one.reason) for one in bad] == [
        (2, "not_json"),
        (6, "unknown_type"),
        (7, "time_without_offset"),
        (8, "too_large"),
    ]
    assert (tally.number, tally.good, tally.bad) == (9, 3, 4)
    assert str(BadLine(7, "not_json", "no")) == "line 7: not_json: no"


def test_a_time_ahead_of_now_is_bad() -> None:
    _, bad, _ = read(line(occurred_at="2199-01-01T00:00:00Z"))
    assert [one.reason for one in bad] == ["time_in_future"]


def test_without_lint_every_line_is_a_record_as_it_is() -> None:
    records, bad, tally = read(
        line(), b"{", b"", line(type="other"), b"[1]", line(workspace_id=7), line(contact_id=None), lint=False
    )
    assert records == [
        (b"w1", line()),
        (None, b"{"),
        (b"w1", line(type="other")),
        (None, b"[1]"),
        (None, line(workspace_id=7)),
        (b"w1", line(contact_id=None)),
    ]
    assert bad == []
    assert (tally.good, tally.bad) == (6, 0)


@pytest.mark.parametrize("lint", [True, False])
def test_what_the_topic_does_not_take_is_bad_in_any_case(lint: bool) -> None:
    records, bad, _ = read(line(contact_name="x" * 100), line(), lint=lint, takes_bytes=120)
    assert records == [(b"w1", line())]
    assert [(one.number, one.reason) for one in bad] == [(1, "too_large")]


def test_the_key_may_hold_the_contact_too_an_integer_as_its_decimal_text() -> None:
    records, _, _ = read(line(contact_id=77), line(contact_id="a/ä"), key=KeyTemplate.CONTACT)
    assert [key for key, _ in records] == [b"w1/77", "w1/a/ä".encode()]


def test_copies_of_an_event_have_one_key_even_where_one_of_them_is_written_otherwise() -> None:
    wide = line(contact_id="é")
    narrow = wide.decode().replace("\\u00e9", "é").encode()
    assert wide != narrow
    records, _, _ = read(wide, narrow, key=KeyTemplate.CONTACT)
    assert records[0][0] == records[1][0]


# ---- the progress bar ----------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_shows_the_share_and_makes_room_for_bad_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(0.0, 1.0)
    monkeypatch.setattr("cli.publish.time.monotonic", lambda: next(clock))
    out = Terminal()
    bar = ProgressBar(out, 1_000)
    bar.show(Tally(number=1_300, good=1_234, bad=1, bytes=500))
    bar.say(BadLine(1_300, "not_json", "no"))
    bar.clear()
    shown = "[############............]  50%  1,234 events, 1 bad"
    assert out.getvalue() == f"\r{shown}\r{' ' * len(shown)}\rline 1300: not_json: no\n"


def test_without_a_terminal_only_bad_lines_are_written() -> None:
    out = io.StringIO()
    bar = ProgressBar(out, 1_000)
    bar.show(Tally(good=1_234, bytes=500))
    bar.say(BadLine(7, "not_json", "no"))
    bar.clear()
    assert out.getvalue() == "line 7: not_json: no\n"


# ---- the command, without a broker ---------------------------------------------------------------------------------


def test_a_dry_run_lints_and_needs_no_kafka(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line() + b"\n{\n" + line(id="e2"))
    environ = {"CONTACTS_KAFKA": "127.0.0.1:1"}
    assert main(["publish", "--dry-run", str(file)], environ) == 1
    said = capsys.readouterr()
    assert said.out == "2 events good, 1 bad; nothing was published\n"
    assert said.err.startswith("line 2: not_json: ")
    file.write_bytes(line())
    assert main(["publish", "--dry-run", str(file)], environ) == 0
    assert capsys.readouterr() == ("1 event good, 0 bad; nothing was published\n", "")


def test_the_rules_are_the_workers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(line())
    assert main(["publish", "--dry-run", str(file)], {"CONTACTS_MAX_EVENT_BYTES": "10"}) == 1
    assert "too_large" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(tmp_path / "none")], {}) == 2
    assert capsys.readouterr().err == (
        f"contacts-report publish: cannot read {tmp_path}/none: No such file or directory\n"
    )
    assert main(["publish", str(tmp_path)], {}) == 2


# ---- the file ------------------------------------------------------------------------------------------------------


def test_a_descriptor_that_does_not_wait_is_asked_again_until_its_end() -> None:
    # Given a pipe whose reading end says "nothing yet" where another would wait
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    writer = threading.Timer(0.3, lambda: (os.write(writing, b"late"), os.close(writing)))
    writer.start()
    with open(reading, "rb", buffering=0) as file:
        # When it is read, then what comes late is there, and then the end
        assert chunk_of(file) == b"late"
        assert chunk_of(file) == b""
    writer.join()


class Broken:
    def read(self, size: int, /) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_file_that_breaks_off_is_an_error_and_no_end() -> None:
    with pytest.raises(CommandError, match="cannot be read any further: Input/output error"):
        chunk_of(Broken())
