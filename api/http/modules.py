"""Joins the ES modules that the first view needs into one file.

A module of the page is a file of one subject; for a browser each file is a request before the first number. So the
entry and all that it imports by name come as one file, in the order in which a browser would run them, and every other
module imports from that file. The modules also run as they lie in their folder. What they must keep to is held by
`tests/unit/api/test_page_modules.py`: imports by name without renaming, no circle, no name twice on the top level.
"""

import re
from collections.abc import Iterable
from pathlib import Path

ENTRY = "main.js"

_IMPORT = re.compile(r"^import (?:\{ ([^}]*) \}|(\* as \w+)) from '\./([\w-]+\.js)';\n", re.MULTILINE)


def imports(content: str) -> list[tuple[str, frozenset[str]]]:
    """The modules that a module imports, in order, and the names it takes; `* as x` is the whole of a module."""
    return [
        (module, frozenset(names.split(", ") if names else [whole]))
        for names, whole, module in _IMPORT.findall(content)
    ]


def list_joined_modules(folder: Path) -> list[str]:
    """The modules that become one file, in the order in which they run: none where there is no entry. A module that
    another imports as a whole stays a file of its own."""
    apart = {
        module
        for file in folder.glob("*.js")
        for module, names in imports(file.read_text())
        if any(name.startswith("*") for name in names)
    }
    order: list[str] = []

    def visit(module: str, above: tuple[str, ...]) -> None:
        if module in order or module in above or module in apart:
            return
        for imported, _ in imports((folder / module).read_text()):
            visit(imported, (*above, module))
        order.append(module)

    if (folder / ENTRY).is_file():
        visit(ENTRY, ())
    return order


def read_module(file: Path) -> bytes:
    """A module as a browser gets it: the entry with all that is joined to it, another one with its imports from there,
    and a module that is joined as another name of the entry."""
    joined = list_joined_modules(file.parent)
    if file.name == ENTRY:
        contents = [(file.parent / module).read_text() for module in joined]
    elif file.name in joined:
        return f"export * from './{ENTRY}';\n".encode()
    else:
        contents = [file.read_text()]
    taken: dict[str, set[str]] = {}
    for content in contents:
        for module, names in imports(content):
            source = ENTRY if module in joined else module
            if source != file.name:
                taken.setdefault(source, set()).update(names)
    head = "".join(_import(module, names) for module, names in sorted(taken.items()))
    return (head + "\n".join(_IMPORT.sub("", content) for content in contents)).encode()


def _import(module: str, names: Iterable[str]) -> str:
    whole = [name for name in names if name.startswith("*")]
    single = sorted(set(names) - set(whole))
    clauses = [*whole, *(["{ " + ", ".join(single) + " }"] if single else [])]
    return "".join(f"import {clause} from './{module}';\n" for clause in clauses)
