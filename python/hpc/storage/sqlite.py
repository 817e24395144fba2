"""The log in one SQLite file, through APSW: the embedded default.

One row holds one batch, its body as the canonical JSON text that the engine made, so that any
SQLite client can query the view `events`. One connection writes and checkpoints, in WAL mode with
`synchronous=FULL`: when `append` returns, the rows have been fsynced. Checkpoints are run here and
not by SQLite, which keeps their errors to itself: an fsync that has failed must end the Hub and
never be tried again. Others may look while the Hub runs, with `open_reader` or `sqlite3`.

It never looks into a body or a snapshot and never verifies the chain; that is the engine's. Who
may have the folder is folder.py's, where the log goes in it and what its bytes must say is
log_file.py's, how it is opened sqlite_connect.py's, how snapshots lie in it sqlite_snapshots.py's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import msgspec

from hpc.errors import StorageDamaged, StorageError, StorageFull, StorageKnown, StorageLocked
from hpc.protocols import LogHead, LogRow, SnapshotHead
from hpc.storage import (
    EMPTY,
    folder,
    head_after,
    log_file,
    next_lineage,
    sqlite_connect,
    sqlite_snapshots,
)
from hpc.storage.log_file import LOG, translated

DIGEST_BYTES: Final = 32

FEW_JOBS: Final = 8
"""So many jobs of a batch are noted one by one, which takes less than to hand over a list."""

R = TypeVar("R", bound="SqliteReader")

# CAST keeps APSW from decoding a body to str only for it to be encoded again.
_ROW: Final = "log.first_seq, count, batch_id, digest, chain, flags, CAST(body AS BLOB)"


class SqliteReader:
    """The reading half of an `EventLog`, on a connection of its own.

    A second one, in another thread or process, reads beside the Hub that writes, and sees what is
    committed when each call begins.
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self._path = path
        self._db = connection
        self._closed = False
        try:
            self.hub_id: str = log_file.hub_id_of(path, connection)
            self.lineage: str = log_file.lineage_of(path, connection) or self.hub_id
        except BaseException:
            connection.close()
            raise

    def head(self) -> LogHead:
        """Return the end of the log."""
        sql = "SELECT first_seq + count - 1, chain FROM log ORDER BY first_seq DESC LIMIT 1"
        with self._using("read"):
            found: list[Any] = self._db.execute(sql).fetchall()
        return LogHead(*found[0]) if found else EMPTY

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        """Return rows in order from the one that holds `first_seq`, with `limit` events or more.

        Raises:
            StorageDamaged: A row cannot be read, or the one that should follow is missing.
        """
        sql = (
            f"SELECT {_ROW} FROM log WHERE first_seq >= "  # noqa: S608 - a constant
            "(SELECT coalesce(max(first_seq), 0) FROM log WHERE first_seq <= ?) ORDER BY first_seq"
        )
        found: list[LogRow] = []
        events, follows = 0, 0
        with self._using("read"), contextlib.closing(self._db.cursor()) as cursor:
            # An unfinished cursor would hold its snapshot open, and the WAL could never restart.
            for values in cursor.execute(sql, (max(first_seq, 1),)) if limit > 0 else ():
                row = self._row(values, follows or None)
                follows = row.first_seq + row.count
                if follows <= first_seq:
                    continue
                found.append(row)
                events += row.count
                if events >= limit:
                    break
        return found

    def next_after(self, first_seq: int) -> int | None:
        """Return the first seq of the next batch that is there, or None."""
        with self._using("read"):
            found: list[Any] = self._db.execute(
                "SELECT min(first_seq) FROM log WHERE first_seq > ?", (first_seq,)
            ).fetchall()
        return None if found[0][0] is None else int(found[0][0])

    def read_control(self) -> list[LogRow]:
        """Return every row with flag bit 0, in order."""
        return self._rows(f"SELECT {_ROW} FROM log WHERE flags & 1 ORDER BY first_seq", ())  # noqa: S608

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        """Return at most `limit` rows that speak of a job and end after `after_seq`, in order."""
        # Of the rows that begin at or before `after_seq + 1` only the last can end after it.
        sql = (
            f"SELECT {_ROW} FROM job_rows JOIN log USING (first_seq) "  # noqa: S608
            "WHERE job_id = ?1 AND job_rows.first_seq >= "
            "(SELECT coalesce(max(first_seq), 0) FROM log WHERE first_seq <= ?2 + 1) "
            "AND log.first_seq + count - 1 > ?2 ORDER BY job_rows.first_seq LIMIT ?3"
        )
        return self._rows(sql, (job_id, after_seq, max(limit, 0)))

    def receipt(self, batch_id: str) -> LogRow | None:
        """Return the row of a batch id, or None."""
        found = self._rows(f"SELECT {_ROW} FROM log WHERE batch_id = ?", (batch_id,))  # noqa: S608
        return found[0] if found else None

    def floor(self) -> int:
        """Return the seq above the newest batch whose body was dropped; 1 where none was."""
        with self._using("read"):
            found: list[Any] = self._db.execute(
                "SELECT value FROM meta WHERE key = 'floor'"
            ).fetchall()
        return int(found[0][0]) if found else 1

    def snapshots(self) -> list[SnapshotHead]:
        """Return the snapshots that are stored whole, the newest first: two at most."""
        with self._using("read"):
            if self._db.pragma("user_version") < sqlite_snapshots.SINCE_VERSION:
                return []  # of a log that could not be written to since
            return sqlite_snapshots.heads(self._db)

    def read_snapshot(self, number: int) -> bytes:
        """Return the state of a snapshot.

        Raises:
            StorageDamaged: It is not as it was stored, or not there.
        """
        with self._using("read"):
            state = sqlite_snapshots.state_of(self._db, number)
        if state is None:
            raise StorageDamaged(f"Snapshot {number} of log `{self._path}` is not as it was stored")
        return state

    def free_bytes(self) -> int:
        """Return how many bytes the disk under the log has free for this user."""
        return folder.free_bytes(self._path.parent)

    def close(self) -> None:
        """Release the connection; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._db.close()

    def _rows(self, sql: str, values: tuple[Any, ...]) -> list[LogRow]:
        with self._using("read"):
            return [self._row(found) for found in self._db.execute(sql, values)]

    def _row(self, values: tuple[Any, ...], follows: int | None = None) -> LogRow:
        row = LogRow(*values)
        if follows is not None and row.first_seq != follows:
            raise StorageDamaged(
                f"Log `{self._path}` is damaged: the batch with first seq {follows} is missing, "
                f"`{row.batch_id}` with first seq {row.first_seq} comes next",
                hint=log_file.DAMAGED_HINT,
            )
        shapes = (
            isinstance(row.count, int) and row.count > 0,
            isinstance(row.batch_id, str),
            isinstance(row.digest, bytes) and len(row.digest) == DIGEST_BYTES,
            isinstance(row.chain, bytes) and len(row.chain) == DIGEST_BYTES,
            isinstance(row.flags, int),
            isinstance(row.body, bytes),
        )
        if not all(shapes):
            raise StorageDamaged(
                f"Log `{self._path}` is damaged at the batch with first seq {row.first_seq}",
                hint=log_file.DAMAGED_HINT,
            )
        return row

    def _using(self, verb: str) -> translated:
        if self._closed:
            raise StorageError(f"Log `{self._path}` is closed")
        return translated(self._path, verb)


class SqliteLog(SqliteReader):
    """An `EventLog` in `log.sqlite3` of a folder that this process has locked.

    Where the disk is too full to open the log for writing, it is opened for reading, and each
    append tries anew.
    """

    def __init__(self, path: Path, lock: int, vfs: str | None = None) -> None:
        super().__init__(path, sqlite_connect.connect_or_look(path, vfs))
        self._lock = lock
        self._vfs = vfs
        self._failed: StorageError | None = None
        self._wal_pages = 0
        self._checkpoint_at = sqlite_connect.CHECKPOINT_PAGES
        self._db.set_wal_hook(self._on_wal)
        try:
            self._head = super().head()
        except BaseException:
            self._db.close()
            raise

    def head(self) -> LogHead:
        """Return the end of the log."""
        return self._head

    def append(self, rows: Sequence[LogRow]) -> None:
        """Append rows in order, all or none, fsynced when this returns.

        Raises:
            StorageFull: Nothing was appended; the same rows may be appended again.
            StorageKnown: A batch id is in the log already; nothing was appended.
            StorageLocked: Another process writes to the file; nothing was appended.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        self._check_open()
        head = head_after(self._head, rows)
        if rows:
            self._write(lambda db: self._insert(db, rows), head)

    def snapshot(self, state: bytes, seq: int) -> Iterator[None]:
        """Store a state in steps of a megabyte, and drop all but the two newest snapshots.

        Raises:
            StorageFull: This step was not taken; the snapshot may be given up.
            StorageLocked: Another process writes to the file; likewise.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        self._check_open()
        chain = self._chain_at(seq)
        number = sqlite_snapshots.next_number(self._db)
        for part, piece in sqlite_snapshots.parts_of(state):
            self._write(functools.partial(_put_part, number, part, piece))
            yield
        head = SnapshotHead(number, seq, chain)
        self._write(lambda db: sqlite_snapshots.put_head(db, head, state))
        # What the older ones held is taken out step by step as well.
        for rowid in sqlite_snapshots.left_over(self._db):
            yield
            self._write(functools.partial(_drop_part, rowid))

    def begin_lineage(self) -> None:
        """Give the history another name, durable when this returns.

        Raises:
            StorageFull: It has the name that it had.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        lineage = next_lineage(self.hub_id)
        self._write(lambda db: log_file.put_lineage(db, lineage))
        self.lineage = lineage

    def compact(self, first_seqs: Sequence[int]) -> None:
        """Drop the bodies of batches, all or none, durable when this returns; the rows stay.

        Raises:
            AssertionError: A batch does not lie below the older of two snapshots, or registers
                something: its body is needed.
            StorageFull: Nothing was dropped.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        self._check_open()
        kept = self.snapshots()
        below = min(head.seq for head in kept) if len(kept) == sqlite_snapshots.KEPT else 0
        if first_seqs:
            self._write(lambda db: _drop_bodies(db, first_seqs, below))

    def reader(self) -> SqliteReader:
        """Open a second reading half on a connection of its own; may be called on any thread.

        Raises:
            StorageError: It cannot be opened, with the reason.
        """
        if self._closed:
            raise StorageError(f"Log `{self._path}` is closed")
        return SqliteReader(
            self._path, sqlite_connect.connect(self._path, apsw.SQLITE_OPEN_READONLY, self._vfs)
        )

    def close(self) -> None:
        """Checkpoint, close and release the folder; a second call does nothing."""
        if self._closed:
            return
        try:
            with translated(self._path, "closed"):
                super().close()
        finally:
            os.close(self._lock)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"Log `{self._path}` is closed")
        if self._failed:
            raise StorageError(
                f"Log `{self._path}` must be reopened: {self._failed.message}",
                hint=self._failed.hint,
            ) from self._failed

    def _write(
        self, change: Callable[[apsw.Connection], None], head: LogHead | None = None
    ) -> None:
        """Commit a change, after which the log ends at `head` where that is given."""
        self._check_open()
        try:
            with self._using("written"):
                if self._db.readonly("main"):
                    self._reconnect()
                self._commit(change)
            self._head = head or self._head
            if self._wal_pages >= self._checkpoint_at:
                self._checkpoint()
        except StorageError as error:
            if not isinstance(error, StorageFull | StorageLocked | StorageKnown):
                self._failed = error
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise

    def _insert(self, db: apsw.Connection, rows: Sequence[LogRow]) -> None:
        try:
            # The body is bound as bytes and made TEXT by SQLite, which does not look at it.
            db.executemany(
                "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, CAST(? AS TEXT))",
                (tuple(row[:7]) for row in rows),
            )
        except apsw.ConstraintError as error:
            # The engine forgets a receipt after some time, and the log never.
            known = "SELECT batch_id FROM log WHERE batch_id = ? AND first_seq <= ?"
            for row in rows:
                if db.execute(known, (row[2], self._head.last_seq)).fetchall():
                    raise StorageKnown(row[2]) from error
            raise AssertionError(f"A batch id or seq comes twice: {error}") from error
        for row in rows:
            _insert_jobs(db, row[7], row[0])

    def _chain_at(self, seq: int) -> bytes:
        sql = "SELECT chain FROM log WHERE first_seq <= ?1 AND first_seq + count - 1 = ?1"
        with self._using("read"):
            found: list[Any] = self._db.execute(
                f"{sql} ORDER BY first_seq DESC LIMIT 1", (seq,)
            ).fetchall()
        if not found:
            raise AssertionError(f"No batch of the log ends at seq {seq}")
        return bytes(found[0][0])

    def _commit(self, change: Callable[[apsw.Connection], None]) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            change(db)
            db.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors and not after others.
            if not db.get_autocommit():
                db.execute("ROLLBACK")
            raise

    def _reconnect(self) -> None:
        db = sqlite_connect.connect(self._path, apsw.SQLITE_OPEN_READWRITE, self._vfs)
        self._db.close()
        self._db = db
        db.set_wal_hook(self._on_wal)

    def _on_wal(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        if pages < self._wal_pages:  # the WAL has begun anew at its start
            self._checkpoint_at = sqlite_connect.CHECKPOINT_PAGES
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the WAL into the database; the rows in it are durable already.

        A full disk or a reader that is in the way only puts it off until as many pages more.
        """
        self._checkpoint_at = self._wal_pages + sqlite_connect.CHECKPOINT_PAGES
        with (
            self._using("checkpointed"),
            contextlib.suppress(apsw.BusyError, apsw.LockedError, apsw.FullError),
        ):
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


