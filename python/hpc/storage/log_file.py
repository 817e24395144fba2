"""The file `log.sqlite3`: how it is created, what its first bytes must say, what its errors mean.

A new log is made whole under another name and renamed, so a file of zero bytes under its own name
is never ours and never written to. `application_id` says that it is a log of hpc, `user_version`
by which schema. Its rows are sqlite.py's.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any, Final

import apsw

from hpc.errors import (
    StorageDamaged,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageLocked,
)
from hpc.storage import folder, next_lineage, sqlite_snapshots

LOG: Final = "log.sqlite3"
APPLICATION_ID: Final = 0x6870634C  # "hpcL"
VERSION: Final = 3
"""By which a log is written. One of version 1 has no snapshots, one below 3 does not say who sent
a batch; both are brought up to this."""

# Before it, a WAL that was reset while a reader began could lose a commit.
LIBRARY_MIN: Final = (3, 51, 3)

OPEN_BYTES: Final = 256 << 10
"""Room that opening a log may take: its shared memory and the WAL's first page."""

HEADER_BYTES: Final = 100
MAGIC: Final = b"SQLite format 3\0"

DAMAGED_HINT: Final = "keep a copy of the whole folder, and restore the log from a backup"

# Not STRICT, and json_extract instead of `->`, so that old `sqlite3` programs can read it too.
SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log (
    first_seq INTEGER PRIMARY KEY,
    count     INTEGER NOT NULL,
    batch_id  TEXT NOT NULL UNIQUE,
    digest    BLOB NOT NULL,
    chain     BLOB NOT NULL,
    flags     INTEGER NOT NULL,
    body      TEXT NOT NULL
);
CREATE INDEX log_control ON log (first_seq) WHERE flags & 1;
CREATE TABLE job_rows (
    job_id    TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    PRIMARY KEY (job_id, first_seq)
) WITHOUT ROWID;
"""

VIEW: Final = """
CREATE VIEW events AS
SELECT log.first_seq + each.key                 AS seq,
       log.batch_id                             AS id,
       each.key                                 AS idx,
       json_extract(each.value, '$.at')         AS at,
       json_extract(each.value, '$.kind')       AS kind,
       json_extract(each.value, '$.payload')    AS payload,
       json_extract(each.value, '$.settles')    AS settles,
       json_extract(log.body, '$.who')          AS who
FROM log, json_each(nullif(log.body, ''), '$.events') AS each;
"""


def check_library(version: str) -> None:
    """Refuse an SQLite library with a fault that loses commits.

    Raises:
        StorageError: `version` is older than 3.51.3.
    """
    if tuple(int(part) for part in version.split(".")) < LIBRARY_MIN:
        wanted = ".".join(map(str, LIBRARY_MIN))
        raise StorageError(
            f"The SQLite library is {version}: the log needs {wanted} or newer",
            hint=f"pip install 'apsw>={wanted}'",
        )


def create_or_check(data: Path, *, new_hub_id: str) -> None:
    """See that the folder holds a log of ours, making one only where there has never been one.

    Args:
        data: The folder, locked by the caller.
        new_hub_id: Id of the Hub of a log that is made.

    Raises:
        StorageForeign: The log is missing or empty where a Hub has been, or is not one of ours.
        StorageError: It cannot be created.
    """
    path = data / LOG
    if path.exists():
        check_header(path)
        return
    hub_id = folder.read_marker(data)
    leftovers = [p.name for p in (data / f"{LOG}-wal", data / "outputs") if p.exists()]
    if hub_id is not None or leftovers:
        was = f"the folder held Hub `{hub_id}`" if hub_id else f"`{leftovers[0]}` is still there"
        raise StorageForeign(
            f"Log `{path}` is missing, but {was}",
            hint=f"restore {path} from a backup, or give another folder with --data "
            "to start an empty Hub",
        )
    _create(path, new_hub_id)


def _create(path: Path, hub_id: str) -> None:
    draft = path.with_name(f"{LOG}.new")
    try:
        for rest in path.parent.glob(f"{LOG}.new*"):  # of a start that was cut off
            rest.unlink()
        # SQLite gives the WAL and the shared memory the mode of the database.
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with translated(draft, "created"), contextlib.closing(apsw.Connection(str(draft))) as db:
            db.pragma("journal_mode", "wal")
            db.pragma("synchronous", "FULL")
            with db:
                db.pragma("application_id", APPLICATION_ID)
                db.pragma("user_version", VERSION)
                db.execute(SCHEMA + VIEW + sqlite_snapshots.SCHEMA)
                db.execute("INSERT INTO meta VALUES ('hub_id', ?)", (hub_id,))
        # Closing has checkpointed: all of it is in the one file.
        draft.rename(path)
        folder.sync_folder(path.parent)
    except OSError as error:
        raise folder.cannot("created", path, error) from error


def check_header(path: Path) -> None:
    """Read the first bytes without SQLite, which might write to a file that is not ours.

    Raises:
        StorageForeign: It is missing, empty, no SQLite file, no log of ours, or from a newer hpc.
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except FileNotFoundError as error:
        raise StorageForeign(
            f"There is no log `{path}`", hint="give the folder of a Hub with --data"
        ) from error
    except OSError as error:
        raise folder.cannot("read", path, error) from error
    if not header:
        raise StorageForeign(
            f"Log `{path}` is empty (0 bytes)",
            hint=f"restore {path} from a backup, or give another folder with --data",
        )
    application_id = int.from_bytes(header[68:72], "big")
    if len(header) < HEADER_BYTES or header[:16] != MAGIC or application_id != APPLICATION_ID:
        raise StorageForeign(
            f"`{path}` is not a log of hpc", hint="give another folder with --data"
        )
    check_version(path, int.from_bytes(header[60:64], "big"))


