"""What a figure is worth: the disk's fdatasync, and the cores that others took meanwhile.

Standard library only, since drivers of peers import it in environments of their own. It reads
`/proc`, starts nothing and ends nothing.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SYNCS = 200

QUIET_CORES = 0.15
"""Figures beside which others took more cores than this are marked as noisy."""


class Usage(NamedTuple):
    """What processes have used.

    Attributes:
        own_s: CPU time of the processes themselves, s.
        reaped_s: CPU time of the children that they have waited for, s.
        rss_bytes: Their resident memory now; pages that they share count for each.
    """

    own_s: float
    reaped_s: float
    rss_bytes: int


class _Stat(NamedTuple):
    parent: int
    own_s: float
    reaped_s: float
    rss_bytes: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in brackets may hold anything; the state follows it.
    fields = text.rpartition(")")[2].split()
    user, system, reaped_user, reaped_system = (int(field) * TICK_S for field in fields[11:15])
    return _Stat(
        int(fields[1]), user + system, reaped_user + reaped_system, int(fields[21]) * PAGE_BYTES
    )


def descendants(roots: Iterable[int]) -> set[int]:
    """Return these processes, as far as they live, and all that come of them."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    stats = {pid: _stat(pid) for pid in pids}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        if stat is not None:
            children.setdefault(stat.parent, []).append(pid)
    found: set[int] = set()
    left = [pid for pid in roots if stats.get(pid) is not None]
    while left:
        pid = left.pop()
        if pid not in found:
            found.add(pid)
            left += children.get(pid, [])
    return found


def usage(pids: Iterable[int]) -> Usage:
    """Return what these processes have used; those that are gone count as nothing."""
    stats = [stat for stat in map(_stat, pids) if stat is not None]
    return Usage(
        sum(stat.own_s for stat in stats),
        sum(stat.reaped_s for stat in stats),
        sum(stat.rss_bytes for stat in stats),
    )


def run_s(pids: Iterable[int]) -> float:
    """Return how long threads of these processes that live now have run, s.

    To the nanosecond, as the scheduler has it: of what hardly runs the ticks of the other
    accounting say little.
    """
    threads = (thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


class Noise:
    """The cores that other programs took while the `with` block ran.

    All that the machine was busy with, less what this process, its descendants and `beside` did.
    A daemon that has left this process's descendants counts as other unless it is in `beside`.

    Attributes:
        cores: Once the block is over.
    """

    def __init__(self, beside: Iterable[int] = ()) -> None:
        self.cores = 0.0
        self._beside = list(beside)

    def __enter__(self) -> Self:
        self._before = (time.perf_counter(), _busy_s(), self._own_s())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        at_s, busy_s, own_s = self._before
        took_s = max(time.perf_counter() - at_s, 1e-3)
        others_s = (_busy_s() - busy_s) - (self._own_s() - own_s)
        # Over a moment the ticks of the accounting say nothing.
        self.cores = min(max(others_s, 0.0) / took_s, float(os.cpu_count() or 1))

    def _own_s(self) -> float:
        used = usage(descendants([os.getpid(), *self._beside]))
        return used.own_s + used.reaped_s


def _busy_s() -> float:
    """CPU time of the whole machine: all but idle and waiting; what a hypervisor took, too."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) * TICK_S


def fdatasync_us(folder: Path | None = None) -> float:
    """Return the median time of an fdatasync after an append of 4 KiB in a folder, in µs."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        took = []
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(1e6 * (time.perf_counter() - began))
    return statistics.median(took)


def p99(values: Sequence[float]) -> float:
    """Return the value that 99 of 100 do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def shown(value: float) -> str:
    """Return a figure with three or so digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
