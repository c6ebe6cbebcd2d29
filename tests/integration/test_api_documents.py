"""The documents say what the API does: against a running API, by schemathesis."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from api.documents import page
from api.http.problems import CODES
from api.openapi import BASE as DOCUMENTED_BASE
from api.openapi import PARAMETERS, document_text, openapi
from api.query import question as query
from api.routes import COMPONENTS
from stream.ingest.schema import asyncapi
from tests.support.api import BASE, api_over, serving, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

DOCS = Path(__file__).parents[2] / "docs"


def test_every_parameter_of_every_resource_is_described() -> None:
    used = {name for component in COMPONENTS.values() for name in component.parameters}
    assert used | {*query.WORKSPACES_PARAMETERS} == set(PARAMETERS)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
        for part in node.values():
            yield from references(part)
    elif isinstance(node, list):
        for part in node:
            yield from references(part)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    document = openapi()
    used = set(references(document))
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "parameters") for name in document["components"][kind]
    }
    # `limit` is inline where its limits are others, and listed for the rest
    assert used == there


def test_zones_are_listed_once() -> None:
    assert document_text().count('"Asia/Kuala_Lumpur"') == 1


async def test_the_events_of_a_stream_are_those_of_the_document(shared_redis: RunningRedis) -> None:
    # Given what the document says of the stream, and of its events
    document = openapi()
    live = document["paths"][f"{DOCUMENTED_BASE}/live"]["get"]["responses"]["200"]["content"]["text/event-stream"]
    assert live["schema"]["items"] == {"$ref": "#/components/schemas/LiveEvent"}
    validator = Draft202012Validator({**live["schema"]["items"], "components": document["components"]})
    content = {
        name: Draft202012Validator(
            {
                **document["components"]["schemas"][f"{name.capitalize()}Event"]["properties"]["data"]["contentSchema"],
                "components": document["components"],
            }
        )
        for name in ("report", "freshness")
    }
    # When a stream is read
    async with serving(shared_redis, 1_795_000_000.0) as (api, client):
        api.write([Event(1_794_999_000 * 10**9, "1")])
        async with client.stream("GET", f"{BASE}/live") as answer:
            lines: list[str] = []
            async for line in answer.aiter_lines():
                if not line and len(lines) > 1:
                    break
                lines = [*lines, line] if line else []
    # Then its event is one of them, and its data what is said of it
    event = dict(line.split(": ", 1) for line in lines)
    validator.validate(event)
    content[event["event"]].validate(json.loads(event["data"]))
    freshness = {"event": "freshness", "data": "{}"}
    validator.validate(freshness)
    assert not validator.is_valid({"event": "other", "data": "{}"})
    assert not validator.is_valid({"event": "report", "data": "{}"})
    assert not content["freshness"].is_valid({})


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


def parameters() -> Iterator[tuple[str, str, Draft202012Validator]]:
    """The address, the name and what its text may be of each parameter of each resource that ends."""
    document = openapi()
    components = document["components"]
    for path, item in document["paths"].items():
        for parameter in item["get"].get("parameters", ()) if not path.endswith("/live") else ():
            described = components["parameters"][parameter["$ref"].split("/")[-1]] if "$ref" in parameter else parameter
            if described["in"] == "query":
                validator = Draft202012Validator({**described["schema"], "components": components})
                yield path.replace(DOCUMENTED_BASE, BASE), described["name"], validator


def fits(text: str, validator: Draft202012Validator) -> bool:
    """Whether a text in an address is, or can be read as, something that the schema takes."""
    values = [text, *([json.loads(text)] if text in ("null", "true", "1", "[]") else [])]
    return any(validator.is_valid(value) for value in values)


async def test_what_fits_no_schema_is_refused_and_an_empty_value_is_as_if_absent(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, 1_795_000_000.0) as api:
        api.write([Event(1_795_000_000 * 10**9, "e")])
        wrong = []
        for path, name, validator in parameters():
            absent = await api.client.get(path)
            for text in ("null", "", "true", "1", "[]"):
                answer = await api.client.get(path, params={name: text})
                if answer.status_code == 200 and not fits(text, validator):
                    wrong.append(f"{path}?{name}={text} is answered")
                if name == "verbose":
                    continue  # its name alone asks
                if text == "" and (answer.status_code, answer.content) != (absent.status_code, absent.content):
                    wrong.append(f"{path}?{name}= is not as if absent")
        assert wrong == []


REFUSED = ["400", "401", "403", "404", "405", "406", "414", "431", "5xx"]
"""What is wrong may also be too long, before anybody looks at what it says: 414 and 431."""


async def test_schemathesis_finds_nothing(shared_redis: RunningRedis, tmp_path: Path) -> None:
    """Left out: `live`, which never ends; and that whatever fits the schema is accepted, since no schema can say that
    `from` is not after `to` or that a cursor is one of ours."""
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSED)}\n")
    now = 1_795_000_000
    async with serving(shared_redis, float(now)) as (api, client):
        users = [None, "u_1", "u_2"]
        api.write([Event((now - i * 4_000) * 10**9, f"e{i}", user=users[i % 3], offset=i) for i in range(300)])
        words = [
            "--config-file", str(settings),
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
