"""Memory limits that the kernel keeps, on a machine where this user may make memory cgroups.

The same limits by the watchdog, which needs nothing of the machine, stand in test_executor_ends.py.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from executor_kit import is_alive, relay, shell, until, work

from hpc._core import memory_cgroup
from hpc.testing.processes import Cluster

VERSION, HOME = memory_cgroup(root="/", pids=[os.getpid()])
pytestmark = pytest.mark.skipif(not VERSION, reason=f"no memory cgroup can be made here: {HOME}")

MIB = 1 << 20
FILL = "b = bytearray({0} << 20); b[::4096] = b'x' * len(b[::4096])"


def fill(mib: int, then: str = "") -> str:
    """A shell word that runs a program which fills so much memory."""
    return f'{sys.executable} -c "{FILL.format(mib)}; {then}"'


def groups(folder: Path) -> list[Path]:
    """The groups of a relay's tasks."""
    stat = folder.stat()
    return [
        group
        for group in Path(HOME).glob(f"hpc.{stat.st_dev}.{stat.st_ino}.*")
        if group.name.rpartition(".")[2] != "relay"
    ]


def test_the_kernel_ends_who_passes_the_limit(tmp_path: Path) -> None:
    """No look comes too late: the task never has more than its share."""

    async def scenario() -> None:
        async with relay(tmp_path, cgroup="require") as taken:
            taken.link.run([shell(f"exec {fill(300)}", memory_mib=64)])
            end = await taken.end()
            assert (end["cause"], end["signal"]) == ("oom", signal.SIGKILL)
            assert 32 * MIB < end["peak_memory_bytes"] <= 64 * MIB
            taken.link.run([shell(f"exec {fill(30)}", memory_mib=128, tasks="1")])
            end = await taken.end(1)
            assert (end["exit_code"], "cause" in end) == (0, False)
            assert 30 * MIB < end["peak_memory_bytes"] <= 128 * MIB

    asyncio.run(scenario())


def test_all_of_a_task_ends_and_not_the_one_process(tmp_path: Path) -> None:
    """Half of a program would wait for the other half for ever."""
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & {fill(300)}; sleep 600"

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cgroup="require") as taken:
            taken.link.run([shell(script, memory_mib=64)])
            assert (await taken.end())["cause"] == "oom"
            assert not is_alive(int((tmp_path / "pid").read_text()))

    asyncio.run(scenario())


def test_who_goes_on_without_the_process_that_was_killed_has_failed(tmp_path: Path) -> None:
    """An exit code of 0 behind a killed half is no result."""

    async def scenario() -> None:
        async with relay(tmp_path, cgroup="require") as taken:
            taken.link.run([shell(f"{fill(300)}; exit 0", memory_mib=64)])
            assert (await taken.end())["cause"] == "oom"

    asyncio.run(scenario())


def test_a_task_is_in_its_group_from_the_start_and_the_group_goes_with_it(tmp_path: Path) -> None:
    """Whatever it allocates first counts; and ten thousand tasks leave no folder behind."""
    script = f"cat /proc/self/cgroup > {tmp_path}/in; read line < {tmp_path}/fifo"
    os.mkfifo(tmp_path / "fifo")

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cgroup="require") as taken:
            taken.link.run([shell(script, memory_mib=64)])
            taken.link.run([shell("cat /proc/self/cgroup", tasks="1")])
            free = await taken.end(1)
            assert free["exit_code"] == 0
            assert "/hpc." not in taken.text(1)  # no limit, no group
            (group,) = await until(lambda: groups(tmp_path / "n1"), "it has a group")
            await until((tmp_path / "in").exists, "it runs")
            with (tmp_path / "fifo").open("w") as fifo:
                fifo.write("go\n")
            assert (await taken.end())["exit_code"] == 0
            assert f"/{group.name}\n" in (tmp_path / "in").read_text()
            await until(lambda: not groups(tmp_path / "n1"), "the group is gone")

    asyncio.run(scenario())


