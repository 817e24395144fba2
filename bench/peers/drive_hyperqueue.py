"""HyperQueue by its PyPI package: server and worker in one process, a client in this one.

The package has the server, the worker and a client as a library, not the `hq` command, so there is
no journal and no command line to measure. Its own wait looks once a second; here the server's
counters are asked for every 2 ms.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.machine import usage
from bench.peers.driver import (
    TRUE,
    Driver,
    Figures,
    NotDone,
    check,
    end_all,
    latencies,
    serve,
    until,
)
from hyperqueue import Client, Job
from hyperqueue.ffi.protocol import ResourceRequest

SERVER = """
import sys, pathlib
from hyperqueue.cluster import LocalCluster, WorkerConfig
cluster = LocalCluster(server_dir=sys.argv[1])
cluster.start_worker(WorkerConfig(cores=2))
pathlib.Path(sys.argv[1], "ready").touch()
sys.stdin.read()
"""


class Seen(Exception):
    """Ends the package's wait after its first look."""


class HyperQueue(Driver):
    """One worker of two cores."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        server = folder / "server"
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(server)], stdin=subprocess.PIPE, cwd=folder
        )
        until((server / "ready").exists, 60)
        self.client = Client(server)

    def version(self) -> str:
        return f"hyperqueue {version('hyperqueue')}"

    def pids(self) -> list[int]:
        return [self.server.pid]

    def close(self) -> None:
        end_all([self.server.pid])
        self.server.wait(10)

    def true(self, tasks: int) -> Figures:
        return self.throughput(lambda: self._run(self._job(tasks)), tasks)

    def output(self, tasks: int) -> Figures:
        """With a file of each task's output, as it is by default."""
        for old in self.folder.rglob("*.stdout"):
            old.unlink()

        def run() -> int:
            self._run(self._job(tasks, program="/bin/echo", keeps=True))
            kept = {path.read_text().strip() for path in self.folder.rglob("*.stdout")}
            return len(kept & {str(number) for number in range(tasks)})

        return self.throughput(run, tasks)

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: check(self._run(self._job(1)), 1))

    def chain(self, steps: int) -> Figures:
        job = self._job(steps, after=lambda n: [n - 1] if n else [])
        return {"figure": 1e3 / self.throughput(lambda: self._run(job), steps)["figure"]}

    def fan(self, width: int) -> Figures:
        last = width + 1

        def after(number: int) -> Sequence[int]:
            if number == 0:
                return []
            return [0] if number < last else range(1, last)

        tasks = width + 2
        job = self._job(tasks, after=after)
        return {"figure": tasks / self.throughput(lambda: self._run(job), tasks)["figure"]}

    def queue(self, jobs: int) -> Figures:
        """Tasks of one job that want more cores than there are."""
        before = usage(self.pids()).rss_bytes
        job = self._job(jobs, cpus=64)
        submitted: list[Any] = []

        def run() -> int:
            submitted.append(self.client.submit(job))
            return jobs

        figures = self.throughput(run, jobs)
        check(self._counters(submitted[0]), (0, 0))
        return {**figures, "bytes_each": (usage(self.pids()).rss_bytes - before) / jobs}

    def _job(
        self,
        tasks: int,
        *,
        program: str = TRUE,
        keeps: bool = False,
        cpus: int | None = None,
        after: Callable[[int], Sequence[int]] | None = None,
    ) -> Any:
        job = Job(default_workdir=self.folder)
        more: dict[str, Any] = {} if keeps else {"stdout": None, "stderr": None}
        if cpus is not None:
            more["resources"] = ResourceRequest(cpus=cpus)
        made: list[Any] = []
        for number in range(tasks):
            words = [program, str(number)] if keeps else [program]
            deps = [made[n] for n in after(number)] if after else ()
            made.append(job.program(words, deps=deps, **more))
        self._tasks = tasks
        return job

    def _run(self, job: Any) -> int:
        submitted, tasks = self.client.submit(job), self._tasks

        def is_over() -> bool:
            finished, failed = self._counters(submitted)
            if failed:
                raise NotDone(f"{failed} tasks have failed")
            return finished == tasks

        until(is_over, 110, look_again_s=0.002 if tasks < 3_000 else 0.02)
        return tasks

    def _counters(self, submitted: Any) -> tuple[int, int]:
        """Return how many tasks have finished, and failed."""
        seen: dict[Any, Any] = {}

        def look(status: Any) -> None:
            seen.update(status)
            raise Seen

        with contextlib.suppress(Seen):
            self.client.connection.wait_for_jobs([submitted.id], look)
        status = seen[submitted.id]
        if isinstance(status, dict):
            return status["finished"], status["failed"]
        return status.finished, status.failed


if __name__ == "__main__":
    serve(HyperQueue)
