"""Tokens: how one is made and what it looks like, `hpc1_ROLE_ID_SECRET`.

The prefix is for scanners of secrets, the id for the log and for people. The Hub is told the id and
the SHA-256 of the whole text, never the secret: whoever makes a token makes it where it is used.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final, NamedTuple

ROLES: Final = ("admin", "submit", "relay", "monitor", "read")

ACCESS_TOKEN_ID: Final = "access"  # noqa: S105 - an id
"""How the access file's token is named: it is an administrator's, and has a form of its own."""

PREFIX: Final = "hpc1"
_ID_BYTES: Final = 5
_SECRET_BYTES: Final = 32
_PARTS: Final = 4


class NewToken(NamedTuple):
    """A token that was just made; its text is in no repr."""

    token_id: str
    text: str

    def __repr__(self) -> str:
        return f"NewToken({self.token_id!r}, ...)"

    @property
    def sha256(self) -> str:
        """What the Hub keeps, as hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def make_token(role: str) -> NewToken:
    """Make a token of a role."""
    token_id = _base32(secrets.token_bytes(_ID_BYTES))
    secret = _base32(secrets.token_bytes(_SECRET_BYTES))
    return NewToken(token_id, f"{PREFIX}_{role}_{token_id}_{secret}")


def token_id_of(text: bytes) -> str | None:
    """Return the id in a token's text; None where it is none of this form."""
    parts = text.split(b"_")
    if len(parts) != _PARTS or parts[0] != PREFIX.encode():
        return None
    return parts[2].decode("latin-1")


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()
