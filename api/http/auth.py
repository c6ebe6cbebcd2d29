"""Identifies the caller and what they may see, by JSON Web Tokens, or by static tokens whose hashes are in a file.

A token comes in the header `Authorization: Bearer …` and never in an address, where logs and histories would keep it.
"""

import asyncio
import hashlib
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
import msgspec

from api.cache import Memory, size_of_texts
from api.errors import Unavailable
from api.http.problems import ProblemError
from stream.settings.api import ApiConfig

log = logging.getLogger(__name__)

SCOPE = "reports:read"
OPS_SCOPE = "ops:read"
REALM = 'Bearer realm="contacts-report"'
REMEMBERED_SECONDS = 60.0
"""How long a checked signature is trusted, so that a withdrawn key soon ends its tokens."""

JWKS_SECONDS = 600.0
JWKS_RETRY_SECONDS = 10.0
JWKS_TIMEOUT_SECONDS = 5.0
JWKS_BYTES_LIMIT = 1_000_000
FILE_CHECK_SECONDS = 1.0
TOKEN_CHARACTERS_LIMIT = 8_192
LAST_SECOND = 253_402_300_799
"""Of the year 9999, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller. `workspaces` None: all of them. `expires_at`: seconds since 1970; None: never.

    `name` is equal for tokens of one subject, else for one token; None where no token is asked for.
    """

    workspaces: frozenset[str] | None
    expires_at: float | None = None
    name: bytes | None = None
    operates: bool = False
    """Whether how the deployment is may be told (`ops:read`)."""

    def may_see(self, workspace_id: str) -> bool:
        return self.workspaces is None or workspace_id in self.workspaces


EVERYONE = Principal(None, operates=True)
"""The caller where no authentication is configured: only this machine can call."""


class Authentication:
    """The check of each request's token. `clock` gives seconds since 1970."""

    def __init__(self, config: ApiConfig, memory: Memory, clock: Callable[[], float] = time.time) -> None:
        self.required = config.authenticated
        self._config = config
        self._clock = clock
        self._keys = _KeySet(config.jwks_url) if config.jwks_url else None
        self._tokens = TokensFile(config.tokens_file) if config.tokens_file else None
        self._memory = memory

    def open(self) -> None:
        """Read what must be there from the start. Raises OSError for a file of tokens that cannot be read."""
        if self._tokens is not None:
            self._tokens.load()

    def close(self) -> None:
        """Fetch no keys any more."""
        if self._keys is not None:
            self._keys.close()

    async def principal(self, authorization: str | None) -> Principal:
        """Who sends this header. Raises ProblemError of 401, or of 403 where the scope is missing."""
        if not self.required:
            return EVERYONE
        token = _read_token(authorization)
        if not self._is_jwt(token):
            return self._static_principal(token)
        digest = _digest(token)
        return self._recall(digest) or await self._jwt_principal(token, digest)

    def known_principal(self, authorization: str | None) -> Principal | None:
        """The same, where it can be told at once; None: `principal` finds it out, or refuses."""
        if not self.required:
            return EVERYONE
        try:
            token = _read_token(authorization)
            return self._recall(_digest(token)) if self._is_jwt(token) else self._static_principal(token)
        except ProblemError:
            return None

    def _is_jwt(self, token: str) -> bool:
        """Whether it looks like one, where there are keys to check one."""
        return token.count(".") == 2 and bool(self._config.jwt_secret or self._keys)

    def _static_principal(self, token: str) -> Principal:
        if self._tokens is None:
            raise _invalid("The token is unknown.")
        return self._tokens.principal(token, self._clock())

    def _recall(self, digest: bytes) -> Principal | None:
        """Whose token it is, if its signature was checked lately."""
        remembered: tuple[float, Principal] | None = self._memory.get(("token", digest))
        return remembered[1] if remembered is not None and remembered[0] > self._clock() else None

    async def _jwt_principal(self, token: str, digest: bytes) -> Principal:
        now = self._clock()
        principal = _principal_of(await self._claims(token), digest)
        if principal.expires_at is not None:
            until = min(now + REMEMBERED_SECONDS, principal.expires_at)
            workspaces = principal.workspaces or ()
            size = 500 + 60 * len(workspaces) + size_of_texts(workspaces)
            self._memory.put(("token", digest), (until, principal), size)
        return principal

    async def _claims(self, token: str) -> Mapping[str, Any]:
        with _refuse_on_any_error():
            header = jwt.get_unverified_header(token)
        key, algorithm = await self._key(header)
        with _refuse_on_any_error():
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._config.jwt_audience,
                issuer=self._config.jwt_issuer,
                options={
                    "require": ["exp"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": self._config.jwt_audience is not None,
                    "verify_iss": self._config.jwt_issuer is not None,
                },
            )
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """By our own clock, which tests move."""
        now = self._clock()
        if _seconds(claims, "exp") <= now:
            raise _invalid("The token has expired.")
        if "nbf" in claims and _seconds(claims, "nbf") > now:
            raise _invalid("The token is not valid yet.")

    async def _key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        """The key of a token and its algorithm: the secret for HS256 alone, published keys for the others alone."""
        algorithm = header.get("alg")
        if algorithm == "HS256" and self._config.jwt_secret is not None:
            return self._config.jwt_secret, "HS256"
        if algorithm in ("RS256", "ES256") and self._keys is not None:
            return await self._keys.key(header.get("kid"), algorithm), algorithm
        raise _invalid("The token's algorithm is not accepted.")


