"""`hpc map`: many values, each output whole, and the end of all of it with the command."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from commands import HEEDING, run
from commands import succeed as hpc

from hpc.testing.processes import Cluster, until


def test_each_output_is_whole_and_comes_as_its_task_ends(cluster: Cluster, tmp_path: Path) -> None:
    """The second task lets the first one end; with --keep-order it is printed first still."""
    cluster.relay("n1", cpus=2)
    gate = tmp_path / "gate"
    command = (
        "echo begin {}; "
        f"if test {{}} = a; then while ! test -e {gate}; do sleep 0.02; done; fi; "
        f"echo end {{}}; test {{}} = a || touch {gate}"
    )
    words = ("--memory", "16", "--", command, ":::", "a", "b")
    assert hpc(cluster, "map", *words).stdout == "begin b\nend b\nbegin a\nend a\n"
    gate.unlink()
    ordered = hpc(cluster, "map", "-k", *words)
    assert ordered.stdout == "begin a\nend a\nbegin b\nend b\n"
    assert ordered.stderr == "job 2: 2 tasks\n"


def test_what_has_failed_is_counted_and_can_be_run_again(cluster: Cluster) -> None:
    """stderr of tasks is stderr here."""
    cluster.relay("n1", cpus=2)
    words = ("--memory", "16", "--key", "some", "--", "echo {} >&2; test {} != b")
    done = run(cluster, "map", *words, ":::", "a", "b", "c")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert sorted(lines[1:4]) == ["a", "b", "c"]
    assert lines[4:] == [
        "job some: 1 failed of 3 tasks: hpc job tasks some --state failed",
        "",
        "hint: once more: hpc job retry some",
    ]


def test_values_come_from_lines_too_and_so_many_run_at_a_time(cluster: Cluster) -> None:
    """Each task finds that it is alone."""
    cluster.relay("n1", cpus=2)
    alone = "mkdir alone || exit 1; sleep 0.05; rmdir alone; echo {}"
    words = ("map", "-k", "-j", "1", "--memory", "16", "--each-line", "-", "--", alone)
    lines = "".join(f"{n}\n" for n in range(8))
    done = run(cluster, *words, folder=cluster.folder, stdin=lines)
    assert (done.returncode, done.stdout) == (0, lines)


def test_without_values_it_says_what_to_type(cluster: Cluster) -> None:
    """A command alone is `hpc run`."""
    done = run(cluster, "map", "--", "true")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Give a command and values for it\n\nhint: hpc map ")


def test_ctrl_c_cancels_what_is_left(cluster: Cluster, tmp_path: Path) -> None:
    """It would end with the command if it ran here."""
    cluster.relay("n1", cpus=2)
    began = tmp_path / "began"
    command = f"test {{}} = 1 && exit; touch {began}; exec sleep 600"
    mapping = subprocess.Popen(
        [*HEEDING, "map", "--key", "m", "--", command, ":::", "1", "2"],
        env={**os.environ, **cluster.env},
        stderr=subprocess.PIPE,
        text=True,
    )
    with mapping:
        try:
            assert mapping.stderr is not None
            said = mapping.stderr.readline()  # a task may begin before its submit is answered here
            until(began.exists)
            mapping.send_signal(signal.SIGINT)
            said += mapping.communicate(timeout=60)[1]
        finally:
            mapping.kill()
    assert (mapping.returncode, said) == (130, "job m: 2 tasks\ncancelling job m\n")
    assert cluster.client().info("m")["state"] == "cancelled"


def test_a_stream_that_is_known_to_be_empty_is_not_asked_for(cluster: Cluster) -> None:
    """Of many tasks that write to stdout only, that would be half of all requests."""
    cluster.relay("n1", cpus=2)
    client = cluster.client()
    for key, command in (("out", "echo out"), ("both", "echo out; echo err >&2"), ("none", ":")):
        client.submit(command, key=key, memory=16).wait(30)
    known = {}
    for key in ("out", "both", "none"):
        with client.log(key) as pieces:
            known[key] = pieces.headers.get("hpc-empty")
            assert b"".join(pieces) == (b"" if key == "none" else b"out\n")
        with client.log(key, stream="stderr") as pieces:
            assert pieces.headers.get("hpc-empty") is None
    assert known == {"out": "stderr", "both": None, "none": "stderr"}
    mapped = hpc(cluster, "map", "--memory", "16", "--", "echo {}; echo e{} >&2", ":::", "a")
    assert (mapped.stdout, mapped.stderr.splitlines()[-1]) == ("a\n", "ea")
