"""A Hub by its ports alone, whose answers a test scripts, behind a real HttpTransport."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import uvloop

from hpc.hub.feeds import Feeds
from hpc.ports import Answered, Holder, JobFeed, LogQuery, LogReading, PokeFeed
from hpc.problems import stopping
from hpc.protocols import Answer
from hpc.transport.http_server import HttpTransport

TOKEN = "a-token-of-tests"
DEADLINE_S = 20.0


class ScriptedHub:
    """Answers by `script`; a request whose script returns None is held until it is released."""

    hub_id = lineage = "scripted-hub"

    def __init__(self) -> None:
        self.holders = {TOKEN.encode(): Holder("access", "admin")}
        """By token; a test may add others."""
        self.turned_away: set[str] = set()
        """Addresses whose connections are not read."""
        self.senders: list[str] = []
        """Who sent what was put."""
        self.is_ready = True
        self.asked: list[tuple[str, str, bytes]] = []
        self.left: list[str] = []
        self.script: Callable[[str, str, bytes], Answer | None] = lambda *_: Answer(200, b"{}")
        self.reading: LogReading | Answer = Answer(404, b"{}")
        self.log_queries: list[tuple[str, LogQuery]] = []
        self.pages: Callable[[int, int], bytes] = lambda cursor, _limit: json.dumps(
            {"cursor": cursor, "data": [], "next": None}
        ).encode()
        self.jobs_read: list[str | None] = []
        self.feeds = Feeds(0)
        self.held: asyncio.Event | None = None
        self.waiting: Answered | None = None
        """Who waits for the answer to a request that was put and is held."""

    async def ask(self, verb: str, query: str, body: bytes = b"") -> Answer:
        if verb == "totals":
            return Answer(200, b'{"data":{}}')
        self.asked.append((verb, query, body))
        answer = self.script(verb, query, body)
        if answer is None:
            self.held = asyncio.Event()
            try:
                await self.held.wait()
            except asyncio.CancelledError:
                self.left.append(verb)
                raise
            return stopping()
        return answer

    async def wait_ready(self) -> None:
        """It is."""

    def figures(self) -> dict[str, int]:
        return {"requests": len(self.asked)}

    def accepts(self, peer: str) -> bool:
        return peer not in self.turned_away

    def holder(self, token: bytes) -> Holder | None:
        return self.holders.get(token)

    def tokens(self) -> Answer:
        return Answer(200, b'{"cursor":0,"data":[]}')

    def put(
        self, verb: str, query: str, body: bytes, answered: Answered, who: str
    ) -> Callable[[], None]:
        self.senders.append(who)
        self.asked.append((verb, query, body))
        answer = self.script(verb, query, body)
        if answer is None:
            self.held = asyncio.Event()
            self.waiting = answered
        else:
            answered(answer)
        return lambda: self.left.append(verb)

    def put_outputs(self, pack: bytes, answered: Answered) -> None:
        self.asked.append(("outputs", "", pack))
        answered(Answer(200, b'{"bytes":%d}' % len(pack)))

    async def explain(self, query: str) -> Answer:
        return await self.ask("explain", query)

    async def conflicts(self, query: str) -> Answer:
        return await self.ask("conflicts", query)

    async def tasks(self, job_id: str, query: str) -> Answer:
        return await self.ask("tasks", f"job_id={job_id}&{query}")

    async def diff(self, query: str) -> Answer:
        return await self.ask("diff", query)

    async def events(self, cursor: int, limit: int, job_id: str | None = None) -> Answer:
        self.jobs_read.append(job_id)
        return Answer(200, self.pages(cursor, limit))

    def watch_job(self, job_id: str) -> JobFeed:
        return self.feeds.watch(job_id)

    async def grown(self, seq: int) -> int | None:
        return await self.feeds.grown(seq)

    def subscribe_pokes(self, gids: frozenset[str]) -> PokeFeed:
        return self.feeds.subscribe(gids)

    async def job_log(self, job_id: str, query: LogQuery) -> LogReading | Answer:
        self.log_queries.append((job_id, query))
        return self.reading


class Served:
    """A running transport and how to talk to it."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.port = urlsplit(url).port or 0
        self.loop = loop

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function on the server's loop and return what it returns."""

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(DEADLINE_S)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own; headers come back in lower case."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            sent = {} if token is None else {"Authorization": f"Bearer {token}"}
            if body is not None:
                sent["Content-Type"] = "application/json"
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return (
                answer.status,
                {name.lower(): value for name, value in answer.getheaders()},
                answer.read(),
            )


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition of another thread, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come"
        time.sleep(0.001)


@contextlib.contextmanager
def dialled(served: Served) -> Iterator[socket.socket]:
    """A connection of a test's own."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=DEADLINE_S) as sock:
        yield sock


@contextlib.contextmanager
def serving(hub: ScriptedHub, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """Serve a scripted Hub on a free port, in a thread of its own."""
    started: list[tuple[str, asyncio.AbstractEventLoop]] = []
    stops: list[asyncio.Event] = []
    ready = threading.Event()

    async def main() -> None:
        stop = asyncio.Event()
        stops.append(stop)

        def on_listening(url: str) -> None:
            started.append((url, asyncio.get_running_loop()))
            ready.set()

        await HttpTransport().serve(
            hub, host="127.0.0.1", port=0, tls=tls, on_listening=on_listening, stop=stop
        )

    thread = threading.Thread(target=lambda: uvloop.run(main()), daemon=True)
    thread.start()
    assert ready.wait(DEADLINE_S), "the transport did not start"
    served = Served(*started[0])
    try:
        yield served
    finally:
        served.call(hub.feeds.close)
        if hub.held is not None:
            served.call(hub.held.set)
        served.call(stops[0].set)
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "the transport did not end"


async def chunks(*parts: bytes) -> AsyncGenerator[bytes, None]:
    """Yield the parts."""
    for part in parts:
        yield part
