"""The dashboard is one that Grafana draws: each panel at its place, with its unit, and with expressions that parse."""

import shutil
import subprocess
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from tests.support.require import require
from tests.unit.test_monitoring import DASHBOARD, KNOWN, alerts

PROMTOOL = shutil.which("promtool")
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "prometheus"}
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
ROWS = [panel for panel in PANELS if panel["type"] == "row"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]


def test_each_panel_has_what_grafana_needs_of_it() -> None:
    assert [count for count in Counter(panel["id"] for panel in PANELS).values() if count > 1] == []
    assert [name for name, count in Counter(panel["title"] for panel in PANELS).items() if count > 1] == []
    for panel in ROWS:
        assert set(panel) == {"id", "title", "type", "collapsed", "gridPos", "panels"}
        assert panel["panels"] == []
    for panel in DRAWN:
        assert panel["type"] == "timeseries"
        assert panel["datasource"] == SOURCE
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "s", "ops", "reqps", "bytes"}
        targets = panel["targets"]
        assert [target["refId"] for target in targets] == [chr(ord("A") + number) for number in range(len(targets))]
        # Only one series may be without a name.
        assert len({target.get("legendFormat") for target in targets}) == len(targets)


def test_no_two_panels_lie_over_one_another() -> None:
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS, panel["title"]
    for one, other in combinations(PANELS, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or a["y"] + a["h"] <= b["y"]
        assert apart or b["y"] + b["h"] <= a["y"], (one["title"], other["title"])


def test_what_an_alert_asks_for_is_shown() -> None:
    shown = " ".join(target["expr"] for panel in DRAWN for target in panel["targets"])
    asked = {name for name in KNOWN if any(name in rule["expr"] for rule in alerts())}
    assert {name for name in asked if name not in shown} == set()


def test_each_expression_parses(tmp_path: Path) -> None:
    require("promtool", PROMTOOL is not None, "Debian has it in the package prometheus")
    assert PROMTOOL is not None
    expressions = [target["expr"] for panel in DRAWN for target in panel["targets"]]
    rules = [{"record": f"shown:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    file = tmp_path / "shown.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "shown", "rules": rules}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
