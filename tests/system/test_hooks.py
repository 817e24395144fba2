"""What a relay's owner has run around each task, by the files and processes of real ones."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import succeed as hpc
from executor_kit import is_alive, relay, shell, until, work

from hpc.relay.supervisor_link import Hooks
from hpc.testing import processes
from hpc.testing.processes import Cluster

NOW_MS = "$(date +%s%3N)"


def lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def test_pre_task_and_post_run_in_this_order_in_one_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each knows which task it is; times and output are those of the task alone."""
    log = tmp_path / "log"
    names = "$HPC_JOB_ID $HPC_TASK_ID $HPC_ATTEMPT $HPC_NODE_ID $HPC_ENTRY $HPC_CPUS $MINE"
    hooks = Hooks(
        pre=f"echo from-pre > made; echo pre {names} >> {log}; echo said by pre; sleep 0.05; "
        f"echo {NOW_MS} >> {log}",
        post=f'echo {NOW_MS} >> {log}; echo post {names} "$HPC_EXIT_CODE/$HPC_SIGNAL/$HPC_CAUSE" '
        f"$(cat made) >> {log}; echo said by post >&2",
    )

    async def scenario() -> None:
        async with relay(tmp_path / "n1", hooks=hooks) as taken:
            script = f"cat made; echo from-task >> made; echo task >> {log}"
            fields = {"cwd": None, "tasks": "3", "entries": {"3": "e"}}
            env = {"PATH": os.environ["PATH"], "MINE": "mine"}
            taken.link.run([shell(script, env=env, **fields)])
            end = await taken.end(3)
            assert (end["exit_code"], end.get("cause")) == (0, None)
            pre, before, task, after, post = lines(log)
            assert pre == "pre job 3 1 n1 e 1 mine"
            assert task == "task"
            assert post == "post job 3 1 n1 e 1 mine 0// from-pre from-task"
            assert int(before) <= end["started_at"] <= end["finished_at"] <= int(after)
            assert taken.text(3) == "from-pre\n"
            assert taken.text(3, "stderr") == ""

    asyncio.run(scenario())
    said = capfd.readouterr().err
    assert "--pre of task 3 of job job: said by pre\n" in said
    assert "--post of task 3 of job job: said by post\n" in said