def _insert_jobs(db: apsw.Connection, job_ids: Sequence[str], first_seq: int) -> None:
    """Note which jobs the batch with a first seq speaks of."""
    if len(job_ids) > FEW_JOBS:
        # One statement for all: a batch may submit a hundred thousand.
        db.execute(
            "INSERT OR IGNORE INTO job_rows SELECT value, ?2 FROM json_each(?1)",
            (msgspec.json.encode(job_ids).decode(), first_seq),
        )
        return
    for job_id in job_ids:
        db.execute("INSERT OR IGNORE INTO job_rows VALUES (?, ?)", (job_id, first_seq))


def _put_part(number: int, part: int, piece: memoryview, db: apsw.Connection) -> None:
    sqlite_snapshots.put_part(db, number, part, piece)


def _drop_part(rowid: int, db: apsw.Connection) -> None:
    sqlite_snapshots.drop_part(db, rowid)


def _drop_bodies(db: apsw.Connection, first_seqs: Sequence[int], below: int) -> None:
    """Drop bodies below a seq, and raise the floor above them."""
    for first_seq in first_seqs:
        db.execute(
            "UPDATE log SET body = '' WHERE first_seq = ? AND first_seq + count - 1 <= ? "
            "AND NOT flags & 1",
            (first_seq, below),
        )
        if db.changes() != 1:
            raise AssertionError(f"The body of the batch with first seq {first_seq} is needed")
    db.execute(
        "INSERT INTO meta SELECT 'floor', first_seq + count FROM log WHERE first_seq = ?1 "
        "ON CONFLICT DO UPDATE SET value = max(CAST(value AS INTEGER), "
        "CAST(excluded.value AS INTEGER))",
        (max(first_seqs),),
    )


