"""Service: the Hub as a transport sees it (`hpc.ports.HubPorts`), before, while and after it runs.

It decides nothing: requests go to the turns, or to the past where they say `at`, output to the log
reader. Until the log is recovered
it answers 503, so that the transport can listen, and say that the Hub is alive, from the start.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import traceback
from collections.abc import Callable, Container, Sequence
from typing import Any, Final

import msgspec

from hpc._core import events_page, job_events_page
from hpc.errors import StorageError
from hpc.hub.callbacks import Callbacks
from hpc.hub.control_rows import control_of
from hpc.hub.explainer import Explainer
from hpc.hub.feeds import Feeds
from hpc.hub.limit_table import limits
from hpc.hub.log_reader import LogReader
from hpc.hub.outputs import OutputStore
from hpc.hub.past import Past
from hpc.hub.past_query import VERBS
from hpc.hub.quarantine import Quarantine, SetAside
from hpc.hub.side import Side, unreadable
from hpc.hub.tasks import Tasks
from hpc.hub.tokens import Tokens
from hpc.hub.turn import Turns
from hpc.networks import Network, is_loopback, is_within, parse_peer
from hpc.ports import Answered, Holder, JobFeed, LogQuery, LogReading, PokeFeed
from hpc.problems import compacted, internal, problem, stopping
from hpc.protocols import Answer, EventLog, LogRow

PAGE_ROWS_EVENTS: Final = 1000
"""Events that one read for a page takes."""

PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page of events ends at the first row with which it is at least so long."""

PIECE_ROWS: Final = 2
"""Rows that the first read of a job's events takes: each may be as long as a batch."""

PIECE_ROWS_MAX: Final = 16
"""Likewise a later one, where those before were short."""

PIECE_BYTES: Final = 1024 * 1024
"""So much a later read takes if its rows are like those before: turns go on in between."""


class Service:
    """Implements `HubPorts`."""

    def __init__(
        self,
        hub_id: str,
        tokens: Tokens,
        quarantine: Quarantine | None = None,
        callbacks: Callbacks | None = None,
        accept_from: Sequence[Network] | None = None,
        lineage: str | None = None,
    ) -> None:
        self.hub_id = hub_id
        self.lineage = lineage or hub_id
        self._quarantine = quarantine or Quarantine()
        self._all_tokens = tokens
        self._callbacks = callbacks or Callbacks()
        self._accept_from = accept_from
        self._turned_away = 0
        self._ready = asyncio.Event()
        self._turns: Turns | None = None
        self._reader: LogReader | None = None
        self._past: Past | None = None
        self._explainer: Explainer | None = None
        self._tasks: Tasks | None = None
        self._idle = Feeds(0)
        self._asking: set[asyncio.Future[Answer]] = set()

    def begin(self, turns: Turns, outputs: OutputStore, side: Side) -> None:
        """Take up requests; `open` is called by whoever has registered what must be there."""
        self._turns = turns
        turns.on_control = self._take_control
        self._reader = LogReader(turns, outputs)
        self._past = Past(side, hub_id=self.hub_id, head_seq=lambda: turns.head_seq)
        self._explainer = Explainer(side, self.hub_id)
        self._tasks = Tasks(side)

    def accepts(self, peer: str) -> bool:
        """Return whether a connection from an address is read at all; counts those that are not."""
        if self._accept_from is None:
            return True
        address = parse_peer(peer)
        if address is not None and (is_loopback(address) or is_within(address, self._accept_from)):
            return True
        self._turned_away += 1
        return False

    @property
    def is_ready(self) -> bool:
        """Whether the log is recovered and ingest is answered."""
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        """Return once it is."""
        await self._ready.wait()

    def open(self) -> None:
        """Be ready from now on."""
        self._ready.set()

    def holder(self, token: bytes) -> Holder | None:
        """Return whom a token names now; None where it opens nothing."""
        return self._all_tokens.holder(token)

    def tokens(self) -> Answer:
        """Return all tokens, as of the last event of the log."""
        if self._turns is None:
            return stopping()
        document = {"cursor": self._turns.head_seq, "data": self._all_tokens.listed(), "next": None}
        return Answer(200, msgspec.json.encode(document))

    async def ask(self, verb: str, query: str, body: bytes = b"") -> Answer:
        """Put one request to the engine, or to the one of the past that it asks."""
        if self._turns is None or self._past is None:
            return stopping()
        if verb == "control" and (refusal := self._callbacks.refusal(body)):
            return refusal
        if "at=" in query and verb in VERBS:
            asked = self._past.asked(query)
            if isinstance(asked, Answer):
                return asked
            if asked is not None:
                return await self._past.ask(verb, asked)
        return await self._turns.ask(verb, query, body)

    def put(
        self, verb: str, query: str, body: bytes, answered: Answered, who: str
    ) -> Callable[[], None]:
        """Put one request to the engine, or to the one of the past that it asks."""
        if self._turns is None:
            answered(stopping())
            return lambda: None
        if verb == "control" and (refusal := self._callbacks.refusal(body)):
            answered(refusal)
            return lambda: None
        if "at=" in query and verb in VERBS:
            asking = asyncio.ensure_future(self.ask(verb, query, body))
            self._asking.add(asking)  # the loop itself holds no task that waits
            asking.add_done_callback(functools.partial(self._asked, answered))
            return functools.partial(_cancel, asking)
        return self._turns.put(verb, query, body, answered, who)

    def _asked(self, answered: Answered, asking: asyncio.Future[Answer]) -> None:
        self._asking.discard(asking)
        if asking.cancelled():
            return
        if error := asking.exception():  # a mistake of ours; nobody may be left waiting
            traceback.print_exception(error, file=sys.stderr)
            answered(internal())
        else:
            answered(asking.result())

    def put_outputs(self, pack: bytes, answered: Answered) -> None:
        """Store a body of output frames."""
        if self._turns is None:
            answered(stopping())
        else:
            self._turns.put_outputs(pack, answered)

    async def events(self, cursor: int, limit: int, job_id: str | None = None) -> Answer:
        """Return a page of the events after a cursor; 410 where some of them are gone."""
        if self._turns is None:
            return stopping()

        try:
            if job_id is not None:
                return await _job_events(self._turns, _JobPage(job_id, cursor, limit))
            body = await self._turns.on_log(lambda log: _page(log, self._quarantine, cursor, limit))
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

    def figures(self) -> dict[str, Any]:
        """Return what has been done since the start, how much is open, and what is damaged."""
        data = {
            "turned_away": self._turned_away,
            "callbacks": self._callbacks.figures(),
            "limits": limits(),
        }
        if self._turns is None:
            return data
        return {**self._turns.figures(), "damaged": self._quarantine.found(), **data}

    def _take_control(self, row: LogRow) -> None:
        for control in control_of(row):
            self._all_tokens.take(control)
            self._callbacks.take(control)

    @property
    def _feeds(self) -> Feeds:
        return self._idle if self._turns is None else self._turns.feeds


