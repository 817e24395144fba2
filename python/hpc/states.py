"""The states of jobs and tasks, by their names on the wire."""

from __future__ import annotations

from typing import Final

STATES: Final = (
    "running",
    "leased",
    "queued",
    "waiting",
    "held",
    "failed",
    "cancelled",
    "succeeded",
)
"""In the order in which a job has the first that one of its tasks has."""

SETTLED: Final = frozenset({"succeeded", "failed", "cancelled"})
"""What becomes of tasks in the end; also columns of a job's facts."""
