"""Can the page's colours be told apart? Read from its stylesheet."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

PAGE = Path(__file__).parents[3] / "api" / "page"


def lightness(colour: str) -> float:
    """L* (CIE 1976) of an sRGB colour, 0 black to 100 white."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return 116 * luminance ** (1 / 3) - 16 if luminance > 0.008856 else 903.3 * luminance


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2, 1 to 21."""
    light, dark = sorted((((lightness(colour) + 16) / 116) ** 3 for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_sources_differ_in_lightness_and_stand_out_in_light_and_dark() -> None:
    style = (PAGE / "style.css").read_text()
    themes = re.findall(r":root \{(.*?)\n\s*\}", style, re.DOTALL)[:2]
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", theme))
        surface = colours.get("surface", "#ffffff")
        sources = [colours[f"s{number}"] for number in range(5)]
        ordered = sorted(lightness(colour) for colour in sources)
        assert min(b - a for a, b in pairwise(ordered)) > 7, ordered
        assert min(contrast(colour, surface) for colour in (*sources, colours["added"], colours["deleted"])) >= 3
