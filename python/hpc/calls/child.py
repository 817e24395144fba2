"""child: a worker's hold on its interpreter: starts it, feeds it, hears it, sees it die.

Some calls lie in the socket ahead of the one that runs, so that the interpreter need not wait for
the worker between two short ones. The worker holds the interpreter's end of that socket too: what
it receives there itself, the interpreter has not begun and never will. When the interpreter dies,
the first call that it had and did not finish is the one that was running. Used by one thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from hpc.calls.frames import (
    MESSAGE_BYTES,
    READ_BYTES,
    Call,
    Told,
    ToldFrames,
    call_messages,
    first_message,
)

AHEAD_MAX: Final = 128
REST_S_MAX: Final = 0.005
"""While work lies ahead, results wait in the pipe: being woken by each costs more than a call."""

LEAVE_S: Final = 5.0
"""How long an interpreter that is not needed any more may take for its own clean-up."""

_CALLS, _TOLD, _DEATH, _WAKE = range(4)


class Death(NamedTuple):
    """How an interpreter ended.

    Attributes:
        how: In words: `exit code 3`, `signal 9 (SIGKILL)`.
        running: The call that it was running, if any.
        unbegun: Calls that it had and had not begun.
    """

    how: str
    running: Call | None
    unbegun: list[Call]


class Child:
    """One interpreter and the ways to it.

    Args:
        paths: Added to its `sys.path`.
        wake_fd: Readable when `wait` shall return although nothing was told.

    Attributes:
        pid: Its process.
        death: How it has ended, once it has.
    """

    def __init__(self, paths: Sequence[str], wake_fd: int) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._told_fd, told_in = os.pipe()
        fds = [self._theirs.fileno(), told_in]
        command = [sys.executable, "-P", "-m", "hpc.calls.interpreter", *map(str, fds)]
        try:
            self._process = subprocess.Popen(
                [*command, json.dumps(list(paths))], pass_fds=fds, stdin=subprocess.DEVNULL
            )
        finally:
            os.close(told_in)
        self.pid = self._process.pid
        self.death: Death | None = None
        self._pid_fd = os.pidfd_open(self.pid)
        self._frames = ToldFrames()
        self._given: deque[Call] = deque()
        self._out: deque[bytes] = deque()
        self._is_writing = False
        self._ours.setblocking(False)  # of this end alone: the interpreter waits at the other
        os.set_blocking(self._told_fd, False)
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._told_fd, selectors.EVENT_READ, _TOLD)
        self._ready.register(self._pid_fd, selectors.EVENT_READ, _DEATH)
        self._ready.register(wake_fd, selectors.EVENT_READ, _WAKE)
        self._rest = selectors.DefaultSelector()
        self._rest.register(self._pid_fd, selectors.EVENT_READ, _DEATH)
        self._rest.register(wake_fd, selectors.EVENT_READ, _WAKE)
        self._mean_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it has a call that it has not finished."""
        return bool(self._given)

    def takes(self, call: Call) -> bool:
        """Return whether it should be given this call now; a long one it gets when it is idle."""
        if not self._given:
            return True
        is_room = len(self._given) <= AHEAD_MAX
        return is_room and not call.is_long and not self._given[0].is_long

    def give(self, call: Call) -> None:
        """Give it a call; it is sent when `wait` finds room in the socket."""
        self._given.append(call)
        self._out += call_messages(call)

    def take_back(self) -> list[Call]:
        """Return the calls that it had and has not begun, in order: they are not its any more."""
        if not self._given or self._given[0].is_long:
            return []  # a long one it began when it was given it
        unbegun = {first_message(message)[0] for message in self._out}
        self._out.clear()
        with contextlib.suppress(BlockingIOError):
            while True:
                message = self._theirs.recv(MESSAGE_BYTES, socket.MSG_DONTWAIT)
                unbegun.add(first_message(message)[0])
        back = [call for call in self._given if call.number in unbegun]
        self._given = deque(call for call in self._given if call.number not in unbegun)
        return back

    def wait(self) -> list[Told]:
        """Wait until something was told, or it died, or `wake_fd` is readable."""
        self._write()
        if bool(self._out) != self._is_writing:
            self._is_writing = bool(self._out)
            if self._is_writing:
                self._ready.register(self._ours, selectors.EVENT_WRITE, _CALLS)
            else:
                self._ready.unregister(self._ours)
        if len(self._given) > 1:
            # Half of what it has, so that it never has nothing.
            self._rest.select(min(self._mean_s * len(self._given) / 2, REST_S_MAX))
        ready = {key.data for key, _ in self._ready.select()}
        told = self._read() if _TOLD in ready or _DEATH in ready else []
        if _DEATH in ready:
            self._mourn()
        return told

    def leave(self) -> None:
        """Let it end by itself, or end it after a while."""
        if self.death is not None:
            return
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._out:
                self._ours.send(self._out[0])
                self._out.popleft()

    def _read(self) -> list[Told]:
        told: list[Told] = []
        while True:
            try:
                data = os.read(self._told_fd, READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                with contextlib.suppress(KeyError):
                    self._ready.unregister(self._told_fd)  # a call has closed it; death follows
                break
            told += self._frames.put(data)
        for one in told:
            call = self._given.popleft()
            assert call.number == one.number, "an interpreter tells of calls in their order"
            self._mean_s = 0.9 * self._mean_s + 0.1 * one.ran_ns / 1e9
        return told

    def _mourn(self) -> None:
        code = self._process.wait()
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {-code} ({signal.Signals(-code).name})"
        unbegun = self.take_back()
        running = self._given.popleft() if self._given else None
        assert not self._given, "what was not received had not begun"
        self.death = Death(how, running, unbegun)
        self._ready.close()
        self._rest.close()
        self._ours.close()
        self._theirs.close()
        for fd in (self._told_fd, self._pid_fd):
            os.close(fd)
