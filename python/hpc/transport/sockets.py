"""Options of both ends of a connection: nothing waits for company, who is gone is noticed.

Without them a connection whose other end has lost its power, or its network, is believed in for
up to a quarter of an hour while something is being sent, and for two hours while nothing is.
"""

from __future__ import annotations

import socket
from typing import Final

PROBE_S: Final = 15
"""Between keep-alive probes of a connection on which nothing is said."""

PROBES: Final = 4
"""Probes that may stay unanswered; with the first wait they make up `GONE_S`."""

GONE_S: Final = 75
"""How long a peer that answers nothing is believed to be there."""


def watch(sock: socket.socket, *, gone_s: float = GONE_S) -> None:
    """Have a connection send at once, and end once its peer has answered nothing for so long."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(gone_s * 1000))
