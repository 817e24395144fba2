"""`hpc submit --from-json FILE` without a command: a graph of jobs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from canned_hub import CannedHub

from hpc.cli import tree
from hpc.cli.submit import own_umask


def test_options_are_what_the_jobs_of_a_graph_fall_back_on(
    hub: CannedHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was typed is for all of them, but for those that say otherwise."""
    jobs = [{"id": "a", "command": "a"}, {"id": "b", "command": ["b"], "cpu": 1, "after": ["a"]}]
    (tmp_path / "g.json").write_text(json.dumps({"jobs": jobs}))
    words = [
        "submit", "--from-json", str(tmp_path / "g.json"), "--key", "k", "--cpu", "3", "--name",
        "n", "--memory", "1G", "--time-limit", "1m", "--retries", "2", "--retry-on", "lost,oom,3",
        "--cwd", str(tmp_path), "--stdin", "in", "--env", "A=1", "--hold", "--priority", "7",
    ]  # fmt: skip
    assert tree.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["data"]
    assert told == {"batch_id": "b", "tasks": 2, "jobs": {"a": "k.a", "b": "k.b"}}
    a, b = [event["payload"] for event in hub.asked[0].body["events"]]
    assert a["ctx"] == {
        "ns_id": "batch", "job_id": "k.a", "name": "n", "hold": True, "priority": 7,
    }  # fmt: skip
    assert b["ctx"] == {**a["ctx"], "job_id": "k.b", "after": ["k.a"]}
    assert a["spec"].pop("env")["A"] == "1"
    assert a["spec"] == {
        "command": "a", "cpu": 3, "memory": 1024, "enforce_memory": True, "time_limit": 60.0,
        "retries": 2, "retry_on": ["lost", "oom", 3], "cwd": str(tmp_path),
        "stdin": str(tmp_path / "in"),
        "umask": f"{own_umask():03o}",
    }  # fmt: skip
    assert (b["spec"]["cpu"], b["spec"]["args"]) == (1, [])


def test_the_ids_of_a_graph_are_the_lines_of_stdout(
    hub: CannedHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`hpc job wait $(hpc submit --from-json f)` works, and `last` is the last."""
    text = '{"jobs": [{"id": "b", "command": "b", "after": ["a"]}, {"id": "a", "command": "a"}]}'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert tree.main(["submit", "--from-json", "-", "--key", "k"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "k.b\nk.a\n"
    assert shown.err == "graph k submitted: 2 jobs, 2 tasks; look at it: hpc job list\n"
    assert json.loads((tmp_path / "last-job.json").read_text()) == {"job_id": "k.a"}
