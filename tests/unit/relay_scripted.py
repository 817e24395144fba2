"""A Hub that answers by a script over real HTTP, a supervisor link that notes orders, a set clock.

For the tests of the relay's and the monitor's loops; they share no code with the Hub.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from hpc.config import Access
from hpc.domain import Work
from hpc.errors import Refused
from hpc.transport.http_async import AccessSource, Lane

DEADLINE_S = 20.0
TOKEN = "t0ken"


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run one test's coroutine, with a deadline."""

    async def within() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await test

    asyncio.run(within())


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Response(NamedTuple):
    """What the Hub answers; status 0 closes the connection without an answer."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = MappingProxyType({})


Script = Callable[[Request], Awaitable[Response]]


class ScriptedHub:
    """Answers requests by a script; `/healthz` by itself."""

    def __init__(self, script: Script, *, hub_id: str = "hub-a") -> None:
        self.script = script
        self.hub_id = hub_id
        self.token = TOKEN
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> ScriptedHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    def source(self) -> AccessSource:
        return AccessSource(lambda: Access(self.url, TOKEN))

    def lane(self, check: Callable[[str | None], None] | None = None) -> Lane:
        return Lane(self.source(), check=check)

    def seen(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path.split("?")[0] == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (EOFError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, path, headers, body)
        if path == "/healthz":
            response = Response(200, {"ok": True})
        elif headers.get("authorization") != f"Bearer {self.token}":
            response = Response(401, {"status": 401, "code": "unauthorized", "detail": "no"})
        else:
            self.requests.append(request)
            response = await self.script(request)
        if response.status == 0:
            return False
        content = response.body
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        extra = "".join(f"{k}: {v}\r\n" for k, v in response.headers.items())
        writer.write(
            f"HTTP/1.1 {response.status} X\r\nhpc-hub: {self.hub_id}\r\n{extra}"
            f"content-length: {len(content)}\r\n\r\n".encode()
            + content
        )
        await writer.drain()
        return True


class SetClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000_000
        self.boot = 50_000

    def wall_ms(self) -> int:
        return self.wall

    def boottime_ms(self) -> int:
        return self.boot

    def advance(self, ms: int) -> None:
        self.wall += ms
        self.boot += ms


class Reported(NamedTuple):
    origin: str
    n: int
    body: bytes
    outputs: bytes = b""


class ScriptedLink:
    """Notes every order; batches and chunks come from the test."""

    def __init__(self) -> None:
        self.orders: list[tuple[Any, ...]] = []
        self.held: list[dict[str, Any]] = []
        self.old: list[str] = []
        self.batches: asyncio.Queue[Reported] = asyncio.Queue()
        self.old_batches: asyncio.Queue[Reported] = asyncio.Queue()
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._changed = asyncio.Condition()

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [order[1:] for order in self.orders if order[0] == name]

    async def until(self, name: str, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until an order was given so often; returns all of them."""
        while len(self.named(name)) < count:
            await asyncio.sleep(0.002)
        return self.named(name)

    def run(self, works: list[Work]) -> None:
        try:
            msgspec.json.encode(works)  # as the real one does
        except UnicodeEncodeError as error:
            raise Refused("Handler plans what cannot be told") from error
        self.orders.append(("run", works))

    def refuse(self, work: Work, detail: str) -> None:
        self.orders.append(("refuse", work, detail))

    def cancel(self, job_id: str, attempt: int, tasks: str, reason: str) -> None:
        self.orders.append(("cancel", job_id, attempt, tasks, reason))

    def give_back(self, job_id: str, attempt: int, tasks: str) -> None:
        self.orders.append(("give_back", job_id, attempt, tasks))

    def fence(self, boottime_ms: int) -> None:
        self.orders.append(("fence", boottime_ms))

    def lost(self) -> None:
        self.orders.append(("lost",))

    def drain(self, grace_s: float) -> None:
        self.orders.append(("drain", grace_s))

    def tail(self, streams: list[dict[str, Any]]) -> None:
        self.orders.append(("tail", streams))

    def flush(self) -> None:
        pass

    def acked(self, origin: str, n: int) -> None:
        self.orders.append(("acked", origin, n))

    def refused(self, origin: str, n: int, events: Any) -> None:
        self.orders.append(("refused", origin, n, tuple(events)))

    def adopt(self, origins: Any) -> None:
        self.orders.append(("adopt", *origins))

    async def holds(self) -> bytes:
        return json.dumps(self.held).encode()

    async def next_batch(self) -> Reported:
        return await self.batches.get()

    async def next_old_batch(self) -> Reported:
        return await self.old_batches.get()

    async def next_chunks(self) -> bytes:
        return await self.chunks.get()

    async def idle(self) -> None:
        return


class Book:
    """The node's counter and hubs, in memory; notes the order of things beside the link's."""

    def __init__(self, epoch: int = 0) -> None:
        self.epoch = epoch
        self.hubs: dict[str, str] = {}
        self.fails_above: int | None = None

    def raise_epoch(self, *, above: int = 0) -> int:
        if self.fails_above is not None and max(self.epoch, above) >= self.fails_above:
            raise OSError(errno.ENOSPC, "no space")
        self.epoch = max(self.epoch, above) + 1
        return self.epoch

    def reach_epoch(self, least: int) -> int:
        self.epoch = max(self.epoch, least)
        return self.epoch

    def remember_hub(self, session: str, hub_id: str) -> None:
        self.hubs[session] = hub_id

    def hub_of(self, session: str) -> str | None:
        return self.hubs.get(session)
