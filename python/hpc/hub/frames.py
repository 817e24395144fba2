"""Frames: how pieces of tasks' output travel, and what a well-formed one is.

A body of `POST /outputs` is frames one after the other; each is

    u32 LE  length of the header
    JSON    {"job_id", "task", "attempt", "stream", "offset", "length", "end"?, "now"?, "gone"?}
    bytes   as many as `length` says

Pure: bytes in, frames out. Nothing is copied; a frame's data is a view into the body.
"""

from __future__ import annotations

import struct
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

from hpc.errors import Refused

HEADER_BYTES_MAX: Final = 4096
DATA_BYTES_MAX: Final = 32 << 20
"""Bytes of one frame; a longer stream is sent in several."""

NUMBER_MAX: Final = 2**32 - 1
NO_ATTEMPT: Final = 0
OFFSET_MAX: Final = 2**62
GONE_MAX: Final = 2**61

Stream = Literal["stdout", "stderr"]
Key = tuple[str, int, int, str]
"""Job, task, attempt and which of its streams."""

_LENGTH: Final = struct.Struct("<I")
_Number = Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)]


class Header(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What stands before a frame's bytes.

    Attributes:
        attempt: From 1; `NO_ATTEMPT` in a frame without bytes that is marked `now`: the relay has
            nothing of the stream.
        offset: Where in the stream its bytes begin.
        length: How many bytes follow.
        end: The stream is complete, and ends where these bytes do.
        now: These were all bytes that there were when a reader asked.
        gone: So many bytes from `offset` on are not kept by the relay, and will never come; such a
            frame has no bytes, and is neither `end` nor `now`.
    """

    job_id: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")]
    task: _Number
    attempt: _Number
    stream: Stream
    offset: Annotated[int, msgspec.Meta(ge=0, le=OFFSET_MAX)]
    length: Annotated[int, msgspec.Meta(ge=0, le=DATA_BYTES_MAX)]
    end: bool = False
    now: bool = False
    gone: Annotated[int, msgspec.Meta(ge=0, le=GONE_MAX)] = 0

    def __post_init__(self) -> None:
        """Refuse a frame that says two things."""
        if self.gone and (self.length or self.end or self.now):
            raise ValueError("no bytes, `end` or `now` beside `gone`")

    @property
    def span(self) -> int:
        """Of how many bytes of the stream it tells."""
        return self.length or self.gone

    @property
    def key(self) -> Key:
        """Which stream it is of."""
        return self.job_id, self.task, self.attempt, self.stream


class Frame(NamedTuple):
    """A header and its bytes."""

    header: Header
    data: memoryview


_decoder = msgspec.json.Decoder(Header)
_encoder = msgspec.json.Encoder()


def parse(body: bytes) -> list[Frame]:
    """Return the frames of a body.

    Raises:
        Refused: The body is not a row of well-formed frames; `errors` names the first bad one.
    """
    view = memoryview(body)
    frames: list[Frame] = []
    at = 0
    while at < len(view):
        header, start = _header(view, at, len(frames))
        at = start + header.length
        if at > len(view):
            raise _refused(
                len(frames), "length", f"{header.length} bytes", f"{len(view) - start} bytes"
            )
        frames.append(Frame(header, view[start:at]))
    return frames


def encode(header: Header, data: bytes | memoryview) -> bytes:
    """Return one frame as it travels."""
    text = _encoder.encode(header)
    return b"".join((_LENGTH.pack(len(text)), text, data))


def _header(view: memoryview, at: int, index: int) -> tuple[Header, int]:
    if len(view) - at < _LENGTH.size:
        raise _refused(index, "header", "4 bytes of length", f"{len(view) - at} bytes")
    (size,) = _LENGTH.unpack_from(view, at)
    start = at + _LENGTH.size
    if size > HEADER_BYTES_MAX:
        raise _refused(index, "header", f"at most {HEADER_BYTES_MAX} bytes", f"{size} bytes")
    if start + size > len(view):
        raise _refused(index, "header", f"{size} bytes", f"{len(view) - start} bytes")
    try:
        return _decoder.decode(view[start : start + size]), start + size
    except msgspec.ValidationError as error:
        expected, _, field = str(error).partition(" - at `$.")
        raise _refused(index, field.rstrip("`") or "header", expected, None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(index, "header", "a JSON object", str(error)) from error


def _refused(index: int, field: str, expected: str, got: str | None) -> Refused:
    error: dict[str, Any] = {"frame": index, "field": field, "expected": expected}
    if got is not None:
        error["got"] = got
    return Refused(
        f"Frame {index} of an output pack is not well-formed: `{field}`: {expected}"
        + ("" if got is None else f", got {got}"),
        field=field,
        errors=[error],
    )
