"""Answers errors as RFC 9457 problems: one shape for all, one code for each kind."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from api.errors import Unavailable, ValidationError, ValidationErrors


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem. `errors` names every wrong parameter."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[ValidationError] | None = None


MEDIA_TYPE: Final = "application/problem+json"

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "bad_parameter": (400, "A parameter is wrong; `errors` names each."),
    "bad_request": (400, "The head of the request is malformed."),
    "unauthorized": (401, "Send a valid bearer token."),
    "forbidden": (403, "The token does not allow this."),
    "not_found": (404, "There is nothing at this address."),
    "method_not_allowed": (405, "This address takes GET and HEAD only."),
    "not_acceptable": (406, "No format in `Accept` is available here."),
    "address_too_long": (414, "The address is too long."),
    "headers_too_large": (431, "The request headers are too large."),
    "too_many_streams": (429, "The token has its maximum number of live streams open."),
    "internal": (500, "The API failed; its log has the details."),
    "redis_unavailable": (503, "Redis does not answer. Try again."),
    "no_position": (503, "Redis does not have the counts of every partition yet. Try again."),
    "busy": (503, "Counts change faster than the API can read them. Try again."),
    "streams_full": (503, "The API process has its maximum number of live streams open."),
    "connections_full": (503, "The API process has its maximum number of connections open."),
    "keys_unavailable": (503, "The API cannot fetch the keys that verify tokens. Try again."),
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
