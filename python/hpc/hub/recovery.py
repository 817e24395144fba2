"""Recovery: the engine from the log. The same code runs at start and after a failed append.

The log is the truth; the engine's state is rebuilt from it row by row, and the checksum chain is
verified on the way. Registrations go first, so that every event meets the rules of its time.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from hpc._core import Hub
from hpc.hub.commit import Clock
from hpc.protocols import EventLog

REPLAY_EVENTS: Final = 5000
"""Events that are read and replayed at a time."""


def recover(log: EventLog, *, lease_ms: int, reclaim_ms: int, clock: Clock) -> Hub:
    """Rebuild the engine from a log.

    Leases of nodes that were live count anew from now, so that a Hub that was away costs nobody
    a lease.

    Raises:
        StorageDamaged: The chain does not match; the message names the batch.
        StorageError: The log cannot be read.
    """
    began_s = time.perf_counter()
    engine = Hub(hub_id=log.hub_id, lease_ms=lease_ms, reclaim_ms=reclaim_ms)
    engine.preload(log.read_control())
    next_seq = 1
    while rows := log.read(next_seq, REPLAY_EVENTS):
        engine.replay(rows)
        next_seq = rows[-1].first_seq + rows[-1].count
    engine.start(wall_ms=clock.wall_ms(), mono_ms=clock.mono_ms())
    took_s = time.perf_counter() - began_s
    print(f"hub: replayed {next_seq - 1} events in {took_s:.2f} s", file=sys.stderr)
    return engine
