"""The configuration for nginx that docs/in-front.md recommends, run in front of the API."""

import asyncio
import datetime as dt
import ipaddress
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cli.local.ports import listens
from tests.support.api import BASE, Api, serving, shared_redis
from tests.support.ports import free_port
from tests.support.redis_data import Event
from tests.support.redis_server import RunningRedis
from tests.support.require import require

__all__ = ["shared_redis"]

NOW = dt.datetime(2026, 11, 23, 13, 3, tzinfo=dt.UTC).timestamp()
CONFIGURATION = Path(__file__).parents[2] / "ops/nginx/contacts-report.conf"
NAME = "reports.example.com"


def certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@contextmanager
def nginx_before(api_port: int) -> Iterator[httpx.AsyncClient]:
    """The configuration with other ports, another place for the certificate, and fewer requests a second."""
    binary = shutil.which("nginx")
    require("nginx", binary is not None, "there is no nginx")
    assert binary is not None
    port, plain = free_port(), free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate(folder)
        text = CONFIGURATION.read_text(encoding="utf-8")
        for written, here in (
            ("127.0.0.1:8080", f"127.0.0.1:{api_port}"),
            ("rate=20r/s", "rate=1r/s"),
            ("listen 443", f"listen 127.0.0.1:{port}"),
            ("listen 80", f"listen 127.0.0.1:{plain}"),
            ("/etc/ssl/contacts-report", str(folder)),
        ):
            assert written in text
            text = text.replace(written, here)
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off; {paths}\n{text}\n}}"
        )
        command = [binary, "-p", os.fspath(folder), "-c", os.fspath(folder / "nginx.conf")]
        tried = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tried.returncode == 0, tried.stderr
        assert "[warn]" not in tried.stderr.replace('[warn] the "user" directive', "")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 20
            while not (listens(port) and listens(plain)):
                assert time.monotonic() < until
                time.sleep(0.02)
            trusting = ssl.create_default_context(cafile=os.fspath(folder / "fullchain.pem"))
            headers = {"Host": NAME}
            yield httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusting, headers=headers, timeout=30)
        finally:
            process.terminate()
            process.wait(20)


async def test_the_sample_configuration_serves_and_limits(shared_redis: RunningRedis) -> None:
    async with serving(shared_redis, NOW) as (api, direct):
        with nginx_before(direct.base_url.port or 0) as client:
            async with client:
                await check_what_comes_through(api, client)


async def check_what_comes_through(api: Api, client: httpx.AsyncClient) -> None:
    api.write([Event(int(NOW) * 10**9, "1")])
    # Reports, the page and files come through, with what the API says of them
    answer = await client.get(BASE, params={"period": "today"})
    assert answer.json()["added"]["count"] == 1
    assert answer.headers["vary"] == "Accept, Accept-Encoding, Authorization"
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    tag = {"If-None-Match": answer.headers["etag"]}
    assert (await client.get(BASE, params={"period": "today"}, headers=tag)).status_code == 304
    assert (await client.get("/")).status_code == 200
    assert (await client.get(f"{BASE}/activities.ndjson", params={"period": "today"})).text.count("\n") == 1
    # A live stream comes piece by piece
    async with client.stream("GET", f"{BASE}/live", params={"period": "today"}) as stream:
        assert stream.headers["cache-control"] == "no-store, no-transform"
        pieces = stream.aiter_text()
        text = ""
        async with asyncio.timeout(20):
            while '"added":{"count":1' not in text:
                text += await anext(pieces)
            api.write([Event(int(NOW) * 10**9, str(number), offset=number) for number in range(2)])
            while '"added":{"count":2' not in text:
                text += await anext(pieces)
    # A hundred long ids fit, and so does a long token; more does not
    users = {"user": ",".join(f"{number:0>128}" for number in range(100)), "period": "today"}
    assert (await client.get(f"{BASE}/summary", params=users)).status_code == 200
    token = {"Authorization": "Bearer " + "a" * 8_192}
    assert (await client.get(BASE, headers=token)).status_code == 200
    assert (await client.get(BASE, headers={"X": "a" * 40_000})).status_code == 400
    assert (await client.post(BASE, content=b"a" * 2_000)).status_code == 413
    # What runs here is not told
    for path in ("/metrics", "/readyz", "/readyz?verbose", "/healthz"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/livez")).status_code == 200
    # Who asks too often is told so
    statuses = [answer.status_code for answer in await asyncio.gather(*(client.get("/livez") for _ in range(300)))]
    assert set(statuses) == {200, 429}


def test_the_page_names_each_limit_that_it_is_about() -> None:
    page = (CONFIGURATION.parents[2] / "docs/in-front.md").read_text(encoding="utf-8")
    for name in ("CONTACTS_API_CONNECTIONS", "CONTACTS_LIVE_STREAMS", "CONTACTS_LIVE_STREAMS_PER_PRINCIPAL",
                 "CONTACTS_CACHE_BYTES", "CONTACTS_API_METRICS_PORT"):  # fmt: skip
        assert f"`{name}" in page


@pytest.mark.parametrize("directive", ["ssl_protocols", "client_header_timeout", "limit_req ", "limit_conn "])
def test_the_sample_configuration_has_each_kind_of_limit(directive: str) -> None:
    assert directive in CONFIGURATION.read_text(encoding="utf-8")
