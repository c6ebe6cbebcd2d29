"""Small rules of HTTP and CSV."""

import pytest

from api.formats import Format, csv_lines, guard_formula, negotiate
from api.http.request import accepts_encoding, etag_matches


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "  =x", "＝x", "＠x"])
def test_what_a_spreadsheet_would_run_is_guarded(text: str) -> None:
    assert guard_formula(text) == "'" + text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a;=1+1", "a;'=1+1"), ("a; =1", "a;' =1"), ("a;;=1;-2", "a;;'=1;'-2"), ("a,@x", "a,'@x"), ("a\t+1", "a\t'+1"),
        ("a\n=1", "a\n'=1"), ("a\r\n-1", "a\r\n'-1"), ("a;＝1", "a;'＝1"), ('x;"=1', "x;'\"=1"),
        ("\u00a0=1", "'\u00a0=1"),
        ("\u3000-1", "'\u3000-1"), ("a;\ufeff=1", "a;'\ufeff=1"), ("\t=1", "'\t'=1"), (" \n x", "' \n x"), (";", ";"),
        ("a;\x00=1", "a;'\x00=1"),
    ],
)  # fmt: skip
def test_a_formula_is_guarded_wherever_a_spreadsheet_may_begin_a_cell(text: str, cell: str) -> None:
    assert guard_formula(text) == cell


def test_the_guard_takes_no_longer_for_a_text_made_to_slow_it() -> None:
    for text in ("\t" * 100_000, "; " * 100_000, " " * 100_000 + "x", ";" + " " * 100_000):
        assert len(guard_formula(text)) <= len(text) + 1


@pytest.mark.parametrize("text", ["", " ", "Ada", "1-1", "a=b", "'=x", "2026-11-23T00:00:00+08:00"])
def test_what_it_would_not_is_left_alone(text: str) -> None:
    assert guard_formula(text) == text


def test_lines_end_as_rfc_4180_has_it_texts_are_quoted_and_numbers_stay() -> None:
    rows = [("a", None, -1.5, 7), ('x"y', "p,q", "l\nm", "")]
    assert csv_lines(rows) == '"a",,-1.5,7\r\n"x""y","p,q","l\nm",""\r\n'


@pytest.mark.parametrize(
    ("header", "accepted"),
    [("", False), ("gzip", True), ("GZIP", True), ("gzip;q=0", False), ("*", True), ("*;q=0", False), ("br", False),
     ("gzip;q=0, *", False), ("identity, gzip;q=0.1", True), ("gzip;q=x", False), (";,", False)],
)  # fmt: skip
def test_who_accepts_gzip(header: str, accepted: bool) -> None:
    assert accepts_encoding(header, "gzip") is accepted


@pytest.mark.parametrize(
    ("header", "matches"),
    [('W/"a"', True), ('"a"', True), ('"b", W/"a"', True), ("*", True), ("", False), ("a", False), ('W/"ab"', False)],
)
def test_which_conditions_name_a_revision(header: str, matches: bool) -> None:
    assert etag_matches(header, "a") is matches


def test_of_equal_formats_the_first_offered_is_given() -> None:
    assert negotiate("*/*", (Format.JSON, Format.CSV)) is Format.JSON
    assert negotiate("text/csv, application/json", (Format.JSON, Format.CSV)) is Format.JSON
    assert negotiate("text/csv", (Format.JSON, Format.CSV)) is Format.CSV
    assert negotiate("image/png", (Format.JSON, Format.CSV)) is None
