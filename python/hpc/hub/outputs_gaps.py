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


def listed(parts: list[str]) -> str:
    """Return the first of some parts as text."""
    return ", ".join(parts[:TOLD_MAX]) + (", ..." if len(parts) > TOLD_MAX else "")
