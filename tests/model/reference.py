"""A reference model of the Hub, its leases and attempts: what must be so after each event.

Written from the protocol alone and sharing no code with the package, so that a mistake in either is
found by comparing the two. One task at a time, no log, no queue, no index: slow and plain on
purpose. All jobs take one core a task; each node offers some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

LEASE_MS = 30_000
RECLAIM_MS = 300_000
BACK_OFF_MS = 1_000
BACK_OFF_MS_MAX = 60_000
LOSSES_MAX = 3

Held = tuple[str, int, int]
"""Job, attempt, task: what a relay was granted, and names in a claim."""


@dataclass
class Attempt:
    """One lease of one task; `state` is active, ended, returned, lost or closed."""

    node: str
    state: str = "active"
    started: bool = False


@dataclass
class Task:
    """`round` counts from 0; `outcomes` has what became of it in each."""

    attempts: dict[int, Attempt] = field(default_factory=dict)
    outcome: str | None = None
    round: int = 0
    outcomes: dict[int, str] = field(default_factory=dict)
    failures: int = 0
    losses: int = 0
    not_before: int = 0
    held: bool = False
    was_started: bool = False

    def active(self) -> tuple[int, Attempt] | None:
        """The attempt that is leased now: never more than one."""
        found = [(n, one) for n, one in self.attempts.items() if one.state == "active"]
        assert len(found) <= 1, "two attempts are active"
        return found[0] if found else None


@dataclass
class Job:
    """`place` is where it stands among those of its priority."""

    tasks: dict[int, Task]
    place: int
    priority: int
    after: list[str]
    retries: int
    stops: bool
    rounds: int = 0


@dataclass
class Node:
    """A node of the newest epoch; `deadline` and `reclaim` are times of the Hub's clock, ms.

    From its deadline on nothing lives there that must never overlap: None once that is so.
    """

    epoch: int
    cpus: int
    up: bool = True
    n: int = -1
    deadline: int | None = None
    reclaim: int | None = None


@dataclass
class Answer:
    """What a claim is told; `new` is how many tasks that were ready it is given, by job."""

    status: int = 200
    again: set[Held] = field(default_factory=set)
    cancels: set[Held] = field(default_factory=set)
    new: dict[str, int] = field(default_factory=dict)


class Reference:
    """The state, and what each event makes of it; `now` is the Hub's clock, ms."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[str, Job] = {}
        self.nodes: dict[str, Node] = {}

    # Jobs

    def submit(self, job_id: str, job: Job) -> None:
        """A new job; one that exists stays as it is."""
        self.jobs.setdefault(job_id, job)
        self._doom()

    def cancel(self, job_id: str, tasks: Iterable[int]) -> None:
        """What has no outcome is cancelled, whether or not it runs."""
        for task in self._those(job_id, tasks):
            if task.outcome is None:
                self._settle(task, "cancelled")
        self._doom()

    def hold(self, job_id: str, tasks: Iterable[int], held: bool) -> None:
        """The latest word on each task holds."""
        for task in self._those(job_id, tasks):
            task.held = held

    def may_overlap(self, job_id: str, tasks: Iterable[int]) -> bool:
        """Whether one of the tasks must never overlap, was settled, and may be ending still."""
        closed = [a for t in self._those(job_id, tasks) for a in t.attempts.values()]
        ending = [
            a for a in closed if a.state == "closed" and self.nodes[a.node].deadline is not None
        ]
        return self.jobs[job_id].stops and bool(ending)

    def retry(self, job_id: str, tasks: Iterable[int]) -> None:
        """Another round for what has failed or was cancelled, with a budget of its own."""
        again = [t for t in self._those(job_id, tasks) if t.outcome in {"failed", "cancelled"}]
        job = self.jobs[job_id]
        job.rounds += bool(again)
        for task in again:
            task.outcome, task.round = None, job.rounds
            task.failures = task.losses = task.not_before = 0
        self._doom()

    # Reports

    def started(self, node: str, job_id: str, number: int, tasks: Iterable[int]) -> None:
        """It runs; told after the loss it decides nothing, but that loss counts."""
        for task in self._those(job_id, tasks):
            attempt = self._of(task, node, number)
            task.was_started |= attempt is not None
            if attempt and attempt.state == "lost" and not attempt.started:
                task.losses += 1
            if attempt and attempt.state in {"active", "lost"}:
                attempt.started = True

    def ok(self, node: str, job_id: str, number: int, tasks: Iterable[int]) -> None:
        """The first success of any attempt decides."""
        for task in self._those(job_id, tasks):
            attempt = self._of(task, node, number)
            if attempt:
                attempt.state = "ended"
                if task.outcome is None:
                    self._settle(task, "succeeded")
        self._doom()

    def failed(self, node: str, job_id: str, number: int, tasks: Iterable[int]) -> None:
        """Counts for the active attempt only."""
        for task in self._those(job_id, tasks):
            attempt = self._of(task, node, number)
            if attempt:
                counts = self.failure_counts(task, attempt)
                attempt.state = "ended"
                if counts:
                    self._fail(self.jobs[job_id], task)
        self._doom()

    def failure_counts(self, task: Task, attempt: Attempt) -> bool:
        """Whether a failure of an attempt is one of its task (R8)."""
        return attempt.state == "active"

    def returned(self, node: str, job_id: str, number: int, tasks: Iterable[int]) -> None:
        """Given back without a result: counts as nothing."""
        for task in self._those(job_id, tasks):
            attempt = self._of(task, node, number)
            if attempt and attempt.state != "ended":
                attempt.state = "returned"

    def node_lost(self, node_id: str) -> None:
        """Somebody says that a node will not come back: its attempts are lost now.

        But what must never overlap is lost when nothing of it can live there any more.
        """
        node = self.nodes[node_id]
        node.up = False
        self._lose(node_id, self._fenced(node))
        node.reclaim = None

    # Claims

    def claim(self, node_id: str, epoch: int, n: int, cpus: int, holds: set[Held]) -> Answer:
        """Join, renew, adopt; what it is told, but for which tasks are new."""
        node = self.nodes.get(node_id)
        if node and (epoch < node.epoch or (epoch == node.epoch and not node.up)):
            return Answer(409)
        if node and epoch == node.epoch and n <= node.n:
            return Answer()
        if node is None or epoch > node.epoch:
            self._lose(node_id, lambda _job, key: key not in holds)
            node = self.nodes[node_id] = Node(epoch, cpus)
        node.n, node.deadline = n, self.now + LEASE_MS
        self._adopt(node_id, holds)
        leased = self.leased(node_id)
        cancels = {key for key in holds if self._must_end(node_id, key)}
        return Answer(200, leased - holds, cancels, self._room(node.cpus - len(leased)))

    def grant(self, node_id: str, held: Held) -> None:
        """The Hub leases a task: it must be ready, under a number it never had."""
        job_id, number, task_id = held
        task = self.jobs[job_id].tasks[task_id]
        assert self.state(job_id, task_id) == "queued", f"{held} was leased, and is not ready"
        assert number == self.next_number(task), f"{held} is not the next attempt"
        task.attempts[number] = Attempt(node_id)

    def next_number(self, task: Task) -> int:
        """Above all that it ever had (R7)."""
        return max(task.attempts, default=0) + 1

    def leased(self, node_id: str) -> set[Held]:
        """What is leased to a node now."""
        return {
            (job_id, found[0], task_id)
            for job_id, job in self.jobs.items()
            for task_id, task in job.tasks.items()
            if (found := task.active()) and found[1].node == node_id
        }

    def _room(self, room: int) -> dict[str, int]:
        new: dict[str, int] = {}
        for job_id, job in sorted(self.jobs.items(), key=lambda j: (-j[1].priority, j[1].place)):
            ready = sum(self.state(job_id, task_id) == "queued" for task_id in job.tasks)
            if taken := min(ready, max(room, 0)):
                new[job_id] = taken
                room -= taken
        return new

    def _adopt(self, node_id: str, holds: set[Held]) -> None:
        for job_id, number, task_id in sorted(holds):
            task = self.jobs[job_id].tasks[task_id]
            attempt = self._of(task, node_id, number)
            free = task.outcome is None and task.active() is None
            if attempt and attempt.state == "lost" and free and not self.jobs[job_id].stops:
                attempt.state = "active"

    def _must_end(self, node_id: str, key: Held) -> bool:
        job, task = self.jobs[key[0]], self.jobs[key[0]].tasks[key[2]]
        attempt = self._of(task, node_id, key[1])
        if attempt and attempt.state in {"active", "ended", "returned"}:
            return False
        return job.stops or task.outcome is not None or bool(attempt and attempt.state == "closed")

    # Time

    def tick(self, now: int) -> None:
        """Nodes that were silent for their lease are lost; `finish` attempts after the reclaim."""
        self.now = now
        for node_id, node in self.nodes.items():
            if node.deadline is not None and node.deadline <= now:
                self._lose(node_id, lambda job, _key: job.stops)
                node.deadline = None
                if node.up:
                    node.up = False
                    node.reclaim = now + RECLAIM_MS if self.leased(node_id) else None
            elif node.reclaim is not None and node.reclaim <= now:
                self._lose(node_id, self._fenced(node))
                node.reclaim = None

    def _fenced(self, node: Node) -> Callable[[Job, Held], bool]:
        return lambda job, _key: node.deadline is None or not job.stops

    def renew_all(self, now: int) -> None:
        """The Hub has started, or stood still: everybody has a whole lease from now (R24, R29)."""
        self.now = now
        for node_id, node in self.nodes.items():
            node.deadline = now + LEASE_MS
            if not node.up and self.leased(node_id):
                node.reclaim = now + RECLAIM_MS

    # What is seen

    def state(self, job_id: str, task_id: int) -> str:
        """The state of a task, in the words of `GET /jobs/JOB/tasks`."""
        job, task = self.jobs[job_id], self.jobs[job_id].tasks[task_id]
        if task.outcome:
            return task.outcome
        if found := task.active():
            return "running" if found[1].started else "leased"
        if task.held:
            return "held"
        met = all(t.outcome == "succeeded" for a in job.after for t in self.jobs[a].tasks.values())
        return "queued" if met and task.not_before <= self.now else "waiting"

    # Steps

    def _those(self, job_id: str, tasks: Iterable[int]) -> list[Task]:
        return [self.jobs[job_id].tasks[task] for task in tasks]

    def _of(self, task: Task, node: str, number: int) -> Attempt | None:
        attempt = task.attempts.get(number)
        return attempt if attempt and attempt.node == node else None

    def _settle(self, task: Task, outcome: str) -> None:
        task.outcome = task.outcomes[task.round] = outcome
        if found := task.active():
            found[1].state = "closed"

    def _fail(self, job: Job, task: Task) -> None:
        if task.failures >= job.retries:
            self._settle(task, "failed")
        else:
            task.not_before = self.now + min(BACK_OFF_MS << task.failures, BACK_OFF_MS_MAX)
            task.failures += 1

    def _lose(self, node_id: str, which: object) -> None:
        assert callable(which)
        for key in sorted(self.leased(node_id)):
            job, task = self.jobs[key[0]], self.jobs[key[0]].tasks[key[2]]
            if which(job, key):
                attempt = task.attempts[key[1]]
                attempt.state = "lost"
                task.losses += attempt.started
                if task.losses >= LOSSES_MAX:
                    self._settle(task, "failed")

    def _doom(self) -> None:
        """What comes after a job that has not succeeded is cancelled, and so on."""
        for job in self.jobs.values():  # a job comes after earlier ones only
            tasks = [t for a in job.after for t in self.jobs[a].tasks.values()]
            if any(task.outcome in {"failed", "cancelled"} for task in tasks):
                for task in job.tasks.values():
                    if task.outcome is None:
                        self._settle(task, "cancelled")
