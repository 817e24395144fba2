"""What every ASGI function here shares: headers as a mapping, and answers as messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from litestar.types import Message, Receive, Scope, Send

from hpc._core import msgpack_of_json
from hpc.ports import Holder
from hpc.protocols import Answer

if TYPE_CHECKING:
    from hpc.transport.admission import Head

JSON: Final = (b"content-type", b"application/json")
PROBLEM: Final = (b"content-type", b"application/problem+json")
MSGPACK: Final = b"application/msgpack"
RETRY: Final = frozenset({429, 503, 507})
RETRY_AFTER: Final = (b"retry-after", b"1")
"""Seconds after which asking again makes sense; clients add a jitter of their own."""

HEAD: Final = "hpc.head"
"""Where the edge leaves a request's head in its scope."""

HOLDER: Final = "hpc.holder"
"""Where it leaves whose token the request has."""

Header = tuple[bytes, bytes]


def head_of(scope: Scope) -> Head:
    """Return a request's head, as the edge has left it."""
    return cast("Head", cast("dict[str, Any]", scope)[HEAD])


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return a request's headers by lower-case name."""
    return head_of(scope).headers


def holder_of(scope: Scope) -> Holder:
    """Return whose token a request has, as the edge has left it."""
    return cast("Holder", cast("dict[str, Any]", scope)[HOLDER])


def answer_headers(
    answer: Answer, more: Iterable[Header] = (), *, kind: Header | None = None
) -> list[Header]:
    """Return the headers of an answer, of a type or as JSON, as a problem from 400 on."""
    status, body = answer
    headers = [
        kind or (JSON if status < 400 else PROBLEM),  # noqa: PLR2004 - where refusals begin
        (b"content-length", b"%d" % len(body)),
        *more,
    ]
    if status in RETRY and all(name != RETRY_AFTER[0] for name, _ in headers):
        headers.append(RETRY_AFTER)
    return headers


async def send_answer(send: Send, answer: Answer, headers: Iterable[Header] = ()) -> None:
    """Send a JSON answer, or a problem document for a status from 400."""
    start = {"status": answer.status, "headers": answer_headers(answer, headers)}
    await send(cast("Message", {"type": "http.response.start", **start}))
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def with_headers(send: Send, more: list[Header]) -> Send:
    """Return a `send` that adds headers to an answer, whichever it is."""

    async def added(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], *more]
            message = cast("Message", {**cast("dict[str, Any]", message), "headers": headers})
        await send(message)

    return added


def in_msgpack(send: Send) -> Send:
    """Return a `send` that passes JSON answers on as MessagePack, and others as they are."""
    held: list[Message] = []

    async def transcode(message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = dict(message["headers"]).get(b"content-type")
            if kind in (JSON[1], PROBLEM[1]):
                held.append(message)
                return
        elif held and message["type"] == "http.response.body":
            start = cast("dict[str, Any]", held.pop())
            body = msgpack_of_json(message["body"])
            told = {b"content-type": MSGPACK, b"content-length": b"%d" % len(body)}
            headers = [(name, told.get(name, value)) for name, value in start["headers"]]
            await send(cast("Message", {**start, "headers": headers}))
            await send({"type": "http.response.body", "body": body, "more_body": False})
            return
        await send(message)

    return transcode


class Respond:
    """An answer as an ASGI application, which Litestar handlers may return."""

    def __init__(self, answer: Answer, headers: Iterable[Header] = ()) -> None:
        self._answer = answer
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send_answer(send, self._answer, self._headers)
