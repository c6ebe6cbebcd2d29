"""The documents say what is so: links lead somewhere, commands exist, the example of an event is one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

from cli.main import COMMANDS
from stream.ingest.event import EventRules, parse
from stream.model.activity import ContactActivity

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def named(documents: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in documents]


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named(DOCUMENTS))
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def shell_lines() -> Iterator[tuple[str, str]]:
    for document in (ROOT / "README.md", ROOT / "docs/operations.md"):
        text = document.read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for line in [*"\n".join(blocks).splitlines(), *re.findall(r"`((?:\./dev|contacts-report) [^`]*)`", text)]:
            yield str(document.relative_to(ROOT)), line.split(" #")[0]


def test_every_command_that_is_named_exists() -> None:
    loader = SourceFileLoader("dev_script", str(ROOT / "dev"))
    spec = spec_from_loader("dev_script", loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)
    known = {"./dev": {*script.COMMANDS, "--help"}, "contacts-report": set(COMMANDS)}
    unknown = [
        (document, program, word)
        for document, line in shell_lines()
        for program, word in re.findall(r"(\./dev|contacts-report) ([\w-]+)", line)
        if word not in known[program]
    ]
    assert unknown == []


@dataclass(frozen=True)
class Published:
    value: bytes
    offset: int = 0
    timestamp: int = 0
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def test_the_event_of_the_readme_is_counted() -> None:
    [example] = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    counted = parse(Published(example.encode(), timestamp=1_795_400_000_000), EventRules())
    assert isinstance(counted, ContactActivity)
    assert (counted.workspace_id, counted.source, counted.user_name) == ("w_1042", "contact_import", "Grace Hopper")


DECISIONS = sorted(document for document in (ROOT / "docs/decisions").glob("0*.md"))


def test_every_decision_says_its_date_its_status_its_context_and_what_would_change_it() -> None:
    for document in DECISIONS:
        text = document.read_text(encoding="utf-8")
        number = int(document.name.split("-")[0])
        assert text.startswith(f"# {number}. "), document.name
        assert re.search(r"^2[0-9]{3}-[0-9]{2}-[0-9]{2} · (accepted|replaced by [0-9]+)$", text, re.MULTILINE), (
            document.name
        )
        assert re.search(r"^\*\*Context\.\*\*", text, re.MULTILINE), document.name
        assert "would change" in text, document.name


def test_decisions_are_numbered_without_holes_and_listed() -> None:
    assert [int(document.name[:4]) for document in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((0[^)]*\.md)\)", index) == [document.name for document in DECISIONS]


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_./-]+\.(?:py|lua|css|yml|md))`", text))
    missing = {name for name in named if not any((ROOT / folder / name).is_file() for folder in ("", "stream", "api"))}
    assert len(named) > 20
    assert missing == set()
