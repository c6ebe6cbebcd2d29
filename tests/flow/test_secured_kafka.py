"""Brokers that ask for TLS, certificates, names and passwords: every client of ours gets in, and none without."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.kafka import KafkaCluster, unique_name
from tests.support.ports import free_port
from tests.support.stack import Api, RedisServer, Worker, eventually

NAME, PASSWORD = "counter", "correct horse"
EVENTS = 500


class Secured:
    """A broker with a door for each protocol, beside the one that it speaks to itself by."""

    def __init__(self, folder: Path, start: Callable[..., KafkaCluster]) -> None:
        self.authority = Authority(folder)
        self.ports = dict(zip(("SSL", "SASL_PLAINTEXT", "SASL_SSL"), (free_port() for _ in range(3)), strict=True))
        broker = self.authority.certify("broker")
        users = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{NAME}="{PASSWORD}";'
        more = {
            "listener.security.protocol.map": ",".join(
                ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *(f"{name}:{name}" for name in self.ports)]
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(broker),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.file),
            "listener.name.ssl.ssl.client.auth": "required",
        }
        for door in ("sasl_plaintext", "sasl_ssl"):
            more |= {
                f"listener.name.{door}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                f"listener.name.{door}.plain.sasl.jaas.config": users,
                **{
                    f"listener.name.{door}.scram-sha-{bits}.sasl.jaas.config": (
                        "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                    )
                    for bits in (256, 512)
                },
            }
        doors = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        self.cluster = start(
            settings=more,
            doors=doors,
            scram=[f"SCRAM-SHA-{bits}=[name={NAME},password={PASSWORD}]" for bits in (256, 512)],
        )


@pytest.fixture
def secured(tmp_path: Path, kafka_cluster: Callable[..., KafkaCluster]) -> Secured:
    return Secured(tmp_path, kafka_cluster)


def command(environ: Mapping[str, str], *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    settings = [f"{name}={value}" for name, value in environ.items()]
    return subprocess.run(
        ["env", *settings, sys.executable, "-m", "cli.main", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def some_events(workspace: str) -> str:
    now = datetime.now(UTC).isoformat()
    event: dict[str, Any] = {"type": "contact.added", "workspace_id": workspace, "contact_id": "c", "occurred_at": now}
    return "".join(json.dumps({"id": f"{workspace}-{number}"} | event) + "\n" for number in range(EVENTS))


@pytest.mark.timeout(600)
def test_events_are_published_and_counted_through_every_door(secured: Secured, tmp_path: Path) -> None:
    client = secured.authority.certify("client")
    login = {"KAFKA_USERNAME": NAME, "KAFKA_PASSWORD": PASSWORD}
    trust = {"KAFKA_CA_FILE": str(secured.authority.file)}
    doors = {
        "ssl": ("SSL", trust | {"KAFKA_CERT_FILE": str(client)}),
        "sasl_plaintext": ("SASL_PLAINTEXT", login | {"KAFKA_MECHANISM": "plain"}),
        "sasl_ssl": ("SASL_SSL", login | trust | {"KAFKA_MECHANISM": "scram-sha-512"}),
    }
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    topic, group = unique_name("contacts"), unique_name("group")
    shared = {"CONTACTS_REDIS": redis.url, "CONTACTS_TOPIC": topic, "CONTACTS_GROUP": group}
    api = Api(tmp_path, "api", shared)
    api.start()
    try:
        for number, (security, (door, more)) in enumerate(doors.items()):
            # Given what this door asks for
            environ = shared | {
                "CONTACTS_KAFKA": f"127.0.0.1:{secured.ports[door]}",
                "CONTACTS_KAFKA_SECURITY": security,
                **{f"CONTACTS_{name}": value for name, value in more.items()},
            }
            done = command(environ, "topics", "--partitions", "2")
            assert done.returncode == 0, done.stdout + done.stderr
            done = command(environ, "publish", "-", text=some_events(f"w{number}"))
            assert done.returncode == 0, done.stdout + done.stderr
            # When a worker counts through it
            worker = Worker(tmp_path, f"worker-{security}", environ)
            worker.start()
            path = f"/v1/workspaces/w{number}/reports/contacts/summary?period=last_7_days"
            # Then all are counted
            eventually("counted", lambda at=path: api.get(at)[0] == 200 and api.get(at)[1]["added"]["count"] == EVENTS)
            # and doctor sees through it which release the brokers run.
            said = json.loads(command(environ, "doctor", "--json").stdout)["findings"]
            assert [one["found"] for one in said if one["subject"] == "Kafka versions" and one["good"]] != []
            assert worker.stop() == 0
            assert PASSWORD not in worker.tail(1_000_000)
        # Where something does not fit, then nothing gets in, and what it is is said, but for the password.
        (tmp_path / "others").mkdir()
        others = str(Authority(tmp_path / "others").file)
        plain = secured.cluster.bootstrap.rpartition(":")[2]
        refused = "it refuses our name or password (CONTACTS_KAFKA_USERNAME, CONTACTS_KAFKA_PASSWORD)"
        closed = "it takes connections, and closes ours: is CONTACTS_KAFKA_SECURITY="
        for port, changed, says in (
            (secured.ports["SASL_SSL"], {"KAFKA_PASSWORD": "another one"}, refused),
            (secured.ports["SASL_SSL"], {"KAFKA_USERNAME": "nobody", "KAFKA_MECHANISM": "plain"}, refused),
            (secured.ports["SASL_SSL"], {"KAFKA_CA_FILE": others}, "is not to be trusted (CONTACTS_KAFKA_CA_FILE): "),
            (secured.ports["SASL_PLAINTEXT"], {"KAFKA_SECURITY": "plaintext"}, f"{closed}plaintext what this port"),
            (secured.ports["SASL_SSL"], {"KAFKA_SECURITY": "sasl_plaintext"}, f"{closed}sasl_plaintext what this port"),
            (plain, {"KAFKA_SECURITY": "sasl_plaintext"}, "takes no login, and CONTACTS_KAFKA_SECURITY=sasl_plaintext"),
            (plain, {"KAFKA_SECURITY": "ssl"}, "CONTACTS_KAFKA_SECURITY=ssl what this port wants"),
            (secured.ports["SSL"], {"KAFKA_SECURITY": "ssl"}, "certificate of ours (CONTACTS_KAFKA_CERT_FILE)"),
        ):
            more = {f"CONTACTS_{name}": value for name, value in changed.items()}
            done = command(environ | more | {"CONTACTS_KAFKA": f"127.0.0.1:{port}"}, "topics")
            assert done.returncode == 2, changed
            assert f"cannot reach Kafka at 127.0.0.1:{port}: " in done.stderr
            assert says in done.stderr, (changed, done.stderr)
            assert "another one" not in done.stdout + done.stderr
    finally:
        api.kill()
        redis.kill()
