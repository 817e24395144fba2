"""What must hold, seen from outside: the durable log, executions, and what was acknowledged.

Nothing here is told by what it watches but what a client or a reader is told too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container
from itertools import combinations
from typing import Any

import msgspec

from hpc import ranges
from hpc._core import Hub
from hpc.testing.sim.clients import Client, Reader, Submitted
from hpc.testing.sim.disk import LogDisk
from hpc.testing.sim.hub import LEASE_MS, RECLAIM_MS, SimHub
from hpc.testing.sim.link import Execution
from hpc.testing.sim.loop import SimLoop

OUTCOMES = ("succeeded", "failed", "cancelled")

Task = tuple[str, int]
Attempt = tuple[str, int, int]


class Checks:
    """Watches one world.

    Attributes:
        faults: What does not hold, in sentences.
        executions: In the order in which they began.
        settled: The outcome of each task, as the log says it.
        joined: The epoch of each node, likewise.
    """

    def __init__(self, loop: SimLoop, disk: LogDisk) -> None:
        self._loop = loop
        self._disk = disk
        self._scanned = 0
        self._claims: dict[Attempt, set[str]] = defaultdict(set)
        self._newest: dict[Task, int] = defaultdict(int)
        self._told: set[Attempt] = set()
        self._late: list[Execution] = []
        self._submits: Counter[str] = Counter()
        self._acknowledged: dict[str, None] = {}
        self._sent: dict[str, bytes] = {}
        self._starts: Counter[Attempt] = Counter()
        self.faults: list[str] = []
        self.executions: list[Execution] = []
        self.settled: dict[Task, str] = {}
        self.joined: dict[str, int] = {}

    def say(self, fault: str) -> None:
        """Note what does not hold."""
        self.faults.append(f"at {self._loop.time():.3f} s: {fault}")

    # Continuously

    def began(self, execution: Execution) -> None:
        """A task has started: under a claim that is in the log, and for the first time."""
        self.executions.append(execution)
        self.scan()
        key = (execution.job_id, execution.task, execution.attempt)
        self._starts[key] += 1
        if self._starts[key] > 1:
            self.say(f"attempt {_named(execution)} was started {self._starts[key]} times")
        if execution.node_id not in self._claims[key]:
            self.say(f"attempt {_named(execution)} runs unseen: no claim of it is in the log")
        if self._newest[key[:2]] > execution.attempt:
            self._late.append(execution)

    def acknowledged(self, batch_id: str) -> None:
        """A relay forgets a batch: the log has it."""
        self._acknowledged[batch_id] = None
        if batch_id not in self._disk.by_batch:
            self.say(f"reports {batch_id} were acknowledged and are not in the log")

    def sent(self, sender: str, verb: str, body: bytes) -> None:
        """A request was sent: under its id there was never another."""
        if verb != "ingest":
            return
        batch_id = msgspec.json.decode(body)["id"]
        if self._sent.setdefault(batch_id, body) != body:
            self.say(f"{sender} sent something else under the id {batch_id}")

    def scan(self) -> None:
        """Read what is new in the durable log."""
        for row in self._disk.rows[self._scanned :]:
            for event in msgspec.json.decode(row.body)["events"]:
                self._take(row.batch_id, event)
        self._scanned = len(self._disk.rows)

    def _take(self, batch_id: str, event: dict[str, Any]) -> None:
        ctx = event["payload"]["ctx"]
        job_id = ctx.get("job_id", "")
        match event["kind"]:
            case "JobClaimed":
                for task in ranges.numbers(ctx["tasks"]):
                    self._claims[job_id, task, ctx["attempt"]].add(ctx["node_id"])
                    newest = max(self._newest[job_id, task], ctx["attempt"])
                    self._newest[job_id, task] = newest
            case "JobStarted" | "JobFinished":
                told = ranges.numbers(ctx["tasks"])
                self._told |= {(job_id, task, ctx["attempt"]) for task in told}
            case "SubmitJob":
                self._submits[job_id] += 1
                if self._submits[job_id] > 1:
                    self.say(f"job {job_id} is in the log twice, the second time as {batch_id}")
            case "NodeJoined":
                self.joined[ctx["node_id"]] = ctx["epoch"]
        settles = event.get("settles") or {}
        for outcome in OUTCOMES:
            for task in ranges.numbers(settles.get(outcome) or ""):
                known = self.settled.get((job_id, task))
                if known is not None:
                    self.say(f"{job_id}/{task} was settled {known}, and again {outcome}")
                self.settled[job_id, task] = outcome

    def present(self, clients: list[Client]) -> None:
        """Everything that was acknowledged is in the log, where it was said to be."""
        for job in (one for client in clients for one in client.acked):
            self._is_there(job)
        for batch_id in [*self._acknowledged, *(i for c in clients for i in c.cancelled)]:
            if batch_id not in self._disk.by_batch:
                self.say(f"batch {batch_id} was acknowledged and is lost")

    def _is_there(self, job: Submitted) -> None:
        row = self._disk.by_batch.get(job.batch_id)
        if row is None:
            self.say(f"job {job.job_id} was acknowledged and is lost")
        elif row.first_seq != job.first_seq:
            self.say(f"job {job.job_id} was acknowledged at {job.first_seq}, is at {row.first_seq}")

    # At the end

    def unsettled(self, clients: list[Client]) -> list[str]:
        """Return acknowledged tasks that have no outcome."""
        self.scan()
        jobs = [job for client in clients for job in client.acked]
        tasks = [(job.job_id, task) for job in jobs for task in range(job.tasks)]
        return [f"{job_id}/{task}" for job_id, task in tasks if (job_id, task) not in self.settled]

    def finish(
        self, hub: SimHub, clients: list[Client], reader: Reader, injected: Container[str]
    ) -> None:
        """Look at all that can be seen only once it is over.

        Args:
            hub: As it is now.
            clients: All of them.
            reader: Likewise.
            injected: Kinds of faults that were there.
        """
        self.scan()
        if not any(kind in injected for kind in ("power_cut", "copy")):  # every outbox is empty
            self._untold()
        if not any(kind in injected for kind in ("node_lost", "copy")):  # nobody gave up too soon
            for one in self._late:
                self.say(f"attempt {_named(one)} began when a newer one had been leased")
        self.present(clients)
        for task, outcome in reader.settled.items():
            if self.settled.get(task) != outcome:
                self.say(f"{task} was read as {outcome}, the log says {self.settled.get(task)}")
        self._overlaps()
        self._replays(hub)
        for execution in self.executions:
            if execution.ended_s is None:
                self.say(f"attempt {_named(execution)} still runs")

    def _untold(self) -> None:
        for one in self.executions:
            if (one.job_id, one.task, one.attempt) not in self._told:
                self.say(f"attempt {_named(one)} ran, and no report of it is in the log")

    def _overlaps(self) -> None:
        by_task: dict[Task, list[Execution]] = defaultdict(list)
        for one in self.executions:
            if one.stops:
                by_task[one.job_id, one.task].append(one)
        for runs in by_task.values():
            for older, newer in combinations(runs, 2):
                if self._overlap(older, newer):
                    self.say(
                        f"stop task {_named(older)} ran until {older.ended_s:.3f} s beside "
                        f"{_named(newer)} from {newer.began_s:.3f} s"
                    )

    def _overlap(self, older: Execution, newer: Execution) -> bool:
        if older.was_frozen or older.ended_s is None:
            return False
        ended_s = newer.ended_s if newer.ended_s is not None else self._loop.time()
        return min(older.ended_s, ended_s) > max(older.began_s, newer.began_s)

    def _replays(self, hub: SimHub) -> None:
        replayed = Hub(hub_id=hub.hub_id, lease_ms=LEASE_MS, reclaim_ms=RECLAIM_MS)
        replayed.preload([row for row in self._disk.rows if row.flags & 1])
        replayed.replay(self._disk.rows)
        if replayed.snapshot() != hub.committer._engine.snapshot():
            self.say("the log leads to another state than the one that is live")


def _named(one: Execution) -> str:
    return f"{one.job_id}/{one.task}#{one.attempt} on {one.node_id}, epoch {one.epoch}"
