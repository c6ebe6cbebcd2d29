"""Alerts and dashboard ask for metrics that there are, and each alert is explained."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.metrics import Metrics as ApiMetrics
from stream.ingest import rejects
from stream.worker.listener import Phase
from stream.worker.metrics import Metrics as WorkerMetrics
from tests.documents.metrics import names
from tests.support.require import require

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "ops/prometheus/rules/contacts-report.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "ops/grafana/dashboards/contacts-report.json").read_text(encoding="utf-8"))
KNOWN = names(WorkerMetrics().registry) | names(ApiMetrics().registry)


PROMTOOL = shutil.which("promtool")


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def test_what_is_asked_for_is_told() -> None:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    asked = [rule["expr"] for rule in rules()] + shown
    assert len(asked) > 20
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for expression in asked:
        found = set(re.findall(r"\bcontacts[_:][\w:]+|\bup\b", expression))
        assert found, expression
        assert found <= KNOWN | recorded | {"up"}, expression
        phases = set(re.findall(r'phase!?=~?"([a-z|]+)"', expression))
        assert {one for phase in phases for one in phase.split("|")} <= set(Phase)


RUNBOOK = "{{ with $externalLabels.contacts_docs }}{{ . }}{{ else }}docs{{ end }}/operations.md#"


def test_every_alert_leads_to_a_section_of_the_runbook_that_says_what_to_do() -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### (Contacts\w+)\n(.*?)(?=^##)", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == [rule["alert"] for rule in alerts()]
    assert [name for name, text in sections if "\n**What to do.** " not in text] == []
    for rule in alerts():
        assert rule["annotations"]["runbook_url"] == RUNBOOK + rule["alert"].lower()
        assert rule["labels"]["severity"] in ("page", "ticket")


def test_an_alert_waits_for_causes_that_there_are() -> None:
    named = {name for rule in alerts() for name in re.findall(r"Contacts\w+", rule["expr"])}
    assert named
    assert named < {rule["alert"] for rule in alerts()}


def test_the_screen_and_the_page_judge_rejects_as_their_alert_does() -> None:
    [rule] = [rule for rule in alerts() if rule["alert"] == "ContactsRejected"]
    windows = set(re.findall(r"\[(\w+)\]", rule["expr"]))
    rejected = "sum(increase(contacts_rejected_total[10m]))"
    assert windows == {f"{rejects.WINDOW_SECONDS // 60}m"}
    assert f"{rejected} > {rejects.MANY}" in rule["expr"]
    assert f"{rejected} > {rejects.SHARE} * sum(increase(contacts_events_total[10m]))" in rule["expr"]
    assert f"{rejected} > {rejects.FEW}" in rule["expr"]


def test_a_counter_of_an_alert_begins_with_its_process() -> None:
    """What first shows itself at 20 has never increased, for Prometheus."""
    told = {sample.name: sample for metric in WorkerMetrics().registry.collect() for sample in metric.samples}
    counted = {name for rule in alerts() for name in re.findall(r"increase\((contacts_\w+_total)\[", rule["expr"])}
    from_0_on_with_each_partition = {f"{one.describe()[0].name}_total" for one in WorkerMetrics().counted_of_owned}
    assert counted
    assert counted - told.keys() <= from_0_on_with_each_partition


CASES = sorted((ROOT / "ops/prometheus/tests").glob("*.yml"))


def test_of_each_alert_there_is_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    fires, silent = set(), set()
    for path in CASES:
        for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            alert, _, says = case["name"].partition(" ")
            of_it = [check for check in case["alert_rule_test"] if check["alertname"] == alert]
            fired = [check for check in of_it if check.get("exp_alerts")]
            assert of_it, case["name"]
            assert bool(fired) is says.startswith("fires"), case["name"]
            (fires if fired else silent).add(alert)
    assert fires == silent == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize(
    "words",
    [
        ["check", "config", "ops/prometheus/prometheus.yml"],
        *(["test", "rules", str(path.relative_to(ROOT))] for path in CASES),
    ],
    ids=lambda words: words[-1].rpartition("/")[2],
)
def test_prometheus_own_tool_finds_nothing_wrong(words: list[str]) -> None:
    require("promtool", PROMTOOL is not None, "Debian has it in the package prometheus")
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
