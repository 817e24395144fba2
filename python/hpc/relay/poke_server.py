"""Poke server: `POST /poke` on loopback, for whoever wants to tell a relay that there is news.

A relay needs no poke while its claim is open: the Hub answers that at once. A poke ends the
back-off of one that waits for a Hub, so that it claims now; of many within a second the last ones
wake it once, at the second's end. The body is not looked at, and nothing is told: who can reach the
port learns only that a relay is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from hpc.errors import UsageError

HOST: Final = "127.0.0.1"
HEAD_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 64 * 1024
_DIGITS_MAX: Final = 18
REQUEST_S_MAX: Final = 10.0
CONNECTIONS_MAX: Final = 100
WAKE_GAP_S: Final = 1.0
"""Between two wakes: a flood of pokes must not make a flood of claims."""


@contextlib.asynccontextmanager
async def serving_pokes(port: int | None, on_poke: Callable[[], None]) -> AsyncIterator[int | None]:
    """Listen while the block runs; None listens nowhere, 0 picks a free port.

    Yields:
        The port.

    Raises:
        UsageError: The port cannot be bound.
    """
    if port is None:
        yield None
        return
    open_now = 0
    wake = _Seldom(on_poke)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            if open_now <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_S_MAX):
                    status = await _status(reader, wake)
                    writer.write(b"HTTP/1.1 " + status + b"\r\nConnection: close\r\n\r\n")
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who breaks off, or sends no HTTP, is not answered
        finally:
            open_now -= 1
            writer.close()

    try:
        server = await asyncio.start_server(answer, HOST, port, limit=HEAD_BYTES_MAX)
    except OSError as error:
        raise UsageError(
            f"Port {port} cannot be bound: {error.strerror}",
            field="port",
            hint="choose another --port, or 0 for a free one",
        ) from error
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            wake.close()


class _Seldom:
    """Calls a function at once, and again not before `WAKE_GAP_S`: then once for all that came."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._next: asyncio.TimerHandle | None = None
        self._is_asked = False

    def __call__(self) -> None:
        """Call it now, or note that it is to be called."""
        if self._next is not None:
            self._is_asked = True
            return
        self._next = asyncio.get_running_loop().call_later(WAKE_GAP_S, self._may_again)
        self._function()

    def close(self) -> None:
        """Call it no more."""
        if self._next is not None:
            self._next.cancel()

    def _may_again(self) -> None:
        self._next = None
        if self._is_asked:
            self._is_asked = False
            self()


async def _status(reader: asyncio.StreamReader, on_poke: Callable[[], None]) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    fields = dict(line.lower().split(b":", 1) for line in head[1:] if b":" in line)
    length = fields.get(b"content-length", b"0").strip()
    if not length.isdigit():
        return b"411 Length Required"
    if len(length) > _DIGITS_MAX or int(length) > BODY_BYTES_MAX:
        return b"413 Content Too Large"
    await reader.readexactly(int(length))
    method, _, target = head[0].partition(b" ")
    if target.split(b" ")[0].split(b"?")[0] != b"/poke":
        return b"404 Not Found"
    if method != b"POST":
        return b"405 Method Not Allowed\r\nAllow: POST"
    on_poke()
    return b"204 No Content"
