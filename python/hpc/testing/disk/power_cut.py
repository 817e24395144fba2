"""What a power cut can leave of some files, from the operations on a tape.

A disk keeps what was synced, and of the rest anything: nothing, all, some writes and not others, a
part of one. Names are as volatile as bytes: a file that was made, renamed or deleted may be there
under the one name, the other, or none, until its folder has been synced.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hpc.testing.disk.tape import Op, parent

NAMES: Final = frozenset({"create", "mkdir", "rename", "delete"})
"""Operations on a folder's names."""

Files = dict[str, bytearray | None]
"""By name; None is a folder."""


class _Pending(NamedTuple):
    """An operation that no sync has made durable, and the file that it was done to."""

    op: Op
    file: int


class PowerCut:
    """Replays recorded operations and gives the states that a power cut can leave behind.

    Args:
        files: What is on the disk at first.
        torn_bytes: A write is torn at a multiple of so many bytes: 512 is a sector of a disk, 1 is
            worse than any disk.
    """

    def __init__(self, files: dict[str, bytes] | None = None, *, torn_bytes: int = 512) -> None:
        self.torn_bytes = torn_bytes
        self.is_lying = False
        """Whether syncs do nothing, as on a disk that only says that it has done them."""
        self.pending: list[_Pending] = []
        given = files or {}
        self._bytes = {n: bytearray(content) for n, content in enumerate(given.values())}
        self._names = {name: n for n, name in enumerate(given)}
        self._live = dict(self._names)
        self._folders: set[int] = set()
        self._next = len(given)

    def do(self, op: Op) -> None:
        """Take the next operation of a tape."""
        match op.kind:
            case "sync" | "folder":
                self._sync(op)
            case "create" | "mkdir":
                if op.kind == "mkdir":
                    self._folders.add(self._next)
                self._live[op.name] = self._next
                self.pending.append(_Pending(op, self._next))
                self._next += 1
            case "rename":
                self._live[op.to] = self._live.pop(op.name)
                self.pending.append(_Pending(op, self._live[op.to]))
            case "delete":
                self.pending.append(_Pending(op, self._live.pop(op.name)))
            case "write" | "truncate" if op.name in self._live:
                self.pending.append(_Pending(op, self._live[op.name]))

    def _sync(self, op: Op) -> None:
        if self.is_lying:
            return
        synced = [one for one in self.pending if self._is_of(one, op)]
        self.pending = [one for one in self.pending if not self._is_of(one, op)]
        _apply(self._bytes, self._names, synced)

    def _is_of(self, one: _Pending, sync: Op) -> bool:
        if sync.kind == "folder":
            return one.op.kind in NAMES and parent(one.op.name) == sync.name
        return one.op.kind not in NAMES and one.file == self._live.get(sync.name)

    def states(self, rng: random.Random) -> Iterator[Files]:
        """Give none and all of what was not synced, and a prefix, a half, or all but torn."""
        yield self._state([])
        if not self.pending:
            return
        yield self._state(self.pending)
        cut = rng.randrange(len(self.pending) + 1)
        match rng.randrange(3):
            case 0:
                yield self._state(self.pending[:cut])
            case 1:
                half = [one for one in self.pending if rng.randrange(2)]
                yield self._state([self._torn(one, rng) for one in half])
            case _:
                torn = [self._torn(one, rng) for one in self.pending[cut:]]
                yield self._state([*self.pending[:cut], *torn])

    def _state(self, kept: list[_Pending]) -> Files:
        content = {file: bytearray(found) for file, found in self._bytes.items()}
        names = dict(self._names)
        _apply(content, names, kept)
        files: Files = {}
        for name, file in sorted(names.items()):
            if parent(name) in {"", *files}:
                files[name] = None if file in self._folders else content.get(file, bytearray())
        return files

    def _torn(self, one: _Pending, rng: random.Random) -> _Pending:
        op = one.op
        pieces = len(op.data) // self.torn_bytes
        if op.kind == "write" and pieces and rng.randrange(2):
            data = op.data[: self.torn_bytes * rng.randrange(pieces)]
            return one._replace(op=op._replace(data=data))
        return one


def _apply(content: dict[int, bytearray], names: dict[str, int], kept: list[_Pending]) -> None:
    for op, file in kept:
        found = content.setdefault(file, bytearray())
        match op.kind:
            case "create" | "mkdir":
                names[op.name] = file
            case "rename":
                names.pop(op.name, None)
                names[op.to] = file
            case "delete":
                names.pop(op.name, None)
            case "truncate":
                found.extend(bytes(max(0, op.offset - len(found))))
                del found[op.offset :]
            case _:
                found.extend(bytes(max(0, op.offset - len(found))))
                found[op.offset : op.offset + len(op.data)] = op.data


def lay_out(files: Files, place: Path) -> None:
    """Make a folder hold exactly these files."""
    place.mkdir(exist_ok=True)
    for path in sorted(place.rglob("*"), reverse=True):
        name = str(path.relative_to(place))
        if path.is_dir():
            if name not in files:
                path.rmdir()
        elif files.get(name) is None:
            path.unlink()
    for name, content in files.items():
        if content is None:
            (place / name).mkdir(exist_ok=True)
        else:
            (place / name).write_bytes(content)
