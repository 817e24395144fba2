"""How long a relay stays: what it was given, and how long it may have nothing to do.

It only tells when; what then happens is process.py's. Lengths are of CLOCK_BOOTTIME: time in which
the machine sleeps counts.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hpc.clock import Clock

LOOK_S: Final = 60.0
"""Timers stand still while the machine sleeps; one is late by this at most after it has woken."""


class TimeLimit:
    """The end of a relay that was given so long.

    Args:
        limit_s: From now on, at its end tasks are ended.
        grace_s: So long before that nothing new is taken.
    """

    def __init__(self, clock: Clock, limit_s: float, grace_s: float) -> None:
        self._clock = clock
        self._end_ms = clock.boottime_ms() + round(limit_s * 1000)
        self._grace_ms = round(grace_s * 1000)

    def left_s(self) -> float:
        """Return how long it is until tasks are ended; 0 where that is past."""
        return max(self._end_ms - self._clock.boottime_ms(), 0) / 1000

    async def near(self) -> None:
        """Wait until nothing new is to be taken."""
        await _reach(self._clock, self._end_ms - self._grace_ms)


class Idleness:
    """Since when nothing is leased to a relay; from its start, until the first lease."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ms: int | None = clock.boottime_ms()
        self._changed = asyncio.Event()

    def note(self, *, is_busy: bool) -> None:
        """Take note of what a claim holds, or of what it was granted."""
        if is_busy:
            self._since_ms = None
        elif self._since_ms is None:
            self._since_ms = self._clock.boottime_ms()
            self._changed.set()

    async def lasted(self, limit_s: float) -> None:
        """Wait until nothing was leased for so long."""
        while True:
            self._changed.clear()
            since_ms = self._since_ms
            if since_ms is None:
                await self._changed.wait()
                continue
            await _reach(self._clock, since_ms + round(limit_s * 1000))
            if self._since_ms == since_ms:
                return


async def _reach(clock: Clock, at_ms: int) -> None:
    while (left_ms := at_ms - clock.boottime_ms()) > 0:
        await asyncio.sleep(min(left_ms / 1000, LOOK_S))
