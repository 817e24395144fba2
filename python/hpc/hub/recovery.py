"""Recovery: the engine from the log. The same code runs at start and after a failed append.

The log is the truth; the engine's state is rebuilt from it row by row, and the checksum chain is
verified on the way. It begins at the newest snapshot that verifies (restoring.py), or else at the
log's beginning. Below the compaction floor a snapshot is not a cache but the truth, and without one
the Hub does not start. Nor does it where a batch is damaged that the state rests on, unless it is
told to leave it out; beside other damage it starts (quarantine.py).
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from hpc._core import Hub
from hpc.errors import StorageDamaged
from hpc.hub.quarantine import Quarantine
from hpc.hub.restoring import restore_newest
from hpc.hub.turn_parts import Clock
from hpc.protocols import EventLog, LogRow

REPLAY_EVENTS: Final = 5000
"""Events that are read and replayed at a time."""


def recover(
    log: EventLog,
    *,
    lease_ms: int,
    reclaim_ms: int,
    clock: Clock,
    keep_jobs_ms: int | None = None,
    quarantine: Quarantine | None = None,
    set_aside: bool = False,
) -> Hub:
    """Rebuild the engine from a log.

    Leases of nodes that were live count anew from now, so that a Hub that was away costs nobody
    a lease.

    Args:
        log: Nobody else writes to it.
        lease_ms: What nodes are promised.
        reclaim_ms: How long leases of a lost node stay its own.
        clock: Where time comes from.
        keep_jobs_ms: The engine forgets jobs that ended so long ago; None: it keeps them.
        quarantine: Where damaged batches are noted that the state does not rest on.
        set_aside: Leave out those that it does rest on, too: what they said is not known then.

    Raises:
        StorageDamaged: The chain does not match, and the message names the batch; or the log was
            compacted and no snapshot can be used.
        StorageError: The log cannot be read.
    """
    began_s = time.perf_counter()

    def new() -> Hub:
        return Hub(
            hub_id=log.hub_id,
            lease_ms=lease_ms,
            reclaim_ms=reclaim_ms,
            keep_jobs_ms=keep_jobs_ms,
            lineage=log.lineage,
        )

    quarantine = quarantine or Quarantine()
    read = functools.partial(quarantine.rows, log) if set_aside else log.read
    with _refused():
        engine = restore_newest(log, new)
        known: set[int] | None = None
        if engine is None:
            registrations = list(_control(read)) if set_aside else log.read_control()
            engine = _empty(log, new, registrations)
            known = {row.first_seq for row in registrations}
        begun_at = engine.last_seq
        next_seq = begun_at + 1
        while rows := read(next_seq, REPLAY_EVENTS):
            _check_registrations(rows, known)
            (engine.replay_around if set_aside else engine.replay)(rows)
            next_seq = rows[-1].first_seq + rows[-1].count
    # A generator that was registered after the snapshot reads the log from its beginning.
    while (wanted := engine.build_from) is not None and (
        rows := quarantine.rows(log, wanted, REPLAY_EVENTS)
    ):
        engine.catch_up(rows)
    engine.start(wall_ms=clock.wall_ms(), mono_ms=clock.mono_ms())
    took_s = time.perf_counter() - began_s
    restored = f"restored a snapshot at seq {begun_at} and " if begun_at else ""
    told = f"{restored}replayed {next_seq - 1 - begun_at} events in {took_s:.2f} s"
    print(f"hub: {told}", file=sys.stderr)
    return engine


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Say what can be done about damage that the state rests on."""
    try:
        yield
    except StorageDamaged as error:
        raise StorageDamaged(
            f"{error.message}; what the log says after it cannot be known",
            hint="restore the folder from a backup, or an exported log by `hpc log restore FILE`; "
            "or start without what damaged batches say: `hpc hub --set-aside-damaged`",
        ) from error


def _empty(log: EventLog, new: Callable[[], Hub], registrations: list[LogRow]) -> Hub:
    floor = log.floor()
    if floor > 1:
        raise StorageDamaged(
            f"The log was compacted below seq {floor}, and none of its snapshots can be used"
        )
    engine = new()
    engine.preload(registrations)
    return engine


def _check_registrations(rows: list[LogRow], known: set[int] | None) -> None:
    """Hold what was preloaded against the rows themselves: an index may be older than its table.

    Args:
        rows: Of the log.
        known: The seqs of what was preloaded; None behind a snapshot, where nothing is.

    Raises:
        StorageDamaged: A registration is in the log that was not preloaded.
    """
    for row in rows:
        if row.flags & 1 and row.body and known is not None and row.first_seq not in known:
            raise StorageDamaged(
                f"The registration at seq {row.first_seq} of the log is not in its index"
            )


def _control(read: Callable[[int, int], list[LogRow]]) -> Iterator[LogRow]:
    """Yield the registrations that can be read, from a look at the whole log."""
    next_seq = 1
    while rows := read(next_seq, REPLAY_EVENTS):
        yield from (row for row in rows if row.flags & 1 and row.body)
        next_seq = rows[-1].first_seq + rows[-1].count
