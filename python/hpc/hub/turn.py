"""Turns: the Hub's turns as the event loop sees them.

What arrives is given to the turn thread (turn_thread.py), and what a turn brought comes back by
one call into the loop. Where the thread has nothing to do, little has arrived and the disk is
quick, the turn is run on the loop itself: of a single job's way, waking one thread from the other
and back took a twelfth. The loop then waits for that turn: for the disk, for what little was asked,
and for whoever else has the log locked. A turn that took long is the last one there for a while.

The log and the output store are used in turns alone, for reading as well: `on_log` takes a call to
the thread. Reads are short (a page of events, a piece of output) and see what is committed.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from hpc.clock import SystemClock
from hpc.errors import HpcError
from hpc.hub.commit import Committer
from hpc.hub.feeds import Feeds
from hpc.hub.turn_parts import Clock, Input, Outcome
from hpc.hub.turn_thread import Call, Pack, Thing, TurnThread
from hpc.ports import Answered
from hpc.problems import problem, stopping
from hpc.protocols import Answer, EventLog, LogRow

OPEN_MAX: Final = 50_000
"""Requests that may be open; more are refused."""

HERE_VERBS: Final = frozenset({"ingest", "claim", "job", "gone"})
"""What a turn on the loop takes: it is short, and somebody waits for it."""

HERE_INPUTS_MAX: Final = 4
"""More at once are many clients' work, whose requests are better read beside the turn."""

HERE_BYTES_MAX: Final = 32 * 1024
"""Bodies of such a turn, together."""

HERE_MS_MAX: Final = 5
"""A turn on the loop that took longer, by the disk or by what it had to do, is the last one there
for a while."""

HERE_SHARE: Final = 50
"""For so many times as long: the loop waits for a fiftieth of the time at most."""

HERE_TURNS_MAX: Final = 64
"""After so many the thread has the next one, which looks after snapshots as well."""

T = TypeVar("T")


