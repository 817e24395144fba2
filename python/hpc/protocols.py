"""The seams: what a storage, a transport, a namespace and a handler plugin must be.

Nothing here does anything. The Hub is handed objects of these shapes and imports no plugin by
name; `hpc.plugins` finds them by entry point.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from hpc.domain import GeneratorSpec, Grant, NamespaceSpec, NodeOffer, Work


class LogRow(NamedTuple):
    """One batch of the log, as the engine made it and as it lies on disk.

    Attributes:
        first_seq: The seq of its first event; seqs run from 1 without gaps.
        count: Number of events, at least 1.
        batch_id: The batch's idempotency key, unique in the log.
        digest: blake3 of the content as it was sent, 32 bytes; two batches under one id are the
            same if and only if their digests are.
        chain: blake3 over the former row's chain and this row's header and body, 32 bytes.
        flags: Bit 0: the batch registers a namespace or a generator.
        body: Canonical JSON, UTF-8: `{"events": [...], ...}`; empty once compaction has dropped it.
        job_ids: The jobs that its events speak of, for the index (job, seq).
    """

    first_seq: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody calls on a row
    batch_id: str
    digest: bytes
    chain: bytes
    flags: int
    body: bytes
    job_ids: tuple[str, ...] = ()


class LogHead(NamedTuple):
    """Where a log ends: the seq of its last event (0 if empty) and its last chain value."""

    last_seq: int
    chain: bytes


class SnapshotHead(NamedTuple):
    """A stored snapshot: its number, the seq up to which it holds the state, the chain there."""

    number: int
    seq: int
    chain: bytes


class LogReader(Protocol):
    """The reading half of an event log. All calls may block; none is thread-safe."""

    hub_id: str
    """Made at random when the log is created; another id is another Hub."""

    lineage: str
    """The same, or another name in a log that was put back from a copy, or begun without damaged
    batches: readers may have what is not in it."""

    def head(self) -> LogHead:
        """Return the end of the log."""
        ...

    def read(self, first_seq: int, limit: int) -> list[LogRow]:
        """Return rows in order, from the one that holds `first_seq`.

        Rows are taken until they hold at least `limit` events or the log ends. `job_ids` is left
        empty.
        """
        ...

    def next_after(self, first_seq: int) -> int | None:
        """Return the first seq of the next batch that is there, or None.

        It is how to go on behind a batch that `read` raises `StorageDamaged` for.
        """
        ...

    def read_control(self) -> list[LogRow]:
        """Return every row with flag bit 0, in order."""
        ...

    def read_job(self, job_id: str, after_seq: int, limit: int) -> list[LogRow]:
        """Return at most `limit` rows that speak of a job and end after `after_seq`, in order."""
        ...

    def receipt(self, batch_id: str) -> LogRow | None:
        """Return the row of a batch id, or None."""
        ...

    def floor(self) -> int:
        """Return the seq above the newest batch whose body was dropped; 1 where none was."""
        ...

    def snapshots(self) -> list[SnapshotHead]:
        """Return the snapshots that are stored whole, the newest first: two at most."""
        ...

    def read_snapshot(self, number: int) -> bytes:
        """Return the state of a snapshot.

        Raises:
            StorageDamaged: It is not as it was stored, or not there.
        """
        ...

    def close(self) -> None:
        """Release what it holds; a second call does nothing."""
        ...


class EventLog(LogReader, Protocol):
    """An append-only log of batches with one writer, and snapshots of what it leads to.

    All calls may block; none is thread-safe.
    """

    def append(self, rows: Sequence[LogRow]) -> None:
        """Append rows in order, all or none, durable when this returns.

        Raises:
            StorageFull: Nothing was appended; the same rows may be appended again.
            StorageKnown: A batch id is in the log already; nothing was appended.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        ...

    def snapshot(self, state: bytes, seq: int) -> Iterator[None]:
        """Store a state in steps, and drop all but the two newest snapshots.

        Nothing is stored but as far as the iterator is advanced; each step is short, and appends
        may come between. The snapshot counts, durable, once the iterator has ended; one that is
        left before that never was.

        Args:
            state: What the engine made; its last 32 bytes are a hash over it.
            seq: Of the last event of a batch, up to which it holds the state.

        Raises:
            StorageFull: This step was not taken; the snapshot may be given up.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        ...

    def begin_lineage(self) -> None:
        """Give the history another name, durable when this returns: readers read it anew.

        Raises:
            StorageFull: It has the name that it had.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        ...

    def compact(self, first_seqs: Sequence[int]) -> None:
        """Drop the bodies of batches, all or none, durable when this returns; the rows stay.

        Raises:
            AssertionError: A batch does not lie below the older of two snapshots, or registers
                something: its body is needed.
            StorageFull: Nothing was dropped.
            StorageError: Unknown outcome; the log must be reopened before it is written again.
        """
        ...

    def reader(self) -> LogReader:
        """Open a second reading half, for another thread; it is closed before the log is.

        It sees what was durable when each of its calls begins. This call alone may be made on any
        thread, also while the log is being written.

        Raises:
            StorageError: It cannot be opened; the log itself is as before.
        """
        ...

    def free_bytes(self) -> int:
        """Return how many bytes the disk under the log has free."""
        ...


class LogInspector(LogReader, Protocol):
    """A reading half beside whoever writes, which goes on behind damage, for `hpc log`."""

    def instant(self) -> AbstractContextManager[None]:
        """What is read within is the log as it is at the first look, whatever is written."""
        ...

    def integrity(self) -> list[str]:
        """Return what is wrong with what holds the log, sentence by sentence."""
        ...


class LogTools(Protocol):
    """What an entry point of `hpc.log_tools` loads: `hpc log` for the storage of that name."""

    def reader(self, place: Path) -> LogInspector:
        """Open a data folder, or an exported file, for reading only; takes no lock.

        Raises:
            StorageError: There is no log, or it cannot be read.
        """
        ...

    def export(self, data: Path, file: Path) -> LogHead:
        """Copy a log into a new file, whether or not a Hub writes to it; returns the copy's head.

        Everything that was acknowledged before the call is in it; it is synced on return.

        Raises:
            UsageError: The file exists already.
            StorageError: It cannot be read or written; nothing is left behind.
        """
        ...

    def restore(self, file: Path, data: Path) -> LogHead:
        """Put an exported log into a data folder that has none.

        Raises:
            StorageError: The file is no log, or the folder has one, or was another Hub's.
        """
        ...

    def shrink(self, data: Path) -> int:
        """Give the disk back what the log of a folder no longer needs; returns how many bytes.

        Raises:
            StorageFull: It needs room for that; the log is as it was.
            StorageError: A Hub has the folder, or it cannot be written.
        """
        ...


class Answer(NamedTuple):
    """What the Hub answers to one request: an HTTP status and a JSON body."""

    status: int
    body: bytes


@runtime_checkable
class Namespace(Protocol):
    """What an entry point of `hpc.namespaces` loads: data only, registered through `control`."""

    namespace: NamespaceSpec
    generators: list[GeneratorSpec]


class Handler(Protocol):
    """What an entry point of `hpc.handlers` loads: it turns a lease into work for the supervisor.

    The entry point's name is the `handler_type` of the namespaces that it serves.
    """

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute for every task of the grant.

        Raises:
            HpcError: The tasks cannot be started here; they are reported failed with the message.
        """
        ...
