"""Parameters: what they mean, and every error in them at once."""

from datetime import date, datetime

import pytest

from api.errors import ValidationErrors
from api.query import question as query
from api.query.periods import Compare, Dates, Interval, Period, Weekday, now_quarter
from api.query.question import Parameters, Query, read_activity_query, read_pairs, read_query, view

NOW = now_quarter(datetime.fromisoformat("2026-11-25T13:37:00+00:00").timestamp())
DEFAULT = Query(None, Period.LAST_7_DAYS, "UTC", Interval.AUTO, Weekday.MONDAY, None, None, Compare.PREVIOUS_PERIOD)


def read(text: str) -> Query:
    return read_query(Parameters(read_pairs(text.encode()), query.REPORT_PARAMETERS), NOW)


def errors(text: str) -> dict[str, list[str]]:
    """Messages by parameter."""
    with pytest.raises(ValidationErrors) as raised:
        read_activity_query(Parameters(read_pairs(text.encode()), query.ACTIVITY_PARAMETERS), NOW)
    found: dict[str, list[str]] = {}
    for error in raised.value.errors:
        found.setdefault(error.parameter, []).append(error.message)
    return found


def test_without_parameters_it_is_the_last_seven_days_in_utc() -> None:
    assert read("") == DEFAULT
    assert read("from=&to=&period=&timezone=&interval=&week_start=&source=&user=&compare=") == DEFAULT


def test_every_parameter_is_read() -> None:
    asked = "from=2026-11-01&to=2026-11-03&timezone=Asia/Kolkata&interval=hour&week_start=sunday&source=user,none"
    assert read(asked + "&user=u_7&compare=previous_year") == Query(
        Dates(date(2026, 11, 1), date(2026, 11, 3)),
        None,
        "Asia/Kolkata",
        Interval.HOUR,
        Weekday.SUNDAY,
        ("user", "none"),
        ("u_7",),
        Compare.PREVIOUS_YEAR,
    )


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("user=a,b", ("a", "b")),
        ("user=a,,b,", ("a", "b")),
        ("user=a,b&user=c", ("a,b", "c")),
        ("user=a,b&user=a,b", ("a,b",)),
        ("user=a&user=&user=a", ("a",)),
        ("user=a,b&user=", ("a", "b")),
        ("user=,", None),
        ("user=%C3%BC+x", ("ü x",)),
    ],
)
def test_repeated_values_are_not_split_at_commas(text: str, users: tuple[str, ...] | None) -> None:
    assert read(text).users == users


def test_aliases_of_zones_are_taken_and_echoed() -> None:
    assert read("timezone=Asia/Calcutta").timezone == "Asia/Calcutta"
    assert read("timezone=Etc/GMT%2B8").timezone == "Etc/GMT+8"


@pytest.mark.parametrize(
    ("text", "in_error"),
    [
        ("from=2026-11-01", ["to"]),
        ("to=2026-11-01", ["from"]),
        ("from=2026-11-02&to=2026-11-01", ["to"]),
        ("from=2020-01-01&to=2023-01-05", ["to"]),
        ("from=1999-12-31&to=2026-11-01", ["from"]),
        ("from=2026-11-01&to=2100-01-01", ["to"]),
        ("from=2026-02-30&to=2026-03-01", ["from"]),
        ("from=2026-1-1&to=2026-01-02", ["from"]),
        ("from=20260101&to=2026-01-02", ["from"]),
        ("from=٢٠٢٦-٠١-٠١&to=2026-01-02", ["from"]),
        ("period=today&from=2026-01-01&to=2026-01-01", ["period"]),
        ("period=today&from=2026-01-01", ["period", "to"]),
        ("period=Today", ["period"]),
        ("period=tomorrow", ["period"]),
        ("timezone=asia/kolkata", ["timezone"]),
        ("timezone=localtime", ["timezone"]),
        ("timezone=posixrules", ["timezone"]),
        ("timezone=Factory", ["timezone"]),
        ("timezone=right/UTC", ["timezone"]),
        ("timezone=../../etc/passwd", ["timezone"]),
        ("interval=minute", ["interval"]),
        ("interval=HOUR", ["interval"]),
        ("interval=hour&period=last_90_days", ["interval"]),
        ("interval=hour&from=2026-01-01&to=2026-02-20", ["interval"]),
        ("week_start=mon", ["week_start"]),
        ("compare=yes", ["compare"]),
        ("interval=day&interval=day", ["interval"]),
        ("source=%FF", ["source"]),
        ("limit=0", ["limit"]),
        ("limit=501", ["limit"]),
        ("limit=1.5", ["limit"]),
        ("limit=%2B5", ["limit"]),
        ("limit=" + "9" * 5000, ["limit"]),
        ("activity=Added", ["activity"]),
        ("order=up", ["order"]),
        ("batches=unfold", ["batches"]),
        ("batches=fold&batch=b", ["batches"]),
        ("perid=today", ["perid"]),
    ],
)
def test_an_error_names_its_parameter(text: str, in_error: list[str]) -> None:
    assert sorted(errors(text)) == sorted(in_error)


def test_every_error_is_named_at_once() -> None:
    found = errors("from=2026-13-01&timezone=Asia/Kula_Lumpur&interval=week&interval=day&tmezone=x&order=DESC&limit=x")
    assert sorted(found) == ["from", "interval", "limit", "order", "timezone", "tmezone", "to"]
    assert "did you mean timezone?" in found["tmezone"][0]
    assert "did you mean Asia/Kuala_Lumpur?" in found["timezone"][0]


def test_any_number_of_unknown_parameters_is_named() -> None:
    found = errors("&".join(f"perod{number}=1" for number in range(500)))
    assert len(found) == 500
    assert "did you mean period?" in found["perod0"][0]
    assert found["perod499"] == ["is no parameter here"]


def test_too_many_buckets_show_beside_a_wrong_zone() -> None:
    assert sorted(errors("timezone=Nowhere&interval=hour&period=this_year")) == ["interval", "timezone"]


def test_what_is_shown_of_a_value_is_bounded_and_is_text() -> None:
    assert len(errors("period=" + "x" * 5000)["period"][0]) < 400
    assert list(errors("%FF=1")) == ["?"]


def test_eleven_hundred_days_are_the_longest_range() -> None:
    assert read("from=2020-01-01&to=2023-01-04").dates is not None
    assert read("from=2000-01-01&to=2000-01-01").dates is not None
    assert read("from=2099-12-31&to=2099-12-31").dates is not None


def test_everything_begins_with_the_first_event_and_is_by_month() -> None:
    asked = read("period=all")
    some = view(asked, NOW, date(2019, 5, 3))
    assert (some.dates, some.interval, some.earlier) == (Dates(date(2019, 5, 3), date(2026, 11, 25)), "month", None)
    for first in (None, date(2026, 11, 26)):
        assert view(asked, NOW, first).dates == Dates(date(2026, 11, 25), date(2026, 11, 25))


@pytest.mark.parametrize("name", ["source", "user"])
@pytest.mark.parametrize("repeated", [False, True])
def test_a_parameter_has_a_hundred_values_at_most(name: str, repeated: bool) -> None:
    def asked(number: int) -> str:
        values = [f"v{i}" for i in range(number)]
        return "&".join(f"{name}={value}" for value in values) if repeated else f"{name}={','.join(values)}"

    assert len(getattr(read(asked(100)), f"{name}s")) == 100
    assert errors(asked(101)) == {name: ["has 101 values, more than the limit of 100"]}
