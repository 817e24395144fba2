"""Where the Hub is and by which token: `$HPC_HOME/access.json`, found by everyone with no flag.

Whoever holds the token runs commands as the relays' user, so the file is readable by its owner
only, and one that others can read is refused. `HPC_HUB_URL`, `HPC_TOKEN` and `HPC_TLS_SHA256`
override it. This and the settings are the places that read the environment, beside the command
line; it imports nothing that costs time at the start of a command.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hpc import settings
from hpc.errors import HpcError, NoHub, NotAllowed, UsageError

ACCESS_FILE: Final = "access.json"
_OTHERS: Final = 0o077


class Access(NamedTuple):
    """A Hub's URL, the token that opens it, and the pin of its certificate.

    Attributes:
        token: Empty where none is known; `/healthz` and `/readyz` need none.
        tls_sha256: In hexadecimal digits; None with http, and where CAs say whether it holds.
    """

    url: str
    token: str
    tls_sha256: str | None = None

    def __repr__(self) -> str:
        shown = "'...'" if self.token else "''"
        return f"Access(url={self.url!r}, token={shown}, tls_sha256={self.tls_sha256!r})"


class Said(NamedTuple):
    """A value, and who says it.

    Attributes:
        source: `flag`, `environment`, `file` (the settings), `access file` or `default`.
        place: The flag, the variable's name, or the path; None of a default.
    """

    value: str
    source: str
    place: str | None


_NAMES: Final = ("hub_url", "token", "tls_sha256")
"""In the order in which `Access` has them."""


def home() -> Path:
    """Return the absolute state folder; may not exist."""
    return Path(home_said().value)


def home_said() -> Said:
    """Return which folder it is: `$HPC_HOME`, the settings, by default `hpc` in the XDG folder."""
    if (said := _said("home")) is not None:
        return said._replace(value=str(Path(said.value).expanduser().absolute()))
    if state := os.environ.get("XDG_STATE_HOME"):
        return Said(str(Path(state).absolute() / "hpc"), "environment", "XDG_STATE_HOME")
    return Said(str(Path.home().absolute() / ".local" / "state" / "hpc"), "default", None)


def _said(name: str, *, by_settings: bool = True) -> Said | None:
    """Return what the environment, else the settings say; an empty variable hides the settings."""
    variable = f"HPC_{name.upper()}"
    value = os.environ.get(variable)
    if value:
        return Said(value, "environment", variable)
    if value is None and by_settings and name in settings.KEYS and (value := settings.text(name)):
        return Said(value, "file", str(settings.path()))
    return None


def _is_own(folder: Path) -> bool:
    return folder == home()


def look(home: Path, *, url: str | None = None) -> tuple[dict[str, Said], OSError | None]:
    """Return who says where the Hub is and by which token, and why the access file could not.

    The order of precedence stands here and nowhere else: `url` (from a flag), the environment, of
    the user's own state folder the settings, and the access file. That file's token and pin hold
    for another URL too, but where a token is in the environment: a user's Hub may be reached by
    several names.

    Returns:
        `hub_url`, `token` and `tls_sha256`, as far as something says them.

    Raises:
        NotAllowed: Others than the owner can read the access file.
        UsageError: It, or the settings, cannot be understood.
    """
    path = home / ACCESS_FILE
    said = {name: _said(name, by_settings=not url and _is_own(home)) for name in _NAMES}
    found = {name: one for name, one in said.items() if one is not None}
    if url:
        found["hub_url"] = Said(url, "flag", "--hub-url")
    if "hub_url" in found and "token" in found:
        return found, None
    try:
        kept = _read_file(path)
    except OSError as error:
        return found, error
    for name, value in zip(_NAMES, kept, strict=True):
        if value:
            found.setdefault(name, Said(value, "access file", str(path)))
    return found, None


def access_of(found: Mapping[str, Said]) -> Access:
    """Return what `look` has found, where a URL is among it.

    Raises:
        UsageError: The URL or the pin is none.
    """
    url, token, pin = (found[name].value if name in found else None for name in _NAMES)
    return pinned(url or "", token or "", check_pin(pin))


def read_access(home: Path, *, url: str | None = None) -> Access:
    """Return where the Hub is, by whatever goes first; see `look`.

    Raises:
        NoHub: Nothing says where a Hub is, or what says so cannot be read now.
        NotAllowed: Others than the owner can read the file.
        UsageError: The file or the URL cannot be read.
    """
    found, lacking = look(home, url=url)
    if lacking is not None and not isinstance(lacking, FileNotFoundError):
        # A home folder on a network may be away for a while; who keeps running asks again.
        raise NoHub(
            f"{home / ACCESS_FILE} cannot be read: {lacking.strerror or lacking}",
            hint="look at that file, or set HPC_HUB_URL and HPC_TOKEN",
        ) from lacking
    if "hub_url" not in found:
        raise NoHub(
            f"No Hub is known here: {home / ACCESS_FILE} does not exist",
            hint="start one: hpc up   or set HPC_HUB_URL and HPC_TOKEN",
        )
    return access_of(found)


def pinned(url: str, token: str, pin: str | None) -> Access:
    """Return a way to the Hub; a pin that is known means nothing where the URL is http.

    Raises:
        UsageError: As `check_url` and `check_token` do.
    """
    url = check_url(url)
    return Access(url, check_token(token), pin if url.startswith("https:") else None)


def check_token(token: str) -> str:
    """Return a token without what a file or a paste has left around it; it becomes a header.

    Raises:
        UsageError: It has signs that no token has. They are not shown.
    """
    token = token.strip()
    if not re.fullmatch(r"[ -~]*", token):
        raise UsageError(
            "the token must be one line of ASCII, got one with a line break or another sign in it",
            field="token",
            hint="look at HPC_TOKEN; a new one: hpc token create --role submit",
        )
    return token


def written(home: Path) -> Access | None:
    """Return what the access file says, whatever the environment says; None where it says nothing.

    Raises:
        HpcError: It can be read by others, or is no access file.
    """
    try:
        return _read_file(home / ACCESS_FILE)
    except OSError:
        return None


def is_written(home: Path, access: Access) -> bool:
    """Return whether the access file says just this, whatever the environment says."""
    try:
        return written(home) == access
    except HpcError:
        return False


def answers_elsewhere(home: Path, access: Access) -> str | None:
    """Return the URL of the access file where it is another one and its port still answers.

    Only one of this machine is asked, which takes no time; a Hub elsewhere is none of a start's.
    """
    import socket  # noqa: PLC0415 - a start of the Hub alone needs it

    try:
        url = _read_file(home / ACCESS_FILE).url
        parts = urlsplit(url)
        if url == access.url or not is_loopback(parts.hostname or "") or not parts.port:
            return None
        socket.create_connection((parts.hostname, parts.port), timeout=1).close()
    except (OSError, HpcError, ValueError):
        return None
    return url


def write_access(home: Path, access: Access) -> None:
    """Write the access file, whole or not at all, readable by its owner only."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = {"url": access.url, "token": access.token, "tls_sha256": access.tls_sha256}
    write_private(home / ACCESS_FILE, json.dumps(fields) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file by one of mode 0600 in one step; a reader sees the old or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.unlink(missing_ok=True)
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)


