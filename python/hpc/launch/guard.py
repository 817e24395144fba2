"""The guard of a `LocalCluster`: starts its parts, and ends them when its program is gone.

    python -P -m hpc.launch.guard FOLDER SETTINGS

Its stdin is a pipe that only the program holds, so it sees the program's end however that comes,
SIGKILL included. It says one line of JSON when all parts are ready, or when one is not. Parts are
killed by the kernel where the guard itself is killed; what they ran ends with them.
"""

from __future__ import annotations

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

from hpc.launch import parts
from hpc.launch.parts import READY_S_MAX

END_S_MAX: Final = 15.0
SAID_MAX: Final = 2_000


class NotReady(Exception):
    """A part ended, or said nothing, before it was ready."""


def main(folder: Path, settings: dict[str, Any]) -> int:
    """Keep the parts going until stdin ends; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal's Ctrl-C is the program's to answer
    started: list[subprocess.Popen[str]] = []
    code = 0
    try:
        for name, *words in settings["parts"]:
            started.append(_start(folder, name, words, settings["python"]))
            _await(folder, name, started[-1])
        _say({"ready": True})
        while os.read(0, 4096):
            pass
    except NotReady as error:
        _say({"ready": False, "why": str(error)})
        code = 1
    finally:
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _start(folder: Path, name: str, words: list[str], python: str) -> subprocess.Popen[str]:
    with (folder / f"{name}.log").open("ab") as stderr:
        return parts.start(
            words,
            home=folder / "home",
            stderr=stderr,
            on_orphaned=signal.SIGKILL,
            python=python,
        )


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


def _end(started: list[subprocess.Popen[str]]) -> None:
    """End the parts, the last first; relays are killed, since nobody waits for their tasks."""
    for part in reversed(started):
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
