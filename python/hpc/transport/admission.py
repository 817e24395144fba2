"""Admission: what holds for every request before any route sees it, decided from its head alone.

In this order: the token, the protocol version, whether the Hub is ready, the route, and whether the
token's role opens it. So nothing of a body is read for whom it is not.
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
    no_route,
    not_allowed,
    not_ready,
    wrong_method,
    wrong_protocol,
)

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
    """

    def __init__(self, ports: HubPorts) -> None:
        self.forbidden = 0
        self._ports = ports
        self._failures = Failures()
        self._unauthorized = 0

    def admit(self, head: Head) -> Holder | Refusal:
        """Return who sends a request, or why it may not go on."""
        rule = rule_of(head.path)
        if rule is not None and rule.is_open and not head.query:
            # They tell nothing but ok; asking them for more needs the token.
            return _other_version(head) or NOBODY
        holder = self._holder(head)
        if holder is None:
            self._unauthorized += 1
            wait_s = self._failures.note(head.peer, time.monotonic())
            has_token = bool(token_of(head.headers))
            return Refusal(*unauthorized(head.peer, wait_s, has_token=has_token))
        if other := _other_version(head):
            return other
        if not self._ports.is_ready:
            return Refusal(not_ready(), [])
        return self._by_rule(head, rule, holder)

    def figures(self) -> dict[str, int]:
        """Return how many requests were refused since the start, for want of a token or a role."""
        return {"unauthorized": self._unauthorized, "forbidden": self.forbidden}

    def _holder(self, head: Head) -> Holder | None:
        header = head.headers.get(b"authorization", b"")
        if head.recent is not None and (known := head.recent.holder(header)):
            return known
        holder = self._ports.holder(token_of(head.headers))
        if head.recent is not None and holder is not None:
            head.recent.note(header, holder)
        return holder

    def _by_rule(self, head: Head, rule: Rule | None, holder: Holder) -> Holder | Refusal:
        if rule is None:
            return Refusal(no_route(head.path), [])
        if head.method != rule.method:
            allow = [(b"allow", rule.method.encode())]
            return Refusal(wrong_method(head.method, rule.method), allow)
        if holder.role not in rule.roles:
            self.forbidden += 1
            return Refusal(not_allowed(holder.role, head.path, sorted(rule.roles)), [])
        return holder


def _other_version(head: Head) -> Refusal | None:
    version = head.headers.get(b"hpc-protocol", _VERSION)
    if version.strip() == _VERSION:
        return None
    return Refusal(wrong_protocol(version.decode("latin-1"), PROTOCOL_VERSION), _UPGRADE)
