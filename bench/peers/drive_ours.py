"""hpc itself: a Hub and a relay with two slots, real processes, every answer after its commit."""

from __future__ import annotations

import operator
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from bench.machine import descendants, usage
from bench.peers.driver import TRUE, Driver, Figures, check, latencies, serve
from bench.peers.killing import Marks, kill_midway

import hpc
from hpc import submission
from hpc.testing.processes import Cluster

SMALL = {"memory": 16, "enforce_memory": False, "cpu": 1, "args": []}
"""With `args`, if none: a command alone is a line for the shell."""


class Ours(Driver):
    """A cluster for batch jobs and calls."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.cluster = Cluster(folder, lease_s=30).__enter__()
        self.relay = self.cluster.relay("n1", "--ns", "calls")
        self.client = self.cluster.client()
        self.client.submit([TRUE], tasks="0-99").wait(60)
        self._executor: hpc.Executor | None = None

    def version(self) -> str:
        return f"hpc {hpc.__version__}"

    def pids(self) -> list[int]:
        assert self.cluster.hub is not None
        return [self.cluster.hub.pid, self.relay.pid, *_children(self.relay.pid)]

    def close(self) -> None:
        self._without_executor()
        self.cluster.__exit__(None, None, None)

    def true(self, tasks: int) -> Figures:
        return self.throughput(lambda: self._array([TRUE], tasks), tasks)

    def output(self, tasks: int) -> Figures:
        job_id = ""

        def run() -> int:
            nonlocal job_id
            job = self.client.submit(["/bin/echo", "{}"], entries=list(range(tasks)), expand=True)
            job_id = job.id
            return int(job.wait(100)["counts"]["succeeded"])

        figures = self.throughput(run, tasks)
        for task in range(0, tasks, 97):
            check(b"".join(self.client.job(job_id).log(task)), b"%d\n" % task)
        return figures

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: check(self._array([TRUE], 1), 1))

    def command(self, times: int) -> Figures:
        return latencies(times, self._by_command)

    def chain(self, steps: int) -> Figures:
        ids = [submission.new_job_id() for _ in range(steps)]
        after = [[]] + [[job_id] for job_id in ids]
        took = self._graph(list(zip(ids, after, strict=False)), [ids[-1]])
        return {"figure": 1e3 * took / steps}

    def fan(self, width: int) -> Figures:
        first, middle, last = (submission.new_job_id() for _ in range(3))
        jobs = [(first, []), (middle, [first]), (last, [middle])]
        return {"figure": self._graph(jobs, [last], {middle: f"0-{width - 1}"}, width)}

    def functions(self, calls: int) -> Figures:
        executor = self._with_executor()

        def run() -> int:
            return sum(got == -n for n, got in enumerate(executor.map(operator.neg, range(calls))))

        return self.throughput(run, calls)

    def one_call(self, times: int) -> Figures:
        executor = self._with_executor()
        return latencies(times, lambda: check(executor.submit(operator.neg, 7).result(60), -7))

    def queue(self, jobs: int) -> Figures:
        self._without_executor()
        assert self.cluster.hub is not None
        hub = [self.cluster.hub.pid]
        spec = {**SMALL, "cpu": 1_000, "command": TRUE}
        label = submission.new_job_id()
        events = [
            submission.submit_event("batch", {**spec, "args": [str(n)]}, name=label)
            for n in range(jobs)
        ]
        before = usage(hub).rss_bytes

        def run() -> int:
            batches = [events[first : first + 5_000] for first in range(0, jobs, 5_000)]
            return sum(self.client.ingest(batch)["count"] for batch in batches)

        figures = self.throughput(run, jobs)
        check(sum(1 for _ in self.client.jobs(name=label, state="queued")), jobs)
        return {**figures, "bytes_each": (usage(hub).rss_bytes - before) / jobs}

    def kill(self, tasks: int) -> Figures:
        """Kill the Hub; its relay, guard and supervisor are the ones that must live on."""
        self._without_executor()
        marks = Marks(self.folder)
        assert self.cluster.hub is not None
        return kill_midway(
            tasks,
            marks,
            submit=lambda: self.client.submit(marks.command, tasks=f"0-{tasks - 1}"),
            kill=self.cluster.hub.kill,
            start=self.cluster.start_hub,
            workers=sorted(descendants([self.relay.pid])),
        )

    def idle(self, seconds: int) -> Figures:
        self._without_executor()
        return super().idle(seconds)

    def _array(self, command: list[str], tasks: int) -> int:
        job = self.client.submit(command, tasks=f"0-{tasks - 1}")
        return int(job.wait(100)["counts"]["succeeded"])

    def _graph(
        self,
        jobs: list[tuple[str, list[str]]],
        last: list[str],
        tasks: dict[str, str] | None = None,
        width: int = 1,
    ) -> float:
        """Submit jobs as one batch and wait for the last; seconds from before to after."""
        events = [
            submission.submit_event(
                "batch",
                {**SMALL, "command": TRUE},
                job_id=job_id,
                tasks=(tasks or {}).get(job_id),
                gate=submission.gate_of(after=after),
            )
            for job_id, after in jobs
        ]
        took = timed(lambda: (self.client.ingest(events), self.client.wait(last[0], timeout_s=100)))
        done = [self.client.info(job_id)["counts"]["succeeded"] for job_id, _ in jobs]
        check(sum(done), len(jobs) - 1 + width)
        return took

    def _by_command(self) -> None:
        done = subprocess.run(
            [self.cluster.python, "-m", "hpc", "submit", "--wait", "--", TRUE],
            env=self.cluster.env,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        check(done.returncode, 0)

    def _with_executor(self) -> hpc.Executor:
        if self._executor is None:
            self._executor = hpc.Executor(2, client=self.client)
            check(list(self._executor.map(abs, range(100))), list(range(100)))
        return self._executor

    def _without_executor(self) -> None:
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None


def timed(run: Callable[[], object]) -> float:
    """Return how long something takes, s."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _children(pid: int) -> list[int]:
    """Return the supervisor of a relay: no task runs when it is asked for."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


if __name__ == "__main__":
    os.environ.pop("HPC_HUB_URL", None)
    serve(Ours)
