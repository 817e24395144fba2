"""`Graph`: jobs that come after one another, submitted by one request at the end of a block."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hpc import arrays, submission
from hpc.client.job import Job, ids
from hpc.errors import Conflict, NoHub, Refused, UsageError
from hpc.graphs.plan import Plan

if TYPE_CHECKING:
    from hpc.client.client import Client


class Graph:
    """Jobs that are recorded at once, or not at all; made by `Client.graph`.

    ```python
    with client.graph(key="fit-7") as graph:
        prepare = graph.submit(["./prepare"], key="prepare")
        fits = graph.submit(["./fit"], after=[prepare], tasks="0-99")
        graph.submit(["./report"], after=[fits])
    fits.wait()
    ```

    They are sent when the block ends, and nothing is if it raises.

    Attributes:
        jobs: Name to job, in the order in which they were submitted.
        key: What their ids begin with.
    """

    def __init__(self, client: Client, key: str | None) -> None:
        self.jobs: dict[str, Job] = {}
        self._client = client
        self._plan = Plan(key)
        self._is_new = key is None
        self._is_over = False
        self.key = self._plan.key

    def __enter__(self) -> Graph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send the jobs.

        Raises:
            HpcError: Nothing was recorded, except for `Unanswered`, which leaves it unknown: the
                same graph with the same `key` is safe.
        """
        self._is_over = True
        if kind is not None or not self.jobs:
            return
        receipt = send(self._client, self._plan)
        if self._is_new:  # else they may have ended long ago
            for job in self.jobs.values():
                job._cursor = receipt.get("first_seq")

    def submit(
        self,
        command: str | Sequence[str],
        *,
        key: str | None = None,
        name: str | None = None,
        priority: int | None = None,
        tasks: str | None = None,
        entries: Sequence[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        after: Sequence[Job | str] = (),
        after_any: Sequence[Job | str] = (),
        after_fail: Sequence[Job | str] = (),
        after_task: bool = False,
        hold: bool = False,
        **more: Any,  # noqa: ANN401 - each is checked by batch_spec
    ) -> Job:
        """Add a job; everything but what stands here is as for `Client.submit`.

        Args:
            command: A text for the shell, or the program and its arguments.
            key: Its name within the graph; its id is the graph's key, a dot and this. None is a
                number.
            name: A label.
            priority: Higher runs first.
            tasks: Ranges.
            entries: Values for tasks.
            env: Added to the relay's environment.
            cwd: An absolute folder.
            after: Jobs that come first: of this graph, by name too, or others, by their ids.
            after_any: Likewise.
            after_fail: Likewise.
            after_task: Each task comes after the tasks of its number only.
            hold: Nothing starts until `Job.release`.
            more: As for `Client.submit`.

        Raises:
            TypeError: There is no argument of that name; nothing was added.
            UsageError: Something makes no sense, or the block has ended; nothing was added.
        """
        if self._is_over:
            raise UsageError(
                "Graph takes no jobs any more: its block has ended",
                hint="submit within it, or make another one: client.graph()",
            )
        submission.check_names("Graph.submit", more, Graph.submit)
        gate = submission.gate_of(
            after=ids(after),
            after_any=ids(after_any),
            after_fail=ids(after_fail),
            after_task=after_task,
            hold=hold,
        )
        job_id = self._plan.add(
            key,
            submission.batch_spec(command, env=env, cwd=cwd, **more),
            arrays.named(tasks, entries),
            gate=gate,
            label=name,
            priority=priority,
        )
        job = Job(self._client, job_id)
        self.jobs[next(reversed(self._plan.ids))] = job
        return job


def send(client: Client, plan: Plan) -> dict[str, Any]:
    """Send the jobs of a plan by one batch and return its receipt.

    Raises:
        UsageError: They come after one another in a circle, or are too many; nothing was sent.
        Unanswered: Unknown; the same plan with its `key` is safe.
        HpcError: Nothing was recorded; what was wrong is told by the names of the jobs.
    """
    try:
        return client.ingest(plan.events())
    except NoHub as error:
        if error.code != NoHub.default_code:
            error.hint = (
                f"it may have been recorded; the same graph again is safe with the key {plan.key}"
            )
        raise
    except (Refused, Conflict) as error:
        plan.put_names(error)
        raise
