"""`python -m hpc.relay.self_check FOLDER`: one task, as a relay would run it, for `hpc doctor`.

The task leaves a process behind, in a session of its own, and is over only when that one has ended
too: then the supervisor works here. It speaks to no Hub. What fails is said on stderr, exit code 1.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from hpc import machine
from hpc.domain import Work
from hpc.relay.supervisor_link import SupervisorLink

DEADLINE_S = 20.0

LEAVES = "setsid sleep 600 & echo $! > pid"


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
    try:
        link.run([_work(folder)])
        async with asyncio.timeout(DEADLINE_S):
            end = await _end(link)
    except TimeoutError:
        return f"a task did not end within {DEADLINE_S:g} s"
    finally:
        await link.stop()
    if end.get("exit_code") != 0:
        return f"a task could not run: {end.get('detail') or end.get('cause')}"
    pid = int((folder / "pid").read_text(encoding="ascii"))
    return f"process {pid} has outlived its task" if Path(f"/proc/{pid}").exists() else None


async def _end(link: SupervisorLink) -> dict[str, object]:
    while True:
        batch = await link.next_batch()
        for event in json.loads(batch.body)["events"]:
            if event["kind"] == "JobFinished":
                spec: dict[str, object] = event["payload"]["spec"]
                return spec
        link.acked(batch.origin, batch.n)


def _work(folder: Path) -> Work:
    return Work(
        job_id="self-check",
        ns_id="batch",
        attempt=1,
        epoch=1,
        tasks="0",
        kind="process",
        argv=["/bin/sh", "-c", LEAVES],
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
