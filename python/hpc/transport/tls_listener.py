"""TLS listener: accepts connections, and hands each on once TLS is agreed upon.

An event loop's own server would hold a connection that says nothing for a minute, and nobody
would count it: whoever dials could take all files that the log needs. Here it counts from its first
packet on, and has as long as the head of a request has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Final

from hpc.transport.connection import HEAD_S, connections_max

FAREWELL_S: Final = 3.0
"""How long the other end may take to agree that a connection is over."""

NO_FILE_S: Final = 1.0
"""After which it is accepted again where the process could open no file."""


class TlsListener:
    """Accepts on a socket until it is closed.

    Args:
        sock: Bound; the caller closes it.
        tls: How connections are secured.
        make: The protocol of one that is.
        count: How many are open that are.
        accepts: Whether an address may connect; nothing of another's connection is read.
    """

    def __init__(
        self,
        sock: socket.socket,
        tls: ssl.SSLContext,
        make: Callable[[], asyncio.Protocol],
        count: Callable[[], int],
        accepts: Callable[[str], bool],
        *,
        backlog: int,
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._make = make
        self._count = count
        self._accepts = accepts
        self._opening: set[asyncio.Task[None]] = set()
        sock.setblocking(False)
        sock.listen(backlog)
        self._accepting = asyncio.ensure_future(self._accept())

    def close(self) -> None:
        """Accept nothing more, and leave those that are not secured yet."""
        for task in (self._accepting, *self._opening):
            task.cancel()

    async def wait_closed(self) -> None:
        """Return once nothing of it is left; open connections are not its own any more."""
        await asyncio.gather(self._accepting, *self._opening, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(self._sock)
            except ConnectionAbortedError:
                continue
            except OSError:
                await asyncio.sleep(NO_FILE_S)
                continue
            if not self._accepts(peer[0]):
                sock.close()
                continue
            # One above the most is told so in words, by the protocol.
            if self._count() + len(self._opening) > connections_max():
                sock.close()
                continue
            task = loop.create_task(self._secure(sock))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _secure(self, sock: socket.socket) -> None:
        # Who breaks off, or speaks no TLS, is not answered.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HEAD_S,
                ssl_shutdown_timeout=FAREWELL_S,
            )
