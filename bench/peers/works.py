"""What is measured of each system: its size, its unit, and how long it may take.

A work is a word that a driver answers by a method of that name (`driver.py`). Standard library
only: drivers import it.
"""

from __future__ import annotations

from typing import NamedTuple

ANSWER_S_MAX = 120.0
"""How long one measurement may take before the driver is ended."""

START_S_MAX = 90.0
"""How long a system may take to start."""

INSTALL_S_MAX = 900.0
"""How long the packages of one peer may take to install."""


class Work(NamedTuple):
    """One kind of work.

    Attributes:
        size: Tasks, calls, jobs or seconds.
        unit: Of the figure.
        more_is_better: Or less.
        what: In words.
    """

    size: int
    unit: str
    more_is_better: bool
    what: str


WORKS = {
    "true": Work(2_000, "tasks/s", True, "`/bin/true`, two at a time"),
    "output": Work(2_000, "tasks/s", True, "`/bin/echo` with its output kept"),
    "latency": Work(50, "ms", False, "one `/bin/true` to its known end, p50"),
    "command": Work(20, "ms", False, "the same by one command of a shell, p50"),
    "chain": Work(200, "ms/step", False, "tasks, each after the one before it"),
    "fan": Work(1_000, "s", False, "1 -> n -> 1"),
    "functions": Work(10_000, "calls/s", True, "Python calls that do nothing"),
    "call": Work(50, "ms", False, "one Python call to its result, p50"),
    "queue": Work(20_000, "jobs/s", True, "jobs accepted that nobody can run yet"),
    "idle": Work(10, "% of a core", False, "nothing to do, seconds"),
}
