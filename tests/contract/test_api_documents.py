"""The documents say what the API does: against a running API, by schemathesis, and against what is committed."""

import asyncio
import json
import sys
from pathlib import Path

from api import query
from api.documents import page
from api.endpoints import COMPONENTS
from api.openapi import NAME, PARAMETERS, document_text, openapi
from api.problems import CODES
from stream.schema import asyncapi
from tests.support.api import api_over, serving, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_document_is_the_generated_one() -> None:
    committed = (DOCS / NAME).read_text(encoding="utf-8")
    assert committed == document_text(), "write it again: python -m api.openapi docs"


def test_every_parameter_of_every_resource_is_described() -> None:
    used = {name for component in COMPONENTS.values() for name in component.parameters}
    assert used | {*query.WORKSPACES_PARAMETERS} == set(PARAMETERS)


def test_the_page_of_documents_needs_nothing_from_elsewhere() -> None:
    text = page(openapi())
    assert (
        "http" not in text.replace("https://json-schema.org", "").replace("http problem", "").lower().split("<body>")[0]
    )
    assert "<script" not in text
    for code in CODES:
        assert f'id="{code}"' in text
    for name in openapi()["components"]["schemas"]:
        assert f'id="{name}"' in text


def test_the_guide_names_every_parameter_component_and_code() -> None:
    guide = (DOCS / "reading.md").read_text(encoding="utf-8")
    missing = [name for name in [*PARAMETERS, *COMPONENTS, *CODES] if f"`{name}`" not in guide and name]
    assert missing == []


async def test_the_documents_are_served(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, 1_795_000_000.0) as api:
        assert (await api.client.get("/openapi.json")).json() == json.loads(document_text())
        assert (await api.client.get("/asyncapi.json")).json() == json.loads(json.dumps(asyncapi()))
        answer = await api.client.get("/docs")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_schemathesis_finds_nothing(shared_redis: RunningRedis) -> None:
    """Left out: `live`, which never ends; and that whatever fits the schema is accepted, since no schema can say that
    `from` is not after `to` or that a cursor is one of ours."""
    now = 1_795_000_000
    async with serving(shared_redis, float(now)) as (api, client):
        users = [None, "u_1", "u_2"]
        api.write([Event((now - i * 4_000) * 10**9, f"e{i}", user=users[i % 3], offset=i) for i in range(300)])
        words = [
            "run", f"{client.base_url}/openapi.json", "--phases", "fuzzing", "--max-examples", "12", "--seed", "1",
            "--exclude-path-regex", "live$", "--exclude-checks", "positive_data_acceptance", "--no-color",
        ]  # fmt: skip
        schemathesis = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")),
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await schemathesis.communicate()
        assert schemathesis.returncode == 0, output.decode()
