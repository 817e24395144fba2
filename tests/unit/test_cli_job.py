"""What is shown of a job and its tasks: how it is, how it ended, and why it waits."""

from __future__ import annotations

import json
import re

import pytest
from canned_hub import CannedHub, answer, ended, job, knows

from hpc.cli import tree


def test_a_waiting_job_says_why(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence, at once and later."""
    knows(hub, job(state="queued", why="needs 64 cpus, the largest relay has 2"))
    assert tree.main(["submit", "--", "true"]) == 0
    assert "needs 64 cpus" in capsys.readouterr().err
    assert tree.main(["job", "info", "7"]) == 0
    assert "queued: needs 64 cpus, the largest relay has 2" in capsys.readouterr().out


def test_why_tells_each_node_and_who_is_ahead(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line each; of a job that does not wait only how it is."""
    told = {
        "job_id": "7",
        "why": "behind 3 tasks",
        "ahead": {"higher": 1, "earlier": 2, "more": True},
        "nodes": [{"node_id": "n1", "fits": False, "why": "is drained: hpc node undrain n1"}],
    }
    knows(hub, job(state="queued"))
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": told})
    assert tree.main(["job", "why", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 7: behind 3 tasks",
        "n1: is drained: hpc node undrain n1",
        "ahead: at least 1 task of higher priority, 2 submitted earlier",
    ]
    assert tree.main(["job", "why", "7", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["schema"], shown["data"]) == ("hpc.job.why/1", {**told, "state": "queued"})
    knows(hub, job())
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": {**told, "why": None}})
    assert tree.main(["job", "why", "7"]) == 0
    assert capsys.readouterr().out == "job 7: succeeded\n"


def test_a_task_that_was_lost_names_the_relays_of_its_losses(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each once, in order; what was lost before it began is not among them."""
    lost = {**job()["attempts"][0], "state": "lost", "exit_code": None, "cause": "lost"}
    nodes = [("n0", None), ("n2", 5), ("n1", 6), ("n2", 7)]
    attempts = [
        {**lost, "attempt": number, "node_id": node, "started_at": at, "finished_at": None}
        for number, (node, at) in enumerate(nodes, 1)
    ]
    settled = [{"tasks": "0", "state": "failed", "cause": "lost"}]
    knows(hub, job(state="failed", attempts=attempts, settled=settled))
    assert tree.main(["job", "info", "7"]) == 0
    shown = capsys.readouterr().out
    assert "failed: lost with its relay three times while it ran: n2, n1\n" in shown


def test_a_limit_is_named_while_it_is_known(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A retry with another memory leaves open which of the two an attempt had."""
    row = ended(cause="oom")
    for resources, words in (
        ({"cpus": 1, "memory_mib": 64}, "over its memory limit of 64 MiB"),
        ({"cpus": 1, "memory_mib": 128}, "failed: over its memory limit\n"),
    ):
        knows(hub, {**row, "resources": resources})
        assert tree.main(["job", "info", "7"]) == 0
        shown = capsys.readouterr().out
        assert words in shown
        assert f"1 cpu, {resources['memory_mib']} MiB" in shown


TASK = {
    "task": 4, "state": "failed", "attempt": 2, "node_id": "n1", "exit_code": 7, "signal": None,
    "cause": "exit", "started_at": 1_700_000_000_000, "finished_at": 1_700_000_001_500,
    "duration_s": 1.5, "peak_memory_bytes": 1 << 20, "cpu_seconds": 0.25, "entry": {"lr": 1},
}  # fmt: skip


def test_job_tasks_shows_a_line_for_each(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What became of each, where, what it used and what it was given; and how to go on."""
    other = {**TASK, "task": 9, "signal": 9, "cause": "signal", "entry": None, "cpu_seconds": None}
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": [TASK, other], "next": None})
    assert tree.main(["job", "tasks", "7", "--state", "failed", "--after", "3"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "TASK", "STATE", "ATTEMPT", "NODE", "EXIT", "CAUSE", "STARTED", "TOOK", "MEMORY", "CPU",
        "ENTRY",
    ]  # fmt: skip
    assert re.split(r"  +", first) == [
        "4", "failed", "2", "n1", "7", "exit", "2023-11-14T22:13:20.000Z", "1.5 s", "1 MiB",
        "250 ms", '{"lr": 1}',
    ]  # fmt: skip
    assert "signal 9 (SIGKILL)" in second
    assert hub.asked[-1].query == {"limit": "101", "state": "failed", "after": "3"}

    assert tree.main(["job", "tasks", "7", "--limit", "1", "--state", "failed"]) == 0
    said = capsys.readouterr().err
    assert said == "there are more: hpc job tasks 7 --state failed --after 4 --limit 1\n"

    assert tree.main(["job", "tasks", "7", "--json", "--limit", "0"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "hpc.job.tasks/1"
    assert [row["task"] for row in shown["data"]] == [4, 9]
    assert shown["data"][0]["finished_at"] == "2023-11-14T22:13:21.500Z"
    assert tree.main(["job", "tasks", "7", "--state", "done"]) == 2


def test_each_way_to_fail_counts_its_own_tasks(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks that failed for one cause may have left several exit codes."""
    attempts = [
        {"tasks": tasks, "attempt": 1, "node_id": "n1", "state": "failed", "exit_code": code,
         "signal": None, "cause": "exit"}
        for tasks, code in (("1,3-4,9", 1), ("2", 2))
    ]  # fmt: skip
    settled = [{"tasks": "1-4,9", "state": "failed", "cause": "exit"}]
    knows(hub, {**job(), "state": "failed", "phase": 3, "tasks": "0-9", "settled": settled,
                "attempts": attempts})  # fmt: skip
    assert tree.main(["job", "wait", "7"]) == 1
    said = capsys.readouterr()
    assert "4 tasks: exit code 1; 1 task: exit code 2" in said.out
