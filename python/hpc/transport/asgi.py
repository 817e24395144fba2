"""What every ASGI function here shares: headers as a mapping, and answers as messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from litestar.types import Receive, Scope, Send

from hpc.protocols import Answer

JSON: Final = (b"content-type", b"application/json")
PROBLEM: Final = (b"content-type", b"application/problem+json")
RETRY: Final = frozenset({429, 503, 507})
RETRY_AFTER: Final = (b"retry-after", b"1")
"""Seconds after which asking again makes sense; clients add a jitter of their own."""

HEADERS: Final = "hpc.headers"
"""Where the edge leaves a request's headers in its scope."""

Header = tuple[bytes, bytes]


def headers_of(scope: Scope) -> Mapping[bytes, bytes]:
    """Return a request's headers by lower-case name, as the edge has left them."""
    return cast("Mapping[bytes, bytes]", cast("dict[str, Any]", scope)[HEADERS])


async def send_answer(send: Send, answer: Answer, headers: Iterable[Header] = ()) -> None:
    """Send a JSON answer, or a problem document for a status from 400."""
    status, body = answer
    if status in RETRY:
        headers = [*headers, RETRY_AFTER]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                JSON if status < 400 else PROBLEM,  # noqa: PLR2004 - where refusals begin
                (b"content-length", b"%d" % len(body)),
                *headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


class Respond:
    """An answer as an ASGI application, which Litestar handlers may return."""

    def __init__(self, answer: Answer, headers: Iterable[Header] = ()) -> None:
        self._answer = answer
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        await send_answer(send, self._answer, self._headers)
