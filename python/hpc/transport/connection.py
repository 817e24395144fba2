"""Connection: uvicorn's HTTP/1.1 protocol with deadlines, limits and problem documents.

The head of an answer leaves with the beginning of its body: one packet, and one wake-up of whoever
waits for it.

A request's head must arrive within 10 s and be at most 64 KiB, a body within 30 s or at 2 kB/s; a
connection that is idle or whose peer no longer answers is cut at 75 s. Timers are armed only where
a packet ends in the middle of a request, so that an ordinary request costs none. Parsing stays
uvicorn's and httptools', but for a request that is the one before it with another body; requests of
hot routes become an `Exchange` and do not go through ASGI.
"""

from __future__ import annotations

import asyncio
import enum
import resource
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

from hpc.problems import problem
from hpc.protocols import Answer
from hpc.transport.admission import Head, Recent
from hpc.transport.asgi import answer_headers
from hpc.transport.exchange import Exchange
from hpc.transport.hot_routes import HotRoutes, Route
from hpc.transport.problems import busy, too_slow
from hpc.transport.sockets import watch

HEAD_S: Final = 10.0
"""From the first byte of a request to the end of its headers."""

BODY_S: Final = 30.0
"""From the end of the headers to the end of the body, unless it comes as fast as it must."""

BODY_BYTES_PER_S_MIN: Final = 2_000
"""A body that comes so fast is awaited: a slow line delivers too. Looked at every `BODY_S`."""

IDLE_S: Final = 75
"""Between requests; also how long a silent peer is believed to be there."""

HEAD_BYTES_MAX: Final = 64 * 1024

PIPELINED_MAX: Final = 16
"""Requests that may wait on one connection for the answer to an earlier one, before it is not read
any more; while it is read, it is seen to end."""

CONNECTIONS_MAX: Final = 4096
"""Fewer where the process may not open so many files."""

FILES_RESERVED: Final = 128
"""Open files that are for the log and for output: whoever dials must not be able to take all."""


def connections_max() -> int:
    """Return how many connections may be open now, by the process's limit of open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(min(CONNECTIONS_MAX, soft - FILES_RESERVED), 1)


_HEAD: Final = b"HTTP/1.1 "

_JOINED_BYTES_MAX: Final = 64 * 1024
"""A longer body is not copied behind its head."""


class _Joined:
    """A transport that keeps a head until the body comes, in the same round of the event loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if data.startswith(_HEAD) and not self._head:
            self._head = data
            # A stream may have nothing to say yet.
            self._loop.call_soon(self._flush)
            return
        head, self._head = self._head, b""
        if head and len(data) > _JOINED_BYTES_MAX:
            self._transport.writelines((head, data))
        else:
            self._transport.write(head + data)

    def write_whole(self, packet: bytes) -> None:
        """Write an answer that is whole."""
        self._flush()
        if not self._transport.is_closing():
            self._transport.write(packet)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(head)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


_LENGTH: Final = b"content-length: "

_END: Final = b"\r\n\r\n"

_DIGITS_MAX: Final = 9
"""Of the length of a body that comes in one packet with its head."""

_KNOWN_BYTES_MAX: Final = 4096
"""A longer head is parsed each time: there may be thousands of connections, and each keeps one."""

_ALONE: Final = frozenset({b"transfer-encoding", b"connection", b"upgrade", b"expect"})
"""Headers that say more of a connection than of the request."""


class _Known(NamedTuple):
    """A request whose head ended with the length of its body, and came in one packet with it.

    A client sends the next one with the same head, but for that number: it is not parsed again.

    Attributes:
        head: Up to the number.
        request: As it was parsed.
        route: The one that it is for.
    """

    head: bytes
    request: Head
    route: Route

    def body_of(self, packet: bytes) -> tuple[bytes, bytes] | None:
        """Return length and body of a packet that is a whole request with this head, or None."""
        if not packet.startswith(self.head):
            return None
        start = len(self.head)
        end = packet.find(_END, start, start + _DIGITS_MAX + len(_END))
        length = packet[start:end] if end > 0 else b""
        body = packet[end + len(_END) :]
        return (length, body) if length.isdigit() and int(length) == len(body) else None


