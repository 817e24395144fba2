"""Past: what the Hub would have answered when its log ended at a seq.

A second engine is replayed from the log up to there, on the thread of side.py, and is asked instead
of the first. One is kept, as long as it is used: the pages of a list and several pulls at one
cursor cost one replay, and a later cursor goes on from an earlier one. Requests wait for one
another, so that there is never a third engine; a reader that leaves does not undo what was replayed
for it.

Generators are kept by the rules of today, over the log up to the cursor. What is asked, and what is
refused, is past_query.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from hpc import _core
from hpc.errors import StorageError
from hpc.hub.past_query import Asked, AskedDiff, Bounds, asked_at, asked_diff
from hpc.hub.side import PIECE_EVENTS, Side, unreadable
from hpc.protocols import Answer, LogReader

KEPT_S: Final = 60.0
"""So long an engine that nobody asks is kept."""


class Past:
    """Answers from prefixes of one log.

    Args:
        side: Where the log is read and the second engine works.
        hub_id: Of the Hub.
        head_seq: Tells the seq of the last durable event.
        floor: Tells the least seq that the log can still be replayed to: 0, until something is
            taken away from its beginning.
    """

    def __init__(
        self,
        side: Side,
        *,
        hub_id: str,
        head_seq: Callable[[], int],
        floor: Callable[[], int] = lambda: 0,
    ) -> None:
        self._side = side
        self._hub_id = hub_id
        self._head_seq = head_seq
        self._floor = floor
        self._one_at_a_time = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        # Of the side's thread:
        self._engine: _core.Past | None = None
        self._registrations: list[int] = []
        """First seqs of the registrations that the engine began with."""

    def asked(self, query: str) -> Asked | Answer | None:
        """Return what a query asks of the past; see `asked_at`."""
        return asked_at(query, self._bounds())

    async def ask(self, verb: str, asked: Asked) -> Answer:
        """Answer one of `VERBS` as it would have been answered then."""
        async with self._engine_in_use():
            try:
                await self._reach(asked.at)
                return await self._side.call(lambda _: self._answer(verb, asked.query))
            except StorageError as error:
                return unreadable(error)

    async def diff(self, query: str) -> Answer:
        """Answer `GET /diff`: the cells of a generator that differ between two cursors."""
        given = asked_diff(query, self._bounds())
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
                    await self._reach(given.to)
                    if (answer := await self._side.call(told)) is not None:
                        return answer
            except StorageError as error:
                return unreadable(error)

    async def _reach_kept(self, given: AskedDiff) -> Answer | None:
        """Have the facts at the earlier cursor kept, by an engine that is not past the later."""

        def is_kept(log: LogReader) -> bool:
            engine = self._current(log, given.to)
            return engine.is_kept(given.gid, given.since)

        if await self._side.call(is_kept):
            return None
        await self._reach(given.since)
        refusal = await self._side.call(lambda _: self._of_now().keep(given.gid))
        return None if refusal is None else Answer(*refusal)

    async def _reach(self, at: int) -> None:
        """Replay up to a seq, a piece at a time."""

        def piece(log: LogReader) -> bool:
            engine = self._current(log, at)
            if engine.last_seq < at:
                try:
                    engine.replay(log.read(engine.last_seq + 1, PIECE_EVENTS), at)
                except Exception:
                    self._engine = None
                    raise
            return engine.last_seq == at

        while not await self._side.call(piece):
            pass

    # On the side's thread

    def _current(self, log: LogReader, at: int) -> _core.Past:
        """Return the engine, a new one where it is past `at` or a registration came since."""
        control = log.read_control()
        registrations = [row.first_seq for row in control]
        engine = self._engine
        if engine is None or engine.last_seq > at or registrations != self._registrations:
            self._engine = None  # before the next one takes room
            engine = _core.Past(hub_id=self._hub_id)
            engine.preload(control)
            self._engine, self._registrations = engine, registrations
        return engine

    def _of_now(self) -> _core.Past:
        assert self._engine is not None, "nothing was replayed"
        return self._engine

    def _answer(self, verb: str, query: str) -> Answer:
        return Answer(*self._of_now().ask(verb, query))

    def _drop(self) -> None:
        self._engine = None

    # On the event loop's thread

    def _bounds(self) -> Bounds:
        return Bounds(self._floor(), self._head_seq())

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
