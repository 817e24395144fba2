"""`hpc submit`, `run` and `retry`: what was typed is what is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from canned_hub import CannedHub, answer, sent

from hpc.cli import tree
from hpc.cli.submit import own_umask


def test_the_last_line_of_submit_is_the_job_id_alone(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """`job=$(hpc submit ...)` works."""
    words = ["submit", "--name", "fit", "--cpu", "2", "--memory", "512M", "--", "python", "fit.py"]
    assert tree.main(words) == 0
    shown = capsys.readouterr()
    assert shown.out == "7\n"
    assert "memory 512 MiB" in shown.err
    payload = sent(hub)
    assert payload["ctx"] == {"ns_id": "batch", "name": "fit"}
    spec = payload["spec"]
    assert (spec["command"], spec["args"], spec["cpu"]) == ("python", ["fit.py"], 2)
    assert (spec["memory"], spec["enforce_memory"]) == (512, True)


@pytest.mark.parametrize("command", ["submit", "run"])
def test_what_a_task_takes_and_where_it_runs_reach_their_fields(
    hub: CannedHub, command: str
) -> None:
    """The same words for both."""
    words = [
        command, "--gpus", "1", "--resource", "fpgas=2", "--require", "zone=b", "--node", "n1,n2",
        "--exclude", "n3", "--exclusive", "--max-per-node", "4", "--min-time", "30m", "--", "true",
    ]  # fmt: skip
    assert tree.main(words) == 0
    spec = sent(hub)["spec"]
    assert (spec["gpus"], spec["resources"], spec["require"]) == (1, {"fpgas": 2}, {"zone": "b"})
    assert (spec["nodes"], spec["exclude"]) == (["n1", "n2"], ["n3"])
    assert (spec["exclusive"], spec["max_per_node"], spec["min_time"]) == (True, 4, 1800)


def test_flags_after_the_command_are_the_commands(hub: CannedHub) -> None:
    """`hpc submit python fit.py --cpu 3` gives --cpu to fit.py."""
    assert tree.main(["submit", "--cpu", "2", "python", "fit.py", "--cpu", "3", "--json"]) == 0
    assert sent(hub)["spec"]["args"] == ["fit.py", "--cpu", "3", "--json"]
    assert sent(hub)["spec"]["cpu"] == 2


@pytest.mark.parametrize(
    ("typed", "flag"),
    [
        (["submit", "ls", "--wait"], "--wait"),
        (["submit", "ls", "-l", "--cpu=2", "--wait"], "--cpu"),
        (["run", "ls", "--name", "x"], "--name"),
        (["submit", "--", "ls", "--wait"], None),
        (["submit", "ls", "-l", "--all"], None),
        (["submit", "--wait", "ls"], None),
    ],
)
def test_a_flag_of_ours_behind_the_command_is_pointed_out(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], typed: list[str], flag: str | None
) -> None:
    """It may have been meant for us; a `--` says that it was not."""
    assert tree.main(typed) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "stands behind" in line]
    said = (
        f"note: `{flag}` stands behind the command and goes to it; "
        f"before it, it is hpc's: hpc {typed[0]} {flag} ... -- CMD"
    )
    assert notes == ([] if flag is None else [said])


def test_every_flag_of_submit_reaches_its_field(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed is what is sent."""
    words = [
        "submit", "--key", "k", "--priority", "-3", "--array", "0-9", "--time-limit", "10m",
        "--grace", "2", "--env", "A=b=c", "--cwd", str(tmp_path), "--stdin", "in.txt",
        "--stdout", "o/%j.%a", "--stderr", "e", "--on-cut-off", "stop", "--batch-id", "mine",
        "--warn-signal", "SIGUSR1@1m", "--output-limit", "10M", "--ulimit", "nofile=64",
        "--ulimit", "core=unlimited", "--", "make all && make check",
    ]  # fmt: skip
    assert tree.main(words) == 0
    assert "at most 10 min, USR1 1 min before, output 10 MiB" in capsys.readouterr().err
    ctx, spec = sent(hub)["ctx"], sent(hub)["spec"]
    assert ctx == {"ns_id": "batch", "job_id": "k", "tasks": "0-9", "priority": -3}
    assert spec["env"]["A"] == "b=c"
    assert hub.asked[0].body["id"] == "mine"
    del spec["env"]
    assert int(spec.pop("umask"), 8) == own_umask()
    assert spec == {
        "command": "make all && make check", "cpu": 1, "memory": 1024, "enforce_memory": False,
        "time_limit": 600.0, "grace": 2.0, "cwd": str(tmp_path),
        "stdin": str(tmp_path / "in.txt"), "stdout": "o/%j.%a", "stderr": "e", "on_cut_off": "stop",
        "warn_signal": "USR1@60", "output_limit": 10 << 20,
        "ulimits": {"nofile": 64, "core": "unlimited"},
    }  # fmt: skip


def test_another_namespace_takes_its_spec_as_json(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """A namespace that this command line has never heard of can be used."""
    hub.routes["POST", "/ingest"] = answer({"id": "b", "first_seq": 9, "count": 1, "jobs": []})
    words = ["submit", "--ns", "hello", "--kind", "Greet", "--spec", '{"who": "x"}']
    assert tree.main(words) == 0
    assert sent(hub) == {"ctx": {"ns_id": "hello"}, "spec": {"who": "x"}}
    assert capsys.readouterr().out == ""


def test_retry_with_memory_says_so(hub: CannedHub) -> None:
    """In MiB, as the Hub books it; without it nothing of it is sent."""
    assert tree.main(["job", "retry", "7", "--memory", "2G"]) == 0
    assert sent(hub)["spec"] == {"resources": {"memory_mib": 2048}}
    assert tree.main(["job", "retry", "7"]) == 0
    *_, body = [request.body for request in hub.asked if request.path == "/ingest"]
    assert body["events"][0]["payload"]["spec"] == {}


@pytest.mark.parametrize("words", [["run"], ["submit"], ["submit", "--from-json", "graph.json"]])
def test_what_is_piped_in_cannot_be_a_tasks_stdin(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    """It would be looked for as a file called `-` on another machine; one that is so is `./-`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graph.json").write_text('{"jobs": [{"id": "a", "command": "cat"}]}')
    command = [] if "--from-json" in words else ["--", "cat"]
    assert tree.main([*words, "--stdin", "-", *command]) == (125 if words == ["run"] else 2)
    assert "--stdin data.txt" in capsys.readouterr().err
    assert hub.asked == []
    if command:
        assert tree.main([*words, "--stdin", "./-", *command]) == 0
        assert sent(hub)["spec"]["stdin"] == str(tmp_path / "-")