class _Phase(enum.Enum):
    BETWEEN = 0
    HEAD = 1
    BODY = 2


class Connection(HttpToolsProtocol):
    """One client's connection."""

    _phase = _Phase.BETWEEN
    _requests = 0
    _head_bytes = 0
    _body_bytes = 0
    """Since it began, or was looked at last."""
    _timed: tuple[int, _Phase] | None = None
    _timer: asyncio.TimerHandle | None = None
    _current: RequestResponseCycle | None = None
    """The one that is being answered, or was last; an `Exchange` has its attributes."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        hot_routes: HotRoutes,
    ) -> None:
        """Take what uvicorn hands to a protocol, and the hot routes."""
        super().__init__(config, server_state, app_state, _loop)
        self._hot_routes = hot_routes
        self._recent = Recent()
        self._known: _Known | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if there are too many."""
        joined = _Joined(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", joined))
        self.timeout_keep_alive = IDLE_S
        sock = transport.get_extra_info("socket")
        if sock is not None:
            watch(sock, gone_s=IDLE_S)
        most = connections_max()
        if len(self.connections) > most:
            self._refuse(busy(f"{most} connections are open"))
        else:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Disarm the timers."""
        self._unset_timer()
        self._unset_keepalive_if_required()
        waiting = [cycle for cycle, _ in self.pipeline]
        for cycle in (self._current, *waiting):
            if isinstance(cycle, Exchange):
                cycle.leave()
            elif cycle is not None and not cycle.response_complete:
                cycle.disconnected = True  # uvicorn tells only the last one that came
                cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then see whether the packet ended in the middle of a request."""
        before = (self._requests, self._phase)
        if self._phase is _Phase.BETWEEN and self._came_again(data):
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._phase is _Phase.BODY:
            self._body_bytes += len(data)
        if self._phase is _Phase.HEAD and before == (self._requests, self._phase):
            # Where a head begins in a packet, other requests may lie before it.
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(_head_too_large())
                return
        if self._phase is _Phase.BETWEEN:
            if before == (self._requests - 1, _Phase.BETWEEN):
                self._note(data)
            self._unset_timer()
            self._await_request()
        elif self._timed != (self._requests, self._phase):
            self._unset_timer()
            self._timed = (self._requests, self._phase)
            limit_s = HEAD_S if self._phase is _Phase.HEAD else BODY_S
            self._timer = self.loop.call_later(limit_s, self._cut_off, limit_s)

    def _came_again(self, data: bytes) -> bool:
        """Take a packet if it is a request like one before it, but for the body."""
        if self._known is None or not self._has_answered_all() or self.pipeline:
            return False
        again = self._known.body_of(data)
        if again is None:
            return False
        self._unset_keepalive_if_required()
        self._requests += 1
        length, body = again
        _, request, route = self._known
        headers = {**request.headers, b"content-length": length}
        exchange = self._exchange(route, request._replace(headers=headers), keep_alive=True)
        self.cycle = self._current = cast("RequestResponseCycle", exchange)
        exchange.begin()
        if body:
            exchange.take(body)
        exchange.end()
        return True

    def _note(self, packet: bytes) -> None:
        """Remember a request that was parsed, if the next one like it can be told by its bytes."""
        exchange = self.cycle
        if not isinstance(exchange, Exchange) or exchange.route.body_type is None:
            return
        start = packet.rfind(b"\r\n", 0, packet.find(_END)) + 2
        name = packet[start : start + len(_LENGTH)]
        if name.lower() != _LENGTH or start > _KNOWN_BYTES_MAX:
            return
        known = _Known(packet[: start + len(name)], exchange.request, exchange.route)
        headers = exchange.request.headers
        is_plain = exchange.keep_alive and not _ALONE & headers.keys()
        again = known.body_of(packet)
        # The parser must have found the same length: else it is not there that the head has ended.
        if is_plain and again is not None and again[0] == headers.get(_LENGTH[:-2]):
            self._known = known

    def on_message_begin(self) -> None:
        """Note that a request has begun."""
        self._phase = _Phase.HEAD
        self._requests += 1
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the body comes next."""
        self._phase = _Phase.BODY
        self._body_bytes = 0
        before = self.cycle
        exchange = self._parsed()
        if exchange is None:
            super().on_headers_complete()
            return
        self.cycle = cast("RequestResponseCycle", exchange)
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            # It came before the last one was answered; uvicorn takes it up after that.
            self.pipeline.appendleft((self.cycle, self.app))
            if len(self.pipeline) >= PIPELINED_MAX:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        if isinstance(self.cycle, Exchange):
            self.cycle.take(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._phase = _Phase.BETWEEN
        if isinstance(self.cycle, Exchange):
            self.cycle.end()
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, as a problem document and not as plain text."""
        self._refuse(
            problem(
                400,
                "bad_http",
                "The request is not HTTP/1.1",
                msg.rstrip("."),
                "look at the request line and the headers",
            )
        )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._current = cycle
        if not isinstance(cycle, Exchange):
            super()._start_asgi_task(cycle, app)
        elif cycle is self.cycle:
            cycle.begin()
        else:
            # Not at once: each of a thousand in one packet would begin inside the one before it.
            self.loop.call_soon(cycle.begin)

    def _parsed(self) -> Exchange | None:
        """Return the exchange of a request whose head is there, or None if its route is not hot."""
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        request = Head(
            self.parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            url.query or b"",
            dict(self.headers),
            self.client[0] if self.client else "",
            self._recent,
        )
        route = self._hot_routes.find(request)
        if route is None:
            return None
        return self._exchange(
            route,
            request,
            keep_alive=self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive(),
            expects_100=self.expect_100_continue,
        )

    def _exchange(
        self, route: Route, request: Head, *, keep_alive: bool, expects_100: bool = False
    ) -> Exchange:
        joined = cast("_Joined", self.transport)
        return Exchange(
            self._hot_routes,
            route,
            request,
            write=joined.write_whole,
            close=joined.close,
            flow=self.flow,
            loop=self.loop,
            default_headers=self.server_state.default_headers,
            keep_alive=keep_alive,
            expects_100=expects_100,
            on_response=self.on_response_complete,
        )

    def _has_answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_started

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _has_answered_all(self) -> bool:
        return self._current is None or self._current.response_complete

    def _await_request(self) -> None:
        """Arm uvicorn's own idle timer where it does not: before a first whole request."""
        if self.timeout_keep_alive_task is None and not self._is_answering():
            self.timeout_keep_alive_task = self.loop.call_later(
                IDLE_S, self.timeout_keep_alive_handler
            )

    def _cut_off(self, limit_s: float) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        is_body = self._phase is _Phase.BODY
        is_coming = self._body_bytes >= BODY_BYTES_PER_S_MIN * limit_s
        if is_body and is_coming and not self._has_answered():
            self._body_bytes = 0
            self._timer = self.loop.call_later(limit_s, self._cut_off, limit_s)
            return
        is_behind = self._current is not self.cycle and not self._has_answered_all()
        if is_behind or (
            self.cycle is not None
            and (self.cycle.response_started if is_body else self._is_answering())
        ):
            # An answer is under way or done, or is another request's; ours would be taken for it.
            self.transport.close()
        else:
            self._refuse(too_slow("body" if is_body else "head", limit_s))

    def _refuse(self, answer: Answer) -> None:
        """Answer past the application, which is not to see this request, and close."""
        content = [STATUS_LINE[answer.status]]
        for name, value in (*self.server_state.default_headers, *answer_headers(answer)):
            content += [name, b": ", value, b"\r\n"]
        content += [b"connection: close\r\n\r\n", answer.body]
        self.transport.write(b"".join(content))
        self.transport.close()

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = None


def _head_too_large() -> Answer:
    return problem(
        431,
        "head_too_large",
        "The request's head is too large",
        f"request line and headers must be at most {HEAD_BYTES_MAX} bytes",
        "put data into the body",
    )
