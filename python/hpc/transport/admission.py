"""Admission: what holds for every request before any route sees it, decided from its head alone.

In this order: the token, or the session that a browser's cookie names, the protocol version,
whether the Hub is ready, the route, and whether the token's role opens it. So nothing of a body is
read for whom it is not.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from hpc._core import PROTOCOL_VERSION
from hpc.ports import NOBODY, Holder, HubPorts
from hpc.protocols import Answer
from hpc.transport.asgi import Header
from hpc.transport.auth import Failures, token_of, unauthorized
from hpc.transport.authorisation import Rule, rule_of
from hpc.transport.problems import (
    cross_site,
    no_route,
    not_allowed,
    not_ready,
    wrong_method,
    wrong_protocol,
)
from hpc.transport.sessions import Sessions, is_elsewhere, lacks_action

_VERSION: Final = b"%d" % PROTOCOL_VERSION
_UPGRADE: Final[list[Header]] = [(b"upgrade", b"hpc/" + _VERSION)]


class Refusal(NamedTuple):
    """An answer in place of a route's, and the headers that go with it."""

    answer: Answer
    headers: list[Header]


class Recent:
    """Whom the last request of one connection was admitted as: the next one has the same token.

    So it is not hashed again. A token that expires is looked up each time.
    """

    __slots__ = ("_header", "_holder")

    def __init__(self) -> None:
        self._header = b""
        self._holder: Holder | None = None

    def holder(self, header: bytes) -> Holder | None:
        """Return whom an `Authorization` names, if it is the last one and still opens something."""
        holder = self._holder
        if holder is None or holder.ended.is_set():
            return None
        return holder if hmac.compare_digest(header, self._header) else None

    def note(self, header: bytes, holder: Holder) -> None:
        """Remember whom an `Authorization` names."""
        if holder.expires_at is None:
            self._header, self._holder = header, holder


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        method: In upper case.
        path: Decoded.
        query: As it came.
        headers: By lower-case name.
        peer: Address of whoever sends it, without the port; empty where there is none.
        recent: Of its connection, where that is known.
    """

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    peer: str = ""
    recent: Recent | None = None


class Gate:
    """Admits requests to one Hub, and counts those that it did not.

    Attributes:
        forbidden: How many were refused because their token is not for that.
        sessions: Of the Hub's dashboard.
    """

    def __init__(self, ports: HubPorts) -> None:
        self.forbidden = 0
        self.sessions = Sessions(ports.hub_id)
        self._ports = ports
        self._failures = Failures()
        self._unauthorized = 0

    def admit(self, head: Head) -> Holder | Refusal:
        """Return who sends a request, or why it may not go on."""
        rule = rule_of(head.path)
        if rule is not None and (rule.is_page or (rule.is_open and not head.query)):
            # They tell nothing of the Hub but ok; asking for more needs the token.
            return _other_version(head) or _other_method(head, rule) or NOBODY
        holder = self.holder(head)
        if holder is None:
            return self.nobody(head)
        if isinstance(holder, Refusal):
            return holder
        if other := _other_version(head):
            return other
        if not self._ports.is_ready:
            return Refusal(not_ready(), [])
        return self._by_rule(head, rule, holder)

    def holder(self, head: Head) -> Holder | Refusal | None:
        """Return whom a request names by its token, or by a cookie where it has none."""
        header = head.headers.get(b"authorization", b"")
        if head.recent is not None and (known := head.recent.holder(header)):
            return known
        token = token_of(head.headers)
        if not token:
            return self._by_cookie(head)
        holder = self._ports.holder(token)
        if head.recent is not None and holder is not None:
            head.recent.note(header, holder)
        return holder

    def nobody(self, head: Head, *, login: bool = False) -> Refusal:
        """Return the refusal of a request that opens nothing, and count it.

        Args:
            head: Of the request.
            login: It was to log in.
        """
        self._unauthorized += 1
        wait_s = self._failures.note(head.peer, time.monotonic())
        came = bool(token_of(head.headers) or self.sessions.value(head.headers))
        return Refusal(*unauthorized(head.peer, wait_s, has_token=came, login=login))

    def own_page(self, head: Head) -> Refusal | None:
        """Return why a request may be of another page than the Hub's own; None: it is not."""
        lacks = lacks_action(head.headers) if head.method != "GET" else None
        if lacks is None and not is_elsewhere(head.headers):
            return None
        self.forbidden += 1
        return Refusal(cross_site(lacks or "the browser says that another page asks"), [])

    def figures(self) -> dict[str, int]:
        """Return how many requests were refused since the start, for want of a token or a role."""
        return {"unauthorized": self._unauthorized, "forbidden": self.forbidden}

    def _by_cookie(self, head: Head) -> Holder | Refusal | None:
        session = self.sessions.holder(head.headers)
        return session and (self.own_page(head) or session)

    def _by_rule(self, head: Head, rule: Rule | None, holder: Holder) -> Holder | Refusal:
        if rule is None:
            return Refusal(no_route(head.path), [])
        if other := _other_method(head, rule):
            return other
        if holder.role not in rule.roles:
            self.forbidden += 1
            return Refusal(not_allowed(holder.role, head.path, sorted(rule.roles)), [])
        return holder


def _other_version(head: Head) -> Refusal | None:
    version = head.headers.get(b"hpc-protocol", _VERSION)
    if version.strip() == _VERSION:
        return None
    return Refusal(wrong_protocol(version.decode("latin-1"), PROTOCOL_VERSION), _UPGRADE)


def _other_method(head: Head, rule: Rule) -> Refusal | None:
    if head.method in rule.methods:
        return None
    allowed = ", ".join(rule.methods)
    return Refusal(wrong_method(head.method, allowed), [(b"allow", allowed.encode())])
