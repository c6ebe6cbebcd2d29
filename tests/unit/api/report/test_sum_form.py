"""Which form of the sums an API has, by its setting and by what is installed; and that it says so."""

import sys
from types import ModuleType
from typing import Any

import pytest

from api.app import create_app
from api.report.form import choose_form
from stream.core import INTERFACE, MODULE, CoreChoice, CoreMissingError
from stream.settings.api import ApiConfig


def install(monkeypatch: pytest.MonkeyPatch, interface: int | None) -> None:
    """Put a core of this interface in place, or none."""
    core: Any = None
    if interface is not None:
        core = ModuleType(MODULE)
        core.INTERFACE, core.__version__ = interface, "9.9"
    monkeypatch.setitem(sys.modules, MODULE, core)


@pytest.mark.parametrize(
    ("choice", "interface", "form", "why"),
    [
        (CoreChoice.AUTO, INTERFACE, "compiled", "contacts_core 9.9"),
        (CoreChoice.COMPILED, INTERFACE, "compiled", "contacts_core 9.9"),
        (CoreChoice.PYTHON, INTERFACE, "python", "CONTACTS_CORE is python"),
        (
            CoreChoice.AUTO,
            None,
            "python",
            "is not installed (./dev builds it where cargo is); reports take several times",
        ),
        (CoreChoice.AUTO, INTERFACE - 1, "python", "of another version"),
    ],
)
def test_an_api_sums_in_the_form_that_is_there_and_says_which(
    monkeypatch: pytest.MonkeyPatch, choice: CoreChoice, interface: int | None, form: str, why: str
) -> None:
    install(monkeypatch, interface)
    found = choose_form(choice)
    assert found.name == form
    assert why in found.why
    text = create_app(ApiConfig(core=choice)).state.metrics.text().decode()
    assert f'contacts_build_info{{core="{form}",version=' in text


@pytest.mark.parametrize("interface", [None, INTERFACE + 1])
def test_where_the_core_is_asked_for_and_not_there_the_api_does_not_start(
    monkeypatch: pytest.MonkeyPatch, interface: int | None
) -> None:
    install(monkeypatch, interface)
    with pytest.raises(CoreMissingError, match="CONTACTS_CORE is compiled, and the compiled core"):
        create_app(ApiConfig(core=CoreChoice.COMPILED))
