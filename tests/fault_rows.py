"""The faults by number, from `fault_rows.txt`: what goes wrong, what happens then, what is missing.

Each line is `NUMBER | WHAT | THEN`, and `| WHY` where one machine cannot show all of it.
"""

from __future__ import annotations

from pathlib import Path

_ROWS = [
    [part.strip() for part in line.split(" | ")]
    for line in Path(__file__).with_suffix(".txt").read_text("utf-8").splitlines()
]

FAULTS = {int(row[0]): (row[1], row[2]) for row in _ROWS}
ONE_MACHINE = {int(row[0]): row[3] for row in _ROWS if len(row) > 3}
"""Why one machine does not show it, or not all of it."""
