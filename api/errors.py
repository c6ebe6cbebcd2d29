"""What an answer cannot be given for: wrong parameters, or something that will pass."""

from collections.abc import Sequence

import msgspec


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
    """Nothing can be said at present, and it will pass."""

    def __init__(self, code: str, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


def no_position() -> Unavailable:
    """Half of a count would be shown."""
    return Unavailable("no_position", "Counts of some partition are not there yet, or are being put back.")
