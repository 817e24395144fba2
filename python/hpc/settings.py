"""Settings: what a user says once and not with each command, in one file that is read by hand.

```toml
hub_url = "https://hub.lab:8080"     # beside these: home, progress
[submit]                             # flags of `hpc submit`, and of `hpc run` and `hpc map`
memory = "2G"
```

`$HPC_CONFIG`, else `$XDG_CONFIG_HOME/hpc/config.toml`, else `~/.config/hpc/config.toml`. What goes
before it and what it goes before stands in `access.py`. Here is what stands above the tables; those
are the command line's (`cli/defaults.py`). A token never stands in it. Where there is no file a
look costs one system call.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Final

from hpc.errors import UsageError
from hpc.nearest import did_you_mean

CONFIG: Final = "HPC_CONFIG"
"""The environment variable that names another file; `/dev/null` is none."""

KEYS: Final[dict[str, type]] = {"hub_url": str, "home": str, "progress": bool}
"""What may stand above the tables: where the Hub is, the state folder, whether waits show a bar."""

TYPES: Final = {str: "a text", bool: "true or false", int: "a whole number"}
"""Types of values in words."""

_TOKENS: Final = "a token stands in the access file, or in HPC_TOKEN"


def path() -> Path:
    """Return where the file is, whether or not there is one."""
    if named := os.environ.get(CONFIG):
        return Path(named).expanduser().absolute()
    config = os.environ.get("XDG_CONFIG_HOME")
    folder = Path(config) if config else Path.home() / ".config"
    return folder.absolute() / "hpc" / "config.toml"


def read() -> dict[str, Any]:
    """Return what stands in the file; nothing where there is none.

    Raises:
        UsageError: It cannot be read, is no TOML, or says above its tables what nobody knows.
    """
    file = path()
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        if os.environ.get(CONFIG):
            raise UsageError(f"{file} does not exist, which {CONFIG} names") from None
        return {}
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    return _parsed(file, text) if text.strip() else {}


@functools.cache
def _parsed(file: Path, text: bytes) -> dict[str, Any]:
    """Return what a file says; once, though a command asks several times."""
    # Imported here: most have no such file.
    import tomllib  # noqa: PLC0415

    try:
        found = tomllib.loads(text.decode())
    except ValueError as error:
        raise UsageError(f"{file} is no TOML: {error}", hint="https://toml.io") from error
    return {key: _checked(file, key, value) for key, value in found.items()}


def text(key: str) -> str | None:
    """Return what the file says of `hub_url` or `home`; None where it says nothing."""
    value = read().get(key)
    return None if value is None else str(value)


def wrong(file: Path, place: str, expected: str, got: object) -> UsageError:
    """Return the error of a value that is of another type."""
    return UsageError(f"{file}: `{place}` must be {expected}, got {got!r}", field=place)


def unknown(file: Path, place: str, hint: str | None) -> UsageError:
    """Return the error of a key or a table that nobody knows."""
    return UsageError(f"{file}: `{place}` is no setting", field=place, hint=hint)


def _checked(file: Path, key: str, value: object) -> object:
    if isinstance(value, dict):
        return value
    if key not in KEYS:
        near = _TOKENS if "token" in key else did_you_mean(key, KEYS)
        raise unknown(file, key, near or f"above the tables: {', '.join(KEYS)}")
    if not isinstance(value, KEYS[key]):
        raise wrong(file, key, TYPES[KEYS[key]], value)
    return value
