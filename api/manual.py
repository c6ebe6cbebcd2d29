"""The documents of this version, as pages of the API: `/ops` leads to the runbook's paragraphs, wherever it runs.

They need no token: they tell nothing of any deployment.
"""

from functools import cache
from html import escape
from pathlib import Path

from api.http.markdown import to_html
from api.http.request import Answer, Request
from api.http.static import page_policy

FOLDERS = (Path(__file__).parent / "docs", Path(__file__).parents[1] / "docs")
"""Beside this file where it was installed, beside the package where it runs as it lies in its repository."""

ADDRESS = "/ops/docs/{document:str}"
_CACHING = (b"cache-control", b"no-cache")


def manual(request: Request) -> Answer | None:
    """A document by its name, with or without `.md`; None where there is no such one."""
    html = page(str(request.parameters["document"]).removesuffix(".md"))
    if html is None:
        return None
    return Answer(
        200, [_CACHING, (b"content-security-policy", page_policy(()).encode())], html, "text/html; charset=utf-8"
    )


@cache
def page(name: str) -> bytes | None:
    """A document as HTML; None where there is no such one."""
    file = next((file for file in documents() if file.stem == name), None)
    if file is None:
        return None
    text = file.read_text(encoding="utf-8")
    title = escape(text.partition("\n")[0].removeprefix("# "))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{title}</title><link rel="stylesheet" href="../../page/ops/style.css"></head>'
        f'<body class="manual"><main>\n{to_html(text, _address)}\n</main></body></html>\n'
    ).encode()


@cache
def documents() -> tuple[Path, ...]:
    """The documents that are there."""
    folder = next((folder for folder in FOLDERS if (folder / "runbook.md").is_file()), None)
    return () if folder is None else tuple(sorted(folder.glob("*.md")))


def _address(target: str) -> str | None:
    """Among the documents, or to another server; what lies elsewhere in the repository is not served."""
    if "://" in target or target.startswith("#"):
        return target
    name, _, _ = target.partition("#")
    return target if name in {file.name for file in documents()} else None
