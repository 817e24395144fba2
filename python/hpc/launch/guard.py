"""The guard of a `LocalCluster`: starts its parts, and ends them when its program is gone.

    python -P -m hpc.launch.guard FOLDER SETTINGS

Its stdin is a pipe that only the program holds, so it sees the program's end however that comes,
SIGKILL included. It says one line of JSON when all parts are ready, or when one is not. Parts are
killed by the kernel where the guard itself is killed; what they ran ends with them.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

READY_S_MAX: Final = 60.0
END_S_MAX: Final = 15.0
SAID_MAX: Final = 2_000

_PR_SET_PDEATHSIG: Final = 1


class NotReady(Exception):
    """A part ended, or said nothing, before it was ready."""


def main(folder: Path, settings: dict[str, Any]) -> int:
    """Keep the parts going until stdin ends; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is the program's to answer
    parts: list[subprocess.Popen[str]] = []
    code = 0
    try:
        for name, *words in settings["parts"]:
            parts.append(_start(folder, name, words, settings["python"]))
            _await(folder, name, parts[-1])
        _say({"ready": True})
        while os.read(0, 4096):
            pass
    except NotReady as error:
        _say({"ready": False, "why": str(error)})
        code = 1
    finally:
        _end(parts)
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _start(folder: Path, name: str, words: list[str], python: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "HPC_HOME": str(folder / "home")}
    for ours in ("HPC_TOKEN", "HPC_HUB_URL", "HPC_TLS_SHA256"):
        environ.pop(ours, None)
    with (folder / f"{name}.log").open("ab") as stderr:
        return subprocess.Popen(
            [python, "-P", "-m", "hpc", *words],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # This process has one thread, so that nothing can be locked in the child.
            preexec_fn=_die_with_me,  # noqa: PLW1509
            start_new_session=True,
        )


def _die_with_me() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _await(folder: Path, name: str, part: subprocess.Popen[str]) -> None:
    """Wait for a part's line, unless the program goes first."""
    assert part.stdout is not None
    until = time.monotonic() + READY_S_MAX
    while True:
        stdout = part.stdout.fileno()
        ready, _, _ = select.select([stdout, 0], [], [], max(until - time.monotonic(), 0.0))
        if stdout in ready:
            if part.stdout.readline():
                return
            part.wait()
            said = (folder / f"{name}.log").read_text(errors="replace")[-SAID_MAX:].strip()
            raise NotReady(f"the {name} ended with exit code {part.returncode}: {said}")
        if 0 in ready:
            raise NotReady("its program has ended")
        if not ready:
            raise NotReady(f"the {name} was not ready after {READY_S_MAX:g} s")


def _end(parts: list[subprocess.Popen[str]]) -> None:
    """End the parts, the last first; relays are killed, since nobody waits for their tasks."""
    for part in reversed(parts):
        part.send_signal(signal.SIGKILL if part.args[4] == "relay" else signal.SIGTERM)  # type: ignore[index]
        try:
            part.wait(END_S_MAX)
        except subprocess.TimeoutExpired:
            part.kill()
            part.wait()


def _say(line: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        return  # nobody is there to read it


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
