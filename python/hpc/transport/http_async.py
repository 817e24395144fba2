"""A keep-alive HTTP/1.1 client over asyncio streams, for relays and monitors.

One `Lane` is one connection with one request in flight. A request that fails in any way drops the
connection and raises `NoHub`; whether it was recorded is unknown, and repeating it is the caller's,
who knows under which id. It follows no redirects, keeps no cookies and speaks to a Hub only.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from hpc.config import Access
from hpc.errors import Conflict, HpcError, NoHub, UsageError
from hpc.transport.sockets import watch

JSON = "application/json"
OCTETS = "application/octet-stream"
PROTOCOL = "1"
HEAD_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 64 * 1024 * 1024
CONNECT_S_MAX = 10.0
UNAUTHORIZED = 401


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
        if wire is not None and (wire.is_lost() or wire.access.url != access.url):
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


class _Wire:
    """An open connection."""

    def __init__(
        self,
        access: Access,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        check: Callable[[str | None], None] | None,
    ) -> None:
        self.access = access
        self.keeps_alive = True
        self._reader = reader
        self._writer = writer
        self._check = check
        parts = urlsplit(access.url)
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc

    @classmethod
    async def open(cls, access: Access, check: Callable[[str | None], None] | None) -> _Wire:
        parts = urlsplit(access.url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(
                f"URL of the Hub must be http://HOST:PORT, got {access.url!r}", field="hub_url"
            )
        port = parts.port or 80
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                reader, writer = await asyncio.open_connection(
                    parts.hostname, port, limit=HEAD_BYTES_MAX
                )
        except (OSError, TimeoutError) as error:
            reason = str(error) or "no answer"
            raise NoHub(f"No Hub answers at {access.url}: {reason}") from error
        sock: socket.socket = writer.get_extra_info("socket")
        watch(sock)
        return cls(access, reader, writer, check)

    def is_lost(self) -> bool:
        """Whether the Hub has closed it, as far as is known here."""
        return self._reader.at_eof() or self._writer.is_closing()

    def close(self) -> None:
        self._writer.transport.abort()

    async def exchange(self, method: str, path: str, body: bytes, content_type: str) -> Reply:
        head = (
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {self.access.token}\r\nHpc-Protocol: {PROTOCOL}\r\n"
            f"Accept: {JSON}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            self._writer.write(head.encode("latin-1") + body)
            await self._send()
            reply = await self._read_reply()
        except EOFError as error:
            raise NoHub(f"The Hub at {self.access.url} ended the connection") from error
        except (OSError, asyncio.LimitOverrunError) as error:
            reason = str(error) or type(error).__name__
            raise NoHub(f"Connection to {self.access.url} was lost: {reason}") from error
        except ValueError as error:
            raise NoHub(f"Answer of {self.access.url} is not HTTP/1.1: {error}") from error
        if self._check is not None:
            self._check(reply.hub)
        return reply

    async def _send(self) -> None:
        try:
            await self._writer.drain()
        except ConnectionError:
            # A Hub that refuses a body answers before it has read it; the answer may be there.
            if self._reader.at_eof():
                raise

    async def _read_reply(self) -> Reply:
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError(f"got {first[:60]!r}")
        headers = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in lines)
            if colon
        }
        body = await self._read_body(headers)
        closes = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        self.keeps_alive = not closes
        after = headers.get("retry-after", "")
        return Reply(
            int(status), headers.get("hpc-hub"), body, float(after) if after.isdigit() else None
        )

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._read_chunks()
        length = int(headers.get("content-length", "0"))
        _bound(length)
        return await self._reader.readexactly(length)

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            length = int(line.split(b";")[0], 16)
            _bound(len(body) + length)
            body += (await self._reader.readexactly(length + 2))[:length]
            if length == 0:
                return bytes(body)


def _bound(length: int) -> None:
    if not 0 <= length <= ANSWER_BYTES_MAX:
        raise ValueError(f"a body of {length} bytes, expected at most {ANSWER_BYTES_MAX}")
