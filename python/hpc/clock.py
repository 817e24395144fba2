"""The machine's clocks, in one place, so that a simulation can bring its own.

Loops take a `Clock` and a `random.Random` and never ask the machine themselves. Waiting is the
event loop's (`asyncio.timeout`, `asyncio.sleep`); a simulation runs a loop with a time of its own.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC; it may jump."""
        ...

    def boottime_ms(self) -> int:
        """Milliseconds since the machine's start, sleep included; it never jumps back."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    def boottime_ms(self) -> int:
        """CLOCK_BOOTTIME: a fence is due on waking, since sleep counts."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def mono_ms(self) -> int:
        """CLOCK_MONOTONIC, which nobody sets: the Hub's, to which sleep does not count."""
        return time.monotonic_ns() // 1_000_000
