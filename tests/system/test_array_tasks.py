"""Tasks by the range, from the command line to the files that tasks write."""

from __future__ import annotations

import json
from pathlib import Path

from commands import succeed

from hpc.client import Client
from hpc.testing.processes import Cluster

HOSTILE = ["a b", "$(touch pwned)", "'; touch pwned; '", '"`touch pwned`"', "*", "-n", "ü"]


def hpc(cluster: Cluster, folder: Path, *words: str, stdin: str = "") -> str:
    """Run a command of ours in a folder; returns its stdout."""
    return succeed(cluster, *words, folder=folder, stdin=stdin).stdout


def submitted(cluster: Cluster, folder: Path, *words: str, stdin: str = "") -> str:
    """Submit and wait; returns the job's id."""
    small = ["submit", "--memory", "16", "--wait", *words]
    return hpc(cluster, folder, *small, stdin=stdin).splitlines()[-1]


def test_every_combination_of_lists_runs_once(cluster: Cluster, tmp_path: Path) -> None:
    """As GNU parallel would do it here, on whichever relay."""
    cluster.relay("n1")
    cluster.relay("n2")
    here = tmp_path / "here"
    here.mkdir()

    job_id = submitted(
        cluster,
        here,
        "--",
        "cp",
        "/dev/null",
        "{1}-{2/.}-{#}",
        ":::",
        "a",
        "b",
        ":::",
        "d/x.y",
        "z",
    )

    assert {path.name for path in here.iterdir()} == {"a-x-1", "a-z-2", "b-x-3", "b-z-4"}
    told = list(cluster.client().tasks(job_id))
    assert [row["entry"] for row in told] == [
        ["a", "d/x.y"], ["a", "z"], ["b", "d/x.y"], ["b", "z"],
    ]  # fmt: skip


def test_values_of_a_line_are_never_run(cluster: Cluster, tmp_path: Path) -> None:
    """Whatever a file is called, a line of the shell gets its name whole, bare and quoted."""
    cluster.relay()
    here = tmp_path / "here"
    here.mkdir()
    line = (
        r"""printf '%s\n' {} "<{}>" '({})' "$(printf '%s' "{}")" "$HPC_ENTRY" > "$HPC_TASK_ID" """
    )

    submitted(cluster, here, "--each-line", "-", "--", line, stdin="\n".join(HOSTILE))

    assert sorted(path.name for path in here.iterdir()) == [str(n) for n in range(len(HOSTILE))]
    for number, value in enumerate(HOSTILE):
        lines = (here / str(number)).read_text().split("\n")
        assert lines == [value, f"<{value}>", f"({value})", value, value, ""]


def test_words_get_their_values_as_they_are(cluster: Cluster, tmp_path: Path) -> None:
    """Executed directly, from a file of lines; also where the program is what differs."""
    cluster.relay()
    here = tmp_path / "here"
    here.mkdir()
    for name in HOSTILE:
        script = here / f"{name}.sh"
        script.write_text('#!/bin/sh\nprintf %s "$1" > "$HPC_TASK_ID"\n')
        script.chmod(0o755)
    (tmp_path / "lines").write_text("".join(f"./{name}.sh\n" for name in HOSTILE))

    job_id = submitted(cluster, here, "--each-line", str(tmp_path / "lines"), "--", "{}", "<{/.}>")

    assert cluster.client().info(job_id)["counts"]["succeeded"] == len(HOSTILE)
    for number, value in enumerate(HOSTILE):
        assert (here / str(number)).read_text() == f"<{value}>"


def test_a_program_that_is_missing_is_named_for_its_task(cluster: Cluster, tmp_path: Path) -> None:
    """One bad entry fails one task."""
    cluster.relay()
    job = cluster.client().submit(
        ["{}"], entries=["true", "no-such-program", ""], expand=True, memory=16
    )
    job.wait(30)

    good, missing, empty = job.tasks()
    assert good["state"] == "succeeded"
    assert (missing["exit_code"], missing["cause"]) == (127, "not found")
    assert "no-such-program" in missing["detail"]
    assert (empty["state"], empty["cause"]) == ("failed", "refused")


