"""Exit codes, and how an error is told, against a Hub whose answers are scripted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from canned_hub import Canned, CannedHub, ended, job, knows, problem

from hpc.cli import tree


@pytest.mark.parametrize(
    ("answered", "code"),
    [
        (problem(422, "not_well_formed", "x", errors=[]), 5),
        (problem(409, "job_conflict", "x"), 6),
        (problem(403, "forbidden", "x"), 7),
        (problem(404, "unknown_namespace", "x"), 4),
    ],
)
def test_each_refusal_has_its_exit_code(hub: CannedHub, answered: Canned, code: int) -> None:
    """Scripts branch on it."""
    hub.routes["POST", "/ingest"] = answered
    assert tree.main(["submit", "--", "true"]) == code
    assert tree.main(["run", "--", "true"]) == 125


def test_an_error_is_told_with_a_hint_after_a_blank_line(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read it; stdout stays clean."""
    hub.routes["POST", "/ingest"] = problem(404, "x", "Event 0: Namespace `b`", hint="try `a`")
    tree.main(["submit", "--", "true"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: Namespace `b`\n\nhint: try `a`\n")


def test_with_json_an_error_is_one_object_on_stderr(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read it."""
    knows(hub, job())
    assert tree.main(["job", "info", "nope", "--json"]) == 4
    error = json.loads(capsys.readouterr().err)["error"]
    assert set(error) == {"code", "message", "field", "hint"}
    assert error["code"] == "not_found"


@pytest.mark.parametrize(
    "words",
    [
        ["submit"],
        ["submit", "--memory", "4X", "--", "true"],
        ["submit", "--cpu", "0", "--", "true"],
        ["submit", "--array", "9-1", "--", "true"],
        ["submit", "--key", "12", "--", "true"],
        ["submit", "--spec", "[]"],
        ["submit", "--spec", "{}", "--", "true"],
        ["submit", "--no-such-flag"],
        ["job", "list", "--state", "sleeping"],
        ["job", "log", "--stream", "x"],
        ["job", "cancel"],
        ["hub", "--host", "0.0.0.0"],
        ["hub", "--lease", "0"],
        ["hub", "--port", "70000"],
        ["relay", "--node-id", "a b"],
        ["relay", "--memory", "none"],
        ["monitor", "--interval", "0"],
        ["nonsense"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("hub")
def test_a_mistake_in_the_command_line_is_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was sent, and the message says what is wrong."""
    assert tree.main(words) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_no_hub_is_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The likeliest mistake of the first five minutes."""
    monkeypatch.setenv("HPC_HOME", str(tmp_path))
    for name in ("HPC_HUB_URL", "HPC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert tree.main(["job", "list"]) == 3
    assert "hint: start one: hpc up" in capsys.readouterr().err
    assert tree.main(["run", "--", "true"]) == 125


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 1)])
def test_wait_is_1_if_a_job_did_not_succeed(hub: CannedHub, state: str, code: int) -> None:
    """Failed and cancelled alike."""
    knows(hub, job(state=state))
    assert tree.main(["job", "wait", "7"]) == code
    assert tree.main(["submit", "--wait", "--", "true"]) == code


def test_a_wait_that_ends_early_is_124(hub: CannedHub) -> None:
    """As `timeout` has it."""
    knows(hub, job(state="running"))
    assert tree.main(["job", "wait", "7", "--timeout", "50ms"]) == 124


def test_a_wait_that_ran_out_says_the_time_that_was_typed(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not what was left of it for the last job."""
    knows(hub, job(state="running", phase=2))
    assert tree.main(["job", "wait", "7", "--timeout", "0.01"]) == 124
    assert "is not finished after 10 ms" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        (ended("succeeded", exit_code=0), 0, None),
        (ended(cause="exit", exit_code=7), 7, "exit code 7"),
        (ended(cause="signal", signal=9), 137, "ended by signal 9 (SIGKILL)"),
        (ended(cause="oom", signal=9), 137, "over its memory limit of 64 MiB"),
        (ended(cause="oom"), 137, "over its memory limit of 64 MiB"),
        (ended(cause="time limit", signal=15), 143, "over its time limit of 1 s"),
        (ended(cause="time limit"), 124, "over its time limit of 1 s"),
        (ended(cause="not found"), 127, "command `x` was not found on n1"),
        (ended(cause="cwd not found"), 125, "does not exist on n1"),
        (ended(cause="refused", detail="no"), 125, "refused by n1 (no)"),
        (ended(cause="lost"), 125, "lost with its relay"),
        (ended("cancelled"), 143, None),
    ],
)
def test_run_exits_with_the_tasks_own_code(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], row: dict[str, Any], code: int, words: str
) -> None:
    """`hpc run` stands where the command stood; 125 is hpc's own."""
    knows(hub, row)
    assert tree.main(["run", "--", "true"]) == code
    assert (words or "") in capsys.readouterr().err
    tree.main(["job", "info", "7"])
    assert (words or "state") in capsys.readouterr().out