def _read_token(authorization: str | None) -> str:
    """The token in a header. Raises ProblemError."""
    scheme, _, token = (authorization or "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise ProblemError("unauthorized", "Send a bearer token.", {"WWW-Authenticate": REALM})
    if len(token) > TOKEN_CHARACTERS_LIMIT:
        raise _invalid("The token is too long.")
    return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


@contextmanager
def _refuse_on_any_error() -> Iterator[None]:
    """Whatever the library stumbles over is the token's fault, e.g. a RecursionError at JSON of a thousand brackets."""
    try:
        yield
    except jwt.PyJWTError as error:
        text = str(error).encode("utf-8", "replace").decode()  # it may repeat what the token says
        raise _invalid(f"The token is invalid: {text}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise _invalid("The token cannot be read.") from None


class TokenEntry(msgspec.Struct, frozen=True):
    """A line of the file of tokens."""

    sha256: str
    """In hexadecimal. Tokens have 256 random bits, so one round of SHA-256 hides them."""
    workspaces: list[str] | Literal["*"]
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    name: str = ""
    scope: str = SCOPE
    """Words, as in a token of JSON. Without `reports:read` the workspaces do not count."""


class TokensFile:
    """Hashes of static tokens, one JSON object a line, read again when the file changes. A line that cannot be read is
    no token."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: dict[str, Principal] = {}
        self._seen: tuple[int, int, int] | None = None
        self._checked_at = float("-inf")

    def load(self) -> None:
        """Read the file if it changed. Raises OSError."""
        about = self.path.stat()
        seen = (about.st_mtime_ns, about.st_size, about.st_ino)
        if seen != self._seen:
            self._tokens = dict(_read_tokens(self.path))
            self._seen = seen

    def principal(self, token: str, now: float) -> Principal:
        if time.monotonic() - self._checked_at >= FILE_CHECK_SECONDS:
            self._checked_at = time.monotonic()
            try:
                self.load()
            except OSError as error:
                log.error("Cannot read the tokens file, so no static token is accepted: %s", error)
                self._tokens, self._seen = {}, None
        principal = self._tokens.get(token_hash(token))
        if principal is None:
            raise _invalid("The token is unknown.")
        if principal.expires_at is not None and principal.expires_at <= now:
            raise _invalid("The token has expired.")
        return principal


def token_hash(token: str) -> str:
    """What the file of tokens keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class _KeySet:
    """Published keys, fetched again after a while, and for a key id that is not among them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()

    async def key(self, key_id: Any, algorithm: str) -> Any:
        """The key of a token. One that is at hand is given at once; old keys are fetched again behind it."""
        found = self._find(key_id, algorithm)
        if found is None:
            await self._refresh()
            found = self._find(key_id, algorithm)
        elif time.monotonic() - self._fetched_at > JWKS_SECONDS and self._may_try():
            self._refreshing = asyncio.create_task(self._refresh())
        if found is not None:
            return found.key
        if not self._keys:
            raise Unavailable("keys_unavailable", "The API cannot fetch the keys that verify tokens.", 5)
        raise _invalid("The key of the token is unknown.")

    def _find(self, key_id: Any, algorithm: str) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm and key.public_key_use != "enc"]
        if key_id is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.key_id == key_id), None)

    def _may_try(self) -> bool:
        idle = self._refreshing is None or self._refreshing.done()
        return idle and time.monotonic() - self._tried_at > JWKS_RETRY_SECONDS

    async def _refresh(self) -> None:
        async with self._lock:
            if time.monotonic() - self._tried_at > JWKS_RETRY_SECONDS:
                await self._fetch()

    async def _fetch(self) -> None:
        self._tried_at = time.monotonic()
        try:
            keys = await asyncio.to_thread(_fetch_keys, self._url)
        except (OSError, ValueError, TypeError, AttributeError, HTTPException, jwt.PyJWTError) as error:
            log.warning("Cannot fetch the keys that verify tokens (CONTACTS_JWKS_URL): %s", error)
            return
        self._keys = keys
        self._fetched_at = time.monotonic()


def _fetch_keys(url: str) -> list[jwt.PyJWK]:
    with urllib.request.urlopen(url, timeout=JWKS_TIMEOUT_SECONDS) as response:  # the scheme is checked by the config
        return jwt.PyJWKSet.from_dict(json.loads(_read_in_time(response))).keys


def _read_in_time(response: Any) -> bytes:
    """Read the body within a limit for the whole: `timeout` limits each read only, and a server may send a byte at a
    time.
    """
    until = time.monotonic() + JWKS_TIMEOUT_SECONDS
    body = b""
    while piece := response.read1(JWKS_BYTES_LIMIT):
        body += piece
        if len(body) > JWKS_BYTES_LIMIT:
            raise ValueError(f"they are more than {JWKS_BYTES_LIMIT} bytes")
        if time.monotonic() > until:
            raise TimeoutError("they come too slowly")
    return body


def _read_tokens(path: Path) -> Iterator[tuple[str, Principal]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                entry = msgspec.json.decode(line, type=TokenEntry)
            except msgspec.DecodeError as error:
                log.error("Line %d of the tokens file is not a token entry: %s", number, error)
                continue
            scopes = entry.scope.split()
            workspaces = None if entry.workspaces == "*" else frozenset(entry.workspaces)
            expires_at = None if entry.expires_at is None else entry.expires_at.timestamp()
            sha256 = entry.sha256.lower()
            if SCOPE not in scopes:
                workspaces = frozenset()
            yield sha256, Principal(workspaces, expires_at, sha256.encode(), OPS_SCOPE in scopes)


def _principal_of(claims: Mapping[str, Any], digest: bytes) -> Principal:
    scope = claims.get("scope", "")
    scopes = scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else []
    operates = OPS_SCOPE in scopes
    if SCOPE not in scopes and not operates:
        raise forbidden(f"The token lacks the scope {SCOPE}.")
    try:
        workspaces, name = _workspaces(claims.get("workspaces", [])), _subject(claims) or digest
        if SCOPE not in scopes:
            workspaces = frozenset()
        return Principal(workspaces, _seconds(claims, "exp"), name, operates)
    except (TypeError, ValueError):
        raise _invalid('The claim `workspaces` is not a list of ids or "*".') from None


def _subject(claims: Mapping[str, Any]) -> bytes | None:
    """Equal for all tokens of one subject; None where they do not name one."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        return None
    return hashlib.sha256(f"{claims.get('iss')}\n{subject}".encode("utf-8", "replace")).digest()


def _workspaces(claim: Any) -> frozenset[str] | None:
    """None for all of them. Raises TypeError."""
    if claim == "*":
        return None
    if not isinstance(claim, list) or not all(isinstance(name, str) for name in claim):
        raise TypeError("no list of workspaces")
    return frozenset(claim)


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    # NaN is not less than anything, and 10^400 is no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_SECOND:
        raise _invalid(f"The claim `{name}` is not a time.")
    return float(value)


def _invalid(detail: str) -> ProblemError:
    return ProblemError("unauthorized", detail, {"WWW-Authenticate": f'{REALM}, error="invalid_token"'})


def forbidden(detail: str) -> ProblemError:
    """403: the token is good, but not for this."""
    challenge = f'{REALM}, error="insufficient_scope", scope="{SCOPE}"'
    return ProblemError("forbidden", detail, {"WWW-Authenticate": challenge})
