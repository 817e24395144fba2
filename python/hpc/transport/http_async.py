"""A keep-alive HTTP/1.1 client on the event loop, for relays and monitors.

One `Lane` is one connection with one request in flight. A request that fails in any way drops the
connection and raises `NoHub`; whether it was recorded is unknown, and repeating it is the caller's,
who knows under which id. It follows no redirects, keeps no cookies and speaks to a Hub only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from hpc.access import Access, check_url
from hpc.errors import Conflict, HpcError, NoHub
from hpc.transport import heads, tls
from hpc.transport.heads import HEAD_BYTES_MAX, Head, is_number
from hpc.transport.http_client import untrusted
from hpc.transport.sockets import watch
from hpc.transport.wire import Untrusted

JSON = "application/json"
OCTETS = "application/octet-stream"
PROTOCOL = "1"
ANSWER_BYTES_MAX = 64 * 1024 * 1024
CONNECT_S_MAX = 10.0
UNAUTHORIZED = 401
TOO_MANY = 429


class Problem(msgspec.Struct, frozen=True):
    """A problem document (RFC 9457), or what can be said of an answer that is none."""

    status: int = 0
    title: str = ""
    detail: str = ""
    code: str = ""
    hint: str | None = None
    errors: list[dict[str, Any]] = []
    expected: Any = None
    version: Any = None
    last_epoch: int = 0
    host: str = ""
    place: str = ""

    def sentence(self) -> str:
        """What went wrong, in one line."""
        return self.detail or self.title or self.code or f"status {self.status}"


class Reply(NamedTuple):
    """An answer of the Hub.

    Attributes:
        hub: The header `Hpc-Hub`, or None.
        retry_after_s: What a 429 or 503 asks for.
    """

    status: int
    hub: str | None
    body: bytes
    retry_after_s: float | None = None

    def opens_nothing(self) -> bool:
        """Whether the token is none of this Hub's; after some such requests that is a 429."""
        if self.status == UNAUTHORIZED:
            return True
        return self.status == TOO_MANY and self.problem().code == "too_many_failures"

    def problem(self) -> Problem:
        """Decode a refusal; never raises."""
        try:
            return msgspec.json.decode(self.body, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            text = self.body[:200].decode("utf-8", "replace")
            return Problem(status=self.status, title=f"status {self.status}", detail=text)


class OtherHub(Conflict):
    """Another Hub answers at the URL; nothing was sent to it but the question who it is.

    Attributes:
        expected: Id of the Hub that was joined.
        seen: Id of the one that answers.
    """

    default_code = "other_hub"

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"Another Hub answers: expected Hub {expected}, got Hub {seen}")
        self.expected = expected
        self.seen = seen


class Rpc(Protocol):
    """What loops need of a connection to the Hub; a simulation brings its own."""

    async def post(
        self, path: str, body: bytes, *, deadline_s: float, content_type: str = JSON
    ) -> Reply:
        """Send one request and return its answer, whatever its status.

        Raises:
            NoHub: Nothing was answered in time; the outcome is unknown.
            OtherHub: Another Hub answers there; it has not seen the request.
        """
        ...


class AccessSource:
    """Where the Hub is and by which token, read again when it seems to have changed.

    Shared by all lanes of a process. `read` may raise `HpcError` where there is no access file
    yet, which counts as no Hub.
    """

    def __init__(self, read: Callable[[], Access]) -> None:
        self._read = read
        self._access: Access | None = None

    def get(self) -> Access:
        """Return what was read last, reading it first where nothing was."""
        if self._access is None:
            self._access = self._read()
        return self._access

    def forget(self, access: Access) -> None:
        """Read again at the next `get`, unless a lane has done so since `access`."""
        if self._access is access:
            self._access = None


