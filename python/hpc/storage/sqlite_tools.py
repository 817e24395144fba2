"""What `hpc log` does with a log in SQLite: look at it beside a Hub, copy it, put a copy back.

A copy is one file, consistent, with everything that was committed when copying began: SQLite's
backup reads one snapshot of the database while the Hub writes on. It is a log like any other, in
rollback mode until a Hub opens it, so that it is whole in one file and can be read anywhere.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw

from hpc.errors import StorageForeign, UsageError
from hpc.protocols import LogHead
from hpc.storage import folder, log_file
from hpc.storage.log_file import LOG, translated
from hpc.storage.sqlite import SqliteReader, open_file, open_reader

PROBLEMS_MAX = 20
"""Of the file's structure that are told."""


class SqliteLogReader(SqliteReader):
    """A reader that goes on behind what cannot be read."""

    @contextlib.contextmanager
    def instant(self) -> Iterator[None]:
        """What is read within is the log as it is at the first look, whatever is written."""
        with self._using("read"):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with self._using("read"):
                self._db.execute("ROLLBACK")

    def integrity(self) -> list[str]:
        """Return what SQLite finds wrong with the file's structure, sentence by sentence."""
        with self._using("read"):
            found = self._db.execute(f"PRAGMA integrity_check({PROBLEMS_MAX})")
            return [str(told) for (told,) in found if told != "ok"]

    def copy_to(self, path: Path) -> LogHead:
        """Copy the log as it is at one instant into a new file, synced; returns its head."""
        with self._using("read"):
            log_file.copy_to(self._db, path)
        with contextlib.closing(open_file(path, SqliteReader)) as copy:
            return copy.head()


class SqliteTools:
    """Implements `hpc.protocols.LogTools`."""

    def reader(self, place: Path) -> SqliteLogReader:
        """Open a data folder, or an exported file, for reading only; takes no lock.

        Raises:
            StorageForeign: There is no log of ours.
            StorageError: It cannot be read, with the reason.
        """
        opened = open_reader if place.is_dir() else open_file
        return opened(place, SqliteLogReader)

    def export(self, data: Path, file: Path) -> LogHead:
        """Copy a log into one file, whether or not a Hub writes to it; returns the copy's head.

        Raises:
            UsageError: The file exists already.
            StorageFull: There is no room for it; nothing is left behind.
            StorageError: It cannot be read or written, with the reason.
        """
        file = file.absolute()
        draft = file.with_name(f"{file.name}.part")
        with contextlib.closing(self.reader(data)) as reader:
            try:
                # The name is ours from here on, so that nothing can be written over.
                os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            except FileExistsError as error:
                raise UsageError(
                    f"`{file}` exists already", field="output", hint="give another name"
                ) from error
            except OSError as error:
                raise folder.cannot("created", file, error) from error
            try:
                head = reader.copy_to(draft)
                draft.rename(file)
                folder.sync_folder(file.parent)
            except OSError as error:
                _forget(draft, file)
                raise folder.cannot("written", file, error) from error
            except BaseException:
                _forget(draft, file)
                raise
        return head

    def restore(self, file: Path, data: Path) -> LogHead:
        """Put an exported log into a data folder that has none, or has lost its own.

        Raises:
            StorageForeign: The file is no log, or the folder has one, or was another Hub's.
            StorageLocked: A Hub has the folder.
            StorageError: It cannot be copied, with the reason.
        """
        file, data = file.absolute(), data.absolute()
        with contextlib.closing(self.reader(file)) as reader:
            hub_id, head = reader.hub_id, reader.head()
        folder.prepare(data)
        lock = folder.take_lock(data)
        try:
            path = data / LOG
            if path.exists():
                raise StorageForeign(
                    f"There is a log `{path}` already",
                    hint="give another folder with --data, or move that file away first",
                )
            log_file.check_marker(data, hub_id)
            draft = path.with_name(f"{LOG}.new")
            shutil.copyfile(file, draft)
            draft.chmod(0o600)
            log_file.begin_lineage(draft, hub_id)
            folder.sync_file(draft)
            draft.rename(path)
            folder.sync_folder(data)
        except OSError as error:
            raise folder.cannot("restored", data / LOG, error) from error
        finally:
            os.close(lock)
        return head

    def shrink(self, data: Path) -> int:
        """Give the disk back what the file no longer needs; returns how many bytes.

        It writes the file anew, in one transaction: until then it needs as much room again.

        Raises:
            StorageLocked: A Hub has the folder.
            StorageFull: There is not so much room; the log is as it was.
            StorageError: It cannot be written, with the reason.
        """
        path = data.absolute() / LOG
        log_file.check_header(path)
        lock = folder.take_lock(data.absolute())
        before = path.stat().st_size
        try:
            with (
                translated(path, "written"),
                contextlib.closing(apsw.Connection(str(path))) as db,
            ):
                db.pragma("synchronous", "FULL")
                db.execute("VACUUM")
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            os.close(lock)
        return max(0, before - path.stat().st_size)


def _forget(*names: Path) -> None:
    for name in names:
        name.unlink(missing_ok=True)
