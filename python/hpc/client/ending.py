"""Ending: whether every task of a job is settled, and waiting until it is.

Who waits for one job reads it by a request that the Hub holds until then; who waits for many
(`hpc.waiting`) pulls the kernel's jobs, and the Hub holds that until something changes. Nothing
polls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hpc import ranges
from hpc.client.patience import AWAY_S_MAX
from hpc.errors import TimedOut, UsageError
from hpc.states import SETTLED

if TYPE_CHECKING:
    from hpc.client.client import Client

PHASE_FINISHED: Final = 3

WAIT_S_MAX: Final = 50.0
"""How long one request asks to be held; the Hub holds it for 60 s at most."""

LOOK_S_MIN: Final = 3.0
LOOK_S_MAX: Final = 24.0
"""The same, first and at most, for who wants to be told of the job meanwhile."""

IDS_EACH: Final = 200
"""Of one request: with ids as they are made here its first line is below 8 KiB."""

FEW: Final = 8
"""Who waits for no more than these looks at none of them first."""


def look(client: Client, job_id: str) -> tuple[dict[str, Any], int]:
    """Return what the Hub knows of a job, and the cursor up to which that is so."""
    answer = client.read(_route(job_id))
    return answer["data"], answer["cursor"]


def look_at_many(
    client: Client, job_ids: Sequence[str]
) -> tuple[dict[str, dict[str, Any]], int | None]:
    """Return what the Hub knows of jobs, many by one request, and up to which cursor at least.

    Those that it does not know, or has forgotten, are missing. No cursor is told of no jobs.
    """
    found: dict[str, dict[str, Any]] = {}
    cursors: list[int] = []
    for start in range(0, len(job_ids), IDS_EACH):
        asked = job_ids[start : start + IDS_EACH]
        page = client.read("/jobs", [("ids", ",".join(asked))])
        rows = {info["job_id"]: info for info in page["data"]}
        found.update((job_id, rows[job_id]) for job_id in asked if job_id in rows)
        cursors.append(page["cursor"])
    return found, min(cursors, default=None)


class Over:
    """Which of many jobs are over, for who waits for one after the other.

    So many are looked at by one request as were over among the last ones: what trickles in costs
    little, and what is over already a request for some hundreds.
    """

    def __init__(
        self, client: Client, job_ids: Sequence[str], known: Iterable[dict[str, Any]] = ()
    ) -> None:
        """Nothing is sent yet.

        Args:
            client: Through which they are looked at.
            job_ids: In the order in which they will be asked for.
            known: What was told of some.
        """
        self._client = client
        self._job_ids = job_ids
        self._over = {info["job_id"]: info for info in known if info["state"] in SETTLED}
        self._size = IDS_EACH

    def find(self, number: int) -> dict[str, Any] | None:
        """Return the job of this place if it was over when it was looked at last."""
        job_id = self._job_ids[number]
        if job_id not in self._over and len(self._job_ids) > FEW:
            rest = (self._job_ids[place] for place in range(number, len(self._job_ids)))
            batch = list(islice((of for of in rest if of not in self._over), self._size))
            found, _ = look_at_many(self._client, batch)
            over = {of: info for of, info in found.items() if info["state"] in SETTLED}
            self._over |= over
            self._size = min(2 * len(over), IDS_EACH) if len(over) == len(batch) else len(over)
            self._size = max(self._size, 1)
        return self._over.get(job_id)


def wait(
    client: Client,
    job_id: str,
    timeout_s: float | None,
    on_look: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Wait until every task of a job is settled; see `Job.wait`.

    The Hub holds the read of the job until then, and answers it with what became of it.

    Args:
        client: Through which it is waited for.
        job_id: The job.
        timeout_s: Seconds from now; None is for ever.
        on_look: Told of the job now and then while it is not over; the Hub then holds the reads
            for some seconds, and longer with each.
    """
    if client.at is not None:
        info: dict[str, Any] = look(client, job_id)[0]
        if info["state"] not in SETTLED:
            raise UsageError(
                f"Job `{job_id}` was not over at {client.at}, and nothing that is past will change",
                hint="wait with a client that looks at now",
            )
        return info
    until = None if timeout_s is None else time.monotonic() + timeout_s
    look_s = WAIT_S_MAX if on_look is None else LOOK_S_MIN
    while True:
        left_s = WAIT_S_MAX if until is None else max(until - time.monotonic(), 0.0)
        wait_s = min(left_s, look_s)
        # Of a Hub that is away: what was asked of one that has gone is asked of the next.
        patience_s = AWAY_S_MAX if until is None else min(left_s, AWAY_S_MAX)
        answer = client.read(_route(job_id), wait_s=wait_s, patience_s=patience_s)
        info = answer["data"]
        if info["state"] in SETTLED:
            return info
        if until is not None and time.monotonic() >= until:
            raise TimedOut(
                f"Job `{job_id}` is not finished after {timeout_s:g} s",
                hint="it goes on; wait again: hpc job wait " + job_id,
            )
        if on_look is not None:
            on_look(info)
            look_s = min(2 * look_s, LOOK_S_MAX)


def one_of(timeout: float | None, timeout_s: float | None) -> float | None:
    """Return a time that may be given by either name: ours, or that of `concurrent.futures`.

    Raises:
        TypeError: It was given by both.
    """
    if timeout is not None and timeout_s is not None:
        raise TypeError("`timeout` and `timeout_s` are one time, in seconds: give it once")
    return timeout if timeout_s is None else timeout_s


def _route(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def may_be_over(row: Mapping[str, Any], *, was_finished: bool) -> bool:
    """Return whether these changes of a job's facts may have been its last.

    Where they may, the job itself is asked: a change tells no cell that stayed as it was.

    Args:
        row: Its cells of the table `jobs` that a pull has told.
        was_finished: Whether its phase was that of a finished job when it was last asked. The
            phase stays then, whatever further tasks or rounds it gets.
    """
    if "rounds" in row:
        return _newest_is_settled(row["rounds"])
    if was_finished:
        return bool(SETTLED & row.keys())
    return bool(row.get("phase") == PHASE_FINISHED)


def _newest_is_settled(rounds: Mapping[str, str]) -> bool:
    """Whether every task that the newest round was begun for is settled: `{"1/tasks": "0-4"}`."""
    newest = max(int(name.partition("/")[0]) for name in rounds)
    begun_for = ranges.count(rounds.get(f"{newest}/tasks", ""))
    # What a task comes to in a round is one of these: they share none.
    came_to = (ranges.count(rounds.get(f"{newest}/{state}", "")) for state in SETTLED)
    return begun_for == sum(came_to)
