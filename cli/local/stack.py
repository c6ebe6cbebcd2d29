"""Everything on one machine: a broker, a Redis, the worker, the API and events, as `./dev run` has it.

Worker and API are the very processes that production runs; only their settings differ.
"""

import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.command import CommandError
from cli.local.broker import NoBroker, broker_command
from cli.local.ports import free_port, listens
from cli.local.redis import NoRedis, redis_binary, redis_command
from cli.local.supervisor import ChildEnded, Supervisor

BROKER_SECONDS = 20.0
REDIS_SECONDS = 20.0
API_SECONDS = 120.0
SAMPLES = Path(__file__).parents[2] / "examples" / "samples" / "feed.py"

EMBEDDED_SETTINGS = {
    # The embedded broker has no transactions, and whatever it holds ends with it.
    "CONTACTS_COMMIT": "embedded",
    "CONTACTS_KAFKA_SECURITY": "plaintext",
    # A join takes half of it there.
    "CONTACTS_SESSION_TIMEOUT_SECONDS": "2",
    "CONTACTS_STOP_TIMEOUT_SECONDS": "3",
}


@dataclass(slots=True)
class LocalStack:
    """What runs, and the environment that its processes get. Call the methods in the order in which they stand here."""

    supervisor: Supervisor
    folder: Path
    environ: dict[str, str]
    embedded_broker: bool = False
    own_redis: bool = False
    own_group: str | None = None
    """Set where the group, and so its keys in Redis, go with this command."""

    def broker(self) -> str:
        """Start the embedded broker, with a group of its own; returns its address."""
        port = free_port()
        address = f"127.0.0.1:{port}"
        try:
            command = broker_command(port)
        except NoBroker as error:
            raise CommandError(f"{error}; set CONTACTS_KAFKA to a broker of Kafka's protocol") from None
        self.supervisor.start("broker", command, _path_alone(self.environ))
        self.supervisor.wait_until(lambda: listens(port), "the broker", BROKER_SECONDS)
        self.own_group = f"embedded-{secrets.token_hex(4)}"
        self.environ |= {"CONTACTS_KAFKA": address, "CONTACTS_GROUP": self.own_group, **EMBEDDED_SETTINGS}
        self.embedded_broker = True
        return address

    def redis(self) -> str:
        """Start a Redis of our own; returns its address and kind."""
        port = free_port()
        try:
            binary = redis_binary()
        except NoRedis as error:
            raise CommandError(f"{error}; set CONTACTS_REDIS to a Redis or Valkey") from None
        self.supervisor.start("redis", redis_command(binary, port, self.folder), _path_alone(self.environ))
        self.supervisor.wait_until(lambda: listens(port), "Redis", REDIS_SECONDS)
        self.environ["CONTACTS_REDIS"] = f"redis://127.0.0.1:{port}/0"
        self.own_redis = True
        return f"127.0.0.1:{port} ({binary.name})"

    def api(self) -> None:
        """Start the API, which needs no topics, and some seconds."""
        self.supervisor.start("api", _python("cli.main", "api"), self.environ)

    def topics(self) -> None:
        """Create the topics. On a broker of someone else's, what differs there is the log's to say, and no obstacle."""
        topics = self.supervisor.start("topics", _python("cli.main", "topics"), self.environ)
        code = self.supervisor.finish(topics)
        if code not in (0, 1):
            lines = "\n".join(topics.last_lines())
            raise ChildEnded(f"the topics could not be created:\n{lines}")

    def worker(self, port: int) -> None:
        environ = {"CONTACTS_DATA_DIR": str(self.folder), **self.environ, "CONTACTS_WORKER_PORT": str(port)}
        self.supervisor.start("worker", _python("cli.main", "worker"), environ)

    def wait_for_api(self, host: str, port: int) -> None:
        """Wait until the API listens; whether the report is there yet is for the page to show."""
        self.supervisor.wait_until(lambda: listens(port, host), "the API", API_SECONDS)

    def events(self, file: str) -> int:
        """Publish every line of a file, broken ones too, its progress shown; returns the exit code of `publish`."""
        publish = self.supervisor.start(
            "publish", _python("cli.main", "publish", "--no-lint", file), self.environ, visible=True
        )
        return self.supervisor.finish(publish)

    def samples(self) -> bool:
        """Publish sample events: a history first, then live ones. False where there are none: they are no part of what
        is installed as a package.
        """
        if not SAMPLES.exists():
            return False
        self.supervisor.start("samples", _python("examples.samples.feed"), self.environ)
        return True


def _python(module: str, *words: str) -> Sequence[str]:
    # -P: a folder `api` where the user happens to be is not our package.
    return [sys.executable, "-P", "-m", module, *words]


def _path_alone(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without variables that a server would take for settings of its own."""
    return {name: environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in environ}
