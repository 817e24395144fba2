"""What a relay offers: cores by affinity and cgroup quota, memory of the machine or its cgroup.

All of it, used or not: free room is counted by the Hub from its own book. Flags override.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from hpc import machine

_MIB = 1024 * 1024


class Resources(NamedTuple):
    """Resources of one node.

    Attributes:
        cpus: Ids of cores to pin tasks to, one per offered cpu; a core stands twice where more
            are offered than there are.
        memory_mib: Memory to be reserved by tasks.
    """

    cpus: list[int]
    memory_mib: int

    def offer(self) -> dict[str, int]:
        """Return them as a claim names them."""
        return {"cpus": len(self.cpus), "memory_mib": self.memory_mib}


def resources(
    *,
    allowed: list[int],
    quota: float | None,
    memory_bytes: int,
    cpus: int | None = None,
    memory_mib: int | None = None,
) -> Resources:
    """Return what to offer.

    Args:
        allowed: Cores that this process may run on, at least one.
        quota: Cores' worth of time that the cgroup grants; a part of a core does not count,
            except that there is always one.
        memory_bytes: Memory of the machine or the cgroup.
        cpus: Offered instead of what was found.
        memory_mib: Likewise.
    """
    found = len(allowed) if quota is None else min(len(allowed), max(int(quota), 1))
    wanted = found if cpus is None else cpus
    return Resources(
        cpus=list(itertools.islice(itertools.cycle(allowed), wanted)),
        memory_mib=memory_bytes // _MIB if memory_mib is None else memory_mib,
    )


def measured(*, cpus: int | None = None, memory_mib: int | None = None) -> Resources:
    """Return what this machine offers."""
    return resources(
        allowed=machine.allowed_cpus(),
        quota=machine.cpu_quota(),
        memory_bytes=machine.memory().total_bytes,
        cpus=cpus,
        memory_mib=memory_mib,
    )
