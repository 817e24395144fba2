"""Marks that tasks leave outside: a task appends one line to a file, whoever runs it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def marking(folder: Path, then: str = "") -> str:
    """A shell command that leaves a mark of its task, then does something else.

    The line is shorter than PIPE_BUF and the file is opened for appending, so marks of tasks that
    run at once do not mix.
    """
    return f'echo "$HPC_TASK_ID $HPC_ATTEMPT $HPC_NODE_ID" >> {folder / "marks"}; {then or ":"}'


def marks(folder: Path) -> list[tuple[int, int, str]]:
    """The marks so far: task, attempt, node."""
    path = folder / "marks"
    if not path.exists():
        return []
    lines = [line.split() for line in path.read_text().splitlines()]
    return [(int(task), int(attempt), node) for task, attempt, node in lines]


def starts(folder: Path) -> Counter[int]:
    """How often each task began."""
    return Counter(task for task, _, _ in marks(folder))
