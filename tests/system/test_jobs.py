"""Real commands on real relays; what is asserted is what the tasks left outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import HEEDING
from commands import run as hpc
from lossy_proxy import LossyProxy
from marks import marking, marks, starts

from hpc.client import Job
from hpc.submission import batch_spec, submit_event
from hpc.testing.processes import Cluster, until


def counts(job: Job) -> dict[str, int]:
    """Tasks by state."""
    info: dict[str, Any] = job.info()
    return dict(info["counts"])


def daemon(pid_file: Path) -> str:
    """A shell command that leaves a process outside its session, which writes its id down.

    The file appears with its text in it, so that whoever sees it can read it.
    """
    new = pid_file.with_suffix(".new")
    return f"(setsid sh -c 'echo $$ > {new}; mv {new} {pid_file}; exec sleep 1000' &)"


def alive(pid_file: Path) -> bool:
    """Whether the process whose id a task wrote down lives."""
    return psutil.pid_exists(int(pid_file.read_text()))


def test_a_command_runs_and_says_how_it_ended(cluster: Cluster, tmp_path: Path) -> None:
    """The whole way: submit, claim, run, report, log."""
    cluster.relay()
    client = cluster.client()
    command = f"{marking(tmp_path)}; echo out; echo err >&2; exit 7"

    job = client.submit(command, memory=64, cwd=str(tmp_path))
    info = job.wait(30)

    assert info["state"] == "failed"
    (attempt,) = info["attempts"]
    assert (attempt["exit_code"], attempt["cause"], attempt["node_id"]) == (7, "exit", "n1")
    assert attempt["finished_at"] >= attempt["started_at"] > 0
    assert b"".join(job.log()) == b"out\n"
    assert b"".join(job.log(stream="stderr")) == b"err\n"
    assert marks(tmp_path) == [(0, 1, "n1")]


def test_a_short_task_waits_for_two_commits(cluster: Cluster) -> None:
    """The submit shares one with its lease, the start one with the end: more wait for a disk."""
    cluster.relay()
    client = cluster.client()

    def commits() -> int:
        return int(cluster.http().get("/healthz", [("full", "true")]).json()["commits"])

    def cost() -> tuple[int, int]:
        before = commits()
        job = client.submit("true", memory=16)
        job.wait(30)
        events = client.read("/events", [("job", job.id)])["data"]
        reports = {
            event["id"] for event in events if event["kind"] in ("JobStarted", "JobFinished")
        }
        return commits() - before, len(reports)

    # A machine that is busy may take longer than a start waits for its end, 50 ms.
    assert min(cost() for _ in range(10)) == (2, 1)


def test_each_task_finds_its_entry(cluster: Cluster, tmp_path: Path) -> None:
    """Text as it is, anything else as JSON, by task number whatever part a relay was granted."""
    cluster.relay("n1")
    cluster.relay("n2")
    client = cluster.client()
    command = f'printf %s "$HPC_ENTRY" > {tmp_path}/$HPC_TASK_ID.entry'
    event = submit_event("batch", batch_spec(command, memory=16), job_id="listed", tasks="0-2,7")
    event["payload"]["ctx"]["entries"] = ["a b", 7, {"x": [1]}, ""]

    client.ingest([event])

    assert client.wait("listed", timeout_s=30)["state"] == "succeeded"
    found = {task: (tmp_path / f"{task}.entry").read_text() for task in (0, 1, 2, 7)}
    assert found == {0: "a b", 1: "7", 2: '{"x":[1]}', 7: ""}


def test_two_relays_share_an_array_and_run_each_task_once(cluster: Cluster, tmp_path: Path) -> None:
    """300 tasks on two relays: each once, and both took part."""
    cluster.relay("n1")
    cluster.relay("n2")

    info = (
        cluster.client().submit(marking(tmp_path, "sleep 0.01"), tasks="0-299", memory=16).wait(60)
    )

    assert info["state"] == "succeeded"
    assert info["counts"]["succeeded"] == 300
    assert starts(tmp_path) == dict.fromkeys(range(300), 1)
    assert {node for _, _, node in marks(tmp_path)} == {"n1", "n2"}


def test_the_log_of_a_running_job_can_be_followed(cluster: Cluster, tmp_path: Path) -> None:
    """Output is there while the task runs, and the rest when it has ended."""
    cluster.relay()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = cluster.client().submit(f"echo first; cat {gate}; echo last", memory=64)
    pieces = cluster.client().log(job.id, None, follow=True)
    read = iter(pieces)

    assert next(read) == b"first\n"
    gate.write_text("between\n")
    assert b"".join(read) == b"between\nlast\n"
    pieces.close()


def test_the_last_lines_of_a_log_are_printed_and_followed(cluster: Cluster, tmp_path: Path) -> None:
    """`-n` as of `tail`: of what there is the last lines; with `-f` then all that comes."""
    cluster.relay()
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = cluster.client().submit(f"seq 5; seq 7 9 >&2; cat {gate}", memory=64)
    until(lambda: b"".join(job.log()) == b"1\n2\n3\n4\n5\n")
    until(lambda: b"".join(job.log(stream="stderr")) == b"7\n8\n9\n")
    command = [sys.executable, "-m", "hpc", "job", "log", job.id]

    def run(*more: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *more], env=cluster.env, stdout=pipe, stderr=pipe, text=True
        )

    assert run("-n", "2").communicate(timeout=30) == ("4\n5\n", "8\n9\n")
    assert run("--stderr", "-n", "1").communicate(timeout=30) == ("", "9\n")
    following = run("-f", "-n", "1")
    assert following.stdout is not None
    assert following.stdout.readline() == "5\n"
    gate.write_text("6\n")
    assert following.communicate(timeout=30) == ("6\n", "9\n")


LONG = "head -c 700000 /dev/urandom | tee {copy}"


def test_long_output_is_read_whole_after_the_task_has_ended(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The report carries both ends; the Hub asks the relay for the rest when somebody reads it."""
    cluster.relay()
    copy = tmp_path / "copy"
    job = cluster.client().submit(LONG.format(copy=copy), memory=64)
    assert job.wait(30)["state"] == "succeeded"

    assert b"".join(job.log()) == copy.read_bytes()
    with cluster.client().log(job.id) as again:
        assert again.headers.get("hpc-note") is None
        assert b"".join(again) == copy.read_bytes()


