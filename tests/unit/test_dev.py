"""The script `dev`: what it makes, what it says, and that the second time costs nothing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow  # pip takes ten seconds for nothing

ROOT = Path(__file__).parents[2]
OFFLINE = {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def load(path: Path) -> ModuleType:
    loader = SourceFileLoader("dev_script", str(path))
    spec = spec_from_loader("dev_script", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with one wheel, of a package that nobody else has."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = "contacts_tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "contacts_tiny-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("contacts_tiny.py", "ANSWER = 42\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: contacts-tiny\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", f"contacts_tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return folder


@pytest.fixture
def project(tmp_path: Path, wheels: Path) -> Path:
    """A folder with the script, and requirements that one wheel beside it satisfies."""
    folder = tmp_path / "a project"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "dev", folder / "dev")
    for package in ("stream", "cli"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("")
    (folder / "cli" / "main.py").write_text("import sys, contacts_tiny, stream\nprint('ran', *sys.argv[1:])\n")
    for name in load(ROOT / "dev").SETS:
        pin(folder, name, wheels)
    return folder


def pin(project: Path, name: str, wheels: Path) -> None:
    [wheel] = wheels.iterdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (project / "requirements" / f"{name}.txt").write_text(f"contacts-tiny==1.0 \\\n    --hash=sha256:{digest}\n")


def dev(project: Path, wheels: Path, *words: str, path: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    # What this run of the tests requires is not what a test asks of its own project.
    found = {"PIP_FIND_LINKS": wheels.as_uri(), "UV_FIND_LINKS": str(wheels), "PATH": path, "REQUIRE": ""}
    command = [sys.executable, str(project / "dev"), *words]
    return subprocess.run(
        command, env=os.environ | OFFLINE | found | environ, capture_output=True, text=True, timeout=300
    )


def path_with(tool: str, tmp_path: Path) -> str:
    """A PATH with uv and nothing else of ours, or with neither. What uv does takes a second, what pip does ten."""
    if tool == "pip":
        return "/usr/bin:/bin"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("needs uv")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(uv)
    return f"{tmp_path / 'bin'}:/usr/bin:/bin"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return path_with("uv", tmp_path)


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_first_time_installs_and_the_second_only_runs(
    project: Path, wheels: Path, tmp_path: Path, tool: str
) -> None:
    # Given a fresh folder, with or without uv on PATH
    path = path_with(tool, tmp_path)
    # When the same command is given twice
    first = dev(project, wheels, "run", "--port", "1", path=path)
    second = dev(project, wheels, "run", "--port", "2", path=path)
    # Then the first says what it does, and both end in the command itself
    assert (first.returncode, first.stdout) == (0, "ran run --port 1\n"), first.stderr
    assert [line for line in first.stderr.splitlines() if line.startswith("dev: installing")] == [
        "dev: installing 1 packages (runtime)",
        "dev: installing 1 packages (embedded)",
    ]
    assert (second.returncode, second.stdout, second.stderr) == (0, "ran run --port 2\n", "")
    # And the script in bin is made too
    assert (project / ".venv/bin/contacts-report").read_text().endswith("sys.exit(main())\n")


def test_changed_pins_are_installed_again(project: Path, wheels: Path, path: str) -> None:
    assert dev(project, wheels, "run", path=path).returncode == 0
    with (project / "requirements/embedded.txt").open("a") as pins:
        pins.write("# moved\n")
    again = dev(project, wheels, "run", path=path)
    assert "dev: installing 1 packages (embedded)" in again.stderr
    assert "(runtime)" not in again.stderr


@pytest.mark.parametrize("there", [["venv", "pip"], ["virtualenv"]])
def test_a_python_without_ensurepip_uses_what_it_has(
    project: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, there: list[str]
) -> None:
    if "virtualenv" in there:
        pytest.importorskip("virtualenv")
    for name, text in (OFFLINE | {"PIP_FIND_LINKS": wheels.as_uri(), "PATH": "/usr/bin:/bin"}).items():
        monkeypatch.setenv(name, text)
    script = load(project / "dev")
    monkeypatch.setattr(script, "has_module", lambda name: name in there)
    script.install(("runtime",))
    assert list(json.loads((project / ".venv/installed.json").read_text())) == ["runtime"]


def test_a_python_without_anything_is_told_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    script = load(project / "dev")
    monkeypatch.setattr(script, "has_module", lambda name: name == "venv")
    with pytest.raises(script.Failed) as raised:
        script.install(("runtime",))
    assert str(raised.value) == (
        "neither uv, nor pip, nor ensurepip is there; install uv, or on Debian and Ubuntu: apt install python3-venv"
    )


def test_a_package_without_a_wheel_is_named_with_the_platform(project: Path, wheels: Path, path: str) -> None:
    # Given pins of something that no index has
    (project / "requirements/runtime.txt").write_text(f"contacts-huge==9 --hash=sha256:{'0' * 64}\n")
    # When the command is given
    result = dev(project, wheels, "run", path=path)
    # Then one line says what is missing, for what
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("dev: there is no wheel of contacts-huge")
    assert "Traceback" not in result.stderr


def test_what_is_optional_may_be_missing(project: Path, wheels: Path, path: str) -> None:
    (project / "requirements/embedded.txt").write_text(f"contacts-huge==9 --hash=sha256:{'0' * 64}\n")
    first = dev(project, wheels, "run", path=path)
    assert (first.returncode, first.stdout) == (0, "ran run\n")
    assert "dev: there is no wheel of contacts-huge" in first.stderr
    # And it is not tried again as long as the pins stay
    assert dev(project, wheels, "run", path=path).stderr == ""


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_without_a_network_one_line_says_so(project: Path, wheels: Path, tmp_path: Path, tool: str) -> None:
    # Given an index at a port where nothing listens
    path = path_with(tool, tmp_path)
    nowhere = "http://127.0.0.1:9/simple"
    environ = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": nowhere, "PIP_RETRIES": "1", "PIP_FIND_LINKS": ""}
    environ |= {"UV_NO_INDEX": "0", "UV_DEFAULT_INDEX": nowhere, "UV_HTTP_RETRIES": "0"}
    environ |= {"UV_FIND_LINKS": "", "UV_NO_CACHE": "1"}
    # When the command is given for the first time
    result = dev(project, wheels, "run", path=path, **environ)
    # Then
    assert result.returncode == 1
    assert "dev: the package index cannot be reached; the first start needs the network\n" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_python_that_is_gone_is_replaced(project: Path, wheels: Path, path: str) -> None:
    assert dev(project, wheels, "run", path=path).returncode == 0
    (project / ".venv/bin/python").unlink()
    result = dev(project, wheels, "run", path=path)
    assert (result.returncode, result.stdout) == (0, "ran run\n")
    assert "dev: .venv is of no use (its Python is gone or too old): making it anew" in result.stderr


def test_an_older_python_says_which_one_is_needed() -> None:
    # Given an older Python, or this one taken for one
    older = next((found for name in ("python3.10", "python3.9") if (found := runnable(name))), None)
    if older is not None:
        command = [older, str(ROOT / "dev"), "run"]
    else:
        text = "import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path({!r}, run_name='__main__')"
        command = [sys.executable, "-c", text.format(str(ROOT / "dev"))]
    # When it is given the script, then one line says what is needed
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("dev: Python 3.11 or newer is needed, this is 3.")
    assert result.stderr.count("\n") == 1


def runnable(name: str) -> str | None:
    found = shutil.which(name)
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
        return None
    return found


def test_an_unknown_command_names_those_that_there_are(project: Path, wheels: Path, path: str) -> None:
    result = dev(project, wheels, "rnu", path=path)
    assert result.returncode == 1
    assert result.stderr == (
        "dev: there is no command 'rnu'; there are run, test, check, bench, simulate, faults, docs, install, wheel, "
        "lock\n"
    )


def test_without_a_cargo_the_python_form_counts_and_run_says_so(project: Path, wheels: Path, path: str) -> None:
    # Given the core's sources, and no cargo, or one that cannot build them
    (project / "core").mkdir()
    (project / "core/Cargo.toml").write_text("[package]\n")
    told = "dev: the Python form counts, at some 7 times the CPU an event: "
    without = dev(project, wheels, "run", path=path)
    cargo = project / "tools" / "cargo"
    cargo.parent.mkdir()
    cargo.write_text("#!/bin/sh\necho 'error: rustc 1.63 is too old' >&2\nexit 1\n")
    cargo.chmod(0o755)
    old = dev(project, wheels, "run", path=f"{cargo.parent}:{path}")
    # Then everything works, and one line says why and what is slower
    assert (without.returncode, old.returncode) == (0, 0)
    assert without.stderr.splitlines()[-1] == told + "there is no cargo on PATH to build the compiled core with"
    why = "cargo could not build the compiled core: error: rustc 1.63 is too old"
    assert old.stderr.splitlines()[-1] == told + why
    # And where the core is promised, that is a failure
    required = dev(project, wheels, "run", path=f"{cargo.parent}:{path}", REQUIRE="kafka,core")
    assert (required.returncode, required.stderr) == (1, f"dev: REQUIRE names the core, but {why}\n")
