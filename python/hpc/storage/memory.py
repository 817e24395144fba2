"""A log in memory: the same contract without a disk, for tests, simulations and LocalCluster.

A `MemoryDisk` outlives the logs opened on it, so that a Hub can be thrown away and recovered; it
can be given a size and made full. Nothing outlives the process.
"""

from __future__ import annotations

import sys
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

from hpc.errors import StorageDamaged, StorageError, StorageFull, StorageKnown, StorageLocked
from hpc.protocols import EventLog, LogHead, LogRow, SnapshotHead
from hpc.storage import EMPTY, head_after, next_lineage

KEPT = 2
"""Snapshots that are kept."""


class MemoryDisk:
    """What stays when a log on it is closed.

    Attributes:
        hub_id: Id of the Hub whose log this is.
        capacity_bytes: Bodies that fit; may be changed at any time.
        held: Whether a log on it is open.
    """

    def __init__(self, hub_id: str | None = None, *, capacity_bytes: int = sys.maxsize) -> None:
        self.hub_id = self.lineage = hub_id or uuid.uuid4().hex
        self.capacity_bytes = capacity_bytes
        self.held = False
        self.rows: list[LogRow] = []
        self.by_batch: dict[str, LogRow] = {}
        self.by_job: dict[str, list[LogRow]] = {}
        self.used_bytes = 0
        self.floor = 1
        self.states: dict[int, tuple[SnapshotHead, bytes]] = {}

    def drop(self, row: LogRow) -> None:
        """Drop a body."""
        bare = row._replace(body=b"")
        self.rows[bisect_left(self.rows, row.first_seq, key=_first_seq)] = bare
        self.by_batch[row.batch_id] = bare
        for rows in self.by_job.values():
            rows[:] = [bare if one.first_seq == row.first_seq else one for one in rows]
        self.used_bytes -= len(row.body)
        self.floor = max(self.floor, _last_seq(row) + 1)


class MemoryReader:
    """The reading half of an `EventLog`, on a `MemoryDisk`.

    The lists on the disk only grow, at their ends, and a row of them may be put in another's place,
    so that another thread may read beside the one that writes.
    """

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._closed = False
        self.hub_id = disk.hub_id
        self.lineage = disk.lineage

    def head(self) -> LogHead:
        """Return the end of the log."""
        rows = self._open().rows[-1:]
        return LogHead(_last_seq(rows[0]), rows[0].chain) if rows else EMPTY

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        """Return rows in order from the one that holds `first_seq`, with `limit` events or more."""
        rows = self._open().rows
        found: list[LogRow] = []
        events = 0
        start = bisect_right(rows, first_seq - 1, key=_last_seq)
        for row in rows[start : start + max(limit, 0)]:
            if events >= limit:
                break
            found.append(row)
            events += row.count
        return found

    def next_after(self, first_seq: int) -> int | None:
        """Return the first seq of the next batch that is there, or None."""
        rows = self._open().rows
        at = bisect_right(rows, first_seq, key=lambda row: row.first_seq)
        return rows[at].first_seq if at < len(rows) else None

    def read_control(self) -> list[LogRow]:
        """Return every row with flag bit 0, in order."""
        return [row for row in self._open().rows if row.flags & 1]

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        """Return at most `limit` rows that speak of a job and end after `after_seq`, in order."""
        rows = self._open().by_job.get(job_id, [])
        start = bisect_right(rows, after_seq, key=_last_seq)
        return rows[start : start + max(limit, 0)]

    def receipt(self, batch_id: str) -> LogRow | None:
        """Return the row of a batch id, or None."""
        return self._open().by_batch.get(batch_id)

    def floor(self) -> int:
        """Return the seq above the newest batch whose body was dropped; 1 where none was."""
        return self._open().floor

    def snapshots(self) -> list[SnapshotHead]:
        """Return the snapshots, the newest first: two at most."""
        return [head for head, _ in reversed(self._open().states.values())]

    def read_snapshot(self, number: int) -> bytes:
        """Return the state of a snapshot.

        Raises:
            StorageDamaged: It is not there.
        """
        found = self._open().states.get(number)
        if found is None:
            raise StorageDamaged(f"There is no snapshot {number}")
        return found[1]

    def close(self) -> None:
        """Read no more; a second call does nothing."""
        self._closed = True

    def _open(self) -> MemoryDisk:
        if self._closed:
            raise StorageError("The log is closed")
        return self._disk


