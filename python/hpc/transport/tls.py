"""TLS of those who speak to a Hub: whom they trust, found out before anything of theirs is sent.

With a pin, the Hub's certificate must be that very one: its name, its dates and who signed it say
nothing more, and no CA is asked. Without one, the system's CAs and the name in the URL decide.
Commands load it only where the URL is https: `ssl` takes its time (see wire.py).
"""

from __future__ import annotations

import functools
import hashlib
import socket
import ssl
from typing import Final

from hpc.transport.wire import Untrusted

GONE: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""What a connection raises that the other end has closed, beside what a plain one does."""

_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
_TOO_OLD: Final = frozenset(
    {"UNSUPPORTED_PROTOCOL", "NO_PROTOCOLS_AVAILABLE", "TLSV1_ALERT_PROTOCOL_VERSION"}
)
_PIN_HINT: Final = (
    "take the access file of the Hub anew, or HPC_TLS_SHA256 from what it says at its start; "
    "if nobody has changed its certificate, somebody stands between"
)
_CA_HINT: Final = (
    "one that no CA has signed is pinned: HPC_TLS_SHA256, or `tls_sha256` in the access file"
)


@functools.cache
def context(is_pinned: bool) -> ssl.SSLContext:
    """Return how to speak: TLS 1.2 at least, and unless it is pinned whom the system trusts."""
    if is_pinned:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without reading the system's CAs
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE  # `check` looks at more than any CA would
    else:
        made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    return made


def check(connection: ssl.SSLObject | ssl.SSLSocket, pin: str | None) -> None:
    """See that the other end of a connection that has just been opened has the pinned certificate.

    Raises:
        Untrusted: It has not; nothing was sent.
    """
    if pin is None:
        return
    seen = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    if seen != pin:
        raise Untrusted(
            f"its certificate is another one: expected SHA-256 {pin}, got {seen}", hint=_PIN_HINT
        )


def secured(plain: socket.socket, host: str, pin: str | None) -> ssl.SSLSocket:
    """Speak TLS over a connection from now on; within the connection's time limit.

    Raises:
        Untrusted: The other end is not who it should be, or speaks no TLS; it was sent nothing.
    """
    try:
        connection = context(pin is not None).wrap_socket(plain, server_hostname=host)
    except OSError as error:
        plain.close()
        raise told(error) from error
    try:
        check(connection, pin)
    except Untrusted:
        connection.close()
        raise
    return connection


def told(error: OSError) -> OSError:
    """Return what failed while a connection was opened, in words where it is for want of trust."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(f"its certificate does not hold: {error.verify_message}", hint=_CA_HINT)
    reason = getattr(error, "reason", None)
    if reason in _NO_TLS:
        hint = "if the Hub has no TLS, its URL begins with http://"
        return Untrusted("what answers there speaks no TLS", hint=hint)
    if reason in _TOO_OLD:
        return Untrusted(
            "it speaks no TLS 1.2 or later", hint="both ends must speak TLS 1.2 or later"
        )
    # Event loops tell an end within the handshake as a reset that has nothing more to say.
    is_ended = isinstance(error, ConnectionResetError) and not error.args
    if isinstance(error, ssl.SSLEOFError) or is_ended:
        # Who is turned away is not told: not a byte of it is read.
        hint = "does the Hub accept this machine (--accept-from), and does it serve TLS?"
        return Untrusted("it ended the connection before it showed a certificate", hint=hint)
    if isinstance(error, ssl.SSLError):
        return Untrusted(f"TLS failed: {reason or error}")
    return error
