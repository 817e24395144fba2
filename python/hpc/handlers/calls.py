"""The handler `calls`: each task of an executor's job becomes a worker.

A worker is a process like any other's, and planned as one (process.py): pinned to its cores,
limited, watched, and ended with the relay. What it does is `hpc.calls.worker`'s, which finds its
job by `HPC_JOB_ID` and the Hub as every command does, by the access file or by `HPC_HUB_URL`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import msgspec

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused
from hpc.handlers.process import ProcessHandler


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
        self._processes = ProcessHandler(environ)

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute for every task of the grant.

        Raises:
            Refused: The spec describes no worker; the message names the field.
        """
        try:
            spec = msgspec.convert(grant.spec, _Spec)
        except msgspec.ValidationError as error:
            raise Refused(f"Job `{grant.job_id}` describes no worker: {error}") from error
        command = {
            "command": spec.python or sys.executable,
            # -P: a folder named `hpc` where the worker runs is not the package.
            "args": ["-P", "-m", "hpc.calls.worker"],
            "memory": spec.memory,
            "enforce_memory": spec.enforce_memory,
            "env": spec.env,
            "cwd": spec.cwd,
        }
        return self._processes.work(msgspec.structs.replace(grant, spec=command), offer)
