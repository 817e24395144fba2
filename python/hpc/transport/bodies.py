"""Bodies: what a request's body may be and how long, without looking into it.

The type and the length that the headers tell are judged before anything is read, and a body that
tells none is cut off as it grows (exchange.py). All bodies being held together have a limit as
well. How long a body may take is connection.py's; decompression is not offered, so no bomb can go
off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hpc.problems import problem
from hpc.protocols import Answer
from hpc.transport.problems import busy, too_large, wrong_type

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest body that is read."""

HELD_BYTES_MAX: Final = 512 * 1024 * 1024
"""All bodies that are being read or answered, together."""

JSON_TYPE: Final = b"application/json"
BYTES_TYPE: Final = b"application/octet-stream"
MSGPACK_TYPES: Final = frozenset(
    {b"application/msgpack", b"application/x-msgpack", b"application/vnd.msgpack"}
)


def is_msgpack(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a body is said to be MessagePack."""
    kind = headers.get(b"content-type", b"").partition(b";")[0]
    return kind.strip().lower() in MSGPACK_TYPES


def wants_msgpack(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a client would rather have MessagePack than JSON: it names it first."""
    accept = headers.get(b"accept")
    if accept is None or b"msgpack" not in accept:
        return False
    for one in accept.split(b","):
        kind, _, parameters = one.partition(b";")
        is_refused = parameters.replace(b" ", b"").lower() in (b"q=0", b"q=0.0")
        if kind.strip().lower() in MSGPACK_TYPES:
            return not is_refused
        if kind.strip().lower() in (JSON_TYPE, b"application/*", b"*/*") and not is_refused:
            return False
    return False


def form_refusal(headers: Mapping[bytes, bytes], body: bytes) -> Answer | None:
    """Return a 400 for a body that is not of the form that its type says.

    The engine tells the two by their first byte: no JSON text begins with one above 0x7f, and every
    map of MessagePack does.
    """
    seems_msgpack = body[:1] > b"\x7f"
    if seems_msgpack == is_msgpack(headers):
        return None
    expected = "a map in JSON" if seems_msgpack else "a map in MessagePack"
    return problem(
        400,
        "bad_request",
        "The body cannot be read",
        f"The body must be {expected}, as its Content-Type says, and begins with {body[:8]!r}",
        "say in Content-Type what the body is: application/json or application/msgpack",
    )


def type_refusal(headers: Mapping[bytes, bytes], expected: bytes) -> Answer | None:
    """Return a 415 unless a body's type is the expected one (or absent) and it is not encoded.

    Where JSON is expected MessagePack will do.
    """
    if headers.get(b"content-type") == expected and b"content-encoding" not in headers:
        return None  # as most are
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"", b"identity"):
        return wrong_type(
            "Content-Encoding", "identity", _text(encoding), "send the body as it is, uncompressed"
        )
    kind, _, parameters = headers.get(b"content-type", expected).partition(b";")
    kind = kind.strip().lower()
    if expected == JSON_TYPE and kind in MSGPACK_TYPES:
        return None
    if kind != expected:
        either = " or application/msgpack" if expected == JSON_TYPE else ""
        return wrong_type("Content-Type", _text(expected) + either, _text(kind))
    charset = parameters.strip().lower()
    if charset.startswith(b"charset=") and charset[8:].strip(b'"') not in (b"utf-8", b"utf8"):
        return wrong_type("Content-Type", f"{_text(expected)}; charset=utf-8", _text(charset))
    return None


def _text(value: bytes) -> str:
    return value.decode("latin-1")


class Bodies:
    """Counts the bytes of all bodies that are being read or answered."""

    def __init__(self) -> None:
        self._held_bytes = 0

    def refusal(self, size: int, length: bytes | None) -> Answer | None:
        """Return what a body is refused for by the length that its head tells, or by its own.

        Args:
            size: What has come of it, counted by `hold` already.
            length: Its Content-Length, where nothing of it was looked at yet.
        """
        if length is not None and int(length) > BODY_BYTES_MAX:
            return too_large(_text(length), BODY_BYTES_MAX)
        if size > BODY_BYTES_MAX:
            return too_large(f"{size} and more", BODY_BYTES_MAX)
        if self._held_bytes > HELD_BYTES_MAX:
            return busy(f"bodies of {HELD_BYTES_MAX} bytes are being held")
        return None

    def hold(self, size: int) -> None:
        """Count what has come."""
        self._held_bytes += size

    def release(self, size: int) -> None:
        """Give back what a body held, once it is answered."""
        self._held_bytes -= size
