"""Service: the Hub as a transport sees it (`hpc.ports.HubPorts`), before, while and after it runs.

It decides nothing: requests go to the turns, or to the past where they say `at`, output to the log
reader. Until the log is recovered
it answers 503, so that the transport can listen, and say that the Hub is alive, from the start.
"""

from __future__ import annotations

from typing import Final

from hpc._core import events_page, job_events_page
from hpc.errors import StorageError
from hpc.hub.explainer import Explainer
from hpc.hub.feeds import Feeds
from hpc.hub.log_reader import LogReader
from hpc.hub.outputs import OutputStore
from hpc.hub.past import Past
from hpc.hub.past_query import VERBS
from hpc.hub.side import Side, unreadable
from hpc.hub.tasks import Tasks
from hpc.hub.turn import Turns
from hpc.ports import JobFeed, LogQuery, LogReading, PokeFeed
from hpc.problems import compacted, stopping
from hpc.protocols import Answer, EventLog, LogRow

PAGE_ROWS_EVENTS: Final = 1000
"""Events that one read for a page takes."""

PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of events ends at the first row with which it is at least so long."""

JOB_ROWS: Final = 16
"""Rows that one read of a job's events takes: each may be as long as a batch."""


class Service:
    """Implements `HubPorts`."""

    def __init__(self, hub_id: str, token_sha256: bytes) -> None:
        self.hub_id = hub_id
        self.token_sha256 = token_sha256
        self.is_ready = False
        self._turns: Turns | None = None
        self._reader: LogReader | None = None
        self._past: Past | None = None
        self._explainer: Explainer | None = None
        self._tasks: Tasks | None = None
        self._idle = Feeds(0)

    def begin(self, turns: Turns, outputs: OutputStore, side: Side) -> None:
        """Take up requests; `is_ready` is set by whoever has registered what must be there."""
        self._turns = turns
        self._reader = LogReader(turns, outputs)
        self._past = Past(side, hub_id=self.hub_id, head_seq=lambda: turns.head_seq)
        self._explainer = Explainer(side, self.hub_id)
        self._tasks = Tasks(side)

    async def ask(self, verb: str, query: str, body: bytes = b"") -> Answer:
        """Put one request to the engine, or to the one of the past that it asks."""
        if self._turns is None or self._past is None:
            return stopping()
        if "at=" in query and verb in VERBS:
            asked = self._past.asked(query)
            if isinstance(asked, Answer):
                return asked
            if asked is not None:
                return await self._past.ask(verb, asked)
        return await self._turns.ask(verb, query, body)

    async def post_outputs(self, pack: bytes) -> Answer:
        """Store a body of output frames."""
        if self._turns is None:
            return stopping()
        return await self._turns.post_outputs(pack)

    async def events(self, cursor: int, limit: int, job_id: str | None = None) -> Answer:
        """Return a page of the events after a cursor; 410 where some of them are gone."""
        if self._turns is None:
            return stopping()

        def page(log: EventLog) -> bytes | Answer:
            return (
                _page(log, cursor, limit)
                if job_id is None
                else _job_page(log, job_id, cursor, limit)
            )

        try:
            body = await self._turns.on_log(page)
        except StorageError as error:
            return unreadable(error)
        return body if isinstance(body, Answer) else Answer(200, body)

    async def explain(self, query: str) -> Answer:
        """Return the events that a cell comes from, or that did not change it."""
        if self._explainer is None:
            return stopping()
        return await self._explainer.explain(self.ask, query)

    async def conflicts(self, query: str) -> Answer:
        """Return the cells that contradict themselves, with evidence."""
        if self._explainer is None:
            return stopping()
        return await self._explainer.conflicts(self.ask, query)

    async def tasks(self, job_id: str, query: str) -> Answer:
        """Return a page of a job's tasks, with what the log says of each."""
        if self._tasks is None:
            return stopping()
        return await self._tasks.page(self.ask, job_id, query)

    async def diff(self, query: str) -> Answer:
        """Return the cells that differ between two cursors."""
        if self._past is None:
            return stopping()
        return await self._past.diff(query)

    def end(self) -> None:
        """Keep nothing of the past any more, so that the process can end."""
        if self._past is not None:
            self._past.close()

    async def grown(self, seq: int) -> int | None:
        """Wait until the log goes past `seq`."""
        return await self._feeds.grown(seq)

    def watch_job(self, job_id: str) -> JobFeed:
        """Be woken by the events that speak of a job."""
        return self._feeds.watch(job_id)

    def subscribe_pokes(self, gids: frozenset[str]) -> PokeFeed:
        """Subscribe to the pokes of some generators, or of all where the set is empty."""
        return self._feeds.subscribe(gids)

    async def job_log(self, job_id: str, query: LogQuery) -> LogReading | Answer:
        """Open a task's output."""
        if self._reader is None:
            return stopping()
        return await self._reader.open(job_id, query)

    def figures(self) -> dict[str, int]:
        """Return what has been done since the start, and how much is open."""
        return {} if self._turns is None else self._turns.figures()

    @property
    def _feeds(self) -> Feeds:
        return self._idle if self._turns is None else self._turns.feeds


def _page(log: EventLog, cursor: int, limit: int) -> bytes | Answer:
    head_seq = log.head().last_seq
    begun = _begun(log, head_seq, cursor)
    if isinstance(begun, Answer):
        return begun
    is_whole, cursor = begun != cursor, begun
    next_seq = cursor + 1
    rows: list[LogRow] = []
    size, events = 0, 0
    while events < limit and size < PAGE_BYTES and next_seq <= head_seq:
        found = log.read(next_seq, min(limit - events, PAGE_ROWS_EVENTS))
        if not found:
            break
        rows += found
        size += sum(len(row.body) for row in found)
        events += found[-1].first_seq + found[-1].count - next_seq
        next_seq = found[-1].first_seq + found[-1].count
    page = events_page(rows, cursor, limit, head_seq)
    return page[:-1] + b',"snapshot":true}' if is_whole else page


def _job_page(log: EventLog, job_id: str, cursor: int, limit: int) -> bytes | Answer:
    """A page of what speaks of one job, which costs what it holds: the log has an index."""
    head_seq = log.head().last_seq
    begun = _begun(log, head_seq, cursor)
    if isinstance(begun, Answer):
        return begun
    is_whole, cursor = begun != cursor, begun
    rows: list[LogRow] = []
    size, events, covered = 0, 0, cursor
    while events < limit and size < PAGE_BYTES:
        found = log.read_job(job_id, covered, JOB_ROWS)
        rows += found
        size += sum(len(row.body) for row in found)
        events += sum(row.count for row in found)
        if len(found) < JOB_ROWS:
            covered = head_seq
            break
        covered = found[-1].first_seq + found[-1].count - 1
    page = job_events_page(rows, job_id, cursor, limit, covered, head_seq)
    return page[:-1] + b',"snapshot":true}' if is_whole else page


def _begun(log: EventLog, head_seq: int, cursor: int) -> int | Answer:
    """Return the cursor from which a page is read; another one where it is of another log."""
    floor = log.floor()
    if cursor > head_seq:
        return floor - 1
    if cursor < floor - 1:
        return compacted(floor, field="cursor", got=cursor, least=floor - 1)
    return cursor
