"""The work behind `hpc log`, which needs the engine: loaded by those of its verbs that do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from hpc import plugins
from hpc.clock import SystemClock
from hpc.errors import StorageFull
from hpc.hub.recovery import recover
from hpc.hub.upkeep import Upkeep
from hpc.hub.verification import verify

LEASE_MS = 30_000
"""Of an engine that answers nobody."""

ROUNDS = 2
"""The first may only write the snapshot that must be the older of two."""


def verified(place: Path, storage: str) -> dict[str, Any]:
    """Verify a log; what `hpc.hub.verification.Report` says, as plain values."""
    with contextlib.closing(plugins.log_tools(storage).reader(place)) as log:
        report: dict[str, Any] = msgspec.to_builtins(verify(log))
    return report


def compacted(folder: Path, storage: str) -> dict[str, Any]:
    """Compact the log of a folder that no Hub has.

    Raises:
        StorageLocked: One has it.
    """
    tools = plugins.log_tools(storage)
    tools.reader(folder).close()  # a folder without a log is not given one
    clock = SystemClock()
    with contextlib.closing(plugins.storage(storage)(folder)) as log:
        engine = recover(log, lease_ms=LEASE_MS, reclaim_ms=LEASE_MS, clock=clock)
        engine.believe_clock()  # who asks for it knows what day it is
        upkeep = Upkeep(log, clock)
        for _ in range(ROUNDS if engine.has_retention else 0):
            if not upkeep.dropped:
                for _ in upkeep.compaction(engine):
                    pass
        told = {
            "dropped": upkeep.dropped,
            "floor": log.floor(),
            "last_seq": engine.last_seq,
            "snapshots": [head.seq for head in log.snapshots()],
        }
    freed = 0
    if upkeep.dropped:
        # Where there is no room to write the file anew, what is free in it is used again.
        with contextlib.suppress(StorageFull):
            freed = tools.shrink(folder)
    return {**told, "freed_bytes": freed}
