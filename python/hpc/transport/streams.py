"""Streams: answers that go on, as server-sent events or as raw bytes.

A stream ends when its source does, when the client leaves, or when the client has not taken what
was sent for as long as an idle connection may last; it can come back with the last id it saw. One
whose source is broken, or whose token opens nothing any more, is cut off in its middle, so that its
client knows that this was not all.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Iterable
from typing import Final

import msgspec
from litestar.types import Receive, Scope, Send

from hpc.ports import Chunks, Holder, HubPorts, StreamBroken
from hpc.transport.asgi import Header, holder_of
from hpc.transport.connection import IDLE_S

COMMENT_S: Final = 15.0
"""Between comment lines that keep a stream open."""

COMMENT: Final = b": open\n\n"

EVENTS_PER_READ: Final = 500

SSE: Final[list[Header]] = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
]


class Stream:
    """An answer that goes on, as an ASGI application."""

    def __init__(self, chunks: Chunks, headers: Iterable[Header]) -> None:
        self._chunks = chunks
        self._headers = list(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send chunks until they end or the client is gone; closes them in any case."""
        pumping = asyncio.ensure_future(self._pump(send))

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            pumping.cancel()

        watching = asyncio.ensure_future(watch())
        ending = asyncio.ensure_future(_ended(holder_of(scope)))
        try:
            await asyncio.wait([pumping, ending], return_when=asyncio.FIRST_COMPLETED)
            if pumping.done() and not pumping.cancelled():
                with contextlib.suppress(StreamBroken):  # returning now cuts the connection
                    pumping.result()
        finally:
            watching.cancel()
            ending.cancel()
            pumping.cancel()
            await asyncio.wait([pumping])
            await self._chunks.aclose()

    async def _pump(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        async for chunk in self._chunks:
            async with asyncio.timeout(IDLE_S):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _ended(holder: Holder) -> None:
    """Wait until a token opens nothing any more."""
    left_s = None
    if holder.expires_at is not None:
        left_s = max(holder.expires_at / 1000 - time.time(), 0.0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(left_s):
            await holder.ended.wait()


async def poke_stream(ports: HubPorts, gids: frozenset[str]) -> AsyncGenerator[bytes, None]:
    """Yield pokes as server-sent events until the Hub ends."""
    feed = ports.subscribe_pokes(gids)
    with contextlib.closing(feed):
        yield COMMENT  # sends the headers, so that the client knows that it is subscribed
        while True:
            try:
                async with asyncio.timeout(COMMENT_S):
                    news = await feed.take()
            except TimeoutError:
                yield COMMENT
                continue
            if not news:
                return
            yield b"".join(_poke(gid, seq) for gid, seq in news)


async def event_stream(
    ports: HubPorts, cursor: int, job_id: str | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the events after a cursor, and then new ones, until the Hub ends.

    Args:
        ports: The Hub.
        cursor: What the reader has.
        job_id: Only those that speak of this job; the reader is told how far others have come, so
            that it can come back there.
    """
    news = _Grown(ports) if job_id is None else _JobNews(ports, job_id)
    with contextlib.closing(news):
        yield COMMENT
        while True:
            answer = await ports.events(cursor, EVENTS_PER_READ, job_id)
            if answer.status != 200:  # noqa: PLR2004 - OK
                return
            page = _page.decode(answer.body)
            cursor = page.cursor
            if page.data:
                yield b"".join(_event(event) for event in page.data)
            if page.next is not None:
                continue
            while True:
                try:
                    async with asyncio.timeout(COMMENT_S):
                        is_open = await news.after(cursor)
                except TimeoutError:
                    yield COMMENT if job_id is None else b": open\nid: %d\n\n" % cursor
                    continue
                if not is_open:
                    return
                break


class _Grown:
    """Waits for any event."""

    def __init__(self, ports: HubPorts) -> None:
        self._ports = ports

    async def after(self, cursor: int) -> bool:
        """Wait for an event after a cursor; False once the Hub ends."""
        return await self._ports.grown(cursor) is not None

    def close(self) -> None:
        """Do nothing: nothing was opened."""


class _JobNews:
    """Waits for events that speak of one job."""

    def __init__(self, ports: HubPorts, job_id: str) -> None:
        # Before the first page is read, so that nothing falls between the two.
        self._feed = ports.watch_job(job_id)

    async def after(self, _cursor: int) -> bool:
        """Wait for news since the last page; False once the Hub ends."""
        return await self._feed.changed()

    def close(self) -> None:
        """End the interest in the job."""
        self._feed.close()


class _Page(msgspec.Struct):
    cursor: int
    next: int | None
    data: list[msgspec.Raw]


class _Seq(msgspec.Struct):
    seq: int


_page = msgspec.json.Decoder(_Page)
_seq = msgspec.json.Decoder(_Seq)


def _poke(gid: str, seq: int) -> bytes:
    data = msgspec.json.encode({"gid": gid, "cursor": seq})
    return b"event: poke\nid: %d\ndata: %s\n\n" % (seq, data)


def _event(event: msgspec.Raw) -> bytes:
    body = bytes(event)  # JSON text of the engine: one line, control characters escaped
    return b"id: %d\ndata: %s\n\n" % (_seq.decode(body).seq, body)
