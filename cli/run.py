"""`contacts-report run` (and `./dev run`): everything on this machine, until ctrl-c."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from redis.exceptions import RedisError

from cli.api import listening_socket
from cli.command import DONE, OUTPUT_LOST, WRONG, CommandError
from cli.local.ports import free_port
from cli.local.stack import LocalStack
from cli.local.supervisor import ChildEnded, StopRequested, Supervisor
from cli.options import add_settings, read_settings
from stream.settings.api import ApiConfig
from stream.settings.declare import FILE_VARIABLE, PREFIX, Reading, SettingsError
from stream.settings.redis_words import describe_redis
from stream.settings.worker import ACCESS_SETTINGS, WorkerConfig

SETTINGS = (*ACCESS_SETTINGS, "redis", "topic", "group", "log_level")
LAST_WORDS_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Starts a broker, a Redis, the worker, the API with the page, and a stream of sample events. "
        "With CONTACTS_KAFKA or CONTACTS_REDIS set, that server is used in place of the embedded one."
    )
    parser.add_argument("--port", metavar="N", dest="api_port", help="the port of the API (default: 8080, 0: any free)")
    parser.add_argument("--events", metavar="FILE", help="publish a file of NDJSON, - for standard input; no samples")
    parser.add_argument("--no-samples", action="store_true", help="publish no samples; `--events` implies it")
    add_settings(parser, WorkerConfig, ApiConfig, only=SETTINGS)


def run(args: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run it all; returns DONE after a stop that was asked for, WRONG where a part ended by itself."""
    worker, api = read_settings(WorkerConfig, args, environ), read_settings(ApiConfig, args, environ)
    if worker.problems or api.problems:
        raise SettingsError(list(dict.fromkeys([*worker.problems, *api.problems])))
    config = api.config()
    if args.events not in (None, "-") and not Path(args.events).is_file():
        raise CommandError(f"there is no file {args.events}")
    # Found now, and not after a broker and a Redis were started.
    listening_socket(config.api_host, config.api_port).close()
    port = config.api_port or free_port()
    folder = Path(tempfile.mkdtemp(prefix="contacts-report-"))
    stack: LocalStack | None = None
    code = DONE
    try:
        with Supervisor(folder) as supervisor:
            stack = LocalStack(supervisor, folder, _environ(args, environ, port))
            _start(stack, worker, config.api_host, port)
            _publish(stack, args)
            supervisor.watch()
    except StopRequested:
        print("\nstopped")
    except ChildEnded as error:
        print(f"contacts-report run: {error}\nThe logs are in {folder}", file=sys.stderr)
        code = WRONG
    finally:
        if stack is not None:
            _remove_keys(stack, worker.config().redis)
        if code == DONE:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _environ(args: argparse.Namespace, environ: Mapping[str, str], port: int) -> dict[str, str]:
    """What the parts are configured by: our own environment, flags and file."""
    flags = {PREFIX + name.upper(): getattr(args, name) for name in SETTINGS if getattr(args, name) is not None}
    file = {FILE_VARIABLE: str(Path(args.config).expanduser().resolve())} if args.config else {}
    python = {"PYTHONPATH": _importable(environ), "PYTHONUNBUFFERED": "1"}
    return {**environ, **flags, **file, **python, "CONTACTS_API_PORT": str(port)}


def _importable(environ: Mapping[str, str]) -> str:
    """A PYTHONPATH on which our own packages are, wherever the command is given."""
    paths = [str(Path(__file__).parents[1]), environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)


def _start(stack: LocalStack, worker: Reading[WorkerConfig], host: str, port: int) -> None:
    outside = {value.setting.name: value.shown for value in worker.values if value.origin != "default"}
    _say("broker", f"{outside['kafka']} (yours)" if "kafka" in outside else f"{stack.broker()} (embedded)")
    _say("redis", f"{outside['redis']} (yours)" if "redis" in outside else stack.redis())
    stack.api()
    stack.topics()
    worker_port = int(outside["worker_port"]) if "worker_port" in outside else free_port()
    stack.worker(worker_port)
    _say("worker", f"probes and metrics on port {worker_port}")
    stack.wait_for_api(host, port)
    _say("logs", str(stack.folder))
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    print(f"\nThe report is at http://{shown}:{port}/\n{_last_words(stack)} Ctrl-C stops it.", flush=True)


def _last_words(stack: LocalStack) -> str:
    if stack.embedded_broker:
        return "All state lives and dies with this command."
    return "The counts stay in your Kafka, under your group."


def _publish(stack: LocalStack, args: argparse.Namespace) -> None:
    if args.events is not None:
        code = stack.events(args.events)
        if code not in (DONE, WRONG, OUTPUT_LOST):
            raise ChildEnded("the events could not be published")
    elif not args.no_samples and not stack.samples():
        _say("samples", "none: they come with the repository; --events publishes a file")


def _remove_keys(stack: LocalStack, url: str) -> None:
    """The keys of a group of our own, in a Redis that is not."""
    if stack.own_group is None or stack.own_redis:
        return
    try:
        asyncio.run(_empty(url, stack.own_group))
    except (RedisError, OSError) as error:
        print(
            f"contacts-report run: the keys of {stack.own_group} are still in Redis: {describe_redis(error)}",
            file=sys.stderr,
        )


async def _empty(url: str, group: str) -> None:
    # Seldom needed, and half a second to import.
    from stream.projection.replica import empty
    from stream.settings.redis import redis_client
    from stream.storage.keys import Keys

    async with redis_client(url, timeout_seconds=LAST_WORDS_SECONDS) as client:
        await empty(client, Keys(group))


def _say(name: str, what: str) -> None:
    print(f"{name:<8}{what}", flush=True)
