"""What a user is told to type next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from canned_hub import Canned, CannedHub, answer, ended, job, knows, problem

from hpc.cli import advice, wording
from hpc.cli.tree import main


@pytest.mark.parametrize(
    ("why", "hint"),
    [
        ("no relay follows `batch`", "start one: hpc relay --ns batch"),
        (
            "needs 64 cpus, the largest relay has 16",
            "it waits until a relay that fits joins; --cpu 16 would fit now",
        ),
        (
            "needs 64 GiB, the largest relay has 16 GiB",
            "it waits until a relay that fits joins; node by node: hpc job why 7",
        ),
        (
            "needs 1 cpu, the largest relay has 0",
            "it waits until a relay that fits joins; node by node: hpc job why 7",
        ),
        ("every relay of `batch` is drained", "the reason, and how to end it: hpc job why 7"),
        ("all that fits is taken", None),
    ],
)
def test_who_waits_in_vain_is_told_what_would_help(why: str, hint: str | None) -> None:
    """And who only has to wait is told nothing."""
    assert advice.of(job(state="queued", why=why)) == hint


@pytest.mark.parametrize(
    ("memory_mib", "amount"), [(64, "128M"), (512, "1G"), (1500, "3000M"), (4096, "8G")]
)
def test_what_ran_out_of_memory_is_tried_with_twice_as_much(memory_mib: int, amount: str) -> None:
    """As the command line reads it, of what it had last."""
    info = ended(cause="oom") | {"resources": {"memory_mib": memory_mib}}
    assert advice.of(info) == f"run it again with more: hpc job retry 7 --memory {amount}"


@pytest.mark.parametrize(
    ("limit_s", "twice"), [(0.5, "1s"), (1, "2s"), (45, "90s"), (90, "3m"), (5400, "3h")]
)
def test_what_took_too_long_is_tried_with_twice_as_much(limit_s: float, twice: str) -> None:
    """In the longest unit that needs no fraction."""
    info = ended(cause="time limit") | {"spec": {"time_limit": limit_s}}
    assert advice.of(info) == f"submit it again with more: --time-limit {twice}"


@pytest.mark.parametrize("cause", ["time limit", "oom", "output limit"])
def test_what_came_to_a_limit_shows_what_it_wrote_last(
    cause: str, hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """By stream; it was ended from outside, and could not say why."""
    row = ended(cause=cause)
    knows(hub, row)
    lines = [f"epoch {number}" for number in range(12)]
    texts = {"stdout": "\n".join(lines), "stderr": ""}
    hub.routes["GET", "/jobs/7/log"] = lambda request: Canned(
        200, texts[request.query["stream"]].encode()
    )
    assert main(["job", "info", "7"]) == 0
    shown = capsys.readouterr().out
    assert "last stdout  epoch 2\n             epoch 3\n" in shown
    assert "epoch 1\n" not in shown and "last stderr" not in shown
    assert main(["job", "wait", "7"]) == 1
    assert "its last lines on stdout:\n  epoch 2\n" in capsys.readouterr().err
    for verb, code in (("info", 0), ("wait", 1)):
        assert main(["job", verb, "7", "--json"]) == code
        data = json.loads(capsys.readouterr().out)["data"]
        told = data if verb == "info" else data[0]
        assert told["last_lines"] == {"stdout": lines[-10:]}


def test_what_ended_by_itself_or_kept_no_output_shows_none(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its output is not asked for, or cannot be had: that is no error."""
    hub.routes["GET", "/jobs/7/log"] = problem(404, "not_found", "its output was forgotten")
    for row in (ended(exit_code=1, cause="exit"), ended(cause="oom")):
        knows(hub, row)
        assert main(["job", "info", "7"]) == 0
        assert "last std" not in capsys.readouterr().out
    assert hub.paths().count("GET /jobs/7/log") == 2


def test_a_command_that_is_not_there_may_be_another(tmp_path: Path) -> None:
    """Of the folders of its own PATH; one that was named by its path is not looked for."""
    (tmp_path / "python").touch()
    spec: dict[str, Any] = {"command": "pyhton", "env": {"PATH": f"/nowhere:{tmp_path}"}}
    info = ended(cause="not found") | {"spec": spec}
    assert advice.of(info) == "did you mean `python`?"
    spec["command"] = "zzz"
    assert advice.of(info) == f"its PATH is /nowhere:{tmp_path}"
    spec["command"] = "./pyhton"
    assert advice.of(info) is None


