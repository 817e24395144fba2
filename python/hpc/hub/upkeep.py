"""Upkeep: snapshots of the engine and compaction of the log, a short step after a turn.

A snapshot is made of the engine as it is between two turns, when all that it knows is durable; that
takes a pause, of about 2 s where a million jobs are known. It is then written by steps of some
milliseconds, with turns between them, on the one thread and connection that write: a second
connection would make the turns wait for its lock. It bounds how much of the log the next start
replays, so one is due after so many events (250,000 are about a second of replay), but not before
fifty times as long has passed as the last one took: it costs at most 2 % of the time.

Compaction drops bodies that are past their namespace's retention, or speak of forgotten jobs only.
It looks through the log in pieces, from its beginning where a job was forgotten meanwhile; if it
finds any, it writes a snapshot and reads it again before it drops what lies below the
older of the two. What it cannot do now (a generator is being built, or was registered since the
older snapshot; the disk is full) it leaves to the next time.

Nothing here decides which batches may go: that is the engine's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

from hpc._core import check_snapshot
from hpc.errors import StorageDamaged, StorageFull, StorageLocked
from hpc.protocols import EventLog

COST_SHARE: Final = 50
"""A snapshot may take so much less than the time between two."""

RETRY_MS: Final = 60_000
"""After a full disk or a lock."""

FREE_BYTES_MIN: Final = 128 << 20
"""Must be left beside the room that a snapshot takes."""

LOOK_EVENTS: Final = 2_000
DROP_ROWS: Final = 500
"""Batches whose bodies go in one commit."""


class Engine(Protocol):
    """The part of the engine that is kept up; `hpc._core.Hub`."""

    @property
    def last_seq(self) -> int:
        """Seq of the last event it knows."""
        ...

    @property
    def is_building(self) -> bool:
        """Whether a generator is being built."""
        ...

    @property
    def has_retention(self) -> bool:
        """Whether a namespace has a retention, or a job was forgotten."""
        ...

    @property
    def forgotten(self) -> int:
        """How many jobs were forgotten."""
        ...

    @property
    def newest_registrations(self) -> tuple[int, int]:
        """Seqs of the newest registrations of a namespace and of a generator."""
        ...

    def snapshot(self) -> bytes:
        """Return the state."""
        ...

    def expired(
        self, rows: Sequence[Any], *, wall_ms: int, below: int
    ) -> tuple[list[int], int | None]:
        """Return which batches may go, and the first that is only too young.

        Args:
            rows: Of the log.
            wall_ms: Now.
            below: Seq of the oldest snapshot that will be kept.
        """
        ...


class Clock(Protocol):
    """Where time comes from."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def mono_ms(self) -> int:
        """Milliseconds of a clock that nobody sets."""
        ...


