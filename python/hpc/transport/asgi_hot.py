"""The hot routes: ingest, control, pull, claim and outputs, as ASGI functions before Litestar.

Each hands the raw body and the raw query to the Hub and sends what comes back; none looks into
either. A job goes through four of them one after the other, and Litestar's routing cost nearly as
much as all that is left. A client that leaves while its pull or claim is held is noticed, so that
the Hub can forget it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, cast
from urllib.parse import quote

from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from hpc.ports import HubPorts
from hpc.problems import bad_query
from hpc.protocols import Answer
from hpc.transport.asgi import headers_of, send_answer
from hpc.transport.bodies import BYTES_TYPE, JSON_TYPE, Bodies, form_refusal, type_refusal
from hpc.transport.problems import wrong_method

HOT_ROUTES: Final = {
    "/ingest": "POST",
    "/control": "POST",
    "/pull": "GET",
    "/claim": "POST",
    "/outputs": "POST",
}
"""Path and method of each."""

_Ask = Callable[[str, bytes], Awaitable[Answer]]
_Route = Callable[[Scope, Receive, Send], Awaitable[None]]


class HotRoutes:
    """The handlers, bound to one Hub."""

    def __init__(self, ports: HubPorts) -> None:
        self._ports = ports
        self._bodies = Bodies()

    async def ingest(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /ingest`; the header `Idempotency-Key` goes into the query as `key`."""

        async def ask(query: str, body: bytes) -> Answer:
            key = headers_of(scope).get(b"idempotency-key")
            if key is not None:
                query += ("&" if query else "") + "key=" + quote(key, safe="")
            return await self._ports.ask("ingest", query, body)

        await self._post(scope, receive, send, JSON_TYPE, ask)

    async def control(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /control`."""

        async def ask(query: str, body: bytes) -> Answer:
            return await self._ports.ask("control", query, body)

        await self._post(scope, receive, send, JSON_TYPE, ask)

    async def claim(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /claim`; held until there is something to tell."""

        async def ask(query: str, body: bytes) -> Answer:
            return await unless_left(self._ports.ask("claim", query, body), receive)

        await self._post(scope, receive, send, JSON_TYPE, ask)

    async def outputs(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /outputs`."""

        async def ask(_query: str, body: bytes) -> Answer:
            return await self._ports.post_outputs(body)

        await self._post(scope, receive, send, BYTES_TYPE, ask)

    async def pull(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /pull`; held for as long as its `wait` says."""
        query = query_of(scope)
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        # The (empty) body must be taken before the client can be seen to leave.
        await receive()
        await send_unless_left(send, unless_left(self._ports.ask("pull", query), receive))

    async def _post(
        self, scope: Scope, receive: Receive, send: Send, kind: bytes, ask: _Ask
    ) -> None:
        headers = headers_of(scope)
        query = query_of(scope)
        if refusal := type_refusal(headers, kind):
            await send_answer(send, refusal)
            return
        if isinstance(query, Answer):
            await send_answer(send, query)
            return
        body = await self._bodies.read(headers, receive)
        if body is None:
            return
        if isinstance(body, Answer):
            await send_answer(send, body)
            return
        try:
            refusal = form_refusal(headers, body) if kind == JSON_TYPE else None
            if refusal is not None:
                await send_answer(send, refusal)
                return
            await send_unless_left(send, ask(query, body))
        finally:
            self._bodies.release(len(body))


class HotFirst:
    """The hot routes before an application that has all others."""

    def __init__(self, ports: HubPorts, app: ASGIApp) -> None:
        hot = HotRoutes(ports)
        self._app = app
        self._routes: dict[str, tuple[str, _Route]] = {
            path: (method, getattr(hot, path.removeprefix("/")))
            for path, method in HOT_ROUTES.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or pass it on."""
        path = scope["path"]
        # A slash at the end says nothing, here as on the other routes.
        found = self._routes.get(path) or self._routes.get(path.rstrip("/"))
        if found is None:
            await self._app(scope, receive, send)
            return
        method, route = found
        came = cast("HTTPScope", scope)["method"]
        if came == method:
            await route(scope, receive, send)
        else:
            await send_answer(send, wrong_method(came, method), [(b"allow", method.encode())])


def query_of(scope: Scope) -> str | Answer:
    """Return the raw query, or a 400 if it is not ASCII, as a URL must be."""
    try:
        return scope["query_string"].decode("ascii")
    except UnicodeDecodeError:
        return bad_query("?", "percent-encoded ASCII", scope["query_string"].decode("latin-1"))


async def send_unless_left(send: Send, asked: Awaitable[Answer]) -> None:
    """Send an answer once it is there, and nothing to a client that has left."""
    try:
        answer = await asked
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise  # the server ends us
        return  # the client has left
    await send_answer(send, answer)


async def unless_left(asked: Awaitable[Answer], receive: Receive) -> Answer:
    """Await an answer; cancelled if the client leaves first."""
    asking = asyncio.ensure_future(asked)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        asking.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        return await asking
    finally:
        asking.cancel()
        watching.cancel()
