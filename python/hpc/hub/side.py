"""Side: a thread of its own for long questions to the log, so that no turn waits for them.

It has a reading half of the log to itself, opened when it is first needed. Callers cut their work
into pieces of a few thousand events; pieces of several callers take turns. Nothing that is asked
here is ever part of a turn, and nothing is written.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from hpc.errors import StorageError
from hpc.problems import problem
from hpc.protocols import Answer, EventLog, LogReader

PIECE_EVENTS: Final = 5_000
"""Events that one piece looks at."""

T = TypeVar("T")


class Side:
    """Runs pieces of work, one at a time, on a second reader of the log.

    Args:
        log: Of the Hub; of it only `reader` is used.

    Attributes:
        is_closed: Whether it takes no further pieces.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._reader: LogReader | None = None
        self.is_closed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hpc-side")

    async def call(self, piece: Callable[[LogReader], T]) -> T:
        """Run one piece; if the caller is cancelled, it still runs to its end.

        Raises:
            StorageError: The log cannot be read, and the next piece gets a reader that is opened
                anew; or the Hub is ending.
            Exception: Whatever the piece raised.
        """
        if self.is_closed:
            raise StorageError("The Hub is ending", code="stopping")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, piece)

    async def close(self) -> None:
        """Take no further pieces, run those that wait, and end; the log may be closed after it."""
        self.is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown()

    def _run(self, piece: Callable[[LogReader], T]) -> T:
        if self._reader is None:
            self._reader = self._log.reader()
        try:
            return piece(self._reader)
        except StorageError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(StorageError):
                self._reader.close()
            self._reader = None


def unreadable(error: StorageError) -> Answer:
    """Return the 503 of a log that cannot be read."""
    return problem(
        503,
        error.code,
        "The log cannot be read",
        error.message,
        error.hint or "look at the Hub's machine",
    )
