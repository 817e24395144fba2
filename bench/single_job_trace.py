"""What happens between a submit and the known end of one job, by the kernel's clock: as root.

`python -m bench.single_job_trace` runs some single jobs while tracefs notes who runs where, who
wakes whom, what is executed and what is synced, and prints the last job's moments in µs from before
its submit. It measures nothing that stands in a table: it says where the time of
`bench_submit_to_done` goes. The events cost a few µs each.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hpc.client import Client
from hpc.testing.processes import Cluster

TRACEFS: Final = Path("/sys/kernel/tracing")
EVENTS: Final = (
    "sched/sched_switch",
    "sched/sched_waking",
    "sched/sched_process_fork",
    "sched/sched_process_exec",
    "sched/sched_process_exit",
    "syscalls/sys_enter_fdatasync",
    "syscalls/sys_exit_fdatasync",
)
WARM_UP: Final = 60
TRACED: Final = 12
_LINE: Final = re.compile(r"\s*(.+)-(\d+)\s+\[(\d+)\]\s+\S+\s+([\d.]+): (.*)")


@contextmanager
def traced() -> Iterator[None]:
    """Note the events while the block runs."""
    _set("trace", "")
    _set("trace_clock", "mono")  # that of time.perf_counter
    try:
        for event in EVENTS:
            _set(f"events/{event}/enable", "1")
        _set("tracing_on", "1")
        yield
    finally:
        _set("tracing_on", "0")
        for event in EVENTS:
            _set(f"events/{event}/enable", "0")


def moments(names: dict[int, str], began_s: float, ended_s: float) -> Iterator[str]:
    """Yield what happened between two times, a line each."""
    for line in (TRACEFS / "trace").read_text().splitlines():
        found = _LINE.match(line)
        if found is None or not began_s <= float(found[4]) <= ended_s:
            continue
        pid, cpu, what = int(found[2]), int(found[3]), found[5]
        what = re.sub(r"(prev|next)?_?prio=\d+ ?", "", what)
        what = re.sub(r"pid=(\d+)", lambda m: f"pid={names.get(int(m[1]), m[1])}", what)
        at_us = 1e6 * (float(found[4]) - began_s)
        yield f"{at_us:7.0f} µs  cpu {cpu}  {names.get(pid, found[1]):<16}{what}"


def processes() -> dict[int, str]:
    """Names of the processes and their threads by id, this one too."""
    names = {os.getpid(): "client"}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        words = file.read_bytes().decode(errors="replace").split("\0")
        if "hpc.relay.supervisor" in words:
            name = "supervisor"
        elif "hpc" in words and words[words.index("hpc") + 1] in ("hub", "relay"):
            name = words[words.index("hpc") + 1]
        else:
            continue
        for thread in (file.parent / "task").iterdir():
            said = (thread / "comm").read_text().strip()
            names[int(thread.name)] = f"{name}/{said}" if said.startswith("hpc-") else name
    return names


def one(client: Client) -> tuple[float, float]:
    """Run a job; returns when that began and ended, in s."""
    began_s = time.perf_counter()
    assert client.submit(["/bin/true"]).wait(60)["state"] == "succeeded"
    return began_s, time.perf_counter()


def main() -> None:
    """Trace some jobs and print the last one's."""
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder), lease_s=30) as cluster:
        cluster.relay()
        client = cluster.client()
        for _ in range(WARM_UP):
            one(client)
        with traced():
            times = [one(client) for _ in range(TRACED)]
        print("\n".join(moments(processes(), *times[-1])))
        print(*(f"{1e3 * (end - begin):.2f}" for begin, end in times), "ms", file=sys.stderr)


def _set(file: str, value: str) -> None:
    (TRACEFS / file).write_text(value)


if __name__ == "__main__":
    main()
