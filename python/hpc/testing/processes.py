"""A Hub and relays as real processes, for tests and benchmarks; they end with the `with` block.

Each has its own `$HPC_HOME` in the folder given, a free port, and a log file per process. Nothing
here sleeps to let something happen: waiting is for a condition, with a deadline.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from hpc import settings
from hpc.access import read_access
from hpc.client import Client
from hpc.testing.netns import Network
from hpc.transport.http_client import HttpClient

READY_S_MAX: Final = 30.0
CONDITION_S_MAX: Final = 30.0
LOOK_AGAIN_S: Final = 0.02

DIE_WITH_PARENT: Final = (
    "import ctypes, os, signal, sys; "
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Sets PR_SET_PDEATHSIG, which stays when it becomes the command behind it."""

T = TypeVar("T")


class Process:
    """One command of ours, started; its output is in `log`, a file."""

    def __init__(
        self,
        command: list[str],
        env: dict[str, str],
        log: Path,
        python: str,
        within: Sequence[str] = (),
    ) -> None:
        """Start it behind the words of `within`; return once it has said that it is ready."""
        self.command = command
        self.log = log
        with log.open("ab") as stderr:
            self.popen = subprocess.Popen(
                [*within, python, "-m", "hpc", *command],
                env=env,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            self.ready_line = self._first_line()
        except BaseException:  # a signal to us, for one: nobody else knows of it yet
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.popen.pid

    def kill(self) -> None:
        """End it by SIGKILL, and reap it."""
        self.popen.kill()
        self.popen.wait(READY_S_MAX)

    def terminate(self, timeout_s: float = READY_S_MAX) -> int:
        """End it by SIGTERM and return its exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout_s)

    def _first_line(self) -> str:
        stdout = self.popen.stdout
        assert stdout is not None
        late = threading.Timer(READY_S_MAX, self.popen.kill)
        late.start()
        try:
            line = stdout.readline()
        finally:
            late.cancel()
        if not line:
            self.popen.wait(READY_S_MAX)
            said = self.log.read_text(errors="replace")[-2000:]
            raise AssertionError(f"`hpc {' '.join(self.command)}` ended before ready:\n{said}")
        return line.strip()


class Cluster:
    """A Hub, relays and monitors on this machine.

    Args:
        folder: For everything that they write.
        lease_s: Of the Hub; short, so that losses are seen soon.
        python: Of the environment in which they run; None is this one.
        network: Between the Hub and the rest; its `hub` side must have been entered.
        hub: Further options of the Hub, at each of its starts.
        dies_with_us: The kernel kills them when the thread that started them ends, however it does.
    """

    def __init__(
        self,
        folder: Path,
        *,
        lease_s: float = 2.0,
        python: Path | None = None,
        network: Network | None = None,
        hub: Sequence[str] = (),
        dies_with_us: bool = False,
    ) -> None:
        self.hub_options = hub
        self.network = network
        self.python = os.fspath(python or sys.executable)
        self._within = (self.python, "-c", DIE_WITH_PARENT) if dies_with_us else ()
        self.folder = folder
        self.home = folder / "home"
        self.lease_s = lease_s
        self.port = 0
        self.hub: Process | None = None
        self.processes: list[Process] = []
        self.env = {**os.environ, "HPC_HOME": str(self.home), settings.CONFIG: os.devnull}
        for ours in ("HPC_TOKEN", "HPC_HUB_URL", "HPC_TLS_SHA256"):
            self.env.pop(ours, None)

    def __enter__(self) -> Self:
        self.home.mkdir(0o700, parents=True, exist_ok=True)
        self.start_hub()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Relays are killed, not drained: what they run is of no interest any more, and their
        # supervisors end it.
        for process in reversed(self.processes):
            if process.command[0] == "hub":
                process.terminate(CONDITION_S_MAX)
            else:
                process.kill()

    def start(self, *command: str) -> Process:
        """Start a command of ours and return once it is ready."""
        log = self.folder / f"{command[0]}-{len(self.processes)}.log"
        within: Sequence[str] = self._within
        if self.network is not None and command[0] != "hub":
            within = self.network.within("relay")
        process = Process(list(command), self.env, log, self.python, within)
        self.processes.append(process)
        return process

    def start_hub(self, *more: str) -> Process:
        """Start the Hub, again on its former port if it had one."""
        lease = ["--lease", f"{self.lease_s:g}"]
        self.hub = self.start("hub", "--port", str(self.port), *lease, *self.hub_options, *more)
        self.port = int(self.hub.ready_line.rsplit(":", 1)[1])
        return self.hub

    def relay(self, node_id: str = "n1", *more: str, cpus: int = 2) -> Process:
        """Start a relay for `batch`."""
        node = ["--ns", "batch", "--node-id", node_id, "--cpus", str(cpus)]
        return self.start("relay", *node, *more)

    def client(self) -> Client:
        """A client of its own."""
        return Client(home=self.home)

    def http(self) -> HttpClient:
        """A connection of its own, for what the client does not say."""
        return HttpClient(lambda: read_access(self.home), timeout_s=60)


def until(condition: Callable[[], T], timeout_s: float = CONDITION_S_MAX) -> T:
    """Return the first true value of a condition.

    Raises:
        AssertionError: It stayed false.
    """
    deadline = time.monotonic() + timeout_s
    looks = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Not so after {timeout_s:g} s: {condition}")
        looks.wait(LOOK_AGAIN_S)
    return value
