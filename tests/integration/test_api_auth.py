"""Who may read what: JSON Web Tokens, static tokens, and where no token is asked for."""

import asyncio
import json
import socket
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from api.app import create_app
from api.http import auth
from cli.main import main
from stream.settings.api import ApiConfig
from tests.support.api import BASE, api_over, shared_redis
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis

__all__ = ["shared_redis"]

NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC).timestamp()
SECRET = "0123456789abcdef0123456789abcdef"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
GOOD: dict[str, Any] = {"exp": NOW + 60, "aud": "reports", "iss": "https://id.example", "workspaces": ["w"],
                        "scope": "other reports:read"}  # fmt: skip


def token(key: Any = SECRET, algorithm: str = "HS256", key_id: str | None = None, **claims: Any) -> str:
    made = {name: value for name, value in (GOOD | claims).items() if value is not None}
    return jwt.encode(made, key, algorithm, headers={"kid": key_id} if key_id else None)


def base64url(text: bytes) -> str:
    return urlsafe_b64encode(text).decode().rstrip("=")


def signed(payload: bytes) -> str:
    """A token with a good signature of whatever bytes."""
    return jwt.api_jws.encode(payload, SECRET, "HS256")


def key_set() -> dict[str, Any]:
    of_rsa, of_ec = jwt.algorithms.RSAAlgorithm, jwt.algorithms.ECAlgorithm
    return {
        "keys": [
            json.loads(of_rsa.to_jwk(RSA.public_key())) | {"kid": "r", "alg": "RS256", "use": "sig"},
            json.loads(of_ec.to_jwk(EC.public_key())) | {"kid": "e", "alg": "ES256"},
        ]
    }


