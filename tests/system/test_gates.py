"""Jobs after jobs, held ones, what is tried again: real commands, and the marks that they leave."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import run as hpc
from marks import marking, marks, starts

from hpc.errors import Refused
from hpc.testing.processes import Cluster, until


def test_a_job_sees_what_the_one_before_it_wrote(cluster: Cluster, tmp_path: Path) -> None:
    """A chain of three, submitted last first in spirit: each reads what the former left."""
    cluster.relay()
    client = cluster.client()
    out = tmp_path / "out"

    one = client.submit(f"sleep 0.2; echo one > {out}", memory=64)
    two = client.submit(f"cat {out} > {out}2 && echo two >> {out}2", memory=64, after=[one])
    three = client.submit(f"cat {out}2", memory=64, after=[one, two])

    assert three.wait(30)["state"] == "succeeded"
    assert b"".join(three.log()) == b"one\ntwo\n"


def test_what_comes_after_a_failure_never_starts(cluster: Cluster, tmp_path: Path) -> None:
    """It is cancelled with the cause that it has, and what handles failures runs."""
    cluster.relay()
    client = cluster.client()
    job = client.submit("exit 3", memory=64, hold=True)
    vain = client.submit(marking(tmp_path), memory=64, cwd=str(tmp_path), after=[job])
    rescue = client.submit("echo rescued", memory=64, after_fail=[job.id])
    assert vain.info()["why"] == f"waits for job {job.id}"

    job.release()

    assert rescue.wait(30)["state"] == "succeeded"
    (settled,) = vain.info()["settled"]
    assert (settled["state"], settled["cause"]) == ("cancelled", "dependency")
    assert settled["reason"] == f"job {job.id} did not succeed"
    assert marks(tmp_path) == []


def test_tasks_follow_tasks_of_their_number(cluster: Cluster, tmp_path: Path) -> None:
    """Element by element: the second array does not wait for the slowest of the first."""
    cluster.relay()
    client = cluster.client()
    gate = tmp_path / "gate"
    slow = f'[ "$HPC_TASK_ID" = 0 ] || exit 0; until [ -e {gate} ]; do sleep 0.05; done'
    one = client.submit(slow, memory=64, tasks="0-3")
    two = client.submit(
        marking(tmp_path), memory=64, cwd=str(tmp_path), tasks="0-3", after=[one], after_task=True
    )

    until(lambda: {task for task, *_ in marks(tmp_path)} == {1, 2, 3})
    assert two.info()["counts"]["waiting"] == 1
    gate.touch()

    assert two.wait(30)["state"] == "succeeded"


def test_a_failed_task_is_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    """The second attempt finds what the first left, and succeeds; the exit code is listed."""
    cluster.relay()
    flag = tmp_path / "flag"
    command = f"{marking(tmp_path)}; [ -e {flag} ] || {{ touch {flag}; exit 75; }}"

    job = cluster.client().submit(
        command, memory=64, cwd=str(tmp_path), retries=2, retry_on=["oom", 75]
    )

    assert job.wait(30)["state"] == "succeeded"
    assert [attempt for _, attempt, _ in marks(tmp_path)] == [1, 2]


def test_another_round_runs_what_has_failed_alone(cluster: Cluster, tmp_path: Path) -> None:
    """`job retry` begins a round for the failed tasks; the others do not run again."""
    cluster.relay()
    client = cluster.client()
    flag = tmp_path / "flag"
    command = f'{marking(tmp_path)}; [ "$HPC_TASK_ID" != 1 ] || [ -e {flag} ]'
    job = client.submit(command, memory=64, cwd=str(tmp_path), tasks="0-2")
    assert job.wait(30)["state"] == "failed"
    flag.touch()

    done = hpc(cluster, "job", "retry", job.id)

    assert done.returncode == 0, done.stderr
    assert job.wait(30)["state"] == "succeeded"
    assert sorted((task, attempt) for task, attempt, _ in marks(tmp_path)) == [
        (0, 1), (1, 1), (1, 2), (2, 1)
    ]  # fmt: skip


def test_the_command_line_holds_releases_and_orders(cluster: Cluster, tmp_path: Path) -> None:
    """What is typed is what happens; every hint that is given works."""
    cluster.relay(cpus=1)
    held = hpc(cluster, "submit", "--hold", "--array", "0-9%2", "--key", "held", "--", "true")
    assert held.returncode == 0, held.stderr
    assert held.stdout == "held\n"
    assert "job held is held: hpc job release held\n" in held.stderr

    assert hpc(cluster, "job", "hold", "held", "--reason", "not before noon").returncode == 0
    shown = hpc(cluster, "job", "info", "held").stdout
    assert re.search(r"^held +since \S+Z: not before noon$", shown, re.MULTILINE)
    assert re.search(r"^at a time +at most 2 tasks$", shown, re.MULTILINE)
    waited = hpc(cluster, "job", "wait", "held", "--timeout", "10ms")
    assert waited.stderr.startswith(
        "note: job held is held: hpc job release held (not before noon)\n"
    )

    late = hpc(cluster, "submit", "--after", "held", "--key", "late", "--", *_touch(tmp_path / "l"))
    assert late.returncode == 0, late.stderr
    assert "job late is waiting: waits for job held (0 of 10 tasks are done)" in late.stderr
    assert hpc(cluster, "job", "priority", "7", "late").returncode == 0
    row = cluster.client().info("late")
    assert (row["priority"], row["after"]) == (7, ["held"])
    assert not {"after_any", "after_fail", "after_task"} & row.keys()
    shown = hpc(cluster, "job", "info", "late").stdout
    assert re.search(r"^after +held has succeeded$", shown, re.MULTILINE)
    assert hpc(cluster, "job", "list", "held").stdout.splitlines()[1].split()[0] == "held"

    assert hpc(cluster, "job", "release", "held").returncode == 0
    waited = hpc(cluster, "job", "wait", "late")
    assert waited.returncode == 0, waited.stderr
    assert (tmp_path / "l").exists()
    retried = hpc(cluster, "job", "retry", "late")
    assert retried.returncode == 0
    assert "nothing to retry, no task has failed or was cancelled" in retried.stderr


def test_what_is_held_does_not_start_though_it_was_leased_ahead(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Its relay gives it back; what had started is counted, and goes on."""
    cluster.relay(cpus=1)
    client, gate = cluster.client(), tmp_path / "gate"
    wait = f'[ "$HPC_TASK_ID" != 5 ] || until [ -e {gate} ]; do sleep 0.02; done'
    job = client.submit(
        marking(tmp_path, wait), memory=64, cwd=str(tmp_path), tasks="0-49", key="short"
    )
    until(lambda: 5 in starts(tmp_path))
    until(lambda: job.info()["counts"]["running"] == 1)

    said = hpc(cluster, "job", "hold", "short").stderr

    assert "1 task had started and goes on" in said
    until(lambda: job.info()["counts"]["held"] == 44)
    gate.touch()
    until(lambda: job.info()["state"] == "held")
    assert starts(tmp_path) == dict.fromkeys(range(6), 1)
    job.release()
    assert job.wait(30)["state"] == "succeeded"
    assert starts(tmp_path) == dict.fromkeys(range(50), 1)


def test_a_throttle_holds_on_real_cores(cluster: Cluster, tmp_path: Path) -> None:
    """No more tasks overlap than the array allows, though there is room for them."""
    cluster.relay(cpus=4)
    job = cluster.client().submit(
        f"{marking(tmp_path)}; sleep 0.2", memory=64, cwd=str(tmp_path), tasks="0-5", throttle=2
    )
    most = 0

    def is_over() -> bool:
        nonlocal most
        counts = job.info()["counts"]
        most = max(most, counts["leased"] + counts["running"])
        return counts["succeeded"] == 6

    until(is_over)
    assert most == 2
    assert set(starts(tmp_path).values()) == {1}


def test_what_nobody_knows_is_refused_by_its_field(cluster: Cluster) -> None:
    """Exit code 4 for a selector, 422 for an id."""
    client = cluster.client()
    with pytest.raises(Refused, match="nowhere"):
        client.submit("true", after=["nowhere"])
    assert hpc(cluster, "submit", "--after", "nowhere", "--", "true").returncode == 4


def _touch(path: Path) -> list[str]:
    return ["touch", str(path)]
