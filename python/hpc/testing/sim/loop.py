"""An event loop over virtual time: nothing waits, and a seed chooses what runs next.

Of all that is ready one callback is chosen at random; time moves where nothing is ready. What runs
for a process (an `Owner`, carried by the context of its tasks) stands still while that is frozen,
as after SIGSTOP, and never runs again once it is dead, as after SIGKILL: no `finally` of it does.

It uses the private queues of `asyncio.BaseEventLoop`, which CPython 3.11 to 3.14 share.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("owner", default=None)


class Stuck(AssertionError):
    """Nothing is ready and nothing is due: somebody waits for what will never come."""


class Owner:
    """A simulated process: whose callbacks run, wait, or never run.

    Attributes:
        is_dead: Set by `die`, for good.
    """

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self._held: list[asyncio.Handle] = []
        self._tasks: list[asyncio.Task[Any]] = []
        """Kept, since what waits for ever is nobody's else, and collected at no certain time."""
        self._is_frozen = False
        self.is_dead = False
        self.context = contextvars.Context()
        self.context.run(OWNER.set, self)
        loop.owners.append(self)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of this process."""
        task = self._loop.create_task(coroutine, context=self.context)
        self._tasks.append(task)
        return task

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Have something called in this process."""
        self._loop.call_soon(callback, *args, context=self.context)

    def later(
        self, delay_s: float, callback: Callable[..., object], *args: object
    ) -> asyncio.TimerHandle:
        """Have something called in this process after a time."""
        return self._loop.call_later(delay_s, callback, *args, context=self.context)

    def freeze(self) -> None:
        """Stand still."""
        self._is_frozen = True

    def thaw(self) -> None:
        """Go on: what became due meanwhile is due now."""
        if self.is_dead:
            return
        self._is_frozen = False
        self.release()

    def release(self) -> None:
        """Have run what was kept."""
        held, self._held = self._held, []
        self._loop.give(held)

    def die(self) -> None:
        """Run nothing more."""
        self.is_dead = True

    def lets(self, handle: asyncio.Handle) -> bool:
        """Return whether a callback may run now; one that may not is kept."""
        if self._is_frozen or self.is_dead:
            self._held.append(handle)
            return False
        return True


class SimLoop(asyncio.BaseEventLoop):
    """The loop of one seed.

    Attributes:
        owners: Processes that were begun.
        steps: Callbacks that ran.
        faults: Callbacks that raised, in sentences.
    """

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now_s = 0.0
        self._ready: list[asyncio.Handle] = []
        self._scheduled: list[asyncio.TimerHandle] = []
        self._outside = contextvars.Context()
        self._is_over = False
        self.owners: list[Owner] = []
        self.steps = 0
        self.set_exception_handler(self._note)
        self.faults: list[str] = []

    def time(self) -> float:
        """Return virtual seconds since the beginning."""
        return self._now_s

    def outside(
        self, delay_s: float, callback: Callable[..., object], *args: object
    ) -> asyncio.TimerHandle:
        """Have something called after a time that is no process's: it happens whoever is frozen."""
        return self.call_later(delay_s, callback, *args, context=self._outside)

    def give(self, handles: list[asyncio.Handle]) -> None:
        """Make callbacks ready."""
        self._ready.extend(handles)

    def end(self) -> None:
        """Cancel every task, also those of the dead, and close."""
        self._is_over = True
        for owner in self.owners:
            owner.release()
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.close()

    def _run_once(self) -> None:
        while self._scheduled and (not self._ready or self._scheduled[0].when() <= self._now_s):
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]
            if timer.cancelled():
                continue
            self._now_s = max(self._now_s, timer.when())
            self._ready.append(timer)
        if not self._ready:
            raise Stuck(f"nothing is ready at {self._now_s:.3f} s")
        place = self._random.randrange(len(self._ready))
        ready = self._ready
        ready[place], ready[-1] = ready[-1], ready[place]
        handle = ready.pop()
        if handle.cancelled():
            return
        owner: Owner | None = handle._context.get(OWNER)  # type: ignore[attr-defined]
        if owner is None or self._is_over or owner.lets(handle):
            # Tasks are cancelled at the end in whatever order a set has them.
            self.steps += not self._is_over
            handle._run()

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """No other thread calls."""

    def _note(self, _: object, context: dict[str, Any]) -> None:
        if not self._is_over:
            self.faults.append(f"{context.get('message')}: {context.get('exception')!r}")
