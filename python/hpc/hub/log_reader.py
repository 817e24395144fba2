"""Reading a task's output while it runs and after: what the Hub has, and what it can ask for.

A reader of a running task makes the engine put the stream into the relay's open claim (`tail`);
the relay then sends what there is, and more while somebody reads. Readers are woken by events and
output of their job and look again; nothing polls. What is missing is told in a note before the
first byte, since bytes of output cannot be told from words of ours.

Bytes are yielded in the stream's order. A follower goes on over attempts until the task is settled;
where a cancel has settled it, until its processes are reported to have ended, since they may write
in their grace. Of a long stream the report carries only both ends; the middle is asked of the node
that kept it, and may do so no longer. Where it cannot be had the note says so and the hole is
passed over; where it stops coming half-way the answer breaks, since an answer that ends well says
that this was all. What the relay has not kept while the task ran is passed over likewise, and told
where it is known before the first byte.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Final
from urllib.parse import urlencode

from hpc import ranges
from hpc.hub.frames import Stream
from hpc.hub.log_wire import Found, TailAnswer, TaskState, ask_task, job_answer, tail_answer
from hpc.hub.outputs import SEGMENTS_MAX, OutputStore, StreamView
from hpc.hub.outputs_gaps import begin_of_last, gaps_between, holes_in, listed, readable
from hpc.hub.outputs_index import Segment
from hpc.hub.turn import Turns
from hpc.ports import LogQuery, LogReading, StreamBroken
from hpc.problems import problem
from hpc.protocols import Answer

TAIL_WAIT_S: Final = 5.0
"""How long a reader waits for the relay before it is answered with what the Hub has, and for each
further piece of what it was promised."""

ASK_S_MIN: Final = 0.2
"""How soon a follower asks for its task again. In a big array something changes all the time;
output that has come is passed on meanwhile."""

GRACE_S: Final = 5.0
"""What a task is given to end where its spec does not say."""

READ_BYTES: Final = 256 * 1024
"""Bytes read and sent at a time."""

_OK: Final = 200
_NOT_FOUND: Final = 404


class LogReader:
    """Opens outputs of one Hub."""

    def __init__(self, turns: Turns, outputs: OutputStore) -> None:
        self._turns = turns
        self._outputs = outputs
        self._watches = itertools.count(1)

    async def open(self, job_id: str, query: LogQuery) -> LogReading | Answer:
        """Open a task's output, or refuse with a problem document."""
        found = await ask_task(self._turns, job_id, query.task)
        if isinstance(found, Answer):
            return found
        if found is None:
            return await self._no_task(job_id, query.task)
        task, state = found
        stream: Stream = "stderr" if query.stream == "stderr" else "stdout"
        place = (job_id, task, stream)
        reading = _Reading(self._turns, self._outputs, self._watches, place, query)
        try:
            note = await reading.begin(state)
            empty = await self._empty(job_id, found) if stream == "stdout" else None
        except BaseException:
            reading.close()
            raise
        return LogReading(note, reading, empty, reading.offset)

    async def _empty(self, job_id: str, found: Found) -> str | None:
        """Return `stderr` where a task that is settled has none, for sure: nobody need ask."""
        task, state = found
        # Where output has gone for its age, what is not there may be that.
        if not state.is_settled or self._outputs.removed_before_ms is not None:
            return None
        view = await self._turns.on_log(
            lambda _log: self._outputs.read(job_id, task, "stderr", attempt=state.attempt, offset=0)
        )
        is_known = view is None or (
            isinstance(view, StreamView) and not view.segments and not view.total
        )
        return "stderr" if is_known else None

    async def _no_task(self, job_id: str, task: int | None) -> Answer:
        """Return the 404 that says which tasks the job has."""
        answer = await self._turns.ask("job", urlencode({"job_id": job_id}))
        if answer.status != _OK:
            return answer
        tasks = job_answer.decode(answer.body).data.tasks
        return problem(
            404,
            "not_found",
            "Nothing has this name",
            f"job `{job_id}` has no task {task}; its tasks are {tasks}",
            f"see them: hpc job tasks {job_id}",
        )


