"""Kills of real processes: a Hub under load, and a relay with its supervisor, again and again.

Everything is watched from outside: by what clients were told, by the log, by what tasks wrote to a
file, and by what stands in the command lines of processes. `hpc selftest` runs it, and so do tests.
It never touches another Hub than that of the cluster that it is given.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpc.client import Client, Job
from hpc.errors import NoHub, TimedOut
from hpc.ranges import numbers
from hpc.testing.processes import CONDITION_S_MAX, Cluster, until
from hpc.transport.http_client import HttpClient

WRITERS: Final = 3
BATCH_EVENTS: Final = 20
BATCHES_MIN: Final = 20
"""Acknowledged between two kills."""

ENDS_S_MAX: Final = 60.0
TASKS: Final = 8
"""Of the job that runs beside each kill of a Hub."""

RELAY_KILLS: Final = (("relay",), ("supervisor", "relay"), ("relay", "guard"))
"""Who is killed, in this order; where all three are, only the next start can end what is left."""

# Forked twice, in a session of its own, nothing in its environment, no mark in its limits.
DAEMON: Final = """
import os, resource, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        resource.setrlimit(resource.RLIMIT_RSS, (1 << 40, resource.RLIM_INFINITY))
        os.execve('/bin/sh', ['sh', '-c', 'echo > ' + sys.argv[1] + '; sleep 600; :'], {})
    os._exit(0)
os.wait()
time.sleep(600)
"""


@dataclass
class Kills:
    """What was done, and what was seen that must not be.

    Attributes:
        acknowledged: Events that a client was told are recorded.
        executions: Tasks that began, each time.
        lost: What was acknowledged and is not there, or not once, or never ended.
        twice: Attempts that ran twice, or that the log does not know.
        orphans: Processes that outlived who ran them.
    """

    kills: int = 0
    acknowledged: int = 0
    executions: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Whether something was tried, and nothing found."""
        is_tried = self.kills > 0 < self.acknowledged
        return is_tried and not (self.lost or self.twice or self.orphans)


