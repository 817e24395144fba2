"""`as_completed`: jobs and futures as they end, whichever is first.

Futures call back. Jobs of one client are watched by one thread with one pull that the Hub holds;
nothing polls.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar, overload

from hpc.client import AWAY_S_MAX, Client, Job
from hpc.client.ending import PHASE_FINISHED, WAIT_S_MAX, look, look_at_many, may_be_over, one_of
from hpc.errors import NotFound, TimedOut
from hpc.states import SETTLED

T = TypeVar("T")


class NotCompleted(TimedOut, TimeoutError):
    """`as_completed` ended before all that it waited for; nothing was changed by waiting."""


@overload
def as_completed(
    things: Iterable[Job], timeout: float | None = None, *, timeout_s: float | None = None
) -> Iterator[Job]: ...


@overload
def as_completed(
    things: Iterable[Future[T]], timeout: float | None = None, *, timeout_s: float | None = None
) -> Iterator[Future[T]]: ...


@overload
def as_completed(
    things: Iterable[Job | Future[Any]],
    timeout: float | None = None,
    *,
    timeout_s: float | None = None,
) -> Iterator[Job | Future[Any]]: ...


def as_completed(
    things: Iterable[Job | Future[Any]],
    timeout: float | None = None,
    *,
    timeout_s: float | None = None,
) -> Iterator[Job | Future[Any]]:
    """Yield jobs and futures as they end, each once, in whatever way they end.

    Args:
        things: `Job`s and futures, mixed as you like.
        timeout: Seconds from now; None is for ever.
        timeout_s: The same, by the name that it has in `Job.wait`.

    Raises:
        NotCompleted: The time is over; a `TimeoutError`. What was not yielded goes on.
        HpcError: A job cannot be asked about any more.
    """
    timeout = one_of(timeout, timeout_s)
    return _completed(things, timeout)


def _completed(
    things: Iterable[Job | Future[Any]], timeout: float | None
) -> Iterator[Job | Future[Any]]:
    until = None if timeout is None else time.monotonic() + timeout
    left: set[Any] = set(things)
    total = len(left)
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watches: list[_Watch] = []
    by_client: dict[int, list[Job]] = {}
    for thing in left:
        if isinstance(thing, Job):
            by_client.setdefault(id(thing.client), []).append(thing)
        else:
            thing.add_done_callback(ended.put)
    try:
        for jobs in by_client.values():
            watches.append(_Watch(jobs, ended))
        while left:
            wait_s = None if until is None else max(until - time.monotonic(), 0.0)
            try:
                thing = ended.get(timeout=wait_s)
            except queue.Empty:
                raise NotCompleted(
                    f"{len(left)} (of {total}) jobs and futures are not finished after "
                    f"{timeout:g} s",
                    hint="they go on: wait again",
                ) from None
            if isinstance(thing, Exception):
                raise thing
            if thing in left:
                left.remove(thing)
                yield thing
            del thing
    finally:
        for watch in watches:
            watch.close()


class _Watch:
    """Watches jobs of one client in a thread of its own, and puts each that ends."""

    def __init__(self, jobs: list[Job], ended: queue.SimpleQueue[Any]) -> None:
        self._jobs: dict[str, list[Job]] = {}
        for job in jobs:  # one job may be named by several of these
            self._jobs.setdefault(job.id, []).append(job)
        self._were_finished: set[str] = set()
        self._ended = ended
        self._client: Client = jobs[0].client.again()
        self._is_closed = False
        threading.Thread(target=self._guarded, name="hpc-watch", daemon=True).start()

    def close(self) -> None:
        """Ask it to end; it does when its pull returns."""
        self._is_closed = True

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # told to whoever waits
            self._ended.put(error)

    def _run(self) -> None:
        cursor = self._begin()
        hub: str | None = None
        while self._jobs and not self._is_closed:
            page = self._client.pull(
                "kernel", cursor, table="jobs", wait_s=WAIT_S_MAX, hub=hub, patience_s=AWAY_S_MAX
            )
            rows = page["facts"].get("jobs", {})
            cursor, hub = page["cursor"], page.get("hub")
            if page.get("snapshot"):  # it may be another Hub, which need not know them
                cursor = min(cursor, self._look(list(self._jobs)))
                continue
            known = self._jobs.keys() & rows.keys()
            over = [job_id for job_id in known if self._may_be_over(job_id, rows[job_id])]
            forgotten = self._jobs.keys() & page["facts"].get("forgotten", {}).keys()
            self._look([*over, *forgotten])

    def _begin(self) -> int:
        """Ask about those of which nothing is known; returns where the pulls begin."""
        unknown: list[str] = []
        cursors: list[int] = []
        for job_id, jobs in self._jobs.items():
            known = [job._cursor for job in jobs if job._cursor is not None]
            cursors += known
            unknown += [] if known else [job_id]
        if unknown:
            cursors.append(self._look(unknown))
        return min(cursors)

    def _may_be_over(self, job_id: str, row: dict[str, Any]) -> bool:
        return may_be_over(row, was_finished=job_id in self._were_finished)

    def _look(self, job_ids: list[str]) -> int:
        """Put those that are over; returns the least cursor at which one was not."""
        found, cursor = look_at_many(self._client, job_ids)
        for job_id in job_ids:
            try:
                info = found.get(job_id) or look(self._client, job_id)[0]
            except NotFound as error:
                if error.outcome is None:
                    raise
                for job in self._jobs.pop(job_id):  # it was over when it was forgotten
                    self._ended.put(job)
                continue
            if info["state"] in SETTLED:
                for job in self._jobs.pop(job_id):
                    self._ended.put(job)
            elif info["phase"] == PHASE_FINISHED:
                self._were_finished.add(job_id)
        return self._client.cursor if cursor is None else cursor
