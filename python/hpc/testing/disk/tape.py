"""A tape of what reaches the disk: from SQLite by a VFS over the real one, from Python by `os`.

It does what it is asked to do, on real files with real locks, writes it down, and fails where it is
told to. What a Python file object writes is seen at its fsync or its renaming, as one write.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

import apsw

StrPath = str | os.PathLike[str]

_numbers = itertools.count()

REAL: Final = "unix"
"""The VFS that does it: SQLite's own default here."""

JOURNALS: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
"""Files with whose first sync SQLite syncs their folder too."""


class Op(NamedTuple):
    """One thing done to a file.

    Attributes:
        kind: `create`, `mkdir`, `write`, `truncate`, `sync`, `rename`, `delete`; `folder` is the
            sync of one; `ack` is none: what was done up to here was acknowledged.
        name: Of the file, below the folder that is recorded.
        offset: Where a write begins, or what a truncate leaves.
        data: What a write brings.
        to: The new name.
    """

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""
    to: str = ""


class FaultVfs(apsw.VFS):
    """Records operations in `ops`; raises `fail[kind]` instead of doing one, while it is set.

    Attributes:
        fault: Asked before each operation: the errno with which it fails, or None.
        live: Names that there are now.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.ops: list[Op] = []
        self.fail: dict[str, Exception] = {}
        self.fault: Callable[[Op], int | None] = lambda _op: None
        self.live: set[str] = set()
        self.name = f"fault-{next(_numbers)}"
        self._root = root
        super().__init__(self.name, base=REAL, makedefault=root is not None)

    def xOpen(  # noqa: N802 - APSW's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        """Open a file of SQLite's."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        known = self.named(path)
        if path and known is not None and not os.path.lexists(path):
            self.note_sqlite(Op("create", known))
        return _File(self, name, flags, known)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Delete a file of SQLite's."""
        name = self.named(filename)
        if name is not None and os.path.lexists(filename):
            self.note_sqlite(Op("delete", name))
        super().xDelete(filename, syncdir)
        if name is not None and syncdir:
            self.note(Op("folder", parent(name)))

    def named(self, path: StrPath | None) -> str | None:
        """Return the name by which a file is recorded; None: it is not."""
        if not path:
            return None
        found = Path(path)
        if self._root is None:
            return found.name
        return str(found.relative_to(self._root)) if found.is_relative_to(self._root) else None

    def note(self, op: Op) -> None:
        """Write an operation down, or raise what it fails with."""
        if op.kind in self.fail:
            raise self.fail[op.kind]
        if (number := self.fault(op)) is not None:
            raise OSError(number, os.strerror(number), op.name)
        if op.kind in {"rename", "delete"}:
            self.live.discard(op.name)
        if op.kind in {"create", "rename"}:
            self.live.add(op.to or op.name)
        self.ops.append(op)

    def note_sqlite(self, op: Op) -> None:
        """The same for an operation of SQLite, which has errors of its own."""
        try:
            self.note(op)
        except OSError as error:
            kind = apsw.FullError if error.errno == errno.ENOSPC else apsw.IOError
            raise kind(f"planted: {error}") from error


