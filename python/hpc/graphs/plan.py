"""Plan: the jobs of one graph, by names of its own, as the events of one batch.

The Hub checks all of it again: what is found here can be told by the names that its author gave,
before anything is sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, NamedTuple

from hpc import submission
from hpc.arrays import Entries, Numbers
from hpc.errors import HpcError, UsageError
from hpc.submission import Event

EVENTS_MAX: Final = 100_000
"""What one batch takes."""

BYTES_MAX: Final = 64 * 1024 * 1024 - 1024
"""Likewise, less what stands around the events."""

AFTER: Final = ("after", "after_any", "after_fail")
"""Fields that name other jobs."""


class _Job(NamedTuple):
    events: list[Event]
    gate: Mapping[str, Any]
    """What it comes after, as it was named."""


class Plan:
    """Jobs of one graph; they may name each other in any order.

    Args:
        key: Begins their ids, `KEY.NAME`: the same graph with the same key is the same jobs. None
            is one that nobody else makes.

    Attributes:
        key: As given, or made.
        ids: Name to job id, in the order in which they were added.
        tasks: How many tasks they have together.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = submission.new_job_id() if key is None else key
        self.ids: dict[str, str] = {}
        self.tasks = 0
        self._jobs: dict[str, _Job] = {}
        self._named: dict[str, str] = {}
        """Those of `ids` that were given a name: a number of ours hides no job of the Hub's."""

    def add(
        self,
        name: str | None,
        spec: Mapping[str, Any],
        tasks: Numbers | Entries,
        *,
        gate: Mapping[str, Any],
        label: str | None = None,
        priority: int | None = None,
    ) -> str:
        """Add a job of the namespace `batch` and return its id.

        Args:
            name: Within the graph; None is a number, by which no other job can name it.
            spec: As `submission.batch_spec` makes it.
            tasks: Which.
            gate: As `submission.gate_of` makes it, of names and of ids of other jobs.
            label: Its `name`.
            priority: Higher runs first.

        Raises:
            UsageError: The name is taken, or makes no id; nothing was added.
        """
        is_named = name is not None
        if name is None:
            name = next(n for n in map(str, count(len(self.ids))) if n not in self.ids)
        job_id = self._new_id(name)
        sent = submission.submission_of(
            "batch", spec, tasks, job_id=job_id, name=label, priority=priority, gate=gate
        )
        self._jobs[name] = _Job([event for batch in sent.batches for event in batch], gate)
        self.ids[name] = job_id
        if is_named:
            self._named[name] = job_id
        self.tasks += sent.total
        return job_id

    def _new_id(self, name: str) -> str:
        if name in self.ids:
            raise UsageError(
                f"Two jobs of a graph are called `{name}`",
                field="id",
                hint="each has a name of its own, by which others come after it",
            )
        try:
            return submission.checked_key(f"{self.key}.{name}")
        except UsageError as error:
            raise UsageError(
                f"Job `{name}` of a graph would have the id {self.key + '.' + name!r}, "
                "which is none",
                field="id",
                hint=error.hint,
            ) from error

    def events(self) -> list[Event]:
        """Return the events of all jobs, in order, for one batch.

        Raises:
            UsageError: Jobs come after one another in a circle, or are too many for one batch.
        """
        self.in_order()
        events = [self._resolved(event) for job in self._jobs.values() for event in job.events]
        if len(events) > EVENTS_MAX:
            raise _too_large(f"{len(events):,} events")
        texts = (json.dumps(event, ensure_ascii=False) for event in events)
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        if size > BYTES_MAX:
            raise _too_large(f"{size / (1 << 20):.1f} MiB")
        return events

    def _resolved(self, event: Event) -> Event:
        """Return an event with ids in the place of names."""
        payload = event["payload"]
        ctx = dict(payload["ctx"])
        for field in AFTER:
            if field in ctx:
                ctx[field] = [self._named.get(one, one) for one in ctx[field]]
        return {**event, "payload": {**payload, "ctx": ctx}}

    def in_order(self) -> list[str]:
        """Return the ids of the jobs, each behind what it comes after.

        Raises:
            UsageError: They come after one another in a circle.
        """
        # Imported here: one job has no circle, and most commands submit one.
        from graphlib import CycleError, TopologicalSorter  # noqa: PLC0415

        names = {job_id: name for name, job_id in self.ids.items()}
        graph = {self.ids[name]: self._before(job) for name, job in self._jobs.items()}
        try:
            return [one for one in TopologicalSorter(graph).static_order() if one in names]
        except CycleError as error:
            circle = " after ".join(f"`{names[one]}`" for one in reversed(error.args[1]))
            raise UsageError(
                f"Jobs of a graph come after one another in a circle: {circle}",
                field="after",
                hint="one of them must start without the others",
            ) from error

    def _before(self, job: _Job) -> set[str]:
        """Return the ids of what a job comes after, of whatever kind."""
        named = (one for field in AFTER for one in job.gate.get(field, ()))
        return {self._named.get(one, one) for one in named}

    def put_names(self, error: HpcError) -> None:
        """Put jobs in the place of the numbers of events in what a refusal of the batch says."""
        owners = [name for name, job in self._jobs.items() for _ in job.events]

        def job(match: re.Match[str]) -> str:
            number = int(match[1])
            return f"Job `{owners[number]}`" if number < len(owners) else match[0]

        error.message = re.sub(r"\bEvent (\d+)\b", job, error.message)


def _too_large(got: str) -> UsageError:
    return UsageError(
        f"A graph must fit into one batch, {EVENTS_MAX:,} events and 64 MiB, got {got}",
        field="jobs",
        hint="make one job of many tasks of what is alike, or several graphs: a later one comes "
        "after jobs of an earlier one by their ids",
    )
