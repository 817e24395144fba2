"""Heads of a Hub's answers, as its clients read them.

Most of one Hub are the same, but for the length of the body at their end: the rest is parsed once.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 64 * 1024
"""A longer one is none."""

_LENGTH: Final = b"\r\ncontent-length: "

_DIGITS_MAX: Final = 18


class Head(NamedTuple):
    """Status line and headers of an answer.

    Attributes:
        status: Such as 200.
        headers: By lower-case name, but for the length.
        keeps_alive: Whether the connection can carry another request.
        is_chunked: The body comes in chunks, which tell its length.
        length: Of the body in bytes, where it is told.
    """

    status: int
    headers: Mapping[str, str]
    keeps_alive: bool
    is_chunked: bool
    length: int | None


def parsed(raw: bytes) -> Head:
    """Read a head, without its last empty line.

    Raises:
        ValueError: It is none of HTTP/1.1.
    """
    usual, found, length = raw.rpartition(_LENGTH)
    if not found or not is_number(length.decode("latin-1")):
        return _parsed(raw)
    status, headers, keeps_alive, is_chunked, _ = _parsed(usual)
    return Head(status, headers, keeps_alive, is_chunked, int(length))


@functools.lru_cache(maxsize=64)
def _parsed(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not (version.startswith("HTTP/1.") and is_number(status)):
        raise ValueError(f"the answer is not HTTP/1.1: {first[:60]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.pop("content-length", None)
    if length is not None and not is_number(length):
        raise ValueError(f"the answer has no length: {length[:60]!r}")
    return Head(
        int(status),
        headers,
        headers.get("connection", "").lower() != "close" and version != "HTTP/1.0",
        headers.get("transfer-encoding", "").lower() == "chunked",
        None if length is None else int(length),
    )


def is_number(text: str, digits: str = "0123456789") -> bool:
    """Return whether a text is digits alone, and not too many: `int` takes `-1`, `1_0` and more."""
    return 0 < len(text) <= _DIGITS_MAX and not text.strip(digits)
