"""Back-off with jitter, for ever: how long to wait before an unanswered request is sent again.

It counts and never sleeps. The shape is exponential with jitter over the upper half, so that a
thousand relays whose Hub comes back do not arrive in one moment. It grows by a fifth: who asks
again comes after about another quarter of the time that the Hub was away at the latest, and a
thousand are spread over that.
"""

from __future__ import annotations

from random import Random
from typing import Final

GROWTH: Final = 1.2


class Backoff:
    """Delays that grow from `first_s` up to `max_s`; each is drawn from its upper half."""

    def __init__(self, random: Random, *, first_s: float = 0.1, max_s: float = 5.0) -> None:
        self._random = random
        self._first_s = first_s
        self.max_s = max_s
        self._next_s = first_s

    def reset(self) -> None:
        """Start over: something was answered."""
        self._next_s = self._first_s

    def next_s(self, at_least_s: float | None = None) -> float:
        """Return how long to wait now, in seconds; the next one is longer.

        Args:
            at_least_s: What the Hub asked for (`Retry-After`); up to half as much is added.
        """
        whole = min(self._next_s, self.max_s)
        self._next_s = min(self._next_s * GROWTH, self.max_s)
        # The longer half is random: no two relays stay in step, none comes back at once.
        delay_s = whole * self._random.uniform(0.5, 1.0)
        if not at_least_s:
            return delay_s
        # A thousand are told the same number: exactly then they would all be back at once.
        return max(delay_s, at_least_s * self._random.uniform(1.0, 1.5))