def test_what_lies_in_the_folder_or_was_quoted_is_told_so(tmp_path: Path) -> None:
    """The two reasons why a program that is there is not found."""
    (tmp_path / "fit.py").touch()
    spec: dict[str, Any] = {"command": "fit.py", "cwd": str(tmp_path), "env": {"PATH": "/bin"}}
    info = ended(cause="not found") | {"spec": spec}
    assert str(advice.of(info)).endswith(": ./fit.py")
    spec["command"] = "python3 fit.py"
    assert str(advice.of(info)).startswith("the program's name has a blank in it")


def test_a_job_that_succeeded_needs_no_advice() -> None:
    """Nor one that failed by itself where what it wrote was printed."""
    assert advice.of(job()) is None
    failed = ended(exit_code=1, cause="exit")
    assert advice.of_failure(failed, is_shown=True) is None
    assert advice.of(failed) == "what it wrote last: hpc job log --lines 10 7"


def test_of_an_array_the_first_task_that_failed_is_named() -> None:
    """Its output is one of many."""
    failed = ended(exit_code=1, cause="exit") | {"tasks": "0-9"}
    failed["settled"] = [
        {"tasks": "0-2", "state": "succeeded", "cause": None},
        {"tasks": "3-4,9", "state": "failed", "cause": "exit"},
    ]
    assert advice.of(failed) == (
        "which failed: hpc job tasks 7 --state failed   what one wrote: hpc job log 7 --task 3"
    )


def test_what_cannot_be_executed_says_why_and_what_helps(tmp_path: Path) -> None:
    """Its exit code alone would say it to few, and it has no output."""
    (tmp_path / "fit.sh").touch()
    info = ended(exit_code=126, cause="exit")
    info["spec"] = {"command": "./fit.sh", "cwd": str(tmp_path)}
    info["attempts"][0]["detail"] = "`./fit.sh`: Permission denied (os error 13)"
    assert wording.how_it_ended(info) == (
        "exit code 126 (`./fit.sh`: Permission denied (os error 13))"
    )
    assert advice.of_failure(info, is_shown=True) == "make it executable: chmod +x ./fit.sh"
    info["attempts"][0]["detail"] = "`./fit.sh`: Exec format error (os error 8)"
    assert "#!/bin/sh" in str(advice.of(info))


def test_a_script_that_is_there_and_is_not_found_has_another_first_line(tmp_path: Path) -> None:
    """Windows ends lines so that the interpreter's name has a sign more."""
    (tmp_path / "fit.sh").touch()
    info = ended(cause="not found") | {"spec": {"command": "./fit.sh", "cwd": str(tmp_path)}}
    assert "its first line" in str(advice.of(info))
    (tmp_path / "fit.sh").write_bytes(b"#!/bin/sh\r\necho\r\n")
    assert str(advice.of(info)).endswith(r"sed -i 's/\r$//' ./fit.sh")


def test_who_was_cancelled_for_another_is_led_to_that_one() -> None:
    """Which may have been cancelled for a third."""
    info = job(state="cancelled")
    reason = "job fit did not succeed"
    info["settled"] = [
        {"tasks": "0", "state": "cancelled", "cause": "dependency", "reason": reason}
    ]
    assert advice.of(info) == "why not: hpc job info fit"
    info["settled"][0]["reason"] = "job fit did not fail"
    assert advice.of(info) is None


def test_a_job_on_a_node_that_is_silent_is_told_so_where_it_is_waited_for(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once, and not as an error: it may go on there."""
    running = job(state="running")
    running["attempts"] = [{"tasks": "0", "attempt": 1, "node_id": "n2", "state": "running"}]
    knows(hub, running)
    away = {"node_id": "n2", "state": "unreachable", "gone_at": 1_700_000_000_000}
    up = {"node_id": "n1", "state": "up"}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [up, away], "next": None})
    looks = [answer({"cursor": 4, "data": running})] * 3
    hub.routes["GET", "/jobs/7"] = [*looks, answer({"cursor": 5, "data": job()})]

    assert main(["job", "wait", "7"]) == 0

    said = capsys.readouterr().err
    assert said.count("note: job 7 is running on n2, which is unreachable since 2023-11-14T") == 1
    assert "n1" not in said


def test_a_slip_in_a_name_is_asked_after(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the jobs that were submitted last, by id and by name."""
    rows = [job("fit-2024", name="training"), job("8")]
    page = answer({"cursor": 4, "data": rows, "next": None})
    nothing = answer({"cursor": 4, "data": [], "next": None})
    hub.routes["GET", "/jobs"] = lambda request: nothing if "name" in request.query else page

    slips = {"trainign": "training", "name:trainig": "training", "fit204": "fit-2024"}
    for word, near in slips.items():
        assert main(["job", "info", word]) == 4
        assert f"hint: did you mean `{near}`?" in capsys.readouterr().err
