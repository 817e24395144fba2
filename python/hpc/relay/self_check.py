"""`python -m hpc.relay.self_check FOLDER`: one task, as a relay would run it, for `hpc doctor`.

The task leaves a process behind, in a session of its own, and is over only when that one has ended
too: then the supervisor works here. A second one runs when the supervisor is killed: then the guard
does. It speaks to no Hub. What fails is said on stderr, exit code 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from hpc import machine
from hpc.domain import Work
from hpc.relay.supervisor_link import SupervisorLink

DEADLINE_S = 20.0

LEAVES = "setsid sleep 600 & echo $! > pid"
STAYS = "setsid sleep 600 & echo $! > stays; wait"


async def check(folder: Path) -> str | None:
    """Return what is wrong, or None.

    Args:
        folder: An empty one, for everything that is written.
    """
    link = await SupervisorLink.start(
        folder=folder / "relay",
        session="selfcheck",
        node_id="self-check",
        cpus=machine.allowed_cpus()[:1],
        memory_mib=64,
        cgroup="off",
    )
    os.mkfifo(folder / "stays")
    try:
        link.run([_work(folder, "0", LEAVES)])
        async with asyncio.timeout(DEADLINE_S):
            end = await _end(link)
            link.run([_work(folder, "1", STAYS)])
            stays = await asyncio.to_thread((folder / "stays").read_text)
        os.kill(link.pid, signal.SIGKILL)
    except TimeoutError:
        return f"a task did not end within {DEADLINE_S:g} s"
    finally:
        await link.stop()
    if end.get("exit_code") != 0:
        return f"a task could not run: {end.get('detail') or end.get('cause')}"
    leaves = (folder / "pid").read_text(encoding="ascii")
    for pid, whom in ((int(leaves), "its task"), (int(stays), "a supervisor that was killed")):
        if Path(f"/proc/{pid}").exists():
            return f"process {pid} has outlived {whom}"
    return None


async def _end(link: SupervisorLink) -> dict[str, object]:
    while True:
        batch = await link.next_batch()
        for event in json.loads(batch.body)["events"]:
            if event["kind"] == "JobFinished":
                spec: dict[str, object] = event["payload"]["spec"]
                return spec
        link.acked(batch.origin, batch.n)


def _work(folder: Path, task: str, script: str) -> Work:
    return Work(
        job_id="self-check",
        ns_id="batch",
        attempt=1,
        epoch=1,
        tasks=task,
        kind="process",
        argv=["/bin/sh", "-c", script],
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
        cwd=str(folder),
    )


def main(arguments: list[str]) -> int:
    """Check, and say what is wrong."""
    try:
        wrong = asyncio.run(check(Path(arguments[0]).absolute()))
    except OSError as error:
        wrong = f"no supervisor could be started: {error}"
    if wrong is not None:
        print(wrong, file=sys.stderr)
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
