"""Plain requests for reports are answered past Litestar's router, and find what it would find."""

from typing import Any

import pytest
from litestar.exceptions import HTTPException

from api.app import REPORTS, ReportAddresses, create_app
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
