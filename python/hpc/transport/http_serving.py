"""HTTP as it is served: Litestar on uvicorn (uvloop, httptools), by TLS or plain.

| file             | what is there                                                           |
|------------------|-------------------------------------------------------------------------|
| `http_server.py` | the address, and listening there                                        |
| `connection.py`  | one connection: deadlines and limits of HTTP itself                     |
| `admission.py`   | what holds for every request: token, version, readiness, role           |
| `authorisation.py` | which role opens which route: the one table                            |
| `hot_routes.py`  | ingest, control, pull, claim, outputs, the wait for a job's end         |
| `exchange.py`    | one request of a hot route and its answer, without ASGI                 |
| `tls_listener.py` | connections until TLS is agreed upon                                   |
| `edge.py`        | the outermost ASGI application, before Litestar                         |
| `routes_read.py` | the read routes                                                         |
| `routes_ui.py`   | the dashboard's files and where it logs in; what comes of it: `sessions.py` |
| `streams.py`     | server-sent events, output as it comes                                  |
| `openapi.py`     | the document at `/schema`, with `openapi_schemas.py`, `openapi_refusals.py` |
| `metrics.py`     | the figures as OpenMetrics                                              |

It never looks into a body and knows the Hub by its ports alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, cast

import uvicorn
from litestar import Litestar, Request
from litestar.exceptions import HTTPException
from litestar.response import Response

from hpc._core import PROTOCOL_VERSION
from hpc.ports import HubPorts
from hpc.problems import internal, problem
from hpc.protocols import Answer
from hpc.transport.admission import Gate
from hpc.transport.connection import Connection
from hpc.transport.edge import Edge
from hpc.transport.hot_routes import HotRoutes
from hpc.transport.http_server import BACKLOG
from hpc.transport.problems import no_route, wrong_method
from hpc.transport.routes_read import read_handlers
from hpc.transport.routes_ui import ui_handlers
from hpc.transport.tls_listener import TlsListener

HELD_S: Final = 1.0
"""So long whoever comes while the log is recovered is not answered; then it is told that it is."""

CLOSING_S: Final = 3
"""How long connections may take to end when the Hub does."""

NOT_FOUND: Final = 404
WRONG_METHOD: Final = 405

CUT_ON_PURPOSE: Final = "ASGI callable returned without completing response."
"""uvicorn's word for it; see streams.py."""


async def serve_on(
    sock: socket.socket, ports: HubPorts, *, tls: ssl.SSLContext | None, stop: asyncio.Event
) -> None:
    """Serve at a socket that listens until `stop` is set, then finish what is being answered.

    Connections are accepted once the Hub is ready; if it takes long, then before that, so that it
    can be seen to be alive.
    """
    gate = Gate(ports)
    headers = [("hpc-hub", ports.hub_id), ("hpc-protocol", str(PROTOCOL_VERSION))]
    if ports.lineage != ports.hub_id:
        headers.append(("hpc-lineage", ports.lineage))
    hot_routes = HotRoutes(ports, gate)
    config = uvicorn.Config(
        _app(ports, gate),
        http=cast("Any", functools.partial(Connection, hot_routes=hot_routes)),
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=CLOSING_S,
        headers=headers,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != CUT_ON_PURPOSE)
    await _Server(config, tls, ports.accepts, ports.wait_ready, stop).serve(sockets=[sock])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers and without its tick, which wakes ten times a second."""

    def __init__(
        self,
        config: uvicorn.Config,
        tls: ssl.SSLContext | None,
        accepts: Callable[[str], bool],
        ready: Callable[[], Coroutine[Any, Any, object]],
        stop: asyncio.Event,
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._accepts = accepts
        self._ready = ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, once the Hub is ready or has kept them waiting for long enough."""
        waits = [asyncio.ensure_future(wait()) for wait in (self._ready, self._stop.wait)]
        await asyncio.wait(waits, timeout=HELD_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        # Before a connection is accepted: what each answer has is put together with the first.
        self.server_state.default_headers = self.config.encoded_headers
        if self._tls is None:
            await super().startup(sockets)
        else:
            self.servers = [
                cast("asyncio.Server", self._secured(sock, self._tls)) for sock in sockets or []
            ]
            self.started = True

    async def main_loop(self) -> None:
        """Wait for the Hub's end."""
        await self._stop.wait()

    def _secured(self, sock: socket.socket, tls: ssl.SSLContext) -> TlsListener:
        config, state = self.config, self.server_state
        make = functools.partial(cast("Any", config.http_protocol_class), config, state, {})
        return TlsListener(
            sock, tls, make, lambda: len(state.connections), self._accepts, backlog=BACKLOG
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the Hub."""
        yield


def _app(ports: HubPorts, gate: Gate) -> Edge:
    app = Litestar(
        route_handlers=[*read_handlers(ports, gate), *ui_handlers(ports, gate)],
        openapi_config=None,
        exception_handlers={HTTPException: _refused, Exception: _failed},
        logging_config=None,
        pdb_on_exception=False,
        debug=False,
    )
    return Edge(gate, app)


def _refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what Litestar's routing refuses as a problem document."""
    headers = dict(error.headers or {})
    if error.status_code == NOT_FOUND:
        answer = no_route(request.scope["path"])
    elif error.status_code == WRONG_METHOD:
        headers = {"allow": "GET"}
        answer = wrong_method(request.method, "GET")
    else:
        answer = _other(error)
    return _response(answer, headers)


def _failed(_request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a fault of ours; the traceback goes to stderr, nothing of it to the client."""
    traceback.print_exception(error, file=sys.stderr)
    return _response(internal(), {})


def _response(answer: Answer, headers: dict[str, str]) -> Response[bytes]:
    return Response(
        answer.body,
        status_code=answer.status,
        headers=headers,
        media_type="application/problem+json",
    )


def _other(error: HTTPException) -> Answer:
    status = error.status_code if 400 <= error.status_code < 500 else 400  # noqa: PLR2004
    return problem(status, "bad_request", "The request cannot be read", error.detail)
