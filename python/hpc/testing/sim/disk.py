"""Disks: the Hub's log and a node's folder, each with what is durable and what a power cut takes.

`LogDisk` outlives the logs that are opened on it. An append that a kill meets in its middle leaves
all or nothing of it, as SQLite's WAL does; whether is for the seed to say. A node's outboxes are
real files in a temporary folder, so that the Rust that ships reads what a cut has left.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from hpc.errors import StorageDamaged, StorageFull, StorageKnown
from hpc.protocols import LogHead, LogRow, SnapshotHead

EMPTY = LogHead(0, bytes(32))
KEPT = 2
PLENTY_BYTES = 1 << 40
LOW_BYTES = 10 << 20


class Killed(BaseException):
    """The Hub's process ends here: no handler of it sees more."""


class LogDisk:
    """What stays of a log when its Hub dies.

    Attributes:
        rows: What is durable.
        is_low: Little space is left.
        is_full: None is left.
        kill_next: How the next append is met by a kill: None, `before`, `torn` or `after`.
    """

    def __init__(self, hub_id: str, random: Random) -> None:
        self.hub_id = hub_id
        self._random = random
        self.rows: list[LogRow] = []
        self.by_batch: dict[str, LogRow] = {}
        self.states: dict[int, tuple[SnapshotHead, bytes]] = {}
        self.floor = 1
        self.is_low = False
        self.is_full = False
        self.kill_next: str | None = None

    def kept_of_a_tear(self) -> bool:
        """Return whether what was written without a sync is found afterwards."""
        return self._random.random() < 0.5  # noqa: PLR2004 - an even chance

    def keep(self, rows: Sequence[LogRow]) -> None:
        """Make rows durable."""
        for row in rows:
            bare = row._replace(job_ids=())
            self.rows.append(bare)
            self.by_batch[row.batch_id] = bare


class SimLog:
    """An `EventLog` on a `LogDisk`, for one Hub's process."""

    def __init__(self, disk: LogDisk) -> None:
        self._disk = disk
        self.hub_id = self.lineage = disk.hub_id

    def head(self) -> LogHead:
        """Return the end of the log."""
        rows = self.rows()
        return LogHead(_last_seq(rows[-1]), rows[-1].chain) if rows else EMPTY

    def rows(self) -> list[LogRow]:
        """Return what this process sees of the log."""
        return self._disk.rows

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        """Return rows in order from the one that holds `first_seq`, with `limit` events or more."""
        found: list[LogRow] = []
        events, rows = 0, self.rows()
        for row in rows[bisect_right(rows, first_seq - 1, key=_last_seq) :]:
            if events >= limit:
                break
            found.append(row)
            events += row.count
        return found

    def read_control(self) -> list[LogRow]:
        """Return every row with flag bit 0, in order."""
        return [row for row in self.rows() if row.flags & 1]

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        """No reader of a simulation asks for it."""
        raise NotImplementedError

    def begin_lineage(self) -> None:
        """No Hub of a simulation is started without damaged batches."""
        raise NotImplementedError

    def next_after(self, first_seq: int) -> int | None:
        """Return the first seq of the next batch that is there, or None."""
        later = (row.first_seq for row in self.rows() if row.first_seq > first_seq)
        return next(later, None)

    def receipt(self, batch_id: str) -> LogRow | None:
        """Return the row of a batch id, or None."""
        return self._disk.by_batch.get(batch_id)

    def floor(self) -> int:
        """Return the seq above the newest batch whose body was dropped; 1 where none was."""
        return self._disk.floor

    def snapshots(self) -> list[SnapshotHead]:
        """Return the snapshots, the newest first: two at most."""
        return [head for head, _ in reversed(self._disk.states.values())]

    def read_snapshot(self, number: int) -> bytes:
        """Return the state of a snapshot.

        Raises:
            StorageDamaged: It is not there.
        """
        if number not in self._disk.states:
            raise StorageDamaged(f"There is no snapshot {number}")
        return self._disk.states[number][1]

    def append(self, rows: Sequence[LogRow]) -> None:
        """Append rows in order, all or none, durable when this returns.

        Raises:
            StorageFull: Nothing was appended.
            StorageKnown: A batch id is in the log already; nothing was appended.
            Killed: The process ended in it.
        """
        disk = self._disk
        new = [LogRow(*row) for row in rows]
        assert new[0].first_seq == self.head().last_seq + 1, "rows do not follow the log"
        if known := next((row.batch_id for row in new if row.batch_id in disk.by_batch), None):
            raise StorageKnown(known)
        if disk.is_full:
            raise StorageFull("The simulated disk is full")
        kill, disk.kill_next = disk.kill_next, None
        if kill == "before" or (kill == "torn" and not disk.kept_of_a_tear()):
            raise Killed
        self.write(new)
        if kill is not None:
            raise Killed

    def write(self, rows: list[LogRow]) -> None:
        """Write rows and sync them."""
        self._disk.keep(rows)

    def snapshot(self, state: bytes, seq: int) -> Iterator[None]:
        """Store a state, and drop all but the two newest; it counts once the iterator has ended."""
        disk = self._disk
        rows = self.rows()
        row = rows[bisect_left(rows, seq, key=_last_seq)]
        assert _last_seq(row) == seq, "no batch ends there"
        yield
        number = max(disk.states, default=0) + 1
        stored = (SnapshotHead(number, seq, row.chain), bytes(state))
        disk.states = dict([*disk.states.items(), (number, stored)][-KEPT:])

    def compact(self, first_seqs: Sequence[int]) -> None:
        """Nothing of a simulated course is old enough."""
        assert not first_seqs, "nothing is old enough to be dropped"

    def reader(self) -> SimLog:
        """Open a second reading half."""
        return SimLog(self._disk)

    def free_bytes(self) -> int:
        """Return how many bytes are free."""
        disk = self._disk
        return 0 if disk.is_full else LOW_BYTES if disk.is_low else PLENTY_BYTES

    def close(self) -> None:
        """Nothing is held."""