def open_log(data: Path, *, allow_network: bool = False, vfs: str | None = None) -> SqliteLog:
    """Open the log of a data folder, or create both, and hold the folder until it is closed.

    Args:
        data: The folder; created with mode 0700 if it is missing.
        allow_network: Take a folder on a network file system, where a log can be lost.
        vfs: Name of a registered SQLite VFS; tests of faults pass one.

    Raises:
        StorageLocked: Another process has the folder.
        StorageForeign: The folder or the file is not ours to write to; nothing was touched.
        StorageDamaged: The file is ours and cannot be read.
        StorageFull: There is no space to create or open it.
        StorageError: Anything else that kept it from being opened, with the reason.
    """
    log_file.check_library(apsw.sqlite_lib_version())
    data = data.absolute()
    folder.prepare(data, allow_network=allow_network)
    lock = folder.take_lock(data)
    try:
        log_file.create_or_check(data, new_hub_id=uuid.uuid4().hex)
        log = SqliteLog(data / LOG, lock, vfs)
    except BaseException:
        os.close(lock)
        raise
    try:
        log_file.check_marker(data, log.hub_id)
    except BaseException:
        log.close()
        raise
    return log


def open_reader(data: Path, kind: type[R]) -> R:
    """Open the log of a folder for reading only, whether or not a Hub has it; takes no lock.

    Raises:
        StorageForeign: There is no log of ours in the folder.
        StorageError: It cannot be read, with the reason.
    """
    path = data.absolute() / LOG
    log_file.check_header(path)
    return kind(path, sqlite_connect.connect(path, apsw.SQLITE_OPEN_READONLY, None))


def open_file(path: Path, kind: type[R]) -> R:
    """Open an exported log for reading only; nobody may write to it meanwhile.

    Raises:
        StorageForeign: It is no log of ours.
        StorageError: It cannot be read, with the reason.
    """
    path = path.absolute()
    log_file.check_header(path)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return kind(path, sqlite_connect.connect(path, flags, None, uri=f"{path.as_uri()}?immutable=1"))