class _Reading:
    """One reader of one stream: yields its bytes, and must be closed, begun or not."""

    def __init__(
        self,
        turns: Turns,
        outputs: OutputStore,
        watches: Iterator[int],
        place: tuple[str, int, Stream],
        query: LogQuery,
    ) -> None:
        self._turns = turns
        self._outputs = outputs
        self._watches = watches
        self._watch_id = 0
        self._job_id, self._task, self._stream = place
        self._follow = query.follow
        self._last, self._before = query.last, query.before
        self._watch = turns.feeds.watch(self._job_id)
        self._state = TaskState(is_settled=False)
        self._tailed: tuple[int | None, str, int] | None = None
        self._absences_before = 0
        self._offset = query.after
        self._rest: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._is_late = False
        self._is_stale = False
        self._skips_gaps = False
        self._iterator = self._chunks()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._iterator)

    @property
    def offset(self) -> int:
        """How far it is: once begun, the offset in the stream of the first byte."""
        return self._offset

    async def aclose(self) -> None:
        """End the reader's interest; a second call does nothing."""
        await self._iterator.aclose()
        self.close()

    async def begin(self, state: TaskState) -> str | None:
        """Find out what there is, asking the relay where the task runs; returns the note."""
        notes = [await self._begin(state), await self._holes_note()]
        if self._last is not None:
            segments, _ = await self._known(self._state.attempt, self._offset)
            spans = readable(segments, skip_gaps=self._skips_gaps)
            self._offset = begin_of_last(spans, self._last, self._offset, self._before)
        return "; ".join(filter(None, notes)) or None

    async def _begin(self, state: TaskState) -> str | None:
        self._state = state = await self._as_followed(state)
        if state.is_settled:
            return await self._begin_settled(state)
        before = await self._view(state.attempt)
        running = await self._tail()
        if running is None:
            # It may have ended before this reader watched it: then nothing would wake it any more.
            self._state = state = await self._asked() or state
            if state.is_settled:
                return await self._begin_settled(state)
            if state.attempt is None or self._follow:
                return None
            self._skips_gaps = True
            return (
                f"the task is {state.state} after attempt {state.attempt} on node {state.node_id}; "
                "these are the bytes that the Hub has"
            )
        self._state = state._replace(attempt=running.attempt, node_id=running.node_id)
        self._skips_gaps = not self._follow
        if running.state == "up":
            count = before.now_count if before and before.attempt == running.attempt else 0
            # Who follows the whole need not know where it ends now.
            is_heard = (self._follow and self._last is None) or await self._heard(count)
            if self._follow or is_heard:
                return None
        silent = "has not answered" if running.state == "up" else f"is {running.state}"
        return f"node {running.node_id} {silent}; these are the bytes that the Hub has"

    async def _begin_settled(self, state: TaskState) -> str | None:
        """Of a stream with holes: have the node send them, or say that they are missing."""
        gaps = await self._gaps_note(state)
        note = gaps or await self._removed_note(state)
        if note is None or await self._asked_for_more():
            return None
        self._skips_gaps = True
        if not state.node_id:
            return note
        has = "has not got" if await self._is_absent() else "may have"
        return f"{note}; node {state.node_id} {has} {'them' if gaps else 'it'}"

    async def _removed_note(self, state: TaskState) -> str | None:
        """Say where nothing is known of an ended attempt because it may be too old."""
        before_ms = self._outputs.removed_before_ms
        if before_ms is None or await self._view(state.attempt) is not None:
            return None
        answer = await self._turns.ask("job", urlencode({"job_id": self._job_id}))
        if answer.status != _OK or job_answer.decode(answer.body).data.submitted_at >= before_ms:
            return None
        day = datetime.datetime.fromtimestamp(before_ms / 1000, datetime.UTC)
        return f"the Hub keeps no output from before {day:%Y-%m-%dT%H:%M:%SZ}"

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        while True:
            while chunk := await self._next_chunk(skip_gaps=self._skips_gaps):
                yield chunk
            if self._skips_gaps or (self._before is not None and self._offset >= self._before):
                return
            if self._state.is_settled:
                # Its output came ahead of its report: what is not here is a hole.
                if await self._gaps_note(self._state, self._offset) is None:
                    return
                if not (await self._comes_on(self._offset) or await self._asked_for_more()):
                    raise StreamBroken
                continue
            if not self._follow:
                return
            if not await self._watch.changed():
                raise StreamBroken  # the Hub ends, the task does not
            if self._rest is not None:
                self._is_stale = True
                continue
            self._is_stale = False
            self._rest = asyncio.get_running_loop().call_later(ASK_S_MIN, self._rested)
            async for chunk in self._moved_on():
                yield chunk

    def _rested(self) -> None:
        self._rest = None
        if self._is_stale:
            self._watch.wake()

    def close(self) -> None:
        """End the watch and the tail at once; a second call does nothing."""
        self._watch.close()
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._late is not None:
            self._late.cancel()
        if self._tailed is not None:
            self._tailed = None
            self._turns.tell("untail", f"watch={self._watch_id}")

    async def _moved_on(self) -> AsyncIterator[bytes]:
        """Ask for the task's state; at a new attempt yield what the old one has left."""
        state = await self._asked()
        if state is None:
            return
        if self._state.attempt not in (None, state.attempt):
            while chunk := await self._next_chunk(skip_gaps=True):
                yield chunk
            self._offset = 0
        self._state = state
        if not state.is_settled and self._tailed != self._tail_key():
            await self._tail()

    async def _asked(self) -> TaskState | None:
        found = await ask_task(self._turns, self._job_id, self._task)
        if isinstance(found, Answer) and found.status == _NOT_FOUND:
            # It was there, and is forgotten: it had ended.
            return self._state._replace(is_settled=True)
        return await self._as_followed(found.state) if isinstance(found, Found) else None

    async def _as_followed(self, state: TaskState) -> TaskState:
        """Return the state for this reader: a follower's cancelled task may have to end yet.

        A node that has gone away may never report it: it is not waited for longer than the task's
        grace and that of a piece.
        """
        if not self._follow or state.state != "cancelled" or state.attempt is None:
            return state
        answer = await self._turns.ask("job", urlencode({"job_id": self._job_id}))
        if answer.status != _OK:
            return state
        job = job_answer.decode(answer.body).data
        closed = (a for a in job.attempts if a.attempt == state.attempt and a.state == "closed")
        if not any(self._task in span for one in closed for span in ranges.spans(one.tasks)):
            return state
        if self._late is None:
            given = job.spec.get("grace")
            within_s = (given if isinstance(given, int | float) else GRACE_S) + TAIL_WAIT_S
            self._late = asyncio.get_running_loop().call_later(within_s, self._waited_enough)
        return state._replace(is_settled=self._is_late)

    def _waited_enough(self) -> None:
        self._is_late = True
        self._watch.wake()

    def _tail_key(self) -> tuple[int | None, str, int]:
        # A relay forgets its tails with its claim, the engine with a rebuild.
        return self._state.attempt, self._state.state, self._turns.rebuilds

    async def _asked_for_more(self) -> bool:
        """Ask the node of a settled task for what it kept; whether some of it has come."""
        known = await self._known_end(self._offset)
        found = await self._tail()
        return found is not None and found.state == "up" and await self._comes_on(known)

    async def _comes_on(self, known: int) -> bool:
        """Wait until more of the stream is known than up to an offset, or until that was all.

        Returns:
            Whether it came. It does not where the node says that it has not got it.
        """
        if self._tailed is None:
            return False
        try:
            async with asyncio.timeout(TAIL_WAIT_S):
                while (
                    await self._known_end(self._offset) <= known
                    and await self._gaps_note(self._state, self._offset) is not None
                ):
                    if await self._is_absent() or not await self._watch.changed():
                        return False
        except TimeoutError:
            return False
        return True

    async def _is_absent(self) -> bool:
        """Whether the node has said, since it was asked last, that it has not got the stream."""
        return await self._absences() > self._absences_before

    async def _absences(self) -> int:
        found = await self._turns.on_log(
            lambda _log: self._outputs.absences(self._job_id, self._task, self._stream)
        )
        return 0 if isinstance(found, Answer) else found

    async def _tail(self) -> TailAnswer | None:
        """Make the relay send the stream; None where the task neither runs nor has run."""
        offset = await self._known_end()
        self._absences_before = await self._absences()
        if self._tailed is not None:
            self._turns.tell("untail", f"watch={self._watch_id}")
        # A number of its own for each time: the relay goes on with those that it knows.
        self._watch_id = next(self._watches)
        self._tailed = self._tail_key()
        query: dict[str, str | int] = (
            {} if self._state.attempt is None else {"attempt": self._state.attempt}
        )
        query |= {
            "job_id": self._job_id,
            "task": self._task,
            "stream": self._stream,
            "offset": offset,
            "watch": self._watch_id,
        }
        answer = await self._turns.ask("tail", urlencode(query))
        return tail_answer.decode(answer.body) if answer.status == _OK else None

    async def _heard(self, count: int) -> bool:
        """Wait until the relay has said once more that this is all, or the task has ended."""
        try:
            async with asyncio.timeout(TAIL_WAIT_S):
                while True:
                    view = await self._view(self._state.attempt)
                    if view is not None and view.now_count > count:
                        return True
                    state = await self._asked()
                    if state is None or state.is_settled:
                        return True
                    if not await self._watch.changed():
                        return False
        except TimeoutError:
            return False

    async def _known_end(self, end: int = 0) -> int:
        """Return up to where the stream is known without a gap from an offset on."""
        while view := await self._view(self._state.attempt, end):
            before = end
            for segment in view.segments:
                if segment.offset > end:
                    return end
                end = segment.end
            if end == before:
                break
        return end

    async def _next_chunk(self, *, skip_gaps: bool) -> bytes:
        """Read on from the offset; empty where nothing (more) is known."""

        def read(_log: object) -> tuple[int, bytes]:
            offset = self._offset
            while True:
                view = self._outputs.read(
                    self._job_id,
                    self._task,
                    self._stream,
                    attempt=self._state.attempt,
                    offset=offset,
                    limit=1,
                )
                if view is None or not view.segments:
                    return offset, b""
                segment = view.segments[0]
                start = max(offset, segment.offset)
                if start > offset and not skip_gaps:
                    return offset, b""
                left = READ_BYTES if self._before is None else self._before - start
                if left <= 0:
                    return start, b""
                if segment.is_kept:
                    limit = min(left, READ_BYTES)
                    data = self._outputs.data(segment, offset=start, limit=limit)
                    return start + len(data), data
                offset = segment.end

        found = await self._turns.on_log(read)
        if isinstance(found, Answer):
            raise StreamBroken  # the Hub ends: what was read was not all
        self._offset, data = found
        return data

    async def _view(self, attempt: int | None, offset: int = 0) -> StreamView | None:
        """Return what is known of an attempt; None is the newest with any output."""
        found = await self._turns.on_log(
            lambda _log: self._outputs.read(
                self._job_id, self._task, self._stream, attempt=attempt, offset=offset
            )
        )
        return None if isinstance(found, Answer) else found

    async def _gaps_note(self, state: TaskState, end: int = 0) -> str | None:
        """Say which bytes of an ended attempt, from an offset on, are not at the Hub."""
        segments, total = await self._known(state.attempt, end)
        gaps = gaps_between(end, segments)
        end = segments[-1].end if segments else end
        if end and total is None:
            gaps.append(f"from {end} on")
        elif total is not None and total > end:
            gaps.append(f"{end} to {total - 1}")
        if not gaps:
            return None
        return f"bytes {listed(gaps)} of {self._stream} are not at the Hub"

    async def _holes_note(self) -> str | None:
        """Say which bytes the relay has not kept, as far as that is known."""
        segments, _ = await self._known(self._state.attempt)
        holes = holes_in(segments)
        if not holes:
            return None
        told = [f"{start} to {end - 1}" for start, end in holes]
        count = sum(end - start for start, end in holes)
        return (
            f"{count} bytes in the middle of {self._stream} were not kept, {listed(told)}: its "
            "relay keeps no more of a task without an output limit of its own"
        )

    async def _known(
        self, attempt: int | None, offset: int = 0
    ) -> tuple[list[Segment], int | None]:
        """Return all that is known of an attempt from an offset on, and the stream's length."""
        segments: list[Segment] = []
        total = None
        while view := await self._view(attempt, segments[-1].end if segments else offset):
            segments += view.segments
            total = view.total
            if len(view.segments) < SEGMENTS_MAX:
                break
        return segments, total