def _last_seq(row: LogRow) -> int:
    return row.first_seq + row.count - 1


class NodeDisk:
    """A node's folder: outboxes as files, and what `place.NodeFolder` keeps, which it syncs.

    Attributes:
        folder: Where the outboxes lie.
        boot: Counts starts of the machine; another one is another place (R23).
        epoch: The node's counter.
        hubs: To which Hub each session belongs.
    """

    def __init__(self, folder: Path, folder_id: str) -> None:
        self.folder = folder
        self.folder_id = folder_id
        folder.mkdir(parents=True)
        self.boot = 1
        self.epoch = 0
        self.hubs: dict[str, str] = {}
        self._synced: dict[str, int] = {}

    @property
    def place(self) -> str:
        """What `NodeFolder.place` is."""
        return f"{self.folder_id}.boot-{self.boot}"

    def synced(self, session: str) -> None:
        """Note that an outbox is durable as it is now."""
        path = self.path(session)
        if path.exists():
            self._synced[session] = path.stat().st_size

    def path(self, session: str) -> Path:
        """Return where an outbox lies."""
        return self.folder / f"{session}.log"

    def sessions(self) -> list[str]:
        """Return whose outboxes there are."""
        return sorted(path.stem for path in self.folder.glob("*.log"))

    def cut_power(self, random: Random) -> None:
        """Keep of each outbox what was synced and some of what was written after."""
        self.boot += 1
        for session in self.sessions():
            path = self.path(session)
            size = path.stat().st_size
            kept = random.randint(min(self._synced.get(session, 0), size), size)
            with path.open("r+b") as file:
                file.truncate(kept)
            self._synced[session] = kept

    def copied(self, folder: Path, folder_id: str) -> NodeDisk:
        """Return a copy of it elsewhere: another place with the same past (R23)."""
        other = NodeDisk(folder, folder_id)
        other.epoch, other.hubs = self.epoch, dict(self.hubs)
        for session in self.sessions():
            other.path(session).write_bytes(self.path(session).read_bytes())
            other.synced(session)
        return other


class SimBook:
    """What `Claims` and `Reports` want of a node's folder."""

    def __init__(self, disk: NodeDisk) -> None:
        self._disk = disk

    def raise_epoch(self, *, above: int = 0) -> int:
        """Raise the epoch by one, or to `above` + 1 where that is more."""
        self._disk.epoch = max(self._disk.epoch, above) + 1
        return self._disk.epoch

    def reach_epoch(self, least: int) -> int:
        """Raise it to `least` where it is lower."""
        self._disk.epoch = max(self._disk.epoch, least)
        return self._disk.epoch

    def hub_of(self, session: str) -> str | None:
        """Return the Hub that a session belongs to."""
        return self._disk.hubs.get(session)

    def remember_hub(self, session: str, hub_id: str) -> None:
        """Note to which Hub a session belongs."""
        self._disk.hubs[session] = hub_id
