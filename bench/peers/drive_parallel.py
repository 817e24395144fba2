"""GNU parallel with two jobs and `--joblog`, whose exit codes are counted."""

from __future__ import annotations

import os
import shlex
import subprocess

from bench.peers.driver import TRUE, Driver, Figures, check, latencies, serve
from bench.peers.killing import Marks, kill_midway


class Parallel(Driver):
    """The command on `PATH`."""

    def version(self) -> str:
        told = subprocess.run(
            ["parallel", "--version"], capture_output=True, check=True, text=True
        ).stdout
        return told.partition("\n")[0]

    def true(self, tasks: int) -> Figures:
        return self.throughput(lambda: self._run(TRUE, tasks), tasks)

    def output(self, tasks: int) -> Figures:
        """With a file of each task's output, as `--results` keeps them."""

        def run() -> int:
            results = self.folder / "results"
            done = self._run("/bin/echo", tasks, "--results", str(results))
            kept = sum(path.read_text().strip().isdigit() for path in results.rglob("stdout"))
            return min(done, kept)

        return self.throughput(run, tasks)

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: check(self._run(TRUE, 1), 1))

    def command(self, times: int) -> Figures:
        return self.latency(times)

    def kill(self, tasks: int) -> Figures:
        """Kill it, and have it resume by its log."""
        marks = Marks(self.folder)
        log = self.folder / "killed-joblog"
        task = shlex.join(marks.command) + " {}"
        numbers = "\n".join(map(str, range(tasks)))
        running: list[subprocess.Popen[str]] = []

        def start() -> None:
            command = ["parallel", "-j2", "--joblog", str(log), "--resume", task]
            env = {**os.environ, "PARALLEL_HOME": str(self.folder)}
            running.append(subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=env))
            assert running[-1].stdin is not None
            running[-1].stdin.write(numbers)
            running[-1].stdin.close()

        def kill() -> None:
            running[-1].kill()
            running[-1].wait(10)

        try:
            return kill_midway(tasks, marks, submit=start, kill=kill, start=start, workers=[])
        finally:
            kill()

    def _run(self, command: str, tasks: int, *more: str) -> int:
        log = self.folder / "joblog"
        log.unlink(missing_ok=True)
        subprocess.run(
            ["parallel", "-j2", "--joblog", str(log), *more, command],
            input="\n".join(map(str, range(tasks))),
            text=True,
            check=False,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PARALLEL_HOME": str(self.folder)},
        )
        rows = [line.split("\t") for line in log.read_text().splitlines()[1:]]
        return sum(row[6] == "0" for row in rows)


if __name__ == "__main__":
    serve(Parallel)
