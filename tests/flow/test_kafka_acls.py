"""The access lists of docs/operations.md are enough: each command does its work on a Kafka that allows nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from tests.flow.test_secured_kafka import EVENTS, command, some_events
from tests.support.kafka import KafkaCluster, unique_name
from tests.support.ports import free_port
from tests.support.stack import Api, RedisServer, Worker, eventually

ROW = re.compile(r"^\| `(\w+)` \| (Topic|Group|TransactionalId)(, prefixed)? \| `(\S+)` \| ([\w, ]+) \|$", re.MULTILINE)
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
RESOURCES = {"Topic": 2, "Group": 3, "TransactionalId": 5}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Alter": 7, "Describe": 8, "DescribeConfigs": 10}
LITERAL, PREFIXED, ALLOW = 3, 4, 3
PASSWORD = "correct horse"


class Guarded:
    """A Kafka with access lists, of which the documented ones are made for one deployment."""

    def __init__(self, folder: Path, start: Callable[..., KafkaCluster]) -> None:
        self.port = free_port()
        users = " ".join(f'user_{name}="{PASSWORD}"' for name in ("worker", "topics", "publish"))
        self.cluster = start(
            settings={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
                ),
                "inter.broker.listener.name": "PLAINTEXT",
                "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                    f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
                ),
            },
            doors=f"SASL_PLAINTEXT://127.0.0.1:{self.port}",
        )
        self.topic, self.group = unique_name("contacts"), unique_name("group")
        self.redis = RedisServer(folder / "redis")
        self.redis.start()

    def environ(self, who: str) -> dict[str, str]:
        return {
            "CONTACTS_KAFKA": f"127.0.0.1:{self.port}",
            "CONTACTS_KAFKA_SECURITY": "sasl_plaintext",
            "CONTACTS_KAFKA_MECHANISM": "plain",
            "CONTACTS_KAFKA_USERNAME": who,
            "CONTACTS_KAFKA_PASSWORD": PASSWORD,
            "CONTACTS_REDIS": self.redis.url,
            "CONTACTS_TOPIC": self.topic,
            "CONTACTS_GROUP": self.group,
        }

    def allow(self, without: str | None = None, on: str | None = None) -> None:
        """Make the documented lists, all but one operation (`on` one kind of resource; None: on all)."""
        rows = ROW.findall(PAGE)
        assert {row[0] for row in rows} == {"worker", "topics", "publish"}

        async def create() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.cluster.bootstrap)
            await admin.start()
            for who, resource, prefixed, name, operations in rows:
                own = name.replace("contacts.activity.v1", self.topic).replace("contacts-report", self.group)
                pattern = PREFIXED if prefixed else LITERAL
                for operation in operations.split(", "):
                    if operation != without or on not in (None, resource):
                        request = CreateAclsRequest(
                            RESOURCES[resource], own, pattern, f"User:{who}", "*", OPERATIONS[operation], ALLOW
                        )
                        answer = await admin._send_request(request)
                        assert [code for code, *_ in answer.creation_responses] == [0]
            await admin.close()

        asyncio.run(create())


@pytest.fixture
def guarded(tmp_path: Path, kafka_cluster: Callable[..., KafkaCluster]) -> Iterator[Guarded]:
    made = Guarded(tmp_path, kafka_cluster)
    yield made
    made.redis.kill()


def counts(guarded: Guarded, folder: Path, workspace: str) -> str:
    """Publish, count, and see the counts; the log of the worker that did."""
    done = command(guarded.environ("publish"), "publish", "-", text=some_events(workspace))
    assert done.returncode == 0, done.stdout + done.stderr
    worker = Worker(folder, unique_name("worker"), guarded.environ("worker"))
    api = Api(
        folder, unique_name("api"), {n: guarded.environ("worker")[n] for n in ("CONTACTS_REDIS", "CONTACTS_GROUP")}
    )
    path = f"/v1/workspaces/{workspace}/reports/contacts/summary?period=last_7_days"
    try:
        worker.start()
        api.start()
        eventually("counted", lambda: api.get(path)[0] == 200 and api.get(path)[1]["added"]["count"] == EVENTS)
        assert worker.stop() == 0
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.tail()}") from None
    finally:
        worker.kill()
        api.kill()
    return worker.tail(100_000)


@pytest.mark.timeout(400)
def test_with_the_documented_lists_each_command_does_its_work(guarded: Guarded, tmp_path: Path) -> None:
    # Without any nothing is shown, and nothing hangs.
    refused = command(guarded.environ("topics"), "topics", "--partitions", "2")
    assert (refused.returncode, "does not let us describe" in refused.stderr) == (2, True), refused.stderr
    guarded.allow()
    for partitions in ("2", "3"):
        done = command(guarded.environ("topics"), "topics", "--partitions", partitions)
        assert done.returncode == 0, done.stdout + done.stderr
    log = counts(guarded, tmp_path, "w1")
    assert [line for line in log.splitlines() if " INFO " not in line] == []


@pytest.mark.timeout(400)
def test_who_may_not_see_the_settings_says_so_once_and_goes_on(guarded: Guarded, tmp_path: Path) -> None:
    guarded.allow(without="DescribeConfigs")
    done = command(guarded.environ("topics"), "topics")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("does not let us see its settings") == 3
    log = counts(guarded, tmp_path, "w1")
    (line,) = [line for line in log.splitlines() if " INFO " not in line]
    assert "does not let us see the settings of" in line


@pytest.mark.timeout(400)
def test_a_worker_that_may_not_write_says_which_command_names_the_right(guarded: Guarded, tmp_path: Path) -> None:
    guarded.allow(without="Write", on="TransactionalId")
    assert command(guarded.environ("topics"), "topics").returncode == 0
    worker = Worker(tmp_path, unique_name("worker"), guarded.environ("worker"))
    says = "Kafka does not allow it (TransactionalIdAuthorizationFailed): `contacts-report doctor` names the right"
    try:
        worker.start()
        eventually("said", lambda: says in worker.tail(100_000))
    finally:
        worker.kill()


@pytest.mark.timeout(400)
def test_where_kafka_lets_nobody_add_partitions_readers_are_told_nothing(guarded: Guarded) -> None:
    guarded.allow(without="Alter")
    assert command(guarded.environ("topics"), "topics").returncode == 0
    refused = command(guarded.environ("topics"), "topics", "--partitions", "6")
    assert refused.returncode == 2
    assert "did not give" in refused.stderr
    assert guarded.redis.client.hgetall(f"cr1:{guarded.group}:{{0}}:positions") == {}


def doctor(guarded: Guarded) -> dict[str, bool]:
    """What it says of the topics' being seen and of the worker's rights."""
    done = command(guarded.environ("worker"), "doctor", "--json")
    assert done.returncode == 1, done.stdout + done.stderr  # no worker runs
    found = json.loads(done.stdout)["findings"]
    return {
        one["subject"].replace(guarded.topic, "T").replace(guarded.group, "G"): one["good"]
        for one in found
        if one["subject"].startswith(("right to ", "topic ", "Kafka"))
    }


@pytest.mark.timeout(400)
def test_doctor_names_each_right_that_is_missing_and_changes_nothing(guarded: Guarded) -> None:
    guarded.allow(without="Write")
    assert command(guarded.environ("topics"), "topics").returncode == 0
    right = {
        "Kafka": True,
        "Kafka versions": True,
        "topic T": True,
        "topic G-state-changelog": True,
        "right to read T": True,
        "right to read G-state-changelog": True,
        "right to join G": True,
    }
    writes = ("right to write T.dlq", "right to write G-state-changelog", "right to transactions G-…")
    # A worker does not read the dead letters: without Write it does not even see their topic.
    assert doctor(guarded) == {**right, **dict.fromkeys((*writes, "topic T.dlq"), False)}

    guarded.allow()
    seen = {"topic T.dlq": True, "right to read T.dlq": False}
    assert doctor(guarded) == {**right, **seen, **dict.fromkeys(writes, True)}
