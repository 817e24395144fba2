"""Connections to the log's file: opened for writing or for reading, and the WAL laid out.

A writer has WAL mode with `synchronous=FULL`, and runs its checkpoints itself (sqlite.py).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import apsw

from hpc.errors import StorageError, StorageFull
from hpc.storage import folder, log_file
from hpc.storage.log_file import LOG, translated

CHECKPOINT_PAGES: Final = 1000
"""WAL pages of 4 KiB after which a commit also checkpoints.

A longer WAL has fewer and longer pauses; 16,000 made a commit slower, since extending a file costs
more than writing over it.
"""

WAL_BYTES_A_PAGE: Final = (4096 + 24) * 5 // 4
"""A page and its head, and a quarter more for the commit that a checkpoint waits for."""

WAL_HEADER_BYTES: Final = 32

WAL_PIECE_BYTES: Final = 64 * 1024

WAL_LAID_OUT_MIN_FREE: Final = 256 * 1024 * 1024
"""On a disk that has less the WAL takes only what it needs."""

BUSY_MS: Final = 5000
"""How long to wait for a reader's short locks; nobody else writes."""


def connect_or_look(path: Path, vfs: str | None) -> apsw.Connection:
    """Open for writing, or on a full disk for reading the file as it is."""
    try:
        return connect(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    except StorageFull:
        if _holds_frames(path.with_name(f"{LOG}-wal")):
            raise  # what the WAL holds cannot be read without room for its index
        # Nobody writes to the file while we hold the folder, which is what `immutable` asks for.
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        return connect(path, flags, vfs, uri=f"{path.as_uri()}?immutable=1")


def _holds_frames(wal: Path) -> bool:
    """Return whether a WAL has a header: one that was only laid out has zeros."""
    try:
        with wal.open("rb") as file:
            return any(file.read(WAL_HEADER_BYTES))
    except FileNotFoundError:
        return False


def connect(path: Path, flags: int, vfs: str | None, *, uri: str | None = None) -> apsw.Connection:
    """Open the file as the flags say, checked, and for a writer prepared.

    Raises:
        StorageError: It cannot be opened, with the reason.
    """
    with translated(path, "opened"):
        db = apsw.Connection(uri or str(path), flags=flags, vfs=vfs)
        try:
            db.set_busy_timeout(BUSY_MS)
            log_file.check_version(path, db.pragma("user_version"))
            db.pragma("cell_size_check", True)
            db.pragma("trusted_schema", False)
            if flags & apsw.SQLITE_OPEN_READWRITE:
                _prepare_writer(path, db)
        except BaseException:
            db.close()
            raise
        return db


def _lay_out_wal(wal: Path) -> None:
    """Give an empty WAL the length that it will have, so that no commit has to extend it.

    A commit that extends a file waits for the file system's journal as well: a quarter of what it
    takes. SQLite takes a WAL whose header is zeros for an empty one, and ends reading at the first
    frame that is not of this WAL.
    """
    if folder.free_bytes(wal.parent) < WAL_LAID_OUT_MIN_FREE:
        return
    with contextlib.suppress(OSError):  # it grows as it is needed
        file = os.open(wal, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.fstat(file).st_size == 0:
                # In pieces: after a large block is freed, glibc keeps others of its size.
                piece = bytes(WAL_PIECE_BYTES)
                for at in range(0, CHECKPOINT_PAGES * WAL_BYTES_A_PAGE, WAL_PIECE_BYTES):
                    os.pwrite(file, piece, at)
                os.fsync(file)
        finally:
            os.close(file)


def _prepare_writer(path: Path, db: apsw.Connection) -> None:
    if db.pragma("journal_mode", "wal") != "wal":
        raise StorageError(f"Log `{path}` cannot be put into WAL mode")
    db.pragma("synchronous", "FULL")
    db.pragma("wal_autocheckpoint", 0)
    if db.pragma("user_version") < log_file.VERSION:
        log_file.back_up(path, db)
        log_file.upgrade(db)
    # After an fsync that failed, the page cache may show a commit that is not on disk, and a retry
    # of its batch would be acknowledged. Copied into the database and synced there, it is.
    with contextlib.suppress(apsw.BusyError, apsw.FullError):
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _lay_out_wal(path.with_name(f"{LOG}-wal"))
    # SQLite has made the WAL's name by now; it must outlive a power cut as well.
    try:
        folder.sync_folder(path.parent)
    except OSError as error:
        raise folder.cannot("opened", path, error) from error
