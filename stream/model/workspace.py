"""The rule of workspace ids: a segment of the report's address, so never one that would mean another address."""

from typing import Final

WORKSPACE_LENGTH: Final = 128
"""The longest id, in characters."""

WORKSPACE_PATTERN: Final = r"^(?!\.{1,2}$)[A-Za-z0-9._~:@-]+$"
"""The same for JSON Schema, which says the length by itself."""

WORKSPACE_RULE: Final = "must be made of A-Z a-z 0-9 . _ ~ : @ -, and be neither . nor .."

_CHARACTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@-"
_NONE_OF: Final = ("", ".", "..")


def is_workspace(text: str) -> bool:
    """Whether an id can be a workspace's at all."""
    return len(text) <= WORKSPACE_LENGTH and text.strip(_CHARACTERS) == "" and text not in _NONE_OF