def check_version(path: Path, version: int) -> None:
    """Refuse a log that another hpc has written.

    Raises:
        StorageForeign: `version` is none that this program reads.
    """
    if not 1 <= version <= VERSION:
        raise StorageForeign(
            f"Log `{path}` has version {version}: this hpc reads versions 1 to {VERSION}",
            hint="start the Hub with the hpc that wrote it, or a newer one",
        )


def upgrade(db: apsw.Connection) -> None:
    """Bring an older log up to this version, in one transaction; no row of it is touched."""
    has_snapshots = db.pragma("user_version") >= sqlite_snapshots.SINCE_VERSION
    with db:
        db.execute("DROP VIEW events")
        db.execute(VIEW if has_snapshots else VIEW + sqlite_snapshots.SCHEMA)
        db.pragma("user_version", VERSION)


def back_up(path: Path, db: apsw.Connection) -> None:
    """Copy a log of a former version to `log.sqlite3.v1`, before it is brought up; synced.

    Raises:
        StorageFull: There is no room for it; the log is as it was.
        StorageError: It cannot be written.
    """
    copy = path.with_name(f"{path.name}.v{db.pragma('user_version')}")
    draft = copy.with_name(f"{copy.name}.part")
    try:
        copy_to(db, draft)
        draft.rename(copy)
        folder.sync_folder(path.parent)
    except OSError as error:
        raise folder.cannot("written", copy, error) from error
    finally:
        draft.unlink(missing_ok=True)


def copy_to(db: apsw.Connection, path: Path) -> None:
    """Copy an open log into a new file, in one step and as it is at one instant; synced.

    Raises:
        StorageError: It cannot be read or written, with the reason.
        OSError: Likewise.
    """
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with translated(path, "written"), contextlib.closing(apsw.Connection(str(path))) as copied:
        # In one step: others write meanwhile, and the copy need not begin anew.
        with copied.backup("main", db, "main") as backup:
            backup.step(-1)
        copied.pragma("journal_mode", "delete")
    folder.sync_file(path)


def hub_id_of(path: Path, db: apsw.Connection) -> str:
    """Return the id of the Hub that an open log belongs to.

    Raises:
        StorageDamaged: The log does not say.
    """
    with translated(path, "read"):
        found: list[Any] = db.execute("SELECT value FROM meta WHERE key = 'hub_id'").fetchall()
    if not found or not isinstance(found[0][0], str):
        raise StorageDamaged(f"Log `{path}` does not say which Hub it is of", hint=DAMAGED_HINT)
    return str(found[0][0])