def test_fault_49_a_failing_pre_drains_the_node_and_fails_no_task(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What waits goes back with it, and the Hub learns of the drain first."""
    cores = sorted(os.sched_getaffinity(0))[:1]
    ran = tmp_path / "ran"
    hooks = Hooks(pre="echo first; echo the scratch disk is full >&2; exit 4", post=f"touch {ran}")

    async def scenario() -> None:
        async with relay(tmp_path / "n1", cpus=cores, hooks=hooks) as taken:
            taken.link.run([shell(f"touch {ran}", tasks="0-9")])
            for task in range(10):
                assert await taken.returned(task) == "given_back"
            kinds = [event["kind"] for event in taken.events]
            assert kinds[0] == "NodeDrained"
            assert kinds.count("NodeDrained") == 1, "it met one task, not ten"
            assert set(kinds[1:]) == {"TasksReturned"}
            payload = taken.events[0]["payload"]
            assert payload["ctx"] == {"node_id": "n1"}
            reason = "--pre of task 0 of job job has failed: exit code 4: the scratch disk is full"
            assert payload["spec"] == {"reason": reason}
        assert not ran.exists()

    asyncio.run(scenario())
    assert "hpc node undrain n1" in capfd.readouterr().err


def test_post_is_told_what_came_of_the_task(tmp_path: Path) -> None:
    """Whatever it was, also of a program that does not exist; and it changes nothing of it."""
    log = tmp_path / "log"
    told = '"$HPC_TASK_ID:$HPC_EXIT_CODE/$HPC_SIGNAL/$HPC_CAUSE"'
    hooks = Hooks(post=f"echo {told} >> {log}; exit 5")

    async def scenario() -> None:
        async with relay(tmp_path / "n1", hooks=hooks) as taken:
            taken.link.run(
                [
                    shell("exit 3", tasks="0"),
                    shell("kill -USR1 $$", tasks="1"),
                    work("/no/such/program", tasks="2"),
                    shell("trap 'exit 0' TERM; while :; do sleep 0.02; done", time_limit_s=0.2,
                          tasks="3"),
                    shell("exit 0", tasks="4", env={"HPC_CAUSE": "mine"}),
                ]
            )  # fmt: skip
            ends = [await taken.end(task) for task in range(5)]
            assert [end.get("exit_code") for end in ends] == [3, None, 127, 0, 0]
            assert [end.get("cause") for end in ends] == [
                "exit", "signal", "not found", "time limit", None,
            ]  # fmt: skip
            assert sorted(lines(log)) == [
                "0:3//exit",
                f"1:/{int(signal.SIGUSR1)}/signal",
                "2:127//not found",
                "3:0//time limit",
                "4:0//",
            ]

    asyncio.run(scenario())


def test_a_hook_that_hangs_is_ended_with_what_it_has_started(tmp_path: Path) -> None:
    """A `--pre` counts as failed then; of a `--post` it is only said."""
    pids = tmp_path / "pids"
    hangs = f"setsid sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; exec sleep 600"

    async def scenario() -> None:
        hooks = Hooks(pre=hangs, limit_s=1.0)
        async with relay(tmp_path / "n1", hooks=hooks) as taken:
            taken.link.run([work("true", grace_s=600.0)])
            assert await taken.returned() == "given_back"
            spec = taken.events[0]["payload"]["spec"]
            assert spec["reason"].endswith("has failed: it was not over after 1 s")
            assert len(lines(pids)) == 2
            assert not any(is_alive(int(pid)) for pid in lines(pids))
        hooks = Hooks(post=hangs, limit_s=1.0)
        async with relay(tmp_path / "n2", hooks=hooks) as taken:
            taken.link.run([work("true")])
            assert (await taken.end())["exit_code"] == 0
            assert len(lines(pids)) == 4
            assert not any(is_alive(int(pid)) for pid in lines(pids))

    asyncio.run(scenario())


def test_a_task_that_is_cancelled_in_its_pre_never_starts(tmp_path: Path) -> None:
    """And the node is not at fault; one that is cancelled in its post has its post."""
    ran, waits = tmp_path / "ran", tmp_path / "waits"
    gate = tmp_path / "gate"
    pause = f"touch {waits}; until [ -e {gate} ]; do sleep 0.02; done"

    async def scenario() -> None:
        async with relay(tmp_path / "n1", hooks=Hooks(pre=pause)) as taken:
            taken.link.run([shell(f"touch {ran}")])
            await until(waits.exists, "the hook runs")
            taken.link.cancel("job", 1, "0", "cancelled")
            assert await taken.returned() == "given_back"
            assert [event["kind"] for event in taken.events] == ["TasksReturned"]
            assert not ran.exists()
        waits.unlink()
        async with relay(tmp_path / "n2", hooks=Hooks(post=f"{pause}; touch {ran}")) as taken:
            taken.link.run([shell("exit 3")])
            await until(waits.exists, "the hook runs")
            taken.link.cancel("job", 1, "0", "cancelled")
            await taken.link.holds()  # it was obeyed
            gate.touch()
            assert (await taken.end())["cause"] == "exit"
            assert ran.exists()

    asyncio.run(scenario())


def test_after_the_fence_a_pre_begins_no_task(tmp_path: Path) -> None:
    """By then it may run elsewhere."""
    ran, waits = tmp_path / "ran", tmp_path / "waits"

    async def scenario() -> None:
        hooks = Hooks(pre=f"touch {waits}; exec sleep 600")
        async with relay(tmp_path / "n1", hooks=hooks) as taken:
            taken.link.run([shell(f"touch {ran}")])
            await until(waits.exists, "the hook runs")
            taken.link.fence(1)
            assert await taken.returned() == "fence"
            assert not ran.exists()

    asyncio.run(scenario())


def test_a_pre_over_the_memory_of_its_task_is_the_job_s_fault(tmp_path: Path) -> None:
    """A job with too low a limit must not drain one node after the other."""
    hog = f"exec {sys.executable} -c \"import time; b = b'x' * (300 << 20); time.sleep(600)\""

    async def scenario() -> None:
        async with relay(tmp_path / "n1", hooks=Hooks(pre=hog)) as taken:
            taken.link.run([work("true", memory_mib=100)])
            end = await taken.end()
            assert end["cause"] == "oom"
            assert "`--pre` of the relay needs more memory" in end["detail"]
            assert [event["kind"] for event in taken.events] == ["JobFinished"]

    asyncio.run(scenario())


def test_a_folder_that_is_not_there_is_the_job_s_fault(tmp_path: Path) -> None:
    """It fails as it does without hooks, and neither of them runs."""
    ran = tmp_path / "ran"

    async def scenario() -> None:
        hooks = Hooks(pre=f"touch {ran}", post=f"touch {ran}")
        async with relay(tmp_path / "n1", hooks=hooks) as taken:
            taken.link.run([work("true", cwd="/no/such/folder")])
            assert (await taken.end())["cause"] == "cwd not found"
            assert not ran.exists()

    asyncio.run(scenario())


def node(cluster: Cluster, node_id: str) -> dict[str, Any]:
    rows = json.loads(hpc(cluster, "node", "list", "--json").stdout)["data"]
    row: dict[str, Any] = next(row for row in rows if row["node_id"] == node_id)
    return row


def test_a_node_whose_pre_fails_is_drained_until_it_is_undrained(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The job runs elsewhere, nothing counts against it, and an administrator sees why."""
    mended, ran = tmp_path / "mended", tmp_path / "ran"
    relay = cluster.relay("n1", "--pre", f"test -e {mended} || {{ echo no scratch; exit 1; }}")
    job = cluster.client().submit(f"echo $HPC_NODE_ID >> {ran}", memory=16)
    processes.until(lambda: node(cluster, "n1")["drained"])
    assert job.info()["state"] == "queued"
    assert "--pre of task 0 of job" in hpc(cluster, "node", "list").stdout
    shown = hpc(cluster, "node", "info", "n1").stdout
    assert re.search(r"^drained +since \S+Z by its relay: --pre of task 0", shown, re.MULTILINE)
    cluster.relay("n2")
    info = job.wait(30)
    assert info["state"] == "succeeded"
    assert lines(ran) == ["n2"]
    attempts = [(a["state"], a["node_id"]) for a in info["attempts"]]
    assert attempts == [("returned", "n1"), ("succeeded", "n2")]
    said = hpc(cluster, "events", "--json").stdout
    assert "--pre of task 0 of job" in said
    assert "exit code 1: no scratch" in said

    mended.touch()
    hpc(cluster, "node", "drain", "n2")
    hpc(cluster, "node", "undrain", "n1")
    again = cluster.client().submit(f"echo $HPC_NODE_ID >> {ran}", memory=16)
    assert again.wait(30)["state"] == "succeeded"
    assert lines(ran) == ["n2", "n1"]
    assert relay.popen.poll() is None


@pytest.mark.parametrize("flag", ["--pre", "--post"])
def test_a_relay_that_is_killed_leaves_no_hook_behind(
    cluster: Cluster, tmp_path: Path, flag: str
) -> None:
    """Nor what it has started, in whatever session."""
    pids = tmp_path / "pids"
    hook = f"setsid sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; exec sleep 600"
    relay = cluster.relay("n1", flag, hook)
    cluster.client().submit("true", memory=16)
    processes.until(lambda: len(lines(pids)) == 2)
    relay.kill()
    processes.until(lambda: not any(is_alive(int(pid)) for pid in lines(pids)))