def test_elements_of_a_json_list_and_steps(cluster: Cluster, tmp_path: Path) -> None:
    """Text as it is, anything else as JSON; and only the numbers that were named."""
    cluster.relay()
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "list.json").write_text('["a b", {"lr": 0.5}, [1, "x"]]')
    line = 'printf %s "$HPC_ENTRY" > "$HPC_TASK_ID.entry"; printf %s {1} > "$HPC_TASK_ID.first"'

    submitted(cluster, here, "--from-json", str(tmp_path / "list.json"), "--", line)

    entries = [(here / f"{task}.entry").read_text() for task in range(3)]
    assert entries == ["a b", '{"lr":0.5}', '[1,"x"]']
    firsts = [(here / f"{task}.first").read_text() for task in range(3)]
    assert firsts == ["a b", '{"lr":0.5}', "1"]

    submitted(cluster, here, "--array", "0-20:5,3", "--", 'touch "$HPC_TASK_ID.step"')
    steps = {int(path.stem) for path in here.glob("*.step")}
    assert steps == {0, 3, 5, 10, 15, 20}


def test_signs_of_a_job_without_entries_are_its_own(cluster: Cluster, tmp_path: Path) -> None:
    """`find -exec` means its own braces, also in an array."""
    cluster.relay()
    here = tmp_path / "here"
    here.mkdir()
    (here / "x").write_text("")

    submitted(
        cluster, here, "--array", "0-1", "--", "find", "x", "-exec", "cp", "{}", "{}.copy", ";"
    )

    assert {path.name for path in here.iterdir()} == {"x", "x.copy"}


def test_a_list_in_pieces_runs_each_line_once(cluster: Cluster, tmp_path: Path) -> None:
    """What is longer than an event joins one job; each task finds its own line."""
    cluster.relay()
    here = tmp_path / "here"
    here.mkdir()
    lines = [f"{number:03}{'x' * 20_000}" for number in range(100)]
    (tmp_path / "lines").write_text("\n".join(lines))

    job_id = submitted(
        cluster, here, "--each-line", str(tmp_path / "lines"), "--",
        'printf "%.3s" {} > "$HPC_TASK_ID"',
    )  # fmt: skip

    client = cluster.client()
    assert client.info(job_id)["tasks"] == "0-99"
    assert [(here / str(number)).read_text() for number in range(100)] == [
        line[:3] for line in lines
    ]
    kinds = [event["kind"] for event in client.events() if event["kind"] == "SubmitJob"]
    assert len(kinds) > 1
    assert [row["entry"] for row in client.tasks(job_id)] == lines


def test_tasks_are_told_one_by_one_also_after_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    """What each used and how it ended is read from the log, page by page and by state."""
    cluster.relay()
    client = cluster.client()
    job = client.submit("exit $((HPC_TASK_ID % 3))", memory=16, tasks="0-29")
    job.wait(60)

    rows = list(job.tasks())
    assert [row["task"] for row in rows] == list(range(30))
    for row in rows:
        assert row["exit_code"] == row["task"] % 3
        assert row["state"] == ("failed" if row["task"] % 3 else "succeeded")
        assert (row["attempt"], row["node_id"], row["entry"]) == (1, "n1", None)
        assert 0 <= row["duration_s"] == (row["finished_at"] - row["started_at"]) / 1000
        assert row["cpu_seconds"] > 0
    failed = list(job.tasks(state="failed"))
    assert failed == [row for row in rows if row["state"] == "failed"]
    assert list(client.tasks(job.id, after=9, limit=5)) == rows[10:15]

    shown = json.loads(
        hpc(cluster, tmp_path, "job", "tasks", job.id, "--json", "--limit", "2", "--after", "27")
    )
    assert [row["task"] for row in shown["data"]] == [28, 29]

    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()
    again = Client(home=cluster.home)
    assert list(again.tasks(job.id)) == rows
    again.close()
