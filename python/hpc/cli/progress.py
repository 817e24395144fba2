"""How far jobs are that somebody waits for: a bar that changes, or a line now and then.

Behind it stands the last line that the newest task which runs has written, one small request for
each look.

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
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from hpc import ranges, settings
from hpc.cli import output
from hpc.client import Client
from hpc.errors import HpcError
from hpc.states import SETTLED
from hpc.terminal import fit, last_line
from hpc.units import show_duration

BAR_EACH_S: Final = 1.0
LINE_EACH_S: Final = 10.0
FIRST_BAR_S: Final = 0.3
"""What is over sooner shows no bar."""

RATE_OVER_S: Final = 30.0
"""The rate is that of so much time."""

JOBS_MAX: Final = 2_000
"""Of more jobs the first ones are looked at: reading them all would take longer than a look."""

TAIL_BYTES: Final = 400
"""So much of a task's output is asked for, for its last line."""

REST_S: Final = 10.0
"""So long output is not asked for that could not be had."""

WIDTH: Final = 20
NARROW: Final = 10
"""The same where a line of output stands behind it."""
COLUMNS: Final = 80
"""Of a terminal that does not say."""
LINE_COLUMNS: Final = 200
"""Of a line into a file."""
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
        if not self._looks:
            return 0.0
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

    def bar(self, width: int = WIDTH) -> str:
        """Return it as a bar, with the words behind it."""
        filled = width * self.done // max(self.total, 1)
        return f"{self.done:,}/{self.total:,} [{'#' * filled:-<{width}}]  {self.text()}"


class LastLine:
    """The last line of output of the task that has started last and runs.

    Attributes:
        text: Without anything that steers a terminal; empty where there is none.
    """

    def __init__(self, hub: Client) -> None:
        self.text = ""
        self._hub = hub
        self._of: tuple[str, int] | None = None
        self._streams = deque(("stdout", "stderr"))
        self._rests_until_s = 0.0

    def look(self, at_s: float, infos: Iterable[Mapping[str, Any]]) -> None:
        """Ask once for it, of the stream that had something last."""
        newest = newest_running(infos)
        if newest != self._of:
            self._of, self.text = newest, ""
        if newest is None or at_s < self._rests_until_s:
            return
        try:
            with self._hub.log(*newest, stream=self._streams[0], last=TAIL_BYTES) as pieces:
                found = last_line(b"".join(pieces))
        except HpcError:
            self._rests_until_s = at_s + REST_S
            return
        if not found:
            self._streams.rotate()
        self.text = found or self.text


def newest_running(infos: Iterable[Mapping[str, Any]]) -> tuple[str, int] | None:
    """Return the job and the number of the task that has started last and runs; None is none."""
    running = [
        (attempt.get("started_at") or 0, str(info["job_id"]), str(attempt["tasks"]))
        for info in infos
        for attempt in info.get("attempts") or ()
        if attempt["state"] == "running"
    ]
    if not running:
        return None
    _, job_id, tasks = max(running)
    return job_id, max(span[-1] for span in ranges.spans(tasks))


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
        self._is_shown = settings.read().get("progress", True)
        self._hub = hub.again()
        self._job_ids = job_ids[:JOBS_MAX]
        self._bar = Bar() if sys.stderr.isatty() else None
        self._ended = threading.Event()
        self._course = Course()
        self._outputs = hub.again(patience_s=0.0)
        self._line = LastLine(self._outputs)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Progress:
        if self._is_shown:
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
        with self._hub, self._outputs:
            while not self._ended.wait(after_s):
                after_s = each_s
                try:
                    infos = self._hub.infos(self._job_ids)
                except HpcError:
                    continue  # whoever waits for the jobs says so
                now_s = time.monotonic()
                self._course.look(now_s, list(infos.values()))
                self._line.look(now_s, infos.values())
                self._show()

    def _show(self) -> None:
        if self._ended.is_set():
            return
        line = f"  log: {self._line.text}" if self._line.text else ""
        if self._bar is None:
            done, total = self._course.done, self._course.total
            text = f"{done:,}/{total:,} tasks  {self._course.text()}{line}"
            output.say(fit(text, LINE_COLUMNS))
            return
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
        bar = self._course.bar(NARROW if line else WIDTH)
        self._bar.set(fit(bar + line, max(columns - 1, 0)))
