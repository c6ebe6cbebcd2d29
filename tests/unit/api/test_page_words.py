"""The page names sources and activities without asking: its files call them what the model calls them."""

from __future__ import annotations

import re
from pathlib import Path

from api.query.periods import Period
from stream.model.activity import ACTIVITIES, KNOWN_SOURCES, NO_SOURCE_LABEL, NONE, SOURCE_LABELS

PAGE = Path(__file__).parents[3] / "api" / "page"


def table(name: str) -> dict[str, str]:
    """An exported table of texts of words.js, without the entry for all others."""
    (found,) = re.findall(rf"export const {name} = \{{(.*?)\n?\}};", (PAGE / "words.js").read_text(), re.DOTALL)
    return dict(re.findall(r"(\w+): '([^']*)'", found))


def test_the_page_calls_sources_what_the_api_calls_them() -> None:
    assert list(table("sources").items()) == [*SOURCE_LABELS.items(), (NONE, NO_SOURCE_LABEL)]


def test_the_page_explains_each_source() -> None:
    assert list(table("explanations")) == [*KNOWN_SOURCES, NONE]


def test_the_page_names_each_activity() -> None:
    assert list(table("activities")) == list(ACTIVITIES)


def test_each_known_source_has_a_colour_of_its_own() -> None:
    texts = "".join(path.read_text() for path in sorted(PAGE.glob("**/*.js")))
    (colours,) = re.findall(r"const COLOURS = \[(.*?)\];", texts)
    assert tuple(re.findall(r"'(\w+)'", colours)) == KNOWN_SOURCES


def test_the_page_offers_each_preset() -> None:
    assert list(table("periods")) == [period.value for period in Period]
