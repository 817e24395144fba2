"""What a relay offers: cores by affinity and quota, memory of machine or cgroup, GPUs, and more.

All of it, used or not: free room is counted by the Hub from its own book. Flags override, and add
what no machine tells of itself.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from hpc import gpus as gpus_here
from hpc import machine
from hpc.errors import UsageError
from hpc.resources import GPUS, Stock

_MIB = 1024 * 1024


class Resources(NamedTuple):
    """Resources of one node.

    Attributes:
        cpus: Ids of cores to pin tasks to, one per offered cpu; a core stands twice where more
            are offered than there are.
        memory_mib: Memory to be reserved by tasks.
        gpus: Ids of GPUs, each for one task at a time.
        named: What else there is.
    """

    cpus: list[int]
    memory_mib: int
    gpus: tuple[str, ...] = ()
    named: Mapping[str, Stock] = {}

    def offer(self) -> dict[str, int]:
        """Return them as a claim names them."""
        counts = {name: _count(stock) for name, stock in self.stock().items()}
        return {"cpus": len(self.cpus), "memory_mib": self.memory_mib, **counts}

    def stock(self) -> dict[str, Stock]:
        """Return all but cores and memory, as the supervisor books it."""
        return {**({GPUS: self.gpus} if self.gpus else {}), **self.named}

    def summary(self) -> str:
        """Return them in few words: `4 cpus, 8000 MiB, 2 gpus, 3 fpgas`."""
        count = len(self.cpus)
        parts = ["1 cpu" if count == 1 else f"{count} cpus", f"{self.memory_mib} MiB"]
        if self.gpus:
            parts.append("1 gpu" if len(self.gpus) == 1 else f"{len(self.gpus)} gpus")
        parts += [f"{_count(stock)} {name}" for name, stock in self.named.items()]
        return ", ".join(parts)


def resources(
    *,
    allowed: list[int],
    quota: float | None,
    memory_bytes: int,
    cpus: int | None = None,
    memory_mib: int | None = None,
    gpus: tuple[str, ...] = (),
    named: Mapping[str, Stock] | None = None,
) -> Resources:
    """Return what to offer.

    Args:
        allowed: Cores that this process may run on, at least one.
        quota: Cores' worth of time that the cgroup grants; a part of a core does not count,
            except that there is always one.
        memory_bytes: Memory of the machine or the cgroup.
        cpus: Offered instead of what was found.
        memory_mib: Likewise.
        gpus: Ids; see `chosen_gpus`.
        named: What else there is.
    """
    found = len(allowed) if quota is None else min(len(allowed), max(int(quota), 1))
    wanted = found if cpus is None else cpus
    return Resources(
        cpus=list(itertools.islice(itertools.cycle(allowed), wanted)),
        memory_mib=memory_bytes // _MIB if memory_mib is None else memory_mib,
        gpus=gpus,
        named=named or {},
    )


def chosen_gpus(wanted: Stock | None, find: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the ids of the GPUs to offer.

    Args:
        wanted: Ids, which nobody looks for; so many of those that are found; None is all.
        find: Looks for GPUs; called only where it matters.

    Raises:
        UsageError: Fewer are found than are wanted: a task would be told of one that is not there.
    """
    if isinstance(wanted, tuple):
        return wanted
    found = find()
    if wanted is None:
        return found
    if wanted > len(found):
        seen = f"finds {len(found)}" if found else "finds no GPU on this machine"
        raise UsageError(
            f"`gpus`: {wanted} cannot be offered, this relay {seen}",
            field="gpus",
            hint="name them by their ids, as CUDA_VISIBLE_DEVICES would: hpc relay --gpus 0,1",
        )
    return found[:wanted]


def measured(
    *,
    cpus: int | None = None,
    memory_mib: int | None = None,
    gpus: Stock | None = None,
    named: Mapping[str, Stock] | None = None,
    say: Callable[[str], None],
) -> Resources:
    """Return what this machine offers; `say` is told what could not be read.

    Raises:
        UsageError: More GPUs are wanted than are found.
    """
    return resources(
        allowed=machine.allowed_cpus(),
        quota=machine.cpu_quota(),
        memory_bytes=machine.memory().total_bytes,
        cpus=cpus,
        memory_mib=memory_mib,
        gpus=chosen_gpus(gpus, lambda: gpus_here.found(os.environ, say=say)),
        named=named,
    )


def _count(stock: Stock) -> int:
    return stock if isinstance(stock, int) else len(stock)