class MemoryLog(MemoryReader):
    """An `EventLog` on a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        """Open the log on a disk, by default on a new one.

        Raises:
            StorageLocked: Another log on that disk is open.
        """
        super().__init__(disk or MemoryDisk())
        if self._disk.held:
            raise StorageLocked("This memory log is in use", hint="close the other one first")
        self._disk.held = True

    def append(self, rows: Sequence[LogRow]) -> None:
        """Append rows in order, all or none.

        Raises:
            StorageFull: Nothing was appended; the same rows may be appended again.
            StorageKnown: A batch id is in the log already; nothing was appended.
        """
        disk = self._open()
        head_after(self.head(), rows)
        new = [LogRow(*row) for row in rows]
        ids = [row.batch_id for row in new]
        if known := next((i for i in ids if i in disk.by_batch), None):
            raise StorageKnown(known)
        if len(set(ids)) < len(ids):
            raise AssertionError("A batch id comes twice")
        size = sum(len(row.body) for row in new)
        if size > self.free_bytes():
            raise StorageFull("The memory log is full", hint="raise its capacity_bytes")
        disk.used_bytes += size
        for row in new:
            bare = row._replace(job_ids=())
            disk.rows.append(bare)
            disk.by_batch[row.batch_id] = bare
            for job_id in dict.fromkeys(row.job_ids):
                disk.by_job.setdefault(job_id, []).append(bare)

    def begin_lineage(self) -> None:
        """Give the history another name."""
        self.lineage = self._open().lineage = next_lineage(self.hub_id)

    def snapshot(self, state: bytes, seq: int) -> Iterator[None]:
        """Store a state, and drop all but the two newest; it counts once the iterator has ended."""
        disk = self._open()
        at = bisect_left(disk.rows, seq, key=_last_seq)
        if at == len(disk.rows) or _last_seq(disk.rows[at]) != seq:
            raise AssertionError(f"No batch of the log ends at seq {seq}")
        yield
        number = max(disk.states, default=0) + 1
        stored = (SnapshotHead(number, seq, disk.rows[at].chain), bytes(state))
        # Another one, since a reader may be looking through this one.
        disk.states = dict([*disk.states.items(), (number, stored)][-KEPT:])

    def compact(self, first_seqs: Sequence[int]) -> None:
        """Drop the bodies of batches, all or none; the rows stay.

        Raises:
            AssertionError: A batch does not lie below the older of two snapshots, or registers
                something: its body is needed.
        """
        disk = self._open()
        heads = self.snapshots()
        below = min(head.seq for head in heads) if len(heads) == KEPT else 0
        chosen = set(first_seqs)
        found = [row for row in disk.rows if row.first_seq in chosen]
        if len(found) < len(chosen) or any(_last_seq(r) > below or r.flags & 1 for r in found):
            raise AssertionError("The body of a batch is needed")
        for row in found:
            disk.drop(row)

    def reader(self) -> MemoryReader:
        """Open a second reading half; may be called on any thread."""
        return MemoryReader(self._open())

    def free_bytes(self) -> int:
        """Return how many bytes of bodies still fit."""
        disk = self._open()
        return disk.capacity_bytes - disk.used_bytes

    def close(self) -> None:
        """Release the disk; a second call does nothing."""
        if not self._closed:
            super().close()
            self._disk.held = False


def _first_seq(row: LogRow) -> int:
    return row.first_seq


def _last_seq(row: LogRow) -> int:
    return row.first_seq + row.count - 1


def open_log(data: Path) -> EventLog:
    """Return a new, empty log; nothing is written to `data`, and nothing outlives the process."""
    return MemoryLog()
