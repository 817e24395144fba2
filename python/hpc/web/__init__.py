"""The dashboard's files, as the package has them below `static/`: whoever serves it is handed them.

They are read once. What is served is looked up by its whole name among what lay there then, so that
no name leads anywhere else. Nothing of a Hub is in them; the pages ask its public routes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

STATIC: Final = Path(__file__).parent / "static"

INDEX: Final = "index.html"

_KINDS: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".ico": b"image/x-icon",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".md": b"text/plain; charset=utf-8",
    ".png": b"image/png",
    ".svg": b"image/svg+xml",
    ".txt": b"text/plain; charset=utf-8",
    ".woff2": b"font/woff2",
}
"""By suffix; a file of another one is not served."""


class File(NamedTuple):
    """A file as it is served.

    Attributes:
        body: Its bytes.
        kind: Its media type.
        etag: Another one wherever the bytes are others.
    """

    body: bytes
    kind: bytes
    etag: bytes


def files() -> dict[str, File]:
    """Read all files, by their names below `static/`, such as `vendor/preact.js`."""
    return {
        path.relative_to(STATIC).as_posix(): _file(path)
        for path in sorted(STATIC.rglob("*"))
        if path.suffix in _KINDS and path.is_file()
    }


def _file(path: Path) -> File:
    body = path.read_bytes()
    etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
    return File(body, _KINDS[path.suffix], etag)
