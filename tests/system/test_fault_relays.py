"""Relays that freeze, that share a name, that a task takes down with it, and a real Hub."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from hpc.testing.processes import Cluster, Process, until

# Of whoever runs it: its supervisor, the guard above, the relay above that.
KILLS_ALL = (
    "s=$PPID; g=$(cut -d' ' -f4 /proc/$s/stat); r=$(cut -d' ' -f4 /proc/$g/stat); "
    "echo $HPC_NODE_ID >> {0}; while ! test -e {0}.$HPC_ATTEMPT; do sleep 0.02; done; "
    "kill -9 $r $g $s; sleep 600"
)


def _is_supervisor(process: psutil.Process) -> bool:
    try:
        return "hpc.relay.supervisor" in process.cmdline()
    except psutil.Error:  # a task's, which has just ended
        return False


@contextmanager
def _frozen(relay: Process) -> Iterator[None]:
    """Relay, guard and supervisor hear nothing and do nothing, as on a machine that sleeps."""
    below = psutil.Process(relay.pid).children(recursive=True)
    ours = [relay.pid, *(process.pid for process in below if _is_supervisor(process))]
    assert len(ours) == 3
    for pid in ours:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in ours:
            os.kill(pid, signal.SIGCONT)


def _state(cluster: Cluster) -> str:
    (node,) = cluster.client().nodes()
    return str(node["state"])


def _ticks(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize("how", ["stop", "finish"])
def test_fault_22_a_relay_that_freezes_past_its_lease(
    cluster: Cluster, tmp_path: Path, how: str
) -> None:
    """On waking it ends a `stop` task before anything else; a `finish` task goes on; one result."""
    relay = cluster.relay("n1")
    file = tmp_path / "ticks"
    tick = f"echo $HPC_ATTEMPT >> {file}"
    job = cluster.client().submit(
        f"while ! test -e {tmp_path}/end; do {tick}; sleep 0.02; done", memory=16, on_cut_off=how
    )
    until(lambda: _ticks(file))
    with _frozen(relay):
        until(lambda: _state(cluster) == "unreachable")
    if how == "stop":
        # SIGTERM at once: nothing of it is left by the time that the next attempt begins.
        until(lambda: "2" in _ticks(file))
        assert _ticks(file) == sorted(_ticks(file)), "never two at once"
    else:
        until(lambda: _state(cluster) == "up")
    (tmp_path / "end").touch()
    info = job.wait(30)
    assert info["state"] == "succeeded"
    states = [attempt["state"] for attempt in info["attempts"]]
    assert states.count("succeeded") == 1
    assert set(_ticks(file)) == ({"1", "2"} if how == "stop" else {"1"})


def test_fault_25_the_second_relay_of_a_name_waits_and_says_who_has_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Two machines with one name, each with a state folder of its own, as a cold copy has."""
    first = cluster.relay("n1")
    job = cluster.client().submit("true", memory=16)
    assert job.wait(30)["state"] == "succeeded"
    other = tmp_path / "other"
    other.mkdir(0o700)
    access = (cluster.home / "access.json").read_bytes()
    (other / "access.json").touch(0o600)
    (other / "access.json").write_bytes(access)
    log = tmp_path / "second.log"
    second = _second(cluster, other, log)
    try:
        until(lambda: "n1" in log.read_text() and "--takeover" in log.read_text())
        assert second.poll() is None
        assert first.popen.poll() is None
        job = cluster.client().submit("echo $PPID", memory=16)
        assert job.wait(30)["state"] == "succeeded"
        runner = psutil.Process(int(b"".join(job.log())))
        assert first.pid in [above.pid for above in runner.parents()]
        # Once the first is gone for a lease, the second is served.
        first.kill()
        job = cluster.client().submit("true", memory=16)
        assert job.wait(30)["state"] == "succeeded"
    finally:
        second.kill()
        second.wait()


def _second(cluster: Cluster, home: Path, log: Path) -> psutil.Popen:
    command = ["-m", "hpc", "relay", "--ns", "batch", "--node-id", "n1", "--cpus", "1"]
    with log.open("ab") as stderr:
        env = {**cluster.env, "HPC_HOME": str(home)}
        return psutil.Popen([cluster.python, *command], env=env, stdout=stderr, stderr=stderr)


def test_fault_48_a_task_that_kills_its_relay_is_not_run_for_ever(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Three relays are enough; it has failed, they are named, and the others work on."""
    file = tmp_path / "killed"
    relays = [cluster.relay(f"n{number}", cpus=1) for number in (1, 2, 3, 4)]
    client = cluster.client()
    job = client.submit(KILLS_ALL.format(file), memory=16, on_cut_off="stop")
    for attempt in (1, 2, 3):
        # Whoever is lost before the Hub knows that it has started counts for nothing.
        until(lambda attempt=attempt: len(job.info()["attempts"]) == attempt)
        until(lambda: job.info()["attempts"][-1]["state"] == "running")
        Path(f"{file}.{attempt}").touch()
    info = job.wait(60)
    assert info["state"] == "failed"
    assert [attempt["cause"] for attempt in info["attempts"]] == ["lost"] * 3
    assert [attempt["node_id"] for attempt in info["attempts"]] == _ticks(file)
    assert len(set(_ticks(file))) == 3
    ended_s = time.monotonic()
    assert client.submit("true", memory=16).wait(30)["state"] == "succeeded"
    assert time.monotonic() - ended_s < 5
    assert sum(relay.popen.poll() is None for relay in relays) == 1
