"""Plain requests for reports are answered past Litestar's router, and find what it would find."""

import json
import logging
from typing import Any

import pytest
from litestar import Litestar
from litestar.exceptions import ClientException, HTTPException

from api.app import REPORTS, ReportAddresses, _framework_problem, create_app
from stream.settings.api import ApiConfig

REPORT, COMPONENT = f"{REPORTS}/contacts", f"{REPORTS}/contacts/{{component:str}}"
ADDRESSES = [REPORT, f"{REPORT}.json", f"{REPORT}.csv", f"{REPORT}.ndjson", COMPONENT]
FOUND: Any = {address: address for address in ADDRESSES}

BASE = "/v1/workspaces/w/reports/contacts"
PLAIN = {
    BASE: (REPORT, {"workspace_id": "w"}),
    f"{BASE}.csv": (f"{REPORT}.csv", {"workspace_id": "w"}),
    f"{BASE}/timeline": (COMPONENT, {"workspace_id": "w", "component": "timeline"}),
    f"{BASE}/users.csv": (COMPONENT, {"workspace_id": "w", "component": "users.csv"}),
    f"{BASE}/no\nsuch": (COMPONENT, {"workspace_id": "w", "component": "no\nsuch"}),
    "/v1/workspaces/a b/reports/contacts": (REPORT, {"workspace_id": "a b"}),
}
OTHERS = [
    "/",
    "/livez",
    "/v1/workspaces",
    f"{BASE}/",
    f"{BASE}.xml",
    f"{BASE}/a/b",
    f"/{BASE}",
    f"{BASE}x",
    "/v1/workspaces//reports/contacts",
    "/v1/workspaces/a/b/reports/contacts",
]


def scope(path: str, method: str = "GET", root_path: str = "", headers: tuple[bytes, ...] = ()) -> dict[str, Any]:
    named = [(name, b"https://other.test") for name in headers]
    return {"path": path, "method": method, "root_path": root_path, "headers": named}


@pytest.mark.parametrize("path", PLAIN)
def test_a_plain_address_of_a_report_is_read_as_the_router_reads_it(path: str) -> None:
    asked = scope(path)
    assert (ReportAddresses(FOUND, origins=True).find(asked), asked["path_params"]) == PLAIN[path]
    _, handler, _, parameters, _ = create_app(ApiConfig()).asgi_router.handle_routing(path=path, method="GET")
    assert (handler.paths, parameters) == ({PLAIN[path][0]}, PLAIN[path][1])


@pytest.mark.parametrize("path", OTHERS)
def test_other_addresses_are_left_to_the_router(path: str) -> None:
    assert ReportAddresses(FOUND, origins=False).find(scope(path)) is None


def test_what_needs_more_than_the_answer_is_left_to_litestar() -> None:
    addresses = ReportAddresses(FOUND, origins=True)
    for asked in (scope(BASE, "POST"), scope(BASE, "OPTIONS"), scope(BASE, root_path="/x")):
        assert addresses.find(asked) is None
    assert addresses.find(scope(BASE, "HEAD")) == REPORT
    # Another origin matters where some may ask
    assert addresses.find(scope(BASE, headers=(b"origin",))) is None
    assert ReportAddresses(FOUND, origins=False).find(scope(BASE, headers=(b"origin",))) == REPORT


async def answer(app: Litestar, path: str, host: bytes) -> tuple[int, str]:
    """Its status and the code of its problem."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody waits for the reader")

    asked = scope(path) | {"type": "http", "query_string": b"", "raw_path": path.encode(), "headers": [(b"host", host)]}
    await app(asked, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"]).get("code")


@pytest.mark.parametrize("path", [BASE, f"{BASE}/summary", "/v1/timezones", "/livez", "/nothing"])
@pytest.mark.parametrize("host", [b"exa mple", b"a/b", b"a?b", b"<a>", b"\xff", b"a\n"])
async def test_a_host_that_is_none_is_refused_at_every_address(
    caplog: pytest.LogCaptureFixture, path: str, host: bytes
) -> None:
    assert await answer(create_app(ApiConfig()), path, host) == (400, "bad_request")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("host", [b"", b"a.example:8080", b"[fe80::1%25eth0]:1", b"a_b", b"%C3%A4"])
async def test_any_other_host_is_not(host: bytes) -> None:
    assert await answer(create_app(ApiConfig()), "/nothing", host) == (404, "not_found")


def test_what_litestar_refuses_is_no_failure_of_the_api(caplog: pytest.LogCaptureFixture) -> None:
    refused = _framework_problem(None, ClientException("whatever it is"))
    assert (refused.status_code, json.loads(refused.content)["code"]) == (400, "bad_request")
    assert not caplog.records
    assert _framework_problem(None, RuntimeError("a bug")).status_code == 500
    assert len(caplog.records) == 1


async def test_the_router_is_not_asked_for_a_report() -> None:
    # Given an application, whose Redis is not there
    app = create_app(ApiConfig(redis="redis://127.0.0.1:1/0"))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody waits for the reader")

    # When a report is asked for, then it is answered, and the router has seen nothing
    asked = scope(BASE) | {"type": "http", "query_string": b"", "raw_path": BASE.encode()}
    await app(asked, receive, send)
    assert sent[0]["status"] == 503
    assert app.asgi_router.handle_routing.cache_info().currsize == 0
    with pytest.raises(HTTPException):
        app.asgi_router.handle_routing(path=f"{BASE}/a/b", method="GET")
