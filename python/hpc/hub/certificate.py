"""The Hub's certificate: its own, made once, or one that was given; and the TLS that it serves by.

What clients know it by is its SHA-256, which the access file tells them: so no CA is needed, and
name and dates of the made one mean nothing; it does not end. Its key and itself are one file of the
data folder, whole or not there. `cryptography` makes and reads certificates, which the standard
library cannot; it is loaded only where a Hub has TLS.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hpc.config import HubConfig, write_private
from hpc.errors import NotAllowed, UsageError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MADE: Final = "tls.pem"
"""In the data folder."""

_BEGINS: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""Before any clock that a client may have."""

_ENDS: Final = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
"""RFC 5280's word for a certificate without an end."""

_OTHERS: Final = 0o007
"""Not the group: a service's key is often its group's."""


class Identity(NamedTuple):
    """What a Hub shows of itself.

    Attributes:
        sha256: Of its certificate, in hexadecimal digits.
        ends: When whoever does not pin it trusts it no more.
        context: For connections that it takes.
    """

    sha256: str
    ends: datetime.datetime
    context: ssl.SSLContext


def identity(config: HubConfig) -> Identity | None:
    """Return what the Hub is to be known by, making it where it is to; None without TLS.

    Raises:
        UsageError: A file cannot be read, is no certificate or key, or they do not belong together.
        NotAllowed: Everybody can read the key.
    """
    if config.tls_cert is not None:
        return _of_files(config.tls_cert, config.tls_key or config.tls_cert)
    if config.tls == "off":
        return None
    path = config.data / MADE
    if not path.exists():
        try:
            write_private(path, _made())
        except OSError as error:
            raise UsageError(
                f"The Hub's certificate cannot be written to {path}: {error.strerror}", field="tls"
            ) from error
    return _of_files(path, path)


def _of_files(cert: Path, key: Path) -> Identity:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415 - see the header

    found = _certificate(cert)
    _check_private(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without it a key under a password would have the Hub ask its terminal for that.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(
            f"{cert} and {key} must be a certificate and its key, in PEM and without a password: "
            f"{reason}",
            field="tls-key",
            hint="hpc hub --tls auto   makes both",
        ) from error
    return Identity(found.fingerprint(SHA256()).hex(), found.not_valid_after_utc, context)


def _certificate(path: Path) -> Certificate:
    """Return the first certificate of a file, which is the Hub's; those of CAs follow it."""
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificate(_read(path, "tls-cert"))
    except ValueError as error:
        raise UsageError(
            f"{path} must hold a certificate in PEM: {error}",
            field="tls-cert",
            hint="hpc hub --tls auto   makes one",
        ) from error


def _check_private(path: Path) -> None:
    _read(path, "tls-key")
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        raise NotAllowed(
            f"The key in {path} can be read by others: expected mode 600, got {mode:o}",
            code="key_file_open",
            hint=f"whoever read it can pretend to be this Hub: chmod 600 {path}",
        )


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", field=field) from error


def _made() -> str:
    """Return a new key, and a certificate that it has signed itself, as PEM."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hpc hub")])
    # For other programs, which ask for a name, through a tunnel.
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGINS)
        .not_valid_after(_ENDS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    ).decode("ascii")
