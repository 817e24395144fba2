"""Graphs of jobs in one submit: real commands, and the order in which they wrote."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import run as run_command

from hpc.errors import NotFound, Refused
from hpc.testing.processes import Cluster


def hpc(cluster: Cluster, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, against the cluster's Hub."""
    return run_command(cluster, *words, folder=folder)


def wrote(folder: Path) -> list[str]:
    """What the tasks appended, in order."""
    path = folder / "order"
    return path.read_text().split() if path.exists() else []


def is_diamond(order: list[str]) -> bool:
    """Whether the top came first, then both sides, then the bottom."""
    return (order[0], {*order[1:3]}, order[3:]) == ("top", {"left", "right"}, ["bottom"])


def graph(folder: Path, left: str = "echo left >> order") -> None:
    """Write the file of a diamond: the bottom first, so that all are named before they come."""
    jobs: list[dict[str, Any]] = [
        {"id": "bottom", "command": "echo bottom >> order", "after": ["left", "right"]},
        {"id": "left", "command": left, "after": ["top"]},
        {"id": "right", "command": "sleep 0.1; echo right >> order", "after": ["top"]},
        {"id": "top", "command": ["sh", "-c", "sleep 0.2; echo top >> order"]},
        {"id": "sweep", "command": "echo sweep >> swept", "after_any": ["bottom"]},
    ]
    (folder / "g.json").write_text(json.dumps({"defaults": {"memory": 16}, "jobs": jobs}))


def test_a_diamond_runs_in_its_order_and_once(cluster: Cluster, tmp_path: Path) -> None:
    """Two relays, one file; the same key again is the same graph, and runs nothing anew."""
    cluster.relay("n1")
    cluster.relay("n2")
    graph(tmp_path)
    for _ in range(2):
        done = hpc(cluster, tmp_path, "submit", "--from-json", "g.json", "--key", "d", "--wait")
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["d.bottom", "d.left", "d.right", "d.top", "d.sweep"]
        assert is_diamond(wrote(tmp_path))
    assert (tmp_path / "swept").read_text() == "sweep\n"
    assert len(list(cluster.client().jobs())) == 5
    submits = [e for e in cluster.client().events() if e["kind"] == "SubmitJob"]
    assert len({event["id"] for event in submits}) == 2, "each submit is one batch"

    other = hpc(cluster, tmp_path, "submit", "--from-json", "g.json", "--key", "d", "--cpu", "2")
    assert other.returncode == 6, other.stderr
    assert "Job `d.bottom` exists with another `spec.cpu`" in other.stderr


def test_a_program_runs_a_diamond_by_one_request(cluster: Cluster, tmp_path: Path) -> None:
    """`Job`s are named by themselves, other jobs by their ids."""
    cluster.relay()
    client = cluster.client()
    before = client.submit("true", memory=16)

    def says(word: str) -> str:
        return f"echo {word} >> {tmp_path / 'order'}"

    with client.graph() as graph:
        top = graph.submit(f"sleep 0.2; {says('top')}", memory=16, after=[before])
        sides = [graph.submit(says(side), memory=16, after=[top]) for side in ("left", "right")]
        bottom = graph.submit(says("bottom"), memory=16, after=sides)

    assert bottom.wait(30)["state"] == "succeeded"
    assert is_diamond(wrote(tmp_path))
    assert all(job.id.startswith(f"{graph.key}.") for job in graph.jobs.values())


def test_what_is_for_a_failure_that_did_not_come_is_pointed_out(
    cluster: Cluster, tmp_path: Path
) -> None:
    """An alarm, and what comes after it, is cancelled: 1 as for all that is, and it is said why."""
    cluster.relay()
    jobs: list[dict[str, Any]] = [
        {"id": "told", "command": "true", "after": ["alarm"]},
        {"id": "alarm", "command": "true", "after_fail": ["work"]},
        {"id": "work", "command": "exit $CODE", "env": {"CODE": "0"}},
    ]
    for code in (0, 3):
        jobs[2]["env"]["CODE"] = str(code)
        (tmp_path / "g.json").write_text(json.dumps({"defaults": {"memory": 16}, "jobs": jobs}))
        done = hpc(cluster, tmp_path, "submit", "--from-json", "g.json", "--progress")
        assert done.returncode == 1, done.stderr
        said = re.search(r"^note: not needed: \S+\.told, \S+\.alarm; ", done.stderr, re.MULTILINE)
        assert (said is None) is (code != 0)
        states = re.findall(r"^job \S+\.(\w+) (\w+)", done.stderr, re.MULTILINE)
        alarmed = "succeeded" if code else "cancelled"
        assert states == [
            ("told", alarmed),
            ("alarm", alarmed),
            ("work", "failed" if code else "succeeded"),
        ]


def test_what_comes_after_a_failure_is_cancelled_at_once(cluster: Cluster, tmp_path: Path) -> None:
    """The bottom can never start; what comes after it in whatever way does."""
    cluster.relay()
    graph(tmp_path, left="exit 3")
    done = hpc(cluster, tmp_path, "submit", "--from-json", "g.json", "--key", "d", "--wait")
    assert done.returncode == 1, done.stderr
    assert "job d.left failed: exit code 3" in done.stderr

    (settled,) = cluster.client().info("d.bottom")["settled"]
    assert (settled["state"], settled["cause"]) == ("cancelled", "dependency")
    assert settled["reason"] == "job d.left did not succeed"
    assert wrote(tmp_path) in (["top"], ["top", "right"])
    assert (tmp_path / "swept").read_text() == "sweep\n"


def test_a_graph_with_one_bad_job_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """All or none: a half of it would run, and its other half be missed days later."""
    client = cluster.client()
    with pytest.raises(Refused, match="nowhere"), client.graph("k") as graph:
        graph.submit("true", key="a", memory=16)
        graph.submit("true", key="b", memory=16, after=["a", "nowhere"])
    with pytest.raises(NotFound):
        client.info("k.a")
    with pytest.raises(Refused, match=r"Job `b`: `spec\.cpu`"), client.graph("k") as graph:
        graph.submit("true", key="a", memory=16)
        graph.submit("true", key="b", memory=16, cpu=0)
