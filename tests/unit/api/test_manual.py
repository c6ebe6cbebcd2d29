"""The documents as pages: nothing of their Markdown is left, and every address within them leads somewhere."""

import re
from html import unescape
from pathlib import Path

import pytest

from api.http.markdown import to_html
from api.manual import documents, page

DOCS = Path(__file__).parents[3] / "docs"
NAMES = sorted(file.stem for file in DOCS.glob("*.md"))


def shown(name: str) -> str:
    html = page(name)
    assert html is not None
    return html.decode()


def test_every_document_is_there() -> None:
    assert [file.stem for file in documents()] == NAMES
    assert page("decisions") is None
    assert page("../README") is None


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_the_markdown_is_left(name: str) -> None:
    words = re.sub(r"<(pre|code)\b.*?</\1>", "", shown(name).partition("<main>")[2], flags=re.DOTALL)
    text = unescape(re.sub(r"<[^>]+>", "", words))

    assert re.findall(r"`|\*\*|\]\(|^#+ |^\||\0", text, re.MULTILINE) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_address_leads_somewhere(name: str) -> None:
    for target in re.findall(r'<a href="([^"]+)"', shown(name)):
        if "://" not in target:
            document, _, anchor = target.partition("#")
            other = shown(document.removesuffix(".md") or name)
            assert not anchor or f'id="{anchor}"' in other, target


def test_headings_links_tables_and_code() -> None:
    text = """# A *title* of `code`
A [link](x.md#y) to [nowhere](../z), and <b>.

| a | `b\\|c` |
| - | - |
| 1 | 2 |

```sh
ls <x>  # **not bold**
```

![A *plot* of y](plots/y.svg)
"""
    html = to_html(text, lambda target: target if target.startswith("x") else None)

    assert '<h1 id="a-title-of-code">A <em>title</em> of <code>code</code></h1>' in html
    assert 'A <a href="x.md#y">link</a> to nowhere, and &lt;b&gt;.' in html
    assert '<div class="table" tabindex="0"><table>' in html
    assert '<th scope="col"><code>b|c</code></th>' in html
    assert '<pre tabindex="0"><code>ls &lt;x&gt;  # **not bold**\n</code></pre>' in html
    assert "<p>A <em>plot</em> of y</p>" in html
