"""Auth: the token of a request, and what is answered to one that opens nothing.

Who comes again and again without one from one address is told to wait. A token that opens
something is never kept waiting: it is looked up first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from hpc.problems import problem
from hpc.protocols import Answer

CHALLENGE: Final = [(b"www-authenticate", b'Bearer realm="hpc"')]
"""What a 401 carries, by RFC 6750."""

FAILURES_MAX: Final = 20
"""Requests of an address without a token in a minute; more are answered 429."""

WINDOW_S: Final = 60.0

ADDRESSES_MAX: Final = 4096
"""Addresses that are counted; where more come, all begin anew."""


def token_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Return the token that a request carries; empty where there is none."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


class Failures:
    """How often each address has failed of late."""

    def __init__(self) -> None:
        self._by_address: dict[str, tuple[float, int]] = {}

    def note(self, address: str, now_s: float) -> float:
        """Count one; returns for how many seconds the address should wait, 0 where it need not.

        Args:
            address: Of the peer.
            now_s: Of a clock that nobody sets.
        """
        began_s, count = self._by_address.get(address, (now_s, 0))
        if now_s - began_s >= WINDOW_S:
            began_s, count = now_s, 0
        if address not in self._by_address and len(self._by_address) >= ADDRESSES_MAX:
            self._by_address.clear()
        self._by_address[address] = (began_s, count + 1)
        return began_s + WINDOW_S - now_s if count >= FAILURES_MAX else 0.0


def unauthorized(
    address: str, wait_s: float, *, has_token: bool, login: bool = False
) -> tuple[Answer, list[tuple[bytes, bytes]]]:
    """401, or 429 for an address that should wait; with the headers of either."""
    came = "one that opens nothing" if has_token or login else "none"
    if wait_s > 0:
        answer = problem(
            429,
            "too_many_failures",
            "Too many requests without a token",
            f"more than {FAILURES_MAX} requests of a minute from {address} had no token of this "
            f"Hub; this one had {came}",
            "find what asks without a token, or with an old one; a valid token is always answered",
        )
        return answer, [(b"retry-after", b"%d" % math.ceil(wait_s))]
    if login:
        answer = problem(
            401,
            "unauthorized",
            "This does not log in",
            "a code that was not used and is not older than 5 minutes, or a token of this Hub, is "
            "needed, got one that opens nothing",
            "another code: hpc open",
        )
        return answer, CHALLENGE
    answer = problem(
        401,
        "unauthorized",
        "A token is needed",
        f"a token of this Hub is needed, got {came}",
        "the token stands in `access.json` under HPC_HOME; clients also take it from HPC_TOKEN; "
        "what is found here: hpc doctor",
    )
    return answer, CHALLENGE
