"""How far jobs are that somebody waits for: a bar that changes, or a line now and then.

On a terminal the last line of stderr is the bar; whatever else is printed hides it first. Where
stderr is no terminal a line is written each 10 s: a log file shows that it goes on. A thread of its
own reads the jobs; what cannot be read is shown the next time.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from hpc.cli import output
from hpc.client import Client
from hpc.errors import HpcError
from hpc.states import SETTLED
from hpc.terminal import clean
from hpc.units import show_duration

BAR_EACH_S: Final = 1.0
LINE_EACH_S: Final = 10.0
FIRST_BAR_S: Final = 0.3
"""What is over sooner shows no bar."""

RATE_OVER_S: Final = 30.0
"""The rate is that of so much time."""

JOBS_MAX: Final = 2_000
"""Of more jobs the first ones are looked at: reading them all would take longer than a look."""

WIDTH: Final = 20
COLUMNS: Final = 80
"""Of a terminal that does not say."""
TO_EMPTY_LINE: Final = "\r\x1b[K"
_SHOWN: Final = ("failed", "cancelled", "running", "leased", "queued", "waiting", "held")


class Course:
    """What is known of the tasks of jobs, look after look."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._looks: deque[tuple[float, int]] = deque()

    @property
    def total(self) -> int:
        """Tasks of all jobs."""
        return self.counts.total()

    @property
    def done(self) -> int:
        """Those that are settled."""
        return sum(self.counts[state] for state in SETTLED)

    def look(self, at_s: float, infos: Sequence[Mapping[str, Any]]) -> None:
        """Take what the jobs are like at a time."""
        self.counts = Counter()
        for info in infos:
            self.counts.update(info.get("counts") or {})
        self._looks.append((at_s, self.done))
        while len(self._looks) > 1 and self._looks[0][0] < at_s - RATE_OVER_S:
            self._looks.popleft()

    @property
    def rate(self) -> float:
        """Tasks that were settled a second, of late."""
        (from_s, before), (to_s, after) = self._looks[0], self._looks[-1]
        return max(after - before, 0) / (to_s - from_s) if to_s > from_s else 0.0

    def text(self) -> str:
        """Return it in words."""
        told = [f"{self.counts[state]:,} {state}" for state in _SHOWN if self.counts[state]]
        parts = [", ".join(told)] if told else []
        if rate := self.rate:
            parts.append(f"{rate:.1f}/s")
            parts.append(f"{show_duration(round((self.total - self.done) / rate))} left")
        return "  ".join(parts)

    def bar(self) -> str:
        """Return it as a bar, with the words behind it."""
        filled = WIDTH * self.done // max(self.total, 1)
        return f"{self.done:,}/{self.total:,} [{'#' * filled:-<{WIDTH}}]  {self.text()}"


class Bar:
    """The last line of a terminal; a context in which it is hidden, since others print."""

    def __init__(self) -> None:
        self._shown = ""
        self._is_ended = False
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._shown:
            self._write(TO_EMPTY_LINE)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._write(self._shown)
        self._lock.release()

    def set(self, text: str) -> None:
        """Show a line in place of the former one, unless it was ended."""
        with self._lock:
            if not self._is_ended:
                self._write(TO_EMPTY_LINE + text)
                self._shown = text

    def end(self) -> None:
        """Show none from now on."""
        with self._lock:
            if self._shown:
                self._write(TO_EMPTY_LINE)
            self._shown = ""
            self._is_ended = True

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


class Progress:
    """Shows how far some jobs are, from `with` to its end.

    Args:
        hub: Another connection is opened to it.
        job_ids: Of the jobs.
    """

    def __init__(self, hub: Client, job_ids: Sequence[str]) -> None:
        self._hub = hub.again()
        self._job_ids = job_ids[:JOBS_MAX]
        self._bar = Bar() if sys.stderr.isatty() else None
        self._ended = threading.Event()
        self._course = Course()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        output.hide(self._bar)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.end()
            output.hide(None)

    def _run(self) -> None:
        each_s = LINE_EACH_S if self._bar is None else BAR_EACH_S
        after_s = LINE_EACH_S if self._bar is None else FIRST_BAR_S
        with self._hub:
            while not self._ended.wait(after_s):
                after_s = each_s
                try:
                    infos = self._hub.infos(self._job_ids)
                except HpcError:
                    continue  # whoever waits for the jobs says so
                self._course.look(time.monotonic(), list(infos.values()))
                self._show()

    def _show(self) -> None:
        if self._ended.is_set():
            return
        if self._bar is None:
            output.say(f"{self._course.done:,}/{self._course.total:,} tasks  {self._course.text()}")
            return
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
        self._bar.set(clean(self._course.bar())[: max(columns - 1, 0)])
