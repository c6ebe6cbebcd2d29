"""Which compiled core a run has. Imports nothing of the product: mutants change modules before these are loaded."""

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

FORM = "SIMULATION_CORE"
"""The variable that says which form counts: see cores.py."""
FILE = "SIMULATION_CORE_FILE"
"""The variable that names the compiled core to load in place of the installed one."""
NAME = "contacts_core"


def load_core_file() -> ModuleType | None:
    """Load the core that FILE names, for this process; None where it names none."""
    path = os.environ.get(FILE)
    if not path or NAME in sys.modules:
        return sys.modules.get(NAME)
    spec = spec_from_loader(NAME, ExtensionFileLoader(NAME, path))
    assert spec is not None
    module = module_from_spec(spec)
    assert spec.loader is not None
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    return module