class Lane:
    """One connection to the Hub, opened when needed and again after it was lost.

    Args:
        source: URL and token.
        check: Called with `Hpc-Hub` of every answer, and of a `GET /healthz` right after
            connecting, before anything else is sent; raises `OtherHub` to refuse. None: any Hub.
    """

    def __init__(
        self, source: AccessSource, *, check: Callable[[str | None], None] | None = None
    ) -> None:
        self._source = source
        self._check = check
        self._wire: _Wire | None = None
        self._busy = False

    async def get(self, path: str, *, deadline_s: float) -> Reply:
        """Send a GET; see `Rpc.post`."""
        return await self._request("GET", path, b"", deadline_s, JSON)

    async def post(
        self, path: str, body: bytes, *, deadline_s: float, content_type: str = JSON
    ) -> Reply:
        """Send a POST; see `Rpc.post`."""
        return await self._request("POST", path, body, deadline_s, content_type)

    def close(self) -> None:
        """Drop the connection; the next request opens another."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    async def _request(
        self, method: str, path: str, body: bytes, deadline_s: float, content_type: str
    ) -> Reply:
        if self._busy:
            raise AssertionError("A lane carries one request at a time")
        self._busy = True
        try:
            async with asyncio.timeout(deadline_s):
                wire = await self._connected()
                reply = await wire.exchange(method, path, body, content_type)
        except TimeoutError:
            self.close()
            raise NoHub(f"No answer to {method} {path} within {deadline_s:.1f} s") from None
        except BaseException:
            # In the middle of a request the connection is in no state to carry another one.
            self.close()
            raise
        finally:
            self._busy = False
        if not wire.keeps_alive:
            self.close()
        if reply.status == UNAUTHORIZED:
            self._source.forget(wire.access)
        return reply

    async def _connected(self) -> _Wire:
        try:
            access = self._source.get()
        except NoHub:
            raise
        except HpcError as error:
            raise NoHub(error.message, hint=error.hint) from error
        wire = self._wire
        if wire is not None and (wire.is_lost() or not wire.is_to(access)):
            self.close()
            wire = None
        if wire is not None:
            wire.access = access
            return wire
        try:
            self._wire = wire = await _Wire.open(access, self._check)
        except NoHub:
            self._source.forget(access)
            raise
        if self._check is not None:
            await wire.exchange("GET", "/healthz", b"", JSON)
        return wire


class _Wire(asyncio.Protocol):
    """An open connection; it reads an answer as it comes, and wakes who asked once."""

    def __init__(self, access: Access, check: Callable[[str | None], None] | None) -> None:
        self.access = access
        self.keeps_alive = True
        self._check = check
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._buffer = bytearray()
        self._head: Head | None = None
        self._answer: asyncio.Future[Reply] | None = None
        parts = urlsplit(access.url)
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc

    @classmethod
    async def open(cls, access: Access, check: Callable[[str | None], None] | None) -> _Wire:
        wire = cls(access, check)
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await wire._connect()
        except OSError as error:
            wire.close()
            reason = tls.told(error)
            if isinstance(reason, Untrusted):
                raise NoHub(untrusted(access.url, reason), hint=reason.hint) from error
            raise NoHub(f"No Hub answers at {access.url}: {str(error) or 'no answer'}") from error
        return wire

    async def _connect(self) -> None:
        """Open the connection, and see who is at its other end before anything is sent."""
        parts = urlsplit(check_url(self.access.url))
        host, pin, loop = parts.hostname or "", self.access.tls_sha256, asyncio.get_running_loop()
        if parts.scheme == "http":
            await loop.create_connection(lambda: self, host, parts.port or 80)
            return
        transport, _ = await loop.create_connection(
            lambda: self, host, parts.port or 443, ssl=tls.context(pin is not None)
        )
        tls.check(transport.get_extra_info("ssl_object"), pin)

    def is_to(self, access: Access) -> bool:
        """Whether it leads where the Hub is now."""
        return access.url == self.access.url and access.tls_sha256 == self.access.tls_sha256

    def is_lost(self) -> bool:
        """Whether the Hub has closed it, as far as is known here."""
        return self._is_lost or self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, method: str, path: str, body: bytes, content_type: str) -> Reply:
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {self.access.token}\r\nHpc-Protocol: {PROTOCOL}\r\n"
            f"Accept: {JSON}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        if self._transport is None or self._is_lost:
            raise self._ended()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode("latin-1") + body)
        try:
            reply = await self._answer
        finally:
            self._answer = None
        if self._check is not None:
            self._check(reply.hub)
        return reply

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream socket's; uvloop's class is one in everything but its bases.
        self._transport = cast("asyncio.Transport", transport)
        watch(transport.get_extra_info("socket"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        if exc is None:
            self._fail(self._ended())
        else:
            reason = str(exc) or type(exc).__name__
            self._fail(NoHub(f"Connection to {self.access.url} was lost: {reason}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            reply = self._reply()
        except ValueError as error:
            self._fail(NoHub(f"Answer of {self.access.url} cannot be read: {error}"))
            self.close()
            return
        if reply is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(reply)

    def _fail(self, error: NoHub) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _ended(self) -> NoHub:
        return NoHub(f"The Hub at {self.access.url} ended the connection")

    def _reply(self) -> Reply | None:
        """Return the answer once all of it has come.

        Raises:
            ValueError: It is none.
        """
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise ValueError(f"a head of more than {HEAD_BYTES_MAX} bytes")
                return None
            self._head = heads.parsed(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        head = self._head
        length = head.length or 0
        _bound(length)
        if head.is_chunked:
            body = self._chunks()
            if body is None:
                return None
        elif len(self._buffer) < length:
            return None
        else:
            body = bytes(self._buffer[:length])
            del self._buffer[:length]
        self._head = None
        self.keeps_alive = head.keeps_alive
        after = head.headers.get("retry-after", "")
        retry_after_s = float(after) if is_number(after) else None
        return Reply(head.status, head.headers.get("hpc-hub"), body, retry_after_s)

    def _chunks(self) -> bytes | None:
        """Return a body in chunks once its last one has come; until then nothing is copied."""
        chunks: list[slice] = []
        size = at = 0
        while (end := self._buffer.find(b"\r\n", at)) >= 0:
            text = self._buffer[at:end].split(b";")[0].strip().decode("latin-1")
            if not is_number(text, "0123456789abcdefABCDEF"):
                raise ValueError(f"a chunk has no length: {text[:60]!r}")
            length = int(text, 16)
            size += length
            _bound(size)
            at = end + 2 + length + 2
            if len(self._buffer) < at:
                return None
            if length == 0:
                body = b"".join(self._buffer[chunk] for chunk in chunks)
                del self._buffer[:at]
                return body
            chunks.append(slice(end + 2, at - 2))
        return None


def _bound(length: int) -> None:
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise ValueError(f"a body of {length} bytes, expected at most {ANSWER_BYTES_MAX}")
