"""A driver as a process: started, asked for one work at a time, and ended by its own pid."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.machine import Noise, descendants
from bench.peers.environments import OURS, PEERS, ROOT, Environment, NotThere
from bench.peers.works import ANSWER_S_MAX, START_S_MAX

LEAVE_S_MAX = 20.0


class Run:
    """One driver, running.

    Attributes:
        version: What it measures.
    """

    def __init__(self, name: str, environment: Environment, scratch: Path) -> None:
        """Start it and wait until its system is up.

        Raises:
            NotThere: It does not start.
        """
        peer = OURS if name == "ours" else PEERS[name]
        self.name = name
        self._log = scratch / f"{name}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._driver = subprocess.Popen(
                [environment.python, "-m", f"bench.peers.{peer.driver}"],
                cwd=ROOT,
                env={**environment.env, "TMPDIR": str(scratch)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        answer = self._answer(START_S_MAX)
        if "ready" not in answer:
            self.close()
            raise NotThere(f"does not start: {answer.get('failed', answer)}")
        self.version = str(answer["ready"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, work: str, size: int) -> dict[str, Any]:
        """Have one work done; its figures, or `lacks` or `failed`, with `noise` in cores."""
        assert self._driver.stdin is not None
        if self._driver.poll() is not None:
            return {"failed": f"the driver has ended by {self._driver.returncode}"}
        with Noise() as noise:
            self._driver.stdin.write(json.dumps({"work": work, "size": size}).encode() + b"\n")
            self._driver.stdin.flush()
            answer = self._answer(ANSWER_S_MAX)
        return {**answer, "noise": noise.cores}

    def close(self) -> None:
        """Have it end its system and itself; what is left of it is killed."""
        assert self._driver.stdin is not None
        self._driver.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may be in the middle of something
            self._driver.wait(LEAVE_S_MAX)
        self._end()

    def _end(self) -> None:
        """Kill the driver, what comes of it, and what is left of its session."""
        family = descendants([self._driver.pid]) | _session(self._driver.pid)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._driver.wait()

    def _answer(self, seconds: float) -> dict[str, Any]:
        stdout = self._driver.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], seconds)[0]:
            self._end()
            return {"failed": f"no answer after {seconds:g} s"}
        line = stdout.readline()
        if not line:
            said = self._log.read_text(errors="replace").strip().splitlines()
            return {"failed": f"the driver has ended: {' '.join(said[-1:])[:160]}"}
        answer: dict[str, Any] = json.loads(line)
        return answer


def _session(leader: int) -> set[int]:
    """Return the processes of a session; its number is no other's while one of them lives."""
    found = set()
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(ProcessLookupError):
                if os.getsid(int(path.name)) == leader:
                    found.add(int(path.name))
    return found
