"""Past: what the Hub would have answered when its log ended at a seq.

A second engine is brought up to there on the thread of side.py, from the newest snapshot below or
from the log's beginning, and is asked instead of the first. Where compaction has dropped what that
takes, the answer is 410. One engine is kept, as long as it is used: the pages of a list and several
pulls at one cursor cost one replay, and a later cursor goes on from an earlier one. Requests wait
for one another, so that there is never a third engine; a reader that leaves does not undo what was
replayed for it.

Generators are kept by the rules of today, over the log up to the cursor; those that a snapshot does
not hold are built over the log before it. What is asked, and what is
refused, is past_query.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from hpc import _core
from hpc.errors import StorageError
from hpc.hub.past_query import Asked, AskedDiff, asked_at, asked_diff
from hpc.hub.restoring import restore_newest
from hpc.hub.side import PIECE_EVENTS, Side, unreadable
from hpc.problems import compacted
from hpc.protocols import Answer, LogReader

KEPT_S: Final = 60.0
"""So long an engine that nobody asks is kept."""


class Past:
    """Answers from prefixes of one log.

    Args:
        side: Where the log is read and the second engine works.
        hub_id: Of the Hub.
        head_seq: Tells the seq of the last durable event.
    """

    def __init__(self, side: Side, *, hub_id: str, head_seq: Callable[[], int]) -> None:
        self._side = side
        self._hub_id = hub_id
        self._head_seq = head_seq
        self._one_at_a_time = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        # Of the side's thread:
        self._engine: _core.Past | None = None
        self._registrations: list[int] = []
        """First seqs of the registrations that the engine began with."""

    def asked(self, query: str) -> Asked | Answer | None:
        """Return what a query asks of the past; see `asked_at`."""
        return asked_at(query, self._head_seq())

    async def ask(self, verb: str, asked: Asked) -> Answer:
        """Answer one of `VERBS` as it would have been answered then."""
        async with self._engine_in_use():
            try:
                if refusal := await self._reach("at", asked.at):
                    return refusal
                return await self._side.call(lambda _: self._answer(verb, asked.query))
            except StorageError as error:
                return unreadable(error)

    async def diff(self, query: str) -> Answer:
        """Answer `GET /diff`: the cells of a generator that differ between two cursors."""
        given = asked_diff(query, self._head_seq())
        if isinstance(given, Answer):
            return given

        def told(_log: LogReader) -> Answer | None:
            # A registration that came meanwhile has begun everything anew.
            is_kept = self._of_now().is_kept(given.gid, given.since)
            return self._answer("diff", given.query) if is_kept else None

        async with self._engine_in_use():
            try:
                while True:
                    if refusal := await self._reach_kept(given):
                        return refusal
                    if refusal := await self._reach("to", given.to):
                        return refusal
                    if (answer := await self._side.call(told)) is not None:
                        return answer
            except StorageError as error:
                return unreadable(error)

    async def _reach_kept(self, given: AskedDiff) -> Answer | None:
        """Have the facts at the earlier cursor kept, by an engine that is not past the later."""

        def is_kept(log: LogReader) -> bool:
            engine = self._current(log, given.to)
            return engine is not None and engine.is_kept(given.gid, given.since)

        if await self._side.call(is_kept):
            return None
        if gone := await self._reach("from", given.since):
            return gone
        refusal = await self._side.call(lambda _: self._of_now().keep(given.gid))
        return None if refusal is None else Answer(*refusal)

    async def _reach(self, field: str, at: int) -> Answer | None:
        """Come up to a seq, a piece at a time; or say that it is gone, by the query's `field`."""

        def piece(log: LogReader) -> bool | Answer:
            engine = self._current(log, at)
            if engine is None:
                return compacted(_least(log), field=field, got=at)
            try:
                return self._is_there(engine, log, at)
            except Exception:
                self._engine = None
                raise

        while not (reached := await self._side.call(piece)):
            pass
        return reached if isinstance(reached, Answer) else None

    # On the side's thread

    def _current(self, log: LogReader, at: int) -> _core.Past | None:
        """Return the engine, a new one where this one cannot come to `at`; None where none can.

        It cannot where it is past `at`, where a registration came since, and where what it would
        read next was dropped meanwhile.
        """
        control = log.read_control()
        registrations = [row.first_seq for row in control]
        engine = self._engine
        if (
            engine is None
            or engine.last_seq > at
            or registrations != self._registrations
            or engine.last_seq + 1 < min(log.floor(), at + 1)
        ):
            self._engine = None  # before the next one takes room
            engine = self._begun(log, at)
            if engine is not None:
                engine.preload(control)
            self._engine, self._registrations = engine, registrations
        return engine

    def _begun(self, log: LogReader, at: int) -> _core.Past | None:
        """Return a new engine at a snapshot or before the first event; None where neither is."""

        def new() -> _core.Past:
            return _core.Past(hub_id=self._hub_id)

        engine = restore_newest(log, new, upto=at)
        return new() if engine is None and log.floor() == 1 else engine

    def _is_there(self, engine: _core.Past, log: LogReader, at: int) -> bool:
        """Bring the engine one piece nearer to a seq; whether it has come there."""
        if (wanted := engine.build_from) is not None:
            engine.catch_up(log.read(wanted, PIECE_EVENTS))
        elif engine.last_seq < at:
            rows = log.read(engine.last_seq + 1, PIECE_EVENTS)
            if any(not row.body and row.first_seq <= at for row in rows):
                return False  # dropped just now: the floor has risen above it
            engine.replay(rows, at)
        return engine.build_from is None and engine.last_seq == at

    def _of_now(self) -> _core.Past:
        assert self._engine is not None, "nothing was replayed"
        return self._engine

    def _answer(self, verb: str, query: str) -> Answer:
        return Answer(*self._of_now().ask(verb, query))

    def _drop(self) -> None:
        self._engine = None

    # On the event loop's thread

    @contextlib.asynccontextmanager
    async def _engine_in_use(self) -> AsyncIterator[None]:
        async with self._one_at_a_time:
            if self._timer is not None:
                self._timer.cancel()
            try:
                yield
            finally:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(KEPT_S, self._drop)

    def close(self) -> None:
        """Keep nothing any more; a second call does nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._drop()


def _least(log: LogReader) -> int:
    """Return the least seq that the log can still be brought to: that of its oldest snapshot."""
    return min((head.seq for head in log.snapshots()), default=log.floor())
