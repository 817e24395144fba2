"""What a command costs from Enter to prompt, beside an interpreter that does nothing.

In turns, so that what else the machine does meets all of them alike; bytecode lies ready, as an
installer leaves it. Of each the least of the turns, by the clock on the wall and by its CPU time:
on a machine that is shared the first says how busy that was.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpc.testing.processes import Cluster

TIMES = 11
MOST = 7.0
EMPTY = "empty"

COMMANDS = (
    "status",
    "job list",
    "job info first",
    "job wait first",
    "job log first",
    "job why first",
    "job tasks first",
    "job attempts first",
    "node list",
    "ns list",
    "ns info batch",
    "pull kernel",
    "events",
    "conflicts",
    "config show",
    "completion --of jobs",
    "submit -- true",
    "run -- true",
    "map -- true ::: a",
)


class Took(NamedTuple):
    """What a process took, in ms."""

    wall: float
    cpu: float


def bench_commands(benchmark: Any, cluster: Cluster, report: Any, tmp_path: Path) -> None:
    """Each command of a client, 11 times in turns with `python -c pass`, at a Hub and a relay."""
    cluster.relay()
    cluster.client().submit(["/bin/true"], key="first").wait(30)
    env = {name: of for name, of in cluster.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(tmp_path / "bytecode")
    lines = {EMPTY: [cluster.python, "-c", "pass"]}
    lines |= {words: [cluster.python, "-m", "hpc", *words.split()] for words in COMMANDS}
    for line in lines.values():
        run(line, env)  # its bytecode is written

    def turns() -> dict[str, list[Took]]:
        took: dict[str, list[Took]] = {words: [] for words in lines}
        for _ in range(TIMES):
            for words, line in lines.items():
                took[words].append(run(line, env))
        return took

    took = benchmark.pedantic(turns, rounds=1)
    done = cluster.client().jobs(state="succeeded")
    assert sum(1 for _ in done) >= 2 * (TIMES + 1), "what was run and mapped has run"
    walls = {words: min(each.wall for each in of) for words, of in took.items()}
    cpus = {words: min(each.cpu for each in of) for words, of in took.items()}
    wall, cpu = (of.pop(EMPTY) for of in (walls, cpus))
    worst_wall, worst_cpu = max(walls, key=walls.__getitem__), max(cpus, key=cpus.__getitem__)
    report(
        reach={"most_wall": ("<=", MOST), "most_cpu": ("<=", MOST)},
        most_wall=walls[worst_wall] / wall,
        of=worst_wall,
        most_cpu=cpus[worst_cpu] / cpu,
        by=worst_cpu,
        empty_python_ms=f"{wall:.1f}, {cpu:.1f} of CPU",
        each="; ".join(f"{w} {walls[w] / wall:.1f}, {cpus[w] / cpu:.1f}" for w in walls),
    )


def run(line: Sequence[str], env: dict[str, str]) -> Took:
    """Run a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        line, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (line, said)
    return Took(1e3 * wall, 1e3 * (used.ru_utime + used.ru_stime))
