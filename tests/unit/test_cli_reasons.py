"""The reasons that people gave, and what is said of what waits for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from canned_hub import Canned, CannedHub, Request, answer, ended, job, knows, problem

from hpc.cli import tree


def event(seq: int, kind: str, value: Any, **more: Any) -> dict[str, Any]:
    """An event as `GET /explain` tells it."""
    at = 1_700_000_000_000 + seq
    return {"seq": seq, "id": "b", "index": 0, "at": at, "kind": kind, "value": value, **more}


def explains(hub: CannedHub, *pages: list[dict[str, Any]]) -> None:
    """Let the Hub answer in pages; each but the last has more."""
    last = len(pages) - 1
    hub.routes["GET", "/explain"] = [
        answer(
            {"cursor": 9, "events": page, "more": n < last, **({"after": n} if n < last else {})}
        )
        for n, page in enumerate(pages)
    ]


HELD: dict[str, Any] = {"state": "held", "why": "held: hpc job release 7", "counts": {"held": 4}}


def test_a_held_job_says_since_when_and_why(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last word on each range; what is said of all tasks ends what was said before."""
    knows(hub, job(tasks="0-9", **HELD))
    said = [
        event(1, "SubmitJob", {"*": True}),
        event(2, "HoldJob", {"0-3": True}, because="forgotten"),
        event(3, "HoldJob", {"*": True}, because="the disk is full"),
    ]
    more = [
        event(4, "HoldJob", {"5-7": True}, because="not yet"),
        event(5, "ReleaseJob", {"5-7": False}),
        event(6, "HoldJob", {"8": True}),
    ]
    explains(hub, said, more)
    assert tree.main(["job", "info", "7"]) == 0
    shown = capsys.readouterr().out
    assert "state      held: hpc job release 7\n" in shown
    assert "held       tasks 0-4,9 since 2023-11-14T22:13:20.003Z: the disk is full\n" in shown
    assert "held       task 8 since 2023-11-14T22:13:20.006Z\n" in shown
    assert "forgotten" not in shown
    assert "not yet" not in shown
    asked = [request.query for request in hub.asked if request.path == "/explain"]
    place = {"gid": "kernel", "table": "jobs", "key": "7", "column": "held"}
    assert asked == [place, {**place, "after": "0"}]

    explains(hub, said)
    assert tree.main(["job", "info", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["holds"] == [
        {"tasks": None, "at": "2023-11-14T22:13:20.003Z", "reason": "the disk is full"}
    ]


def test_of_what_is_not_held_no_reason_is_asked(hub: CannedHub) -> None:
    """It would cost a request each time."""
    assert tree.main(["job", "info", "7"]) == 0
    assert "GET /explain" not in hub.paths()


def test_what_runs_beside_held_tasks_says_so(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`leased: held: ...` would name two states at once."""
    row = {**HELD, "state": "leased", "counts": {"leased": 1, "held": 1}}
    knows(hub, job(tasks="0-1", **row))
    explains(hub, [])
    assert tree.main(["job", "info", "7"]) == 0
    assert "state      leased; 1 task is held: hpc job release 7\n" in capsys.readouterr().out


def test_who_follows_or_waits_for_a_held_job_is_told_once(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing will come until somebody releases it: that may be who looks at an empty screen."""
    note = "note: job 7 is held: hpc job release 7 (the disk is full)\n"
    said = [event(3, "HoldJob", {"*": True}, because="the disk is full")]
    knows(hub, job(**HELD))
    explains(hub, said)
    hub.routes["GET", "/jobs/7/log"] = Canned(body=b"")
    assert tree.main(["job", "log", "7", "--follow"]) == 0
    assert capsys.readouterr().err == note
    assert tree.main(["job", "wait", "7", "--timeout", "10ms"]) == 124
    assert capsys.readouterr().err.startswith(note)
    assert tree.main(["job", "log", "7"]) == 0
    assert capsys.readouterr().err == ""


def test_who_follows_a_held_task_is_told_though_others_run(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    knows(hub, job(state="running", tasks="0-9", counts={"running": 1, "held": 2}))
    explains(hub, [event(3, "HoldJob", {"4-5": True}, because="later")])

    def task(request: Request) -> Any:
        number = int(request.query.get("after", "-1")) + 1
        row = {"task": number, "state": "held" if number == 4 else "running", "node_id": None}
        return answer({"cursor": 9, "data": [row], "next": None})

    hub.routes["GET", "/jobs/7/tasks"] = task
    hub.routes["GET", "/jobs/7/log"] = Canned(body=b"")
    assert tree.main(["job", "log", "7", "-f", "--task", "4"]) == 0
    note = "note: task 4 of job 7 is held: hpc job release 7 (later)\n"
    assert capsys.readouterr().err == note
    assert tree.main(["job", "log", "7", "-f", "--task", "3"]) == 0
    assert capsys.readouterr().err == ""


def node(**more: Any) -> dict[str, Any]:
    return {"node_id": "n1", "state": "up", "drained": True, "session": "ses", **more}


@pytest.mark.parametrize(
    ("said", "cell", "field"),
    [
        ({"because": "new disk"}, "new disk", "since 2023-11-14T22:13:20.003Z: new disk"),
        ({}, "no reason given", "since 2023-11-14T22:13:20.003Z"),
        (
            {"because": "--pre of task 0: exit code 1", "origin": "ses"},
            "--pre of task 0: exit code 1",
            "since 2023-11-14T22:13:20.003Z by its relay: --pre of task 0: exit code 1",
        ),
        ({"origin": "other"}, "no reason given", "since 2023-11-14T22:13:20.003Z"),
    ],
)
def test_a_drained_node_says_since_when_by_whom_and_why(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], said: Any, cell: str, field: str
) -> None:
    """Whoever finds it so later was not there."""
    rows = [node(), node(node_id="n2", drained=False)]
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": rows, "next": None})
    hub.routes["GET", "/pull"] = problem(404, "unknown_generator", "no monitor")
    explains(hub, [event(3, "NodeDrained", True, **said)])
    assert tree.main(["node", "list"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.endswith("DRAINED")
    assert first.endswith(cell)
    assert second.endswith(" -")
    asked = [request.query["key"] for request in hub.asked if request.path == "/explain"]
    assert asked == ["n1"]

    assert tree.main(["node", "info", "n1"]) == 0
    assert f"drained     {field}\n" in capsys.readouterr().out
    assert tree.main(["node", "info", "n1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["drain"] == {
        "at": "2023-11-14T22:13:20.003Z",
        "reason": said.get("because"),
        "by_relay": said.get("origin") == "ses",
    }


def test_why_names_the_reasons(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the hold, and of each node that is drained."""
    told = {
        "job_id": "7",
        "why": "every relay of `batch` is drained",
        "ahead": {},
        "nodes": [
            {"node_id": "n1", "fits": False, "why": "is drained: hpc node undrain n1"},
            {"node_id": "n2", "fits": False, "why": "is unreachable"},
        ],
    }
    knows(hub, job(state="queued", counts={"queued": 1}))
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": told})
    explains(hub, [event(3, "NodeDrained", True, because="new disk")])
    assert tree.main(["job", "why", "7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["n1: is drained: hpc node undrain n1 (new disk)", "n2: is unreachable"]

    knows(hub, job(**HELD))
    held = {**told, "why": "held: hpc job release 7", "nodes": []}
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": held})
    explains(hub, [event(3, "HoldJob", {"*": True}, because="the disk is full")])
    assert tree.main(["job", "why", "7"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 7: held: hpc job release 7 (the disk is full)",
        "held: since 2023-11-14T22:13:20.003Z: the disk is full",
    ]


def test_a_hold_of_all_is_shown_as_what_is_left_of_it(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a part that was released, nobody waits for the release."""
    knows(hub, job(tasks="0-9", **HELD))
    said = [
        event(3, "HoldJob", {"*": True}, because="the disk is full"),
        event(4, "ReleaseJob", {"0-3": False}),
        event(5, "ReleaseJob", {"6": False}),
    ]
    explains(hub, said)
    assert tree.main(["job", "info", "7"]) == 0
    held = "held       tasks 4-5,7-9 since 2023-11-14T22:13:20.003Z: the disk is full\n"
    assert held in capsys.readouterr().out


def test_what_a_hold_came_too_late_for_is_said(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the tasks that were named; what runs is not stopped by a hold."""
    attempts = [
        {"attempt": 1, "node_id": "n1", "state": "running", "tasks": "0-2"},
        {"attempt": 1, "node_id": "n1", "state": "leased", "tasks": "3"},
    ]
    knows(hub, job(tasks="0-9", state="running", attempts=attempts))
    assert tree.main(["job", "hold", "7"]) == 0
    assert capsys.readouterr().err == "job 7 running; 3 tasks had started and go on\n"
    assert tree.main(["job", "hold", "7", "--tasks", "2-5"]) == 0
    assert capsys.readouterr().err == "job 7 running; 1 task had started and goes on\n"
    assert tree.main(["job", "hold", "7", "--tasks", "4-5"]) == 0
    assert capsys.readouterr().err == "job 7 running\n"
    assert tree.main(["job", "release", "7"]) == 0
    assert "started" not in capsys.readouterr().err


def test_why_of_what_runs_says_which_of_its_nodes_are_silent(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Hub takes it for running until the node is given up."""
    ended = job()["attempts"][0]
    attempts = [ended | {"node_id": f"n{ix}", "state": "running"} for ix in (1, 2)]
    knows(hub, job(state="running", attempts=[*attempts, ended | {"node_id": "n3"}]))
    told = {"job_id": "7", "why": None, "nodes": [], "ahead": None}
    hub.routes["GET", "/jobs/7/why"] = answer({"cursor": 4, "data": told})
    rows = [
        {"node_id": "n1", "state": "unreachable", "gone_at": 1000},
        {"node_id": "n2", "state": "up", "gone_at": None},
        {"node_id": "n3", "state": "unreachable", "gone_at": 1000},
    ]
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": rows, "next": None})
    assert tree.main(["job", "why", "7"]) == 0
    first, *more = capsys.readouterr().out.splitlines()
    assert first == "job 7: running"
    assert len(more) == 1
    assert more[0].startswith("n1: is unreachable since 1970-01-01T00:00:01.000Z; ")
    assert more[0].endswith(": hpc node lost n1")
    assert tree.main(["job", "why", "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["unreachable"] == ["n1"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (job(state="cancelled", attempts=[]), "note: no output; job 7 cancelled\n"),
        (ended(cause="not found"), "note: no output; job 7 failed: command `x` was not found"),
        (ended(cause="exit"), ""),
        (job(), ""),
    ],
)
def test_the_log_of_what_never_began_says_why(
    hub: CannedHub, capfd: pytest.CaptureFixture[str], row: dict[str, Any], said: str
) -> None:
    """An empty answer alone would leave its reader where he was; `--json` has no room for it."""
    knows(hub, row)
    hub.routes["GET", "/jobs/7/log"] = Canned(body=b"")
    assert tree.main(["job", "log", "7"]) == 0
    told = capfd.readouterr()
    assert told.err.startswith(said)
    assert bool(told.err) == bool(said)
    assert tree.main(["job", "log", "7", "--json"]) == 0
    assert capfd.readouterr().err == ""
