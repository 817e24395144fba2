"""The process of a relay: `Claims` and `Reports` that ship, over a simulated link and network."""

from __future__ import annotations

import string
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from hpc.domain import Grant, NodeOffer, Work
from hpc.relay.claims import Claims, EpochBook, Identity, Replaced
from hpc.relay.membership import Membership
from hpc.relay.reports import Reports
from hpc.testing.sim.disk import NodeDisk, SimBook
from hpc.testing.sim.hub import SIM, WALL_MS
from hpc.testing.sim.link import SimLink, Watch
from hpc.testing.sim.loop import Owner, SimLoop
from hpc.testing.sim.network import Network
from hpc.transport.http_async import Problem
from hpc.transport.register import register

CPUS = 2
IDENTIFY_S = 10.0
REPLACED_S = 10.0
"""How long one that was replaced has to deliver what it has."""


class RelayClock:
    """A machine's clocks: they began at a time of their own, and the wall can be set."""

    def __init__(self, loop: SimLoop, random: Random) -> None:
        self._loop = loop
        self._boot_ms = random.randrange(10**9)
        self.jump_ms = random.choice([0, 0, -86_400_000, 3_600_000])

    def wall_ms(self) -> int:
        """Milliseconds since 1970, as far as this machine knows."""
        return WALL_MS + int(self._loop.time() * 1000) + self.jump_ms

    def boottime_ms(self) -> int:
        """Milliseconds since its start."""
        return self._boot_ms + int(self._loop.time() * 1000)


class SimHandler:
    """Plans a task that takes as long, and fails as often, as its job says."""

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what the simulated link is to execute."""
        return Work(
            job_id=grant.job_id,
            ns_id=grant.ns_id,
            attempt=grant.attempt,
            epoch=offer.epoch,
            tasks=grant.tasks,
            kind="process",
            argv=["simulated"],
            env={"SECONDS": str(grant.spec["seconds"]), "FAILS": str(grant.spec["fails"])},
            cpus=grant.resources["cpus"],
            on_cut_off=grant.spec["on_cut_off"],
        )


class SimRelay:
    """One node at one place, through all starts of its relay.

    Attributes:
        name: For the network and the checks; the node's id is shared with copies.
        disk: Its folder.
        is_up: Whether a process runs.
        is_over: It was replaced and has ended; nobody starts it again.
        said: What it told people.
        faults: What must not happen, in sentences.
        is_taking_over: It does not wait for a live relay of its name.
        link_class: A mutant has another; likewise the three below.
    """

    is_taking_over = False

    link_class: type[SimLink] = SimLink
    claims_class: type[Claims] = Claims
    reports_class: type[Reports] = Reports
    book_class: type[SimBook] = SimBook

    def __init__(
        self,
        *,
        loop: SimLoop,
        random: Random,
        network: Network,
        disk: NodeDisk,
        node_id: str,
        name: str,
        watch: Watch,
    ) -> None:
        self._loop = loop
        self._random = random
        self._network = network
        self._watch = watch
        self.disk = disk
        self.node_id = node_id
        self.name = name
        self.clock = RelayClock(loop, random)
        self.is_up = False
        self.is_frozen = False
        self.is_over = False
        self.starts = 0
        self.said: list[str] = []
        self.faults: list[str] = []
        self.link: SimLink
        self.reports: Reports
        self._owner: Owner

    def start(self) -> None:
        """Start the process; what an earlier one left was swept."""
        assert not self.is_up, "it runs already"
        self.is_up = True
        self.starts += 1
        self._owner = owner = Owner(self._loop)
        session = self.new_session()
        book: EpochBook = self.book_class(self.disk)
        membership = Membership()
        self.link = self.link_class(
            loop=self._loop,
            owner=owner,
            random=self._random,
            boottime_ms=self.clock.boottime_ms,
            wall_ms=self.clock.wall_ms,
            disk=self.disk,
            node_id=self.node_id,
            session=session,
            cpus=CPUS,
            watch=self._watch,
        )

        def lane() -> Any:  # noqa: ANN401 - a lane is an Rpc
            return self._network.lane(self.name, membership.check)

        async def identify() -> str:
            answered = self._network.lane(self.name)
            reply = await answered.post("/healthz", b"", deadline_s=IDENTIFY_S)
            assert reply.hub is not None, "every answer names its Hub"
            return reply.hub

        async def registered() -> Problem | None:
            return await register(lane(), SIM)

        claims = self.claims_class(
            rpc=lane(),
            link=self.link,
            book=book,
            identity=Identity(self.node_id, self.name, self.disk.place, session),
            membership=membership,
            namespaces=["sim"],
            resources={"cpus": CPUS},
            handlers={"sim": SimHandler()},
            identify=identify,
            register=registered,
            clock=self.clock,
            random=self._random,
            say=self.said.append,
            takeover=self.is_taking_over,
        )
        self.reports = self.reports_class(
            link=self.link,
            own=lane(),
            old=lane(),
            chunks=lane(),
            session=session,
            membership=membership,
            book=book,
            random=self._random,
            say=self.said.append,
        )
        owner.spawn(self._guarded("claims", claims.run))
        owner.spawn(self._guarded("reports", self.reports.run))
        owner.spawn(self._guarded("old reports", self.reports.run_old))

    def new_session(self) -> str:
        """Return the origin of what this start is going to report (R11)."""
        return "".join(self._random.choices(string.ascii_lowercase, k=12))

    def kill(self) -> None:
        """End at once, children too; the page cache outlives it."""
        if self.is_up:
            if self.is_frozen:
                self.link.stood_still()
            self.is_up = self.is_frozen = False
            self._owner.die()
            self.link.killed()

    def cut_power(self) -> None:
        """End the machine: what was not synced is lost in part, and it is another place."""
        self.kill()
        self.disk.cut_power(self._random)

    def freeze(self) -> None:
        """Stand still, as after SIGSTOP; the children go on."""
        self.is_frozen = True
        self._owner.freeze()

    def thaw(self) -> None:
        """Go on."""
        if self.is_up and self.is_frozen:
            self.is_frozen = False
            self.link.stood_still()
            self._owner.thaw()

    async def _guarded(self, name: str, loop: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        # Made here: who is killed before it begins leaves nothing that was to be awaited.
        try:
            await loop()
        except Replaced:
            # As process.py: the tasks end at once, and the outbox has some time.
            self.link.drain(0.0)
            self._owner.later(REPLACED_S, self._leave)
        except Exception as error:  # whatever it is, a relay must not end by it
            self.faults.append(f"relay {self.name}: {name} ended by {error!r}")

    def _leave(self) -> None:
        self.is_over = True
        self.kill()
