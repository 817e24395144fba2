"""Index of the packs: which bytes of which stream lie where. An SQLite file that may be lost.

It is written after the packs are synced and is not synced itself, so it never speaks of bytes
that are not there; what it has missed is read from the packs when the folder is opened. Only one
process uses it.

Streams that came whole stand in blocks (outputs_blocks.py), the others have rows of their own here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from hpc.hub import outputs_blocks
from hpc.hub.frames import Header, Key
from hpc.hub.outputs_blocks import NUMBERS, Blocks, Whole, grouped
from hpc.hub.packs import Place

INDEX: Final = "index.sqlite3"
APPLICATION_ID: Final = 0x6870696F  # "hpio"
VERSION: Final = 3

SCHEMA: Final = """
CREATE TABLE packs (
    number        INTEGER PRIMARY KEY,
    indexed_bytes INTEGER NOT NULL,
    begun_ms      INTEGER NOT NULL
);
CREATE TABLE streams (
    id      INTEGER PRIMARY KEY,
    job_id  TEXT NOT NULL,
    task    INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stream  TEXT NOT NULL,
    total   INTEGER,
    pack    INTEGER NOT NULL, -- the last that has something of it
    UNIQUE (job_id, task, attempt, stream)
);
CREATE INDEX streams_by_pack ON streams (pack);
CREATE TABLE segments (
    stream_id INTEGER NOT NULL,
    offset    INTEGER NOT NULL,
    length    INTEGER NOT NULL,
    pack      INTEGER NOT NULL,
    position  INTEGER NOT NULL,
    PRIMARY KEY (stream_id, offset)
) WITHOUT ROWID;
"""


_NOT_KEPT: Final = -1
"""In the place of a position: the relay has not kept these bytes."""


class Segment(NamedTuple):
    """Bytes of a stream that are known, or known not to be kept, in one piece.

    Those in packs that there are never overlap; of packs that are gone there may be some left.
    """

    offset: int
    length: int
    place: Place

    @property
    def is_kept(self) -> bool:
        """Whether there are bytes to read."""
        return self.place.position != _NOT_KEPT

    @property
    def end(self) -> int:
        """Offset after its last byte."""
        return self.offset + self.length


class OutputsIndex:
    """The index of one folder. Its methods raise `apsw.Error`."""

    def __init__(self, folder: Path) -> None:
        """Open the index, made anew if there is none.

        Raises:
            apsw.NotADBError: There is another file in its place.
        """
        self._path = folder / INDEX
        self._path.touch(mode=0o600)
        self._db = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)
        self._blocks = Blocks(self._db)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def begin(self) -> None:
        """Begin a change, which `commit` makes or `rollback` undoes."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the change."""
        self._db.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the change, if there is one."""
        if not self._db.get_autocommit():
            self._db.execute("ROLLBACK")

    def add_new(self, headers: Sequence[Header], places: Sequence[Place], oldest: int) -> bool:
        """Note frames of streams that are not known yet, and where the bytes of each lie.

        Args:
            headers: Of the frames.
            places: Of their bytes.
            oldest: The first pack that there is.

        Returns:
            False if a stream is known, or comes twice; then nothing is noted.
        """
        frames = list(zip(headers, places, strict=True))
        pieces = [frame for frame in frames if not _is_whole(frame[0])]
        whole = [frame for frame in frames if _is_whole(frame[0])] if pieces else frames
        self._db.execute("SAVEPOINT new")
        added = self._add_rows(pieces, oldest) and self._add_blocks(whole, oldest)
        self._db.execute("RELEASE new" if added else "ROLLBACK TO new; RELEASE new")
        return added

    def find_whole(self, key: Key) -> Whole | None:
        """Return what is known of a stream that came whole, and of which nothing came since."""
        return self._blocks.find(*key)

    def covers(self, header: Header, oldest: int) -> bool:
        """Whether a stream that came whole has all that a frame brings."""
        whole = self._blocks.find(*header.key)
        return (
            whole is not None
            and whole.place.pack >= oldest
            and header.offset + header.span <= whole.length
        )

    def number(self, key: Key, oldest: int) -> int | None:
        """Return the number of a stream that is known, under which more of it can be noted.

        One that came whole has none before it is asked for.
        """
        stream_id = self.find(*key)
        whole = self._blocks.find(*key) if stream_id is None else None
        if whole is None or whole.place.pack < oldest:
            return stream_id
        return self._add_row((*key, whole.length, whole.place.pack), 0, whole.length, whole.place)

    def _add_rows(self, frames: list[tuple[Header, Place]], oldest: int) -> bool:
        for header, place in frames:
            if self.number(header.key, oldest) is not None:
                return False
            total = header.offset + header.length if header.end else None
            stream = (*header.key, total, place.pack)
            self._add_row(stream, header.offset, header.span, lies(header, place))
        return True

    def _add_row(self, stream: tuple[Any, ...], offset: int, length: int, place: Place) -> int:
        self._db.execute(
            "INSERT INTO streams (job_id, task, attempt, stream, total, pack) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            stream,
        )
        stream_id = int(self._db.last_insert_rowid())
        if length:
            self.add(stream_id, offset, length, place)
        return stream_id

    def _add_blocks(self, frames: list[tuple[Header, Place]], oldest: int) -> bool:
        sql = "SELECT task, attempt, stream FROM streams WHERE job_id = ? AND task BETWEEN ? AND ?"
        for block in grouped(frames):
            known = self._all(sql, (block.job_id, block.low, block.high))
            if known:
                keys = {(task, attempt, NUMBERS[stream]) for task, attempt, stream in known}
                if not keys.isdisjoint(stream[:3] for stream in block.streams):
                    return False
            if not self._blocks.add(block, oldest):
                return False
        return True

    def gaps(self, stream_id: int, start: int, end: int, oldest: int) -> list[tuple[int, int]]:
        """Return the parts of `[start, end)` that no pack from `oldest` on has, ascending."""
        sql = (
            "SELECT offset, offset + length FROM segments WHERE stream_id = ?1 AND offset < ?3 "
            "AND pack >= ?4 AND offset >= (SELECT coalesce(max(offset), 0) FROM segments "
            "WHERE stream_id = ?1 AND offset <= ?2 AND pack >= ?4) ORDER BY offset"
        )
        gaps = []
        for known_start, known_end in self._all(sql, (stream_id, start, end, oldest)):
            if known_start > start:
                gaps.append((start, known_start))
            start = max(start, known_end)
        if start < end:
            gaps.append((start, end))
        return gaps

    def add(self, stream_id: int, offset: int, length: int, place: Place) -> None:
        """Note where the bytes of a gap lie, in place of what a pack that is gone had there."""
        self._db.execute(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?)",
            (stream_id, offset, length, *place),
        )

    def reach(self, stream_id: int, pack: int) -> None:
        """Note that a pack has something of a stream, which is forgotten with the last of them."""
        self._db.execute(
            "UPDATE streams SET pack = ?2 WHERE id = ?1 AND pack < ?2", (stream_id, pack)
        )

    def total(self, stream_id: int) -> int | None:
        """Return the length of a stream that is complete."""
        for (total,) in self._all("SELECT total FROM streams WHERE id = ?", (stream_id,)):
            return None if total is None else int(total)
        return None

    def set_total(self, stream_id: int, total: int) -> None:
        """Note the length of a complete stream; of two that were told the greater holds."""
        self._db.execute(
            "UPDATE streams SET total = max(coalesce(total, 0), ?) WHERE id = ?",
            (total, stream_id),
        )

    def newest_attempt(self, job_id: str, task: int) -> int | None:
        """Return the highest attempt of a task of which there is output."""
        sql = "SELECT max(attempt) FROM streams WHERE job_id = ? AND task = ?"
        ((attempt,),) = self._all(sql, (job_id, task))
        whole = self._blocks.newest_attempt(job_id, task)
        return max((number for number in (attempt, whole) if number is not None), default=None)

    def find(self, job_id: str, task: int, attempt: int, stream: str) -> int | None:
        """Return the number of a stream that is known, or None."""
        sql = "SELECT id FROM streams WHERE job_id = ? AND task = ? AND attempt = ? AND stream = ?"
        for (found,) in self._all(sql, (job_id, task, attempt, stream)):
            return int(found)
        return None

    def segments(self, stream_id: int, offset: int, limit: int, oldest: int) -> list[Segment]:
        """Return at most `limit` segments in packs from `oldest` on that end after `offset`."""
        sql = (
            "SELECT offset, length, pack, position FROM segments WHERE stream_id = ?1 "
            "AND pack >= ?4 AND offset >= (SELECT coalesce(max(offset), 0) FROM segments "
            "WHERE stream_id = ?1 AND offset <= ?2 AND pack >= ?4) AND offset + length > ?2 "
            "ORDER BY offset LIMIT ?3"
        )
        found = self._all(sql, (stream_id, offset, limit, oldest))
        return [
            Segment(int(start), int(length), Place(int(pack), int(position)))
            for start, length, pack, position in found
        ]

    def indexed(self) -> dict[int, int]:
        """Return how many bytes of each pack the index speaks of."""
        return dict(self._all("SELECT number, indexed_bytes FROM packs", ()))

    def set_indexed(self, number: int, size: int, begun_ms: int) -> None:
        """Note that a pack is indexed up to `size`; `begun_ms` counts where it is new."""
        self._db.execute(
            "INSERT INTO packs VALUES (?1, ?2, ?3) "
            "ON CONFLICT (number) DO UPDATE SET indexed_bytes = ?2",
            (number, size, begun_ms),
        )

    def begun_ms(self) -> dict[int, int]:
        """Return when each pack was begun, in ms since 1970."""
        return dict(self._all("SELECT number, begun_ms FROM packs", ()))

    def forget_streams(self, pack: int, limit: int) -> int:
        """Drop at most `limit` streams, or blocks of them, of which no later pack has anything.

        Returns:
            How many were dropped; fewer than `limit` if there are no more.
        """
        forgotten = self._blocks.forget(pack, limit)
        limit -= forgotten
        sql = "SELECT id FROM streams WHERE pack <= ? LIMIT ?"
        found = self._all(sql, (pack, limit))
        self._db.executemany("DELETE FROM segments WHERE stream_id = ?", found)
        self._db.executemany("DELETE FROM streams WHERE id = ?", found)
        return forgotten + len(found)

    def forget_pack(self, number: int) -> None:
        """Drop a pack that is gone; segments of streams that later packs have too stay."""
        self._db.execute("DELETE FROM packs WHERE number = ?", (number,))

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        # A checkpoint that fails loses nothing: all of it stands in the packs.
        with contextlib.suppress(apsw.Error):
            self._db.close()

    def _prepare(self) -> None:
        # Alone with the file, SQLite needs no shared memory, which a full disk may not have.
        self._db.pragma("locking_mode", "exclusive")
        if self._db.pragma("application_id") != APPLICATION_ID:
            self._create()
        elif self._db.pragma("user_version") != VERSION:
            raise apsw.NotADBError(f"{self._path} is of another version")
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", "NORMAL")
        self._db.pragma("cell_size_check", True)

    def _create(self) -> None:
        if self._all("SELECT name FROM sqlite_schema", ()):
            raise apsw.NotADBError(f"{self._path} is no index of ours")
        self._db.pragma("journal_mode", "wal")
        with self._db:
            self._db.pragma("application_id", APPLICATION_ID)
            self._db.pragma("user_version", VERSION)
            self._db.execute(SCHEMA + outputs_blocks.SCHEMA)

    def _all(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        return self._db.execute(sql, values).fetchall()


def _is_whole(header: Header) -> bool:
    return header.end and not header.offset


def lies(header: Header, place: Place) -> Place:
    """Return where the bytes of a frame lie, whose record has its data there."""
    return place._replace(position=_NOT_KEPT) if header.gone else place


def remove(folder: Path) -> None:
    """Remove the index; it is rebuilt when the folder is opened next."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        (folder / f"{INDEX}{suffix}").unlink(missing_ok=True)
