"""Serves the page's files, its modules joined, compressed once as well as they can be."""

import asyncio
import gzip
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path

import cramjam

from api.http.modules import read_module
from api.http.request import Answer, Request, etag_matches

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda content: bytes(cramjam.brotli.compress(content, level=11)),
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
}
"""At their best levels: half a second for all files, once. The first one that a reader takes is sent; browsers take
brotli, 13 % smaller, over TLS and on their own machine alone."""

PAGE = Path(__file__).parents[1] / "page"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Only files of these kinds are served."""

TEXTS = {".css", ".html", ".js", ".json", ".svg", ".webmanifest"}
"""The kinds that become smaller when they are compressed."""


@dataclass(frozen=True, slots=True)
class _File:
    seen: tuple[tuple[int, int], ...]
    content: bytes
    encoded: dict[str, bytes]
    tag: str
    policy: str


class StaticFiles:
    """Files of one folder, read again when they change."""

    def __init__(self, folder: Path, frame_ancestors: tuple[str, ...]) -> None:
        self._folder = folder
        self._files: dict[Path, _File] = {}
        self._reading = asyncio.Lock()
        self._frame_ancestors = frame_ancestors
        self._headers = [
            (b"cache-control", b"no-cache"),
            (b"cross-origin-opener-policy", b"same-origin"),
        ]

    async def answer(self, request: Request, name: str) -> Answer | None:
        """None where there is no such file."""
        file = await self._file(name)
        if file is None:
            return None
        headers = [
            *self._headers,
            (b"content-security-policy", file.policy.encode()),
            (b"etag", b'W/"%s"' % file.tag.encode()),
        ]
        if etag_matches(request.header(b"if-none-match"), file.tag):
            return Answer(304, headers)
        media_type = TYPES[Path(name).suffix]
        for encoding, content in file.encoded.items():
            if request.accepts_encoding(encoding):
                return Answer(200, headers, content, media_type, encoding)
        return Answer(200, headers, file.content, media_type)

    async def _file(self, name: str) -> _File | None:
        try:
            path = (self._folder / name).resolve()
            if path.suffix not in TYPES or not path.is_relative_to(self._folder.resolve()):
                return None
            seen = _state(path)
            async with self._reading:  # once, however many ask
                known = self._files.get(path)
                if known is None or known.seen != seen:
                    known = self._files[path] = await asyncio.to_thread(self._read, path, seen)
        except (OSError, ValueError):
            return None
        return known

    def _read(self, path: Path, seen: tuple[tuple[int, int], ...]) -> _File:
        content = read_module(path) if path.suffix == ".js" else path.read_bytes()
        encoded = {name: encode(content) for name, encode in ENCODINGS.items()} if path.suffix in TEXTS else {}
        policy = page_policy(self._frame_ancestors, inline_scripts(content) if path.suffix == ".html" else ())
        return _File(seen, content, encoded, blake2b(content, digest_size=12).hexdigest(), policy)


def _state(path: Path) -> tuple[tuple[int, int], ...]:
    """Changes where what is served as this file does: any module may be joined to any other."""
    of_it = [path, *sorted(path.parent.glob("*.js"))] if path.suffix == ".js" else [path]
    return tuple((about.st_mtime_ns, about.st_size) for about in (file.stat() for file in of_it))


def inline_scripts(html: bytes) -> tuple[str, ...]:
    """The scripts that stand in a document itself, by their hashes, as a policy names them."""
    scripts = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    return tuple(f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts)


def page_policy(frame_ancestors: tuple[str, ...], scripts: tuple[str, ...] = ()) -> str:
    """The page runs its own files and the named scripts alone, asks this API alone, is framed by the listed origins."""
    sources = " ".join(("'self'", *scripts))
    ancestors = " ".join("'self'" if origin == "self" else origin for origin in frame_ancestors) or "'none'"
    return (
        f"default-src 'none'; script-src {sources}; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}"
    )