def test_long_output_is_followed_whole(cluster: Cluster, tmp_path: Path) -> None:
    """What a task writes at its very end is not lost to who follows it."""
    cluster.relay()
    copy, gate = tmp_path / "copy", tmp_path / "gate"
    os.mkfifo(gate)
    job = cluster.client().submit(f"cat {gate}; {LONG.format(copy=copy)}", memory=64)
    followed = job.log(follow=True)
    gate.write_text("go\n")

    assert b"".join(followed) == b"go\n" + copy.read_bytes()


def test_run_prints_all_over_a_restart_of_the_hub(cluster: Cluster, tmp_path: Path) -> None:
    """A Hub that ends in order breaks streams off; who follows opens them again."""
    cluster.relay()
    copy, gate = tmp_path / "copy", tmp_path / "gate"
    os.mkfifo(gate)
    command = f"echo first; cat {gate}; {LONG.format(copy=copy)}"
    run = subprocess.Popen(
        [sys.executable, "-m", "hpc", "run", "--", "sh", "-c", command],
        env=cluster.env,
        stdout=subprocess.PIPE,
    )
    try:
        assert run.stdout is not None
        assert run.stdout.readline() == b"first\n"
        assert cluster.hub is not None

        cluster.hub.terminate()
        cluster.start_hub()
        gate.write_text("go\n")

        assert run.stdout.read() == b"go\n" + copy.read_bytes()
        assert run.wait(30) == 0
    finally:
        run.kill()


