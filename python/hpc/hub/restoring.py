"""Restoring: an engine at the newest snapshot of the log that verifies, at or below a seq.

Whole by its own checksums, of this Hub, and with the chain value that the log has at its seq. One
that is not is named on stderr and passed over. It is the same for the Hub that starts (recovery.py)
and for an engine of the past (past.py); what to do where none is of use, each knows by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from hpc.errors import StorageDamaged
from hpc.protocols import LogReader, SnapshotHead


class Restorable(Protocol):
    """An engine that nothing was replayed into yet."""

    @property
    def last_seq(self) -> int:
        """Seq of the last event it knows."""
        ...

    @property
    def chain(self) -> bytes:
        """The chain value there."""
        ...

    def restore(self, state: bytes) -> None:
        """Take a state over.

        Raises:
            StorageDamaged: It cannot be used.
        """
        ...


E = TypeVar("E", bound=Restorable)


def restore_newest(log: LogReader, new: Callable[[], E], *, upto: int | None = None) -> E | None:
    """Return an engine that stands where a snapshot does, or None where none is of use.

    Args:
        log: Whose snapshots.
        new: Makes an engine.
        upto: Snapshots above this seq are left out.

    Raises:
        StorageError: The log cannot be read.
    """
    for head in log.snapshots():
        if upto is not None and head.seq > upto:
            continue
        engine = new()
        try:
            engine.restore(log.read_snapshot(head.number))
            _check(log, head, engine)
        except StorageDamaged as error:
            print(
                f"hub: the snapshot at seq {head.seq} is passed over: {error.message}",
                file=sys.stderr,
            )
        else:
            return engine
    return None


def _check(log: LogReader, head: SnapshotHead, engine: Restorable) -> None:
    """Hold a restored state against the log.

    Raises:
        StorageDamaged: It is not of this log, at this seq.
    """
    row = next(iter(log.read(head.seq, 1)), None)
    ends_at = 0 if row is None else row.first_seq + row.count - 1
    if row is None or not (head.seq == ends_at == engine.last_seq):
        raise StorageDamaged(f"it is at seq {engine.last_seq}, and no batch of the log ends there")
    if not (head.chain == row.chain == engine.chain):
        raise StorageDamaged("the log has another chain value there")
    if head.seq + 1 < log.floor():
        raise StorageDamaged("the log after it was compacted")
