"""`Events`: what the log records, as it comes, over breaks of the stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hpc.errors import Conflict
from hpc.transport.http_client import HUB_HEADER, Stream, Unanswered

if TYPE_CHECKING:
    from hpc.client.client import Client


class Events:
    """Events as they come; iterate in one thread, close in any. Made by `Client.follow`.

    A stream that breaks is taken up again after the last event that came. Where the Hub's log was
    restored from a copy meanwhile, or begun without damaged batches, what came may not be what it
    says now: `Conflict`.

    Attributes:
        cursor: Everything up to there has come.
    """

    def __init__(self, client: Client, cursor: int, job: str | None) -> None:
        self.cursor = cursor
        self._client = client
        self._job = job
        self._stream: Stream | None = None
        self._lineage: str | None = None
        self._is_closed = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while not self._is_closed:
            try:
                yield from self._come()
            except Unanswered:
                continue
            except _Closed:
                return

    def close(self) -> None:
        """End the iteration, also while it waits; a second call does nothing."""
        self._is_closed = True
        if (stream := self._stream) is not None:
            stream.interrupt()

    def _come(self) -> Iterator[dict[str, Any]]:
        query: list[tuple[str, str | int | float]] = [("cursor", self.cursor), ("follow", "true")]
        if self._job is not None:
            query.append(("job", self._job))
        with self._client._stream(query, self._check) as stream:
            self._stream = stream
            self._check()  # it may have been closed before there was anything to interrupt
            self._check_lineage(stream)
            seq = self.cursor
            for line in _lines(stream):
                if line.startswith(b"data: "):
                    event: dict[str, Any] = json.loads(line[6:])
                    yield event
                elif line.startswith(b"id: "):
                    seq = int(line[4:])
                elif not line:  # the end of a message; one without data tells a cursor
                    self.cursor = seq

    def _check_lineage(self, stream: Stream) -> None:
        lineage = stream.headers.get("hpc-lineage") or stream.headers.get(HUB_HEADER)
        if lineage != (self._lineage or lineage):
            raise Conflict(
                "The Hub's log was restored from a copy, or begun without damaged batches: what "
                f"came up to cursor {self.cursor} may not be what it says now",
                code="other_lineage",
                hint="hpc events --follow   reads it from its beginning",
            )
        self._lineage = lineage

    def _check(self) -> None:
        if self._is_closed:
            raise _Closed


class _Closed(Exception):
    """Nobody wants the events any more."""


def _lines(pieces: Stream) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
