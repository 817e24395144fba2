"""Blocks: the part of the outputs' index that knows small streams, many to a row.

Most streams come whole, in one frame, many of one job at a time. A row for each would be four
entries of B-trees for a line of text; here one row speaks of all that came together. A block is of
one job and one pack, and its tasks lie close together, so that few blocks can speak of a task.

Nothing here is changed once it is told. If more comes of such a stream, the index gives it rows of
its own (outputs_index.py), which count before what stands here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import apsw

from hpc.hub.frames import Header
from hpc.hub.packs import Place

SCHEMA: Final = """
CREATE TABLE blocks (
    id      INTEGER PRIMARY KEY, -- ascending, as packs are
    job_id  TEXT NOT NULL,
    low     INTEGER NOT NULL,    -- the least task and the greatest
    high    INTEGER NOT NULL,
    pack    INTEGER NOT NULL,
    streams BLOB NOT NULL
);
CREATE INDEX blocks_by_task ON blocks (job_id, low);
"""

SPAN: Final = 256
"""Tasks of one block lie within so many."""

_STREAM: Final = struct.Struct("<IIBII")
"""Task, attempt, which stream, position in the pack, length."""

NUMBERS: Final = {"stdout": 0, "stderr": 1}


class Whole(NamedTuple):
    """A stream that came in one piece."""

    length: int
    place: Place


class Block(NamedTuple):
    """Streams that came together: of one job, in one pack, of tasks that lie close together."""

    job_id: str
    pack: int
    low: int
    high: int
    streams: list[tuple[int, int, int, int, int]]


def grouped(frames: Sequence[tuple[Header, Place]]) -> Iterator[Block]:
    """Yield blocks of streams that each came whole, in their order."""
    block: Block | None = None
    for header, place in frames:
        task = header.task
        stream = (task, header.attempt, NUMBERS[header.stream], place.position, header.length)
        if block is not None:
            low, high = min(block.low, task), max(block.high, task)
            is_near = high - low < SPAN
            if is_near and header.job_id == block.job_id and place.pack == block.pack:
                block.streams.append(stream)
                block = block._replace(low=low, high=high)
                continue
            yield block
        block = Block(header.job_id, place.pack, task, task, [stream])
    if block is not None:
        yield block


class Blocks:
    """The blocks of one index, within its transactions. Its methods raise `apsw.Error`."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def add(self, block: Block, oldest: int) -> bool:
        """Note a block.

        Args:
            block: What came.
            oldest: The first pack that there is; what stood in earlier ones is not known any more.

        Returns:
            False if a stream of it is known here or comes twice; then nothing is noted.
        """
        keys = {stream[:3] for stream in block.streams}
        if len(keys) < len(block.streams):
            return False
        for pack, blob in self._about(block.job_id, block.low, block.high):
            if pack >= oldest and not keys.isdisjoint(row[:3] for row in _STREAM.iter_unpack(blob)):
                return False
        self._db.execute(
            "INSERT INTO blocks (job_id, low, high, pack, streams) VALUES (?, ?, ?, ?, ?)",
            (
                block.job_id,
                block.low,
                block.high,
                block.pack,
                b"".join([_STREAM.pack(*stream) for stream in block.streams]),
            ),
        )
        return True

    def find(self, job_id: str, task: int, attempt: int, stream: str) -> Whole | None:
        """Return what is known of a stream; where it came again, in the newest pack."""
        key = task, attempt, NUMBERS[stream]
        return max(
            (
                Whole(length, Place(pack, position))
                for pack, blob in self._about(job_id, task, task)
                for *its_key, position, length in _STREAM.iter_unpack(blob)
                if tuple(its_key) == key
            ),
            key=lambda whole: whole.place,
            default=None,
        )

    def newest_attempt(self, job_id: str, task: int) -> int | None:
        """Return the highest attempt of a task of which something is known here."""
        return max(
            (
                attempt
                for _, blob in self._about(job_id, task, task)
                for its_task, attempt, *_ in _STREAM.iter_unpack(blob)
                if its_task == task
            ),
            default=None,
        )

    def forget(self, pack: int, limit: int) -> int:
        """Drop at most `limit` blocks of packs up to `pack`; returns how many."""
        sql = "SELECT id FROM (SELECT id, pack FROM blocks ORDER BY id LIMIT ?) WHERE pack <= ?"
        found = self._db.execute(sql, (limit, pack)).fetchall()
        self._db.executemany("DELETE FROM blocks WHERE id = ?", found)
        return len(found)

    def _about(self, job_id: str, low: int, high: int) -> list[tuple[int, bytes]]:
        """Return pack and streams of the blocks that may speak of some tasks."""
        sql = (
            "SELECT pack, streams FROM blocks "
            "WHERE job_id = ? AND low > ? AND low <= ? AND high >= ?"
        )
        found: list[Any] = self._db.execute(sql, (job_id, low - SPAN, high, low)).fetchall()
        return found
