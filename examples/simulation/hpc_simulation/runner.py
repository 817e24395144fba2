"""The runner: one simulation, which is one task of a job.

    python -P -m hpc_simulation.runner PLAN

It starts the environment, waits until that listens on the port that this task was leased, and
starts the policy. When both have ended well, what the environment left in HPC_SIM_RESULT is told to
the Hub. In every other case the one that is left is ended, with all that it has started, before the
runner itself ends. It speaks neither side's language and never connects to the port.

Signals are blocked and taken one by one (`sigtimedwait`), so that nothing happens between two
lines: that a process has ended and that the task is cancelled are both seen in `_until`, or not at
all.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from hpc.errors import HpcError
from hpc_simulation.part import Part
from hpc_simulation.telling import Place, Telling

LISTEN_S: Final = 60.0
"""So long an environment may take until it listens."""

LOOK_S: Final = 0.02
"""So often it is looked whether it does: the kernel tells nobody."""

LINGER_S: Final = 5.0
"""So much later than the other a process may end by itself."""

END_S: Final = 3.0
"""Between SIGTERM and SIGKILL."""

NO_RESULT: Final = 65
NOT_LISTENING: Final = 69
LINGERED: Final = 70
PORT_IN_USE: Final = 75
"""Exit codes of what is no exit of a command; the numbers are those of sysexits.h."""

_LISTENS: Final = "0A"
_WATCHED: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)


class Plan(NamedTuple):
    """What the handler has planned: two command lines, how long they play, and by which chance."""

    environment: list[str]
    policy: list[str]
    steps: int
    seed: int


class Stopped(Exception):
    """The task is to end: it was cancelled, or has had its time."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class Failed(Exception):
    """The simulation failed, with this exit code."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code


def is_listening(port: int) -> bool:
    """Return whether somebody listens on a TCP port of this machine; nobody is connected to."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text("ascii").splitlines()[1:]
        except FileNotFoundError:
            continue  # a kernel without IPv6
        for row in rows:
            _, local, _, state, *_ = row.split()
            if state == _LISTENS and int(local.rsplit(":", 1)[1], 16) == port:
                return True
    return False


def leased_port(environ: Mapping[str, str]) -> int:
    """Return the port that this task was leased.

    Raises:
        Failed: The relay offers ports as an amount, which names none.
    """
    port = int(environ["HPC_RESOURCE_PORTS"])
    if port < 1024:  # noqa: PLR2004 - ports below are the system's
        hint = "start it with --resource 'ports=range(20000-20099)'"
        raise Failed(PORT_IN_USE, f"this relay offers {port} as a port; {hint}")
    return port


class Simulation:
    """One simulation, from its port to its result."""

    def __init__(self, plan: Plan, place: Place, port: int, telling: Telling) -> None:
        self._plan = plan
        self._port = port
        self._telling = telling
        self._result = Path.cwd() / "simulation-result.json"
        self._env = os.environ | {
            "HPC_SIM_PORT": str(port),
            "HPC_SIM_STEPS": str(plan.steps),
            # Each task of an array has a chance of its own.
            "HPC_SIM_SEED": str(plan.seed + place.task),
            "HPC_SIM_RESULT": str(self._result),
        }
        self._parts: list[Part] = []

    def run(self) -> dict[str, Any]:
        """Play it and return its result; nothing of it is left when this returns or raises.

        Raises:
            Failed: It went wrong.
            Stopped: The task is to end.
        """
        if is_listening(self._port):
            raise Failed(
                PORT_IN_USE, f"port {self._port} is in use by something that hpc knows not"
            )
        self._result.unlink(missing_ok=True)  # of whoever ran in this folder before
        self._telling.tell("PortAllocated", {"port": self._port})
        try:
            environment = self._start("environment", self._plan.environment)
            self._await_listening(environment)
            policy = self._start("policy", self._plan.policy)
            self._telling.tell("SimulationStarted", {"port": self._port})
            self._await_ends(environment, policy)
        finally:
            self._end()
        return read_result(self._result)

    def _start(self, name: str, argv: list[str]) -> Part:
        try:
            part = Part(name, argv, self._env)
        except OSError as error:
            raise Failed(
                127, f"the {name} cannot be started: {argv[0]}: {error.strerror}"
            ) from None
        self._parts.append(part)
        return part

    def _await_listening(self, environment: Part) -> None:
        def has_news() -> bool:
            return environment.has_ended() or is_listening(self._port)

        if not _until(has_news, LISTEN_S, LOOK_S):
            why = f"the environment does not listen on port {self._port} after {LISTEN_S:g} s"
            raise Failed(NOT_LISTENING, why)
        if environment.has_ended():
            raise Failed(
                environment.exit_code or NOT_LISTENING, f"{environment} before it listened"
            )

    def _await_ends(self, *parts: Part) -> None:
        _until(lambda: any(part.has_ended() for part in parts))
        # Who ended first, and who is left; where both have, a failure is the first.
        first, other = sorted(parts, key=lambda p: (not p.has_ended(), not p.exit_code))
        if not first.exit_code and not _until(other.has_ended, LINGER_S):
            why = f"{first}, and the {other.name} was still there {LINGER_S:g} s later"
            raise Failed(LINGERED, why)
        for part in (first, other):
            if part.exit_code:
                raise Failed(part.exit_code, str(part))

    def _end(self) -> None:
        """End what is left of both, politely at first, and all that they have started."""
        for part in self._parts:
            part.signal(signal.SIGTERM)
        # It is being ended already: a second request changes nothing.
        _until(lambda: all(part.has_ended() for part in self._parts), END_S, stops=False)
        for part in self._parts:
            part.close()


