"""Nearest: which of the known words somebody may have meant who typed another.

The one distance of all of Python's messages: commands, flags, settings, jobs, nodes, fields. The
Hub has one of its own for what it knows alone, namespaces and the fields of schemas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MOST: Final = 3


def nearest(word: str, known: Iterable[str], most: int = MOST) -> list[str]:
    """Return the known words that are near, the nearest first; upper and lower case are one."""
    # Imported here: only a slip is worth its time.
    from difflib import get_close_matches  # noqa: PLC0415

    by_lower = {each.lower(): each for each in known}
    return [by_lower[near] for near in get_close_matches(word.lower(), by_lower, most)]


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str | None:
    """Return the question whether one of the nearest was meant; None where none is near.

    Args:
        word: What was typed.
        known: What would have been understood.
        before: Stands before each, such as `hpc job `.
    """
    *others, last = ("", *(f"`{before}{near}`" for near in nearest(word, known)))
    if not others:
        return None
    listed = ", ".join(others[1:])
    return f"did you mean {listed + ' or ' if listed else ''}{last}?"
