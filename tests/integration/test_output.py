"""What becomes of a command whose output goes nowhere: all of its work is done, or it ends non-zero."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cli.command import DONE, OUTPUT_LOST, WRONG
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
MAIN = [sys.executable, "-P", "-m", "cli.main"]
DEV = [sys.executable, str(ROOT / "dev")]
STDOUT, STDERR = 1, 2
LOST = ["a pipe that is closed", "a full disk", "closed"]

GOOD = {"id": "e1", "type": "contact.added", "workspace_id": "w", "contact_id": "c"}


@contextmanager
def losing(words: list[str], stream: int, how: str) -> Iterator["subprocess.Popen[str]"]:
    """A command one of whose standard streams goes nowhere; the other comes here."""
    if how == "closed":
        words = ["sh", "-c", f'exec "$@" {stream}>&-', "sh", *words]
    ends = list(os.pipe()) if how == "a pipe that is closed" else []
    nowhere = ends[1] if ends else os.open("/dev/full", os.O_WRONLY)
    if ends:
        os.close(ends[0])
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=nowhere if stream == STDOUT else subprocess.PIPE,
        stderr=nowhere if stream == STDERR else subprocess.PIPE,
        text=True,
        env=environ,
        cwd=ROOT,
    )
    os.close(nowhere)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_losing(words: list[str], stream: int, how: str) -> tuple[int, str]:
    """The exit code, and what the other stream said."""
    with losing(words, stream, how) as process:
        said = process.communicate(timeout=60)
        return process.returncode, said[0] if stream == STDERR else said[1]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """One good event between two lines that are none."""
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(["{", json.dumps({**GOOD, "occurred_at": "2026-01-01T00:00:00Z"}), "[]"]))
    return file


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["publish", "--help"],
        ["config"],
        ["config", "--json"],
    ],
    ids=" ".join,
)
def test_who_only_prints_and_cannot_ends_non_zero(words: list[str], how: str) -> None:
    code, said = run_losing([*MAIN, *words], STDOUT, how)

    assert code == OUTPUT_LOST
    told = {"a full disk": "No space left on device", "closed": "Bad file descriptor"}
    assert said == (f"The output could not be written: {told[how]}\n" if how in told else "")


@pytest.mark.parametrize("how", LOST)
def test_a_token_that_was_not_printed_is_no_success(tmp_path: Path, how: str) -> None:
    file = tmp_path / "tokens"
    words = [*MAIN, "token", "new", "--all-workspaces", "--tokens-file", str(file)]

    code, _ = run_losing(words, STDOUT, how)

    assert code == OUTPUT_LOST
    for line in file.read_text().splitlines():  # and nothing else was written into the file
        assert json.loads(line)["workspaces"] == "*"


@pytest.mark.parametrize("how", LOST)
def test_a_token_is_made_whole_where_only_remarks_are_lost(tmp_path: Path, how: str) -> None:
    file = tmp_path / "tokens"

    code, said = run_losing([*MAIN, "token", "new", "--all-workspaces", "--tokens-file", str(file)], STDERR, how)

    assert code == DONE
    assert said.startswith("crt_")
    assert [json.loads(line)["workspaces"] for line in file.read_text().splitlines()] == ["*"]


@pytest.mark.parametrize("how", LOST)
def test_a_file_is_checked_to_its_end_though_nobody_hears_of_its_bad_lines(events: Path, how: str) -> None:
    code, said = run_losing([*MAIN, "publish", "--dry-run", str(events)], STDERR, how)

    assert (code, said) == (WRONG, "1 event good, 2 bad; nothing was published\n")


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("stream", [STDOUT, STDERR])
@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_process_that_serves_goes_on(name: str, stream: int, how: str, tmp_path: Path) -> None:
    """Also where its log is lost. Neither Kafka nor Redis is there, which the worker waits for and says."""
    port = free_port()
    settings = {
        "CONTACTS_KAFKA": f"127.0.0.1:{free_port()}",
        "CONTACTS_REDIS": f"redis://127.0.0.1:{free_port()}",
        "CONTACTS_API_PORT": str(port),
        "CONTACTS_WORKER_PORT": str(port),
        "CONTACTS_DATA_DIR": str(tmp_path),
    }
    words = ["env", *(f"{key}={value}" for key, value in settings.items()), *MAIN, name]

    with losing(words, stream, how) as process:
        answered = 0
        until = time.monotonic() + 60
        while answered != 200 and time.monotonic() < until and process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
                answered = answer.status
            time.sleep(0.1)
        assert answered == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == DONE


@pytest.mark.parametrize("how", LOST)
def test_the_script_of_developers_does_not_call_it_success_either(how: str) -> None:
    code, _ = run_losing([*DEV, "help"], STDOUT, how)

    assert code == 1


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("module", ["benchmarks", "tests.simulation", "tests.faults"])
def test_what_measures_and_proves_is_held_to_the_same(module: str, how: str) -> None:
    code, _ = run_losing(
        [sys.executable, "-m", module, *(["--help"] if module != "benchmarks" else ["none"])], STDOUT, how
    )

    assert code == (2 if module == "benchmarks" else OUTPUT_LOST)  # there is no such benchmark: it prints nothing