def read_result(path: Path) -> dict[str, Any]:
    """Return `reward` and, if they are there, `steps`.

    Raises:
        Failed: The file is not there, or says something else.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
        result: dict[str, Any] = {"reward": float(found["reward"])}
        if "steps" in found:
            result["steps"] = int(found["steps"])
    except FileNotFoundError:
        raise Failed(NO_RESULT, "the environment has written no result to HPC_SIM_RESULT") from None
    except (ValueError, TypeError, KeyError) as error:
        why = f'the result must be {{"reward": number, "steps": number}}: {error!r}'
        raise Failed(NO_RESULT, why) from None
    if not math.isfinite(result["reward"]):
        raise Failed(NO_RESULT, f"the reward must be a finite number, got {result['reward']}")
    return result


def _until(
    condition: Callable[[], bool],
    for_s: float | None = None,
    look_s: float = 60.0,
    *,
    stops: bool = True,
) -> bool:
    """Wait until something is so; returns whether it is.

    Args:
        condition: Looked at when a process has ended, and every `look_s`.
        for_s: How long; None is for ever.
        look_s: As said.
        stops: Whether a request to end ends the waiting.

    Raises:
        Stopped: This task is to end.
    """
    deadline_s = None if for_s is None else time.monotonic() + for_s
    while not condition():
        left_s = look_s if deadline_s is None else deadline_s - time.monotonic()
        if left_s <= 0:
            return False
        came = signal.sigtimedwait(_WATCHED, min(left_s, look_s))
        if stops and came is not None and came.si_signo != signal.SIGCHLD:
            raise Stopped(came.si_signo)
    return True


def main() -> int:
    """Run the simulation of this task; returns the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    place = Place.of(os.environ)
    try:
        telling = Telling(place)
        ended = _ended(Plan(**json.loads(sys.argv[1])), place, telling)
        # Nothing runs any more that would have to be ended.
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        telling.tell("SimulationFinished", ended)
        telling.finish()
    except Stopped as stopped:
        return stopped.exit_code
    except HpcError as error:
        # A simulation of which nobody hears has failed.
        print(f"simulation: {error.message}", file=sys.stderr, flush=True)
        return error.exit_code
    exit_code: int = ended["exit_code"]
    return exit_code


def _ended(plan: Plan, place: Place, telling: Telling) -> dict[str, Any]:
    """Play; returns what SimulationFinished says."""
    began_s = time.monotonic()
    exit_code, result = 0, {}
    try:
        result = Simulation(plan, place, leased_port(os.environ), telling).run()
    except Failed as error:
        print(f"simulation: {error}", file=sys.stderr, flush=True)
        exit_code = error.exit_code
    return {"exit_code": exit_code, "seconds": time.monotonic() - began_s, **result}


if __name__ == "__main__":
    sys.exit(main())
