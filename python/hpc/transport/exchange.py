"""Exchange: one request of a hot route and its answer, in the callbacks of parser and Hub.

It stands where uvicorn has its `RequestResponseCycle`, with the attributes that uvicorn's protocol
reads, so that keep-alive, pipelining and shutdown stay uvicorn's. There is no task, no message and
no round of the event loop in it: the head is judged once it is there, the body goes to the Hub with
its last byte, and the answer is written when the Hub calls back, whole.
"""

from __future__ import annotations

import sys
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from typing import Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hpc._core import msgpack_of_json
from hpc.problems import internal
from hpc.protocols import Answer
from hpc.transport.admission import Head, Refusal
from hpc.transport.asgi import MSGPACK, Header, answer_headers
from hpc.transport.bodies import wants_msgpack
from hpc.transport.hot_routes import HotRoutes, Route

OK: Final = 200

FORBIDDEN: Final = 403

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Unheard:
    """In place of the event by which uvicorn wakes a cycle."""

    def set(self) -> None:
        """Wake nobody."""


class Exchange:
    """One request, and its answer.

    Args:
        routes: The Hub's hot routes.
        route: The one that this request is for.
        request: Its head.
        write: Writes bytes, head and body together.
        close: Closes the connection, once what was written has left.
        flow: Whether the client reads what is written.
        loop: The event loop.
        default_headers: What each answer has.
        keep_alive: Whether the connection stays open after the answer.
        expects_100: Whether the client waits with the body for a word.
        on_response: Called once the answer is written.

    Attributes:
        route: The one that this request is for.
        request: Its head.
        disconnected: The client has left.
        response_started: Something of the answer was written.
        response_complete: All of it was.
    """

    message_event: Final = _Unheard()

    def __init__(
        self,
        routes: HotRoutes,
        route: Route,
        request: Head,
        *,
        write: Callable[[bytes], None],
        close: Callable[[], None],
        flow: FlowControl,
        loop: AbstractEventLoop,
        default_headers: list[Header],
        keep_alive: bool,
        expects_100: bool,
        on_response: Callable[[], None],
    ) -> None:
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_started = False
        self.response_complete = False
        self.route = route
        self.request = request
        self._routes = routes
        self._write = write
        self._close = close
        self._flow = flow
        self._loop = loop
        self._default_headers = default_headers
        self._expects_100 = expects_100
        self._on_response = on_response
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_begun = False
        self._is_whole = False
        self._is_put = False
        self._who = ""
        self._leave: Callable[[], None] | None = None

    def begin(self) -> None:
        """Judge the head, once the answer to the request before has been written."""
        if self.disconnected:
            return
        self._is_begun = True
        admitted = self._routes.admit(self.route, self.request)
        if isinstance(admitted, Refusal):
            self._answer(*admitted)
            return
        self._who = admitted.who(self.request.peer)
        length = self.request.headers.get(b"content-length")
        has_body = self.route.body_type is not None
        if has_body and (answer := self._routes.bodies.refusal(self._size, length)):
            self._answer(answer)
        elif self._is_whole:
            self._put()
        elif self._expects_100:
            self._write(_CONTINUE)

    def take(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self.response_started or self.disconnected:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        self._routes.bodies.hold(len(piece))
        if not self._is_begun:
            if self._size > HIGH_WATER_LIMIT:
                self._flow.pause_reading()
        elif answer := self._routes.bodies.refusal(self._size, None):
            self._answer(answer)

    def end(self) -> None:
        """Take note that the request is whole."""
        self._is_whole = True
        if self._is_begun and not self.response_started:
            self._put()

    def leave(self) -> None:
        """Take note that the client has left."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        if self._leave is not None:
            self._leave()
            self._release()
        elif not self._is_put:
            self._pieces.clear()
            self._release()

    def _put(self) -> None:
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._is_put = True
        try:
            leave = self._routes.put(self.route, self.request, self._who, body, self._answer)
        except Exception as error:  # nothing of ours may reach a client
            traceback.print_exception(error, file=sys.stderr)
            self._answer(internal())
            return
        if not self.response_started:
            self._leave = leave

    def _answer(self, answer: Answer, headers: Iterable[Header] = ()) -> None:
        self._pieces.clear()
        self._release()
        if self.disconnected or self.response_started:
            return
        self._leave = None
        if self._is_put and answer.status == FORBIDDEN:
            self._routes.gate.forbidden += 1
        try:
            packet = self._packet(answer, headers, in_msgpack=wants_msgpack(self.request.headers))
        except Exception as error:  # whoever called has others to answer
            traceback.print_exception(error, file=sys.stderr)
            packet = self._packet(internal(), (), in_msgpack=False)
        # From here on nothing more of the request is taken, whenever the answer can be written.
        self.response_started = True
        if self._flow.write_paused:
            self._loop.create_task(self._write_later(packet))
        else:
            self._finish(packet)

    async def _write_later(self, packet: bytes) -> None:
        await self._flow.drain()
        if not self.disconnected:
            self._finish(packet)

    def _finish(self, packet: bytes) -> None:
        self._write(packet)
        self.response_complete = True
        if not self.keep_alive:
            self._close()
        self._on_response()

    def _packet(self, answer: Answer, headers: Iterable[Header], *, in_msgpack: bool) -> bytes:
        if answer.status == OK and self.keep_alive and not (headers or in_msgpack):
            return b"%b%d\r\n\r\n%b" % (self._usual_head(), len(answer.body), answer.body)
        kind = None
        if in_msgpack:
            answer = answer._replace(body=msgpack_of_json(answer.body))
            kind = (b"content-type", MSGPACK)
        parts = self._lines(answer, headers, kind=kind)
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if self.request.method != "HEAD":
            parts.append(answer.body)
        return b"".join(parts)

    def _usual_head(self) -> bytes:
        """Return the head of a 200 up to the length of its body, which nothing else depends on."""
        if not self._routes.usual_head:
            whole = b"".join(self._lines(Answer(OK, b"")))
            self._routes.usual_head = whole.removesuffix(b"0\r\n")
        return self._routes.usual_head

    def _lines(
        self, answer: Answer, headers: Iterable[Header] = (), *, kind: Header | None = None
    ) -> list[bytes]:
        lines = [STATUS_LINE[answer.status]]
        for name, value in (*self._default_headers, *answer_headers(answer, headers, kind=kind)):
            lines += (name, b": ", value, b"\r\n")
        return lines

    def _release(self) -> None:
        self._routes.bodies.release(self._size)
        self._size = 0
