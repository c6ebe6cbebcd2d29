"""The OpenAPI 3.1 document: addresses and parameters from the tables of the endpoints, schemas from the answers' types.

`python -m api.openapi docs` writes it into a folder.
"""

from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any

import msgspec

from api import wire as answers
from api.formats import MEDIA_TYPES, Format
from api.health import Readiness
from api.http.problems import CODES, MEDIA_TYPE, Problem
from api.ops import OpsAnswer
from api.query import question as query
from api.query.periods import FIRST_DATE, LAST_DATE, MAX_BUCKETS, MAX_DAYS, Compare, Interval, Period, Weekday
from api.query.zones import zone_names
from api.report import choices
from api.report.users import MAX_USERS
from api.routes import COMPONENTS
from stream.model.activity import Activity
from stream.model.workspace import WORKSPACE_LENGTH, WORKSPACE_PATTERN
from stream.version import VERSION

Document = dict[str, Any]

BASE = "/v1/workspaces/{workspace_id}/reports/contacts"
REF = "#/components/schemas/{name}"
PARAMETER_REF = "#/components/parameters/{name}"

ANSWERS: Mapping[str, tuple[type[Any], str]] = {
    "": (answers.Report, "The whole report."),
    "summary": (answers.SummaryAnswer, "The two totals, each with that of the earlier range."),
    "timeline": (answers.TimelineAnswer, "Added and deleted in every bucket of the range."),
    "sources": (answers.SourcesAnswer, "Added by source, in total and in every bucket."),
    "users": (
        answers.UsersAnswer,
        f"Added and deleted by user: all users, where the whole report has the first {MAX_USERS}.",
    ),
    "activities": (answers.ActivitiesAnswer, "The activity table: JSON a page at a time, CSV and NDJSON every row."),
    "live": (answers.Report, "Server-sent events: `report` whenever the report changes, `freshness` every 15 seconds."),
    "filters": (answers.FiltersAnswer, "The sources and users of the workspace, for filters."),
}

_DATE: Document = {
    "type": "string",
    "format": "date",
    "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
}
_TEXT: Document = {"type": "string"}
_NAMES: Document = {"anyOf": [{"type": "array", "items": _TEXT, "maxItems": query.MAX_VALUES}, _TEXT]}
_EMPTY: Document = {"type": "string", "maxLength": 0, "description": "An empty value counts as absent."}


def _choice(choices_of: type[Any], default: str | None = None) -> Document:
    return {"type": "string", "enum": [str(one) for one in choices_of]} | ({"default": default} if default else {})


def _data_of(name: str) -> Document:
    """The data of a server-sent event: one line of JSON."""
    return {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": REF.format(name=name)},
    }


def _number(largest: int, default: int) -> Document:
    return {"type": "integer", "minimum": 1, "maximum": largest, "default": default}


PARAMETERS: Mapping[str, tuple[Document, str]] = {
    "from": (_DATE, f"First local date; needs `to`. Dates lie in {FIRST_DATE} to {LAST_DATE}."),
    "to": (_DATE, f"Last local date, inclusive. A range has at most {MAX_DAYS} days."),
    "period": (
        _choice(Period, Period.LAST_7_DAYS),
        "A preset range, instead of `from` and `to`. `all`: from the first event on.",
    ),
    "timezone": ({"$ref": REF.format(name="TimeZone"), "default": "UTC"}, "An IANA time zone."),
    "interval": (
        _choice(Interval, Interval.AUTO),
        "Width of a bucket. `auto`: hour up to 2 days, day up to 92, week up to 366, else month. "
        f"At most {MAX_BUCKETS} buckets.",
    ),
    "week_start": (_choice(Weekday, Weekday.MONDAY), "First day of a week."),
    "source": (
        _NAMES,
        "Only events of these sources: repeat the parameter, or separate with commas. `none`: events without a source.",
    ),
    "user": (
        _NAMES,
        "Only events by these users: repeat the parameter, or separate with commas. `none`: events without a user.",
    ),
    "compare": (_choice(Compare, Compare.PREVIOUS_PERIOD), "Which earlier range `previous` counts."),
    "activity": (_choice(Activity), "Only rows of this activity."),
    "order": (_choice(query.Order, query.Order.DESC), "Newest or oldest first."),
    "limit": (_number(query.MAX_ACTIVITIES, query.DEFAULT_ACTIVITIES), "Rows a page, at most."),
    "cursor": (_TEXT, "`next_cursor` of the previous page. Keep all other parameters the same."),
    "batches": (
        _choice(query.Batches),
        "`fold`: show the rows of one import as one row. Only for JSON, and not together with `batch`.",
    ),
    "batch": (_TEXT, "Only rows of the import with this `batch_id`."),
    "bom": ({"type": "boolean", "default": False}, "Begin CSV with a byte order mark, for spreadsheets."),
    "last_event_id": (_TEXT, "Same as the `Last-Event-ID` header, for clients that cannot set headers."),
    "q": (_TEXT, "Part of an id or a label; upper and lower case are the same."),
}
"""Every parameter with its schema and meaning."""

