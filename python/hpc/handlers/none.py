"""The handler `none`: tasks finish at once with exit code 0. For measuring everything else."""

from __future__ import annotations

from hpc.domain import Grant, NodeOffer, Work


class NoneHandler:
    """Plans nothing to be executed; resources are held for the moment that a task takes."""

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return work of kind `none`."""
        return Work(
            job_id=grant.job_id,
            ns_id=grant.ns_id,
            attempt=grant.attempt,
            epoch=offer.epoch,
            tasks=grant.tasks,
            kind="none",
            cpus=grant.resources.get("cpus", 1),
            reserve_mib=grant.resources.get("memory_mib", 0),
        )