def test_a_cancel_reaches_who_has_a_session_of_his_own(tmp_path: Path) -> None:
    """The group knows its members, whatever they call themselves."""
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & trap '' TERM; sleep 600"

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cgroup="require") as taken:
            taken.link.run([shell(script, memory_mib=64, grace_s=0.1)])
            pid = int(await until(lambda: _read(tmp_path / "pid"), "its child runs"))
            taken.link.cancel("job", 1, "0", "by the user")
            assert (await taken.end())["cause"] == "cancelled"
            assert not is_alive(pid)

    asyncio.run(scenario())


@pytest.mark.skipif(VERSION != "v1", reason="v2 ends what is below a group by itself")
def test_groups_that_a_task_has_made_go_with_it(tmp_path: Path) -> None:
    """A relay that runs as a task makes groups below its own, and may die before they are gone."""
    script = (
        "own=$(sed -n 's/.*:memory:.*\\(\\/hpc[.].*\\)/\\1/p' /proc/self/cgroup); "
        f"mkdir -p {HOME}/$own/inner/most && sh -c 'echo $$ > {tmp_path}/pid; "
        f"echo 0 > {HOME}/'$own'/inner/most/cgroup.procs; exec setsid sleep 600' & "
        "exec sleep 600"
    )

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cgroup="require") as taken:
            taken.link.run([shell(script, memory_mib=64, grace_s=0.1)])
            pid = int(await until(lambda: _read(tmp_path / "pid"), "its child runs"))
            inner = Path(f"/proc/{pid}/cgroup")
            await until(lambda: "/inner/most" in inner.read_text(), "it is in the inner group")
            taken.link.cancel("job", 1, "0", "by the user")
            assert (await taken.end())["cause"] == "cancelled"
            assert not is_alive(pid)
            await until(lambda: not groups(tmp_path / "n1"), "the groups are gone")

    asyncio.run(scenario())


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_killed_supervisor_leaves_no_group(tmp_path: Path) -> None:
    """The relay that has lost it tidies up, as far as it can still be told to."""

    async def scenario() -> None:
        async with relay(tmp_path, cgroup="require") as taken:
            taken.link.run([work("sleep", "600", memory_mib=64)])
            await taken.has_started()
            assert groups(tmp_path)
            os.kill(taken.link.pid, signal.SIGKILL)
        assert groups(tmp_path) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("cgroup", ["require", "off"])
def test_what_outlives_supervisor_and_relay_is_swept(tmp_path: Path, cgroup: str) -> None:
    """Groups are known by their name, also to a start that makes none."""

    async def scenario() -> None:
        async with relay(tmp_path, session="s1", cgroup="require"):
            pass
        stat = tmp_path.stat()
        left = Path(HOME) / f"hpc.{stat.st_dev}.{stat.st_ino}.1.1"
        left.mkdir()
        process = await asyncio.create_subprocess_exec("sleep", "600")
        (left / "cgroup.procs").write_text(f"{process.pid}")
        async with relay(tmp_path, session="s2", cgroup=cgroup):
            assert await process.wait() == -signal.SIGKILL
            assert not left.exists()

    asyncio.run(scenario())


def test_a_relay_makes_groups_unless_it_is_told_not_to(cluster: Cluster, tmp_path: Path) -> None:
    """What a user gets without a flag; and the flag for whom it is in the way."""
    where = ["cat", "/proc/self/cgroup"]

    relay = cluster.relay()
    job = cluster.client().submit(where, memory="64M")
    assert job.wait(30)["state"] == "succeeded"
    assert b"/hpc." in b"".join(job.log())
    assert VERSION in (cluster.home / "relays" / "n1" / "cgroup").read_text()
    relay.terminate()

    cluster.relay("n1", "--cgroup", "off")
    job = cluster.client().submit(where, memory="64M")
    assert job.wait(30)["state"] == "succeeded"
    assert b"/hpc." not in b"".join(job.log())
