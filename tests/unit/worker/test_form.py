"""Which form of the counting a worker has, by its setting and by what is installed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from stream.core import INTERFACE, MODULE, CoreChoice
from stream.ports import WorkerMustStop
from stream.settings.worker import WorkerConfig
from stream.storage.keys import Keys
from stream.worker.form import choose_form

KEYS = Keys("group")


def install(monkeypatch: pytest.MonkeyPatch, interface: int | None) -> None:
    """Put a core of this interface in place, or none."""
    core: Any = None
    if interface is not None:
        core = ModuleType(MODULE)
        core.INTERFACE, core.__version__ = interface, "9.9"
    monkeypatch.setitem(sys.modules, MODULE, core)


def test_the_core_counts_wherever_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, INTERFACE)
    form = choose_form(WorkerConfig().core, KEYS)
    assert (form.name, form.why) == ("compiled", "contacts_core 9.9")


def test_where_there_is_none_the_python_form_counts_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    form = choose_form(WorkerConfig().core, KEYS)
    assert form.name == "python"
    without = "the compiled core is not installed (./dev builds it where cargo is)"
    assert form.why == f"{without}; counting takes some 7 times the CPU without it"


def test_a_core_of_another_version_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, INTERFACE + 1)
    form = choose_form(CoreChoice.AUTO, KEYS)
    assert form.name == "python"
    assert f"of another version ({INTERFACE + 1}, not {INTERFACE})" in form.why


@pytest.mark.parametrize("interface", [None, INTERFACE + 1])
def test_where_the_core_is_asked_for_and_not_there_the_worker_stops(
    monkeypatch: pytest.MonkeyPatch, interface: int | None
) -> None:
    install(monkeypatch, interface)
    with pytest.raises(WorkerMustStop, match="CONTACTS_CORE is compiled, and the compiled core"):
        choose_form(CoreChoice.COMPILED, KEYS)


def test_python_counts_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, INTERFACE)
    assert choose_form(CoreChoice.PYTHON, KEYS).name == "python"
