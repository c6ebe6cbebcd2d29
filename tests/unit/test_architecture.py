"""The invariants of ARCHITECTURE.md that import-linter cannot see (it sees the others: pyproject.toml)."""

import ast
import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache
def modules(package: str) -> dict[str, ast.Module]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


FOLDERS = {
    "stream": {"agents", "audit", "ingest", "kafka", "model", "projection", "settings", "storage", "tables", "worker"},
    "api": {"activities", "http", "live", "query", "read", "report"},
}
SHARED_WITH_THE_API = {"core", "faults", "ingest", "model", "settings", "slices", "storage", "tracing"}
BESIDE_THE_FOLDERS = {
    "stream": {"causes", "core", "faults", "ports", "retry", "slices", "tracing", "version"},
    "api": {
        "app",
        "cache",
        "direction",
        "documents",
        "errors",
        "formats",
        "health",
        "manual",
        "metrics",
        "openapi",
        "ops",
        "routes",
        "signals",
        "unchanged",
        "wire",
    },
}


def test_every_module_stands_in_a_folder() -> None:
    for package, folders in FOLDERS.items():
        inside = {name.split(".")[1] for name in modules(package) if name != package}
        assert inside == folders | BESIDE_THE_FOLDERS[package]


def test_the_api_knows_nothing_of_counting() -> None:
    used = {name for tree in modules("api").values() for name in imported(tree) if name.startswith("stream.")}
    folders = {name.split(".")[1] for name in used} - {"version"}
    # The exceptions send everything again where keys are missing, and tell of the process (pyproject.toml names them).
    assert folders - {"projection"} <= SHARED_WITH_THE_API
    assert {name for name in used if name.startswith("stream.projection")} <= {
        "stream.projection.lost_keys",
        "stream.projection.lost_keys.report_lost_keys",
        "stream.projection.worker_status",
        "stream.projection.worker_status.ApiStatus",
        "stream.projection.worker_status.LONGEST_SECONDS",
    }


def test_no_import_changes_a_library() -> None:
    """What is replaced in a library is replaced by a function that says so, where it is needed."""
    changes = {
        f"{name}: {ast.unparse(target)}"
        for package in ("stream", "api", "cli")
        for name, tree in modules(package).items()
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute)
    }
    assert changes == set()


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        name
        for package in ("stream", "api", "cli")
        for name, tree in modules(package).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.unparse(node.value) == "os"
    }
    assert readers == {"cli.main"}


OPENS = """
import contextlib, importlib, sys
from pathlib import Path

seen = []

def hook(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    if writes or event in ("socket.connect", "socket.bind", "os.mkdir", "subprocess.Popen", "os.fork"):
        seen.append((event, str(args[:2])))

others, ours = (words.split() for words in sys.argv[1:])
for name in others:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
sys.addaudithook(hook)
for name in ours:
    importlib.import_module(name)
print(*seen, sep="\\n")
"""


@pytest.mark.slow
def test_importing_a_module_opens_nothing() -> None:
    # Given what our modules import from others, imported already (some libraries do open things)
    trees = {name: tree for package in ("stream", "api", "cli") for name, tree in modules(package).items()}
    others = sorted({name for tree in trees.values() for name in imported(tree) if is_module(name)})
    # When each of ours is imported
    command = [sys.executable, "-B", "-c", OPENS, " ".join(others), " ".join(trees)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    # Then no file is written, no folder made, no connection opened and no process started
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == ""


def is_module(name: str) -> bool:
    """Whether the name is a module of someone else's (and no class or function in one)."""
    if name.split(".")[0] in ("stream", "api", "cli", "__future__"):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def test_no_two_files_of_tests_have_one_name() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
