"""The handler `calls`: each task of an executor's job becomes a worker.

A worker is a process like any other's: pinned to its cores, limited, watched, and ended with the
relay. What it does is `hpc.calls.worker`'s, which finds its job by `HPC_JOB_ID` and the Hub as
every command does, by the access file or by `HPC_HUB_URL`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import msgspec

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused
from hpc.resources import CUDA_VARIABLE, GPUS, named

OURS = frozenset({"HPC_TOKEN", "HPC_TASK_ID", "HPC_ATTEMPT", "HPC_ENTRY"})
"""What a relay was told about itself and is no worker's; the supervisor sets what is."""


class _Spec(msgspec.Struct, frozen=True):
    """The fields of a submit that say how to start a worker; the worker reads the others."""

    memory: int
    enforce_memory: bool = True
    env: dict[str, str | int | float] = {}
    cwd: str | None = None
    python: str | None = None


class CallsHandler:
    """Plans workers.

    Args:
        environ: The relay's environment; None is this process's.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        found = os.environ if environ is None else environ
        self._environ = {n: v for n, v in found.items() if n not in OURS and _is_text(n + v)}

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute for every task of the grant.

        Raises:
            Refused: The spec describes no worker; the message names the field.
        """
        try:
            spec = msgspec.convert(grant.spec, _Spec)
        except msgspec.ValidationError as error:
            raise Refused(f"Job `{grant.job_id}` describes no worker: {error}") from error
        memory_mib = grant.resources.get("memory_mib", spec.memory)
        env = {**self._environ}
        if offer.resources.get(GPUS, 0) > 0:
            env.pop(CUDA_VARIABLE, None)  # each worker is told anew what it may use
        env.update((name, str(value)) for name, value in spec.env.items())
        env.pop("HPC_TOKEN", None)
        return Work(
            job_id=grant.job_id,
            ns_id=grant.ns_id,
            attempt=grant.attempt,
            epoch=offer.epoch,
            tasks=grant.tasks,
            kind="process",
            # -P: a folder named `hpc` where the worker runs is not the package.
            argv=[spec.python or sys.executable, "-P", "-m", "hpc.calls.worker"],
            env=env,
            cwd=spec.cwd,
            cpus=grant.resources.get("cpus", 1),
            memory_mib=memory_mib if spec.enforce_memory else None,
            reserve_mib=memory_mib,
            resources=named(grant.resources),
        )


def _is_text(value: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in value)
