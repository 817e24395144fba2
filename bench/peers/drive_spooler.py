"""task-spooler: one `tsp` command for each task, a daemon with two slots and its own socket."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import ClassVar

from bench.peers.driver import TRUE, Driver, Figures, end_all, latencies, serve, until


class Spooler(Driver):
    """The daemon is started by the first command and found by its socket."""

    lacks: ClassVar[dict[str, str]] = {"queue": "each job is a client that waits"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.env = {
            **os.environ,
            "TS_SOCKET": str(folder / "socket"),
            "TMPDIR": str(folder),
            "TS_MAXFINISHED": "100000",
            "TS_MAXCONN": "1000",
        }
        self._tsp("-S", "2")
        self._pid = _holder(folder / "socket")

    def version(self) -> str:
        return self._tsp("-V").partition("\n")[0]

    def pids(self) -> list[int]:
        return [] if self._pid is None else [self._pid]

    def close(self) -> None:
        self._tsp("-K")
        end_all(self.pids())

    def true(self, tasks: int) -> Figures:
        def run() -> int:
            for _ in range(tasks):
                self._tsp("-n", TRUE)
            return self._await(tasks)

        return self.throughput(run, tasks)

    def output(self, tasks: int) -> Figures:
        """With a file of each task's output, as it is by default."""

        def run() -> int:
            for number in range(tasks):
                self._tsp("/bin/echo", str(number))
            done = self._await(tasks)
            kept = {path.read_text().strip() for path in self.folder.glob("ts-out.*")}
            return min(done, len(kept & {str(number) for number in range(tasks)}))

        return self.throughput(run, tasks)

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: self._tsp("-nf", TRUE))

    def command(self, times: int) -> Figures:
        return self.latency(times)

    def chain(self, steps: int) -> Figures:
        def run() -> int:
            self._tsp("-n", TRUE)
            for _ in range(steps - 1):
                self._tsp("-n", "-d", TRUE)
            return self._await(steps)

        return {"figure": 1e3 / self.throughput(run, steps)["figure"]}

    def _tsp(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tsp", *arguments], env=self.env, capture_output=True, check=True, text=True
        )
        return done.stdout

    def _await(self, tasks: int) -> int:
        """Wait until so many have finished, and forget them; how many ended by exit code 0."""

        def finished() -> list[list[str]]:
            rows = [line.split() for line in self._tsp().splitlines()[1:]]
            return [row for row in rows if len(row) > 3 and row[1] == "finished"]

        until(lambda: len(finished()) >= tasks, 100, look_again_s=0.02)
        good = sum(row[3] == "0" for row in finished())
        self._tsp("-C")
        return good


def _holder(socket: Path) -> int | None:
    """Return the process that listens at a socket: its daemon has left our descendants."""
    told = next(
        (line for line in Path("/proc/net/unix").read_text().splitlines() if str(socket) in line),
        None,
    )
    if told is None:
        return None
    link = f"socket:[{told.split()[6]}]"
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(str(fd.readlink()) == link for fd in folder.iterdir()):
                return int(folder.parent.name)
        except OSError:
            continue
    return None


if __name__ == "__main__":
    serve(Spooler)
