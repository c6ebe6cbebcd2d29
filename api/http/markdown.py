"""The Markdown that docs/ is written in, as HTML: headings, paragraphs, lists, tables, code, bold, links.

No more than that: `tests/unit/api/test_manual.py` holds the documents to it. All else is shown as it was written.
"""

import re
from collections.abc import Callable, Iterator
from html import escape

_ITEM = re.compile(r"^(?:-|\d+\.) ")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*([^*\s][^*]*?)\*(?![\w*])")
_IN_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)

Address = Callable[[str], str | None]
"""What a link leads to -> where it leads to here; None: nowhere, and its text stands alone."""


def anchor(heading: str) -> str:
    """The name of a heading in addresses, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def to_html(text: str, address: Address) -> str:
    """The body of a document."""
    return "\n".join(_blocks(text.splitlines(), address))


def _blocks(lines: list[str], address: Address) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line, begins = lines[at], at
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            at = _until(lines, at + 1, lambda one: one.startswith("```"))
            yield f'<pre tabindex="0"><code>{escape(chr(10).join(lines[begins + 1 : at]))}</code></pre>'
            at += 1
        elif heading := re.match(r"(#{1,4}) (.+)", line):
            level = len(heading[1])
            yield f'<h{level} id="{escape(anchor(heading[2]))}">{_inline(heading[2], address)}</h{level}>'
            at += 1
        elif line.startswith("|"):
            at = _until(lines, at, lambda one: not one.startswith("|"))
            yield _table(lines[begins:at], address)
        elif _ITEM.match(line):
            at = _until(lines, at, lambda one: not one.strip() or one.startswith(("|", "```", "#")))
            yield _list(lines[begins:at], address)
        else:
            at = _until(
                lines, at, lambda one: not one.strip() or one.startswith(("|", "```", "#")) or bool(_ITEM.match(one))
            )
            yield f"<p>{_inline(' '.join(lines[begins:at]), address)}</p>"


def _until(lines: list[str], at: int, ends: Callable[[str], bool]) -> int:
    """The number of the first line from `at` on that ends what was begun, or of the end."""
    return next((number for number in range(at, len(lines)) if ends(lines[number])), len(lines))


def _list(lines: list[str], address: Address) -> str:
    items: list[str] = []
    for line in lines:
        if _ITEM.match(line):
            items.append(_ITEM.sub("", line))
        else:
            items[-1] += " " + line.strip()
    kind, first = "ul" if lines[0].startswith("-") else "ol", lines[0].partition(".")[0]
    start = f' start="{first}"' if kind == "ol" and first != "1" else ""
    return f"<{kind}{start}>{''.join(f'<li>{_inline(item, address)}</li>' for item in items)}</{kind}>"


def _table(lines: list[str], address: Address) -> str:
    """A table scrolls by itself where the window is narrow, with the keyboard too."""
    head, _, *rows = ([_inline(cell.strip(), address) for cell in _cells(line)] for line in lines)
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="table" tabindex="0"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(line: str) -> list[str]:
    """`|` within code, or after a backslash, ends no cell."""
    hidden = _IN_CODE.sub(lambda code: code[0].replace("|", "\0"), line.strip().removeprefix("|").removesuffix("|"))
    return [cell.replace("\0", "|").replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", hidden)]


def _inline(text: str, address: Address) -> str:
    """Nothing within code means anything else."""
    codes = [f"<code>{escape(code[2].strip())}</code>" for code in _IN_CODE.finditer(text)]
    shown = escape(_IN_CODE.sub("\0", text), quote=False)
    shown = _LINK.sub(lambda link: _link(link[1], link[2], address), shown)
    shown = _EMPHASIS.sub(r"<em>\1</em>", _BOLD.sub(r"<strong>\1</strong>", shown))
    for code in codes:
        shown = shown.replace("\0", code, 1)
    return shown


def _link(text: str, target: str, address: Address) -> str:
    here = address(target)
    return text if here is None else f'<a href="{escape(here)}">{text}</a>'
