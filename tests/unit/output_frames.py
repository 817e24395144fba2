"""Frames as a relay sends them, and streams as a reader has them."""

from __future__ import annotations

import json
import struct

from hpc.hub.outputs import OutputStore, StreamView


def frame(
    data: bytes = b"",
    *,
    job_id: str = "fit-1",
    task: int = 0,
    attempt: int = 1,
    stream: str = "stdout",
    offset: int = 0,
    **more: object,
) -> bytes:
    """Return one frame, made from the protocol's text and not by the package."""
    header = {
        "job_id": job_id,
        "task": task,
        "attempt": attempt,
        "stream": stream,
        "offset": offset,
        "length": len(data),
        **more,
    }
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + data


def content(store: OutputStore, view: StreamView | None) -> dict[int, bytes]:
    """Return what is known of a stream: offset to bytes, adjacent pieces joined."""
    assert view is not None
    pieces: dict[int, bytes] = {}
    last = -1
    for segment in view.segments:
        data = store.data(segment)
        assert len(data) == segment.length
        if pieces and last + len(pieces[last]) == segment.offset:
            pieces[last] += data
        elif data:
            last = segment.offset
            pieces[last] = data
    return pieces
