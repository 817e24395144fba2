"""GPUs, named resources and labels, from the command line to the environment of a task."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from commands import succeed

from hpc.client import Client
from hpc.testing.processes import Cluster, until

TASKS = 8
SPAN = 'from=$(date +%s%N); sleep 0.1; echo "{0} $from $(date +%s%N)" > {1}/$HPC_TASK_ID'


class Span(NamedTuple):
    """For how long a task had a value, in ns."""

    value: str
    began: int
    ended: int


def spans(folder: Path) -> list[Span]:
    """What the tasks have written."""
    lines = (path.read_text().split() for path in folder.iterdir())
    return sorted(Span(value, int(began), int(ended)) for value, began, ended in lines)


def assert_alone(found: list[Span], values: set[str]) -> None:
    """Each value is used, and by one task at a time."""
    assert len(found) == TASKS
    assert {span.value for span in found} == values
    for one, next_one in pairwise(found):
        assert one.value != next_one.value or one.ended <= next_one.began, (one, next_one)


def hpc(cluster: Cluster, *words: str) -> str:
    """Run a command of ours; returns its stdout."""
    return succeed(cluster, *words).stdout


def small(cluster: Cluster, *words: str) -> str:
    """Submit and wait; returns the job's id."""
    return hpc(cluster, "submit", "--memory", "16", "--wait", *words).splitlines()[-1]


def text(hub: Client, job_id: str) -> str:
    """The output of a job's first task."""
    return b"".join(hub.job(job_id).log()).decode().strip()


def test_a_gpu_is_with_one_task_at_a_time(cluster: Cluster, tmp_path: Path) -> None:
    """Named by hand, so that it needs none; more tasks at a time than there are GPUs for."""
    relay = cluster.relay("n1", "--gpus", "0,1", cpus=4)
    assert "4 cpus" in relay.ready_line
    assert "2 gpus" in relay.ready_line
    folder = tmp_path / "spans"
    folder.mkdir()
    script = SPAN.format("$CUDA_VISIBLE_DEVICES", folder)

    small(cluster, "--gpus", "1", "--array", f"0-{TASKS - 1}", "--", script)

    assert_alone(spans(folder), {"0", "1"})


def test_a_task_without_gpus_sees_none(cluster: Cluster) -> None:
    """Beside one that has both; and where none are on offer nothing is hidden."""
    cluster.env["CUDA_VISIBLE_DEVICES"] = "5,6"
    cluster.relay("n1", "--gpus", "all")
    hub = cluster.client()
    script = 'echo "<$CUDA_VISIBLE_DEVICES> ${HPC_GPUS-unset}"'
    found = hub.submit(script, memory=16)
    found.wait(30)
    has_none = "gpus" not in next(iter(hub.nodes()))["resources"]
    assert text(hub, found.id) == ("<5,6> unset" if has_none else "<> 0")

    cluster.relay("n2", "--gpus", "3,4")
    both = hub.submit(script, gpus=2, memory=16)
    both.wait(30)
    assert text(hub, both.id) == "<3,4> 2"
    cluster.processes[1].terminate()
    none = hub.submit(script, memory=16)
    none.wait(30)
    assert text(hub, none.id) == "<> 0"
    said = hub.submit(script, memory=16, env={"CUDA_VISIBLE_DEVICES": "9"})
    said.wait(30)
    assert text(hub, said.id) == "<9> 0"


def test_a_named_resource_is_with_one_task_at_a_time(cluster: Cluster, tmp_path: Path) -> None:
    """A list and a sum, as two flags of a relay and of a submit."""
    lists = ("--resource", "fpgas=[left,right]", "--resource", "licences=sum(3)")
    cluster.relay("n1", *lists, cpus=4)
    folder = tmp_path / "spans"
    folder.mkdir()
    script = SPAN.format("$HPC_RESOURCE_FPGAS/$HPC_RESOURCE_LICENCES", folder)
    asked = ("--resource", "fpgas=1", "--resource", "licences=1")

    small(cluster, *asked, "--array", f"0-{TASKS - 1}", "--", script)

    assert_alone(spans(folder), {"left/1", "right/1"})


def test_a_node_says_what_it_offers(cluster: Cluster) -> None:
    """And how much of it is in use."""
    cluster.relay("n1", "--gpus", "0,1", "--resource", "fpgas=range(0-3)")
    hub = cluster.client()
    job = hub.submit("sleep 60", gpus=1, memory=16)
    until(lambda: job.info()["state"] == "running")
    shown = dict(line.split(None, 1) for line in hpc(cluster, "node", "info", "n1").splitlines())
    assert (shown["gpus"], shown["resources"]) == ("1/2", "fpgas 0/4")
    job.cancel()
    assert job.wait(30)["state"] == "cancelled"
    assert next(iter(hub.nodes()))["used"].get("gpus", 0) == 0


def test_a_relay_does_not_start_with_less_than_it_was_told(cluster: Cluster) -> None:
    """More GPUs than there can be here; the hint is one that starts it."""
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "relay", "--gpus", "4096"],
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "4096 cannot be offered" in done.stderr
    assert "hpc relay --gpus 0,1" in done.stderr
