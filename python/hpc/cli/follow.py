"""A task's output: stdout to stdout, stderr to stderr, while the job runs and after.

Each stream that is followed has a thread and a connection of its own. A stream that breaks is
opened again, and what was shown already is skipped.
"""

from __future__ import annotations

import codecs
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Protocol

from hpc.cli.output import say, screen
from hpc.client import Client
from hpc.terminal import json_text
from hpc.transport.http_client import Unanswered

STREAMS: Final = ("stdout", "stderr")

LAST_OUTPUT_S: Final = 2.0
"""How long a followed stream may go on after its job has ended, before the rest is fetched."""

LONG_BYTES: Final = 64 << 10
"""Of a longer stream something may not have been kept while it was followed."""

_printing: Final = threading.Lock()


class Writes(Protocol):
    """Where output goes."""

    def write(self, piece: bytes) -> object:
        """Take some bytes."""
        ...


class JsonLines:
    """Prints each piece as a line of JSON: `{"stream", "data"}`; what is no UTF-8 as U+FFFD."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def write(self, piece: bytes) -> None:
        """Print a piece."""
        line = {"stream": self._stream, "data": self._decode(piece)}
        # Whole lines only: each stream is printed by a thread of its own.
        with _printing:
            sys.stdout.buffer.write(json_text(line).encode() + b"\n")
            sys.stdout.buffer.flush()


class LastLines:
    """Keeps the last lines of what is written; a last one without its end counts as one.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self._lines: deque[bytes] = deque(maxlen=count)
        self._open = b""

    def write(self, piece: bytes) -> None:
        """Take some bytes."""
        *whole, rest = piece.split(b"\n")
        for line in whole:
            self._lines.append(self._open + line + b"\n")
            self._open = b""
        self._open += rest

    def bytes(self) -> bytes:
        """Return the lines as they stood."""
        lines = [*self._lines, *filter(None, (self._open,))]
        count = self._lines.maxlen or 0
        return b"".join(lines[max(len(lines) - count, 0) :])


class _Broken(Unanswered):
    """A stream ended in its middle; opened again it goes on."""


class Output:
    """One stream of a task, and how far it has been printed.

    Attributes:
        is_whole: It was followed to its end.
        empty: The other stream of the task, where the Hub has said that it has nothing.
    """

    def __init__(
        self, job_id: str, task: int | None, stream: str, out: Writes | None = None
    ) -> None:
        self._job_id = job_id
        self._task = task
        self._stream = stream
        self._out = out or screen(stream)
        self._lock = threading.Lock()
        self._shown = 0
        self._is_noted = False
        self._is_left = False
        self.is_whole = False
        self.empty: str | None = None

    def show(self, client: Client) -> None:
        """Print what there is and was not printed yet, and learn which stream has nothing.

        Raises:
            HpcError: The Hub does not have it, or is away for longer than the client's patience.
        """
        self._print(client, follow=False)

    def show_last(self, client: Client, count: int) -> None:
        """Print the last lines of what there is; `follow` goes on behind them."""
        out, last = self._out, LastLines(count)
        self._out = last
        try:
            self.show(client)
        finally:
            self._out = out
        out.write(last.bytes())

    def follow(self, client: Client) -> None:
        """Print until the task is settled, or `leave` is called; raises as `show` does."""
        while not self._is_left:
            try:
                self._print(client, follow=True)
            except _Broken:
                continue
            self.is_whole = not self._is_left
            if self._shown > LONG_BYTES and not self._is_noted:
                self._note_late(client)
            return

    def leave(self) -> None:
        """Let `follow` print nothing more."""
        with self._lock:
            self._is_left = True

    def _print(self, client: Client, *, follow: bool) -> None:
        with client.log(self._job_id, self._task, stream=self._stream, follow=follow) as pieces:
            self._note(pieces.headers.get("hpc-note"))
            self.empty = pieces.headers.get("hpc-empty")
            offset = 0
            try:
                for piece in pieces:
                    self._write(piece, offset, follow=follow)
                    offset += len(piece)
            except Unanswered as error:
                raise _Broken(error.message) from error

    def _note_late(self, client: Client) -> None:
        """Say what has come to be missing since the answer began: bytes cannot tell of it."""
        with client.log(self._job_id, self._task, stream=self._stream) as pieces:
            self._note(pieces.headers.get("hpc-note"))

    def _note(self, note: str | None) -> None:
        if note and not self._is_noted:
            self._is_noted = True
            say(f"note: {note}")

    def _write(self, piece: bytes, offset: int, *, follow: bool) -> None:
        with self._lock:
            if follow and self._is_left:
                return
            self._out.write(piece[max(self._shown - offset, 0) :])
            self._shown = max(self._shown, offset + len(piece))


class Followers:
    """Both streams of a task, printed by threads that end when the task is settled."""

    def __init__(
        self,
        hub_url: str | None,
        job_id: str,
        task: int | None = None,
        out: Callable[[str], Writes] = screen,
        *,
        last: int | None = None,
        on_reader_gone: Callable[[], None] | None = None,
    ) -> None:
        """Start to print.

        Args:
            hub_url: Of the Hub, where it was given.
            job_id: The job.
            task: Its task; None is the first.
            out: Where each stream goes.
            last: Of what there is already, only so many lines.
            on_reader_gone: Called on another thread where nobody reads what is printed any more.
        """
        self._hub_url = hub_url
        self._last = last
        self._outputs = [Output(job_id, task, stream, out(stream)) for stream in STREAMS]
        self._ended: SimpleQueue[Exception | None] = SimpleQueue()
        self._on_reader_gone = on_reader_gone
        self._threads = [
            threading.Thread(target=self._follow, args=(output,), daemon=True)
            for output in self._outputs
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until the task is settled and everything is printed.

        Raises:
            HpcError: Why one of the streams could not be followed to its end.
            OSError: It cannot be printed; the other stream is not waited for.
        """
        ended = []
        for _ in self._threads:
            ended.append(self._ended.get())
            if isinstance(ended[-1], OSError):
                raise ended[-1]
        for error in filter(None, ended):
            raise error

    def finish(self, client: Client, within_s: float = LAST_OUTPUT_S) -> None:
        """Print the rest of a task that is settled; what takes longer is fetched."""
        until_s = time.monotonic() + within_s
        for thread, output in zip(self._threads, self._outputs, strict=True):
            thread.join(max(until_s - time.monotonic(), 0.0))
            if not output.is_whole:
                output.leave()
                output.show(client)

    def _follow(self, output: Output) -> None:
        outcome: Exception | None = None
        try:
            with Client(self._hub_url) as client:
                if self._last is not None:
                    output.show_last(client, self._last)
                output.follow(client)
        except Exception as error:  # raised again by whoever joins
            outcome = error
        self._ended.put(outcome)
        if isinstance(outcome, OSError) and self._on_reader_gone is not None:
            self._on_reader_gone()
