"""Reads a text as one JSON object, to the letter of the standard.

The standard library's parser without its liberties. It decides where the fast decoder stumbles.
"""

import json
import re
from typing import Any, Final, NoReturn

NESTING_LIMIT: Final = 512
"""Arrays and objects within each other, counted from the outermost.

A limit of our own, well below what the parsers bear (about 1,000 less the depth of the calling code): so a record gets
the same verdict wherever in the program, and on whichever Python, it is read.
"""

LENGTH_OF_DEEP_NESTING: Final = 2 * NESTING_LIMIT
"""Bytes that deeper nesting takes at least: each level has an opening and a closing one."""

INTEGER_DIGITS: Final = 128
"""Digits that an integer may have to stay one. Longer ones come back as floats, which are no id of anything."""


class NotJsonError(ValueError):
    """The text is no JSON object; the message says why, for the publisher."""


def read_object(payload: bytes) -> dict[str, Any]:
    """Read one JSON object in UTF-8. The last of duplicate keys wins.

    Raises NotJsonError for invalid UTF-8, anything but one object, NaN and Infinity, nesting beyond the limit, and
    surrogates without their other half, wherever they are: also in what is not used, or lost to a duplicate.
    """
    try:
        text = payload.decode()
        document = _DECODER.decode(text)
    except UnicodeDecodeError as fault:
        raise NotJsonError(f"the value is not UTF-8 (byte {fault.start} after any frame and byte order mark)") from None
    except RecursionError:
        raise NotJsonError(_TOO_DEEP) from None
    except ValueError as fault:
        raise NotJsonError(f"the value is not JSON: {fault}") from None
    if not isinstance(document, dict):
        raise NotJsonError("the value is JSON, but no object")
    if may_be_nested_deeply(payload) and _depth(text) > NESTING_LIMIT:
        raise NotJsonError(_TOO_DEEP)
    if any(escape["lone"] for escape in _ESCAPES.finditer(text)):
        raise NotJsonError("the value has an escaped surrogate without its other half")
    return document


def may_be_nested_deeply(payload: bytes) -> bool:
    """Whether the text could go beyond the nesting limit: cheap, and certain when it says no."""
    return len(payload) > LENGTH_OF_DEEP_NESTING and payload.count(b"[") + payload.count(b"{") > NESTING_LIMIT


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits.lstrip("-")) <= INTEGER_DIGITS else float(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _depth(text: str) -> int:
    """The deepest nesting of a text that is known to be JSON (so that every string in it ends)."""
    depth = deepest = 0
    for token in _BRACKETS.finditer(text):
        if token[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token[0] in "]}":
            depth -= 1
    return deepest


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse)
_TOO_DEEP: Final = f"the value is nested deeper than {NESTING_LIMIT} levels"
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')
# Read from left to right, so that an escaped backslash never lends its second half to the letters after it.
_ESCAPES: Final = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u(?P<lone>[dD][89a-fA-F]..)|.)")
