"""An SQLite VFS over the real one that records what reaches the disk and can make it fail.

Used by the storage tests. It inherits from the default VFS, so locks and shared memory are real.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw

_numbers = itertools.count()


class Op(NamedTuple):
    """One thing done to a file; `kind` is write, sync, truncate, delete, or ack by the test."""

    kind: str
    name: str
    offset: int = 0
    data: bytes = b""


class FaultVfs(apsw.VFS):
    """Records operations in `ops`; raises `fail[kind]` instead of doing one, while it is set."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.fail: dict[str, Exception] = {}
        self.name = f"fault-{next(_numbers)}"
        super().__init__(self.name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - APSW's name
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self.note(Op("delete", Path(filename).name))
        super().xDelete(filename, syncdir)

    def note(self, op: Op) -> None:
        if op.kind in self.fail:
            raise self.fail[op.kind]
        self.ops.append(op)


class _File(apsw.VFSFile):
    def __init__(self, vfs: FaultVfs, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._vfs = vfs
        self._name = Path(path).name if path else "temporary"
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._vfs.note(Op("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._vfs.note(Op("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.note(Op("sync", self._name))
        super().xSync(flags)


@contextlib.contextmanager
def fault_vfs() -> Iterator[FaultVfs]:
    """Register a VFS for the duration of a test."""
    vfs = FaultVfs()
    try:
        yield vfs
    finally:
        vfs.unregister()