def check_url(url: str) -> str:
    """Return the URL of a Hub, its scheme in lower case, without a slash at its end.

    Raises:
        UsageError: Neither `https://HOST:PORT` nor, on loopback, `http://HOST:PORT`.
    """
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise UsageError(
            f"URL of the Hub must be http://HOST:PORT or https://HOST:PORT, got {url!r}",
            field="hub_url",
            hint="give `--hub-url` or HPC_HUB_URL as http://127.0.0.1:8080",
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise UsageError(
            f"URL of a Hub on another machine must be https://HOST:PORT, got {url!r}: the token "
            "would travel in the clear",
            field="hub_url",
            hint="hpc hub --tls auto   there, or `ssh -L 8080:127.0.0.1:8080 HOST` and no URL",
        )
    return (parts.scheme + url[len(parts.scheme) :]).rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its very name; nothing is looked up."""
    if host == "localhost" or re.fullmatch(r"127(\.\d{1,3}){3}", host):
        return True
    return host == "::1"


def check_pin(pin: str | None) -> str | None:
    """Return the SHA-256 of a certificate as 64 digits in lower case; colons are left out.

    Raises:
        UsageError: It is none.
    """
    if pin is None:
        return None
    digits = pin.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise UsageError(
            f"SHA-256 of the Hub's certificate must be 64 hexadecimal digits, got {pin!r}",
            field="tls_sha256",
            hint="see `tls_sha256` in the access file beside the Hub",
        )
    return digits


def _read_file(path: Path) -> Access:
    with path.open(encoding="utf-8") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & _OTHERS:
            raise NotAllowed(
                f"{path} can be read by others: expected mode 600, got {status.st_mode & 0o777:o}",
                code="access_file_open",
                hint=f"whoever read it can run commands as you: chmod 600 {path}",
            )
        try:
            fields = json.load(file)
            url, token, pin = fields["url"], fields["token"], fields.get("tls_sha256")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError(
                f'{path} must hold {{"url", "token", "tls_sha256"}}, and cannot be read',
                hint="a start of the Hub writes it anew: hpc hub",
            ) from None
    return Access(str(url), str(token), check_pin(None if pin is None else str(pin)))
