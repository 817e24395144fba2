"""Auth: who may use a route. One token opens all of them; only its SHA-256 is known here.

Decided from the headers alone, before a byte of the body is read.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from hpc.problems import problem
from hpc.protocols import Answer

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Routes that need no token and tell nothing but ok."""

CHALLENGE: Final = [(b"www-authenticate", b'Bearer realm="hpc"')]
"""What a 401 carries, by RFC 6750."""


def auth_refusal(headers: Mapping[bytes, bytes], token_sha256: bytes) -> Answer | None:
    """Return a 401 unless the request carries the token, compared in constant time."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        digest = hashlib.sha256(token.strip()).digest()
        if hmac.compare_digest(digest, token_sha256):
            return None
    came = "a wrong one" if token else "none"
    return problem(
        401,
        "unauthorized",
        "A token is needed",
        f"this Hub's token is needed, got {came}",
        "the token stands in `access.json` under HPC_HOME; clients also take it from HPC_TOKEN; "
        "what is found here: hpc doctor",
    )
