"""Edge: what holds for every request that goes through ASGI, before any route sees it.

Who may not go on is refused (admission.py). What is answered in JSON goes out as MessagePack where
the client asks for that, and what is answered below `/ui` with what keeps a page within bounds.

Whatever a route lets escape becomes a 503 with a problem document; the traceback goes to
stderr, never to a client.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from hpc.problems import internal
from hpc.transport.admission import Gate, Head, Refusal
from hpc.transport.asgi import HEAD, HOLDER, in_msgpack, send_answer, with_headers
from hpc.transport.bodies import wants_msgpack
from hpc.transport.routes_ui import PAGE_HEADERS, UI


class Edge:
    """The outermost ASGI application."""

    def __init__(self, gate: Gate, app: ASGIApp) -> None:
        self._gate = gate
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        headers = dict(scope["headers"])
        left = cast("dict[str, Any]", scope)
        if _is_page(scope["path"]):
            send = with_headers(send, PAGE_HEADERS)
        if wants_msgpack(headers):
            send = in_msgpack(send)
        peer = left.get("client") or ("",)
        head = Head(left["method"], scope["path"], scope["query_string"], headers, peer[0])
        left[HEAD] = head
        admitted = self._gate.admit(head)
        if isinstance(admitted, Refusal):
            await send_answer(send, *admitted)
            return
        left[HOLDER] = admitted
        has_started = False

        async def watched(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # nothing of ours may reach a client
            traceback.print_exception(error, file=sys.stderr)
            if has_started:
                raise  # uvicorn closes the connection, so that the client sees it was cut
            await send_answer(send, internal())


def _is_page(path: str) -> bool:
    return path == UI or path.startswith(f"{UI}/")
