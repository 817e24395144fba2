"""The crew: an executor's workers as its program sees them, and who of them is given which calls.

Two threads: one says (asks for workers, sends calls, recalls them), one hears what the workers
tell. Everything between them is this class's state, under one lock; futures are settled outside it.

A worker is sent some time's worth of calls ahead, so that it need not wait for two commits between
two of them; what it has not begun is recalled when another has nothing to do, when the call before
it turns out to be long, or when a future is cancelled. A call is given to one worker at a time, and
is lost, not repeated, where it may have begun: whoever wants it again submits it again.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final

from hpc import ranges, submission
from hpc.calls import messages
from hpc.calls.broken import BrokenWorker, Shut
from hpc.calls.hand import STEAL_AGAIN_S, Call, Hand
from hpc.calls.messages import Event, Place
from hpc.calls.settling import (
    at,
    cancelled,
    how_ended,
    initializer_failed,
    may_have_begun,
    settle_all,
    warn_of_wait,
    worker_lost,
)
from hpc.client import AWAY_S_MAX, Client
from hpc.errors import HpcError

WARN_S: Final = 5.0
"""A program whose calls have waited for so long, and no worker has ever come, is told why, once."""

STARTS_MAX: Final = 3
"""So many workers in a row that end before they are ready, and none more is asked for."""


class CallFuture(Future[Any]):
    """The future of one call.

    Attributes:
        number: Of the call.
    """

    def __init__(self, crew: Crew, number: int) -> None:
        super().__init__()
        self._crew = crew
        self.number = number

    def cancel(self) -> bool:
        """Cancel the call if it has not begun: then it never runs.

        A call that a worker has already is asked back, which takes two commits of the Hub. By a
        callback of a future such a call is not cancelled.
        """
        if self.done() or self.running():
            return super().cancel()
        return (self._crew.take_back(self.number) and cancelled(self)) or self.cancelled()


class Crew:
    """Workers of one executor, and the calls that are not over.

    Args:
        client: Whose Hub; the threads make their own of it.
        job_id: Of the executor.
        spec: Of its job.
        name: Its label.
        size: Workers, at most.

    Attributes:
        broken: Why nothing more can be called, if so.
    """

    def __init__(
        self, client: Client, job_id: str, spec: Mapping[str, Any], name: str | None, size: int
    ) -> None:
        self.job_id = job_id
        self.broken: BrokenWorker | None = None
        self._client = client.again(patience_s=AWAY_S_MAX)
        self._spec = dict(spec)
        self._name = name
        self._size = size
        self._changed = threading.Condition()
        self._numbers = 0
        self._recalls = 0
        self._tasks = 0
        self._asked: set[int] = set()
        self._starts_failed = 0
        self._warn_at_s = math.inf
        self._is_met = False  # by a worker, or by a warning that there is none
        self._calls: dict[int, Call] = {}
        self._pending: deque[Call] = deque()
        self._cancels: list[Call] = []
        self._hands: dict[Place, Hand] = {}
        self._is_shut = False
        receipt = client.ingest([self._submit(size)])
        self._events = self._client.again().follow(receipt["first_seq"], job=job_id)
        self._sayer = threading.Thread(target=self._guarded(self._say), name=f"{job_id}-say")
        self._hearer = threading.Thread(target=self._guarded(self._hear), name=f"{job_id}-hear")
        for thread in (self._sayer, self._hearer):
            thread.daemon = True
            thread.start()

    # For the executor's program

    def call(self, texts: Sequence[str], *, linger_s: float) -> list[CallFuture]:
        """Take calls on and return the future of each.

        Raises:
            BrokenWorker: Nothing more can be called.
            Shut: No calls are taken any more.
        """
        with self._changed:
            if self.broken is not None:
                raise BrokenWorker(self.broken.message, hint=self.broken.hint) from self.broken
            if self._is_shut:
                raise Shut(
                    "Executor takes no calls any more: it was shut down",
                    hint="make another one, or call within its `with` block",
                )
            futures: list[CallFuture] = []
            for text in texts:
                self._numbers += 1
                future = CallFuture(self, self._numbers)
                call = Call(self._numbers, future, text, linger_s)
                self._calls[call.number] = call
                self._pending.append(call)
                futures.append(future)
            if not self._is_met and self._warn_at_s == math.inf:
                self._warn_at_s = time.monotonic() + WARN_S
            self._changed.notify_all()
        return futures

    def take_back(self, number: int) -> bool:
        """Give a call up if it has not begun; waits for its worker where one has it."""
        with self._changed:
            call = self._calls.get(number)
            if call is None:
                return False
            if call.worker is None:
                self._forget(call)
                return True
            if threading.current_thread() in (self._sayer, self._hearer):
                return False  # by a callback: the answer would wait for itself
            if call.future.running():
                return False
            self._ask_back([call])
            while call.is_asked_back:
                self._changed.wait()
        return False  # it runs, or the hearing thread has cancelled it

    def give_back(self, futures: Sequence[CallFuture]) -> None:
        """Cancel those that have not begun, without waiting for what workers say to that."""
        given_up: list[Call] = []
        with self._changed:
            for future in futures:
                call = self._calls.get(future.number)
                if call is None:
                    continue
                if call.worker is None:
                    self._forget(call)
                    given_up.append(call)
                elif not future.running():
                    self._ask_back([call])
        for call in given_up:
            cancelled(call.future)

    def shut(self, *, cancel: bool) -> None:
        """Take no more calls.

        Args:
            cancel: Give up what has not begun; what workers have is asked back.
        """
        given_up: list[Call] = []
        with self._changed:
            self._is_shut = True
            if cancel:
                given_up = [call for call in self._pending if call.number in self._calls]
                for call in given_up:
                    self._forget(call)
                self._pending.clear()
                for hand in self._hands.values():
                    calls = hand.calls.values()
                    self._ask_back([call for call in calls if not call.future.running()])
            self._changed.notify_all()
        for call in given_up:
            cancelled(call.future)

    def join(self) -> None:
        """Wait until every call is over and the workers are told so."""
        me = threading.current_thread()
        for thread in (self._sayer, self._hearer):
            if thread is not me:
                thread.join()

    def _forget(self, call: Call) -> None:
        """The lock is held. It may stay in `_pending`, and is passed over there."""
        del self._calls[call.number]
        call.is_asked_back = False
        if call.worker is not None:
            call.worker.calls.pop(call.number, None)
            call.worker = None

    def _cancel(self, calls: Sequence[Call]) -> None:
        """Cancel calls that their workers have given back, and let who asked for that go on."""
        for call in calls:
            cancelled(call.future)
        with self._changed:
            for call in calls:
                call.is_asked_back = False
            self._changed.notify_all()

    def _ask_back(self, calls: Sequence[Call]) -> None:
        for call in calls:
            call.is_asked_back = True
        self._cancels += calls
        self._changed.notify_all()

    # Saying

    def _say(self) -> None:
        client = self._client.again()
        while True:
            with self._changed:
                while not (events := self._plan()):
                    if self._is_over() or time.monotonic() >= self._warn_at_s:
                        break
                    self._changed.wait(self._wait_s())
                is_last = not events and self._is_over()
                if is_last:
                    events = self._farewell()
            if not events and not is_last:
                self._warn(client)
            for batch in messages.batches(events):
                client.ingest(batch)
            if is_last:
                self._events.close()
                return

    def _warn(self, client: Client) -> None:
        is_told = warn_of_wait(client, self.job_id)
        with self._changed:
            self._is_met = self._is_met or is_told
            self._warn_at_s = math.inf if self._is_met else time.monotonic() + WARN_S

    def _is_over(self) -> bool:
        return self.broken is not None or (self._is_shut and not self._calls)

    def _plan(self) -> list[Event]:
        """Return what is to be said now; the lock is held."""
        if self._is_over():
            return []
        events = self._asked_back()
        while self._pending and self._pending[0].number not in self._calls:
            self._pending.popleft()
        if self._pending:
            busy = sum(bool(hand.calls) for hand in self._hands.values())
            missing = min(self._size, busy + len(self._pending)) - len(self._asked)
            if missing > 0:
                events.append(self._submit(missing))
            events += self._given()
        else:
            events += self._stolen()
        return events + self._cleared()

    def _wait_s(self) -> float | None:
        hands = self._hands.values()
        first = min((hand.clear_at_s() for hand in hands), default=self._warn_at_s)
        if not self._pending and any(not hand.calls for hand in hands):
            first = min(first, *(hand.steal_at_s() for hand in hands))
        return None if first == math.inf else max(first - time.monotonic(), 0.0)

    def _submit(self, count: int) -> Event:
        """Ask for more workers: the same job with more tasks."""
        tasks = range(self._tasks, self._tasks + count)
        self._tasks += count
        self._asked.update(tasks)
        text = f"{tasks[0]}-{tasks[-1]}" if count > 1 else str(tasks[0])
        return submission.submit_event(
            messages.NS_ID, self._spec, job_id=self.job_id, name=self._name, tasks=text
        )

    def _given(self) -> list[Event]:
        """Give calls to workers that have room, those with the fewest first."""
        events: list[Event] = []
        crew = max(len(self._asked), len(self._hands), 1)
        share = math.ceil(
            (len(self._pending) + sum(len(h.calls) for h in self._hands.values())) / crew
        )
        for hand in sorted(self._hands.values(), key=lambda hand: len(hand.calls)):
            given: list[Call] = []
            room = hand.room(share) if time.monotonic() < hand.held_up_at_s() else 0
            while self._pending and len(given) < room:
                call = self._pending.popleft()
                if call.number in self._calls:
                    given.append(call)
            if not given:
                continue
            if not hand.calls:
                hand.heard_s = time.monotonic()
                _begin(given[0])
            for call in given:
                call.worker = hand
                hand.calls[call.number] = call
            linger_s = min(call.linger_s for call in given)
            texts = [[call.number, call.text] for call in given]
            events += messages.sent(hand.place, texts, linger_s)
        return events

    def _stolen(self) -> list[Event]:
        """Ask a worker for half of what it has where others have nothing."""
        idle = sum(not hand.calls for hand in self._hands.values())
        now_s = time.monotonic()
        victims = [hand for hand in self._hands.values() if hand.steal_at_s() <= now_s]
        victims.sort(key=lambda hand: len(hand.calls), reverse=True)
        return [self._recall(hand, newest=len(hand.calls) // 2) for hand in victims[:idle]]

    def _cleared(self) -> list[Event]:
        """Ask for all that waits behind long calls: with its worker it would be lost."""
        now_s = time.monotonic()
        held_up = [hand for hand in self._hands.values() if hand.clear_at_s() <= now_s]
        return [self._recall(hand, newest=len(hand.calls) - 1) for hand in held_up]

    def _asked_back(self) -> list[Event]:
        wanted: dict[Place, list[int]] = {}
        for call in self._cancels:
            if call.worker is not None and call.number in self._calls:
                wanted.setdefault(call.worker.place, []).append(call.number)
            else:
                call.is_asked_back = False
                self._changed.notify_all()
        self._cancels = []
        return [self._recall(self._hands[place], calls=n) for place, n in wanted.items()]

    def _recall(self, hand: Hand, *, calls: Sequence[int] = (), newest: int = 0) -> Event:
        self._recalls += 1
        hand.recall = self._recalls
        return messages.recalled(hand.place, self._recalls, calls=calls, newest=newest)

    def _farewell(self) -> list[Event]:
        """Dismiss who is there; who has not come yet need not."""
        events = [messages.to_worker("WorkerDismissed", place, {}) for place in self._hands]
        absent = sorted(self._asked - {place.task for place in self._hands})
        if absent:
            tasks = ",".join(map(str, absent))
            reason = "the executor has ended"
            events.append(
                submission.request_event(
                    "CancelJob", messages.NS_ID, self.job_id, tasks=tasks, reason=reason
                )
            )
        return events

    # Hearing

    def _hear(self) -> None:
        heard: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], None]] = {
            "WorkerStarted": self._started,
            "CallsReturned": self._returned,
            "WorkerStopped": self._stopped,
            "JobFinished": self._finished,
            "AttemptLost": self._gone,
            "TasksReturned": self._gone,
            "CancelJob": self._cancelled,
        }
        for event in self._events:
            hear = heard.get(event["kind"])
            if hear is not None:
                hear(event["payload"]["ctx"], event["payload"]["spec"])
            if "settles" in event:
                self._settled(event["settles"])

    def _settled(self, settles: Mapping[str, str]) -> None:
        """Tasks that are over, however: no worker comes of them any more."""
        with self._changed:
            for tasks in settles.values():
                self._asked.difference_update(ranges.numbers(tasks))
            self._changed.notify_all()

    def _place(self, ctx: Mapping[str, Any]) -> Place:
        return Place(self.job_id, int(ctx["tasks"]), ctx["attempt"])

    def _started(self, ctx: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        if "failure" in spec or "reason" in spec:
            self.give_up(initializer_failed(ctx["node_id"], spec))
            return
        with self._changed:
            place = self._place(ctx)
            self._hands[place] = Hand(place, ctx["node_id"])
            self._starts_failed = 0
            self._is_met, self._warn_at_s = True, math.inf
            self._changed.notify_all()

    def _returned(self, ctx: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        over: list[tuple[Call, str, str]] = []
        back: list[Call] = []
        with self._changed:
            hand = self._hands.get(self._place(ctx))
            if hand is None:
                return  # it was given up, and what it tells late with it
            for number, how, text in spec["results"]:
                call = hand.calls.get(number)
                if call is not None:
                    self._forget(call)
                    over.append((call, how, text))
            if spec["count"]:
                mean_s = spec["seconds"] / spec["count"]
                hand.mean_s = mean_s if hand.mean_s is None else (hand.mean_s + mean_s) / 2
                hand.heard_s = time.monotonic()
            back = self._given_back(hand, spec)
            first = next(iter(hand.calls.values()), None)
            if first is not None:
                _begin(first)
            self._changed.notify_all()
        self._cancel(back)
        settle_all(over)

    def _given_back(self, hand: Hand, spec: Mapping[str, Any]) -> list[Call]:
        """Take what was recalled; returns what is to be cancelled. The lock is held."""
        if "recalls" not in spec:
            return []
        cancels: list[Call] = []
        again: list[Call] = []
        for number in spec.get("recalled", ()):
            call = hand.calls.pop(number, None)
            if call is None:
                continue
            call.worker = None
            if call.is_asked_back:
                del self._calls[number]
                cancels.append(call)
            else:
                again.append(call)
        self._pending.extendleft(reversed(again))
        if hand.recall in spec["recalls"]:
            hand.recall = 0
            if not again:
                hand.rest_s = time.monotonic() + STEAL_AGAIN_S
            for call in hand.calls.values():
                call.is_asked_back = False  # it had begun
        return cancels

    def _stopped(self, ctx: Mapping[str, Any], _spec: Mapping[str, Any]) -> None:
        """It had nothing to do; what was sent meanwhile it has not begun."""
        with self._changed:
            hand = self._hands.pop(self._place(ctx), None)
            self._asked.discard(int(ctx["tasks"]))
            if hand is None:
                return
            cancels = [call for call in hand.calls.values() if call.is_asked_back]
            again = [call for call in hand.calls.values() if not call.is_asked_back]
            for call in hand.calls.values():
                call.worker = None
            for call in cancels:
                del self._calls[call.number]
            self._pending.extendleft(reversed(again))
            self._changed.notify_all()
        self._cancel(cancels)

    def _finished(self, ctx: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        numbers = ranges.numbers(ctx["tasks"])
        for index, task in enumerate(numbers):
            place = Place(self.job_id, task, ctx["attempt"])
            was_up = place in self._hands
            how = how_ended({key: at(value, index) for key, value in spec.items()})
            with self._changed:
                was_asked = task in self._asked
                self._asked.discard(task)
                self._changed.notify_all()
            if was_up:
                self._lose(place, how)
            elif was_asked and how != "exit code 0":
                self._starts_failed += 1
                if self._starts_failed >= STARTS_MAX:
                    self.give_up(
                        BrokenWorker(
                            f"{STARTS_MAX} workers in a row ended before they were ready, the last "
                            f"on node `{ctx['node_id']}`: {how}",
                            hint=f"see what it said: hpc job log {self.job_id} --task {task}",
                        )
                    )

    def _gone(self, ctx: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        """The attempt is over and the task is not: the Hub leases it again."""
        for task in ranges.numbers(ctx["tasks"]):
            place = Place(self.job_id, task, ctx["attempt"])
            self._lose(place, worker_lost(spec.get("reason")))

    def _cancelled(self, ctx: Mapping[str, Any], spec: Mapping[str, Any]) -> None:
        with self._changed:
            if self._is_over():
                return
        if "tasks" not in ctx:
            why = spec.get("reason", "no reason was given")
            self.give_up(BrokenWorker(f"Job `{self.job_id}` of this executor was cancelled: {why}"))

    def _lose(self, place: Place, how: str) -> None:
        with self._changed:
            hand = self._hands.pop(place, None)
            calls = list(hand.calls.values()) if hand is not None else []
            for call in calls:
                self._forget(call)
            self._changed.notify_all()
        if hand is None:
            return
        for call in calls:
            call.future.set_exception(may_have_begun(hand.node_id, how))

    def give_up(self, error: BrokenWorker) -> None:
        """Fail every call, and take no more."""
        with self._changed:
            self.broken = self.broken or error
            calls = list(self._calls.values())
            for call in calls:
                call.is_asked_back = False
            self._calls.clear()
            self._pending.clear()
            for hand in self._hands.values():
                hand.calls.clear()
            self._changed.notify_all()
        for call in calls:
            failure = BrokenWorker(error.message, hint=error.hint)
            failure.__cause__ = error.__cause__
            call.future.set_exception(failure)

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return a thread's function: what ends it fails the calls, so that nobody waits."""

        def guarded() -> None:
            try:
                run()
            except HpcError as error:
                broken = BrokenWorker(
                    f"Executor has lost its Hub: {error.message}", hint=error.hint
                )
                broken.__cause__ = error
                self.give_up(broken)
            except BaseException as error:  # a mistake of ours must not leave anybody waiting
                broken = BrokenWorker(f"Executor failed: {error!r}")
                broken.__cause__ = error
                self.give_up(broken)
                raise

        return guarded


def _begin(call: Call) -> None:
    """Mark the first call of a worker as running, so that it cannot be cancelled any more.

    One that is asked back is not marked before the answer; one that came back from another worker
    may be marked already.
    """
    if not (call.is_asked_back or call.future.running()):
        call.future.set_running_or_notify_cancel()
