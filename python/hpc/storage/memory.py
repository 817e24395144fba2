"""A log in memory: the same contract without a disk, for tests, simulations and LocalCluster.

A `MemoryDisk` outlives the logs opened on it, so that a Hub can be thrown away and recovered; it
can be given a size and made full. Nothing outlives the process.
"""

from __future__ import annotations

import sys
import uuid
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from hpc.errors import StorageError, StorageFull, StorageLocked
from hpc.protocols import EventLog, LogHead, LogRow
from hpc.storage import EMPTY, head_after


class MemoryDisk:
    """What stays when a log on it is closed.

    Attributes:
        hub_id: Id of the Hub whose log this is.
        capacity_bytes: Bodies that fit; may be changed at any time.
        held: Whether a log on it is open.
    """

    def __init__(self, hub_id: str | None = None, *, capacity_bytes: int = sys.maxsize) -> None:
        self.hub_id = hub_id or uuid.uuid4().hex
        self.capacity_bytes = capacity_bytes
        self.held = False
        self.rows: list[LogRow] = []
        self.by_batch: dict[str, LogRow] = {}
        self.by_job: dict[str, list[LogRow]] = {}
        self.used_bytes = 0


class MemoryReader:
    """The reading half of an `EventLog`, on a `MemoryDisk`.

    The lists on the disk only grow, at their ends, so that another thread may read beside the one
    that appends.
    """

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._closed = False
        self.hub_id = disk.hub_id

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
        """
        disk = self._open()
        head_after(self.head(), rows)
        new = [LogRow(*row) for row in rows]
        ids = [row.batch_id for row in new]
        if len(set(ids)) < len(ids) or any(i in disk.by_batch for i in ids):
            raise AssertionError("A batch id is in the log already")
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


def _last_seq(row: LogRow) -> int:
    return row.first_seq + row.count - 1


def open_log(data: Path) -> EventLog:
    """Return a new, empty log; nothing is written to `data`, and nothing outlives the process."""
    return MemoryLog()
