"""Faults: what is done to a world, one at a time and several at once, until it calms down.

Each takes the world and lasts a while that the seed chooses; what it broke it heals itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hpc.testing.sim.hub import LEASE_MS
from hpc.testing.sim.network import GOOD, Odds

if TYPE_CHECKING:
    from hpc.testing.sim.relay import SimRelay
    from hpc.testing.sim.world import World

LEASE_S = LEASE_MS / 1000
BUGGIFY = 0.04
"""Of the commits are followed by a kill within 60 ms: so early answers are seen."""

BAD = Odds(drop=0.04, lose_reply=0.04, repeat=0.03, slow=0.05)
STORM_S = 40.0


def after_commit(world: World) -> None:
    """Kill the Hub soon after some of its commits."""
    if world.is_stormy and world.random.random() < BUGGIFY:
        world.count("hub_kill_after_commit")
        world.loop.outside(world.random.uniform(0.0, 0.06), world.hub.kill)


async def hub_kill(world: World) -> None:
    """Kill the Hub, between two turns."""
    world.hub.kill()


async def hub_kill_in_append(world: World) -> None:
    """Kill it in its next append: before the sync, with what is written kept or not, or after."""
    world.log_disk.kill_next = world.random.choice(["before", "torn", "after"])


async def hub_freeze(world: World) -> None:
    """Let it stand still: its next turn is late (R25, R29)."""
    hub = world.hub
    if hub.is_up:
        start = hub.starts
        hub.freeze()
        await world.passed(0.1, 2.5 * LEASE_S)
        if hub.is_up and hub.starts == start:
            hub.thaw()


async def hub_clock(world: World) -> None:
    """Set its wall clock."""
    world.hub.clock.jump_ms += world.random.choice([-3_600_000, -1000, 5000, 86_400_000])


async def disk_full(world: World) -> None:
    """Leave no space, or little."""
    disk = world.log_disk
    attribute = world.random.choice(["is_full", "is_low"])
    setattr(disk, attribute, True)
    await world.passed(0.2, 2 * LEASE_S)
    setattr(disk, attribute, False)


async def relay_kill(world: World) -> None:
    """Kill a relay; it is started again."""
    await _restarted(world, world.a_relay(), lambda relay: relay.kill())


async def power_cut(world: World) -> None:
    """End a relay's machine: what was not synced is lost in part (R11)."""
    await _restarted(world, world.a_relay(), lambda relay: relay.cut_power())


async def _restarted(world: World, relay: SimRelay, end: Callable[[SimRelay], None]) -> None:
    if relay.is_up:
        end(relay)
        await world.passed(0.0, 2 * LEASE_S)
        if not (relay.is_up or relay.is_over):
            relay.start()


async def relay_freeze(world: World) -> None:
    """Let a relay and its supervisor stand still; its tasks go on."""
    relay = world.a_relay()
    if relay.is_up and not relay.is_frozen:
        start = relay.starts
        relay.freeze()
        await world.passed(0.1, 3 * LEASE_S)
        if relay.starts == start:
            relay.thaw()


async def relay_clock(world: World) -> None:
    """Set a relay's wall clock."""
    world.a_relay().clock.jump_ms += world.random.choice([-86_400_000, -5000, 3_600_000])


async def cut(world: World) -> None:
    """Cut a relay off, in one direction or in both, for less than a lease or more."""
    name = world.a_relay().name
    directions = world.random.choice([[True], [False], [True, False]])
    cuts = {(name, towards_hub) for towards_hub in directions}
    world.network.cuts |= cuts
    await world.passed(0.1, 3 * LEASE_S)
    world.network.cuts -= cuts


async def copy(world: World) -> None:
    """Start a copy of a relay's folder somewhere else; after a while it is ended (R23)."""
    relay = world.copied(world.a_relay())
    relay.start()
    await world.passed(1.0, 5 * LEASE_S)
    relay.kill()
    relay.is_over = True


async def node_lost(world: World) -> None:
    """Say that a node will not come back, of one that is cut off or not."""
    world.checks.scan()
    if world.checks.joined:
        node_id, epoch = world.random.choice(sorted(world.checks.joined.items()))
        await world.a_client().lose_node(node_id, epoch)


async def cancel(world: World) -> None:
    """Cancel a job."""
    await world.a_client().cancel()


Kind = Callable[[Any], Awaitable[None]]

KINDS: dict[Kind, int] = {
    hub_kill: 2,
    hub_kill_in_append: 2,
    hub_freeze: 2,
    hub_clock: 1,
    disk_full: 1,
    relay_kill: 4,
    power_cut: 3,
    relay_freeze: 3,
    relay_clock: 1,
    cut: 6,
    copy: 1,
    node_lost: 1,
    cancel: 2,
}
"""How often each comes, beside the others."""


async def storm(world: World) -> None:
    """Do one after the other, without waiting for what was done before."""
    under_way: set[asyncio.Task[None]] = set()
    kinds, weights = list(world.kinds), list(world.kinds.values())
    world.network.odds = world.odds
    end_s = world.loop.time() + STORM_S
    while world.loop.time() < end_s:
        await world.passed(0.1, world.pause_s)
        (kind,) = world.random.choices(kinds, weights)
        world.count(kind.__name__)
        under_way.add(asyncio.ensure_future(_done(kind(world))))
    world.is_stormy = False
    world.network.odds = GOOD
    await asyncio.gather(*under_way)
    calm(world)


async def _done(fault: Awaitable[None]) -> None:
    await fault


def calm(world: World) -> None:
    """Heal what is still broken."""
    world.network.cuts.clear()
    world.log_disk.is_full = world.log_disk.is_low = False
    world.log_disk.kill_next = None
    for relay in world.relays:
        relay.thaw()
        if not (relay.is_up or relay.is_over):
            relay.start()


def replace(world: World) -> None:
    """Start a relay for each node that has none left: one that was replaced has ended for good."""
    served = {relay.node_id for relay in world.relays if relay.is_up}
    for node_id in world.node_ids:
        if node_id not in served:
            world.begun(node_id).start()
