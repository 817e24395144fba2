"""Range lists as the Hub writes them, `0-41,43`: which tasks they name.

What a user types has steps and mistakes, and is read by arrays.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def spans(tasks: str) -> Iterator[range]:
    """Yield the ranges of a list; none where it is empty."""
    for part in filter(None, tasks.split(",")):
        first, _, last = part.partition("-")
        yield range(int(first), int(last or first) + 1)


def numbers(tasks: str) -> Iterator[int]:
    """Yield the tasks of a list one by one."""
    for span in spans(tasks):
        yield from span


def without(tasks: str, other: str) -> str:
    """Return the tasks of a list that another does not name."""
    left = list(spans(tasks))
    for taken in spans(other):
        parts = (
            part
            for span in left
            for part in (
                range(span.start, min(span.stop, taken.start)),
                range(max(span.start, taken.stop), span.stop),
            )
        )
        left = [part for part in parts if part]
    return _text(left)


def of(tasks: Iterable[int]) -> str:
    """Return the list that names some tasks."""
    found: list[range] = []
    for task in sorted(tasks):
        if found and found[-1].stop == task:
            found[-1] = range(found[-1].start, task + 1)
        else:
            found.append(range(task, task + 1))
    return _text(found)


def count(tasks: str) -> int:
    """Return how many tasks a list names."""
    return sum(map(len, spans(tasks)))


def _text(parts: Iterable[range]) -> str:
    return ",".join(str(p.start) if len(p) == 1 else f"{p.start}-{p[-1]}" for p in parts)