_LIMITS = {
    "filters": _number(choices.MAX_USERS, choices.DEFAULT_USERS),
    "workspaces": _number(choices.MAX_WORKSPACES, choices.DEFAULT_WORKSPACES),
}
_WORKSPACE: Document = {
    "name": "workspace_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": WORKSPACE_LENGTH, "pattern": WORKSPACE_PATTERN},
}


SCHEMAS: Mapping[str, Document] = {
    "TimeZone": {
        "type": "string",
        "description": "An IANA time zone or an alias of one.",
        "enum": sorted(zone_names()),
    },
    "LiveEvent": {
        "description": "One event of `live`.",
        "oneOf": [{"$ref": REF.format(name=name)} for name in ("ReportEvent", "FreshnessEvent")],
    },
    "ReportEvent": {
        "type": "object",
        "description": "The report: once at the start, then whenever it changes. `id` is its `freshness.revision`.",
        "properties": {"id": _TEXT, "event": {"const": "report"}, "data": _data_of("Report")},
        "required": ["id", "event", "data"],
    },
    "FreshnessEvent": {
        "type": "object",
        "description": "The freshness of the report, every 15 seconds.",
        "properties": {"event": {"const": "freshness"}, "data": _data_of("Freshness")},
        "required": ["event", "data"],
    },
}
"""Schemas of no type of ours."""


