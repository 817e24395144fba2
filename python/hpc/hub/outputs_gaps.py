"""Gaps: which parts of a stream are not here, and which its relay has not kept. Pure."""

from __future__ import annotations

from typing import Final

from hpc.hub.outputs_index import Segment

TOLD_MAX: Final = 4


def gaps_between(start: int, segments: list[Segment]) -> list[str]:
    """Return the gaps before and between segments as text, such as `3 to 8`."""
    gaps = []
    for segment in segments:
        if segment.offset > start:
            gaps.append(f"{start} to {segment.offset - 1}")
        start = segment.end
    return gaps


def holes_in(segments: list[Segment]) -> list[tuple[int, int]]:
    """Return what is not kept: of each part the first byte, and the one after its last."""
    holes: list[tuple[int, int]] = []
    for segment in segments:
        if segment.is_kept:
            continue
        if holes and holes[-1][1] == segment.offset:
            holes[-1] = (holes[-1][0], segment.end)
        else:
            holes.append((segment.offset, segment.end))
    return holes


def begin_of_last(spans: list[tuple[int, int]], last: int, after: int, before: int | None) -> int:
    """Return where the last bytes of a stream begin.

    Args:
        spans: What can be read of it, ascending.
        last: So many of the bytes that there are to read.
        after: Where what counts begins; also where all of that is wanted.
        before: And where it ends; None is the end of what there is.
    """
    for start, end in reversed(spans):
        stop = end if before is None else min(end, before)
        count = stop - max(start, after)
        if count >= last:
            return stop - last
        last -= max(count, 0)
    return after


def readable(segments: list[Segment], *, skip_gaps: bool) -> list[tuple[int, int]]:
    """Return what can be read: of each part the first byte, and the one after its last.

    Args:
        segments: What is known of a stream, ascending.
        skip_gaps: What is not here will not come.
    """
    if skip_gaps:
        return [(segment.offset, segment.end) for segment in segments if segment.is_kept]
    spans, start = [], 0
    for low, high in holes_in(segments):
        spans.append((start, low))
        start = high
    return [*spans, (start, segments[-1].end)] if segments else []


def listed(parts: list[str]) -> str:
    """Return the first of some parts as text."""
    return ", ".join(parts[:TOLD_MAX]) + (", ..." if len(parts) > TOLD_MAX else "")
