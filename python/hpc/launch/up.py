"""`hpc up`: a Hub, a relay and a monitor on this machine, from one command to one Ctrl-C.

The parts are the processes that `hpc hub`, `hpc relay` and `hpc monitor` are, with the state of
this user, so that what was submitted is there the next time. They start one after the other, the
Hub first, and end in the other order, so that the Hub hears that the others leave: the relay lets
what runs end within its grace. A second signal ends what runs at once, a third one everything.
Where a part ends by itself, or this process is killed, all of them end.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from hpc.errors import HpcError
from hpc.launch import parts

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_READ_BYTES: Final = 65_536
_SIGNALS_TO_KILL: Final = 3


class PartEnded(HpcError):
    """A part ended that should go on.

    Attributes:
        refused: The exit code of a part that ended before it was ready: it has said why. Else
            None.
    """

    default_code = "part_ended"

    def __init__(self, message: str, refused: int | None = None) -> None:
        super().__init__(message, hint="what was submitted is there the next time: hpc up")
        self.refused = refused


class Plan(NamedTuple):
    """A part that is to be started."""

    name: str
    words: Sequence[str]


class _Part:
    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.process = process
        assert process.stdout is not None
        self.stdout = process.stdout.fileno()
        os.set_blocking(self.stdout, False)
        self.line = b""
        """What it has begun to say."""
        self.is_ready = False
        self.is_silent = False
        """It has closed its stdout."""
        self.pidfd = os.pidfd_open(process.pid)

    @property
    def has_ended(self) -> bool:
        """Whether a look has seen its end."""
        return self.process.returncode is not None

    def close(self) -> None:
        os.close(self.pidfd)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Up:
    """Parts that run together; a context in which signals are ours, and none of them outlives it.

    Args:
        home: Their `$HPC_HOME`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._parts: list[_Part] = []
        self._signals = 0
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def __enter__(self) -> Up:
        signal.set_wakeup_fd(self._waker)
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        for number, handler in self._handlers.items():
            if handler is not signal.SIG_IGN:  # as nohup has it
                signal.signal(number, self._count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(self._wake)
        os.close(self._waker)

    def start(self, plan: Plan) -> bool:
        """Start a part and wait until it is ready; whether it is, and nobody asks to end.

        Raises:
            PartEnded: It has ended instead, or another one has; it has said why on stderr.
        """
        process = parts.start(plan.words, home=self._home, stderr=None, on_orphaned=signal.SIGTERM)
        part = _Part(plan.name, process)
        self._parts.append(part)
        until_s = time.monotonic() + parts.READY_S_MAX
        while not part.is_ready and not self._signals:
            self._look(until_s - time.monotonic())
            self._check()
            if not part.is_ready and time.monotonic() >= until_s:
                raise PartEnded(f"The {part.name} was not ready after {parts.READY_S_MAX:g} s")
        return part.is_ready

    def wait(self) -> None:
        """Wait until somebody asks to end.

        Raises:
            PartEnded: A part has ended by itself.
        """
        while not self._signals:
            self._check()
            self._look(None)

    def _count(self, *_: object) -> None:
        self._signals += 1

    def _check(self) -> None:
        for part in self._parts:
            if part.has_ended and not self._signals:
                code = part.process.returncode
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                refused = code if code > 0 and not part.is_ready else None
                raise PartEnded(f"The {part.name} has ended by itself, with {how}", refused)

    def _look(self, within_s: float | None) -> None:
        """Wait for a signal, a line or an end, and pass on what parts say."""
        heard = [part.stdout for part in self._parts if not part.is_silent]
        # Of those whose end no look has seen: one that ended a moment ago wakes this one.
        ends = [part.pidfd for part in self._parts if not part.has_ended]
        timeout = None if within_s is None else max(within_s, 0.0)
        ready, _, _ = select.select([self._wake, *heard, *ends], [], [], timeout)
        if self._wake in ready:
            os.read(self._wake, _READ_BYTES)
        for part in self._parts:
            if part.stdout in ready and not part.is_silent:
                said = os.read(part.stdout, _READ_BYTES)
                part.is_silent = not said
                lines, newline, part.line = (part.line + said).rpartition(b"\n")
                if newline:
                    part.is_ready = True
                    sys.stdout.buffer.write(lines + newline)
                    sys.stdout.buffer.flush()
            part.process.poll()

    def _end(self) -> None:
        """End all parts, the Hub last; each further signal is more urgent."""
        others = [part for part in self._parts if part.name != "hub"]
        for group in (others, [part for part in self._parts if part.name == "hub"]):
            for part in group:
                part.process.terminate()
            hurried = self._signals
            while not all(part.has_ended for part in group):
                self._look(None)
                if self._signals > max(hurried, 1):
                    hurried = self._signals
                    for part in group:
                        part.process.send_signal(_urgency(hurried))
        for part in self._parts:
            part.close()


def _urgency(signals: int) -> signal.Signals:
    return signal.SIGKILL if signals >= _SIGNALS_TO_KILL else signal.SIGTERM
