"""Explaining: the events of the log that a cell comes from, that did not change it, that conflict.

The engine says what to look for, since it has the facts; the log is searched on the thread of
side.py, in pieces, so that nobody's turn waits for a long log. An answer that has not come to the
log's end says so (`more`), and where to go on (`after` its last seq).

What a search knows of the events before (search.rs says which have to know) stays here for a while,
so that the next page does not begin at the log's first event again.

Where compaction has dropped a body that may have held one of the events, the answer is 410. The
kernel's events are never dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import parse_qs

import msgspec

from hpc._core import Evidence, Search
from hpc.errors import StorageError
from hpc.hub.side import PIECE_EVENTS, Side, unreadable
from hpc.problems import compacted
from hpc.protocols import Answer, LogReader, LogRow

EVENTS_DEFAULT: Final = 100

PIECES_MAX: Final = 200
"""Pieces that one answer looks through."""

JOB_ROWS: Final = 20
"""Batches that one piece looks at where the log knows which speak of a job; each may be long."""

SEARCHES_MAX: Final = 16
"""Searches that are kept for their next page."""

Ask = Callable[[str, str], Awaitable[Answer]]
"""Puts a verb and a query to the engine, or to one of the past."""


class _Plan(msgspec.Struct):
    cursor: int
    why_not: bool
    spec: str
    table: str
    key: str
    column: str
    job: bool
    whole: bool
    """Whether compaction has dropped no event of what the cell comes from."""
    only: int | None = None


_plan = msgspec.json.Decoder(_Plan)
_OK: Final = 200
_Key = tuple[object, ...]


@dataclass(slots=True)
class _Pages:
    """What one answer of `explain` has found."""

    events: list[bytes]
    count: int = 0


class Explainer:
    """Answers `GET /explain` and `GET /conflicts`.

    Args:
        side: Where the log is searched.
        hub_id: Of the Hub: tallies are kept by it.
    """

    def __init__(self, side: Side, hub_id: str) -> None:
        self._side = side
        self._hub_id = hub_id
        self._kept: OrderedDict[_Key, Search] = OrderedDict()

    async def explain(self, ask: Ask, query: str) -> Answer:
        """Answer `{"cursor", "events": [...], "more"}`.

        Args:
            ask: Whose facts it is about.
            query: As the engine takes it: gid, table, key, column, after, limit, why_not.
        """
        planned = await ask("explain", query)
        if planned.status != _OK:
            return planned
        plan = _plan.decode(planned.body)
        # The engine has parsed the query, so that it can be read with ease.
        given = {name: values[0] for name, values in parse_qs(query).items()}
        limit, after = int(given.get("limit", EVENTS_DEFAULT)), int(given.get("after", 0))
        end = plan.cursor
        if plan.only is not None:
            after, end, limit = max(after, plan.only - 1), plan.only, 1
        key = (given["gid"], plan.spec, plan.table, plan.key, plan.column, plan.why_not)
        search = self._search(key, planned.body, after)
        pages = _Pages([])
        try:
            for _ in range(PIECES_MAX):
                if pages.count == limit or search.position >= end:
                    break
                look = partial(_piece, search, plan, after, end, limit - pages.count)
                found = await self._side.call(look)
                if isinstance(found, Answer):
                    return found
                pages.events.append(found[0])
                pages.count += found[1]
        except StorageError as error:
            return unreadable(error)
        is_more = max(after, search.position) < end
        after = max(after, search.position)
        if is_more and search.folds:
            self._keep((*key, after), search)
        return _explained(plan.cursor, pages, after if is_more else None)

    async def conflicts(self, ask: Ask, query: str) -> Answer:
        """Answer `{"cursor", "data": [...], "next"}`, each conflict with its evidence.

        Args:
            ask: Whose facts it is about.
            query: As the engine takes it: gid, after, limit.
        """
        planned = await ask("conflicts", query)
        if planned.status != _OK:
            return planned
        search = Evidence(planned.body, self._hub_id)
        position = 0
        try:
            for _ in range(PIECES_MAX):
                until = search.until
                if until is None or position >= until:
                    break
                look = partial(_look, search.run, position + 1, PIECE_EVENTS)
                position = await self._side.call(look)
            for seq in search.newest:
                if seq > position:  # one batch may hold several
                    position = await self._side.call(partial(_look, search.cut, seq, 1))
        except StorageError as error:
            return unreadable(error)
        return Answer(_OK, search.body())

    def _search(self, key: _Key, plan: bytes, after: int) -> Search:
        search = self._kept.pop((*key, after), None)
        if search is None:
            return Search(plan, self._hub_id, after)
        search.renew(plan)
        return search

    def _keep(self, key: _Key, search: Search) -> None:
        self._kept[key] = search
        while len(self._kept) > SEARCHES_MAX:
            self._kept.popitem(last=False)


def _piece(
    search: Search, plan: _Plan, after: int, end: int, limit: int, log: LogReader
) -> tuple[bytes, int] | Answer:
    """Look at some more of the log, on the side's thread; 410 where what it needs is gone."""
    if plan.only is not None or not plan.job:
        rows = log.read(search.position + 1, PIECE_EVENTS if plan.only is None else 1)
        is_gone = any(not row.body and row.first_seq <= end for row in rows)
        if is_gone and not plan.whole:
            return _gone(log.floor(), None if search.folds or plan.only is not None else after)
        return search.run(rows, after, end, limit)
    rows = log.read_job(plan.key, search.position, JOB_ROWS)
    found = search.run(rows, after, end, limit)
    is_last = len(rows) < JOB_ROWS or rows[-1].first_seq + rows[-1].count > end
    if found[1] < limit and is_last:
        search.skip_to(end)  # nothing else speaks of the job
    return found


def _gone(floor: int, after: int | None) -> Answer:
    """Return the 410 of what cannot be explained; `after` where a later one would do."""
    if after is None:
        return compacted(floor)
    return compacted(floor, field="after", got=after, least=floor - 1)


def _look(take: Callable[[list[LogRow]], None], first_seq: int, limit: int, log: LogReader) -> int:
    """Look at so many events, on the side's thread; returns the seq of the last."""
    rows = log.read(first_seq, limit)
    take(rows)
    return rows[-1].first_seq + rows[-1].count - 1 if rows else first_seq


def _explained(cursor: int, pages: _Pages, after: int | None) -> Answer:
    events = b"".join(pages.events)[:-1]
    more = b"false}" if after is None else b'true,"after":%d}' % after
    return Answer(_OK, b'{"cursor":%d,"events":[%s],"more":%s' % (cursor, events, more))
