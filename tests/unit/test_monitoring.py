"""Alerts and dashboard ask for metrics that there are, and each alert is explained."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from api.metrics import Metrics as ApiMetrics
from stream.worker.listener import Phase
from stream.worker.metrics import Metrics as WorkerMetrics
from tests.documents.metrics import names

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "ops/prometheus/rules/contacts-report.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((ROOT / "ops/grafana/dashboards/contacts-report.json").read_text(encoding="utf-8"))
KNOWN = names(WorkerMetrics().registry) | names(ApiMetrics().registry)


def alerts() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def test_what_is_asked_for_is_told() -> None:
    shown = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked = [rule["expr"] for rule in alerts()] + shown
    assert len(asked) > 20
    for expression in asked:
        found = set(re.findall(r"contacts_\w+", expression))
        assert found, expression
        assert found <= KNOWN, expression
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
