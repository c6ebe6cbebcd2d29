"""A Redis that speaks TLS alone."""

from __future__ import annotations

import time
from pathlib import Path

from cli.local.redis import NoRedis, redis_binary
from tests.support.authority import Authority
from tests.support.kafka import spawn
from tests.support.ports import free_port
from tests.support.require import require


class TlsRedis:
    """With a certificate that is good for so many days."""

    def __init__(self, folder: Path, authority: Authority, days: int = 90) -> None:
        try:
            binary = redis_binary()
        except NoRedis as error:
            require("redis", False, str(error))
            raise
        self.port = free_port()
        pem = authority.certify(f"redis-{days}", days)
        files = {"--tls-cert-file": pem, "--tls-key-file": pem, "--tls-ca-cert-file": authority.file}
        words = [str(word) for option in files.items() for word in option]
        words += [
            "--port",
            "0",
            "--tls-port",
            str(self.port),
            "--tls-auth-clients",
            "no",
            "--save",
            "",
            "--dir",
            folder,
        ]
        self.url = f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={authority.file}"
        self._log = folder / f"redis-{days}.log"
        self.process = spawn([str(word) for word in (binary, *words)], self._log.open("ab"))

    def wait(self) -> None:
        """Until it has begun, as its log says; skip where it was built without TLS."""
        deadline = time.monotonic() + 60
        while "Ready to accept connections" not in self._log.read_text(errors="replace"):
            ended = self.process.poll() is not None
            said = self._log.read_text(errors="replace")
            require("redis-tls", not ended, f"this Redis does not begin with TLS: {said[-300:]}")
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