@pytest.mark.parametrize("stderr", [subprocess.PIPE, subprocess.STDOUT], ids=["|", "2>&1 |"])
def test_run_ends_its_job_when_nobody_reads_it(cluster: Cluster, stderr: int) -> None:
    """`hpc run -- yes | head -1` ends as `yes | head -1` does, and leaves nothing running."""
    cluster.relay()
    run = subprocess.Popen(
        [sys.executable, "-m", "hpc", "run", "--", "yes"],
        env=cluster.env,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == b"y\n"
    run.stdout.close()

    assert run.wait(30) == 141
    if run.stderr is not None:
        said = run.stderr.read().decode()
        run.stderr.close()
        assert "Traceback" not in said, said
    (job,) = cluster.client().jobs()
    assert job["state"] == "cancelled"


def test_sigterm_to_run_cancels_its_job(cluster: Cluster, tmp_path: Path) -> None:
    """`timeout 10 hpc run ...` must not leave a job behind that nobody knows of."""
    cluster.relay()
    run = subprocess.Popen(
        [sys.executable, "-m", "hpc", "run", "--", "sh", "-c", f"{marking(tmp_path)}; sleep 1000"],
        env=cluster.env,
    )
    until(lambda: marks(tmp_path))

    run.terminate()

    assert run.wait(30) == 143
    (job,) = cluster.client().jobs()
    assert job["state"] == "cancelled"


ENDS_SLOWLY = """
import os, signal, sys, time

def end(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open("asked", "x").close()
    while not os.path.exists("may-end"):
        time.sleep(0.02)
    print("saved")
    print("what was half done is thrown away", file=sys.stderr)
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
print("begun", flush=True)
signal.pause()
"""


def interruptible(
    cluster: Cluster,
    words: list[str],
    *,
    env: dict[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.Popen[str]:
    """Start `hpc run`, which heeds SIGINT and SIGHUP also where the tests run in the background."""
    return subprocess.Popen(
        [*HEEDING, "run", *words],
        env={**cluster.env, **(env or {})},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_a_cancelled_task_writes_in_its_grace_is_printed(
    cluster: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    """The last lines before an end are those that say what was saved."""
    cluster.relay()
    (tmp_path / "ends.py").write_text(ENDS_SLOWLY)
    words = ["--grace", "60", "--", sys.executable, "ends.py"]
    run = interruptible(cluster, words, env={"PWD": str(tmp_path)}, folder=tmp_path)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"

    run.send_signal(number)
    until((tmp_path / "asked").exists)
    # The job is settled, and its streams are followed on.
    (job,) = cluster.client().jobs()
    assert job["state"] == "cancelled"
    assert run.poll() is None
    (tmp_path / "may-end").touch()

    out, err = run.communicate(timeout=30)
    assert run.returncode == 128 + number
    assert out == "saved\n"
    assert "what was half done is thrown away\n" in err
    assert err.endswith(f"job {job['job_id']} cancelled: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_at_once_cancel_as_one_does(cluster: Cluster, number: signal.Signals) -> None:
    """`timeout` sends its signal to the command and to its group."""
    cluster.relay()
    for gap_s in (0.0, 0.0005, 0.003):
        run = interruptible(cluster, ["--", "sh", "-c", "echo begun; exec sleep 600"])
        assert run.stdout is not None
        assert run.stdout.readline() == "begun\n"

        run.send_signal(number)
        time.sleep(gap_s)  # what is tested
        run.send_signal(number)

        _, err = run.communicate(timeout=30)
        assert run.returncode == 128 + number
        assert err.endswith("cancelled: interrupted\n")
    assert {job["state"] for job in cluster.client().jobs()} == {"cancelled"}


def test_output_in_a_file_of_its_own_is_pointed_to(cluster: Cluster, tmp_path: Path) -> None:
    """`job log` names the file that the task has really written, and the node."""
    cluster.relay("n1")
    name = "out.%j.%a.%N.%%.%x"
    words = ["--array", "3-4", "--key", "filed", "--stdout", name, "--", "sh", "-c"]
    done = hpc(cluster, "submit", *words, "echo out $HPC_TASK_ID; echo err >&2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert hpc(cluster, "job", "wait", "filed").returncode == 0

    shown = hpc(cluster, "job", "log", "filed", "--task", "4")

    path = tmp_path / "out.filed.4.n1.%.%x"
    assert shown.stderr == f"note: stdout of task 4 of job filed is in {path} on node n1\nerr\n"
    assert (shown.returncode, shown.stdout) == (4, "")
    assert path.read_text() == "out 4\n"
    assert hpc(cluster, "job", "log", "filed", "--stderr").returncode == 0


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({"command": "sleep 1000", "time_limit": 2}, "time limit"),
        ({"command": "head -c 200000000 /dev/zero | tail | sleep 1000", "memory": 64}, "oom"),
    ],
    ids=["time limit", "memory"],
)
def test_a_limit_ends_the_whole_tree_and_is_named(
    cluster: Cluster, tmp_path: Path, how: dict[str, Any], cause: str
) -> None:
    """No process outlives the task, a daemonised one neither."""
    cluster.relay()
    pid = tmp_path / "pid"
    limit = {"memory": 64, **how}
    # Only a daemon that lives when the limit is met can outlive the task.
    begun = f"{daemon(pid)}; while ! test -e {pid}; do sleep 0.05; done"
    command = f"{begun}; {limit.pop('command')}"

    info = cluster.client().submit(command, **limit).wait(30)

    assert info["state"] == "failed"
    assert info["attempts"][-1]["cause"] == cause
    assert pid.exists(), "the limit was met before the daemon had begun"
    until(lambda: not alive(pid))


def test_cancel_ends_the_whole_tree(cluster: Cluster, tmp_path: Path) -> None:
    """A cancel settles at once, and the relay is told at once."""
    cluster.relay()
    pid = tmp_path / "pid"
    job = cluster.client().submit(
        f"{daemon(pid)}; trap '' TERM; sleep 1000",
        memory=64,
        grace=0.2,
    )
    until(pid.exists)

    job.cancel(reason="because I can")

    assert job.info()["state"] == "cancelled"
    (settled,) = job.info()["settled"]
    assert settled == {
        "tasks": "0", "state": "cancelled", "cause": "cancelled", "reason": "because I can"
    }  # fmt: skip
    until(lambda: not alive(pid))


def test_fault_19_no_descendant_outlives_a_killed_relay(cluster: Cluster, tmp_path: Path) -> None:
    """The supervisor ends every descendant within a second, double forks included."""
    relay = cluster.relay()
    pid = tmp_path / "pid"
    cluster.client().submit(f"{daemon(pid)}; sleep 1000", memory=64)
    until(pid.exists)

    relay.kill()

    until(lambda: not alive(pid), 1.0)


def test_fault_19_tasks_of_a_killed_relay_run_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    """A reborn relay is a newer epoch that holds nothing: what it had is queued at once."""
    relay = cluster.relay("n1")
    job = cluster.client().submit(
        marking(tmp_path, "test $HPC_ATTEMPT = 2 || sleep 1000"), memory=64
    )
    until(lambda: marks(tmp_path))

    relay.kill()
    cluster.relay("n1")

    assert job.wait(30)["state"] == "succeeded"
    assert marks(tmp_path) == [(0, 1, "n1"), (0, 2, "n1")]


def test_fault_24_a_task_goes_on_while_the_hub_is_away_for_twice_the_lease(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A Hub that is away costs nobody a computation: it runs once, its end is told later."""
    cluster.relay()
    client = cluster.client()
    gate = tmp_path / "gate"
    job = client.submit(marking(tmp_path, f"while ! test -e {gate}; do sleep 0.1; done"), memory=64)
    until(lambda: marks(tmp_path))
    assert cluster.hub is not None

    cluster.hub.kill()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 2 * cluster.lease_s)
    gate.touch()
    cluster.start_hub()

    assert job.wait(30)["state"] == "succeeded"
    assert starts(tmp_path) == {0: 1}


def test_a_claim_reply_that_is_lost_costs_no_run(cluster: Cluster, tmp_path: Path) -> None:
    """The Hub has granted, the relay does not know: it is told again, and runs each task once."""
    with LossyProxy(cluster.port, b'"grants":[{') as proxy:
        cluster.relay("n1", "--hub-url", proxy.url)

        info = cluster.client().submit(marking(tmp_path), tasks="0-3", memory=16).wait(30)

        assert proxy.lost.is_set()
    assert info["state"] == "succeeded"
    assert starts(tmp_path) == dict.fromkeys(range(4), 1)


def test_fault_21_a_relay_drains_on_sigterm(cluster: Cluster, tmp_path: Path) -> None:
    """Running tasks finish, queued ones go back and count for nothing, and the node leaves."""
    relay = cluster.relay("n1", "--grace", "20", cpus=1)
    gate = tmp_path / "gate"
    job = cluster.client().submit(
        marking(tmp_path, f"while ! test -e {gate}; do sleep 0.05; done"), tasks="0-1", memory=16
    )
    until(lambda: marks(tmp_path))

    relay.popen.send_signal(signal.SIGTERM)
    gate.touch()
    assert relay.popen.wait(30) == 0

    nodes = cluster.http().get("/nodes").json()["data"]
    assert [node["state"] for node in nodes] == ["left"]
    cluster.relay("n2")
    assert job.wait(30)["state"] == "succeeded"
    assert starts(tmp_path) == {0: 1, 1: 1}


def test_a_waiting_job_says_why(cluster: Cluster) -> None:
    """In a sentence that names what is missing."""
    client = cluster.client()
    small = client.submit("true", memory=16)
    assert small.info()["why"] == "no relay follows `batch`"

    cluster.relay(cpus=2)
    assert small.wait(30)["state"] == "succeeded"

    large = client.submit("true", cpu=64, memory=16)
    assert large.info()["why"] == "needs 64 cpus, the largest relay has 2"


def test_higher_priority_goes_first(cluster: Cluster, tmp_path: Path) -> None:
    """Priority, then order of submission."""
    client = cluster.client()
    for name, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 5)):
        command = f"echo {name} >> {tmp_path / 'order'}"
        client.submit(command, key=name, priority=priority, memory=16)
    cluster.relay(cpus=1)

    for name in ("low", "first", "second", "high"):
        client.wait(name, timeout_s=30)

    assert (tmp_path / "order").read_text().split() == ["high", "first", "second", "low"]


def test_many_ids_are_cancelled_and_waited_for_by_one_command(cluster: Cluster) -> None:
    """More than one request asks for; those that are over already are told too."""
    events = [
        {
            "kind": "SubmitJob",
            "payload": {
                "ctx": {"ns_id": "batch", "job_id": f"many-{number}"},
                "spec": {"command": "true", "cpu": 1, "memory": 16},
            },
        }
        for number in range(450)
    ]
    cluster.client().ingest(events)
    ids = [event["payload"]["ctx"]["job_id"] for event in events]
    said = hpc(cluster, "job", "cancel", *ids)
    assert said.returncode == 0, said.stderr
    assert said.stderr == "450 jobs cancelled\n"
    waited = hpc(cluster, "job", "wait", *ids)
    assert waited.returncode == 1
    first = [f"job {job_id} cancelled" for job_id in ids[:10]]
    assert waited.stdout.splitlines() == [*first, "450 jobs cancelled"]
