"""`contacts-report api`: one process of the report's API, until it is told to stop."""

import argparse
import gc
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from cli.command import DONE, NOT_DONE, CommandError
from cli.connections import make_guarded_protocol, raise_file_limit
from cli.options import add_settings, configuration
from cli.tracing import tracer_of
from stream.core import CoreMissingError
from stream.settings.api import ApiConfig, is_loopback
from stream.settings.logs import configure
from stream.settings.redis_url import without_password
from stream.version import VERSION

if TYPE_CHECKING:
    from litestar import Litestar

STOP_SECONDS = 5
"""How long a stop waits for answers under way; live streams end at once."""

log = logging.getLogger("contacts.api")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ApiConfig)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    config = configuration(ApiConfig, args, environ)
    configure(config.log_format, config.log_level)
    # Its starting and stopping is ours to tell.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # The framework takes a while to import, which --help and a wrong setting need not wait for.
    from api.app import create_app

    with ExitStack() as stack:
        tracer = tracer_of(config, "contacts-report-api")
        stack.callback(tracer.close)
        listener = stack.enter_context(listening_socket(config.api_host, config.api_port))
        listeners = [listener]
        if config.api_metrics_port is not None:
            other = listening_socket(config.api_host, config.api_metrics_port, "CONTACTS_API_METRICS_PORT")
            listeners.append(stack.enter_context(other))
            config = replace(config, api_metrics_port=other.getsockname()[1])
        process = f"{socket.gethostname()}:{os.getpid()}"
        connections = raise_file_limit(config.api_connections)
        if connections <= config.live_streams:
            log.warning("at most %d connections: this process may not open more files", connections)
        try:
            app = create_app(config, process=process, tracer=tracer)
        except CoreMissingError as error:
            raise CommandError(str(error)) from None
        server = ReportServer(server_config(app, connections, config.api_metrics_port))
        # uvicorn stops gracefully at these, and then raises them once more for whoever was there before it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        if not config.authenticated:
            log.warning("no authentication: anyone who reaches %s can read everything", config.api_host)
        log.info(
            "API starts: version %s, group %s, Redis %s; the report is at %s",
            VERSION,
            config.group,
            without_password(config.redis),
            address(listener),
        )
        # Nothing of what was imported goes away again, so no collection need look at it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 50)  # a report makes thousands of small containers that hold no cycles
        server.run(sockets=listeners)
    return DONE if server.started else NOT_DONE


def server_config(app: Any, connections: int, metrics_port: int | None) -> uvicorn.Config:
    """The server of an ASGI application: a limited number of connections, but any number at the port of metrics."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=make_guarded_protocol(connections, metrics_port),
        ws="none",
        access_log=False,
        proxy_headers=False,  # who asks, and by which scheme, matters to no answer
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class ReportServer(uvicorn.Server):
    """A server that ends its live streams before it waits for answers under way: they would never end by themselves."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        cast("Litestar", self.config.app).state.hub.close()
        super().handle_exit(sig, frame)


def listening_socket(host: str, port: int, setting: str = "CONTACTS_API_PORT") -> socket.socket:
    """A socket that listens on the address; raises CommandError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise CommandError(f"cannot listen on {host} port {port}: {reason}; {setting} names another") from None


def address(listener: socket.socket) -> str:
    """What a browser on this machine opens."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown if is_loopback(host) else socket.gethostname()}:{port}/"
