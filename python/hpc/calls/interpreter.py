"""The warm interpreter of a worker: runs one call after the other, for as long as calls come.

    python -P -m hpc.calls.interpreter CALLS_FD TOLD_FD PATHS

It knows no Hub and no events, and has no thread of its own, so that calls may fork. A call is
received when it begins: what has not begun its worker can take back. Each result leaves before the
next call, so that when a call ends the process, the worker knows which one it was. What a call
prints is the task's output.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator

from hpc.calls.frames import (
    MESSAGE_BYTES,
    RAISED,
    RETURNED,
    Call,
    Told,
    first_message,
    told_frame,
)
from hpc.calls.pickled import open_call, pack_failure, pack_result


def main(calls: socket.socket, told_fd: int, paths: list[str]) -> None:
    """Run calls until the socket ends."""
    known = set(sys.path)
    sys.path += [path for path in paths if path not in known]
    for call in _calls(calls):
        _write(told_fd, told_frame(run(call)))
        # A pipe that is no terminal is buffered: what a call has printed is there once it is over.
        _flush()


def run(call: Call) -> Told:
    """Run a call; whatever it raises is what came of it, `SystemExit` too."""
    began_ns = time.perf_counter_ns()
    try:
        fn, args, kwargs = open_call(call.packed)
        packed, how = pack_result(fn(*args, **kwargs)), RETURNED
    except BaseException as error:  # somebody else's code may raise anything
        packed, how = pack_failure(error), RAISED
    return Told(call.number, time.perf_counter_ns() - began_ns, how, packed)


def _calls(calls: socket.socket) -> Iterator[Call]:
    while message := calls.recv(MESSAGE_BYTES):
        number, length, packed = first_message(message)
        while len(packed) < length:
            packed += calls.recv(MESSAGE_BYTES)
        yield Call(number, packed)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _flush() -> None:
    flushes: list[Callable[[], None]] = [sys.stdout.flush, sys.stderr.flush]
    for flush in flushes:
        try:
            flush()
        except (OSError, ValueError):
            continue  # a call may have closed it


if __name__ == "__main__":
    for number in (int(sys.argv[1]), int(sys.argv[2])):
        os.set_inheritable(number, False)  # what a call starts must not hold them open
    with socket.socket(fileno=int(sys.argv[1])) as open_calls:
        main(open_calls, int(sys.argv[2]), json.loads(sys.argv[3]))