def openapi() -> Document:
    """The document."""
    types: list[type[Any]] = [
        *{kind for kind, _ in ANSWERS.values()},
        *(answers.WorkspacesAnswer, answers.TimezonesAnswer, Problem, Readiness, OpsAnswer, answers.ActivityRow),
    ]
    types.sort(key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(types, ref_template=REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = cleandoc(schema["description"])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Contacts report",
            "version": VERSION,
            "description": "Contacts added and deleted, by time, source and user; docs/reading.md is the guide.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{}, {"bearer": []}],
        "paths": {
            **{_path(name): {"get": _operation(name)} for name in COMPONENTS},
            "/v1/workspaces": {"get": _workspaces()},
            "/v1/timezones": {
                "get": _plain("timezones", answers.TimezonesAnswer, "The time zones that `timezone` accepts.")
            },
            "/v1/ops": {"get": _ops()},
            "/livez": {"get": _plain("livez", Readiness, "The process is running.")},
            "/readyz": {"get": _ready("readyz")},
            "/healthz": {"get": _ready("healthz")},
        },
        "components": {
            "schemas": dict(sorted({**schemas, **SCHEMAS}.items())),
            "parameters": {"workspace_id": _WORKSPACE} | {name: _parameter(name) for name in PARAMETERS},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def document_text() -> str:
    """The document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(openapi()), indent=2).decode() + "\n"


def _path(name: str) -> str:
    return f"{BASE}/{name}" if name else BASE


def _operation(name: str) -> Document:
    kind, summary = ANSWERS[name]
    component = COMPONENTS[name]
    content = {MEDIA_TYPES[of]: {"schema": _schema(of, kind)} for of in component.formats}
    responses: Document = {
        "200": {"description": summary, "headers": dict(_headers(component.formats)), "content": content}
    }
    if Format.JSON in component.formats:
        responses["304"] = {"description": "`If-None-Match` names the current answer."}
    more = ["429"] if name == "live" else []
    return {
        "operationId": f"contacts_{name}" if name else "contacts",
        "summary": summary,
        "parameters": [_parameter_ref(one, name) for one in ("workspace_id", *component.parameters)],
        "responses": responses | _problems("400", "401", "403", "404", "406", "414", *more, "431", "500", "503"),
    }


def _schema(of: Format, kind: type[Any]) -> Document:
    if of is Format.JSON:
        return {"$ref": REF.format(name=kind.__name__)}
    if of is Format.CSV:
        return {"type": "string", "description": "One header line, then the rows."}
    each = "LiveEvent" if of is Format.EVENTS else answers.ActivityRow.__name__
    return {
        "type": "array",
        "items": {"$ref": REF.format(name=each)},
        "description": "One JSON object a line or event.",
    }


def _headers(formats: tuple[Format, ...]) -> Iterator[tuple[str, Document]]:
    if Format.EVENTS in formats:
        return
    yield "Contacts-As-Of", {"description": "`freshness.as_of`.", "schema": {"type": "string", "format": "date-time"}}
    yield "Contacts-Lag-Seconds", {"description": "`freshness.lag_seconds`.", "schema": {"type": "number"}}
    yield "ETag", {"description": "`freshness.revision`; only for JSON.", "schema": {"type": "string"}}


def _parameter_ref(name: str, of: str) -> Document:
    """The shared parameter; inline where this resource has limits of its own."""
    if name == "limit" and of in _LIMITS:
        return _parameter(name, _LIMITS[of])
    return {"$ref": PARAMETER_REF.format(name=name)}


def _parameter(name: str, own: Document | None = None) -> Document:
    schema, description = PARAMETERS[name]
    schema = own or schema
    if schema not in (_TEXT, _NAMES):
        schema = {"anyOf": [schema, _EMPTY]}
    return {"name": name, "in": "query", "description": description, "schema": schema, "allowEmptyValue": True}


def _problems(*statuses: str) -> Document:
    by_status: dict[str, list[str]] = {}
    for code, (status, _) in CODES.items():
        by_status.setdefault(str(status), []).append(code)
    return {
        status: {
            "description": " or ".join(f"`{code}`" for code in by_status[status]),
            "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
        }
        for status in statuses
    }


def _workspaces() -> Document:
    operation = _plain("workspaces", answers.WorkspacesAnswer, "The workspaces that the caller may see, sorted.")
    operation["parameters"] = [_parameter_ref(name, "workspaces") for name in query.WORKSPACES_PARAMETERS]
    operation["responses"] |= _problems("400", "401", "406", "414", "431", "500", "503")
    return operation


def _ops() -> Document:
    operation = _plain("ops", OpsAnswer, "Status of the deployment, for tokens with the scope `ops:read`.")
    operation["responses"] |= _problems("400", "401", "403", "406", "414", "431", "500", "503")
    operation["security"] = [{}, {"bearer": []}]
    return operation


def _ready(name: str) -> Document:
    operation = _plain(name, Readiness, "Redis answers and has the counts of every partition.")
    operation["parameters"] = [
        {"name": "verbose", "in": "query", "description": "Answer with details of each check.", "schema": _TEXT}
    ]
    operation["responses"] |= _problems("503")
    operation["responses"]["503"]["content"]["application/json"] = {"schema": {"$ref": REF.format(name="Readiness")}}
    return operation


def _plain(name: str, kind: type[Any], summary: str) -> Document:
    content = {"application/json": {"schema": {"$ref": REF.format(name=kind.__name__)}}}
    responses: Document = {"200": {"description": summary, "content": content}}
    if name == "timezones":
        responses |= _problems("406")
    return {"operationId": name, "summary": summary, "security": [{}], "responses": responses}
