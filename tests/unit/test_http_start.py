"""A Hub that starts: who comes early waits for it, and is told why where that takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from scripted_hub import TOKEN, ScriptedHub

from hpc.transport import http_serving
from hpc.transport.http_server import HttpTransport

REQUEST = f"GET /schema HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()

pytestmark = pytest.mark.timeout(30)


class StartingHub(ScriptedHub):
    """Becomes ready by what it is handed, which is told the URL."""

    def __init__(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self.is_ready = False
        self._meanwhile = meanwhile

    async def wait_ready(self) -> None:
        await self._meanwhile()
        self.is_ready = True


async def status_of_early(meanwhile: Callable[[], Awaitable[object]]) -> bytes:
    """Send a request before anything is accepted; the status line of its answer."""
    listening, stop = asyncio.get_running_loop().create_future(), asyncio.Event()
    serving = asyncio.ensure_future(
        HttpTransport().serve(
            StartingHub(meanwhile),
            host="127.0.0.1",
            port=0,
            on_listening=listening.set_result,
            stop=stop,
        )
    )
    port = int((await listening).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(REQUEST)
        return await reader.readline()
    finally:
        writer.close()
        stop.set()
        await serving


def test_who_comes_while_the_hub_starts_is_answered_once_it_is_ready() -> None:
    """Not refused, nor told to come again in a second: work goes on as soon as it can."""
    assert asyncio.run(status_of_early(lambda: asyncio.sleep(0))).startswith(b"HTTP/1.1 200")


def test_a_hub_that_takes_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of millions is read for seconds: a client should know that somebody is there."""
    monkeypatch.setattr(http_serving, "HELD_S", 0.0)

    async def meanwhile() -> None:
        await asyncio.Future()

    assert asyncio.run(status_of_early(meanwhile)).startswith(b"HTTP/1.1 503")
