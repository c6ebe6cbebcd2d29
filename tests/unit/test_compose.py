"""docker-compose.yml: sound by the specification, hardened, ordered by health, and every setting of ours is one."""

import json
import re
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stream.settings.api import ApiConfig
from stream.settings.declare import Config, Sources, read
from stream.settings.worker import WorkerConfig
from stream.version import VERSION

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"topics"}
READ_BY: dict[str, type[Config]] = {"topics": WorkerConfig, "worker": WorkerConfig, "api": ApiConfig}


def test_it_follows_the_specification() -> None:
    # Found without importing the package, which wants another click than Faust.
    vendored = distribution("check-jsonschema").locate_file("check_jsonschema/builtin_schemas/vendor/compose-spec.json")
    jsonschema.validate(COMPOSE, json.loads(Path(str(vendored)).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = service["user"].split(":")[0]
    assert int(user) > 0
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?", service["image"]), "an image has an exact version"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_every_service_that_goes_on_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_what_they_need() -> None:
    waits = {
        name: {other: need["condition"] for other, need in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    healthy, done = "service_healthy", "service_completed_successfully"
    assert waits == {
        "kafka": {},
        "redis": {},
        "topics": {"kafka": healthy},
        "worker": {"kafka": healthy, "redis": healthy, "topics": done},
        "api": {"redis": healthy},
        "prometheus": {"worker": healthy, "api": healthy},
        "grafana": {"prometheus": healthy},
    }


def test_ports_are_open_to_this_host_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", READ_BY)
def test_our_services_get_settings_that_there_are(name: str) -> None:
    environ = {
        variable: re.sub(r"\$\{\w+:\?[^}]*\}", "x" * 32, re.sub(r"\$\{\w+:-\}", "", value))
        for variable, value in SERVICES[name]["environment"].items()
    }
    reading = read(READ_BY[name], Sources({}, environ, {}), set(READ_BY.values()))
    # A secret of our own, which no other service signs with, can do without these two.
    unchecked = ["CONTACTS_JWT_AUDIENCE", "CONTACTS_JWT_ISSUER"] if name == "api" else []
    assert (reading.problems, [text.partition(" ")[0] for text in reading.warnings]) == ((), unchecked)
    assert SERVICES[name]["image"] == f"contacts-report:{VERSION}"


def test_redis_refuses_writes_rather_than_dropping_counts() -> None:
    assert "--maxmemory-policy noeviction" in SERVICES["redis"]["command"]
    assert "--appendonly yes" in SERVICES["redis"]["command"]


def test_metrics_come_only_when_asked_for() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"prometheus", "grafana"}


def test_what_is_mounted_from_here_is_here() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    for mount in mounts:
        assert (ROOT / mount).is_dir() if mount.startswith(".") else mount in COMPOSE["volumes"], mount
