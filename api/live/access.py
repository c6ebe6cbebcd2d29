"""Limits live streams: who may open one, how many, and for how long."""

from collections import Counter

from api.errors import Unavailable
from api.http.auth import Authentication, Principal
from api.http.problems import ProblemError

RETRY_AFTER_SECONDS = "10"


class Access:
    """What a stream was opened with, asked again as long as it is open."""

    def __init__(
        self, authentication: Authentication, authorization: str | None, workspace_id: str, principal: Principal
    ) -> None:
        self.principal = principal
        self._authentication = authentication
        self._authorization = authorization
        self._workspace_id = workspace_id

    async def renew(self) -> bool:
        """Whether the token is still good for the workspace. One that cannot be checked at present still is."""
        try:
            self.principal = await self._authentication.principal(self._authorization)
        except ProblemError:
            return False
        except Unavailable:
            return True
        return self.principal.may_see(self._workspace_id)


class StreamLimits:
    """How many streams are open, of a principal and in all."""

    def __init__(self, streams: int, streams_per_principal: int) -> None:
        self._streams = streams
        self._streams_per_principal = streams_per_principal
        self._open = 0
        self._by_principal: Counter[bytes] = Counter()

    def enter(self, principal: Principal) -> None:
        """Count one more. Raises ProblemError: 503 where the process has no more, 429 where the principal has none.

        Who asks without a token, on this machine alone, is no principal.
        """
        if self._open >= self._streams:
            raise streams_full(f"{self._streams} live streams are open here")
        name = principal.name
        if name is not None:
            if self._by_principal[name] >= self._streams_per_principal:
                most = self._streams_per_principal
                raise _refusal("too_many_streams", f"This token has {most} live streams open, the most it may have.")
            self._by_principal[name] += 1
        self._open += 1

    def leave(self, principal: Principal) -> None:
        self._open -= 1
        name = principal.name
        if name is not None:
            self._by_principal[name] -= 1
            if not self._by_principal[name]:
                del self._by_principal[name]


def streams_full(reason: str) -> ProblemError:
    """503: no more streams in this process."""
    return _refusal("streams_full", f"{reason}; poll, or try again later.")


def _refusal(code: str, detail: str) -> ProblemError:
    return ProblemError(code, detail, {"Retry-After": RETRY_AFTER_SECONDS})
