"""What is installed is what pyproject.toml names, pinned, with hashes, for whatever index there is."""

import re
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED: dict[str, list[str]] = {
    "runtime": PROJECT["project"]["dependencies"],
    **PROJECT["project"]["optional-dependencies"],
    **PROJECT["dependency-groups"],
}


class Pin(NamedTuple):
    requirement: Requirement
    hashes: int


def pins(name: str) -> list[Pin]:
    """The pins of one file of requirements/; several of one package are for different platforms or Pythons."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    return [Pin(Requirement(line.split("--hash")[0]), line.count("--hash=sha256:")) for line in lines]


def load_script() -> ModuleType:
    loader = SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = spec_from_loader("dev_script", loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    return script


def test_each_extra_and_each_group_has_its_file() -> None:
    script = load_script()
    files = sorted(path.stem for path in (ROOT / "requirements").iterdir())
    assert files == sorted(WANTED) == sorted(script.SETS + script.PEERS)


@pytest.mark.parametrize("name", WANTED)
def test_every_dependency_is_pinned_to_a_version_that_it_allows(name: str) -> None:
    found = pins(name)
    for text in WANTED[name]:
        wanted = Requirement(text)
        versions = [
            specifier.version
            for pin in found
            if canonicalize_name(pin.requirement.name) == canonicalize_name(wanted.name)
            for specifier in pin.requirement.specifier
        ]
        assert versions, f"{wanted.name} is not in requirements/{name}.txt: run ./dev lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{text}: {versions}; run ./dev lock"


@pytest.mark.parametrize("name", WANTED)
def test_every_pin_is_exact_and_has_hashes(name: str) -> None:
    for pin in pins(name):
        assert [specifier.operator for specifier in pin.requirement.specifier] == ["=="], pin
        assert pin.hashes, pin


def test_all_files_of_one_environment_pin_a_package_alike() -> None:
    seen: dict[tuple[str, str], set[str]] = {}
    for name in load_script().SETS:
        for pin in pins(name):
            key = (canonicalize_name(pin.requirement.name), str(pin.requirement.marker or ""))
            seen.setdefault(key, set()).add(str(pin.requirement.specifier))
    assert {key: versions for key, versions in seen.items() if len(versions) > 1} == {}


@pytest.mark.parametrize("name", WANTED)
def test_no_file_names_an_address(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links|file:", text) == []
