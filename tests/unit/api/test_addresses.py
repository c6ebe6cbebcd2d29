"""What is answered past Litestar's router is what it would lead to, and what is refused before it or by it."""

import json
import logging
from typing import Any

import pytest
from litestar import Litestar
from litestar.exceptions import ClientException

from api.app import _framework_problem, create_app
from api.http.request import Request
from stream.settings.api import ApiConfig

BASE = "/v1/workspaces/w/reports/contacts"
UNREACHABLE = ApiConfig(redis="redis://127.0.0.1:1/0", api_cors_origins=("https://other.test",))


def scope(path: str, method: str = "GET", root_path: str = "", **headers: bytes) -> dict[str, Any]:
    named = [(name.encode(), value) for name, value in headers.items()]
    asked = {"type": "http", "path": path, "raw_path": path.encode(), "query_string": b""}
    return {**asked, "method": method, "root_path": root_path, "headers": named}


async def answer(app: Litestar, asked: dict[str, Any]) -> tuple[int, str]:
    """Its status and the code of its problem."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody waits for the reader")

    await app(asked, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"] or b"{}").get("code", "")


async def app_that_was_asked(path: str) -> Any:
    """An application whose Redis is not there, and which has read the address."""
    app = create_app(UNREACHABLE)
    assert (await answer(app, scope(path)))[0] == 503
    return app


@pytest.mark.parametrize("path", ["", ".json", "/timeline", "/timeline.json", "/users", "/activities"])
async def test_the_router_is_asked_once_for_an_address(path: str) -> None:
    app = await app_that_was_asked(BASE + path)
    assert app.asgi_router.handle_routing.cache_info().currsize == 1
    app.asgi_router.handle_routing.cache_clear()
    for asked in (
        scope(BASE + path),
        scope(f"/v1/workspaces/other/reports/contacts{path}"),
        scope(BASE + path, "HEAD"),
    ):
        assert (await answer(app, asked))[0] == 503
    assert app.asgi_router.handle_routing.cache_info().currsize == 0


OTHERS = [
    scope("/"),
    scope("/v1/workspaces"),
    scope("/v1/workspaces/"),
    scope(f"{BASE}x"),
    scope(f"{BASE}/"),
    scope(f"{BASE}.csv"),
    scope(f"{BASE}/timeline"),
    scope(f"{BASE}/a/b"),
    scope(f"/{BASE}"),
    scope(BASE.replace("/v1/", "/v2/")),
    scope(BASE.replace("/w/", "//")),
    scope(BASE.replace("/w/", "/a/b/")),
    scope(BASE.replace("/w/", "/a b/")),
    scope(BASE.replace("/w/", "/../")),
    scope(BASE.replace("/w/", f"/{'w' * 129}/")),
    scope(BASE, "POST"),
    scope(BASE, "OPTIONS"),
    scope(BASE, root_path="/x"),
    scope(BASE, accept=b"text/csv"),
    scope(BASE) | {"query_string": b"period=today"},
]


@pytest.mark.parametrize("asked", OTHERS)
async def test_whatever_is_not_plainly_that_address_is_left_to_the_router(asked: dict[str, Any]) -> None:
    app = await app_that_was_asked(BASE)
    assert app._questions.find(Request(scope(BASE))) is not None
    assert app._questions.find(Request(asked)) is None


async def test_who_asks_from_another_origin_is_left_to_the_router() -> None:
    app = await app_that_was_asked(BASE)
    app.asgi_router.handle_routing.cache_clear()
    assert (await answer(app, scope(BASE, origin=b"https://other.test")))[0] == 503
    assert app.asgi_router.handle_routing.cache_info().currsize == 1


@pytest.mark.parametrize("path", [BASE, f"{BASE}/summary", "/v1/timezones", "/livez", "/nothing"])
@pytest.mark.parametrize("host", [b"exa mple", b"a/b", b"a?b", b"<a>", b"\xff", b"a\n"])
async def test_a_host_that_is_none_is_refused_at_every_address(
    caplog: pytest.LogCaptureFixture, path: str, host: bytes
) -> None:
    assert await answer(create_app(ApiConfig()), scope(path, host=host)) == (400, "bad_request")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("host", [b"", b"a.example:8080", b"[fe80::1%25eth0]:1", b"a_b", b"%C3%A4"])
async def test_any_other_host_is_not(host: bytes) -> None:
    assert await answer(create_app(ApiConfig()), scope("/nothing", host=host)) == (404, "not_found")


def test_what_litestar_refuses_is_no_failure_of_the_api(caplog: pytest.LogCaptureFixture) -> None:
    refused = _framework_problem(None, ClientException("whatever it is"))
    assert (refused.status_code, json.loads(refused.content)["code"]) == (400, "bad_request")
    assert not caplog.records
    assert _framework_problem(None, RuntimeError("a bug")).status_code == 500
    assert len(caplog.records) == 1
