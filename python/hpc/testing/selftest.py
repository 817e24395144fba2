"""What `hpc selftest --faults` runs: the tiers that find lost and doubled work, for about a minute.

Everything is in a temporary folder, on ports of its own, and ends with it: a Hub that is there is
neither asked nor touched. A tier that has tried nothing is a failure, as one that found something.
It needs the installed package alone; neither pytest nor a repository.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec

from hpc._core import memory_cgroup
from hpc.errors import HpcError
from hpc.testing.disk import Counts, cut_power, fail_everywhere
from hpc.testing.kills import Kills, kill_hub, kill_relays
from hpc.testing.processes import Cluster
from hpc.testing.sim.__main__ import violations
from hpc.testing.sim.mutants import MUTANTS
from hpc.testing.sim.world import Course, World, run_seed

SEEDS_A_DISK: Final = 60
SEEDS_A_KILL: Final = 12
"""So many seeds of the simulation for each history of a disk, and for each kill of a Hub."""

KILLS_MIN: Final = 3
FAILED_MAX: Final = 5
"""After so many seeds that failed there is enough to look at."""

GONE_S: Final = 5.0
"""On a machine that is busy with something else; the promise is a second."""

Say = Callable[[str], None]


class Tier(msgspec.Struct):
    """What one tier has done and found.

    Attributes:
        kills: Of processes, simulated or real.
        power_cuts: Also failures of a disk.
        acknowledged: What was answered with a 200.
        other: What was found and is none of the three before it.
        wrong: The same in words, with how to see it again.
    """

    name: str
    kills: int = 0
    power_cuts: int = 0
    seeds: int = 0
    virtual_hours: float = 0.0
    acknowledged: int = 0
    lost: int = 0
    run_twice_unseen: int = 0
    orphans: int = 0
    other: int = 0
    seconds: float = 0.0
    wrong: list[str] = msgspec.field(default_factory=list)

    @property
    def found(self) -> int:
        """How much did not hold."""
        return self.lost + self.run_twice_unseen + self.orphans + self.other

    @property
    def has_run(self) -> bool:
        """Whether something was acknowledged, and something done to it."""
        return self.acknowledged > 0 < self.kills + self.power_cuts


def run(seeds: int, *, mutant: str | None, say: Say) -> list[Tier]:
    """Run every tier; with a mutant, the simulation without that rule and nothing else.

    Args:
        seeds: Of the simulation; the other tiers go by it.
        mutant: A name of `hpc.testing.sim.mutants.MUTANTS`.
        say: Is told how far it is.
    """
    tiers: list[Callable[[Tier, int, Say], None]] = [_disks, _processes]
    if mutant is None:
        return [
            _timed("simulation", seeds, say, _simulation),
            *(_timed(tier.__name__.strip("_"), seeds, say, tier) for tier in tiers),
        ]

    def broken(tier: Tier, seeds: int, say: Say) -> None:
        _simulation(tier, seeds, say, mutant)

    return [_timed(f"simulation of {mutant}", seeds, say, broken)]


def complaints(tiers: Sequence[Tier]) -> list[str]:
    """Return why this is no success, in sentences; none where it is one."""
    told = [] if tiers else ["nothing ran"]
    for tier in tiers:
        told += [f"{tier.name}: {wrong}" for wrong in tier.wrong]
        if tier.found and not tier.wrong:
            told.append(f"{tier.name}: {tier.found} that must be 0")
        if not tier.has_run:
            told.append(
                f"{tier.name}: nothing was tried ({tier.acknowledged} acknowledged, "
                f"{tier.kills} kills, {tier.power_cuts} power cuts), so nothing is known"
            )
    return told


def not_run() -> list[str]:
    """Return what this cannot show, in sentences."""
    version, why = memory_cgroup(root="/", pids=[os.getpid()])
    told = [
        "partitions, full disks and clocks were simulated, not made with real networks and disks",
        "no power of this machine was cut: whether its disk keeps what was synced is not known",
    ]
    if not version:
        told.insert(0, f"no control group for tasks here ({why}): orphans were ended without one")
    return told


def _timed(name: str, seeds: int, say: Say, do: Callable[[Tier, int, Say], None]) -> Tier:
    tier = Tier(name)
    began_s = time.perf_counter()
    say(f"{name} ...")
    try:
        do(tier, seeds, say)
    except (AssertionError, HpcError, OSError) as error:
        # What was waited for did not come, or a process did not start: neither is a success.
        tier.other += 1
        tier.wrong.append(f"came to no end: {error}")
    tier.seconds = round(time.perf_counter() - began_s, 1)
    return tier


def _simulation(tier: Tier, seeds: int, say: Say, mutant: str | None = None) -> None:
    world_class = MUTANTS[mutant] if mutant else World
    suffix = f" --mutant {mutant}" if mutant else ""
    courses: list[Course] = []
    for seed in range(seeds):
        course = run_seed(seed, world_class)
        courses.append(course)
        if course.faults:
            repeat = f"python -m hpc.testing.sim --from {seed} --seeds 1{suffix}"
            tier.wrong.append(f"seed {seed}: {course.faults[0]}; see it again: {repeat}")
        if len(tier.wrong) == FAILED_MAX:
            break
        if len(courses) % 20 == 0:
            say(f"simulation: {len(courses)} of {seeds} seeds")
    found = violations(courses)
    tier.seeds = len(courses)
    tier.kills = sum(
        count for one in courses for kind, count in one.injected.items() if "_kill" in kind
    )
    tier.power_cuts = sum(one.injected["power_cut"] for one in courses)
    tier.virtual_hours = round(sum(one.virtual_s for one in courses) / 3600, 1)
    tier.acknowledged = sum(one.acked for one in courses)
    tier.lost, tier.run_twice_unseen = found["lost"], found["unseen"]
    tier.other = found["overlap"] + found["other"]


def _disks(tier: Tier, seeds: int, say: Say) -> None:
    chosen = range(1, 1 + max(1, seeds // SEEDS_A_DISK)) if seeds else range(0)
    tier.seeds = len(chosen)
    for seed in chosen:
        say(f"disks: seed {seed} of {len(chosen)}, the power is cut after each operation")
        _count(tier, cut_power([seed]), seed)
    for number in (errno.ENOSPC, errno.EIO):
        for seed in chosen[:1]:
            say(f"disks: each operation fails with {os.strerror(number)}")
            _count(tier, fail_everywhere([seed], number), seed)


def _count(tier: Tier, counts: Counts, seed: int) -> None:
    tier.power_cuts += counts.points
    tier.acknowledged += counts.acknowledged
    tier.lost += counts.lost
    tier.other += counts.damaged + counts.wrong
    if not counts.is_good:
        repeat = f"python -m hpc.testing.disk --first {seed} --seeds 1"
        tier.wrong.append(f"{counts.first or 'nothing was tried'}; see it again: {repeat}")


def _processes(tier: Tier, seeds: int, say: Say) -> None:
    ours = {name: text for name, text in os.environ.items() if not name.startswith("HPC_")}
    with (
        mock.patch.dict(os.environ, ours, clear=True),  # another Hub may be named there
        tempfile.TemporaryDirectory(prefix="hpc-selftest-", ignore_cleanup_errors=True) as made,
        Cluster(Path(made), dies_with_us=True) as cluster,
    ):
        kills = max(KILLS_MIN, seeds // SEEDS_A_KILL)
        say(f"processes: {kills} kills of a Hub under load")
        _add(tier, kill_hub(cluster, Path(made), kills))
        say("processes: kills of relays and their supervisors")
        _add(tier, kill_relays(cluster, Path(made), gone_s=GONE_S))


def _add(tier: Tier, found: Kills) -> None:
    tier.kills += found.kills
    tier.acknowledged += found.acknowledged
    tier.lost += len(found.lost)
    tier.run_twice_unseen += len(found.twice)
    tier.orphans += len(found.orphans)
    tier.wrong += (found.lost + found.twice + found.orphans)[:FAILED_MAX]
