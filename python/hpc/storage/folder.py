"""The Hub's data folder: who may use it, who uses it now, and which Hub it belongs to.

    log.sqlite3   the log (the storage plugin's)
    lock          held by the running Hub; its text is that Hub's pid
    hub.json      marker: the id of the Hub that this folder has held
    outputs/      output of tasks (hpc.hub.outputs)

The marker is why a folder that has lost its log is never started empty: Slurm's controller did so,
and every running job was gone. The lock is `flock`, which ends with its process however that dies,
and which leaves SQLite's own locks free for readers.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from hpc.errors import StorageError, StorageForeign, StorageFull, StorageLocked
from hpc.file_systems import file_system, is_network

LOCK: Final = "lock"
MARKER: Final = "hub.json"

MARKER_BYTES_MAX: Final = 4096


class _Marker(msgspec.Struct, frozen=True):
    hub_id: str


def prepare(data: Path, *, allow_network: bool = False) -> None:
    """Create the folder, readable by its owner only, or check the one that is there.

    Raises:
        StorageForeign: It is no folder, everybody may write to it, or it lies on a network file
            system and `allow_network` is false.
        StorageError: It cannot be created; the message gives the path and the reason.
    """
    try:
        _create(data)
        mode = data.stat().st_mode
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageForeign(
            f"Log folder `{error.filename or data}` is not a folder",
            hint="give a folder with --data",
        ) from error
    except OSError as error:
        raise cannot("created", data, error) from error
    if mode & stat.S_IWOTH:
        raise StorageForeign(
            f"Log folder `{data}` can be written by everybody",
            hint=f"give a folder of your own with --data, or run: chmod 700 {data}",
        )
    kind = file_system(data)
    if not allow_network and is_network(kind):
        raise StorageForeign(
            f"Log folder `{data}` lies on a network file system ({kind}), where a log can be lost",
            hint=f"give a folder on a local disk, for example --data /var/tmp/hpc-{os.getuid()}",
        )
    if mode & 0o077 and (not any(data.iterdir()) or (data / MARKER).exists()):
        # Ours alone, or about to be: others need not see the names in it. Where another user owns
        # it the files' own modes still protect what they hold.
        with contextlib.suppress(PermissionError):
            data.chmod(0o700)


def _create(data: Path) -> None:
    missing = [p for p in (data, *data.parents) if not p.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    if not data.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(data))


def take_lock(data: Path) -> int:
    """Take the folder for this process; the file descriptor returned holds it until it is closed.

    Raises:
        StorageLocked: Another process has it; the message gives its pid.
        StorageError: The lock file cannot be opened.
    """
    path = data / LOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise cannot("opened", path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        who = f"process {holder}" if holder.isdigit() else "another process"
        raise StorageLocked(
            f"Log folder `{data}` is in use by {who}",
            hint="stop that Hub first, or give this one another folder with --data",
        ) from error
    except OSError as error:
        os.close(fd)
        raise cannot("locked", path, error) from error
    # The pid is for a message only. On a full disk it may be missing; the lock holds all the same.
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def read_marker(data: Path) -> str | None:
    """Return the id of the Hub that this folder has held, or None for a folder without a marker.

    Raises:
        StorageForeign: The marker is there and cannot be understood.
        StorageError: It cannot be read.
    """
    path = data / MARKER
    try:
        with path.open("rb") as file:
            text = file.read(MARKER_BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("read", path, error) from error
    try:
        return msgspec.json.decode(text, type=_Marker).hub_id
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageForeign(
            f"Marker `{path}` is damaged: {error}",
            hint=f"if the log beside it is intact, remove {path}; it is written anew at the start",
        ) from error


def write_marker(data: Path, hub_id: str) -> None:
    """Write the marker, durably and whole or not at all.

    Raises:
        StorageError: It cannot be written; a former marker is as it was.
    """
    path = data / MARKER
    draft = data / f"{MARKER}.new"
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(_Marker(hub_id)) + b"\n")
            file.flush()
            os.fsync(fd)
        draft.replace(path)
        sync_folder(data)
    except OSError as error:
        raise cannot("written", path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; without it a new file can vanish in a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file(path: Path) -> None:
    """Make what a file holds durable."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cannot(verb: str, path: Path, error: OSError) -> StorageError:
    """Return the error that says what could not be done to `path`, and why."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull(
            f"`{path}` cannot be {verb}: {error.strerror}",
            hint=f"free some space under {path.parent}",
        )
    return StorageError(
        f"`{path}` cannot be {verb}: {error.strerror or error}",
        hint="the log needs a folder that this user may write to; give one with --data",
    )


def free_bytes(folder: Path) -> int:
    """Return how many bytes this user may still write under a folder.

    Raises:
        StorageError: The folder cannot be read.
    """
    try:
        room = os.statvfs(folder)
    except OSError as error:
        raise cannot("read", folder, error) from error
    return room.f_bavail * room.f_frsize
