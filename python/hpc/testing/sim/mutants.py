"""Mutants: rules of the protocol left out, each in a world of its own, to see that the checks see.

Each is a patch of what a world is made of, here and nowhere else: what ships has no switch. One
that no seed shows is a check that is missing. Not among them is an epoch that does not rise, or is
lost with the power: the Hub takes no epoch of another session (R23), so nothing comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from hpc.protocols import LogRow
from hpc.relay.claims import ClaimAnswer, Claims
from hpc.relay.link import Batch
from hpc.relay.reports import Reports
from hpc.testing.sim import faults
from hpc.testing.sim.disk import LogDisk, SimLog
from hpc.testing.sim.hub import LEASE_MS, SYNC_S, SimHub
from hpc.testing.sim.link import SimLink
from hpc.testing.sim.network import Odds
from hpc.testing.sim.relay import SimRelay
from hpc.testing.sim.world import World
from hpc.transport.http_async import Reply, Rpc

LATER_S = 0.2
"""How long after it a start is written down that is written down late."""

POLL_S = 1.5
"""How often a fence is looked at that is polled."""


class _EarlyLog(SimLog):
    """Returns before the sync, which follows some milliseconds later if the Hub still lives."""

    def __init__(self, disk: LogDisk, hub: SimHub) -> None:
        super().__init__(disk)
        self._hub = hub
        self._start = hub.starts
        self._unsynced: list[LogRow] = []

    def rows(self) -> list[LogRow]:
        return [*self._disk.rows, *self._unsynced]

    def receipt(self, batch_id: str) -> LogRow | None:
        found = (row for row in self._unsynced if row.batch_id == batch_id)
        return next(found, super().receipt(batch_id))

    def write(self, rows: list[LogRow]) -> None:
        self._unsynced += [row._replace(job_ids=()) for row in rows]
        self._hub._loop.outside(5 * SYNC_S[1], self._sync)

    def _sync(self) -> None:
        if self._hub.is_up and self._hub.starts == self._start:
            self._disk.keep(self._unsynced)
            self._unsynced.clear()


CUTS: Final[Mapping[faults.Kind, int]] = {faults.cut: 6, faults.relay_kill: 1}
FREEZES: Final[Mapping[faults.Kind, int]] = {faults.relay_freeze: 1}
KILLS: Final[Mapping[faults.Kind, int]] = {faults.relay_kill: 1}
LATE: Final = Odds(drop=0.03, lose_reply=0.03, repeat=0.1, slow=0.5, slow_s=1.2)
"""Storms in which a rule is needed more often than among all faults; the checks are the same."""


class AckEarly(World):
    """R1: answers leave before what they say is durable; R4: grants too."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.hub.make_log = lambda disk: _EarlyLog(disk, self.hub)


class NoDedupe(World):
    """R2, as a client breaks it: each try of a batch has an id of its own."""

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        for client in self.clients:
            client.new_id = lambda batch_id, sends: f"{batch_id}.{sends}"


class _NoFence(SimLink):
    def _time_fence(self, left_s: float) -> None:
        """No timer: `stop` tasks end when the Hub says so."""


class _PolledFence(SimLink):
    def _time_fence(self, left_s: float) -> None:
        """Looked at now and then instead, as between two renewals."""
        self._owner.later(left_s + self._random.uniform(0.0, POLL_S), self._fence_due)


class _LateStarts(SimLink):
    def _is_fenced(self) -> bool:
        """R16: what is leased is started whenever there is room."""
        return False


class _LateGrants(Claims):
    def _take(self, reply: Reply, sent_ms: int) -> float:
        """R16: what an answer grants is taken however late it came."""
        pause_s = super()._take(reply, sent_ms)
        answer = msgspec.json.decode(reply.body, type=ClaimAnswer)
        if answer.n == self._n:
            self._start(answer.grants)
        return pause_s


class _EndedNotHeld(SimLink):
    def _ended(self, serial: int, started_at: int) -> None:
        """R13: a claim names what is running or queued, and not what has ended."""
        one = self._running[serial]
        super()._ended(serial, started_at)
        self._holds[one.work.job_id, one.work.attempt].discard(one.task)


class _Survived(SimLink):
    def killed(self) -> None:
        """R26: the children of a relay live on, and the next start sweeps nothing."""


class _ToldLater(SimLink):
    def _report(self, record: dict[str, Any]) -> None:
        """R27: a start is written down some time after it."""
        write = super()._report
        if "s" in record:
            self._owner.later(LATER_S, lambda: write(record))
        else:
            write(record)


class _OneOrigin(SimRelay):
    def new_session(self) -> str:
        """R11: the reports of a node have one origin, whatever a power cut took of its outbox."""
        return self.node_id


class _Forgetful(Reports):
    async def _settle(self, rpc: Rpc, batch: Batch) -> None:
        """R12: what is handed to the sender is forgotten."""
        self._link.acked(batch.origin, batch.n)
        await super()._settle(rpc, batch)


class _FromReply(Claims):
    def _take(self, reply: Reply, sent_ms: int) -> float:
        """R15: the lease is counted from when its answer came."""
        return super()._take(reply, self._clock.boottime_ms())


class _OneNumber(Claims):
    async def _round(self) -> float:
        """R14: every claim has the same number, so any answer is taken for its answer."""
        self._n = 0
        return await super()._round()


class _NoGraceClock:
    """A clock by which every lease was promised one lease ago."""

    def __init__(self, hub: SimHub) -> None:
        self._clock = hub.clock

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._clock.wall_ms()

    def mono_ms(self) -> int:
        """Milliseconds of some clock."""
        return self._clock.mono_ms() - LEASE_MS


class NoGrace(World):
    """R24: a Hub that starts gives nobody a whole lease."""

    kinds: Mapping[faults.Kind, int] = {faults.hub_kill: 6, faults.cut: 2}

    def __init__(self, seed: int, folder: Path) -> None:
        super().__init__(seed, folder)
        self.hub.start_clock = _NoGraceClock(self.hub)


def _with(
    kinds: Mapping[faults.Kind, int] = faults.KINDS,
    odds: Odds = faults.BAD,
    relay: type[SimRelay] = SimRelay,
    **parts: type,
) -> type[World]:
    """Return a world whose relays have other parts, and whose storm is another."""
    relay_class = type("MutantRelay", (relay,), parts)
    fields = {"relay_class": relay_class, "kinds": kinds, "odds": odds}
    return type("MutantWorld", (World,), fields)


MUTANTS: Final[dict[str, type[World]]] = {
    "ack-early": AckEarly,
    "no-dedupe": NoDedupe,
    "no-fence": _with(CUTS, link_class=_NoFence),
    "polled-fence": _with(CUTS, link_class=_PolledFence),
    "lease-from-reply": _with(CUTS, LATE, claims_class=_FromReply),
    "no-grace": NoGrace,
    "forgets-at-send": _with(reports_class=_Forgetful),
    "one-claim-number": _with(CUTS, LATE, claims_class=_OneNumber),
    "one-origin": _with({faults.power_cut: 1}, relay=_OneOrigin),
    "ended-not-held": _with(link_class=_EndedNotHeld),
    "late-starts": _with(FREEZES, LATE, link_class=_LateStarts, claims_class=_LateGrants),
    "children-survive": _with(KILLS, link_class=_Survived),
    "told-later": _with(KILLS, link_class=_ToldLater),
}
"""By name, as `--mutant` takes them."""
