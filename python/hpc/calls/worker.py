"""The worker: a task of an executor's job, between the Hub and one warm interpreter.

    python -P -m hpc.calls.worker

Three threads share one state: this one reads the inbox, one feeds the interpreter, one tells the
Hub what came of calls. What is told waits for company while there is more to run, and leaves at
once when there is not. An interpreter that dies takes one call with it: that one is told as broken,
a new interpreter goes on with the rest.

It ends when it is dismissed, when its inbox was empty for a while (then it says so first, and runs
nothing afterwards), or with its task. It never opens a call.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hpc.calls import messages
from hpc.calls.child import Child, Death
from hpc.calls.frames import RETURNED, Call, Told
from hpc.client import Client, Events
from hpc.errors import HpcError

PATIENCE_S: Final = 600.0
"""How long a Hub that has gone away is waited for."""

RESULTS_BYTES: Final = messages.EVENT_BYTES // 2
"""Results of so many bytes leave without waiting for more."""

DIED: Final = b"d"
"""Letter of a call that ended its interpreter; the text says how."""

INITIALIZER: Final = 0


class Settings(NamedTuple):
    """What a worker is, by its environment and the spec of its job."""

    place: messages.Place
    node_id: str
    path: list[str]
    initializer: bytes | None
    idle_s: float


class _Shared:
    """What the threads share, under one lock.

    Attributes:
        queue: Calls that have come and are not with the interpreter.
        asks: Requests to give calls back.
        is_running: Whether the interpreter has any.
        results: What is to be told.
        back: Calls that were recalled, to be told.
        recalls: Requests to be answered.
        since_s: Since when the oldest of what is to be told waits.
        linger_s: How long it may.
        quiet_s: Since when there is nothing to do.
        over: Why this worker ends; empty while it goes on.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.queue: deque[Call] = deque()
        self.asks: list[Mapping[str, Any]] = []
        self.is_running = False
        self.results: list[Told] = []
        self.result_bytes = 0
        self.back: list[int] = []
        self.recalls: list[int] = []
        self.since_s = 0.0
        self.linger_s = 0.0
        self.quiet_s = time.monotonic()
        self.over = ""

    def tell(self, told: Told) -> None:
        """Note what came of a call; the lock is held."""
        if not self.results:
            self.since_s = time.monotonic()
        self.results.append(told)
        self.result_bytes += len(told.packed)

    def wait_s(self, idle_s: float) -> float:
        """Return how long the teller may wait; 0 where something leaves now. The lock is held."""
        if self.over or self.recalls or self.result_bytes >= RESULTS_BYTES:
            return 0.0
        now_s = time.monotonic()
        if self.queue or self.is_running:
            return max(self.since_s + self.linger_s - now_s, 0.0) if self.results else idle_s
        return 0.0 if self.results else max(self.quiet_s + idle_s - now_s, 0.0)


