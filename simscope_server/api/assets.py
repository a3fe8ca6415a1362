"""The files of the page, as they are sent. The page learns its path prefix from {{ROOT}}."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from simscope_server.program import beside

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file of the page."""

    body: bytes
    kind: str
    tag: str  # ETag


def read_assets(prefix: str) -> Iterator[tuple[str, Asset]]:
    """The files in static/ by name, for a page whose addresses begin with a prefix."""
    for path in beside("static").iterdir():
        kind = CONTENT_TYPES.get(path.suffix)
        if kind is None:
            continue
        body = path.read_bytes()
        if path.suffix == ".html":
            body = body.replace(b"{{ROOT}}", f"{prefix}/".encode())
        yield path.name, Asset(body, kind, tag_of(body))


def tag_of(content: bytes) -> str:
    """The ETag of what is known by its content."""
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'
