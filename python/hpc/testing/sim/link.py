"""The supervisor's side of a relay: what board.rs and supervisor.rs do, over virtual time.

The outbox is the one that ships (`hpc._core.Outbox`), on a real file; slots, queue, holds and fence
are written anew here, after those two files, and executions are entries in a list that the checks
watch. A frozen relay's executions go on, and are noticed once it is thawed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple, Protocol

import msgspec

from hpc import ranges
from hpc._core import Outbox
from hpc.domain import Work
from hpc.testing.sim.disk import NodeDisk
from hpc.testing.sim.loop import Owner, SimLoop

NEWS_S = 0.05
ENDS_S = 0.01
SYNC_S = 1.0
FENCE_GRACE_PART = 8
"""As in the Rust: how long starts and ends wait for company, how often the outbox is synced, which
part of the time to the fence lies between its SIGTERM and its SIGKILL."""

Held = tuple[str, int]


@dataclass(eq=False)
class Execution:
    """One task that runs, or ran.

    Attributes:
        ended_s: None while it runs.
        was_frozen: Whether its relay stood still when its fence was due.
    """

    job_id: str
    task: int
    attempt: int
    node_id: str
    epoch: int
    session: str
    stops: bool
    began_s: float
    ended_s: float | None = None
    was_frozen: bool = False


class Watch(Protocol):
    """Who is told what happens outside of every process."""

    def began(self, execution: Execution) -> None:
        """A task has started."""
        ...

    def acknowledged(self, batch_id: str) -> None:
        """A relay has an answer by which it forgets a batch."""
        ...


class SimBatch(NamedTuple):
    """See `hpc.relay.link.Batch`."""

    origin: str
    n: int
    body: bytes
    outputs: bytes = b""


class _Waiting(NamedTuple):
    work: Work
    task: int


class _Running(NamedTuple):
    work: Work
    task: int
    execution: Execution
    exit_code: int
    why: str | None
    """Why it is being ended, where it is: a word of TasksReturned, or `cancelled`."""


class SimLink:
    """See `hpc.relay.link.Link`.

    Attributes:
        fence_ms: Nothing starts after it.
    """

    def __init__(
        self,
        *,
        loop: SimLoop,
        owner: Owner,
        random: Random,
        boottime_ms: Callable[[], int],
        wall_ms: Callable[[], int],
        disk: NodeDisk,
        node_id: str,
        session: str,
        cpus: int,
        watch: Watch,
    ) -> None:
        self._loop = loop
        self._owner = owner
        self._random = random
        self._boottime_ms = boottime_ms
        self._wall_ms = wall_ms
        self._disk = disk
        self._node_id = node_id
        self._session = session
        self._free = cpus
        self._watch = watch
        self._own = Outbox(disk.folder, session, node_id)
        self._old = {name: box for name in disk.sessions() if (box := self._loaded(name))}
        self.old: Sequence[str] = list(self._old)
        self._adopted: set[str] = set()
        self._holds: dict[Held, set[int]] = {}
        self._queue: list[_Waiting] = []
        self._running: dict[int, _Running] = {}
        self._serials = itertools.count(1)
        self._batches: asyncio.Queue[SimBatch] = asyncio.Queue()
        self._old_batches: asyncio.Queue[SimBatch] = asyncio.Queue()
        self._is_draining = False
        self._is_sync_timed = False
        self._fence_grace_s = 0.0
        self.fence_ms: int | None = None

    # Orders

    def run(self, works: list[Work]) -> None:
        """Take what is not held yet; what does not fit now is queued."""
        for work in works:
            held = self._holds.setdefault((work.job_id, work.attempt), set())
            for task in ranges.numbers(work.tasks):
                if task in held:
                    continue
                held.add(task)
                if self._is_draining:
                    self._report(self._returned(work, task, "drain"))
                else:
                    self._queue.append(_Waiting(work, task))
        self._start_ready()
        self._deliver()

    def refuse(self, work: Work, detail: str) -> None:
        """No handler of a simulation refuses."""
        raise AssertionError(f"a handler has refused: {detail}")

    def cancel(self, job_id: str, attempt: int, tasks: str, reason: str) -> None:
        """End tasks that the Hub has decided otherwise."""
        named = set(ranges.numbers(tasks))
        is_drain = reason == "drain"
        self._return("drain" if is_drain else "given_back", _named(job_id, attempt, named))
        for serial, one in list(self._running.items()):
            if _named(job_id, attempt, named)(one.work, one.task):
                self._end(serial, "drain" if is_drain else "cancelled", one.work.grace_s)
        self._deliver()

    def give_back(self, job_id: str, attempt: int, tasks: str) -> None:
        """Return those that have not started."""
        self._return("given_back", _named(job_id, attempt, set(ranges.numbers(tasks))))
        self._deliver()

    def fence(self, boottime_ms: int) -> None:
        """Start nothing after this moment, and end `stop` tasks then."""
        self.fence_ms = boottime_ms
        left_s = max(boottime_ms - self._boottime_ms(), 0) / 1000
        self._fence_grace_s = left_s / FENCE_GRACE_PART
        self._time_fence(left_s)
        self._start_ready()
        self._inherit()
        self._deliver()

    def lost(self) -> None:
        """End `stop` tasks and return what is queued."""
        self._return("given_back", lambda work, task: True)
        self._end_stop_tasks()
        self._deliver()

    def drain(self, grace_s: float) -> None:
        """Start nothing more; end what runs after `grace_s`."""
        self._is_draining = True
        self._return("drain", lambda work, task: True)
        self._owner.later(grace_s, self._drain_due)
        self._deliver()

    def tail(self, streams: list[dict[str, Any]]) -> None:
        """Nobody follows output."""

    def acked(self, origin: str, n: int) -> None:
        """Forget reports up to `n`: the Hub has them."""
        box = self._own if origin == self._session else self._old.get(origin)
        if box is None:
            return
        self._watch.acknowledged(f"{origin}/{n}")
        before = box.ended()
        box.acknowledge(n)
        if origin == self._session or origin in self._adopted:
            self._let_go(set(_each(before)) - set(_each(box.ended())))
        self._remove_told()
        self._deliver()

    def refused(self, origin: str, n: int, events: Sequence[int]) -> None:
        """Set events aside; the rest is offered again under the same number."""
        box = self._own if origin == self._session else self._old[origin]
        box.refuse(n, list(events), self._disk.folder / "refused")
        self._deliver()

    def adopt(self, origins: Sequence[str]) -> None:
        """Hold what these former sessions have ended, and not what others have."""
        for origin in self._adopted & set(self._old):
            self._let_go(set(_each(self._old[origin].ended())))
        self._adopted = set(origins)
        for box in (self._own, *(self._old[one] for one in origins if one in self._old)):
            for job_id, attempt, task in _each(box.ended()):
                self._holds.setdefault((job_id, attempt), set()).add(task)

    # What comes back

    async def holds(self) -> bytes:
        """Return what is running, queued, or ended and not acknowledged."""
        return msgspec.json.encode(
            [
                {"job_id": job_id, "attempt": attempt, "tasks": ranges.of(tasks)}
                for (job_id, attempt), tasks in self._holds.items()
                if tasks
            ]
        )

    async def next_batch(self) -> SimBatch:
        """Wait for the next batch of this session that was not handed out yet."""
        return await self._batches.get()

    async def next_old_batch(self) -> SimBatch:
        """Wait for the next batch of a former session that was not handed out yet."""
        return await self._old_batches.get()

    async def next_chunks(self) -> bytes:
        """Wait for ever: nobody follows output."""
        raise AssertionError(await self._loop.create_future())

    async def idle(self) -> None:
        """Not used by what is simulated."""
        raise NotImplementedError

    # For the world

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and every outbox is empty."""
        return not any(self._holds.values()) and self._own.is_empty and not self._old

    def killed(self) -> None:
        """The process has ended: its children have too (R26)."""
        for one in self._running.values():
            self._over(one.execution)

    def stood_still(self) -> None:
        """The process has stood still, while its children went on, perhaps past the fence."""
        if self.fence_ms is not None and self._boottime_ms() >= self.fence_ms:
            for one in self._running.values():
                one.execution.was_frozen = True

    # The board

    def _start_ready(self) -> None:
        for waiting in list(self._queue):
            if self._is_fenced() or self._is_draining:
                return
            if waiting.work.cpus <= self._free:
                self._queue.remove(waiting)
                self._start(*waiting)

    def _is_fenced(self) -> bool:
        return self.fence_ms is None or self._boottime_ms() >= self.fence_ms

    def _start(self, work: Work, task: int) -> None:
        self._free -= work.cpus
        at = self._wall_ms()
        self._report({"s": {"l": _lease(work), "t": [task, task], "at": at}})
        self._own.flush()  # before the task is there (R27)
        execution = Execution(
            job_id=work.job_id,
            task=task,
            attempt=work.attempt,
            node_id=self._node_id,
            epoch=work.epoch,
            session=self._session,
            stops=work.on_cut_off == "stop",
            began_s=self._loop.time(),
        )
        self._watch.began(execution)
        serial = next(self._serials)
        exit_code = int(self._random.random() < float(work.env["FAILS"]))
        self._running[serial] = _Running(work, task, execution, exit_code, None)
        self._loop.outside(float(work.env["SECONDS"]), self._exits, serial, at)

    def _exits(self, serial: int, at: int) -> None:
        one = self._running.get(serial)
        if one is not None and one.execution.ended_s is None:
            self._over(one.execution)
            self._owner.soon(self._ended, serial, at)

    def _over(self, execution: Execution) -> None:
        if execution.ended_s is None:
            execution.ended_s = self._loop.time()

    def _end(self, serial: int, why: str, grace_s: float) -> None:
        one = self._running[serial]
        if one.why is None and one.execution.ended_s is None:
            self._running[serial] = one._replace(why=why)
            takes_s = self._random.uniform(0.0, min(grace_s, 1.0))
            self._loop.outside(takes_s, self._exits, serial, self._wall_ms())
        elif one.execution.ended_s is None:
            # Asked before, with more time: the sooner end holds, as in the supervisor.
            self._loop.outside(grace_s, self._exits, serial, self._wall_ms())

    def _ended(self, serial: int, started_at: int) -> None:
        one = self._running.pop(serial)
        now = self._wall_ms()
        if one.why in ("fence", "drain"):
            self._report(self._returned(one.work, one.task, one.why))
        else:
            outcome: dict[str, Any] = {"started_at": started_at, "finished_at": now}
            if one.why is None:
                outcome["exit_code"] = one.exit_code
            else:
                outcome |= {"cause": one.why, "signal": 15}
            lease = _lease(one.work)
            self._report({"e": {"l": lease, "t": [one.task, one.task], "o": outcome}})
        self._own.flush()  # before the slot is free (R27)
        self._free += one.work.cpus
        self._start_ready()
        self._deliver()

    def _time_fence(self, left_s: float) -> None:
        self._owner.later(left_s, self._fence_due)

    def _fence_due(self) -> None:
        if self.fence_ms is None or self._boottime_ms() < self.fence_ms:
            return  # an answer has moved it
        self._return("fence", lambda work, task: work.on_cut_off == "stop")
        self._end_stop_tasks()
        self._deliver()

    def _end_stop_tasks(self) -> None:
        for serial, one in list(self._running.items()):
            if one.execution.stops:
                self._end(serial, "fence", min(one.work.grace_s, self._fence_grace_s))

    def _drain_due(self) -> None:
        for serial, one in list(self._running.items()):
            self._end(serial, "drain", one.work.grace_s)

    def _return(self, reason: str, chosen: Callable[[Work, int], bool]) -> None:
        for waiting in list(self._queue):
            if chosen(*waiting):
                self._queue.remove(waiting)
                self._report(self._returned(*waiting, reason))

    # The outboxes

    def _returned(self, work: Work, task: int, reason: str) -> dict[str, Any]:
        lease = _lease(work)
        return {"r": {"l": lease, "t": [task, task], "w": reason, "at": self._wall_ms()}}

    def _report(self, record: dict[str, Any]) -> None:
        self._own.push(msgspec.json.encode(record).decode())

    def _deliver(self) -> None:
        self._own.flush()
        has_end = bool(self._own.ended())
        self._owner.later(ENDS_S if has_end else NEWS_S, self._make_batch)
        if not self._is_sync_timed:
            self._is_sync_timed = True
            self._owner.later(SYNC_S, self._sync_due)
        self._offer()

    def _make_batch(self) -> None:
        self._own.make_batch()
        self._offer()

    def _offer(self) -> None:
        for session, box in (*self._old.items(), (self._session, self._own)):
            offer = box.take_offer()
            if offer is not None:
                batches = self._batches if box is self._own else self._old_batches
                batches.put_nowait(SimBatch(session, *offer))

    def _sync_due(self) -> None:
        self._is_sync_timed = False
        for session in (*self._old, self._session):
            self._disk.synced(session)

    def _inherit(self) -> None:
        for session in sorted(self._adopted & set(self._old)):
            path = self._disk.path(session)
            before = path.stat().st_size
            self._old[session].hand_over(self._own)
            if path.stat().st_size > before:  # it says so only once ours is synced
                self._disk.synced(self._session)
        self._remove_told()

    def _remove_told(self) -> None:
        for session in [one for one, box in self._old.items() if box.is_empty]:
            del self._old[session]
            self._disk.path(session).unlink()

    def _loaded(self, session: str) -> Outbox | None:
        if session == self._session:
            return None
        path = self._disk.path(session)
        box = Outbox.load(path)
        if box is not None and box.is_empty:
            path.unlink()
            return None
        return box

    def _let_go(self, ended: set[tuple[str, int, int]]) -> None:
        for job_id, attempt, task in ended:
            self._holds.get((job_id, attempt), set()).discard(task)


def _named(job_id: str, attempt: int, tasks: set[int]) -> Callable[[Work, int], bool]:
    return lambda work, task: work.job_id == job_id and work.attempt == attempt and task in tasks


def _lease(work: Work) -> dict[str, Any]:
    return {
        "ns_id": work.ns_id,
        "job_id": work.job_id,
        "attempt": work.attempt,
        "epoch": work.epoch,
    }


def _each(ended: list[tuple[str, int, int, int]]) -> list[tuple[str, int, int]]:
    return [
        (job_id, attempt, task)
        for job_id, attempt, first, last in ended
        for task in range(first, last + 1)
    ]
