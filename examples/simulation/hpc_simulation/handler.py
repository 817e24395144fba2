"""The handler `simulation`: each task of a SubmitSimulation becomes a runner on the relay.

It plans and starts nothing. A runner is a process like any other's, so the handler that plans
processes plans it: pinned to its cores, limited, and ended with the relay. That handler is found as
a relay finds it, by the name of its entry point.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from typing import Any

import msgspec

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused
from hpc.protocols import Handler

PLAYED = {"environment": "hpc_simulation.gridworld", "policy": "hpc_simulation.greedy"}
"""What a simulation without commands plays."""

GRACE_S = 10.0
"""The runner needs half of it to end what it has started."""


class SimulationHandler:
    """Plans runners."""

    def __init__(self) -> None:
        (point,) = entry_points(group="hpc.handlers", name="process")
        self._processes: Handler = point.load()()

    def work(self, grant: Grant, offer: NodeOffer) -> Work:
        """Return what to execute for every task of the grant.

        Raises:
            Refused: The spec describes no simulation; the message names the field.
        """
        spec = grant.spec
        plan = {name: command(spec, name) for name in PLAYED}
        plan |= {"steps": spec["steps"], "seed": spec["seed"]}
        runner = {
            "command": sys.executable,
            # -P: a folder named `hpc_simulation` where it runs is not the package.
            "args": ["-P", "-m", "hpc_simulation.runner", json.dumps(plan)],
            "memory": spec["memory"],
            "env": spec.get("env", {}),
            "grace": GRACE_S,
            "time_limit": spec.get("time_limit"),
        }
        return self._processes.work(msgspec.structs.replace(grant, spec=runner), offer)


def command(spec: dict[str, Any], name: str) -> list[str]:
    """Return the words of a command.

    Raises:
        Refused: It has arguments and no program.
    """
    program, args = spec.get(name), spec.get(f"{name}_args")
    if program is None and args is not None:
        raise Refused(f"Field `{name}_args` needs a program in `{name}`", field=f"spec.{name}")
    if program is None:
        return [sys.executable, "-P", "-m", PLAYED[name]]
    return ["/bin/sh", "-c", program] if args is None else [program, *args]
