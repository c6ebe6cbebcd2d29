"""The invariants of ARCHITECTURE.md that import-linter cannot see (it sees the others: pyproject.toml)."""

import ast
import importlib.util
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
}
PURE: set[str] = set(CONTRACTS["pure"]["source_modules"])
NOT_FOR_THE_API: set[str] = set(CONTRACTS["api"]["forbidden_modules"])
# Without Faust and without state, though not pure.
SHARED_BY_BOTH = {"stream.logs", "stream.projection.lost_keys", "stream.redis_client"}


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


def test_the_api_imports_only_what_is_listed_for_it() -> None:
    stream = set(modules("stream"))
    used = {name for tree in modules("api").values() for name in imported(tree) if name in stream}
    assert used - PURE - SHARED_BY_BOTH - {"stream", "stream.tables", "stream.projection"} == set()


def test_every_module_of_the_worker_is_either_for_the_api_or_not() -> None:
    listed = PURE | SHARED_BY_BOTH | NOT_FOR_THE_API | {"stream.ports"}
    missing = {
        name
        for name in modules("stream")
        if name not in listed and not any(name.startswith(f"{other}.") for other in NOT_FOR_THE_API)
    }
    assert missing - {"stream", "stream.tables", "stream.projection"} == set(), (
        "list it in pyproject.toml, one way or other"
    )


def test_the_environment_is_read_in_one_place() -> None:
    readers = {
        name
        for package in ("stream", "api", "cli")
        for name, tree in modules(package).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") and ast.unparse(node.value) == "os"
    }
    # The samples are a process of their own, which `run` starts.
    assert readers == {"cli.main", "cli.local.samples"}


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
