"""What goes wrong, as RFC 9457 problems: one shape for every error, and one code for each kind of them."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from api.errors import Unavailable, ValidationError, ValidationErrors


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `errors` names every parameter at fault."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ValidationError] | None = None


MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "bad_parameter": (400, "A parameter is wrong; `errors` names each."),
    "unauthorized": (401, "A bearer token is needed, and this is none that is accepted."),
    "forbidden": (403, "The token is good, but not for this."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "This address is only read."),
    "not_acceptable": (406, "The answer does not exist in a format that is accepted."),
    "address_too_long": (414, "The address is longer than any that is read."),
    "headers_too_large": (431, "The headers are larger than any that are read."),
    "too_many_streams": (429, "The token has as many live streams open as it may have."),
    "internal": (500, "Something is broken in the API; the log tells what."),
    "redis_unavailable": (503, "Redis does not answer at present."),
    "no_position": (503, "Counts of some partition are not there yet, or are being put back into Redis."),
    "busy": (503, "The counts move faster than they can be read at present."),
    "streams_full": (503, "The process has as many live streams open as it may have."),
    "connections_full": (503, "As many connections are open as there may be."),
    "keys_unavailable": (503, "The keys that tokens are checked with cannot be had at present."),
}
"""Every code with its status and what it means."""


class ProblemError(Exception):
    """An answer that is a problem; `code` is one of CODES."""

    def __init__(self, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = problem(code, detail)
        self.headers = dict(headers or {})


def encode(of: Problem) -> bytes:
    return msgspec.json.encode(of)


def problem(code: str, detail: str) -> Problem:
    status, _ = CODES[code]
    return Problem(f"/docs#{code}", HTTPStatus(status).phrase, status, detail, code)


def problem_of_errors(errors: ValidationErrors) -> ProblemError:
    """400 with every wrong parameter."""
    names = ", ".join(dict.fromkeys(error.parameter for error in errors.errors))
    error = ProblemError("bad_parameter", f"Wrong: {names}.")
    error.problem = msgspec.structs.replace(error.problem, errors=list(errors.errors))
    return error


def of_unavailable(unavailable: Unavailable) -> ProblemError:
    """503 with when to come back."""
    return ProblemError(unavailable.code, unavailable.detail, {"Retry-After": str(unavailable.retry_after_seconds)})
