"""The side of a peer: a process in the peer's environment that is asked for one work at a time.

It reads a JSON line, `{"work": ..., "size": ...}`, from stdin and answers one: `{"figure": ...}`
with more figures beside it, `{"lacks": why}` where the system has no such thing, or
`{"failed": why}`. The first line, `{"ready": version}`, comes once the system is up. At the end of
stdin it ends the system and itself. Standard library only.

What it answers was verified: a method raises `NotDone` where the work was not.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.machine import Usage, descendants, p99, usage

TRUE = "/bin/true"
LOOK_AGAIN_S = 0.002
Figures = dict[str, Any]


class NotDone(Exception):
    """The system said that the work is done, and it is not."""


class Driver:
    """One system; works are methods of their names, and those that are absent it lacks.

    Attributes:
        folder: For all that it writes; removed at the end.
        lacks: Why a work is absent, where there is more to say than that.
    """

    lacks: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def version(self) -> str:
        """Return what was measured."""
        raise NotImplementedError

    def pids(self) -> list[int]:
        """Return the processes of the system, without those of tasks."""
        return []

    def close(self) -> None:
        """End the system."""

    def used(self) -> Usage:
        """Return what the system has used by now."""
        return usage(self.pids())

    def throughput(self, run: Callable[[], int], tasks: int) -> Figures:
        """Time a run that returns how many tasks it knows to have succeeded."""
        before = self.used()
        began = time.perf_counter()
        done = run()
        took = time.perf_counter() - began
        check(done, tasks)
        figures: Figures = {"figure": tasks / took}
        if self.pids():
            figures["own_ms_each"] = 1e3 * (self.used().own_s - before.own_s) / tasks
        return figures

    def idle(self, seconds: int) -> Figures:
        """Watch the system do nothing."""
        if not self.pids():
            return {"lacks": "it has no process that waits"}
        before = self.used()
        time.sleep(seconds)
        after = self.used()
        cpu_s = after.own_s + after.reaped_s - before.own_s - before.reaped_s
        return {"figure": 100 * cpu_s / seconds, "mib": after.rss_bytes / 2**20}


class PoolDriver(Driver):
    """A system for Python functions: what futures are called differs, and nothing else."""

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Submit one call; arguments may be futures."""
        raise NotImplementedError

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for futures and return their results."""
        raise NotImplementedError

    def calls(self, fn: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
        """Submit many calls of one argument each."""
        return [self.call(fn, argument) for argument in arguments]

    def true(self, tasks: int) -> Figures:
        """Run a function that runs the process."""
        return self.throughput(lambda: self._succeeded(process, tasks), tasks)

    def output(self, tasks: int) -> Figures:
        """Run a function that runs the process and returns what it wrote."""
        return self.throughput(lambda: self._succeeded(echo, tasks), tasks)

    def functions(self, calls: int) -> Figures:
        """Run calls that do nothing."""
        return self.throughput(lambda: self._succeeded(nothing, calls), calls)

    def latency(self, times: int) -> Figures:
        """Run one process after the other."""
        return latencies(times, lambda: check(self.results([self.call(process, 0)])[0], 0))

    def one_call(self, times: int) -> Figures:
        """Run one call after the other."""
        return latencies(times, lambda: check(self.results([self.call(nothing, 0)])[0], 0))

    def chain(self, steps: int) -> Figures:
        """Run functions that run a process, each with the future of the one before."""
        began = time.perf_counter()
        last = self.call(process, 0)
        for step in range(1, steps):
            last = self.call(process, step, last)
        check(self.results([last])[0], steps - 1)
        return {"figure": 1e3 * (time.perf_counter() - began) / steps}

    def fan(self, width: int) -> Figures:
        """Run a function, then many with its future, then one with all of theirs."""
        began = time.perf_counter()
        first = self.call(process, 0)
        middle = [self.call(process, n, first) for n in range(width)]
        check(self.results([self.call(total, *middle)])[0], sum(range(width)))
        return {"figure": time.perf_counter() - began}

    def queue(self, jobs: int) -> Figures:
        """Submit calls while each slot is busy; what they take of memory, in all processes."""
        gate = self.folder / f"gate-{time.monotonic_ns()}"
        busy = [self.call(block, str(gate)) for _ in range(2)]
        pids = [*self.pids(), os.getpid()]
        before = usage(pids)
        began = time.perf_counter()
        futures = self.calls(nothing, range(jobs))
        took = time.perf_counter() - began
        time.sleep(1)  # some send in a thread of their own; memory is looked at afterwards
        grown = usage(pids).rss_bytes - before.rss_bytes
        gate.touch()
        self.results(busy)
        check(self.results(futures), list(range(jobs)))
        return {"figure": jobs / took, "bytes_each": grown / jobs}

    def _succeeded(self, fn: Callable[..., Any], calls: int) -> int:
        results = self.results(self.calls(fn, range(calls)))
        return sum(result == n for n, result in enumerate(results))


def process(number: int, *_after: Any) -> int:
    """Run the process; returns the number if its exit code is 0."""
    done = subprocess.run([TRUE], stdin=subprocess.DEVNULL, check=False)
    return number if done.returncode == 0 else -1


def echo(number: int) -> int:
    """Run a process that writes, and return the number that it wrote."""
    return int(subprocess.run(["/bin/echo", str(number)], capture_output=True, check=True).stdout)


def nothing(number: int, *_after: Any) -> int:
    """Return the number."""
    return number


def total(*numbers: int) -> int:
    """Return the sum."""
    return sum(numbers)


def block(gate: str) -> int:
    """Keep a slot until a file is there, for two minutes at most."""
    until(Path(gate).exists, 120, look_again_s=0.02)
    return 0


def check(got: Any, expected: Any) -> None:
    """Raise `NotDone` unless something is as it must be."""
    if got != expected:
        raise NotDone(f"expected {str(expected)[:60]}, got {str(got)[:60]}")


def latencies(times: int, run: Callable[[], object]) -> Figures:
    """Time one run after the other, the first of them uncounted."""
    run()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        took.append(1e3 * (time.perf_counter() - began))
    return {"figure": statistics.median(took), "p99": p99(took)}


def until(
    condition: Callable[[], object], seconds: float, *, look_again_s: float = LOOK_AGAIN_S
) -> None:
    """Look until a condition is true; a peer that cannot tell is looked at.

    Raises:
        NotDone: It stayed false.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise NotDone(f"not so after {seconds:g} s")
        time.sleep(look_again_s)


