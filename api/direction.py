"""Marks of direction in a text: those that it opens end with it, so that they turn nothing behind it."""

import re

_OPENS = dict.fromkeys("\u202a\u202b\u202d\u202e", "\u202c") | dict.fromkeys("\u2066\u2067\u2068", "\u2069")
"""Embeddings and overrides with their end (PDF), isolates with theirs (PDI)."""

_ANY_OPENS = re.compile(f"[{''.join(_OPENS)}]")


def close_directions(text: str) -> str:
    """The text with the ends that its marks lack. As in UAX #9, the end of an isolate ends what was opened in it."""
    return text + _missing_ends(text) if not text.isascii() and _ANY_OPENS.search(text) else text


def _missing_ends(text: str) -> str:
    ends: list[str] = []
    for letter in text:
        if letter in _OPENS:
            ends.append(_OPENS[letter])
        elif letter == "\u202c" and ends[-1:] == [letter]:
            ends.pop()
        elif letter == "\u2069" and letter in ends:
            while ends.pop() != letter:
                pass
    return "".join(reversed(ends))
