"""A machine in trouble: what cannot be killed, what starts nothing, what forks without end.

The slow ones run beside each other in one test: each waits for a time, not for a core.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import succeed as hpc
from executor_kit import Relay, is_alive, relay, shell, until, work

from hpc._core import process_limit
from hpc.testing.processes import Cluster
from hpc.testing.processes import until as until_sync

FREEZER = Path("/sys/fs/cgroup/freezer")
CAN_FREEZE = os.access(FREEZER / "cgroup.procs", os.W_OK)
BOMB = (
    "import os, time\n"
    "while True:\n"
    "    try:\n"
    "        os.fork()\n"
    "    except OSError:\n"
    "        time.sleep(0.05)\n"
)


@contextmanager
def _freezer(name: str) -> Iterator[Path]:
    """A group whose members hear no signal, SIGKILL neither, until it is thawed."""
    group = FREEZER / f"hpc-test-{os.getpid()}-{name}"
    group.mkdir()
    try:
        yield group
    finally:
        (group / "freezer.state").write_text("THAWED")
        until_sync(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


async def _freeze(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))
    (group / "freezer.state").write_text("FROZEN")
    await until(lambda: (group / "freezer.state").read_text() == "FROZEN\n", "it is frozen")


def _drained(taken: Relay) -> list[str]:
    found = [event for event in taken.events if event["kind"] == "NodeDrained"]
    return [event["payload"]["spec"]["reason"] for event in found]


async def _what_cannot_be_killed_keeps_its_slot(folder: Path, *, is_leader: bool) -> None:
    who, job = ("leader", "led") if is_leader else ("child", "left")
    own = f"echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; sleep 600; :"
    script = (
        own if is_leader else f'setsid sh -c "{own}" & while ! test -e {folder}/pid; do :; done'
    )
    script = script.replace("$$", "\\$\\$" if not is_leader else "$$")
    folder.mkdir()
    with _freezer(who) as group:
        async with relay(folder / "n1", cpus=[0]) as taken:
            waits = "" if is_leader else f"; while ! test -e {folder}/go; do sleep 0.02; done"
            taken.link.run([shell(script + waits, job_id=job, grace_s=0.1)])
            pid = int(await until(lambda: _read(folder / "pid"), "it runs"))
            await _freeze(group, pid)
            if is_leader:
                taken.link.cancel(job, 1, "0", "by the user")
            else:
                (folder / "go").touch()
            taken.link.run([work("true", job_id="next")])
            end = await taken.end(job=job)
            assert end["detail"].startswith(f"unkillable: process {pid} waits in the kernel"), end
            assert end.get("cause") == ("cancelled" if is_leader else None)
            assert is_alive(pid)
            # What waits goes back, the node is drained, and its only core is not given again.
            assert await taken.returned(job="next") == "given_back"
            assert _drained(taken) == [f"task 0 of job {job}: {end['detail']}"]
            taken.link.run([work("true", job_id="later")])
            await taken.link.holds()  # it has taken the order
            assert await taken.link.running() == 0
            assert ("later", 1, 0) not in taken.started
            (group / "freezer.state").write_text("THAWED")
            assert (await taken.end(job="later"))["exit_code"] == 0
            assert not is_alive(pid)


async def _a_machine_that_starts_nothing_is_drained(folder: Path) -> None:
    folder.mkdir()
    async with relay(folder / "n1", cpus=[0]) as taken:
        absent = folder / "absent"
        for number in range(3):
            taken.link.run([work("true", job_id=f"j{number}", cwd=str(absent))])
        await taken.end(job="j2")
        assert _drained(taken) == []
        taken.link.run([work("true", job_id="ok")])
        assert (await taken.end(job="ok"))["exit_code"] == 0  # which ends the row
        for number in range(10, 20):
            taken.link.run([work("true", job_id=f"j{number}", cwd=str(absent))])
        await taken.end(job="j15")
        assert (await taken.end(job="j17"))["cause"] == "cwd not found"
        assert await taken.returned(job="j18") == "given_back"
        (reason,) = _drained(taken)
        assert reason.startswith("suspect: 8 starts in a row have failed; the last: ")
        assert str(absent) in reason


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_fault_53_and_49_what_cannot_be_killed_or_started_drains_the_node(tmp_path: Path) -> None:
    """Else the core is given twice, and a machine without its file system takes the whole queue."""

    async def scenario() -> None:
        scenarios = [_a_machine_that_starts_nothing_is_drained(tmp_path / "starts")]
        if CAN_FREEZE:
            stuck = _what_cannot_be_killed_keeps_its_slot
            scenarios += [stuck(tmp_path / "leader", is_leader=True)]
            scenarios += [stuck(tmp_path / "child", is_leader=False)]
        await asyncio.gather(*scenarios)

    asyncio.run(scenario())


@pytest.mark.skipif(
    not process_limit(root="/", pids=[os.getpid()])[1],
    reason="nothing limits how many processes there are: no cgroup with `pids`, and we are root",
)
def test_fault_51_a_fork_bomb_ends_with_its_task_and_the_relay_lives(
    cluster: Cluster, tmp_path: Path
) -> None:
    """It has no more than there is room for, in sessions of its own too, and the next task runs."""
    bomb = tmp_path / "bomb.py"
    bomb.write_text(f"import os\nif os.fork() == 0: os.setsid()\n{BOMB}")
    began = cluster.relay("n1", "--max-processes", "120")
    client = cluster.client()
    job = client.submit([sys.executable, str(bomb)], memory=64, time_limit=3)

    def count() -> int:
        lines = [_read_bytes(entry / "cmdline") for entry in Path("/proc").iterdir()]
        return sum(str(bomb).encode() in line for line in lines)

    until_sync(lambda: count() > 50)
    # No more than the limit, and the Hub answers as ever.
    assert count() <= 120
    assert json.loads(hpc(cluster, "node", "info", "n1", "--json").stdout)["data"]["state"] == "up"
    info = job.wait(60)
    assert info["attempts"][0]["cause"] == "time limit"
    assert count() == 0
    assert client.submit("echo done", memory=16).wait(30)["state"] == "succeeded"
    assert began.popen.poll() is None


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
