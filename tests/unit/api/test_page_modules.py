"""The page's modules: one subject each, imports in one direction, and as one file what the first view needs."""

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from api.http.modules import ENTRY, imports, list_joined_modules, read_module
from api.http.static import PAGE

MAX_LINES = 415
OPS = PAGE / "ops"
MODULES = sorted(PAGE.glob("*.js"))
ALL = [*MODULES, *sorted(OPS.glob("*.js"))]
TOP_LEVEL = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)


def test_a_module_is_short() -> None:
    assert {file.name: count for file in ALL if (count := len(file.read_text().splitlines())) > MAX_LINES} == {}


@pytest.mark.parametrize("folder", [PAGE, OPS], ids=["report", "ops"])
def test_no_module_imports_back_up(folder: Path) -> None:
    """Also where it is loaded later. The order names what each module may build on, from the lowest up."""
    modules = sorted(folder.glob("*.js"))
    above = {file.name: {module for module, _ in imports(file.read_text())} for file in modules}
    for file in modules:
        code = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        above[file.name] |= set(re.findall(r"import\('\./([\w-]+\.js)'\)", code))

    order: list[str] = []
    while rest := [name for name in above if name not in order]:
        free = [name for name in rest if above[name] <= set(order)]
        assert free, f"a circle among {rest}"
        order += free


def test_every_import_can_be_joined() -> None:
    """By name, without renaming, one line each; nothing is exported that has no name."""
    for file in ALL:
        code = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        assert len(re.findall(r"^import ", code, re.MULTILINE)) == len(imports(file.read_text())), file.name
        assert not re.search(r"^import \{[^}]* as |^export (?:default|\{ |\*)", code, re.MULTILINE), file.name
        for module, names in imports(file.read_text()):
            exported = re.findall(
                r"^export (?:async )?(?:function|class|const|let) (\w+)",
                (file.parent / module).read_text(),
                re.MULTILINE,
            )
            assert {name for name in names if not name.startswith("*")} <= set(exported), (file.name, module)


@pytest.mark.parametrize("folder", [PAGE, OPS], ids=["report", "ops"])
def test_joined_modules_have_no_name_twice(folder: Path) -> None:
    names = Counter(
        name for module in list_joined_modules(folder) for name in TOP_LEVEL.findall((folder / module).read_text())
    )

    assert [name for name, count in names.items() if count > 1] == []


def test_what_the_first_view_needs_is_one_file_in_the_order_in_which_it_runs() -> None:
    joined = list_joined_modules(PAGE)
    page = read_module(PAGE / ENTRY).decode()

    assert joined[-1] == ENTRY
    assert {"elements.js", "chart.js", "live.js", "visit.js"} <= set(joined)
    assert not {"choosers.js", "guides.js", "export.js", "words.js", "types.js"} & set(joined)
    assert [module for module, _ in imports(page)] == ["words.js", "words.js"]
    heads = [page.index((PAGE / module).read_text().splitlines()[0]) for module in joined if module != "line.js"]
    assert heads == sorted(heads)


def test_other_modules_import_from_that_file(tmp_path: Path) -> None:
    (tmp_path / "main.js").write_text("import { b } from './b.js';\nimport * as w from './w.js';\n\nb(w);\n")
    (tmp_path / "b.js").write_text("import { t } from './w.js';\n\nexport const b = () => t;\nexport const c = 1;\n")
    (tmp_path / "w.js").write_text("export const t = 'words';\n")
    (tmp_path / "later.js").write_text("import { b } from './b.js';\nimport { t } from './w.js';\n\nb(t);\n")

    served = {name: read_module(tmp_path / name).decode() for name in ("main.js", "b.js", "w.js", "later.js")}

    assert served == {
        "main.js": "import * as w from './w.js';\nimport { t } from './w.js';\n"
        "\nexport const b = () => t;\nexport const c = 1;\n\n\nb(w);\n",
        "b.js": "export * from './main.js';\n",
        "w.js": "export const t = 'words';\n",
        "later.js": "import { b } from './main.js';\nimport { t } from './w.js';\n\nb(t);\n",
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="node reads modules without running them")
@pytest.mark.parametrize("file", ALL, ids=[str(file.relative_to(PAGE)) for file in ALL])
def test_what_is_served_is_a_module(tmp_path: Path, file: Path) -> None:
    module = tmp_path / f"{file.stem}.mjs"
    module.write_bytes(read_module(file))

    subprocess.run(["node", "--check", module], check=True, capture_output=True)
