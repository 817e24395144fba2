"""kill -9 of a relay, its supervisor and its guard: one, two or all; nothing that ran is left.

Survivors are looked for by what stands in their command lines, so that no mark of ours is needed to
find one that has lost it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from executor_kit import is_alive, relay, until

from hpc._core import memory_cgroup
from hpc.testing.kills import kill_relays, living, script
from hpc.testing.processes import Cluster
from hpc.testing.processes import until as until_sync

VERSION, _ = memory_cgroup(root="/", pids=[os.getpid()])
GONE_S = 1.0

OWNER = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from executor_kit import relay, shell

async def main():
    async with relay(Path(sys.argv[1]) / "n1", cgroup=sys.argv[4]) as taken:
        limit = {"memory_mib": 256} if sys.argv[4] == "require" else {}
        taken.link.run([shell(sys.argv[3], **limit)])
        await taken.has_started()
        print(taken.link.pid, taken.link.guard_pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def _running(place: Path, cgroup: str) -> Iterator[dict[str, int]]:
    place.mkdir()
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", OWNER, str(place), here, script(place), cgroup]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        supervisor, guard = map(int, owner.stdout.readline().split())
        try:
            yield {"relay": owner.pid, "supervisor": supervisor, "guard": guard}
        finally:
            owner.kill()


@pytest.mark.parametrize(
    "cgroup",
    [
        "off",
        pytest.param(
            "require", marks=pytest.mark.skipif(not VERSION, reason="no memory cgroup here")
        ),
    ],
)
@pytest.mark.parametrize(
    "killed",
    ["relay", "supervisor", "guard", "relay supervisor", "relay guard", "supervisor relay"],
)
def test_fault_54_nothing_outlives_who_is_killed(tmp_path: Path, killed: str, cgroup: str) -> None:
    """Any one, or two with the relay, in either order: children, sessions and daemons are gone."""

    async def scenario() -> None:
        # Of two the second dies while it hears of the first, or has just: that is tried more often.
        for turn in range(3 if {"relay", "supervisor"} <= {*killed.split()} else 1):
            place = tmp_path / f"t{turn}"
            with _running(place, cgroup) as pids:
                for name in ("daemon", "child", "session", "bare"):
                    await until((place / name).exists, f"the {name} runs")
                for who in killed.split():
                    os.kill(pids[who], signal.SIGKILL)
                end_s = time.monotonic() + GONE_S
                owner = pids["relay"]
                while left := {p: c for p, c in living(place).items() if p != owner}:
                    assert time.monotonic() < end_s, f"after {GONE_S} s: {left}"
                    await asyncio.sleep(0.01)

    asyncio.run(scenario())


def test_fault_54_where_all_three_are_killed_the_next_start_ends_what_is_left(
    tmp_path: Path,
) -> None:
    """Nobody is left who could do it sooner; but it is done before anything runs again."""

    async def scenario() -> None:
        place = tmp_path / "t"
        with _running(place, "off") as pids:
            await until((place / "child").exists, "the child runs")
            for pid in pids.values():
                os.kill(pid, signal.SIGSTOP)  # nobody hears of the death of another
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
        for pid in pids.values():
            await until(lambda pid=pid: not is_alive(pid), "it is dead")
        child = next(pid for pid, line in living(place).items() if f"{place}/child" in line)
        async with relay(place / "n1", session="s2") as taken:
            assert not is_alive(child)
            assert taken.link.swept >= 1
        # What has lost every mark is not found: only this is promised, and docs/relays.md says it.
        for pid in living(place):
            os.kill(pid, signal.SIGKILL)

    asyncio.run(scenario())


def test_fault_54_a_supervisor_that_was_stopped_does_not_keep_what_it_runs(tmp_path: Path) -> None:
    """It cannot hear that its relay is gone: its guard does, and does not wait for ever."""

    async def scenario() -> None:
        with _running(tmp_path / "t", "off") as pids:
            await until((tmp_path / "t" / "daemon").exists, "the daemon runs")
            os.kill(pids["supervisor"], signal.SIGSTOP)
            os.kill(pids["relay"], signal.SIGKILL)
        await until(lambda: not living(tmp_path / "t"), "nothing is left")

    asyncio.run(scenario())


def test_the_guard_costs_little(tmp_path: Path) -> None:
    """It is there once for each relay, and shares its memory with the supervisor."""

    async def scenario() -> None:
        async with relay(tmp_path) as taken:
            guard = Path(f"/proc/{taken.link.guard_pid}")
            assert (guard / "comm").read_text() == "hpc-guard\n"
            rows = (guard / "smaps_rollup").read_text().splitlines()[1:]
            kib = {row.split(":")[0]: int(row.split()[1]) for row in rows}
            assert kib["Private_Dirty"] + kib["Private_Clean"] <= 2048

    asyncio.run(scenario())


def test_fault_54_a_real_relay_and_its_supervisor(cluster: Cluster, tmp_path: Path) -> None:
    """With a Hub, as a user has it; and the relay that comes back is not held up."""
    found = kill_relays(cluster, tmp_path, gone_s=GONE_S)
    assert found.is_good, found
    record = cluster.home / "relays" / "killed" / "cgroup.tasks"
    until_sync(lambda: not record.exists())  # the group is gone too
