"""What the tasks of a job used of what they had asked for, and what to ask for the next time.

Of the tasks that succeeded, since what failed may have been cut short: the median and the most of
each figure that was measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

LITTLE: Final = 0.7
"""Who used less than this part of what was asked for is told what would do."""

SPARE: Final = 1.25
"""Of memory and time so many times the most that was used is advised."""

FLAGS: Final = {"cpu": "--cpu {}", "memory": "--memory {}M", "time_limit": "--time-limit {}s"}
"""Advice as it is typed behind a submit."""

_MIB: Final = 1 << 20


class Used(NamedTuple):
    """One figure: of all tasks that it was measured of.

    Attributes:
        asked: What each was given; None is nothing of it.
        median: Of the tasks.
        most: Of one task.
    """

    asked: float | None
    median: float
    most: float

    @property
    def share(self) -> float | None:
        """How much of what was asked for the median used, from 0 on."""
        return self.median / self.asked if self.asked else None


class Efficiency(NamedTuple):
    """A job's figures; None is what was not measured.

    Attributes:
        tasks: How many succeeded.
        cpus: Cores: CPU time through duration.
        memory: Bytes, at their peaks.
        seconds: From start to end; what was asked for is the time limit.
    """

    tasks: int
    cpus: Used | None
    memory: Used | None
    seconds: Used | None

    def advice(self) -> dict[str, int]:
        """Return what to ask for instead, by the names of the flags: cores, MiB, seconds."""
        found: dict[str, int] = {}
        if (cpus := self.cpus) and _is_little(cpus):
            few = max(math.ceil(cpus.most - 0.1), 1)
            if few < (cpus.asked or 0):
                found["cpu"] = few
        if (memory := self.memory) and _is_little(memory):
            step = 64 if memory.most < 1024 * _MIB else 256
            mib = math.ceil(SPARE * memory.most / _MIB / step) * step
            if mib < (memory.asked or 0) / _MIB:
                found["memory"] = mib
        if (seconds := self.seconds) and _is_little(seconds):
            step = 10 if seconds.most < 100 else 60  # noqa: PLR2004 - seconds
            limit_s = math.ceil(SPARE * seconds.most / step) * step
            if limit_s < (seconds.asked or 0):
                found["time_limit"] = limit_s
        return found


def of_job(info: Mapping[str, Any], tasks: Iterable[Mapping[str, Any]]) -> Efficiency:
    """Return the figures of a job.

    Args:
        info: As `GET /jobs/{id}` tells it.
        tasks: As `GET /jobs/{id}/tasks` tells them.
    """
    spec: Mapping[str, Any] = info.get("spec") or {}
    asked: Mapping[str, Any] = info.get("resources") or {}
    ended = [task for task in tasks if task["state"] == "succeeded"]
    cpus, memory, seconds = [], [], []
    for task in ended:
        took_s, cpu_s = task.get("duration_s"), task.get("cpu_seconds")
        if took_s:
            seconds.append(float(took_s))
            if cpu_s is not None:
                cpus.append(float(cpu_s) / float(took_s))
        if task.get("peak_memory_bytes") is not None:
            memory.append(float(task["peak_memory_bytes"]))
    mib = asked.get("memory_mib")
    return Efficiency(
        len(ended),
        _used(asked.get("cpus"), cpus),
        _used(None if mib is None else mib * _MIB, memory),
        _used(spec.get("time_limit"), seconds),
    )


def _used(asked: float | None, values: list[float]) -> Used | None:
    return Used(asked, statistics.median(values), max(values)) if values else None


def _is_little(used: Used) -> bool:
    return bool(used.asked) and used.most < LITTLE * (used.asked or 0.0)