@contextmanager
def published(keys: dict[str, Any]) -> Iterator[str]:
    """The address of a key set."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((keys["body"] if "body" in keys else json.dumps(keys)).encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()


SETTINGS = {"jwt_secret": SECRET, "jwt_audience": "reports", "jwt_issuer": "https://id.example"}

TABLE = {
    "none": (None, 401),
    "another scheme": ("Basic dXNlcg==", 401),
    "nothing behind it": ("Bearer ", 401),
    "nonsense": ("Bearer nonsense", 401),
    "three parts of nonsense": ("Bearer a.b.c", 401),
    "too long": ("Bearer " + "a" * 9_000, 401),
    "good": (f"Bearer {token()}", 200),
    "in another case": (f"bearer {token()}", 200),
    "for all": (f"Bearer {token(workspaces='*')}", 200),
    "another secret": (f"Bearer {token(SECRET[::-1])}", 401),
    "another algorithm": (f"Bearer {token(algorithm='HS512')}", 401),
    "no algorithm": (f"Bearer {jwt.encode(GOOD, None, 'none')}", 401),
    "what cannot be written back": (f"Bearer {jwt.encode(GOOD, SECRET, headers={'crit': [chr(0xD800)]})}", 401),
    "a public key where there is none": (f"Bearer {token(RSA, 'RS256', 'r')}", 401),
    "expired": (f"Bearer {token(exp=NOW)}", 401),
    "without an end": (f"Bearer {token(exp=None)}", 401),
    "an end that is no number": (f"Bearer {token(exp='soon')}", 401),
    "an end that never comes": (f"Bearer {token(exp=float('nan'))}", 401),
    "an end beyond all": (f"Bearer {token(exp=float('inf'))}", 401),
    "an end that is no float": (f"Bearer {token(exp=10**400)}", 401),
    "an end before all": (f"Bearer {token(exp=-(10**400))}", 401),
    "an end that is true": (f"Bearer {token(exp=True)}", 401),
    "a beginning that is no number": (f"Bearer {token(nbf=float('nan'))}", 401),
    "a beginning that is no float": (f"Bearer {token(nbf=10**400)}", 401),
    "an end in the year 9999": (f"Bearer {token(exp=253_402_300_799)}", 200),
    "a head of brackets": (f"Bearer {base64url(b'[' * 4_000)}.e30.AA", 401),
    "claims of brackets": (f"Bearer {signed(b'[' * 4_000)}", 401),
    "claims that are no object": (f"Bearer {signed(b'[]')}", 401),
    "a number of too many digits": (f"Bearer {signed(b'1' * 5_000)}", 401),
    "an algorithm that is a list": ("Bearer " + base64url(b'{"alg": []}') + ".e30.AA", 401),
    "not yet good": (f"Bearer {token(nbf=NOW + 1)}", 401),
    "another audience": (f"Bearer {token(aud='others')}", 401),
    "no audience": (f"Bearer {token(aud=None)}", 401),
    "among several audiences": (f"Bearer {token(aud=['a', 'reports'])}", 200),
    "another issuer": (f"Bearer {token(iss='https://evil.example')}", 401),
    "no issuer": (f"Bearer {token(iss=None)}", 401),
    "without the scope": (f"Bearer {token(scope='reports:write')}", 403),
    "without any scope": (f"Bearer {token(scope=None)}", 403),
    "a list of scopes": (f"Bearer {token(scope=['reports:read'])}", 200),
    "another workspace": (f"Bearer {token(workspaces=['v'])}", 403),
    "no workspaces": (f"Bearer {token(workspaces=None)}", 403),
    "workspaces that are no list": (f"Bearer {token(workspaces='w')}", 401),
}


@pytest.mark.parametrize("case", TABLE)
async def test_which_tokens_are_good(shared_redis: RunningRedis, case: str) -> None:
    authorization, status = TABLE[case]
    async with api_over(shared_redis, NOW, **SETTINGS) as api:
        api.write([Event(int(NOW) * 10**9, "1")])
        headers = {} if authorization is None else {"Authorization": authorization}
        for _ in range(2):  # remembered or not
            answer = await api.get("", headers)
            assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.json()["query"]["to"] == "2026-11-23"
        else:
            assert answer.headers["www-authenticate"].startswith('Bearer realm="contacts-report"')
            assert answer.json()["code"] == {401: "unauthorized", 403: "forbidden"}[status]


async def test_401_comes_before_all_else(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, **SETTINGS) as api:
        for path in (f"{BASE}?perid=x", f"{BASE}.csv", f"{BASE}/nothing", f"{BASE}/live", "/v1/workspaces?limit=x",
                     "/v1/workspaces/a b/reports/contacts"):  # fmt: skip
            assert (await api.client.get(path)).status_code == 401
        good = {"Authorization": f"Bearer {token()}"}
        assert (await api.get("", good, perid="x")).status_code == 400
        assert (await api.get("/nothing", good)).status_code == 404
        # a token in the address is a parameter that there is not, and gives nothing
        assert (await api.get("", access_token=token())).status_code == 401
        assert (await api.get("", good, token=token())).status_code == 400
        for path in (
            "/",
            "/page/main.js",
            "/livez",
            "/metrics",
            "/openapi.json",
            "/asyncapi.json",
            "/docs",
            "/v1/timezones",
        ):
            assert (await api.client.get(path)).status_code == 200


async def test_a_remembered_token_ends_with_its_time(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, **SETTINGS) as api:
        api.write([])
        headers = {"Authorization": f"Bearer {token(exp=NOW + 10)}"}
        assert (await api.get("", headers)).status_code == 200
        api.clock.now += 10
        assert (await api.get("", headers)).status_code == 401


async def test_published_keys(shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = key_set()
    with published(keys) as address:
        async with api_over(shared_redis, NOW, jwks_url=address) as api:
            api.write([])

            async def status(made: str) -> int:
                return (await api.get("", {"Authorization": f"Bearer {made}"})).status_code

            assert await status(token(RSA, "RS256", "r")) == 200
            assert await status(token(RSA, "RS256")) == 200
            assert await status(token(EC, "ES256", "e")) == 200
            assert await status(token(OTHER_RSA, "RS256", "r")) == 401
            assert await status(token(OTHER_RSA, "RS256", "unknown")) == 401
            assert await status(token(RSA, "RS512", "r")) == 401
            # a public key is no secret: HS256 is not accepted beside it
            assert await status(token("a" * 40, "HS256", "r")) == 401
            # a key that is new is fetched, though not at each try
            keys["keys"][0] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key())) | {"kid": "new"}
            assert await status(token(OTHER_RSA, "RS256", "new")) == 401
            monkeypatch.setattr(auth, "JWKS_RETRY_SECONDS", 0.0)
            assert await status(token(OTHER_RSA, "RS256", "new")) == 200


@pytest.mark.parametrize("body", ["{", "[]", '{"keys": 5}', '{"keys": [[]]}'])
async def test_an_answer_that_is_no_set_of_keys_changes_nothing(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(auth, "JWKS_RETRY_SECONDS", 0.0)
    keys = key_set()
    with published(keys) as address:
        async with api_over(shared_redis, NOW, jwks_url=address) as api:
            api.write([])
            good = {"Authorization": f"Bearer {token(RSA, 'RS256', 'r')}"}
            assert (await api.get("", good)).status_code == 200
            keys["body"] = body
            unknown = {"Authorization": f"Bearer {token(OTHER_RSA, 'RS256', 'unknown')}"}
            assert (await api.get("", unknown)).status_code == 401
            assert (await api.get("", good)).status_code == 200


async def test_while_keys_cannot_be_had_the_old_ones_serve_at_once(
    shared_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "JWKS_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(auth, "REMEMBERED_SECONDS", 0.0)
    keys, fetches = key_set(), []
    away = threading.Event()

    def fetch(url: str) -> Any:
        fetches.append(url)
        if len(fetches) == 2:
            assert away.wait(60)
            raise TimeoutError
        return jwt.PyJWKSet.from_dict(keys).keys

    monkeypatch.setattr(auth, "_fetch_keys", fetch)
    async with api_over(shared_redis, NOW, jwks_url="http://127.0.0.1:1/keys") as api:
        api.write([])
        # Given keys that are old, and a server that does not answer
        good = {"Authorization": f"Bearer {token(RSA, 'RS256', 'r')}"}
        assert (await api.get("", good)).status_code == 200
        monkeypatch.setattr(auth, "JWKS_SECONDS", 0.0)
        # When many ask, then each is answered while one fetch waits
        for _ in range(3):
            assert (await api.get("", good)).status_code == 200
        assert len(fetches) == 2
        # and once it is back, its keys hold
        keys["keys"][0] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_RSA.public_key())) | {"kid": "r"}
        away.set()
        new = {"Authorization": f"Bearer {token(OTHER_RSA, 'RS256', 'r')}"}
        async with asyncio.timeout(20):
            while (await api.get("", new)).status_code != 200:
                await asyncio.sleep(0.01)
        assert (await api.get("", good)).status_code == 401


async def test_keys_that_come_byte_by_byte_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "JWKS_TIMEOUT_SECONDS", 0.3)
    ended = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            while not ended.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            with pytest.raises(TimeoutError, match="too slowly"):
                async with asyncio.timeout(20):
                    await asyncio.to_thread(auth._fetch_keys, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        finally:
            ended.set()
            thread.join()


async def test_keys_that_cannot_be_had_are_503(shared_redis: RunningRedis) -> None:
    async with api_over(shared_redis, NOW, jwks_url="http://127.0.0.1:1/keys") as api:
        api.write([])
        answer = await api.get("", {"Authorization": f"Bearer {token(RSA, 'RS256', 'r')}"})
        assert (answer.status_code, answer.json()["code"]) == (503, "keys_unavailable")
        assert (await api.get("", {"Authorization": "Bearer x"})).status_code == 401


def new_token(capsys: pytest.CaptureFixture[str], path: Path, *words: str) -> str:
    assert main(["token", "new", "--tokens-file", str(path), *words], {}) == 0
    return capsys.readouterr().out.strip()


async def test_static_tokens(
    shared_redis: RunningRedis, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FILE_CHECK_SECONDS", 0.0)
    path = tmp_path / "tokens"
    for_w = new_token(capsys, path, "--workspace", "w", "--workspace", "v", "--name", "dashboard")
    for_all = new_token(capsys, path, "--all-workspaces")
    assert path.stat().st_mode & 0o777 == 0o600
    assert for_w not in path.read_text()
    async with api_over(shared_redis, NOW, tokens_file=path) as api:
        api.write([Event(int(NOW) * 10**9, "1", workspace=name) for name in ("w", "u")])

        async def status(made: str, workspace: str = "w") -> int:
            address = f"/v1/workspaces/{workspace}/reports/contacts"
            return (await api.client.get(address, headers={"Authorization": f"Bearer {made}"})).status_code

        assert [await status(for_w), await status(for_w, "v"), await status(for_w, "u")] == [200, 200, 403]
        assert [await status(for_all), await status(for_all, "u"), await status("crt_nonsense")] == [200, 200, 401]

        async def listed(made: str) -> list[str]:
            answer = await api.client.get("/v1/workspaces", headers={"Authorization": f"Bearer {made}"})
            return [one["workspace_id"] for one in answer.json()["workspaces"]]

        assert (await listed(for_w), await listed(for_all)) == (["w"], ["u", "w"])
        # What changes in the file holds at once: a new token, one that ends, one that is taken out, a broken line
        later = json.loads(new_token_json(capsys, path))
        assert await status(later["token"]) == 200
        lines = path.read_text().splitlines()
        entry = json.loads(lines[-1]) | {"expires_at": datetime.fromtimestamp(NOW, UTC).isoformat()}
        path.write_text("\n".join([*lines[1:2], "no token", '{"sha256": 1}', json.dumps(entry)]))
        assert [await status(for_w), await status(for_all), await status(later["token"])] == [401, 200, 401]
        path.unlink()
        assert await status(for_all) == 401


def new_token_json(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    return new_token(capsys, path, "--all-workspaces", "--expires-in-days", "7", "--json")


def test_making_a_token_needs_a_file_and_possible_workspaces(tmp_path: Path) -> None:
    assert main(["token", "new", "--all-workspaces"], {}) == 2
    assert main(["token", "new", "--workspace", "a b", "--tokens-file", str(tmp_path / "t")], {}) == 2
    assert main(["token", "new", "--all-workspaces", "--tokens-file", str(tmp_path / "no" / "t")], {}) == 2
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_read_stops_the_start(shared_redis: RunningRedis, tmp_path: Path) -> None:
    with pytest.raises(BaseExceptionGroup) as raised:
        async with api_over(shared_redis, NOW, tokens_file=tmp_path / "nothing"):
            pass
    assert raised.group_contains(FileNotFoundError)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "reports.example"])
def test_without_authentication_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        create_app(ApiConfig(api_host=host))
    create_app(ApiConfig(api_host=host, jwt_secret=SECRET))
    for loopback in ("127.0.0.1", "::1", "localhost"):
        create_app(ApiConfig(api_host=loopback))
