"""Admission: what holds for every request before any route sees it, decided from its head alone.

In this order: the token, the protocol version, and whether the Hub is ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from hpc._core import PROTOCOL_VERSION
from hpc.ports import HubPorts
from hpc.protocols import Answer
from hpc.transport.asgi import Header
from hpc.transport.auth import CHALLENGE, OPEN_PATHS, auth_refusal
from hpc.transport.problems import not_ready, wrong_protocol

_VERSION: Final = b"%d" % PROTOCOL_VERSION
_UPGRADE: Final[list[Header]] = [(b"upgrade", b"hpc/" + _VERSION)]


class Refusal(NamedTuple):
    """An answer in place of a route's, and the headers that go with it."""

    answer: Answer
    headers: list[Header]


def refusal_of(
    ports: HubPorts, path: str, query: bytes, headers: Mapping[bytes, bytes]
) -> Refusal | None:
    """Return why a request may not go on, or None."""
    if path in OPEN_PATHS and not query:
        return None  # they tell nothing but ok; asking them for more needs the token
    if refusal := auth_refusal(headers, ports.token_sha256):
        return Refusal(refusal, CHALLENGE)
    version = headers.get(b"hpc-protocol", _VERSION)
    if version.strip() != _VERSION:
        return Refusal(wrong_protocol(version.decode("latin-1"), PROTOCOL_VERSION), _UPGRADE)
    if not ports.is_ready:
        return Refusal(not_ready(), [])
    return None
