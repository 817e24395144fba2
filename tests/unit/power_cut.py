"""What a power cut can leave of a log's files, from the operations that `fault_vfs.py` recorded.

A disk keeps what was synced, and of the rest anything: nothing, all, some writes and not others, a
part of one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from fault_vfs import Op


class PowerCut:
    """Replays recorded operations and gives the states that a power cut can leave behind.

    Args:
        files: What is on the disk at first.
        torn_bytes: A write is torn at a multiple of so many bytes: 512 is a sector of a disk, 1 is
            worse than any disk.
    """

    def __init__(self, files: dict[str, bytes], *, torn_bytes: int = 512) -> None:
        self.torn_bytes = torn_bytes
        self.durable = {name: bytearray(content) for name, content in files.items()}
        self.pending: list[Op] = []

    def do(self, op: Op) -> None:
        if op.kind == "sync":
            self._apply(self.durable, [p for p in self.pending if p.name == op.name])
            self.pending = [p for p in self.pending if p.name != op.name]
        elif op.name in self.durable:
            self.pending.append(op)

    def states(self, rng: random.Random) -> Iterator[dict[str, bytearray]]:
        """None, all, a prefix and a random, torn half of what was not synced."""
        cut = rng.randrange(len(self.pending) + 1)
        half = [self._torn(op, rng) for op in self.pending if rng.random() < 0.5]
        for kept in ([], self.pending, self.pending[:cut], half):
            files = {name: bytearray(content) for name, content in self.durable.items()}
            self._apply(files, kept)
            yield files

    def _torn(self, op: Op, rng: random.Random) -> Op:
        pieces = len(op.data) // self.torn_bytes
        if op.kind == "write" and len(op.data) > self.torn_bytes and rng.random() < 0.5:
            return op._replace(data=op.data[: self.torn_bytes * rng.randrange(pieces)])
        return op

    def write(self, files: dict[str, bytearray], place: Path, marker: bytes) -> None:
        """Lay a state out as the folder of a log."""
        place.mkdir(exist_ok=True)
        (place / "hub.json").write_bytes(marker)
        (place / "log.sqlite3-shm").unlink(missing_ok=True)
        for name, content in files.items():
            (place / name).write_bytes(content)

    @staticmethod
    def _apply(files: dict[str, bytearray], ops: list[Op]) -> None:
        for op in ops:
            content = files[op.name]
            if op.kind == "truncate":
                del content[op.offset :]
            else:
                content.extend(bytes(max(0, op.offset - len(content))))
                content[op.offset : op.offset + len(op.data)] = op.data
