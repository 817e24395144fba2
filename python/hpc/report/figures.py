"""The figures of a report: who ran where and when, who waited, what failed and why, who used what.

`Course` takes the jobs as they are now, then the events of a log in their order, and `figures`
counts. It knows nothing of how a page looks, and asks nobody: what the log does not have any more
is not in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

from hpc import ranges
from hpc.efficiency import Efficiency, of_job
from hpc.timeline import Attempt, Event, Timeline, lanes_of

GONE: Final = frozenset({"NodeLeft", "NodeLost"})
COUNTLESS: Final = frozenset({"lost", "given back"})
"""How an attempt ends that counts for nothing."""

Ready = Callable[[str, int], int | None]
"""When a task of a job could have begun, ms since 1970; None where nothing says so."""

_MS: Final = 1000
_CAUSES: Final = {
    "oom": "over its memory limit",
    "time limit": "over its time limit",
    "output limit": "over its output limit",
    "lost": "lost with its relay",
    "not found": "command not found",
    "cwd not found": "folder not found",
    "refused": "refused by its relay",
}


class Job(NamedTuple):
    """What a report keeps of a job.

    Attributes:
        info: Its `resources`, as `GET /jobs/{id}` tells them, and of its `spec` the time limit.
        counts: Tasks by state, without the states that none has.
    """

    job_id: str
    name: str
    state: str
    counts: dict[str, int]
    info: Mapping[str, Any]

    @property
    def cpus(self) -> int:
        """Cores of each task."""
        return int((self.info["resources"] or {}).get("cpus") or 1)


class Waits(NamedTuple):
    """How long some tasks waited, in seconds."""

    tasks: int
    p50: float
    p95: float
    most: float


class Cause(NamedTuple):
    """Attempts that ended for one reason; the example is the first of them."""

    text: str
    attempts: int
    tasks: int
    jobs: int
    example: Attempt


class Ran(NamedTuple):
    """What ran of a job.

    Attributes:
        attempts: How many.
        core_s: Cores times seconds.
        span_s: From the first start to the last end.
        used: Of what it asked for.
    """

    job: Job
    attempts: int
    core_s: float
    span_s: float
    used: Efficiency


class Node(NamedTuple):
    """What ran on a node: `busy` is the part of its slots' time that attempts took."""

    node_id: str
    slots: int
    attempts: int
    failed: int
    busy: float


