"""Tokens as the Hub holds them: by id, with their digests; the token itself is not kept.

They are registered in the log (`RegisterToken`, `RevokeToken`), whose rows of control are read once
at the start and taken in as they are appended, before their request is answered: from then on a
revoked token opens nothing. The access file's token stands beside them.

Nobody has verified those rows, and one may be damaged below the newest snapshot. So once the engine
has recovered, what it has is what holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from hpc.hub.control_rows import Control, control_of
from hpc.ports import Holder
from hpc.protocols import LogRow
from hpc.tokens import ACCESS_TOKEN_ID, token_id_of


class _Spec(msgspec.Struct):
    role: str
    sha256: str
    namespaces: list[str] | None = None
    nodes: list[str] | None = None
    expires_at: int | None = None
    label: str | None = None


class _Token(msgspec.Struct):
    holder: Holder
    digest: bytes
    spec: _Spec
    created_at: int | None = None
    created_by: str = ""
    revoked_at: int | None = None


def _made(token_id: str, spec: _Spec) -> _Token:
    holder = Holder(token_id, spec.role, spec.expires_at)
    return _Token(holder, bytes.fromhex(spec.sha256), spec)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Tokens:
    """All tokens of one Hub. Used on the event loop's thread once it runs.

    Args:
        access_sha256: Of the access file's token.
        rows: The log's rows of control so far.
        wall_ms: Milliseconds since 1970; by it tokens expire.
    """

    def __init__(
        self,
        access_sha256: bytes,
        rows: Iterable[LogRow] = (),
        wall_ms: Callable[[], int] = _wall_ms,
    ) -> None:
        self._access_sha256 = access_sha256
        self._access = Holder(ACCESS_TOKEN_ID, "admin")
        self._wall_ms = wall_ms
        self._by_id: dict[str, _Token] = {}
        for row in rows:
            with contextlib.suppress(msgspec.MsgspecError, ValueError):  # see `settle`
                for control in control_of(row):
                    self.take(control)

    def settle(self, known: Iterable[tuple[str, str, bool]]) -> None:
        """Take over what the engine has recovered: id, spec and whether it was revoked.

        Of what the rows say only when and by whom stays; a revocation whose row cannot be read is
        as of now.
        """
        said, self._by_id = self._by_id, {}
        for token_id, text, is_revoked in known:
            spec = msgspec.json.decode(text, type=_Spec)
            token = said.get(token_id)
            if token is None or token.spec != spec or (token.revoked_at and not is_revoked):
                token = _made(token_id, spec)
            else:
                del said[token_id]
            if is_revoked and not token.revoked_at:
                token.revoked_at = self._wall_ms()
                token.holder.end()
            self._by_id[token_id] = token
        for token in said.values():
            token.holder.end()

    def holder(self, token: bytes) -> Holder | None:
        """Return whom a token names; None where it opens nothing."""
        token_id = token_id_of(token)
        known = None if token_id is None else self._by_id.get(token_id)
        digest = hashlib.sha256(token).digest()
        if known is None:
            return self._access if hmac.compare_digest(digest, self._access_sha256) else None
        is_same = hmac.compare_digest(digest, known.digest)
        return known.holder if is_same and self._is_valid(known) else None

    def take(self, control: Control) -> None:
        """Take in a registration, whatever of."""
        if control.kind == "RegisterToken" and control.of not in self._by_id:
            token = _made(control.of, msgspec.json.decode(control.spec, type=_Spec))
            token.created_at, token.created_by = control.at, control.who
            self._by_id[control.of] = token
        elif control.kind == "RevokeToken":
            known = self._by_id.get(control.of)
            if known is not None and known.revoked_at is None:
                known.revoked_at = control.at
                known.holder.end()

    def listed(self) -> list[dict[str, Any]]:
        """Return what `GET /tokens` tells of each, the oldest first; no digest is among it."""
        return [
            {
                "token_id": known.holder.token_id,
                "role": known.spec.role,
                "namespaces": known.spec.namespaces,
                "nodes": known.spec.nodes,
                "label": known.spec.label,
                "expires_at": known.spec.expires_at,
                "created_at": known.created_at,
                "created_by": known.created_by.partition(" ")[0] or None,
                "revoked_at": known.revoked_at,
                "is_valid": self._is_valid(known),
            }
            for known in sorted(self._by_id.values(), key=lambda one: one.created_at or 0)
        ]

    def _is_valid(self, known: _Token) -> bool:
        until = known.spec.expires_at
        return known.revoked_at is None and (until is None or self._wall_ms() < until)