def lineage_of(path: Path, db: apsw.Connection) -> str | None:
    """Return the name of the history that began later than the log; None: none did."""
    with translated(path, "read"):
        found: list[Any] = db.execute("SELECT value FROM meta WHERE key = 'lineage'").fetchall()
    return str(found[0][0]) if found else None


def put_lineage(db: apsw.Connection, lineage: str) -> None:
    """Say in a log that its history goes on otherwise from here, as part of a transaction."""
    db.execute("INSERT OR REPLACE INTO meta VALUES ('lineage', ?)", (lineage,))


def begin_lineage(path: Path, hub_id: str) -> None:
    """Say so in a log that is put back."""
    with translated(path, "written"), contextlib.closing(apsw.Connection(str(path))) as db, db:
        put_lineage(db, next_lineage(hub_id))


def check_marker(data: Path, hub_id: str) -> None:
    """Hold the log against the folder's marker, which is written where it is missing.

    Raises:
        StorageForeign: The marker names another Hub.
        StorageError: It cannot be read or written.
    """
    marked = folder.read_marker(data)
    if marked is None:
        folder.write_marker(data, hub_id)
    elif marked != hub_id:
        raise StorageForeign(
            f"Log `{data / LOG}` is of Hub `{hub_id}`, but the folder held Hub `{marked}`",
            hint=f"restore the log of `{marked}`, or give another folder with --data",
        )


class translated:  # noqa: N801 - used as a function
    """Turns what APSW raises about a file into errors of ours; `verb` is what could not be done.

    A class, since a commit enters it, and a generator's frames cost as much as a statement.
    """

    __slots__ = ("_path", "_verb")

    def __init__(self, path: Path, verb: str) -> None:
        self._path = path
        self._verb = verb

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise ours for one of APSW's."""
        if isinstance(error, apsw.Error | UnicodeDecodeError):
            raise _translation(self._path, self._verb, error) from error


def _translation(path: Path, verb: str, error: Exception) -> StorageError:
    kind: type[StorageError] = StorageError
    message = f"Log `{path}` cannot be {verb}: {error}"
    hint: str | None = None
    match error:
        case apsw.FullError() | apsw.IOError() if _has_no_room(path, verb, error):
            kind = StorageFull
            message = f"Log `{path}` cannot be {verb}: no space left on the disk"
            hint = f"free some space under {path.parent}; a running Hub goes on by itself"
        case apsw.BusyError() | apsw.LockedError():
            kind = StorageLocked
            message = f"Log `{path}` cannot be {verb}: another process has a lock on it"
            hint = "end the program that has it open for writing"
        case apsw.NotADBError():
            kind = StorageForeign
            message = f"`{path}` is not an SQLite database"
            hint = "give another folder with --data"
        # A TEXT that is no UTF-8 comes out of APSW as UnicodeDecodeError, not as one of its own.
        case apsw.CorruptError() | UnicodeDecodeError():
            kind = StorageDamaged
            message = f"Log `{path}` is damaged: {error}"
            hint = DAMAGED_HINT
        case apsw.CantOpenError() | apsw.ReadOnlyError() | apsw.PermissionsError():
            message = f"Log `{path}` cannot be {verb}: {_reason(path) or error}"
            hint = "the log needs a folder that this user may write to; give one with --data"
        case apsw.IOError():
            message = f"The disk failed under log `{path}`: whether it was {verb} is unknown"
            hint = f"see the system's log for the disk (SQLite says: {error})"
    return kind(message, hint=hint)


def _has_no_room(path: Path, verb: str, error: Exception) -> bool:
    """Return whether a failure came from a full disk.

    For want of shared memory SQLite fails to open as if the disk were broken.
    """
    if isinstance(error, apsw.FullError):
        return True
    return verb in {"opened", "created"} and folder.free_bytes(path.parent) < OPEN_BYTES


def _reason(path: Path) -> str | None:
    """Return why a file cannot be opened for writing; SQLite does not say."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror
    os.close(fd)
    # The file can be opened, so it is the WAL beside it that cannot be created.
    if os.statvfs(path.parent).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    return None if os.access(path.parent, os.W_OK) else "the folder cannot be written to"
