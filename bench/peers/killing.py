"""A kill in mid-run, as every system meets it: what ran is read from what its tasks wrote.

A task appends to a file of its own process that it begins, waits a few milliseconds, and appends
that it ends. So a run is counted because it happened, not because a system says so. Standard
library only, since drivers import it; it ends nothing but by what it is handed.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.peers.driver import Figures, NotDone, until

DOWN_S = 1.0
"""How long the server is away."""

STILL_S_MAX = 20.0
"""When nothing has begun for so long, nothing more is waited for."""

RUN_S_MAX = 100.0
"""From the restart; below the limit of one measurement."""

SCRIPT = (
    "i=${SLURM_ARRAY_TASK_ID:-${HPC_TASK_ID:-$0}}; f=%s/$$; "
    'echo "B $i $EPOCHREALTIME" >> $f; sleep 0.005; echo "E $i $EPOCHREALTIME" >> $f'
)
"""For bash, which opens by O_APPEND and has the time without another process."""


class Run(NamedTuple):
    """One run of a task.

    Attributes:
        began: By the wall clock, s.
        ended: Likewise; infinite if it was cut short.
    """

    task: int
    began: float
    ended: float


class Marks:
    """The folder of the files.

    Attributes:
        command: Of a task; its index is in the environment, or is put behind it as an argument.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"marks-{time.monotonic_ns()}"
        self._folder.mkdir(0o755)
        self.command = ["/bin/bash", "-c", SCRIPT % shlex.quote(str(self._folder))]

    def processes(self) -> int:
        """Return how many processes have written; cheap."""
        return len(os.listdir(self._folder))  # noqa: PTH208 - counted, every few ms

    def read(self) -> list[Run]:
        """Return all runs that have begun, in order."""
        runs = []
        for file in self._folder.iterdir():
            words = [line.split() for line in file.read_text().splitlines()]
            # A process id may come round: each end is that of the begin before it.
            for at, (word, task, when) in enumerate(words):
                if word == "B":
                    ended = words[at + 1 : at + 2] and words[at + 1][0] == "E"
                    end = float(words[at + 1][2]) if ended else math.inf
                    runs.append(Run(int(task), float(when), end))
        return sorted(runs, key=lambda run: run.began)


def kill_midway(
    tasks: int,
    marks: Marks,
    *,
    submit: Callable[[], object],
    kill: Callable[[], object],
    start: Callable[[], object],
    workers: Sequence[int],
) -> Figures:
    """Submit tasks, kill the server in their midst, start it again, and tell what came of them.

    Args:
        tasks: Numbered from 0.
        marks: Which the tasks leave.
        submit: Returns when all are handed over.
        kill: Ends the server by SIGKILL, and has it reaped.
        start: Starts it again, in the same place.
        workers: Processes that run tasks, and should not care.
    """
    submit()
    # From a quarter to three quarters of the way.
    at = round(tasks * random.uniform(0.25, 0.75))
    until(lambda: marks.processes() >= at, RUN_S_MAX)
    kill()
    killed_at = time.time()
    if len(before := marks.read()) >= tasks:
        raise NotDone(f"the kill came too late: {len(before)} of {tasks} had begun")
    time.sleep(DOWN_S)
    started_at = time.time()
    start()
    returned_s = time.time() - started_at
    _settle(tasks, marks)
    runs = marks.read()
    times = Counter(run.task for run in runs)
    after = [run.began for run in runs if run.began >= started_at]
    starts = [killed_at, *(run.began for run in runs if run.began > killed_at)]
    running = [run for run in runs if run.began <= killed_at < run.ended]
    return {
        "at": len(before),
        "lost": tasks - len(_ended(runs)),
        "twice": sum(count > 1 for count in times.values()),
        "resumed_s": after[0] - started_at if after else None,
        "start_s": returned_s,
        "pause_s": max((b - a for a, b in itertools.pairwise(starts)), default=None),
        "running": len(running),
        "cut_short": sum(run.ended == math.inf for run in runs),
        "workers": len(workers),
        "workers_left": sum(Path(f"/proc/{pid}/exe").exists() for pid in workers),
    }


def _ended(runs: Sequence[Run]) -> set[int]:
    return {run.task for run in runs if run.ended < math.inf}


def _settle(tasks: int, marks: Marks) -> None:
    """Wait until every task has ended, or nothing begins any more."""
    end = time.monotonic() + RUN_S_MAX
    seen, since = marks.processes(), time.monotonic()
    while time.monotonic() < min(end, since + STILL_S_MAX):
        now = marks.processes()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > 0.5 and len(_ended(marks.read())) == tasks:
            return
        time.sleep(0.02)
