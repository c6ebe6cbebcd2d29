"""The Markdown that docs/ is written in, as HTML: CommonMark with tables, as markdown-it-py reads it."""

import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

Address = Callable[[str], str | None]
"""What a link leads to -> where it leads to here; None: nowhere, and its text stands alone."""


def anchor(heading: str) -> str:
    """The name of a heading in addresses, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def to_html(text: str, address: Address) -> str:
    """The body of a document. HTML within it is shown as it was written."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("table_open", _open_table)
    reader.add_render_rule("table_close", lambda *_: "</table></div>\n")
    reader.add_render_rule("fence", _render_code)
    tokens = reader.parse(text)
    for token, following in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", anchor(re.sub(r"[*`]", "", following.content)))
        elif token.type == "th_open":
            token.attrSet("scope", "col")
        elif token.type == "inline" and token.children:
            token.children = _lead(token.children, address)
    html: str = reader.renderer.render(tokens, reader.options, {})
    return html


def _open_table(*_: object) -> str:
    """A table scrolls by itself where the window is narrow, with the keyboard too."""
    return '<div class="table" tabindex="0"><table>\n'


def _render_code(_: object, tokens: Sequence[Token], at: int, *_more: object) -> str:
    return f'<pre tabindex="0"><code>{escape(tokens[at].content)}</code></pre>\n'


def _lead(tokens: list[Token], address: Address) -> list[Token]:
    """Give each link its address here; one that leads nowhere is its text, and so is a picture: none is served."""
    kept: list[Token] = []
    here: str | None = None
    for token in tokens:
        if token.type == "link_open":
            here = address(str(token.attrs["href"]))
            if here is not None:
                token.attrs["href"] = here
        if token.type == "image":
            kept += token.children or []
        elif token.type not in ("link_open", "link_close") or here is not None:
            kept.append(token)
    return kept
