"""Edge: what holds for every request, before any route sees it.

In this order: the token, the protocol version, and whether the Hub is ready. What is answered in
JSON goes out as MessagePack where the client asks for that.

Whatever a route lets escape becomes a 503 with a problem document; the traceback goes to
stderr, never to a client.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from hpc._core import PROTOCOL_VERSION
from hpc.ports import HubPorts
from hpc.protocols import Answer
from hpc.transport.asgi import HEADERS, Header, in_msgpack, send_answer
from hpc.transport.auth import CHALLENGE, OPEN_PATHS, auth_refusal
from hpc.transport.bodies import wants_msgpack
from hpc.transport.problems import internal, not_ready, wrong_protocol

UNAUTHORIZED: Final = 401
UPGRADE_REQUIRED: Final = 426


class Edge:
    """The outermost ASGI application."""

    def __init__(self, ports: HubPorts, app: ASGIApp) -> None:
        self._ports = ports
        self._app = app
        self._version = b"%d" % PROTOCOL_VERSION

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request or pass it on."""
        headers = dict(scope["headers"])
        cast("dict[str, Any]", scope)[HEADERS] = headers
        if wants_msgpack(headers):
            send = in_msgpack(send)
        # The open routes tell nothing but ok; asking them for more needs the token.
        if scope["path"] not in OPEN_PATHS or scope["query_string"]:
            refusal = self._refusal(headers)
            if refusal is not None:
                await send_answer(send, refusal, self._headers_of(refusal))
                return
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

    def _refusal(self, headers: Mapping[bytes, bytes]) -> Answer | None:
        if refusal := auth_refusal(headers, self._ports.token_sha256):
            return refusal
        version = headers.get(b"hpc-protocol", self._version)
        if version.strip() != self._version:
            return wrong_protocol(version.decode("latin-1"), PROTOCOL_VERSION)
        if not self._ports.is_ready:
            return not_ready()
        return None

    def _headers_of(self, refusal: Answer) -> list[Header]:
        if refusal.status == UNAUTHORIZED:
            return CHALLENGE
        if refusal.status == UPGRADE_REQUIRED:
            return [(b"upgrade", b"hpc/" + self._version)]
        return []
