"""HTTP: the default transport. Here the address; what is served there is `http_serving.py`.

It listens before it loads what serves, which takes longer than all else of a start: whoever comes
back to a Hub that starts again then waits in the kernel's queue, and is answered once the Hub is
ready, instead of being refused and coming again later.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import Final

from hpc.errors import UsageError
from hpc.machine import listener
from hpc.ports import HubPorts

BACKLOG: Final = 2048


class HttpTransport:
    """Serves a Hub over HTTP."""

    async def serve(
        self,
        ports: HubPorts,
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        on_listening: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        """Serve until `stop` is set, then finish what is being answered and return.

        Raises:
            UsageError: The address cannot be bound.
        """
        sock = _bound(host, port)
        url = f"{'http' if tls is None else 'https'}://{_shown(host, sock)}:{sock.getsockname()[1]}"
        sock.listen(BACKLOG)
        on_listening(url)
        from hpc.transport.http_serving import serve_on  # noqa: PLC0415 - see above

        await serve_on(sock, ports, tls=tls, stop=stop)


def _bound(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo("127.0.0.1" if host == "localhost" else host, port)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"`--host` must be an address of this machine, got {host!r}: {error}",
            field="host",
            hint="--host 127.0.0.1",
        ) from None
    family, _, _, _, address = found[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        why = f"cannot be bound: {os.strerror(error.errno or 0)}"
        if error.errno == errno.EADDRINUSE and (who := listener(port)) is not None:
            why = f"is in use by {who}"
        raise UsageError(
            f"Port {port} of {address[0]} {why}",
            code="address",
            field="port",
            hint="the same command with `--port 0` picks a free one",
        ) from error
    return sock


def _shown(host: str, sock: socket.socket) -> str:
    """Return by what name others reach the Hub: that of the machine where it listens everywhere."""
    address = ipaddress.ip_address(sock.getsockname()[0])
    if not address.is_unspecified:
        # A name stands in the certificate, where a number mostly does not.
        is_name = host.strip("0123456789.") and ":" not in host and host != "localhost"
        shown = host if is_name else str(address)
        return f"[{shown}]" if ":" in shown else shown
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return "localhost"
    return name
