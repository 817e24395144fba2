"""Sessions: a browser logs in by a code or a token, and is known by a cookie from then on.

A code is good once, for five minutes; a session for half a day. Both do what the token does that
they came from, and end with it. They are kept in memory alone, as digests of what was given out:
looking a digest up takes no time that tells anything of what it is of. After a restart one logs in
again.

A browser adds a cookie to whatever request any page makes it send. So a request that has no other
claim must be seen to come from the Hub's own pages, by what no other page can make a browser say.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hpc.ports import Holder

CODE_MS: Final = 300_000
"""How long a code is good."""

SESSION_MS: Final = 12 * 3_600_000
"""How long a session lasts."""

HELD_MAX: Final = 32
"""Codes of one token that wait, and as many sessions; the oldest gives way to one more."""

LOGIN_BYTES_MAX: Final = 4096
"""A body with a code or a token."""

_SECRET_BYTES: Final = 32
_NAMED_BY: Final = 8


class _Held(NamedTuple):
    owner: Holder
    lent: Holder


class Sessions:
    """Codes and sessions of one Hub. Used on the event loop's thread.

    Args:
        hub_id: Of the Hub. A browser has one set of cookies for all ports of a host, so the
            cookie's name says of which Hub it is.
        wall_ms: Milliseconds since 1970.

    Attributes:
        cookie: The cookie's name.
    """

    def __init__(
        self, hub_id: str, wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self.cookie = f"hpc-{hub_id[:_NAMED_BY]}"
        self._wall_ms = wall_ms
        self._codes: dict[bytes, _Held] = {}
        self._sessions: dict[bytes, _Held] = {}

    def new_code(self, owner: Holder) -> str:
        """Return a code by which somebody may open a session once, in the name of a holder."""
        return self._hold(self._codes, owner, CODE_MS)[0]

    def redeem(self, code: str) -> Holder | None:
        """Take a code back and return whose it is; None where it opens nothing, or did before."""
        held = self._codes.pop(_digest(code.encode("utf-8", "replace")), None)
        return held.owner if held is not None and self._is_open(held) else None

    def open(self, owner: Holder) -> tuple[str, Holder]:
        """Open a session of a holder; returns the cookie's value, and who is admitted by it."""
        return self._hold(self._sessions, owner, SESSION_MS)

    def holder(self, headers: Mapping[bytes, bytes]) -> Holder | None:
        """Return whose session a request has; None where it has none that is open."""
        held = self._sessions.get(_digest(self.value(headers)))
        return held.lent if held is not None and self._is_open(held) else None

    def close(self, headers: Mapping[bytes, bytes]) -> None:
        """End the session that a request has, and whatever is open by it."""
        held = self._sessions.pop(_digest(self.value(headers)), None)
        if held is not None:
            held.lent.end()

    def left_s(self, session: Holder) -> int:
        """Return for how many seconds a session is open, if nobody ends it."""
        return max((session.expires_at or 0) - self._wall_ms(), 0) // 1000

    def value(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Return the value of the cookie; empty where there is none.

        A name that comes twice counts as none: a page at another port of the same host can add a
        cookie beside ours, and must not choose whose session it is.
        """
        name = self.cookie.encode()
        pairs = (pair.strip().partition(b"=") for pair in headers.get(b"cookie", b"").split(b";"))
        values = [value for key, _, value in pairs if key == name]
        return values[0] if len(values) == 1 else b""

    def _hold(self, into: dict[bytes, _Held], owner: Holder, life_ms: int) -> tuple[str, Holder]:
        for digest in [digest for digest, held in into.items() if not self._is_open(held)]:
            del into[digest]
        of_it = [digest for digest, held in into.items() if held.lent.token_id == owner.token_id]
        if len(of_it) >= HELD_MAX:
            into.pop(of_it[0]).lent.end()
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        held = _Held(owner, owner.lend(self._wall_ms() + life_ms))
        into[_digest(secret.encode())] = held
        return secret, held.lent

    def _is_open(self, held: _Held) -> bool:
        until = held.lent.expires_at
        return not held.lent.ended.is_set() and until is not None and self._wall_ms() < until


def is_elsewhere(headers: Mapping[bytes, bytes]) -> bool:
    """Return whether a browser says that a request comes from a page of another origin.

    A page at another port of the same host is one: cookies know no ports, this header does.
    """
    return headers.get(b"sec-fetch-site", b"none") not in (b"same-origin", b"none")


def lacks_action(headers: Mapping[bytes, bytes]) -> str | None:
    """Return what a request that changes something lacks to be of our own pages, or None.

    No form can set a header, and no script of another origin without being allowed to.
    """
    if headers.get(b"hpc-action") != b"1":
        return "header `Hpc-Action` must be 1"
    origin = headers.get(b"origin")
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if origin is not None and _netloc(origin.decode("latin-1")) != host:
        return f"header `Origin` must name the host of header `Host`, {host!r}"
    return None


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
