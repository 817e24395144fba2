"""Turn thread: takes what has arrived and runs one turn after the other (commit.py).

Everything that arrives is put on one queue. The thread takes all that is there, runs one turn and
hands on what it brought. What arrives while a commit is running waits on the queue and shares the
next: that is the whole of group commit. The thread sleeps on the queue until the engine wants to be
woken; nothing polls. If it comes late, the engine learns that only from the clock that it is given.

A turn that is surely short may be run by the caller instead (`run_here`), where it would only wait
for two threads to wake each other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpc.errors import HpcError
from hpc.hub.commit import Committer
from hpc.hub.turn_parts import Arrived, Clock, Input, Outcome
from hpc.protocols import EventLog


@dataclass(frozen=True, slots=True)
class Pack:
    """A body of output frames."""

    token: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """A call that needs the log."""

    token: int
    call: Callable[[EventLog], Any]


class _Stop:
    """Ends the thread after the turn that takes it."""


class _Appended:
    """Says that the next turn need not wait for what the last one has left."""


class _Nudge:
    """Makes the thread look again when it is due."""


Thing = Input | Pack | Call


class TurnThread:
    """The thread and its queue.

    Args:
        committer: Runs a turn; used under this object alone from now on.
        clock: The clock of the committer.
        brought: Called on the thread after each turn, with how many things it took.

    Attributes:
        sent: Outcomes that `brought` was or will be called with.
    """

    def __init__(
        self, committer: Committer, clock: Clock, brought: Callable[[Outcome, int], None]
    ) -> None:
        self._committer = committer
        self._clock = clock
        self._brought = brought
        self._inbox: queue.SimpleQueue[Thing | _Stop | _Nudge | _Appended] = queue.SimpleQueue()
        self._running = threading.Lock()
        self.sent = 0
        self._has_failed = False
        """A turn was fatal: there is to be no other, on any thread."""
        self._is_ending = False
        committer.on_appended = lambda: self._inbox.put(_Appended())
        self._thread = threading.Thread(target=self._run, name="hpc-turns", daemon=True)

    def start(self) -> None:
        """Start the thread, which begins with a turn that takes nothing."""
        self._thread.start()

    def put(self, thing: Thing) -> None:
        """Put something on the queue."""
        self._inbox.put(thing)

    def nudge(self) -> None:
        """Let the thread run a turn, and find out when the next is due; it counts as a thing."""
        self._inbox.put(_Nudge())

    def stop(self) -> None:
        """Let the thread end after a last turn of what is on the queue."""
        self._inbox.put(_Stop())

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def run_here(self, inputs: list[Input], *, told: int) -> Outcome | None:
        """Run a short turn (`Committer.run`) on the calling thread, or return None.

        What it brought is returned, and not told to `brought`.

        Args:
            inputs: What it takes.
            told: Outcomes of the thread that have come to be known. None is returned where there
                are more, where the thread runs a turn, and where it has ended.
        """
        if not self._running.acquire(blocking=False):
            return None
        try:
            if self._has_failed or self._is_ending:
                return None
            if self.sent != told or not self._committer.may_be_short:
                return None
            outcome = self._outcome(Arrived(inputs), is_short=True)
            if outcome.fatal is not None:
                self._has_failed = True
                self.nudge()
            return outcome
        finally:
            self._running.release()

    def _run(self) -> None:
        wait_s: float | None = 0.0
        is_stopping = False
        while not is_stopping:
            arrived, taken, is_stopping = self._collect(wait_s)
            self._is_ending = is_stopping
            outcome = self._turn(arrived, taken)
            while is_stopping and outcome is not None and self._committer.has_more:
                outcome = self._turn(Arrived(), 0)
            if outcome is None:
                return
            wait_s = self._wait_s(outcome)
        self._committer.close()

    def _turn(self, arrived: Arrived, taken: int) -> Outcome | None:
        """Run one turn and hand on what it brought; None if there is to be no other."""
        with self._running:
            if self._has_failed:
                return None
            outcome = self._outcome(arrived, is_short=False)
            self._has_failed = outcome.fatal is not None
            self.sent += 1
        self._brought(outcome, taken)
        return None if self._has_failed else outcome

    def _outcome(self, arrived: Arrived, *, is_short: bool) -> Outcome:
        try:
            return self._committer.run(arrived, is_short=is_short)
        except Exception as error:  # a mistake of ours; nobody may be left waiting
            return Outcome(fatal=HpcError(f"A turn failed: {error!r}", code="internal"))

    def _collect(self, wait_s: float | None) -> tuple[Arrived, int, bool]:
        """Wait for the first arrival, then take all that is there."""
        arrived = Arrived()
        size = taken = 0
        try:
            one = self._inbox.get(block=wait_s != 0, timeout=wait_s)
            while True:
                if isinstance(one, _Stop):
                    return arrived, taken, True
                taken += not isinstance(one, _Appended)
                if isinstance(one, tuple):
                    arrived.inputs.append(one)
                    size += len(one[3])
                elif isinstance(one, Pack):
                    arrived.packs.append((one.token, one.body))
                    size += len(one.body)
                elif isinstance(one, Call):
                    arrived.calls.append((one.token, one.call))
                if size >= self._committer.bytes_max:
                    break
                one = self._inbox.get_nowait()
        except queue.Empty:
            pass
        return arrived, taken, False

    def _wait_s(self, outcome: Outcome) -> float | None:
        if outcome.again:
            return 0.0
        if outcome.wake_ms is None:
            return None
        return max(0.0, (outcome.wake_ms - self._clock.mono_ms()) / 1000)