class Writer(threading.Thread):
    """Sends batches until it is told to stop; each is sent again, as it was, until it is answered.

    Attributes:
        acknowledged: The receipts, by batch id.
    """

    def __init__(self, client: Client, number: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.number = number
        self.acknowledged: dict[str, dict[str, Any]] = {}
        self.enough = threading.Event()

    def run(self) -> None:
        """Send one batch after the other."""
        n = 0
        while not self.enough.is_set():
            n += 1
            batch_id = f"writer{self.number}/{n}"
            receipt = self.persistently([_stats(self.number, n, i) for i in _EACH], batch_id)
            if receipt is not None:
                self.acknowledged[batch_id] = receipt

    def persistently(self, events: list[dict[str, Any]], batch_id: str) -> dict[str, Any] | None:
        """Return the receipt, or None if it was told to stop before there was one."""
        while True:
            try:
                return self.client.ingest(events, batch_id=batch_id)
            except NoHub:
                if self.enough.wait(0.01):
                    return None


_EACH: Final = range(BATCH_EVENTS)


def _stats(writer: int, at: int, used_kb: int) -> dict[str, Any]:
    return {
        "kind": "HardwareStats",
        "at": at,
        "payload": {
            "ctx": {"ns_id": "monitor", "node_id": f"w{writer}"},
            "spec": {"cpu_usage": "1%", "mem_used_kb": used_kb, "mem_total_kb": at},
        },
    }


def kill_hub(cluster: Cluster, folder: Path, kills: int) -> Kills:
    """Kill the Hub in mid-run, so many times, while writers send and a relay runs tasks.

    Args:
        cluster: With a Hub that has recorded nothing yet.
        folder: For what the tasks write.
        kills: Each after some batches that were acknowledged.
    """
    found = Kills()
    starts = folder / "starts"
    relay = cluster.relay("killed-hub")
    jobs: list[Job] = []
    with _writing(cluster) as writers:
        for number in range(kills):
            jobs.append(_marking(cluster, starts, f"beside-{number}"))
            until(_has_more(writers))
            assert cluster.hub is not None
            cluster.hub.kill()
            found.kills += 1
            cluster.start_hub()
    found.lost += _open(jobs)
    relay.terminate()
    receipts = {id_: receipt for w in writers for id_, receipt in w.acknowledged.items()}
    events = events_of(cluster.http())
    found.acknowledged = len(receipts) * BATCH_EVENTS + len(jobs)
    found.lost += not_as_told(receipts, events) + _not_counted(cluster, events)
    lines = starts.read_text().splitlines() if jobs else []
    found.executions = len(lines)
    found.twice += unseen(lines, events)
    return found


def kill_relays(cluster: Cluster, folder: Path, *, gone_s: float) -> Kills:
    """Kill a relay, its supervisor and its guard, as `RELAY_KILLS` has it, and look who is left.

    Args:
        cluster: With a Hub.
        folder: For what the tasks write, by which they are known.
        gone_s: How long what they ran may outlive them.
    """
    found = Kills()
    client = cluster.client()
    for number, whom in enumerate(RELAY_KILLS):
        place = folder / f"turn-{number}"
        place.mkdir()
        relay = cluster.relay("killed")
        guard, supervisor = supervision(relay.pid)
        job = client.submit(script(place), memory=64)
        found.acknowledged += 1
        until(_all_there(place))
        found.executions += 1
        for who in whom:
            if who == "relay":
                relay.kill()
            else:
                os.kill({"guard": guard, "supervisor": supervisor}[who], signal.SIGKILL)
            found.kills += 1
        found.orphans += _left(place, gone_s)
        job.cancel()
    relay = cluster.relay("killed")
    found.lost += _open([client.submit("true", memory=16)])
    found.acknowledged += 1
    relay.terminate()
    return found


def not_as_told(
    receipts: Mapping[str, Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return what receipts of writers say and the log does not: each is there once, and there."""
    recorded = Counter(event["id"] for event in events)
    first = {event["id"]: event["seq"] for event in reversed(events)}
    told = [
        f"batch {id_} was acknowledged at {receipt['first_seq']} with {BATCH_EVENTS} events, "
        f"the log has {recorded[id_]} at {first.get(id_)}"
        for id_, receipt in receipts.items()
        if recorded[id_] != BATCH_EVENTS or first[id_] != receipt["first_seq"]
    ]
    if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
        told.append("the seqs of the log are not 1, 2, 3 and so on")
    return told


def unseen(lines: Sequence[str], events: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return attempts (`JOB TASK NUMBER`) that ran twice, or of which the log has no claim."""
    claimed = {
        f"{ctx['job_id']} {task} {ctx['attempt']}"
        for event in events
        if event["kind"] == "JobClaimed"
        for ctx in [event["payload"]["ctx"]]
        for task in numbers(ctx["tasks"])
    }
    ran = Counter(lines)
    return [f"attempt {one} ran {times} times" for one, times in ran.items() if times > 1] + [
        f"attempt {one} ran, and no claim of it is in the log" for one in ran if one not in claimed
    ]


def events_of(http: HttpClient) -> list[dict[str, Any]]:
    """Return the whole log."""
    events: list[dict[str, Any]] = []
    cursor = 0
    while True:
        page = http.get("/events", [("cursor", str(cursor)), ("limit", "10000")]).json()
        events += page["data"]
        if page["next"] is None:
            return events
        cursor = page["next"]


KINDS: Final = ("daemon", "child", "session", "bare")
"""What `script` starts, and the files by which they say that they are there."""


def script(place: Path) -> str:
    """Return a script that runs children of every kind, and never ends."""
    (place / "daemon.py").write_text(DAEMON)
    where, python = shlex.quote(str(place)), shlex.quote(sys.executable)
    named = f"sh -c 'echo > \"$0\"; sleep 600; :' {where}/{{}} &"
    return (
        f"{python} {where}/daemon.py {where}/daemon & "
        f"{named.format('child')} setsid {named.format('session')} "
        f"env -i /usr/bin/setsid /bin/{named.format('bare')} wait"
    )


def living(place: Path) -> dict[int, str]:
    """Return the processes whose command line names the folder; zombies have none."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                if str(place) in line:
                    found[int(entry.name)] = line
    return found


def supervision(relay: int) -> tuple[int, int]:
    """Return the guard and the supervisor of a relay, by their process ids."""
    children = Path(f"/proc/{relay}/task/{relay}/children").read_text().split()
    (guard,) = (pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "hpc-guard\n")
    (supervisor,) = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return int(guard), int(supervisor)


@contextlib.contextmanager
def _writing(cluster: Cluster) -> Iterator[list[Writer]]:
    writers = [Writer(cluster.client().again(patience_s=0.0), n) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.enough.set()
        for writer in writers:
            writer.join(CONDITION_S_MAX)


def _has_more(writers: Sequence[Writer]) -> Callable[[], bool]:
    before = _acknowledged(writers)
    return lambda: _acknowledged(writers) > before + BATCHES_MIN


def _all_there(place: Path) -> Callable[[], bool]:
    return lambda: all((place / name).exists() for name in KINDS)


def _acknowledged(writers: Sequence[Writer]) -> int:
    return sum(len(writer.acknowledged) for writer in writers)


def _marking(cluster: Cluster, starts: Path, key: str) -> Job:
    mark = f'echo "$HPC_JOB_ID $HPC_TASK_ID $HPC_ATTEMPT" >> {shlex.quote(str(starts))}'
    return cluster.client().submit(f"{mark}; sleep 0.1", key=key, tasks=f"0-{TASKS - 1}", memory=16)


def _open(jobs: Sequence[Job]) -> list[str]:
    """Return those that do not succeed in time."""
    told = []
    for job in jobs:
        try:
            state = job.wait(ENDS_S_MAX)["state"]
        except TimedOut:
            state = f"not over after {ENDS_S_MAX:g} s"
        if state != "succeeded":
            told.append(f"job {job.id} was acknowledged and is {state}")
    return told


def _not_counted(cluster: Cluster, events: Sequence[Mapping[str, Any]]) -> list[str]:
    nodes = cluster.client().pull("monitor")["facts"].get("nodes", {})
    counted = sum(row["reports"] for row in nodes.values())
    sent = sum(event["kind"] == "HardwareStats" for event in events)
    return [] if counted == sent else [f"the log has {sent} samples, the facts count {counted}"]


def _left(place: Path, gone_s: float) -> list[str]:
    try:
        until(lambda: not living(place), gone_s)
    except AssertionError:
        left = [f"after {gone_s:g} s process {p} is left: {s}" for p, s in living(place).items()]
        for pid in living(place):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return left
    return []
