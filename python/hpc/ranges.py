"""Range lists as the Hub writes them, `0-41,43`: which tasks they name.

What a user types has steps and mistakes, and is read by arrays.py.
"""

from __future__ import annotations

from collections.abc import Iterator


def spans(tasks: str) -> Iterator[range]:
    """Yield the ranges of a list; none where it is empty."""
    for part in filter(None, tasks.split(",")):
        first, _, last = part.partition("-")
        yield range(int(first), int(last or first) + 1)


def numbers(tasks: str) -> Iterator[int]:
    """Yield the tasks of a list one by one."""
    for span in spans(tasks):
        yield from span


def count(tasks: str) -> int:
    """Return how many tasks a list names."""
    return sum(map(len, spans(tasks)))
