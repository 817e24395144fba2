"""Data folders outside the state folder, and which Hub each has held.

A folder that lay on a disk which is not mounted now looks like one that never was. A Hub that began
anew there would be ready at once and know nothing. So the state folder remembers what the Hubs of
this user have been given by `--data`; a folder inside the state folder goes with it, and is not
remembered.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from hpc.access import write_private
from hpc.errors import StorageForeign

KNOWN: Final = "hub-data.json"
"""In the state folder: paths of data folders, each with the id of the Hub in it."""


def check(home: Path, data: Path) -> None:
    """See that a folder which has held a Hub is not empty or missing.

    Raises:
        StorageForeign: It is; nothing was made there.
    """
    hub_id = _known(home).get(_key(data))
    if hub_id is None:
        return
    try:
        is_there = any(data.iterdir())
    except OSError:
        is_there = False
    if not is_there:
        raise StorageForeign(
            f"Data folder `{data}` has held Hub `{hub_id}`, and is empty or missing now",
            hint=f"mount the disk that it lies on, or bring it back from a backup; to begin an "
            f"empty Hub there, take its line out of {home / KNOWN}",
        )


def remember(home: Path, data: Path, hub_id: str) -> None:
    """Note which Hub a folder holds."""
    known = _known(home)
    if _is_inside(home, data) or known.get(_key(data)) == hub_id:
        return
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode({**known, _key(data): hub_id}))
    write_private(home / KNOWN, text.decode() + "\n")


def _known(home: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode((home / KNOWN).read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return {}  # what is damaged is written anew


def _key(data: Path) -> str:
    return os.path.realpath(data)


def _is_inside(home: Path, data: Path) -> bool:
    return Path(_key(data)).is_relative_to(os.path.realpath(home))
