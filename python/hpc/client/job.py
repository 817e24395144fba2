"""`Job`: a job by its id, and what can be asked of it. Everything goes through its client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc.submission import memory_of

if TYPE_CHECKING:
    from hpc.client.client import Client


class Job:
    """A job by its id, which is known before anything is sent.

    Attributes:
        id: Its id.
        client: Through which it is reached.
    """

    def __init__(self, client: Client, job_id: str, *, cursor: int | None = None) -> None:
        """Refer to a job; nothing is sent.

        Args:
            client: Through which it is reached.
            job_id: Its id.
            cursor: A cursor at which it was not finished yet, if one is known: who waits for many
                jobs need not ask for each of them first.
        """
        self.id = job_id
        self.client = client
        self._cursor = cursor

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def info(self) -> dict[str, Any]:
        """Return what the Hub knows of it, as `GET /jobs/{id}` says: `state`, `counts`, ..."""
        return self.client.info(self.id)

    def wait(
        self, timeout_s: float | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Wait until every task is settled and return `info`; a Hub that restarts is waited for.

        Args:
            timeout_s: Seconds from now; None is for ever.
            timeout: The same, by the name that `concurrent.futures` has for it.

        Raises:
            TimedOut: `timeout_s` is over; the job goes on.
            NotFound: The Hub does not know the job, or has forgotten it: then `outcome` says what
                became of it.
            NoHub: The Hub is away for longer than the client's patience.
        """
        return self.client.wait(self.id, timeout_s=timeout_s, timeout=timeout)

    def log(
        self, task: int | None = None, *, stream: str = "stdout", follow: bool = False
    ) -> Iterator[bytes]:
        """Yield the output of a task, by default of the first.

        Args:
            task: Its number.
            stream: `stdout` or `stderr`.
            follow: Go on until the task is settled.
        """
        with self.client.log(self.id, task, stream=stream, follow=follow) as pieces:
            yield from pieces

    def tasks(self, *, state: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield its tasks by number: `state`, `exit_code`, `duration_s`, `entry`, ...

        Args:
            state: Only those in this state.
        """
        return self.client.tasks(self.id, state=state)

    def cancel(self, *, tasks: str | None = None, reason: str | None = None) -> None:
        """Settle what is not settled yet, or some tasks of it, as cancelled."""
        self.client.cancel(self.id, tasks=tasks, reason=reason)

    def hold(self, *, tasks: str | None = None, reason: str | None = None) -> None:
        """Keep what has not started, or some tasks of it, from starting."""
        self.client.request("HoldJob", self.id, tasks=tasks, reason=reason)

    def release(self, *, tasks: str | None = None, reason: str | None = None) -> None:
        """Let what was held start."""
        self.client.request("ReleaseJob", self.id, tasks=tasks, reason=reason)

    def prioritise(self, priority: int, *, tasks: str | None = None) -> None:
        """Let it, or some tasks of it, run before what has a lower priority."""
        self.client.request("SetPriority", self.id, tasks=tasks, priority=priority)

    def retry(
        self,
        *,
        tasks: str | None = None,
        reason: str | None = None,
        memory: int | str | None = None,
    ) -> None:
        """Run again what has failed or was cancelled, or some tasks of that: a further round.

        Args:
            tasks: Only these, a range list.
            reason: Kept with the request.
            memory: MiB, or a text such as `4G`: what its tasks have from now on, enforced if the
                job's was.
        """
        resources = None if memory is None else {"memory_mib": memory_of(memory)["memory"]}
        self.client.request("RetryJob", self.id, tasks=tasks, reason=reason, resources=resources)
        self._cursor = None

    def why(self) -> dict[str, Any]:
        """Return why it waits: `why` in a sentence, `nodes` one by one, `ahead` of it."""
        return self.client.why(self.id)

    def forget(self, *, reason: str | None = None) -> None:
        """Have the Hub forget it, which must be over: only what became of it is kept.

        Raises:
            Refused: It is not over; nothing was changed.
            NotFound: The Hub does not know the job, or has forgotten it before.
        """
        self.client.request("ForgetJob", self.id, reason=reason)


def ids(jobs: Sequence[Job | str]) -> list[str]:
    """Return the ids of jobs that are named either way."""
    return [job.id if isinstance(job, Job) else job for job in jobs]
