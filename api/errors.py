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


class CountsMissing(Unavailable):
    """Redis lacks counts. Workers send them, where there are any."""

    def __init__(self, missing: str, on_its_way: str, question: str = "") -> None:
        """`on_its_way`: what follows where there are workers; `question`: what to look at where there are none."""
        super().__init__("no_position", f"{missing}.")
        self._missing, self._on_its_way, self._question = missing, on_its_way, question

    def explain(self, workers: int) -> None:
        """Say what becomes of it with this many workers that report to this Redis."""
        none = f", and no worker of this group reports to this Redis: none runs, or none reaches it.{self._question}"
        self.detail = (
            f"{self._missing}{self._on_its_way}."
            if workers
            else f"{self._missing}{none} `contacts-report status` shows the workers."
        )


NAMED_PARTITIONS = 10


def no_position(missing: Sequence[int], number: int) -> CountsMissing:
    """Half of a count would be shown: of `number` partitions these have no counts in Redis; of 0, it holds nothing."""
    if not number:
        return CountsMissing(
            "Redis holds nothing of this group",
            " yet; its workers are sending everything",
            " Emptied just now, it is filled again within seconds. Are CONTACTS_GROUP and CONTACTS_REDIS those of the "
            "workers?",
        )
    which = name_partitions(missing, most=NAMED_PARTITIONS)
    missed = f"The counts of {which} of {number} are not in Redis"
    return CountsMissing(missed, " yet; the workers are sending them")


def counts_lost() -> CountsMissing:
    """Redis lacks what it must have: a zero in its place would be wrong."""
    return CountsMissing(
        "Redis has lost counts, perhaps by eviction", "; the workers are asked to send all of them again"
    )