class Worker:
    """One worker, from its start to its end."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
        self._client = client
        self._shared = _Shared()
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        os.set_blocking(self._wake_in, False)
        self._child = Child(settings.path, self._wake_in)
        self._events: Events | None = None
        self._failed: BaseException | None = None

    def run(self) -> int:
        """Work until it is over; returns the exit code."""
        failure = self._initialized()
        seq = self._announce(failure)
        if failure:
            return 1
        self._events = events = self._client.again().follow(seq, job=self._settings.place.inbox)
        threads = [
            threading.Thread(target=self._guarded, args=(run,), name=run.__name__, daemon=True)
            for run in (self._feed, self._tell)
        ]
        for thread in threads:
            thread.start()
        for event in events:
            self._take(event)
            if self._shared.over:
                break
        if self._failed is not None:
            raise self._failed
        self._child.leave()
        return 0

    def _initialized(self) -> dict[str, str]:
        """Run the initializer; returns the fields that say how it failed, if it did."""
        child, packed = self._child, self._settings.initializer
        if packed is None:
            return {}
        child.give(Call(INITIALIZER, packed))
        told: list[Told] = []
        while not told and child.death is None:
            told = child.wait()
        if told and told[0].how == RETURNED:
            return {}
        if told:
            return {"failure": messages.text_of(told[0].packed)}
        assert child.death is not None
        return {"reason": f"the initializer ended its process: {child.death.how}"}

    def _announce(self, failure: Mapping[str, str]) -> int:
        """Say that this worker is there; returns the seq of that, before anything for it."""
        spec = {"pid": self._child.pid, "python": platform.python_version(), **failure}
        place, node_id = self._settings.place, self._settings.node_id
        event = messages.from_worker("WorkerStarted", place, node_id, spec)
        return int(self._client.ingest([event])["first_seq"])

    # The inbox

    def _take(self, event: Mapping[str, Any]) -> None:
        shared, spec = self._shared, event["payload"]["spec"]
        with shared.changed:
            if shared.over:
                return  # it has said that it stops: what comes now goes to another
            match event["kind"]:
                case "CallsSent":
                    calls = spec["calls"]
                    shared.queue += [Call(n, messages.bytes_of(text)) for n, text in calls]
                    shared.linger_s = spec["linger"]
                case "CallsRecalled":
                    shared.asks.append(spec)
                case "WorkerDismissed":
                    shared.over = "dismissed"
            shared.changed.notify_all()
        self._wake()

    def _recall(self, spec: Mapping[str, Any]) -> None:
        """Give calls back that have not begun; the lock is held."""
        shared = self._shared
        wanted = set(spec.get("calls", ()))
        newest = spec.get("newest", 0)
        back = [call.number for call in shared.queue if call.number in wanted]
        if newest:
            back += [call.number for call in list(shared.queue)[-newest:]]
        gone = set(back)
        shared.queue = deque(call for call in shared.queue if call.number not in gone)
        shared.back += back
        shared.recalls.append(spec["recall"])

    def _wake(self) -> None:
        try:
            os.write(self._wake_out, b"x")
        except BlockingIOError:
            return  # it is full of reasons to look

    # The interpreter

    def _feed(self) -> None:
        shared = self._shared
        while True:
            with shared.changed:
                if shared.asks:
                    shared.queue.extendleft(reversed(self._child.take_back()))
                    for ask in shared.asks:
                        self._recall(ask)
                    shared.asks.clear()
                    shared.changed.notify_all()
                while shared.queue and self._child.takes(shared.queue[0]):
                    self._child.give(shared.queue.popleft())
                shared.is_running = self._child.is_busy
            told = self._child.wait()
            self._drain_wakes()
            death = self._child.death
            with shared.changed:
                is_first = not shared.results
                for one in told:
                    shared.tell(one)
                if death is not None:
                    shared.queue.extendleft(reversed(death.unbegun))
                    if death.running is not None:
                        shared.tell(Told(death.running.number, 0, DIED, death.how.encode()))
                shared.is_running = death is None and self._child.is_busy
                if told or death:
                    shared.quiet_s = time.monotonic()
                # Of those between the teller need not know: it waits for the first one's time.
                if (
                    is_first
                    or not (shared.queue or shared.is_running)
                    or (shared.result_bytes >= RESULTS_BYTES)
                ):
                    shared.changed.notify_all()
            if death is not None:
                self._renew(death)

    def _renew(self, death: Death) -> None:
        """Go on with a new interpreter."""
        print(f"worker: the interpreter ended: {death.how}", file=sys.stderr, flush=True)
        self._child = Child(self._settings.path, self._wake_in)
        if failure := self._initialized():
            raise HpcError(failure.get("reason", "The initializer failed in a new interpreter"))

    def _drain_wakes(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            return

    # The Hub

    def _tell(self) -> None:
        shared, settings = self._shared, self._settings
        client = self._client.again()
        while True:
            with shared.changed:
                while (wait_s := shared.wait_s(settings.idle_s)) > 0:
                    shared.changed.wait(wait_s)
                results, shared.results, shared.result_bytes = shared.results, [], 0
                back, shared.back = shared.back, []
                recalls, shared.recalls = shared.recalls, []
                is_idle = not (results or recalls or shared.queue or shared.is_running)
                if is_idle and not shared.over:
                    shared.over = "idle"
                over = shared.over
            if results or recalls:
                events = messages.returned(
                    settings.place, settings.node_id, results, back=back, recalls=recalls
                )
                for batch in messages.batches(events):
                    client.ingest(batch)
            if over:
                if over == "idle":
                    stopped = messages.from_worker(
                        "WorkerStopped", settings.place, settings.node_id, {}
                    )
                    client.ingest([stopped])
                self._close()
                return

    def _close(self) -> None:
        assert self._events is not None
        self._events.close()

    def _guarded(self, run: Any) -> None:  # noqa: ANN401 - a method of this class
        """Run a thread; what ends it ends the worker."""
        try:
            run()
        except BaseException as error:  # told by `run`
            self._failed = error
            with self._shared.changed:
                self._shared.over = self._shared.over or "failed"
                self._shared.changed.notify_all()
            self._close()


def settings_of(environ: Mapping[str, str], spec: Mapping[str, Any]) -> Settings:
    """Return what a worker is."""
    place = messages.Place(
        environ["HPC_JOB_ID"], int(environ["HPC_TASK_ID"]), int(environ["HPC_ATTEMPT"])
    )
    initializer = spec.get("initializer")
    return Settings(
        place,
        environ["HPC_NODE_ID"],
        list(spec.get("path", ())),
        None if initializer is None else messages.bytes_of(initializer),
        float(spec["idle"]),
    )


def main() -> int:
    """Be a worker; returns the exit code."""
    client = Client(patience_s=PATIENCE_S)
    try:
        spec = client.info(os.environ["HPC_JOB_ID"])["spec"]
        return Worker(settings_of(os.environ, spec), client).run()
    except HpcError as error:
        print(f"worker: {error.message}", file=sys.stderr, flush=True)
        if error.hint:
            print(f"\nhint: {error.hint}", file=sys.stderr, flush=True)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
