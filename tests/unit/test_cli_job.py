"""What is shown of a job and its tasks: how it is, how it ended, and why it waits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import typer
from canned_hub import Canned, CannedHub, Request, answer, ended, job, knows, problem, sent

from hpc.cli import tree


def test_a_waiting_job_says_why(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """In a sentence, at once and later."""
    knows(hub, job(state="queued", why="needs 64 cpus, the largest relay has 2"))
    assert tree.main(["submit", "--", "true"]) == 0
    assert "needs 64 cpus" in capsys.readouterr().err
    assert tree.main(["job", "info", "7"]) == 0
    assert "queued: needs 64 cpus, the largest relay has 2" in capsys.readouterr().out


@pytest.mark.parametrize("typed", [["job", "wait", "7"], ["submit", "--wait", "--", "true"]])
def test_who_waits_is_told_each_reason_once(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], typed: list[str]
) -> None:
    """A number that falls is no other reason; the Hub is asked after some seconds, ever longer."""
    whys = ["behind 3 tasks. More of it", "behind 2 tasks", "needs 64 cpus", "behind 1 task"]
    rows = [job(state="queued", why=why) for why in whys]
    looks = [job(state="running"), *rows, job(state="running"), job()]
    first = [job(state="queued")] if typed[0] == "job" else []  # which job is meant
    hub.routes["GET", "/jobs/7"] = [answer({"cursor": 4, "data": row}) for row in first + looks]
    assert tree.main(typed) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note")]
    assert notes == [
        "note: job 7 is queued: behind 3 tasks",
        "note: job 7 is queued: needs 64 cpus",
        "note: job 7 is queued: behind 1 task",
    ]
    waits = [request.query["wait"] for request in hub.asked if "wait" in request.query]
    assert waits == ["3.000", "6.000", "12.000", *["24.000"] * 4]


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


def test_attempts_are_listed_with_how_each_ended(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them, where `job info` shows the last ones; as JSON the rows that it has."""
    row = ended(cause="oom", peak_memory_bytes=64 << 20, cpu_seconds=0.5)
    [first] = row["attempts"]
    row["attempts"] += [{**first, "attempt": 2, "state": "running", "finished_at": None}]
    knows(hub, row)
    assert tree.main(["job", "attempts", "7"]) == 0
    shown = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert shown[0][0] == "ATTEMPT"
    at = "1970-01-01T00:00:01.000Z"
    over = "over its memory limit of 64 MiB"
    assert shown[1] == ["1", "0", "failed", "n1", over, at, "250 ms", "64 MiB", "500 ms"]
    assert shown[2] == ["2", "0", "running", "n1", "-", at, "-", "64 MiB", "500 ms"]
    assert tree.main(["job", "attempts", "7", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "hpc.job.attempts/1"
    assert [one["attempt"] for one in told["data"]] == [1, 2]
    assert told["data"][0]["started_at"] == at


def test_why_of_several_jobs_tells_each(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """With a line between them; as JSON a list of what one alone would be."""
    rows = [job("7", state="queued"), job("8", state="queued")]
    hub.routes["GET", "/jobs"] = answer({"cursor": 4, "data": rows, "next": None})
    told = [{"job_id": job_id, "why": "behind 1 task", "nodes": []} for job_id in ("7", "8")]
    for one in told:
        hub.routes["GET", f"/jobs/{one['job_id']}/why"] = answer({"cursor": 4, "data": one})
    assert tree.main(["job", "why", "queued"]) == 0
    assert capsys.readouterr().out == "job 7: behind 1 task\n\njob 8: behind 1 task\n"
    assert tree.main(["job", "why", "queued", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "hpc.job.why.list/1"
    assert shown["data"] == [{**one, "state": "queued"} for one in told]


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


def test_an_attempt_of_an_array_names_its_tasks_and_what_its_time_is(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks that share a row may have run one after another, or in several rounds."""
    rows = [
        {**job()["attempts"][0], "tasks": tasks, "attempt": number}
        for number, tasks in enumerate(("0", "1-2", "3"), 1)
    ]
    knows(hub, job(tasks="0-3", attempts=rows))
    assert tree.main(["job", "info", "7"]) == 0
    shown = capsys.readouterr().out
    assert "1 on n1, task 0, exit code 0, 250 ms\n" in shown
    assert "2 on n1, tasks 1-2, exit code 0, 250 ms from the first start to the last end\n" in shown
    assert "3 on n1, task 3, exit code 0, 250 ms\n" in shown
    knows(hub, job())
    assert tree.main(["job", "info", "7"]) == 0
    assert "1 on n1, exit code 0, 250 ms\n" in capsys.readouterr().out


def test_priorities_of_some_tasks_are_shown_beside_the_jobs(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a job that has neither nothing is said."""
    others = [{"tasks": "3-5", "priority": 7}, {"tasks": "9", "priority": -1}]
    for priority, priorities, said in (
        (0, [], None),
        (4, [], "4"),
        (0, others, "0; 7 of 3-5; -1 of 9"),
    ):
        knows(hub, {**job(), "priority": priority, "priorities": priorities})
        assert tree.main(["job", "info", "7"]) == 0
        shown = capsys.readouterr().out
        line = next((line for line in shown.splitlines() if line.startswith("priority")), None)
        assert (line and line.removeprefix("priority").strip()) == said


def test_a_job_without_a_name_is_listed_by_what_it_runs(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column of dashes tells nobody which of them was the sweep."""
    rows = [job("8", name="fit"), {**job("9"), "spec": {"command": "sleep", "args": ["6 0"]}}]
    hub.routes["GET", "/jobs"] = answer({"cursor": 9, "data": rows, "next": None})
    assert tree.main(["job", "list"]) == 0
    shown = capsys.readouterr().out
    assert "(sleep '6 0')" in shown
    assert " fit " in shown


def test_a_retry_says_how_many_tasks_run_again(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of those that are named; the rest of what failed stays as it is."""
    settled = [{"tasks": "1-4,9", "state": "failed", "cause": "exit"}]
    knows(hub, {**job(), "state": "failed", "tasks": "0-9", "settled": settled})
    assert tree.main(["job", "retry", "7"]) == 0
    assert capsys.readouterr().err.endswith("; 5 tasks run again\n")
    assert tree.main(["job", "retry", "7", "--tasks", "4-5"]) == 0
    assert capsys.readouterr().err.endswith("; 1 task runs again\n")


def test_a_job_that_goes_on_says_what_has_failed_so_far(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`running: exit code 1` would read as if it were over."""
    row = ended(cause="exit", exit_code=1)
    knows(hub, {**row, "state": "running", "tasks": "0-3"})
    assert tree.main(["job", "info", "7"]) == 0
    assert "running; so far 1 task: exit code 1\n" in capsys.readouterr().out


def jobs(hub: CannedHub, *rows: dict[str, Any]) -> None:
    """Let the Hub list jobs, the oldest first, and know each."""

    def listed(request: Request) -> Canned:
        state, name = request.query.get("state"), request.query.get("name")
        found = [row for row in rows if state in (None, row["state"])]
        found = [row for row in found if name in (None, row["name"])]
        found = found[::-1] if request.query.get("order") == "desc" else found
        return answer({"cursor": 4, "data": found, "next": None})

    hub.routes["GET", "/jobs"] = listed
    for row in rows:
        knows(hub, row)


@pytest.mark.parametrize(
    ("typed", "ids"),
    [
        (["all"], ["c", "b", "a"]),
        (["all", "--last", "2"], ["c", "b"]),
        (["failed"], ["c", "a"]),
        (["a", "c", "--last", "1"], ["c"]),
        (["b", "a"], ["b", "a"]),
        (["all", "--state", "failed", "--last", "1"], ["c"]),
        (["all", "--ns", "other"], []),
        (["all", "--name", "x"], ["b"]),
        (["all", "--since", "1970-01-02"], []),
        (["all", "--until", "1h"], ["c", "b", "a"]),
        (["all", "--since", "1h"], []),
    ],
)
def test_jobs_that_are_named_are_listed_like_others(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], typed: list[str], ids: list[str]
) -> None:
    """The newest first, as many as are wanted, and only those that are."""
    rows = [("a", "failed", 1, None), ("b", "succeeded", 2, "x"), ("c", "failed", 2, None)]
    jobs(hub, *(job(i, s, submitted_at=at, name=name) for i, s, at, name in rows))
    assert tree.main(["job", "list", *typed]) == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()[1:]] == ids
    is_cut = "--last" in typed
    again = f"hpc job list {' '.join(typed[: typed.index('--last')])} --last 0" if is_cut else ""
    if is_cut and "--state" not in typed:
        assert told.err == f"the {len(ids)} newest; all of them: {again}\n"


@pytest.mark.parametrize(
    ("state", "typed", "said"),
    [
        ("succeeded", [], "no task has failed or was cancelled"),
        ("failed", ["--tasks", "3-4"], "none of tasks 3-4 has failed or was cancelled"),
        ("failed", ["--tasks", "0-4:2"], None),
        ("cancelled", [], None),
    ],
)
def test_a_retry_that_finds_nothing_to_do_says_so(
    hub: CannedHub,
    capsys: pytest.CaptureFixture[str],
    state: str,
    typed: list[str],
    said: str | None,
) -> None:
    """A request about what is settled well is no error: it has no effect, and exits with 0."""
    knows(hub, job(state=state))
    assert tree.main(["job", "retry", "7", *typed]) == 0
    told = f"job 7 {state}: nothing to retry, {said}\n"
    assert (told in capsys.readouterr().err) is (said is not None)
    assert tree.main(["job", "retry", "7", *typed, "--json"]) == 0
    assert (told in capsys.readouterr().err) is (said is not None)


OVER = "job 7 succeeded: nothing to {}, already over\n"


@pytest.mark.parametrize(
    ("row", "typed", "said"),
    [
        (job(), ["cancel", "7"], OVER.format("cancel")),
        (job(), ["hold", "7"], OVER.format("hold")),
        (job(), ["release", "7"], OVER.format("release")),
        (job(), ["priority", "3", "7"], OVER.format("change")),
        (job(state="queued"), ["hold", "7"], "job 7 queued\n"),
        (
            job(state="queued"),
            ["release", "7"],
            "job 7 queued: nothing to release, no task is held\n",
        ),
        (
            {**job(tasks="0-9"), "state": "running"},
            ["cancel", "7", "--task", "0"],
            "job 7 running: nothing to cancel, none of tasks 0 goes on\n",
        ),
        (
            {**job(tasks="0-9"), "state": "running"},
            ["cancel", "7", "--task", "0-1"],
            "job 7 running\n",
        ),
    ],
)
def test_a_request_without_effect_is_told(
    hub: CannedHub,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, Any],
    typed: list[str],
    said: str,
) -> None:
    """It is recorded all the same, and no error."""
    knows(hub, row)
    assert tree.main(["job", *typed]) == 0
    assert capsys.readouterr().err == said


def test_attempts_that_are_not_shown_are_told(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of many stand there, and where the others are."""
    attempts = [{**job()["attempts"][0], "attempt": number} for number in range(1, 13)]
    for count, said in (
        (12, "attempts   the last 10 of 12; all: hpc job attempts 7"),
        (10, None),
    ):
        knows(hub, job(attempts=attempts[:count]))
        assert tree.main(["job", "info", "7"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("attempt ") for line in lines) == 10
        found = [line for line in lines if line.startswith("attempts")]
        assert found == ([] if said is None else [said])


def test_what_max_fails_cancelled_says_so(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks that were to be tried again have an exit code and are cancelled: both are explained."""
    why = "too many tasks have failed"
    settled = [
        {"tasks": "0-1", "state": "failed", "cause": "exit"},
        {"tasks": "2-4", "state": "cancelled", "cause": "cancelled", "reason": why},
    ]
    attempts = [{**job()["attempts"][0], "tasks": "0-4", "state": "failed", "exit_code": 1}]
    row = {**job(state="failed", tasks="0-4"), "settled": settled, "attempts": attempts}
    knows(hub, row)
    assert tree.main(["job", "wait", "7"]) == 1
    told = "job 7 failed: 2 tasks: exit code 1; 3 tasks: cancelled: too many tasks have failed\n"
    assert capsys.readouterr().out == told

    task = {**TASK, "state": "cancelled", "cause": "cancelled", "reason": why}
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": [task], "next": None})
    assert tree.main(["job", "tasks", "7"]) == 0
    said = "note: EXIT of a cancelled task is what its last attempt ended with\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("spec", "typed", "code", "said"),
    [
        ({"stdout": "out.%j.%a.%N.%%"}, [], 4, ["stdout of task 3 of job 7 is in {}"]),
        ({"stdout": "out.%j.%a.%N.%%"}, ["--stderr"], 0, []),
        ({"stderr": "out.%j.%a.%N.%%"}, [], 0, ["stderr of task 3 of job 7 is in {}"]),
        ({"stderr": "out.%j.%a.%N.%%"}, ["--stderr"], 4, ["stderr of task 3 of job 7 is in {}"]),
        ({"stderr": "out.%j.%a.%N.%%"}, ["--stream", "stdout"], 0, []),
        (
            {"stdout": "out.%j.%a.%N.%%", "stderr": "/tmp/e"},
            ["--follow"],
            4,
            [
                "stdout of task 3 of job 7 is in {}",
                "stderr of task 3 of job 7 is in /tmp/e on node n1",
            ],
        ),
    ],
)
def test_output_in_a_file_of_its_own_is_pointed_to(
    hub: CannedHub,
    capfd: pytest.CaptureFixture[str],
    spec: dict[str, str],
    typed: list[str],
    code: int,
    said: list[str],
) -> None:
    """An empty answer would look as if nothing had been written; a script sees it by the code."""
    row = job(tasks="3-9", spec={"command": "x", "cwd": "/data", **spec})
    knows(hub, row)
    typed = [*typed, "--task", "3"] if "--follow" in typed else typed
    task = {**TASK, "task": 3, "state": "succeeded"}
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": [task], "next": None})
    hub.routes["GET", "/jobs/7/log"] = Canned(body=b"")
    assert tree.main(["job", "log", "7", *typed]) == code
    place = "/data/out.7.3.n1.% on node n1"
    head = "" if "--follow" in typed else "==> task 3 <==\n"
    notes = "".join(f"note: {text.format(place)}\n" for text in said)
    assert capfd.readouterr().err == head + notes


def test_the_log_of_an_array_is_that_of_each_task(
    hub: CannedHub, capfd: pytest.CaptureFixture[str]
) -> None:
    """In their order, those that have begun; stdout is what they wrote and nothing else."""
    knows(hub, job(state="running", tasks="3-9"))
    rows = [{**TASK, "task": 3}, {**TASK, "task": 4, "started_at": None}, {**TASK, "task": 5}]
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": rows, "next": None})

    def written(request: Request) -> Canned:
        task, stream = request.query["task"], request.query["stream"]
        return Canned(body=f"a\n{stream} of {task}\n".encode())

    hub.routes["GET", "/jobs/7/log"] = written
    assert tree.main(["job", "log", "7", "-n", "1"]) == 0
    told = capfd.readouterr()
    assert told.out == "stdout of 3\nstdout of 5\n"
    assert told.err == "==> task 3 <==\nstderr of 3\n==> task 5 <==\nstderr of 5\n"
    assert tree.main(["job", "log", "7", "--stream", "stdout", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["data"] == {
        "job_id": "7",
        "tasks": [{"task": task, "stdout": f"a\nstdout of {task}\n"} for task in (3, 5)],
    }
    assert tree.main(["job", "log", "7", "--follow"]) == 2
    assert capfd.readouterr().err == (
        "error: `--follow` follows one task, and job `7` has 7\n\n"
        "hint: one of them: hpc job log --follow --task 3 7"
        "   what all have written: hpc job log 7\n"
    )
    running = {"tasks": "5-6", "attempt": 1, "node_id": "n1", "state": "running"}
    knows(hub, job(state="running", tasks="3-9", attempts=[running]))
    assert tree.main(["job", "log", "7", "--follow"]) == 2
    assert "one that runs: hpc job log --follow --task 5 7  " in capfd.readouterr().err


def test_info_takes_several_jobs(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that several have, as `wait` takes it; one alone is an object of `--json`."""
    jobs(hub, job("1", name="fit"), job("2", name="fit"))
    assert tree.main(["job", "info", "fit"]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert (first.split()[1], second.split()[1]) == ("1", "2")
    assert tree.main(["job", "info", "fit", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == "hpc.job.list/1"
    assert [row["job_id"] for row in told["data"]] == ["1", "2"]
    assert tree.main(["job", "info", "2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["data"]["job_id"]) == ("hpc.job.info/1", "2")


def test_a_file_that_is_to_come_and_json_are_told_as_well(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the task has a node, `%N` has no value."""
    knows(hub, job(state="queued", spec={"command": "x", "stdout": "out.%N", "cwd": "/data"}))
    task = {**TASK, "task": 0, "state": "queued", "node_id": None, "started_at": None}
    hub.routes["GET", "/jobs/7/tasks"] = answer({"cursor": 4, "data": [task], "next": None})
    hub.routes["GET", "/jobs/7/log"] = Canned(body=b"")
    assert tree.main(["job", "log", "7", "--json"]) == 4
    told = capsys.readouterr()
    assert told.err == "note: stdout of job 7 goes to /data/out.%N on the node that runs it\n"
    assert json.loads(told.out)["data"] == {
        "job_id": "7",
        "stdout": "",
        "stderr": "",
        "files": {"stdout": {"path": "/data/out.%N", "node_id": None}},
    }
    assert tree.main(["job", "log", "7", "--task", "5"]) == 4
    assert "has no task 5; its tasks are 0" in capsys.readouterr().err


def test_what_was_not_needed_is_pointed_out_and_counts_as_cancelled(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wait` is 1 where a job was cancelled, whatever for; who reads it sees what for."""
    settled = [{"tasks": "0", "state": "cancelled", "cause": "dependency"}]
    row = job("alarm", "cancelled", settled=settled)
    knows(hub, job())
    for after, said in (
        ({"after_fail": ["7"]}, "note: not needed: alarm; the exit code is 1"),
        ({"after": ["7"]}, None),
    ):
        knows(hub, {**row, **after})
        assert tree.main(["job", "wait", "7", "alarm"]) == 1
        err = capsys.readouterr().err
        assert (said in err) if said else not err


def test_run_says_that_it_has_no_lists(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """One task is what it runs, and its words go to it as they were typed."""
    assert tree.main(["run", "--", "echo", "{}", ":::", "a"]) == 0
    assert "note: `:::` is a word like any other here" in capsys.readouterr().err
    assert sent(hub)["spec"]["args"] == ["{}", ":::", "a"]
    command = typer.main.get_command(tree.tree("run")).commands["run"]  # type: ignore[attr-defined]
    assert ":::" not in str([parameter.help for parameter in command.params])


def test_an_event_tells_the_reason_that_was_given(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what a request was about; a field of a job's own spec is none."""
    ctx = {"ns_id": "batch", "job_id": "7"}
    payloads = [
        ("SubmitJob", {"ctx": ctx, "spec": {"reason": "mine"}}),
        ("HoldJob", {"ctx": {**ctx, "tasks": "3-4"}, "spec": {"reason": "disk is full"}}),
        ("SetPriority", {"ctx": {**ctx, "priority": 4}, "spec": {}}),
    ]
    rows = [
        {"seq": seq, "at": 0, "kind": kind, "payload": payload}
        for seq, (kind, payload) in enumerate(payloads, 1)
    ]

    def page(request: Request) -> Canned:
        found = rows if request.query["cursor"] == "0" else []
        return answer({"cursor": 3, "data": found, "next": None})

    hub.routes["GET", "/events"] = page
    assert tree.main(["events"]) == 0
    told = [line.partition("Z  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "SubmitJob       ns_id=batch job_id=7",
        "HoldJob         ns_id=batch job_id=7 tasks=3-4: disk is full",
        "SetPriority     ns_id=batch job_id=7 priority=4",
    ]


def test_events_of_one_job_are_asked_for(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """By whatever names it; of one that was forgotten by its id."""
    event = {"seq": 9, "at": 0, "kind": "SubmitJob", "payload": {"ctx": {"job_id": "7"}}}

    def page(request: Request) -> Canned:
        rows = [event] if request.query["cursor"] == "0" else []
        return answer({"cursor": 9, "data": rows, "next": None})

    hub.routes["GET", "/events"] = page
    jobs(hub, job(name="sim"))
    gone = problem(404, "forgotten", "job `old` was forgotten", outcome="failed")
    hub.routes["GET", "/jobs/old"] = gone
    for selector, job_id in (("sim", "7"), ("old", "old")):
        hub.asked.clear()
        assert tree.main(["events", "--job", selector]) == 0
        assert "SubmitJob" in capsys.readouterr().out
        asked = [request.query for request in hub.asked if request.path == "/events"]
        assert [query["job"] for query in asked] == [job_id, job_id]
    assert tree.main(["events", "--job", "nobody"]) == 4
