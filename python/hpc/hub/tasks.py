"""Tasks one by one: what the engine knows of each, and what its report in the log says beside it.

The engine answers a page of numbers, states, attempts and entries, which costs its turn what is on
the page. Times, memory and cpu seconds stand in the reports; they are read on the thread of
side.py, in pieces. Which rows report on which tasks is found once for a job, from the log's own
index of the rows that speak of it, and kept for a few jobs: the next page reads the rows of its
tasks alone, and what is kept goes on where it ended.

Nothing is kept but positions. A report whose body compaction has dropped leaves its fields null.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final
from urllib.parse import urlencode

from hpc._core import Reports, TaskPage
from hpc.errors import StorageError
from hpc.hub.explainer import JOB_ROWS, Ask
from hpc.hub.side import Side, unreadable
from hpc.protocols import Answer, LogReader

JOBS_KEPT: Final = 16
"""Jobs whose rows are remembered."""

_OK: Final = 200


class Tasks:
    """Answers `GET /jobs/{id}/tasks`.

    Args:
        side: Where the log is read.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self._kept: OrderedDict[str, Reports] = OrderedDict()

    async def page(self, ask: Ask, job_id: str, query: str) -> Answer:
        """Answer `{"cursor", "data": [...], "next"}`.

        Args:
            ask: Whose state it is about.
            job_id: The job.
            query: As the engine takes it: after, limit, state; and `at`.
        """
        known = urlencode({"job_id": job_id})
        answer = await ask("tasks", f"{known}&{query}" if query else known)
        if answer.status != _OK:
            return answer
        try:
            page = await self._side.call(lambda _: TaskPage(answer.body))
            if page.needs_log:
                await self._fill(page, job_id)
            return Answer(_OK, await self._side.call(lambda _: page.body()))
        except StorageError as error:
            return unreadable(error)

    async def _fill(self, page: TaskPage, job_id: str) -> None:
        reports = self._reports(job_id)
        while reports.position < page.cursor:
            if await self._side.call(partial(_note, reports, page, job_id)):
                break
        places = await self._side.call(lambda _: reports.places(page))
        for first in range(0, len(places), JOB_ROWS):
            await self._side.call(partial(_take, page, places[first : first + JOB_ROWS]))

    def _reports(self, job_id: str) -> Reports:
        reports = self._kept.pop(job_id, None) or Reports(job_id)
        self._kept[job_id] = reports
        while len(self._kept) > JOBS_KEPT:
            self._kept.popitem(last=False)
        return reports


def _note(reports: Reports, page: TaskPage, job_id: str, log: LogReader) -> bool:
    """Look at some more rows of a job, on the side's thread; whether these were the last."""
    rows = log.read_job(job_id, reports.position, JOB_ROWS)
    reports.note(page, rows)
    return len(rows) < JOB_ROWS


def _take(page: TaskPage, places: list[int], log: LogReader) -> None:
    """Read rows by their first seqs, on the side's thread, and have the page learn from them."""
    page.fill([row for place in places for row in log.read(place, 1)])
