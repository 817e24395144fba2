"""Patience: a request that may be sent again is, while the Hub that was there does not answer.

What is sent has to be safe to repeat; the client gives each batch its id before it sends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from hpc.errors import NoHub
from hpc.transport.http_client import Unanswered

if TYPE_CHECKING:
    from random import Random

    from hpc.transport.backoff import Backoff

AWAY_S_MAX: Final = 600.0
"""How long who waits for a job waits for a Hub that has gone away."""

AWAY_TOLD_S: Final = 1.0
"""After so long it is told that the Hub is away."""

T = TypeVar("T")


class Patience:
    """How long one Hub is asked again.

    Args:
        patience_s: Where a request says nothing else.
        on_away: Told, once each time, why it is asked again.
        was_there: Whether the Hub has answered before.
        now: Seconds of a clock that nobody sets.
        sleep: Waits so many seconds.
        random: Where delays come from; by default the machine's.

    Attributes:
        patience_s: As given.
        on_away: As given.
        was_there: Whether it has answered; one that never did is not asked again.
    """

    def __init__(
        self,
        patience_s: float,
        on_away: Callable[[str], None] | None,
        *,
        was_there: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self.patience_s = patience_s
        self.on_away = on_away
        self.was_there = was_there
        self._now = now
        self._sleep = sleep
        self._random = random

    def ask(self, send: Callable[[], T], patience_s: float | None = None) -> T:
        """Send something that may be sent again, until it is answered or patience ends.

        If nobody has ever answered and nothing was sent, that is said at once.

        Raises:
            Unanswered: One of the tries may have arrived, whatever became of the last.
        """
        unanswered: Unanswered | None = None
        away_s: float | None = None
        patience_s = self.patience_s if patience_s is None else patience_s
        backoff: Backoff | None = None
        on_away, sleep = self.on_away, self._sleep
        while True:
            try:
                answer = send()
            except NoHub as error:
                if isinstance(error, Unanswered):
                    unanswered = error
                self.was_there |= error.code != NoHub.default_code
                now_s = self._now()
                away_s = now_s if away_s is None else away_s
                left_s = away_s + patience_s - now_s
                if not self.was_there or left_s <= 0:
                    if unanswered is None or unanswered is error:
                        raise
                    raise Unanswered(error.message, hint=error.hint) from error
                if on_away is not None and now_s >= away_s + AWAY_TOLD_S:
                    on_away(_told(error))
                    on_away = None
                backoff = backoff or _backoff(self._random)
                sleep(min(backoff.next_s(error.retry_after_s), left_s))
            else:
                self.was_there = True
                return answer


def _told(error: NoHub) -> str:
    """Return why it is asked again; of a Hub that was reached also what may be the matter."""
    is_hinted = isinstance(error, Unanswered) and error.hint is not None
    return f"{error.message}; {error.hint}" if is_hinted else error.message


def _backoff(random: Random | None) -> Backoff:
    # Imported here: only a Hub that is away is worth its time.
    from random import SystemRandom  # noqa: PLC0415

    from hpc.transport.backoff import Backoff  # noqa: PLC0415

    return Backoff(random or SystemRandom(), first_s=0.05, max_s=1.0)
