"""`xargs -P2`: no server and no record, the least that starting processes costs."""

from __future__ import annotations

import subprocess

from bench.peers.driver import TRUE, Driver, Figures, check, latencies, serve


class Xargs(Driver):
    """The command of GNU findutils, or another's."""

    def version(self) -> str:
        told = subprocess.run(
            ["xargs", "--version"], check=False, capture_output=True, text=True
        ).stdout
        return told.partition("\n")[0] or "xargs"

    def true(self, tasks: int) -> Figures:
        return self.throughput(lambda: xargs(TRUE, tasks), tasks)

    def output(self, tasks: int) -> Figures:
        """All into one file, which is read afterwards."""

        def run() -> int:
            path = self.folder / "output"
            with path.open("wb") as file:
                xargs("/bin/echo", tasks, file)
            lines = path.read_text().split()
            return len(set(lines) & {str(n) for n in range(tasks)})

        return self.throughput(run, tasks)

    def latency(self, times: int) -> Figures:
        return latencies(times, lambda: xargs(TRUE, 1))

    def command(self, times: int) -> Figures:
        return self.latency(times)


def xargs(command: str, tasks: int, stdout: object = None) -> int:
    """Run a command for each number; xargs ends by 123 if one has failed."""
    numbers = "\n".join(map(str, range(tasks))).encode()
    done = subprocess.run(
        ["xargs", "-P2", "-n1", command], input=numbers, stdout=stdout, check=False
    )
    check(done.returncode, 0)
    return tasks


if __name__ == "__main__":
    serve(Xargs)
