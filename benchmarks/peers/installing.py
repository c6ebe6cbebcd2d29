"""Brings what the peers need into a cache folder of its own: they are no dependencies of the product, and pin other
versions of what it uses.

    ~/.cache/contacts-report/peers/
        python-NAME-DIGEST/      a venv with what requirements/peer-NAME.txt pins
        java-NAME-DIGEST/        jars/ from Maven, classes/ compiled from jobs/
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import say
from tests.support.kafka import KafkaUnavailableError, fetch_jars, jars_folder, java_version

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "benchmarks" / "peers" / "jobs"
MINIMUM_JAVA = 17

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>contacts-report</groupId><artifactId>peer-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""


class UnavailableError(Exception):
    """This machine cannot run a peer; the message says why in one line."""


def peers_folder() -> Path:
    return jars_folder().parent / "peers"


def python_for(name: str) -> Path:
    """The Python of a venv with the pins of a peer, made when it is not there yet. Raises UnavailableError."""
    pins = ROOT / "requirements" / f"peer-{name}.txt"
    where = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    folder = peers_folder() / f"python-{name}-{digest(pins.read_bytes(), where.encode())}"
    if not folder.is_dir():
        say(f"peers: installing {name} for {where}")
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        uv = [sys.executable, "-m", "uv"]
        run([*uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, str(part)], name)
        words = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(pins)]
        run([*uv, "pip", "install", "--python", str(part / "bin" / "python"), *words], name)
        part.rename(folder)
    return folder / "bin" / "python"


def classpath_of(name: str, artifacts: Sequence[str], sources: Sequence[str]) -> str:
    """The class path of a peer: jars of `group:artifact:version` and what they need, and the compiled sources of jobs/.

    Raises UnavailableError without a JDK, or where Maven cannot fetch.
    """
    version = java_version()
    if version is None or shutil.which("javac") is None:
        raise UnavailableError("there is no JDK on PATH")
    if version < MINIMUM_JAVA:
        raise UnavailableError(f"java is {version}, {MINIMUM_JAVA} is needed")
    texts = [(JOBS / source).read_bytes() for source in sources]
    folder = peers_folder() / f"java-{name}-{digest(repr(artifacts).encode(), *texts, str(version).encode())}"
    jars, classes = folder / "jars", folder / "classes"
    if not jars.is_dir():
        say(f"peers: fetching the jars of {name}")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fetch_jars(jars, POM.format(dependencies="\n".join(map(dependency, artifacts))))
        except KafkaUnavailableError as error:
            raise UnavailableError(str(error)) from error
    if not classes.is_dir():
        part = classes.with_suffix(".part")
        paths = [str(JOBS / source) for source in sources]
        run(["javac", "-nowarn", "-cp", f"{jars}/*", "-d", str(part), *paths], name)
        part.rename(classes)
    return f"{classes}:{jars}/*"


def dependency(artifact: str) -> str:
    tags = zip(("groupId", "artifactId", "version"), artifact.split(":"), strict=True)
    return f"    <dependency>{''.join(f'<{tag}>{text}</{tag}>' for tag, text in tags)}</dependency>"


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def run(command: Sequence[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1_800)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UnavailableError(f"{name} cannot be installed: {' '.join(lines[-3:])[:300]}")
