"""Draws what the benchmark `growth` measured: a panel for each thing that grows, both scales by tens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLUMNS = 3
PANEL_INCHES = (4.2, 3.0)
NOT_DRAWN = {"of", "axis", "size", "events"}


def draw_growth(results: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write an SVG. `results`: `of` and `axis` say which panel, `size` where on it; each other number is a line's."""
    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        panels.setdefault((result["of"], result["axis"]), []).append(result)
    rows = -(-len(panels) // COLUMNS)
    # Names of the file's parts come from this salt, so the same figures make the same file.
    with mpl.rc_context({"svg.hashsalt": "growth", "font.size": 8}):
        figure = Figure(figsize=(PANEL_INCHES[0] * COLUMNS, PANEL_INCHES[1] * rows), layout="constrained")
        places = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
        for place, ((of, axis), measured) in zip(places, panels.items(), strict=False):
            sizes = [one["size"] for one in measured]
            for name in [name for name in measured[0] if name not in NOT_DRAWN]:
                place.plot(sizes, [one[name] for one in measured], marker="o", label=name.replace("_", " "))
            place.set(title=f"{of}: {axis}", xscale="log", yscale="log")
            place.grid(visible=True, alpha=0.3)
            place.legend()
        for place in places[len(panels) :]:
            place.set_axis_off()
        figure.savefig(file, format="svg", metadata={"Date": None})
