"""`LocalCluster`: a Hub, a relay and a monitor on this machine, for as long as a program wants.

```python
from hpc import LocalCluster

with LocalCluster(cpus=4) as cluster, cluster.executor() as executor:
    print(sum(executor.map(abs, range(-5, 5))))
```

They are real processes with a log of their own in a temporary folder; nothing of a user's own Hub
is touched. A guard beside them ends them with the program, however that ends (guard.py).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from hpc import settings
from hpc.client import Client
from hpc.errors import HpcError, UsageError
from hpc.executor import Executor, end_all

CLOSE_S_MAX: Final = 60.0
NAMESPACES: Final = ("batch", "calls")

_open: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


class NotStarted(HpcError):
    """A part of a cluster did not come up; whatever did was ended."""

    default_code = "not_started"


class LocalCluster:
    """A Hub, a relay and a monitor, ready when this returns, ended by `close` or with the program.

    Args:
        cpus: Cores that the relay offers; None is all that this process may use. More than there
            are share them.
        memory: Memory that it offers, such as `8G`; None is the machine's.
        lease: Seconds after which a relay that is silent counts as lost.
        monitor: Whether there is a monitor.

    Attributes:
        home: Its `$HPC_HOME`, for commands beside this program.
    """

    def __init__(
        self,
        cpus: int | None = None,
        *,
        memory: str | None = None,
        lease: float = 30.0,
        monitor: bool = True,
    ) -> None:
        """Start it.

        Raises:
            NotStarted: A part ended instead of coming up; the message has what it said.
        """
        if cpus is not None and cpus < 1:
            raise UsageError(f"cpus must be at least 1, got {cpus}", field="cpus")
        folder = Path(tempfile.mkdtemp(prefix="hpc-local-"))
        self.home = folder / "home"
        relay = ["relay", "--node-id", "local"]
        for ns_id in NAMESPACES:
            relay += ["--ns", ns_id]
        if cpus is not None:
            relay += ["--cpus", str(cpus)]
        if memory is not None:
            relay += ["--memory", memory]
        parts = [["hub", "hub", "--port", "0", "--lease", f"{lease:g}"], ["relay", *relay]]
        if monitor:
            parts.append(["monitor", "monitor", "--node-id", "local"])
        plan = json.dumps({"parts": parts, "python": sys.executable})
        guard = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpc.launch.guard", os.fspath(folder), plan],
            # What a user has set for the own Hub and relays is nothing to this one.
            env=os.environ | {settings.CONFIG: os.devnull},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._executors: weakref.WeakSet[Executor] = weakref.WeakSet()
        # A program that is killed closes the guard's pipe by being gone.
        self._end = weakref.finalize(self, _end, guard)
        self._end.atexit = False
        _open.add(self)
        assert guard.stdout is not None
        line = guard.stdout.readline()
        said = json.loads(line) if line else {"ready": False, "why": "its guard has ended"}
        if not said["ready"]:
            self.close()
            raise NotStarted(
                f"Local cluster did not start: {said['why']}",
                hint="a port, memory or a place for files may be missing on this machine",
            )

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def client(self) -> Client:
        """Return a client of its Hub."""
        return Client(home=self.home)

    def executor(self, max_workers: int | None = None, **more: Any) -> Executor:  # noqa: ANN401 - Executor's
        """Return an executor on it; see `Executor`."""
        executor = Executor(max_workers, client=self.client(), **more)
        self._executors.add(executor)
        return executor

    def close(self) -> None:
        """End everything that runs on it, and remove its folder; a second call does nothing.

        Calls of its executors that are not over fail with `BrokenWorker`.
        """
        for executor in list(self._executors):
            executor.give_up("The local cluster of this executor was closed")
        self._executors.clear()
        self._end()


def _close_all() -> None:
    """At the end of the program: first the calls that there are, then the clusters they run on."""
    end_all()
    for cluster in list(_open):
        cluster.close()


# Registered after the executors' own, and so run before it: it has to call that itself.
atexit.register(_close_all)


def _end(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    assert guard.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.close()
    guard.wait(CLOSE_S_MAX)
    guard.stdout.close()