class _File(apsw.VFSFile):
    def __init__(
        self,
        vfs: FaultVfs,
        name: str | apsw.URIFilename | None,
        flags: list[int],
        known: str | None,
    ) -> None:
        self._vfs = vfs
        self._name = known
        self._is_new_journal = bool(flags[0] & JOURNALS)
        super().__init__(REAL, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._name is not None:
            self._vfs.note_sqlite(Op("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if self._name is not None:
            self._vfs.note_sqlite(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._name is not None:
            self._vfs.note_sqlite(Op("sync", self._name))
        super().xSync(flags)
        if self._name is not None and self._is_new_journal:
            self._is_new_journal = False
            self._vfs.note_sqlite(Op("folder", parent(self._name)))


def parent(name: str) -> str:
    """Return the folder of a name; that of the root is empty."""
    return name.rpartition("/")[0]


@contextlib.contextmanager
def fault_vfs() -> Iterator[FaultVfs]:
    """Register a VFS that is used where its name is given."""
    vfs = FaultVfs()
    try:
        yield vfs
    finally:
        vfs.unregister()


@contextlib.contextmanager
def recorded(root: Path) -> Iterator[FaultVfs]:
    """Record all that this process does below a folder, which is empty: SQLite and Python.

    It is for the process as a whole: one at a time, and no other thread may write there.
    """
    tape = FaultVfs(root)
    watch = _Watch(tape, root)
    names = ["open", "write", "pwrite", "ftruncate", "fsync", "fdatasync"]
    names += ["rename", "replace", "unlink", "mkdir"]
    try:
        with contextlib.ExitStack() as patched:
            for name in names:
                patched.enter_context(mock.patch.object(os, name, getattr(watch, name)))
            yield tape
    finally:
        tape.unregister()


class _Watch:
    """The functions of `os` that change a disk, with a note before each."""

    def __init__(self, tape: FaultVfs, root: Path) -> None:
        self._tape = tape
        self._root = root
        self._os = {name: getattr(os, name) for name in dir(os) if not name.startswith("_")}
        self._written: set[str] = set()
        """Files of which every write is on the tape."""

    def open(
        self, path: StrPath, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        if (name := self._tape.named(path)) is not None and dir_fd is None:
            if not Path(path).exists():
                if flags & os.O_CREAT:
                    self._tape.note(Op("create", name))
            elif flags & os.O_TRUNC:
                self._tape.note(Op("truncate", name, 0))
        return int(self._os["open"](path, flags, mode, dir_fd=dir_fd))

    def write(self, fd: int, data: bytes) -> int:
        self._wrote(fd, data, None)
        return int(self._os["write"](fd, data))

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        self._wrote(fd, data, offset)
        return int(self._os["pwrite"](fd, data, offset))

    def _wrote(self, fd: int, data: bytes, offset: int | None) -> None:
        if name := self._name_of(fd):
            self._written.add(name)
            at = os.lseek(fd, 0, os.SEEK_CUR) if offset is None else offset
            self._tape.note(Op("write", name, at, bytes(data)))

    def ftruncate(self, fd: int, size: int) -> None:
        if name := self._name_of(fd):
            self._tape.note(Op("truncate", name, size))
        self._os["ftruncate"](fd, size)

    def fsync(self, fd: int) -> None:
        self._synced(fd)
        self._os["fsync"](fd)

    def fdatasync(self, fd: int) -> None:
        self._synced(fd)
        self._os["fdatasync"](fd)

    def _synced(self, fd: int) -> None:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if (name := self._tape.named(path)) is None:
            return
        if path.is_dir():
            self._tape.note(Op("folder", "" if path == self._root else name))
        else:
            self._catch_up(path, name)
            self._tape.note(Op("sync", name))

    def _catch_up(self, path: Path, name: str) -> None:
        """Note what a file object has done that nobody saw."""
        if name in self._written:
            return
        if name not in self._tape.live:
            self._tape.note(Op("create", name))
        content = path.read_bytes()
        self._tape.note(Op("write", name, 0, content))
        self._tape.note(Op("truncate", name, len(content)))

    def rename(self, source: StrPath, target: StrPath) -> None:
        self._renamed("rename", source, target)

    def replace(self, source: StrPath, target: StrPath) -> None:
        self._renamed("replace", source, target)

    def _renamed(self, verb: str, source: StrPath, target: StrPath) -> None:
        name, to = self._tape.named(source), self._tape.named(target)
        if name is not None and to is not None:
            if name not in self._tape.live:
                self._catch_up(Path(source), name)  # renamed without a sync
            self._tape.note(Op("rename", name, to=to))
            self._written.discard(name)
        self._os[verb](source, target)

    def unlink(self, path: StrPath, *, dir_fd: int | None = None) -> None:
        name = self._tape.named(path)
        if name is not None and os.path.lexists(path):
            self._tape.note(Op("delete", name))
            self._written.discard(name)
        self._os["unlink"](path, dir_fd=dir_fd)

    def mkdir(self, path: StrPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        name = self._tape.named(path)
        if name is not None and not Path(path).exists():
            self._tape.note(Op("mkdir", name))
        self._os["mkdir"](path, mode, dir_fd=dir_fd)

    def _name_of(self, fd: int) -> str | None:
        return self._tape.named(Path(f"/proc/self/fd/{fd}").readlink())
