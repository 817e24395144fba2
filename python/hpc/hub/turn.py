"""Turns: the thread that runs the Hub, and its face on the event loop.

Everything that arrives is put on one queue. A dedicated thread takes all that is there, runs one
turn (commit.py) and hands the answers back by one call into the loop. What arrives while a commit
is running waits on the queue and shares the next: that is the whole of group commit. The thread
sleeps on the queue until the engine wants to be woken; nothing polls. If it comes late, the engine
learns that only from the clock that it is given.

The log and the output store are used on this thread alone, for reading as well: `on_log` takes a
call there. Reads are short (a page of events, a piece of output) and see what is committed.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from hpc.errors import HpcError
from hpc.hub.commit import Arrived, Clock, Committer, Input, Outcome, SystemClock
from hpc.hub.feeds import Feeds
from hpc.ports import Answered
from hpc.problems import problem, stopping
from hpc.protocols import Answer, EventLog

TURN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bodies that one turn takes; the turn that reaches it takes no further input."""

OPEN_MAX: Final = 50_000
"""Requests that may be open; more are refused."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Pack:
    token: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Call:
    token: int
    call: Callable[[EventLog], Any]


class _Stop:
    """Ends the thread after the turn that takes it."""


class Turns:
    """The Hub's turns, as seen from the event loop's thread.

    Attributes:
        feeds: Who is told what turns bring.
        rebuilds: How often the engine was rebuilt; a reader that tails must ask anew after one.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        on_fatal: Callable[[HpcError], None],
        clock: Clock | None = None,
    ) -> None:
        """Start the thread.

        Args:
            committer: Runs a turn; used by the thread alone from now on.
            on_fatal: Called on the loop, once, when turns have ended by themselves and everything
                open was answered 503.
            clock: The clock of the committer.
        """
        self.feeds = Feeds(committer.head_seq)
        self.rebuilds = 0
        self._committer = committer
        self._on_fatal = on_fatal
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Input | _Pack | _Call | _Stop] = queue.SimpleQueue()
        self._open: dict[int, Callable[[Any], None]] = {}
        """By token, who is told the answer, or the result of a call."""
        self._tokens = itertools.count(1)
        self._asked = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="hpc-turns", daemon=True)
        self._thread.start()

    # On the event loop's thread

    def put(self, verb: str, query: str, body: bytes, answered: Answered) -> Callable[[], None]:
        """Put one request to the engine; `answered` is called once what it wrote is durable.

        Returns:
            What to call if the client has left: it tells the engine, and `answered` is not called.
        """
        if refusal := self._refusal():
            answered(refusal)
            return lambda: None
        token = self._opened(answered)
        self._inbox.put((token, verb, query, body))
        return functools.partial(self._leave, token)

    async def ask(self, verb: str, query: str, body: bytes = b"") -> Answer:
        """Put one request to the engine and return its answer, once what it wrote is durable.

        Cancelling tells the engine that the client has left.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        leave = self.put(verb, query, body, functools.partial(_settle, future))
        try:
            return await future
        except asyncio.CancelledError:
            leave()
            raise

    def tell(self, verb: str, query: str) -> None:
        """Put an input that is not answered, such as `untail`."""
        if not self._is_closed:
            self._inbox.put((next(self._tokens), verb, query, b""))

    def put_outputs(self, pack: bytes, answered: Answered) -> None:
        """Store a body of output frames; they are on disk when the answer is 200."""
        if refusal := self._refusal():
            answered(refusal)
        else:
            self._inbox.put(_Pack(self._opened(answered), pack))

    async def on_log(self, call: Callable[[EventLog], T]) -> T | Answer:
        """Run a short call on the turn thread, where the log and the outputs may be used.

        Returns:
            What the call returned, or a refusal if the Hub ends.

        Raises:
            Exception: Whatever the call raised.
        """
        if refusal := self._refusal():
            return refusal
        future: asyncio.Future[Any] = self._loop.create_future()
        self._inbox.put(_Call(self._opened(functools.partial(_settle, future)), call))
        return cast("T | Answer", await future)

    async def close(self) -> None:
        """Answer what is on the queue, then all that is held with 503, and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._inbox.put(_Stop())
        await self._loop.run_in_executor(None, self._thread.join)
        self._answer_all(stopping())
        self.feeds.close()

    @property
    def head_seq(self) -> int:
        """Seq of the last durable event."""
        return self._committer.head_seq

    def figures(self) -> dict[str, int]:
        """Return counts since the start: requests, turns, commits, syncs of output; what is open.

        They are read beside the turn thread, so that one may be a turn behind another.
        """
        return {
            "cursor": self._committer.head_seq,
            "requests": self._asked,
            "turns": self._committer.turns,
            "commits": self._committer.commits,
            "output_syncs": self._committer.output_syncs,
            "open": len(self._open),
        }

    def _refusal(self) -> Answer | None:
        if self._is_closed:
            return stopping()
        if len(self._open) < OPEN_MAX:
            return None
        return problem(
            503,
            "busy",
            "The Hub has too much to do",
            f"{OPEN_MAX} requests are open",
            "send the same request again in a second",
        )

    def _opened(self, told: Callable[[Any], None]) -> int:
        token = next(self._tokens)
        self._asked += 1
        self._open[token] = told
        return token

    def _leave(self, token: int) -> None:
        if self._open.pop(token, None) is not None:
            self.tell("gone", f"token={token}")

    def _deliver(self, outcome: Outcome, jobs: list[str]) -> None:
        # The last ones first: those are of requests that were held, which somebody waits for, as a
        # relay for its lease; who has sent something only wants to know that it has arrived.
        for token, result in (*reversed(outcome.answers), *outcome.results):
            told = self._open.pop(token, None)
            if told is not None:
                told(result)
        self.rebuilds += outcome.rebuilt
        self.feeds.tell(head_seq=outcome.head_seq, pokes=outcome.pokes, jobs=jobs)
        if outcome.fatal is not None:
            self._end_by(outcome.fatal)

    def _end_by(self, error: HpcError) -> None:
        self._is_closed = True
        self._answer_all(
            problem(
                503,
                "storage_failed",
                "The log has failed",
                f"{error.message}; whether this request was recorded is unknown",
                "look at the Hub's machine; once the Hub runs again, send the same request again",
            )
        )
        self.feeds.close()
        self._on_fatal(error)

    def _answer_all(self, answer: Answer) -> None:
        unanswered, self._open = self._open, {}
        for told in unanswered.values():
            told(answer)

    # On the turn thread

    def _run(self) -> None:
        wait_s: float | None = 0.0
        is_stopping = False
        while not is_stopping:
            arrived, is_stopping = self._collect(wait_s)
            try:
                outcome = self._committer.run(arrived)
            except Exception as error:  # a mistake of ours; nobody may be left waiting
                outcome = Outcome(fatal=HpcError(f"A turn failed: {error!r}", code="internal"))
            self._hand_over(outcome)
            if outcome.fatal is not None:
                return
            if is_stopping:
                self._committer.close()
            wait_s = self._wait_s(outcome)

    def _collect(self, wait_s: float | None) -> tuple[Arrived, bool]:
        """Wait for the first arrival, then take all that is there."""
        arrived = Arrived()
        size = 0
        try:
            one = self._inbox.get(block=wait_s != 0, timeout=wait_s)
            while True:
                if isinstance(one, _Stop):
                    return arrived, True
                if isinstance(one, tuple):
                    arrived.inputs.append(one)
                    size += len(one[3])
                elif isinstance(one, _Pack):
                    arrived.packs.append((one.token, one.body))
                    size += len(one.body)
                else:
                    arrived.calls.append((one.token, one.call))
                if size >= TURN_BYTES_MAX:
                    break
                one = self._inbox.get_nowait()
        except queue.Empty:
            pass
        return arrived, False

    def _wait_s(self, outcome: Outcome) -> float | None:
        if outcome.again:
            return 0.0
        if outcome.wake_ms is None:
            return None
        return max(0.0, (outcome.wake_ms - self._clock.mono_ms()) / 1000)

    def _hand_over(self, outcome: Outcome) -> None:
        watched = self.feeds.jobs
        jobs: list[str] = []
        if outcome.rebuilt:
            jobs = list(watched.copy())
        elif watched:
            jobs = [job_id for row in outcome.rows for job_id in row.job_ids if job_id in watched]
            jobs += [job_id for job_id in outcome.heard if job_id in watched]
        quiet = not (outcome.answers or outcome.results or outcome.rows or outcome.rebuilt)
        if quiet and not outcome.pokes and outcome.fatal is None:
            return
        self._loop.call_soon_threadsafe(self._deliver, outcome, jobs)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
