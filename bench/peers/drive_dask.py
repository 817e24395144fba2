"""Dask distributed: a scheduler and a worker of two threads, no nanny, no dashboard."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers.driver import Figures, PoolDriver, end_all, nothing, serve, until
from bench.peers.killing import Marks, kill_midway
from distributed import Client

LOOPBACK = ["--host", "127.0.0.1", "--no-dashboard"]


class Dask(PoolDriver):
    """One worker."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.processes: list[subprocess.Popen[bytes]] = []
        told = folder / "scheduler.json"
        self._start("scheduler", *LOOPBACK, "--port", "0", "--scheduler-file", str(told))
        until(lambda: told.exists() and told.read_text().rstrip().endswith("}"), 60)
        self.address = address = json.loads(told.read_text())["address"]
        self._start(
            "worker", address, *LOOPBACK, "--nthreads", "2", "--no-nanny", "--memory-limit", "0",
            "--local-directory", str(folder),
        )  # fmt: skip
        self.client = Client(address, timeout=30)
        self.client.wait_for_workers(1, timeout=60)
        self.results([self.call(nothing, 0)])

    def version(self) -> str:
        return f"distributed {version('distributed')}"

    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def close(self) -> None:
        end_all(self.pids())
        for process in self.processes:
            process.wait(10)

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(fn, *args, pure=False)

    def calls(self, fn: Callable[..., Any], arguments: Sequence[Any]) -> list[Any]:
        return list(self.client.map(fn, arguments, pure=False))

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return list(self.client.gather(list(futures)))

    def kill(self, tasks: int) -> Figures:
        """Kill the scheduler, and start one at the same address; the client stays as it is."""
        marks = Marks(self.folder)
        futures: list[Any] = []

        def kill() -> None:
            self.processes[0].kill()
            self.processes[0].wait(10)

        def start() -> None:
            self._start("scheduler", *LOOPBACK, "--port", self.address.rpartition(":")[2])

        figures = kill_midway(
            tasks,
            marks,
            submit=lambda: futures.extend(
                self.client.map(run, [[*marks.command, str(n)] for n in range(tasks)], pure=False)
            ),
            kill=kill,
            start=start,
            workers=[self.processes[1].pid],
        )
        told = Counter(future.status for future in futures)
        return {**figures, "said": ", ".join(f"{n} futures {word}" for word, n in told.items())}

    def _start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "dask", *arguments]
        self.processes.append(subprocess.Popen(command, cwd=self.folder))


def run(command: list[str]) -> int:
    """Run a process; returns its exit code."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    serve(Dask)
