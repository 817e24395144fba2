"""The log as a trace: what ran where and when, for https://ui.perfetto.dev and chrome://tracing.

An attempt of a task is a slice on a lane of its node: the slot that it had, counted by what really
ran there at once and not by what was leased, the lowest that is free first. What a job came after
is an arrow from the last end before to its first begin. Samples of a monitor are counters of the
node. The format is the Trace Event Format of Chrome: times are microseconds, from the first event
on.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from hpc import ranges

Event = Mapping[str, Any]
Trace = dict[str, Any]

AFTER: Final = ("after", "after_any", "after_fail")
CLOSING: Final = {"AttemptLost": "lost", "TasksReturned": "given back"}

_US_PER_MS: Final = 1000
_CPU_PER_CENT: Final = "cpu %"
_MEMORY_MIB: Final = "memory MiB"


class Key(NamedTuple):
    """One attempt of one task, and where."""

    job_id: str
    task: int
    attempt: int
    node_id: str


class Attempt(NamedTuple):
    """When an attempt ran, and what came of it.

    Attributes:
        key: Which it is.
        begin_ms: Since 1970.
        end_ms: Likewise, never before its begin.
        state: `succeeded`, `running`, `lost`, `given back`, or the cause of its failure.
        figures: What was reported of it.
    """

    key: Key
    begin_ms: int
    end_ms: int
    state: str
    figures: dict[str, Any]


@dataclass
class Timeline:
    """What a log says of attempts, taken event by event in the order of the log."""

    only: frozenset[str] | None = None
    """Ids of the jobs that are wanted; None is all."""
    names: dict[str, str] = field(default_factory=dict)
    """Of jobs by their ids; who has none is named by its id."""
    after: dict[str, list[str]] = field(default_factory=dict)
    """The jobs that each came after."""
    _open: dict[Key, int] = field(default_factory=dict)
    _slices: list[Attempt] = field(default_factory=list)
    _samples: list[tuple[str, int, dict[str, float]]] = field(default_factory=list)
    _last_ms: int = 0

    def take(self, event: Event) -> None:
        """Take one event, as `GET /events` tells it."""
        payload = event.get("payload") or {}
        ctx, spec = payload.get("ctx") or {}, payload.get("spec") or {}
        at_ms = int(event.get("at") or 0)
        self._last_ms = max(self._last_ms, at_ms)
        kind = event["kind"]
        if kind == "HardwareStats":
            self._sample(ctx, spec, at_ms)
            return
        job_id = ctx.get("job_id")
        if job_id is None or (self.only is not None and job_id not in self.only):
            return
        if kind == "SubmitJob":
            self.names.setdefault(job_id, ctx.get("name") or job_id)
            before = [str(other) for name in AFTER for other in ctx.get(name) or ()]
            self.after.setdefault(job_id, before)
        elif kind == "JobStarted":
            for key, figures in _rows(ctx, spec):
                self._open.setdefault(key, _either(figures.get("started_at"), at_ms))
        elif kind == "JobFinished":
            for key, figures in _rows(ctx, spec):
                end_ms = _either(figures.get("finished_at"), at_ms)
                self._close(key, end_ms, _state(figures), figures)
        elif kind in CLOSING:
            for key, figures in _rows(ctx, spec):
                if key in self._open:
                    self._close(key, at_ms, CLOSING[kind], figures)

    def attempts(self) -> list[Attempt]:
        """Return all, by when they began; what has not ended runs until the last event."""
        running = [
            Attempt(key, begin_ms, max(self._last_ms, begin_ms), "running", {})
            for key, begin_ms in self._open.items()
        ]
        return sorted(self._slices + running, key=lambda one: (one.begin_ms, one.key))

    def trace(self) -> Trace:
        """Return the document."""
        slices = self.attempts()
        begins = [one.begin_ms for one in slices] + [at_ms for _, at_ms, _ in self._samples]
        zero_ms = min(begins, default=0)
        nodes = sorted({one.key.node_id for one in slices} | {node for node, *_ in self._samples})
        pids = {node: number for number, node in enumerate(nodes, 1)}
        lanes = lanes_of(slices)
        events: list[Trace] = [
            {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"node {node}"}}
            for node, pid in pids.items()
        ]
        events += [
            {
                "ph": "M",
                "name": "thread_name",
                "pid": pids[node],
                "tid": lane,
                "args": {"name": f"slot {lane}"},
            }
            for node, lane in sorted({(s.key.node_id, lanes[s.key]) for s in slices})
        ]
        events += [self._slice(one, pids, lanes, zero_ms) for one in slices]
        events += self._arrows(slices, pids, lanes, zero_ms)
        events += [
            {"ph": "C", "name": name, "pid": pids[node], "ts": (at_ms - zero_ms) * _US_PER_MS}
            | {"args": {name: value}}
            for node, at_ms, values in self._samples
            for name, value in values.items()
        ]
        return {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"began_ms_since_1970": zero_ms},
        }

    def _sample(self, ctx: Event, spec: Event, at_ms: int) -> None:
        values = {}
        cpu = str(spec.get("cpu_usage", "")).rstrip("%")
        if cpu.replace(".", "", 1).isdigit():
            values[_CPU_PER_CENT] = float(cpu)
        if isinstance(used := spec.get("mem_used_kb"), int):
            values[_MEMORY_MIB] = used / 1024
        if values and ctx.get("node_id"):
            self._samples.append((str(ctx["node_id"]), at_ms, values))

    def _close(self, key: Key, end_ms: int, state: str, figures: dict[str, Any]) -> None:
        began_ms = _either(figures.get("started_at"), self._open.pop(key, -1))
        if began_ms >= 0:  # one that never began has no slice
            self._slices.append(Attempt(key, began_ms, max(end_ms, began_ms), state, figures))

    def _slice(
        self, one: Attempt, pids: Mapping[str, int], lanes: Mapping[Key, int], zero_ms: int
    ) -> Trace:
        key = one.key
        name = self.names.get(key.job_id, key.job_id)
        args = {"job": key.job_id, "task": key.task, "attempt": key.attempt, "state": one.state}
        args |= {
            name: value
            for name in ("exit_code", "signal", "cause", "cpu_seconds", "peak_memory_bytes")
            if (value := one.figures.get(name)) is not None
        }
        return {
            "ph": "X",
            "name": f"{name}.{key.task}",
            "cat": one.state,
            "pid": pids[key.node_id],
            "tid": lanes[key],
            "ts": (one.begin_ms - zero_ms) * _US_PER_MS,
            "dur": (one.end_ms - one.begin_ms) * _US_PER_MS,
            "args": args,
        }

    def _arrows(
        self,
        slices: Iterable[Attempt],
        pids: Mapping[str, int],
        lanes: Mapping[Key, int],
        zero_ms: int,
    ) -> Iterator[Trace]:
        by_job: dict[str, list[Attempt]] = defaultdict(list)
        for one in slices:
            by_job[one.key.job_id].append(one)
        for job_id, before in self.after.items():
            if job_id not in by_job:
                continue
            first = min(by_job[job_id], key=lambda one: one.begin_ms)
            for other in before:
                ended = [one for one in by_job.get(other, ()) if one.end_ms <= first.begin_ms]
                if not ended:
                    continue
                last = max(ended, key=lambda one: one.end_ms)
                for phase, one, at_ms in (("s", last, last.end_ms), ("f", first, first.begin_ms)):
                    yield {
                        "ph": phase,
                        "bp": "e",  # the arrow's end is bound to the slice around it
                        "name": "after",
                        "cat": "after",
                        "id": f"{other}>{job_id}",
                        "pid": pids[one.key.node_id],
                        "tid": lanes[one.key],
                        "ts": (at_ms - zero_ms) * _US_PER_MS,
                    }


def _rows(ctx: Event, spec: Event) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Yield each task of a report with its figures: a list has one for each, in their order."""
    numbers = list(ranges.numbers(str(ctx.get("tasks") or "0")))
    job_id, attempt = str(ctx["job_id"]), int(ctx.get("attempt") or 1)
    node_id = str(ctx.get("node_id") or "")
    for place, task in enumerate(numbers):
        figures = {
            name: (value[place] if place < len(value) else None)
            if isinstance(value, list)
            else value
            for name, value in spec.items()
        }
        yield Key(job_id, task, attempt, node_id), figures


def _either(said: object, otherwise: int) -> int:
    return said if isinstance(said, int) else otherwise


def _state(figures: Mapping[str, Any]) -> str:
    if cause := figures.get("cause"):
        return str(cause)
    return "succeeded" if figures.get("exit_code") == 0 else "failed"


def lanes_of(slices: Iterable[Attempt]) -> dict[Key, int]:
    """Return a lane of its node for each slice, so that no two of one lane overlap."""
    free: dict[str, list[int]] = defaultdict(list)
    busy: dict[str, list[tuple[int, int]]] = defaultdict(list)
    lanes: dict[Key, int] = {}
    for one in slices:
        node = one.key.node_id
        while busy[node] and busy[node][0][0] <= one.begin_ms:
            heapq.heappush(free[node], heapq.heappop(busy[node])[1])
        lane = heapq.heappop(free[node]) if free[node] else len(busy[node]) + 1
        heapq.heappush(busy[node], (one.end_ms, lane))
        lanes[one.key] = lane
    return lanes