class Upkeep:
    """What one log is due, and how far it has come.

    Args:
        log: Nobody else may use it meanwhile.
        clock: Where time comes from.
        snapshot_events: Events after which a snapshot is due.
        compact_ms: How often the log is looked through.
        timer_s: By which snapshots are timed.

    Attributes:
        wake_ms: Monotonic ms at which a step is due without a turn; None: never.
        snapshots: Those written so far.
        dropped: Batches whose bodies were dropped so far.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        snapshot_events: int = 250_000,
        compact_ms: int = 3_600_000,
        timer_s: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._timer_s = timer_s
        self._log = log
        self._clock = clock
        stored = log.snapshots()
        self._last_seq = stored[0].seq if stored else 0
        self._next_ms = 0
        self._snapshot_events = snapshot_events
        self._compact_every_ms = compact_ms
        self._compact_ms = clock.mono_ms() + compact_ms
        self._steps: Iterator[None] | None = None
        self._look_from = 1
        self._namespace_seq = 0
        self._forgotten = 0
        self.wake_ms: int | None = None
        self.snapshots = 0
        self.dropped = 0

    def step(self, engine: Engine) -> bool:
        """Take one short step, if any is due; whether the next should follow at once.

        Raises:
            StorageError: Unknown outcome; the log must be reopened.
        """
        if self._steps is None:
            self._steps = self._due(engine)
        if self._steps is not None:
            try:
                next(self._steps)
            except StopIteration:
                self._steps = None
            except (StorageFull, StorageLocked, StorageDamaged) as error:
                self._put_off(error)
        self.wake_ms = None
        if engine.has_retention and not engine.is_building:
            self.wake_ms = max(self._compact_ms, self._next_ms)
        return self._steps is not None

    @property
    def is_under_way(self) -> bool:
        """Whether a snapshot or a compaction has been begun."""
        return self._steps is not None

    def finish(self, engine: Engine) -> None:
        """Write a snapshot of all there is, at a clean stop, unless there is one.

        Raises:
            StorageError: It could not be written; the log has everything all the same.
        """
        self.leave()
        if engine.last_seq > self._last_seq and not engine.is_building:
            for _ in self.snapshot(engine):
                pass

    def leave(self) -> None:
        """Give up what is under way; the engine is another one from now on."""
        self._steps = None

    def snapshot(self, engine: Engine) -> Iterator[None]:
        """Write one snapshot of the engine as it is at the first step."""
        began_s = self._timer_s()
        state, seq = engine.snapshot(), engine.last_seq
        took_s = self._timer_s() - began_s
        free_bytes, needed = self._log.free_bytes(), 2 * len(state) + FREE_BYTES_MIN
        if free_bytes < needed:
            raise StorageFull(
                f"A snapshot of {len(state)} bytes is written where {-(-needed >> 20)} MiB are "
                f"free, and {free_bytes >> 20} MiB are",
                hint="make room on the disk of the log",
            )
        steps = self._log.snapshot(state, seq)
        while True:
            began_s = self._timer_s()
            is_over = next(steps, self) is self
            took_s += self._timer_s() - began_s
            if is_over:
                break
            yield
        self.snapshots += 1
        self._last_seq = seq
        self._next_ms = self._clock.mono_ms() + int(took_s * 1000) * COST_SHARE

    def compaction(self, engine: Engine) -> Iterator[None]:
        """Drop what may be dropped, once two snapshots hold all that it says."""
        newest = self._log.snapshots()[:1]
        namespace_seq, generator_seq = engine.newest_registrations
        if not newest or newest[0].seq < generator_seq:
            # The one that would be the older of two does not know every generator.
            yield from self._checked(engine)
            return
        if namespace_seq != self._namespace_seq:
            self._namespace_seq, self._look_from = namespace_seq, 1
        if engine.forgotten != self._forgotten:
            self._forgotten, self._look_from = engine.forgotten, 1
        below = newest[0].seq
        expired, pending = [], below + 1
        next_seq = self._look_from
        while next_seq <= below:
            rows = self._log.read(next_seq, LOOK_EVENTS)
            next_seq = rows[-1].first_seq + rows[-1].count
            rows = [row for row in rows if row.first_seq + row.count - 1 <= below]
            found, waits = engine.expired(rows, wall_ms=self._clock.wall_ms(), below=below)
            expired += found
            pending = min(pending, waits or pending)
            yield
        if expired:
            yield from self._checked(engine)
            for start in range(0, len(expired), DROP_ROWS):
                self._log.compact(expired[start : start + DROP_ROWS])
                self.dropped += len(expired[start : start + DROP_ROWS])
                yield
        self._look_from = pending

    def _due(self, engine: Engine) -> Iterator[None] | None:
        now_ms = self._clock.mono_ms()
        if engine.is_building or now_ms < self._next_ms:
            return None
        if engine.has_retention and now_ms >= self._compact_ms:
            self._compact_ms = now_ms + self._compact_every_ms
            return self.compaction(engine)
        if engine.last_seq - self._last_seq >= self._snapshot_events:
            return self.snapshot(engine)
        return None

    def _checked(self, engine: Engine) -> Iterator[None]:
        """Write a snapshot and read it again.

        Raises:
            StorageDamaged: It does not say what was written.
        """
        yield from self.snapshot(engine)
        head = self._log.snapshots()[0]
        _hub_id, seq, chain = check_snapshot(self._log.read_snapshot(head.number))
        if (seq, chain) != (head.seq, head.chain):
            raise StorageDamaged("The snapshot that was just written is of another state")

    def _put_off(self, error: StorageFull | StorageLocked | StorageDamaged) -> None:
        self._steps = None
        self._next_ms = self._clock.mono_ms() + RETRY_MS
        print(f"hub: upkeep is put off: {error.message}", file=sys.stderr, flush=True)