@dataclass
class Course:
    """What a log says: the jobs as they are, then event by event in its order.

    Attributes:
        only: Events of the jobs that were taken alone count; else of all.
    """

    only: bool
    _submitted: dict[str, list[tuple[list[range], int]]] = field(default_factory=dict)
    _released: dict[str, int] = field(default_factory=dict)
    _nodes: list[tuple[int, str, int]] = field(default_factory=list)
    _jobs: dict[str, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._timeline = Timeline()

    def take(self, event: Event) -> None:
        """Take one event, as `GET /events` tells it."""
        payload = event.get("payload") or {}
        ctx, at_ms = payload.get("ctx") or {}, int(event.get("at") or 0)
        job_id, node_id = ctx.get("job_id"), str(ctx.get("node_id") or "")
        kind = event["kind"]
        if job_id is not None and self.only and job_id not in self._jobs:
            return
        self._timeline.take(event)
        if kind == "NodeJoined":
            offered = (payload.get("spec") or {}).get("resources") or {}
            self._nodes.append((at_ms, node_id, int(offered.get("cpus") or 0)))
        elif kind in GONE:
            self._nodes.append((at_ms, node_id, 0))
        elif kind == "SubmitJob":
            said = (list(ranges.spans(str(ctx.get("tasks") or "0"))), at_ms)
            self._submitted.setdefault(str(job_id), []).append(said)
        elif kind == "ReleaseJob":
            self._released[str(job_id)] = at_ms

    def take_job(self, info: Mapping[str, Any]) -> None:
        """Take a job, as `GET /jobs` tells it."""
        job_id = str(info["job_id"])
        spec = {"time_limit": (info.get("spec") or {}).get("time_limit")}
        self._jobs[job_id] = Job(
            job_id,
            str(info.get("name") or ""),
            str(info["state"]),
            {state: count for state, count in (info.get("counts") or {}).items() if count},
            {"resources": info.get("resources"), "spec": spec},
        )

    def figures(self) -> Figures:
        """Return what there is to tell of all that was taken."""
        return Figures(
            self._jobs, self._timeline.attempts(), self._ready, self._nodes, self._timeline.after
        )

    def _ready(self, job_id: str, task: int) -> int | None:
        """Return when a task was submitted, or released where that was later."""
        said = self._submitted.get(job_id)
        if said is None:
            return None
        at_ms = said[0][1]
        for spans, later_ms in said[1:]:  # an array that came in several events
            if any(task in span for span in spans):
                at_ms = later_ms
                break
        return max(at_ms, self._released.get(job_id, 0))


class Figures:
    """What a report tells. Times are ms since 1970, durations seconds.

    Attributes:
        jobs: By their ids, the oldest first.
        attempts: By when they began.
        lanes: The slot of each, from 1 on.
        begin_ms: When the first of it was submitted, or ran.
        end_ms: When the last of it ended.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        attempts: Sequence[Attempt],
        ready: Ready,
        nodes: Sequence[tuple[int, str, int]],
        after: Mapping[str, Sequence[str]],
    ) -> None:
        self.jobs = jobs
        self.attempts = attempts
        self.lanes = lanes_of(attempts)
        self._nodes = nodes
        self._waited = _waited(attempts, ready, after)
        begins = [one.begin_ms - waited for one, waited in self._waited]
        begins += [one.begin_ms for one in attempts[:1]]
        self.begin_ms = min(begins, default=0)
        last_ms = max((one.end_ms for one in attempts), default=self.begin_ms)
        self.end_ms = max(last_ms, self.begin_ms + 1)

    @cached_property
    def states(self) -> Counter[str]:
        """Tasks of all jobs by state."""
        found: Counter[str] = Counter()
        for job in self.jobs.values():
            found.update(job.counts)
        return found

    @property
    def span_s(self) -> float:
        """From begin to end."""
        return (self.end_ms - self.begin_ms) / _MS

    def cores(self, one: Attempt) -> int:
        """Return how many cores an attempt had."""
        job = self.jobs.get(one.key.job_id)
        return 1 if job is None else job.cpus

    def core_s(self, attempts: Iterable[Attempt]) -> float:
        """Return how long cores were taken, all together."""
        return sum(self.cores(one) * took_s(one) for one in attempts)

    @cached_property
    def cpu_s(self) -> float | None:
        """CPU time of all attempts; None where none was measured."""
        told = [one.figures.get("cpu_seconds") for one in self.attempts]
        known = [float(cpu_s) for cpu_s in told if cpu_s is not None]
        return sum(known) if known else None

    def busy(self, columns: int) -> list[float]:
        """Return how many cores were taken, on average of each of so many equal times."""
        spans = ((one.begin_ms, one.end_ms, self.cores(one)) for one in self.attempts)
        return means(spans, self.begin_ms, self.end_ms, columns)

    def offered(self, columns: int) -> list[float]:
        """Return how many cores the nodes had that were there, likewise."""
        return means(self._presences(), self.begin_ms, self.end_ms, columns)

    def ended(self, columns: int) -> list[tuple[int, int]]:
        """Return how many attempts ended in each of so many equal times, and how many failed."""
        found = [[0, 0] for _ in range(columns)]
        for one in self.attempts:
            if one.state != "running":
                place = (one.end_ms - self.begin_ms) * columns // (self.end_ms - self.begin_ms)
                column = found[min(place, columns - 1)]
                column[0] += 1
                column[1] += is_failed(one)
        return [(ended, failed) for ended, failed in found]

    @cached_property
    def nodes(self) -> list[Node]:
        """Nodes that ran something, by name."""
        by_node: dict[str, list[Attempt]] = defaultdict(list)
        for one in self.attempts:
            by_node[one.key.node_id].append(one)
        return [self._node(node_id, by_node[node_id]) for node_id in sorted(by_node)]

    @cached_property
    def waits_s(self) -> list[float]:
        """How long each task waited for its first start, the shortest first."""
        return sorted(waited / _MS for _, waited in self._waited)

    def waits_by_job(self) -> list[tuple[str, Waits]]:
        """Return the waits of each job, the one of the longest first."""
        by_job: dict[str, list[float]] = defaultdict(list)
        for one, waited in self._waited:
            by_job[one.key.job_id].append(waited / _MS)
        told = [(job_id, waits_of(sorted(found))) for job_id, found in by_job.items()]
        return sorted(told, key=lambda one: -one[1].most)

    def causes(self) -> list[Cause]:
        """Return why attempts failed or were lost, the most frequent first."""
        by_cause: dict[str, list[Attempt]] = defaultdict(list)
        for one in self.attempts:
            if is_failed(one):
                by_cause[_cause(one)].append(one)
        told = [
            Cause(
                text,
                len(found),
                len({(one.key.job_id, one.key.task) for one in found}),
                len({one.key.job_id for one in found}),
                found[0],
            )
            for text, found in by_cause.items()
        ]
        return sorted(told, key=lambda one: (-one.attempts, one.text))

    def ran(self, most: int) -> list[Ran]:
        """Return the jobs that took the most of cores and time, at most so many, and their use."""
        by_job: dict[str, list[Attempt]] = defaultdict(list)
        for one in self.attempts:
            by_job[one.key.job_id].append(one)
        took = {job_id: self.core_s(by_job.get(job_id, ())) for job_id in self.jobs}
        chosen = sorted(took, key=lambda job_id: -took[job_id])[:most]
        return [
            self._ran(self.jobs[job_id], by_job.get(job_id, []), took[job_id]) for job_id in chosen
        ]

    def _node(self, node_id: str, attempts: Sequence[Attempt]) -> Node:
        slots = max(self.lanes[one.key] for one in attempts)
        busy_s = sum(map(took_s, attempts))
        failed = sum(map(is_failed, attempts))
        return Node(node_id, slots, len(attempts), failed, busy_s / (slots * self.span_s))

    def _ran(self, job: Job, attempts: Sequence[Attempt], core_s: float) -> Ran:
        span_ms = 0
        if attempts:
            span_ms = max(one.end_ms for one in attempts) - attempts[0].begin_ms
        used = of_job(job.info, _tasks(attempts))
        return Ran(job, len(attempts), core_s, span_ms / _MS, used)

    def _presences(self) -> Iterator[tuple[int, int, int]]:
        """Yield from when to when nodes were there, and with how many cores."""
        there: dict[str, tuple[int, int]] = {}
        for at_ms, node_id, cpus in self._nodes:
            if node_id in there:
                since_ms, had = there.pop(node_id)
                yield since_ms, at_ms, had
            if cpus:
                there[node_id] = at_ms, cpus
        for since_ms, had in there.values():
            yield since_ms, self.end_ms, had


def took_s(one: Attempt) -> float:
    """Return how long an attempt ran."""
    return (one.end_ms - one.begin_ms) / _MS


def kind_of(one: Attempt) -> str:
    """Return what an attempt looks like: succeeded, failed, cancelled, lost or running."""
    if one.state in COUNTLESS:
        return "lost"
    return one.state if one.state in {"succeeded", "cancelled", "running"} else "failed"


def is_failed(one: Attempt) -> bool:
    """Return whether an attempt failed, or was lost; one that was given back counts for nothing."""
    return kind_of(one) == "failed" or one.state == "lost"


def waits_of(waits_s: Sequence[float]) -> Waits:
    """Return what sorted waits come to; there is at least one."""
    last = len(waits_s) - 1
    return Waits(len(waits_s), waits_s[last // 2], waits_s[(last * 95 + 99) // 100], waits_s[last])


def means(
    spans: Iterable[tuple[int, int, float]], begin: int, end: int, columns: int
) -> list[float]:
    """Return how much of weighted spans lies in each of so many equal parts, on average.

    A span costs the same however long it is: what it begins and ends with is added to its columns,
    what lies between as a difference.

    Args:
        spans: Begin, end and weight of each; what lies outside is cut off.
        begin: Of the first part.
        end: Of the last one, behind the begin.
        columns: How many parts.
    """
    added, steps = [0.0] * (columns + 1), [0.0] * (columns + 1)
    width = (end - begin) / columns
    for since, until, weight in spans:
        first, last = (max(since, begin) - begin) / width, (min(until, end) - begin) / width
        if last <= first:
            continue
        left, right = int(first), int(last)
        if left == right:
            added[left] += weight * (last - first)
            continue
        added[left] += weight * (left + 1 - first)
        added[right] += weight * (last - right)
        steps[left + 1] += weight
        steps[right] -= weight
    level, found = 0.0, []
    for column in range(columns):
        level += steps[column]
        found.append(level + added[column])
    return found


def _waited(
    attempts: Sequence[Attempt],
    ready: Ready,
    after: Mapping[str, Sequence[str]],
) -> list[tuple[Attempt, int]]:
    """Return the first attempt of each task with how long it waited, in ms.

    From when it was submitted, or released, or what its job came after had ended.
    """
    ends: dict[str, int] = {}
    for one in attempts:
        ends[one.key.job_id] = max(ends.get(one.key.job_id, 0), one.end_ms)
    seen: set[tuple[str, int]] = set()
    found = []
    for one in attempts:
        job_id, task = one.key.job_id, one.key.task
        if (job_id, task) in seen:
            continue
        seen.add((job_id, task))
        since_ms = ready(job_id, task)
        if since_ms is None:
            continue
        before = [ends[of] for of in after.get(job_id, ()) if of in ends]
        # With --after-task a task begins before all of the other job has ended.
        since_ms = max([since_ms, *(end_ms for end_ms in before if end_ms <= one.begin_ms)])
        found.append((one, max(one.begin_ms - since_ms, 0)))
    return found


def _cause(one: Attempt) -> str:
    if one.state == "exit":
        return f"exit code {one.figures.get('exit_code')}"
    if one.state == "signal":
        return f"signal {one.figures.get('signal')}"
    return _CAUSES.get(one.state, one.state)


def _tasks(attempts: Iterable[Attempt]) -> Iterator[dict[str, Any]]:
    """Yield what `efficiency.of_job` reads of tasks, each task that succeeded once."""
    seen: set[int] = set()
    for one in attempts:
        if one.state == "succeeded" and one.key.task not in seen:
            seen.add(one.key.task)
            figures = {name: one.figures.get(name) for name in ("cpu_seconds", "peak_memory_bytes")}
            yield {"state": "succeeded", "duration_s": took_s(one), **figures}
