"""Signals that ask a command to end whose job ends with it: `hpc run`, `hpc map`.

Ctrl-C, SIGTERM, a terminal that is closed (SIGHUP), and a reader of the output that goes away.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from hpc.cli.exits import HUNG_UP, INTERRUPTED, READER_GONE, TERMINATED

if TYPE_CHECKING:
    from hpc.client import Client

CANCEL_S_MAX: Final = 30.0
"""How long Ctrl-C waits for the job to be settled, and then for its last output."""

TELL_MAIN: Final = signal.SIGUSR2
"""Wakes the main thread from its wait for the job."""

ONE_REQUEST_S: Final = 1.0
"""Signals that come so soon after a first one ask for the same."""

_CODES: Final[dict[int, int]] = {signal.SIGHUP: HUNG_UP, signal.SIGTERM: TERMINATED}


class Ended(KeyboardInterrupt):
    """Something else than Ctrl-C asks to end; carries the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


def heed() -> None:
    """Have the signals raise in the main thread: `code_of` says what the command exits with."""
    asked_to_end = _AskedToEnd()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell has it for `&`
        signal.signal(signal.SIGINT, asked_to_end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, asked_to_end)
    signal.signal(signal.SIGTERM, asked_to_end)
    signal.signal(TELL_MAIN, _reader_gone)


def code_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of what was interrupted."""
    return interrupt.code if isinstance(interrupt, Ended) else INTERRUPTED


def tell_main() -> None:
    """Say on another thread that nobody reads the output any more."""
    signal.pthread_kill(threading.main_thread().ident or 0, TELL_MAIN)


def job_of(hub: Client, batch: Sequence[Mapping[str, Any]], batch_id: str | None) -> str:
    """Return which job a batch has made that was interrupted before its receipt came.

    The same again is recorded once, whether or not the first was.

    Raises:
        HpcError: The Hub does not answer, or refuses it: then there is no such job.
    """
    # Imported here: this file is loaded before anything is sent.
    from hpc.cli import selectors  # noqa: PLC0415

    hub.close()  # in the middle of an answer
    job_id = str(hub.ingest(batch, batch_id=batch_id)["jobs"][-1])
    selectors.remember(job_id)
    return job_id


def cancelled(hub: Client, job_id: str) -> dict[str, Any]:
    """Cancel a job and return it once it is settled.

    Raises:
        HpcError: The Hub does not answer, or it takes longer than `CANCEL_S_MAX`.
    """
    hub.close()  # in the middle of an answer when it was interrupted
    hub.cancel(job_id, reason="interrupted")
    return hub.wait(job_id, timeout_s=CANCEL_S_MAX)


class _AskedToEnd:
    """Handles SIGINT, SIGHUP and SIGTERM; several at once are one.

    `timeout` and shells send a second one to the group, which must not keep the job from being
    cancelled.
    """

    def __init__(self) -> None:
        self._first_s: float | None = None

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        elif now_s < self._first_s + ONE_REQUEST_S:
            return
        raise Ended(_CODES.get(number, INTERRUPTED))


def _reader_gone(_number: int, _frame: FrameType | None) -> None:
    signal.signal(TELL_MAIN, signal.SIG_IGN)  # the other stream may break as well
    raise Ended(READER_GONE)
