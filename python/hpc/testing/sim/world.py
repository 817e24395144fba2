"""A world: a Hub, three relays, two clients and a reader, through a storm and the calm after it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hpc.testing.sim import faults
from hpc.testing.sim.checks import Checks
from hpc.testing.sim.clients import Client, Reader
from hpc.testing.sim.disk import LogDisk, NodeDisk
from hpc.testing.sim.hub import SimHub
from hpc.testing.sim.loop import SimLoop, Stuck
from hpc.testing.sim.network import Network, Odds
from hpc.testing.sim.relay import SimRelay

NODES = ("n1", "n2", "n3")
CLIENTS = ("c1", "c2")
JOBS = 6
"""Of each client."""

PAUSES_S = (1.5, 4.0, 8.0)
"""The longest time between two faults, one of these for a whole storm: where all are cut off all
the time, nobody runs what somebody else still does."""

CALM_S = 300.0
"""After the storm everything must be over within this."""

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
STEPS_MAX = 2_000_000


@dataclass
class Course:
    """What one seed led to.

    Attributes:
        faults: What did not hold; empty where all did.
        injected: What was done, by kind.
        virtual_s: How long it took in its own time.
        acked: Events that were acknowledged.
        reruns: Executions beyond the first of a task, all of them with an attempt in the log.
    """

    seed: int
    faults: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    steps: int = 0
    commits: int = 0
    acked: int = 0
    executions: int = 0
    reruns: int = 0


class World:
    """Everything of one seed.

    Attributes:
        is_stormy: Faults still happen.
        pause_s: Time between two faults, at most.
        kinds: What happens in its storm, and how often beside the others.
        odds: How bad its network is meanwhile.
    """

    relay_class: type[SimRelay] = SimRelay
    kinds: Mapping[faults.Kind, int] = faults.KINDS
    odds: Odds = faults.BAD

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self.random = self._chance("world")
        self.loop = SimLoop(self._chance("loop"))
        self._folder = folder
        self.injected: Counter[str] = Counter()
        self.pause_s = self.random.choice(PAUSES_S)
        self.is_stormy = True
        self.log_disk = LogDisk("hub-0", self._chance("disk"))
        self.hub = SimHub(self.loop, self._chance("hub"), self.log_disk)
        self.network = Network(self.loop, self._chance("network"), self.hub)
        self.checks = Checks(self.loop, self.log_disk)
        self.network.watch.append(self.checks.sent)
        self.node_ids = NODES[: self.random.choice([1, 2, 3, 3])]
        self.relays: list[SimRelay] = []
        for node_id in self.node_ids:
            self.begun(node_id)
        self.clients = [
            Client(self.loop, self._chance(name), self.network, name) for name in CLIENTS
        ]
        self.reader = Reader(self.loop, self._chance("reader"), self.network)
        self.hub.on_start = lambda: self.checks.present(self.clients)
        self.hub.on_killed = self._hub_killed
        self.hub.on_commit = lambda: faults.after_commit(self)

    def begun(self, node_id: str, disk: NodeDisk | None = None) -> SimRelay:
        """Add a relay of a node, with an empty folder or with the one given."""
        number = len(self.relays)
        disk = disk or NodeDisk(self._folder / str(number), f"folder-{number}")
        relay = self.relay_class(
            loop=self.loop,
            random=self._chance(f"relay-{number}"),
            network=self.network,
            disk=disk,
            node_id=node_id,
            name=f"{node_id}-{number}",
            watch=self.checks,
        )
        self.relays.append(relay)
        return relay

    def _chance(self, name: str) -> Random:
        """Return what decides for one part: more of it in one changes nothing in another."""
        return Random(f"{self._seed}/{name}")  # noqa: S311 - nothing here is a secret

    def copied(self, relay: SimRelay) -> SimRelay:
        """Add a relay over a copy of another's folder."""
        number = len(self.relays)
        disk = relay.disk.copied(self._folder / str(number), f"folder-{number}")
        copy = self.begun(relay.node_id, disk)
        copy.is_taking_over = number % 2 == 0
        return copy

    def count(self, kind: str) -> None:
        """Note that something was done."""
        self.injected[kind] += 1

    def a_relay(self) -> SimRelay:
        """Choose a relay that is no copy."""
        return self.random.choice(self.relays[: len(self.node_ids)])

    def a_client(self) -> Client:
        """Choose a client."""
        return self.random.choice(self.clients)

    async def passed(self, least_s: float, most_s: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(self.random.uniform(least_s, most_s))

    async def run(self) -> None:
        """Go through the storm and the calm."""
        self.hub.start()
        for relay in self.relays:
            relay.start()
        reading = asyncio.ensure_future(self.reader.run())
        submitting = [asyncio.ensure_future(self._submit(client)) for client in self.clients]
        await faults.storm(self)
        await asyncio.gather(*submitting)
        end_s = self.loop.time() + CALM_S
        while not self._is_over():
            if self.loop.time() > end_s:
                self.checks.say(f"nothing ends: {self.checks.unsettled(self.clients)[:5]} open")
                break
            faults.replace(self)
            await self.passed(0.5, 0.5)
        reading.cancel()
        self.checks.finish(self.hub, self.clients, self.reader, self.injected)

    def faults(self) -> list[str]:
        """Return what did not hold, wherever it was seen."""
        found = list(self.checks.faults) + self.hub.faults + self.reader.faults + self.loop.faults
        for client in self.clients:
            found += client.faults
        for relay in self.relays:
            found += relay.faults
            # Whatever the Hub refuses of a relay's reports, or calls lost, is a mistake.
            signs = ("has lost reports", "set aside", "refuses the claim", "cannot be read")
            found += [f"{relay.name} said: {s}" for s in relay.said if any(w in s for w in signs)]
        return found

    def _is_over(self) -> bool:
        if not self.hub.is_up or self.checks.unsettled(self.clients):
            return False
        return all(not relay.is_up or relay.link.is_idle for relay in self.relays)

    async def _submit(self, client: Client) -> None:
        for _ in range(JOBS):
            await self.passed(0.0, faults.STORM_S / JOBS)
            await client.submit(
                seconds=self.random.choice([0.05, 0.5, 3.0, 8.0]),
                fails=self.random.choice([0.0, 0.0, 0.3]),
                on_cut_off=self.random.choice(["stop", "finish"]),
                retries=self.random.choice([0, 1]),
            )

    def _hub_killed(self) -> None:
        self.loop.outside(self.random.uniform(0.02, 1.5 * faults.LEASE_S), self._restart_hub)

    def _restart_hub(self) -> None:
        if not self.hub.is_up:
            self.hub.start()


def run_seed(seed: int, world_class: type[World] = World) -> Course:
    """Run one seed to its end; the same seed gives the same course."""
    course = Course(seed)
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        world = world_class(seed, Path(folder))
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                world.loop.run_until_complete(world.run())
        except Stuck as error:
            course.faults.append(str(error))
        finally:
            world.loop.end()
    course.faults += world.faults()
    course.injected = world.injected + Counter(world.network.counts)
    course.virtual_s = world.loop.time()
    course.steps = world.loop.steps
    course.commits = world.hub.commits
    course.acked = sum(len(client.acked) + len(client.cancelled) for client in world.clients) + len(
        world.checks._acknowledged
    )
    course.executions = len(world.checks.executions)
    course.reruns = course.executions - len(
        {(one.job_id, one.task) for one in world.checks.executions}
    )
    return course
