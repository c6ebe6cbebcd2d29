"""Serves the machine-readable documents and a page that shows them. None needs a token: they contain nothing about any
workspace, and the page loads nothing from other servers."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from html import escape
from typing import Any

import msgspec

from api.http.problems import CODES
from api.http.request import Answer, Request
from api.openapi import BASE, openapi
from stream.ingest.schema import asyncapi

CACHING = (b"cache-control", b"no-cache")

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; font-size: 1.1rem } h2 code { font-size: 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem }
tr { border-bottom: 1px solid #8884 } code { font-size: .9em; overflow-wrap: anywhere }
"""


class Documents:
    """The documents, made at their first request."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    async def openapi(self, _request: Request) -> Answer:
        return Answer(200, [CACHING], self._openapi, "application/json")

    async def asyncapi(self, _request: Request) -> Answer:
        return Answer(200, [CACHING], self._asyncapi, "application/json")

    async def docs(self, _request: Request) -> Answer:
        digest = b64encode(sha256(STYLE.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
        headers = [CACHING, (b"content-security-policy", policy.encode())]
        return Answer(200, headers, self._page, "text/html; charset=utf-8")

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi())

    @cached_property
    def _asyncapi(self) -> bytes:
        return msgspec.json.encode(asyncapi(self._topic))

    @cached_property
    def _page(self) -> bytes:
        return page(openapi()).encode()


def page(document: dict[str, Any]) -> str:
    """The OpenAPI document as HTML: addresses, parameters, fields of the answers, and the codes of problems."""
    shared = document["components"]["parameters"]
    sections = [_address(path, of["get"], shared) for path, of in document["paths"].items()]
    schemas = [_schema(name, of) for name, of in document["components"]["schemas"].items()]
    problems = _table(
        ("code", "status", "meaning"),
        [(f'<code id="{code}">{code}</code>', str(status), _text(text)) for code, (status, text) in CODES.items()],
    )
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{_text(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a> (this page) and '
        '<a href="asyncapi.json">asyncapi.json</a> (the events).</p>'
        f"{''.join(sections)}<h1>Answers</h1>{''.join(schemas)}<h1>Problems</h1>{problems}</body></html>"
    )


def _address(path: str, operation: dict[str, Any], shared: Mapping[str, dict[str, Any]]) -> str:
    taken = [shared[_name(one)] if "$ref" in one else one for one in operation.get("parameters", [])]
    parameters = [
        (f"<code>{one['name']}</code>", _kind(one["schema"]), _text(one.get("description", "")))
        for one in taken
        if one["in"] == "query"
    ]
    answer = "".join(
        f"<li><code>{escape(media_type)}</code> {_kind(of['schema'])}</li>"
        for media_type, of in operation["responses"]["200"]["content"].items()
    )
    shown = escape(path.replace(BASE, "…/contacts"))
    table = _table(("parameter", "value", "meaning"), parameters) if parameters else ""
    return f"<h2><code>GET {shown}</code></h2><p>{_text(operation['summary'])}</p><ul>{answer}</ul>{table}"


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (f"<code>{escape(field)}</code>", _kind(of), _text(of.get("description", "")))
        for field, of in schema.get("properties", {}).items()
    ]
    body = _table(("field", "value", "meaning"), rows) if rows else f"<p>{_kind(schema)}</p>"
    return f'<h2 id="{name}">{name}</h2><p>{_text(schema.get("description", ""))}</p>{body}'


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = _name(schema)
        return f'<a href="#{name}">{name}</a>'
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_kind(one) for one in choices if one.get("maxLength") != 0)
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    if "contentSchema" in schema:
        return f"{_kind(schema['contentSchema'])} as a line of JSON"
    if "enum" in schema:
        values = schema["enum"]
        shown = ", ".join(f"<code>{escape(str(value))}</code>" for value in values[:14])
        return shown if len(values) <= 14 else f"one of {len(values)} names"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and "additionalProperties" in schema:
        return f"name → {_kind(schema['additionalProperties'])}"
    if "maximum" in schema:
        return f"{kind} {schema.get('minimum', '')}..{schema['maximum']}"
    return kind


def _name(reference: Mapping[str, str]) -> str:
    """What a `$ref` leads to."""
    return reference["$ref"].rpartition("/")[2]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _text(text: str) -> str:
    """Plain text with `code` in it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text.replace("\n", " ")))