def answer(driver: Driver, work: str, size: int) -> Figures:
    """Do one work and return what is said of it; never raises."""
    method = getattr(driver, "one_call" if work == "call" else work, None)
    if method is None or work in driver.lacks:
        return {"lacks": driver.lacks.get(work, "it has no such thing")}
    try:
        figures: Figures = method(size)
    except Exception as error:
        traceback.print_exc()
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    return figures


def end_all(pids: Sequence[int]) -> None:
    """Kill processes that this driver has started, and what came of them."""
    for pid in descendants(pids) - {os.getpid()}:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue


def serve(make: Callable[[Path], Driver]) -> None:
    """Be a driver until stdin ends."""
    # Libraries print where they like; answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(line: Figures) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    folder = Path(tempfile.mkdtemp(prefix="hpc-peer-"))
    driver: Driver | None = None
    try:
        try:
            driver = make(folder)
        except Exception as error:
            traceback.print_exc()
            say({"failed": f"{type(error).__name__}: {error}"[:200]})
            return
        say({"ready": driver.version()})
        for line in sys.stdin:
            asked = json.loads(line)
            say(answer(driver, asked["work"], asked["size"]))
    finally:
        if driver is not None:
            driver.close()
        end_all([os.getpid()])
        shutil.rmtree(folder, ignore_errors=True)
