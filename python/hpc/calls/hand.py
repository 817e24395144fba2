"""hand: one worker as its executor sees it, and how many calls it may have ahead.

It decides by figures alone and changes nothing by itself: the crew (crew.py) gives and takes, under
its lock.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from typing import Any, Final

from hpc.calls.messages import Place

AHEAD_S: Final = 1.0
"""So much work a worker has ahead, as far as it is known how long calls take."""

AHEAD_MAX: Final = 4_000
AHEAD_UNKNOWN_MAX: Final = 64
LONG_S: Final = 0.5
"""Calls that take longer are sent one by one."""

STEAL_S: Final = 0.2
"""Work that another worker would take that long for is worth a recall."""

STEAL_AGAIN_S: Final = 0.5

HELD_UP_S: Final = 1.0
"""What waits behind a call of such a length is taken back: with its worker it would be lost."""


class Call:
    """A call that is not over.

    Attributes:
        number: Its number, from 1.
        future: What its program waits for.
        text: Its bytes, as they are sent.
        linger_s: How long its result may wait for others.
        worker: Who has it.
        is_asked_back: Whether it is being recalled to be cancelled.
    """

    __slots__ = ("future", "is_asked_back", "linger_s", "number", "text", "worker")

    def __init__(self, number: int, future: Future[Any], text: str, linger_s: float) -> None:
        self.number = number
        self.future = future
        self.text = text
        self.linger_s = linger_s
        self.worker: Hand | None = None
        self.is_asked_back = False


class Hand:
    """A worker that is up.

    Attributes:
        calls: What it was sent and has not told of, in order: the first is running.
        mean_s: How long a call of it takes, once that is known.
        heard_s: When it told a result, or was sent something while it had nothing.
        recall: Number of the request that it has not answered.
        rest_s: Until then it is not asked to give back.
    """

    def __init__(self, place: Place, node_id: str) -> None:
        self.place = place
        self.node_id = node_id
        self.calls: dict[int, Call] = {}
        self.mean_s: float | None = None
        self.heard_s = 0.0
        self.recall = 0
        self.rest_s = 0.0

    def room(self, share: int) -> int:
        """Return how many calls it can be sent now, where `share` would be its part of all."""
        have = len(self.calls)
        if self.mean_s is None:
            return min(share, AHEAD_UNKNOWN_MAX) - have
        if self.mean_s >= LONG_S:
            return 1 - have
        ahead = max(2, min(int(AHEAD_S / max(self.mean_s, 1e-6)), AHEAD_MAX))
        # Many at a time, and not one for each that comes back.
        return min(ahead, max(share, 2)) - have if have <= ahead // 2 else 0

    def held_up_at_s(self) -> float:
        """Return from when on its first call is taken for a long one: it is sent no others."""
        return self.heard_s + HELD_UP_S if self.calls else math.inf

    def clear_at_s(self) -> float:
        """Return from when on what waits behind its first call is to be taken back."""
        if self.recall or len(self.calls) < 2:  # noqa: PLR2004 - the first one is running
            return math.inf
        return max(self.held_up_at_s(), self.rest_s)

    def steal_at_s(self) -> float:
        """Return from when on it may be asked to give calls back."""
        if self.recall or len(self.calls) < 2:  # noqa: PLR2004 - the first one is running
            return math.inf
        if self.mean_s is None:
            return max(self.heard_s + STEAL_S, self.rest_s)
        is_much = self.mean_s * (len(self.calls) - 1) > STEAL_S
        return self.rest_s if is_much else max(self.heard_s + 2 * STEAL_S, self.rest_s)
