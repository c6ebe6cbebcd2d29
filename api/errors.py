"""The reasons for an error answer: wrong parameters, or something that will pass."""

from collections.abc import Sequence

import msgspec

from stream.model.words import name_partitions


class ValidationError(msgspec.Struct, frozen=True):
    """One wrong parameter; two of the same name may both be named."""

    parameter: str
    message: str


class ValidationErrors(Exception):
    """All that is wrong with the parameters of a request."""

    def __init__(self, errors: Sequence[ValidationError]) -> None:
        super().__init__(", ".join(f"{error.parameter}: {error.message}" for error in errors))
        self.errors = tuple(errors)


class Unavailable(Exception):
    """The API cannot answer now, but soon."""

    def __init__(self, code: str, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


NAMED_PARTITIONS = 10


def no_position(missing: Sequence[int], number: int) -> Unavailable:
    """Half of a count would be shown: of `number` partitions these have no counts in Redis; of 0, it holds nothing."""
    if not number:
        return Unavailable(
            "no_position",
            "Redis holds nothing of this group: it was emptied, or no worker of the group writes to it. Are "
            "CONTACTS_GROUP and CONTACTS_REDIS those of the workers?",
        )
    which = name_partitions(missing, most=NAMED_PARTITIONS)
    text = f"The counts of {which} of {number} are not in Redis yet; the workers are sending them."
    return Unavailable("no_position", text)


def counts_lost() -> Unavailable:
    """Redis lacks what it must have: a zero in its place would be wrong."""
    return Unavailable(
        "no_position", "Redis has lost counts, perhaps by eviction; the workers are asked to send all of them again."
    )
