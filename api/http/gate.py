"""Checks the head of each request before routing (its limits, its `Host`), and completes each answer (`Vary`)."""

import string
from collections.abc import Callable
from typing import Any

from api.http.problems import ProblemError
from api.http.request import HEADERS_BYTES_LIMIT, Answer, Header, Request, Send
from api.metrics import Metrics

TARGET_BYTES_LIMIT = 32_768
"""Path and query; a hundred sources and a hundred users of 128 letters each take 27 KB."""

PATH_CHARACTERS_LIMIT = 512
"""Twice what the longest address has. Litestar remembers the last 1,024 paths, whatever their length."""

_HOST = (string.ascii_letters + string.digits + "!$&'()*+,;=-._~:[]@%").encode()
"""The letters of a `Host`, those that Litestar's router takes: what passes here it does not refuse. Two of them have a
comma and a blank between them."""

VARY = ("Accept", "Accept-Encoding", "Authorization")
"""What answers depend on. One that is the same for everybody says so too: a cache holds no answer for the wrong reader
because somebody has overlooked one."""

PROBES = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})


class Gate:
    """Refuses what is too long or malformed before anything is remembered of it, and completes each answer's headers.

    `origins`: whether answers depend on the origin that asks (CORS). `metrics_port`: where probes and metrics alone are
    answered. `refuse` makes an answer of a problem.
    """

    def __init__(
        self, metrics: Metrics, origins: bool, metrics_port: int | None, refuse: Callable[[ProblemError], Answer]
    ) -> None:
        self.origins = origins
        self._metrics_port = metrics_port
        self._metrics = metrics
        self._refuse = refuse
        self.vary: Header = (b"vary", ", ".join((*VARY, "Origin") if origins else VARY).encode())

    def refuse(self, request: Request) -> Answer | None:
        """The answer to a request whose head is refused; None: it may pass."""
        target = len(request.scope.get("raw_path") or request.path) + len(request.query_string)
        if target > TARGET_BYTES_LIMIT:
            refused = ProblemError("address_too_long", f"The address is longer than {TARGET_BYTES_LIMIT} bytes.")
        elif request.headers_bytes > HEADERS_BYTES_LIMIT:
            refused = ProblemError("headers_too_large", f"The headers are larger than {HEADERS_BYTES_LIMIT} bytes.")
        elif request.headers.get(b"host", b"").strip(_HOST):  # some other letter is left
            refused = ProblemError("bad_request", "The header `Host` is malformed.")
        elif len(request.path) > PATH_CHARACTERS_LIMIT or (
            self._metrics_port is not None and self._is_elsewhere(request)
        ):
            refused = ProblemError("not_found", "There is nothing at this address.")
        else:
            return None
        answer = self._refuse(refused)
        self._metrics.requests.labels("refused", str(answer.status)).inc()
        return answer

    def _is_elsewhere(self, request: Request) -> bool:
        """Whether the port is that of probes and metrics, and the address is none of theirs."""
        return request.port == self._metrics_port and request.path not in PROBES

    def complete(self, send: Send) -> Send:
        """The same, which completes the headers of what is sent."""

        async def send_complete(message: Any) -> None:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"vary"]
                message = {**message, "headers": [*others, self.vary]}
            await send(message)

        return send_complete