def _cancel(asking: asyncio.Future[Answer]) -> None:
    asking.cancel()


def _page(log: EventLog, quarantine: Quarantine, cursor: int, limit: int) -> bytes | Answer:
    head_seq = log.head().last_seq
    begun = _begun(log, head_seq, cursor)
    if isinstance(begun, Answer):
        return begun
    is_whole, cursor = begun != cursor, begun
    next_seq = cursor + 1
    rows: list[LogRow] = []
    size, events = 0, 0
    while events < limit and size < PAGE_BYTES and next_seq <= head_seq:
        given = quarantine.rows(log, next_seq, min(limit - events, PAGE_ROWS_EVENTS))
        damaged = {one.seq: one for one in quarantine.found()}
        found = list(itertools.takewhile(_is_whole(damaged), given))
        rows += found
        if given and not rows:
            return _set_aside(damaged[given[0].first_seq])
        if not found:
            break
        size += sum(len(row.body) for row in found)
        events += found[-1].first_seq + found[-1].count - next_seq
        next_seq = found[-1].first_seq + found[-1].count
    page = events_page(rows, cursor, limit, head_seq)
    return page[:-1] + b',"snapshot":true}' if is_whole else page


def _is_whole(damaged: Container[int]) -> Callable[[LogRow], bool]:
    return lambda row: row.first_seq not in damaged


def _set_aside(batch: SetAside) -> Answer:
    return problem(
        410,
        "damaged",
        "The log is damaged here",
        f"the batch at seq {batch.seq} is not as it was recorded: {batch.why}",
        f"read on with `cursor` as {batch.until - 1}",
        field="cursor",
        floor=batch.until,
    )


async def _job_events(turns: Turns, page: _JobPage) -> Answer:
    """Read a page of a job's events piece by piece, and write it where no turn waits for it."""
    while not page.is_read:
        refusal = await turns.on_log(page.read)
        if refusal is not None:
            return refusal
    return Answer(200, await asyncio.to_thread(page.body))


class _JobPage:
    """A page of what speaks of one job, which costs what it holds: the log has an index.

    Args:
        job_id: The job.
        cursor: What the reader knows.
        limit: Events of the page.

    Attributes:
        is_read: Whether there is nothing more to read for it.
    """

    def __init__(self, job_id: str, cursor: int, limit: int) -> None:
        self.is_read = False
        self._job_id = job_id
        self._cursor = self._covered = cursor
        self._limit = limit
        self._is_whole = False
        self._head_seq = 0
        self._rows: list[LogRow] = []
        self._size = 0
        self._events = 0

    def read(self, log: EventLog) -> Answer | None:
        """Read a piece; returns a refusal where the reader's cursor is below what there is."""
        self._head_seq = log.head().last_seq
        begun = _begun(log, self._head_seq, self._covered)
        if isinstance(begun, Answer):
            # Where compaction has come in between, what was read before it is a page by itself.
            self.is_read = bool(self._rows)
            return None if self.is_read else begun
        if begun != self._covered:
            self._is_whole = True
            self._cursor = self._covered = begun
        count = self._piece_rows()
        found = log.read_job(self._job_id, self._covered, count)
        self._rows += found
        self._size += sum(len(row.body) for row in found)
        self._events += sum(row.count for row in found)
        if len(found) < count:
            self._covered = self._head_seq
            self.is_read = True
        else:
            self._covered = found[-1].first_seq + found[-1].count - 1
            self.is_read = self._events >= self._limit or self._size >= PAGE_BYTES
        return None

    def body(self) -> bytes:
        """Return the page as JSON."""
        page = job_events_page(
            self._rows, self._job_id, self._cursor, self._limit, self._covered, self._head_seq
        )
        return page[:-1] + b',"snapshot":true}' if self._is_whole else page

    def _piece_rows(self) -> int:
        if not self._rows:
            return PIECE_ROWS
        like_those = PIECE_BYTES * len(self._rows) // max(self._size, 1)
        return max(1, min(like_those, PIECE_ROWS_MAX))


def _begun(log: EventLog, head_seq: int, cursor: int) -> int | Answer:
    """Return the cursor from which a page is read; another one where it is of another log."""
    floor = log.floor()
    if cursor > head_seq:
        return floor - 1
    if cursor < floor - 1:
        return compacted(floor, field="cursor", got=cursor, least=floor - 1)
    return cursor