class Turns:
    """The Hub's turns, as seen from the event loop's thread.

    Attributes:
        feeds: Who is told what turns bring.
        on_control: Called on the loop with each row that registers something, before its request
            is answered.
        rebuilds: How often the engine was rebuilt; a reader that tails must ask anew after one.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        on_fatal: Callable[[HpcError], None],
        clock: Clock | None = None,
        here_turns_max: int = HERE_TURNS_MAX,
    ) -> None:
        """Start the thread.

        Args:
            committer: Runs a turn; used in turns alone from now on.
            on_fatal: Called on the loop, once, when turns have ended by themselves and everything
                open was answered 503.
            clock: The clock of the committer.
            here_turns_max: Turns that the loop may run before the thread has the next.
        """
        self.feeds = Feeds(committer.head_seq)
        self.rebuilds = 0
        self.on_control: Callable[[LogRow], None] = lambda _: None
        self._committer = committer
        self._on_fatal = on_fatal
        self._clock = clock or SystemClock()
        self._loop = asyncio.get_running_loop()
        self._near: list[Input] = []
        """What waits for a turn on the loop."""
        self._given = 0
        """Things that the thread was given and has not answered for."""
        self._told = 0
        """Outcomes of the thread that have arrived."""
        self._here_turns = 0
        self._here_turns_max = here_turns_max
        self._here_from_ms = 0
        """No turn is run on the loop before this monotonic ms."""
        self._nudge: asyncio.TimerHandle | None = None
        self._open: dict[int, Callable[[Any], None]] = {}
        """By token, who is told the answer, or the result of a call."""
        self._tokens = itertools.count(1)
        self._asked = 0
        self._is_closed = False
        self._thread = TurnThread(committer, self._clock, self._brought)
        self._thread.start()

    # On the event loop's thread

    def put(
        self, verb: str, query: str, body: bytes, answered: Answered, who: str = ""
    ) -> Callable[[], None]:
        """Put one request to the engine; `answered` is called once what it wrote is durable.

        Args:
            verb: What is asked.
            query: Raw.
            body: Raw.
            answered: Takes the answer.
            who: Sends it, as the log says; empty: the Hub itself.

        Returns:
            What to call if the client has left: it tells the engine, and `answered` is not called.
        """
        if refusal := self._refusal():
            answered(refusal)
            return lambda: None
        token = self._opened(answered)
        self._put((token, verb, query, body, who))
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
            self._put((next(self._tokens), verb, query, b"", ""))

    def put_outputs(self, pack: bytes, answered: Answered) -> None:
        """Store a body of output frames; they are on disk when the answer is 200."""
        if refusal := self._refusal():
            answered(refusal)
        else:
            self._give(Pack(self._opened(answered), pack))

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
        self._give(Call(self._opened(functools.partial(_settle, future)), call))
        return cast("T | Answer", await future)

    async def close(self) -> None:
        """Answer what is on the queue, then all that is held with 503, and end the thread."""
        if not self._is_closed:
            self._is_closed = True
            self._give_near()
            self._thread.stop()
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
            **self._committer.space(),
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

    def _put(self, one: Input) -> None:
        is_here = self._given == 0 and self._here_turns < self._here_turns_max
        if not is_here or one[1] not in HERE_VERBS:
            self._give_near()
            self._give(one)
            return
        self._near.append(one)
        if len(self._near) == 1:
            # After all that arrives in this round of the loop: what came together shares a turn.
            self._loop.call_soon(self._run_here)

    def _give(self, thing: Thing) -> None:
        self._given += 1
        self._here_turns = 0
        self._thread.put(thing)

    def _give_near(self) -> None:
        for one in self._near:
            self._give(one)
        self._near.clear()

    def _run_here(self) -> None:
        if not self._near:
            return  # the thread has it
        began_ms = self._clock.mono_ms()
        outcome = None
        if self._may_run_here(began_ms):
            outcome = self._thread.run_here(list(self._near), told=self._told)
        if outcome is None:
            self._give_near()
            return
        self._near.clear()
        self._here_turns += 1
        ended_ms = self._clock.mono_ms()
        if ended_ms - began_ms > HERE_MS_MAX:
            self._here_from_ms = ended_ms + HERE_SHARE * (ended_ms - began_ms)
        self._deliver(outcome, self._watched(outcome))
        self._nudge_by(outcome)

    def _may_run_here(self, now_ms: int) -> bool:
        return (
            self._given == 0
            and now_ms >= self._here_from_ms
            and len(self._near) <= HERE_INPUTS_MAX
            and sum(len(body) for *_, body, _ in self._near) <= HERE_BYTES_MAX
        )

    def _nudge_by(self, outcome: Outcome) -> None:
        """Let the thread, which does not know of this turn, look when the next one is due."""
        if outcome.again:
            self._nudge_now()
        elif outcome.wake_ms is not None:
            due_s = self._loop.time() + (outcome.wake_ms - self._clock.mono_ms()) / 1000
            if self._nudge is None or self._nudge.when() > due_s:
                if self._nudge is not None:
                    self._nudge.cancel()
                self._nudge = self._loop.call_at(due_s, self._nudge_now)

    def _nudge_now(self) -> None:
        if self._nudge is not None:
            self._nudge.cancel()
            self._nudge = None
        self._given += 1
        self._here_turns = 0
        self._thread.nudge()

    def _tell(self, outcome: Outcome, jobs: list[str], taken: int) -> None:
        self._told += 1
        self._given -= taken
        self._deliver(outcome, jobs)

    def _deliver(self, outcome: Outcome, jobs: list[str]) -> None:
        for row in outcome.rows:
            if row.flags:
                self.on_control(row)
        # The last ones first: those are of requests that were held, which somebody waits for, as a
        # relay for its lease; who has sent something only wants to know that it has arrived.
        for token, result in (*reversed(outcome.answers), *outcome.results):
            told = self._open.pop(token, None)
            if told is not None:
                _tell_one(told, result)
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
            _tell_one(told, answer)

    # On the turn thread

    def _brought(self, outcome: Outcome, taken: int) -> None:
        self._loop.call_soon_threadsafe(self._tell, outcome, self._watched(outcome), taken)

    def _watched(self, outcome: Outcome) -> list[str]:
        """Return the jobs of a turn that somebody watches; may be called on any thread."""
        watched = self.feeds.jobs
        if outcome.rebuilt:
            return list(watched.copy())
        if not watched:
            return []
        jobs = [job_id for row in outcome.rows for job_id in row.job_ids if job_id in watched]
        return jobs + [job_id for job_id in outcome.heard if job_id in watched]


def _tell_one(told: Callable[[Any], None], result: object) -> None:
    """Tell one result; that this fails must not keep the others of its turn from being told."""
    try:
        told(result)
    except Exception as error:  # a mistake of ours
        traceback.print_exception(error, file=sys.stderr)


def _settle(future: asyncio.Future[Any], result: object) -> None:
    if future.done():
        return  # whoever waited was cancelled
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
