"""What is installed as a package is whole: the script of Redis, the page, and the command."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stream.version import VERSION

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [file] = folder.iterdir()
    assert file.name == f"contacts_report-{VERSION}-py3-none-any.whl"
    return zipfile.ZipFile(file)


def test_every_file_of_the_packages_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "stream", "api", "cli"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert set(listed.stdout.split()) - set(wheel.namelist()) == set()
    assert {"stream/projection/replica.lua", "api/page/index.html"} <= set(wheel.namelist())
    assert {f"api/docs/{file.name}" for file in ROOT.glob("docs/*.md")} <= set(wheel.namelist())
    assert {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" not in name} == {"stream", "api", "cli"}


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    [entry_points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert wheel.read(entry_points).decode() == "[console_scripts]\ncontacts-report = cli.main:main\n"
