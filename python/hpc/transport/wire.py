"""One HTTP/1.1 connection over a blocking socket: sends a request, reads its answer, no more.

It knows heads, lengths and chunks; who the Hub is, what to repeat and what an answer means is
http_client.py's. The standard library's `http.client` does the same and takes 25 ms to import
(email, ssl), a third of what a whole command may take from Enter to prompt; this takes 3 ms.
Where the URL is https, tls.py is loaded, and vouches for the other end before a request is sent.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Final, cast
from urllib.parse import urlsplit

from hpc.transport import heads
from hpc.transport.heads import HEAD_BYTES_MAX, Head, is_number
from hpc.transport.sockets import watch

ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
RECEIVE_BYTES: Final = 256 * 1024


class Broken(OSError):
    """The connection ended or spoke something else before the answer was whole.

    Attributes:
        is_stale: Nothing of an answer had come: the other end may have closed an idle connection.
    """

    def __init__(self, reason: str, *, is_stale: bool = False) -> None:
        super().__init__(reason)
        self.is_stale = is_stale


class Untrusted(OSError):
    """Who answers is not who should, or cannot prove it; nothing was sent.

    Attributes:
        hint: What to do next, or None.
    """

    def __init__(self, reason: str, *, hint: str | None = None) -> None:
        super().__init__(reason)
        self.hint = hint


class Wire:
    """An open connection; one request at a time.

    Deadlines are readings of `time.monotonic`; None waits as long as something comes every
    `idle_s`. Every call raises `TimeoutError` at its deadline and `OSError` where the connection
    fails; then only `close` is left to be called.

    Attributes:
        idle_s: How long the other end may say nothing where there is no deadline; None is for ever.
    """

    def __init__(self, url: str, deadline: float | None, pin: str | None = None) -> None:
        """Connect; with https, `pin` is the SHA-256 of the certificate that must be there."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._prefix = parts.path.rstrip("/")
        self._host = parts.netloc.rpartition("@")[2]
        self._buffer = bytearray()
        self.idle_s: float | None = None
        # As bytes: a text is put through IDNA, whose tables take 2 ms to import.
        host = parts.hostname.encode("ascii" if parts.hostname.isascii() else "idna")
        is_tls = parts.scheme == "https"
        address = cast("tuple[str, int]", (host, parts.port or (443 if is_tls else 80)))
        self._socket = socket.create_connection(address, timeout=_left(deadline))
        watch(self._socket)
        self._gone: tuple[type[OSError], ...] = (BrokenPipeError, ConnectionResetError)
        if is_tls:
            from hpc.transport import tls  # noqa: PLC0415 - see the header

            self._socket = tls.secured(self._socket, parts.hostname, pin)
            self._gone += tls.GONE

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self._socket.close()

    def interrupt(self) -> None:
        """Let whoever reads it, in another thread, see it end; it is still to be closed."""
        with contextlib.suppress(OSError):  # it has ended by itself
            # A TLS socket's own would have the reader go on in plain text.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        deadline: float | None,
    ) -> None:
        """Send one request."""
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method != "GET":
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        self._socket.settimeout(_left(deadline))
        try:
            self._socket.sendall(head.encode("latin-1") + body)
        except self._gone as error:
            # A Hub that refuses a body answers before it has read it: the answer may be there.
            if not self._receive(deadline):
                raise Broken(str(error), is_stale=True) from error

    def read_head(self, deadline: float | None) -> Head:
        """Read status and headers of the answer to what was sent."""
        is_first = not self._buffer
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise Broken(f"the head of the answer is longer than {HEAD_BYTES_MAX} bytes")
            if not self._receive(deadline):
                raise Broken("the connection was closed", is_stale=is_first and not self._buffer)
            is_first = is_first and not self._buffer
        raw = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        try:
            return heads.parsed(raw)
        except ValueError as error:
            raise Broken(str(error)) from error

    def read_body(self, head: Head, deadline: float | None) -> bytes:
        """Read a whole body, at most 256 MiB."""
        body = bytearray()
        for piece in self.pieces(head, deadline):
            body += piece
            if len(body) > ANSWER_BYTES_MAX:
                raise Broken(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        return bytes(body)

    def pieces(self, head: Head, deadline: float | None) -> Iterator[bytes]:
        """Yield a body as it comes, in pieces that are not empty."""
        if head.is_chunked:
            while length := self._chunk_length(deadline):
                yield from self._exactly(length, deadline)
                self._skip_line(deadline)
            self._skip_line(deadline)
        elif head.length is not None:
            yield from self._exactly(head.length, deadline)
        else:
            while self._buffer or self._receive(deadline):
                yield self._take(len(self._buffer))

    def _exactly(self, length: int, deadline: float | None) -> Iterator[bytes]:
        left = length
        while left:
            if not self._buffer and not self._receive(deadline):
                raise Broken(f"the answer ended {left} bytes too early")
            piece = self._take(left)
            left -= len(piece)
            yield piece

    def _chunk_length(self, deadline: float | None) -> int:
        line = self._line(deadline).partition(b";")[0]
        text = line.strip().decode("latin-1")
        if not is_number(text, "0123456789abcdefABCDEF"):
            raise Broken(f"a chunk has no length: {text[:60]!r}")
        return int(text, 16)

    def _skip_line(self, deadline: float | None) -> None:
        if self._line(deadline):
            raise Broken("a chunk is longer than it said")

    def _line(self, deadline: float | None) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > HEAD_BYTES_MAX or not self._receive(deadline):
                raise Broken("the answer ended inside a chunk")
        line = self._take(end)
        del self._buffer[:2]
        return line

    def _take(self, length: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        return taken

    def _receive(self, deadline: float | None) -> bool:
        """Wait for more bytes; False once the other end has closed."""
        self._socket.settimeout(self.idle_s if deadline is None else _left(deadline))
        try:
            received = self._socket.recv(RECEIVE_BYTES)
        except self._gone:
            return False
        self._buffer += received
        return bool(received)


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
