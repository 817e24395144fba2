"""The life of a relay, with real ones: drained, given a deadline, out of time, idle, lost."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

from commands import succeed as hpc

from hpc.testing.processes import Cluster, until

HOG = "import os,sys\nmib = eval(sys.argv[1], dict(os.environ))\nb = b'x' * (mib << 20)"


def nodes(cluster: Cluster) -> dict[str, Any]:
    return {row["node_id"]: row for row in cluster.client().nodes()}


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def staying(folder: Path, *, ends_on: str) -> str:
    """A command that notes node and process, and ends by itself on one node only."""
    note = f'echo "$HPC_NODE_ID $$" >> {folder}/runs'
    return f'{note}; test "$HPC_NODE_ID" = {ends_on} || exec sleep 600'


def runs(folder: Path) -> list[tuple[str, int]]:
    """Where it has run, and as which process, in order."""
    try:
        lines = (folder / "runs").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(node, int(pid)) for node, pid in map(str.split, lines)]


def test_a_drained_node_ends_what_it_runs_and_takes_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Until it is undrained; why a job waits is told node by node."""
    cluster.relay("n1")
    client = cluster.client()
    gate = tmp_path / "gate"
    waits = f"echo x >> {tmp_path}/began; while ! test -e {gate}; do sleep 0.05; done"
    running = client.submit(waits, memory=16)
    until((tmp_path / "began").exists)

    said = hpc(cluster, "node", "drain", "n1", "--reason", "new disk").stderr
    assert said == "node n1 up, drained; runs 1 task\n"
    later = client.submit("true", memory=16, key="later")
    why = hpc(cluster, "job", "why", "later").stdout.splitlines()
    assert why[0] == "job later: every relay of `batch` is drained"
    assert why[1:] == ["n1: is drained: hpc node undrain n1 (new disk)"]
    told = json.loads(hpc(cluster, "job", "why", "later", "--json").stdout)
    assert told["data"]["nodes"] == client.why("later")["nodes"]

    listed = hpc(cluster, "node", "list").stdout.splitlines()
    assert (listed[0].split()[-1], listed[1].endswith("  new disk")) == ("DRAINED", True)
    # What comes into the log after it does not hide the reason, nor does a Hub that starts again.
    assert cluster.hub is not None
    cluster.hub.kill()
    cluster.start_hub()
    node = hpc(cluster, "node", "info", "n1").stdout
    assert re.search(r"^drained +since \S+Z: new disk$", node, re.MULTILINE)

    gate.touch()
    assert running.wait(30)["state"] == "succeeded"
    assert later.info()["state"] == "queued"
    assert hpc(cluster, "node", "undrain", "n1").stderr.startswith("node n1 up; runs ")
    assert later.wait(30)["state"] == "succeeded"
    then = hpc(cluster, "at", str(told["cursor"]), "job", "why", "later").stdout
    assert then.startswith("job later: ")


def test_at_the_deadline_what_a_drained_node_runs_goes_on_elsewhere(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Its processes are ended, nothing counts as a failure, and the relay stays."""
    relay = cluster.relay("n1")
    job = cluster.client().submit(staying(tmp_path, ends_on="n2"), memory=16)
    (_, pid), *_ = until(lambda: runs(tmp_path))
    cluster.relay("n2")

    began = time.monotonic()
    said = hpc(cluster, "node", "drain", "n1", "--deadline", "2s").stderr
    assert said.startswith("node n1 up, drained; runs 1 task until 20")
    shown = json.loads(hpc(cluster, "node", "info", "n1", "--json").stdout)["data"]
    assert shown["drain_deadline"] in said

    info = job.wait(30)
    assert time.monotonic() - began >= 1.9, "it had its time"
    assert info["state"] == "succeeded"
    assert [node for node, _ in runs(tmp_path)] == ["n1", "n2"]
    assert not is_alive(pid)
    assert [(a["state"], a["cause"]) for a in info["attempts"]] == [
        ("returned", "drain"),
        ("succeeded", None),
    ]
    assert relay.popen.poll() is None
    row = nodes(cluster)["n1"]
    assert (row["state"], row["drained"], row["leases"]) == ("up", True, [])


def test_a_relay_ends_at_its_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    """What it runs then goes on elsewhere; what needs more time than is left never starts there."""
    began = time.monotonic()
    relay = cluster.relay("n1", "--time-limit", "4s", "--grace", "1s")
    client = cluster.client()
    words = ["--key", "long", "--min-time", "1h", "--memory", "16", "--", "true"]
    hpc(cluster, "submit", *words)
    job = client.submit(staying(tmp_path, ends_on="n2"), memory=16)
    (_, pid), *_ = until(lambda: runs(tmp_path))
    (told,) = client.why("long")["nodes"]
    assert (told["node_id"], told["fits"]) == ("n1", False)
    assert told["why"].endswith("it needs 1 h")

    assert relay.popen.wait(30) == 0
    assert time.monotonic() - began >= 4
    assert "its time is nearly over" in relay.log.read_text()
    assert not is_alive(pid)
    assert nodes(cluster)["n1"]["state"] == "left"
    assert client.info("long")["state"] == "queued"
    cluster.relay("n2")
    assert job.wait(30)["state"] == "succeeded"
    assert client.wait("long", timeout_s=30)["state"] == "succeeded"
    assert [attempt["state"] for attempt in job.info()["attempts"]] == ["returned", "succeeded"]


def test_a_relay_that_is_told_to_end_says_what_it_waits_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    """On its stderr, and to the Hub: until it has left, it is shown as draining."""
    relay = cluster.relay("n1", "--grace", "60s")
    client = cluster.client()
    job = client.submit(staying(tmp_path, ends_on="n2"), memory=16)
    until(lambda: runs(tmp_path))
    assert hpc(cluster, "node", "list").stdout.splitlines()[1].split()[:2] == ["n1", "up"]

    relay.popen.send_signal(signal.SIGTERM)
    until(lambda: nodes(cluster)["n1"]["draining"])
    said = until(relay.log.read_text)
    assert "told to end: takes no more work and waits for 1 task, for at most 1 min (until" in said
    assert re.search(r"\(until \d\d:\d\d:\d\d UTC\); then they are ended and run elsewhere", said)
    assert "A second signal ends them now" in said
    assert "n1    up, draining" in hpc(cluster, "node", "list").stdout
    later = client.submit("true", memory=16, key="later")
    why = hpc(cluster, "job", "why", "later").stdout.splitlines()
    assert why == [
        "job later: every relay of `batch` is draining, as it was told to end",
        "n1: is draining, as its relay was told to end",
    ]

    relay.popen.send_signal(signal.SIGTERM)
    assert relay.popen.wait(30) == 0
    assert "told to end again: what runs is ended now" in relay.log.read_text()
    assert [attempt["cause"] for attempt in job.info()["attempts"]] == ["drain"]

    idle = cluster.relay("n1")
    assert nodes(cluster)["n1"]["draining"] is False, "it was a word of the former start"
    client.cancel(job.id)
    assert later.wait(30)["state"] == "succeeded"
    # That it is cancelled is so at once; its relay is told, and ends it.
    until(lambda: not any(is_alive(pid) for _, pid in runs(tmp_path)))
    until(lambda: client.info(job.id)["attempts"][-1]["finished_at"])
    assert idle.terminate() == 0
    assert "told to end: nothing runs; leaves" in idle.log.read_text()


def test_a_relay_without_work_leaves(cluster: Cluster) -> None:
    """Not while a task runs, however long, and with exit code 0."""
    relay = cluster.relay("n1", "--idle-timeout", "1s")
    job = cluster.client().submit("sleep 2", memory=16)
    assert job.wait(30)["state"] == "succeeded"
    ended = time.monotonic()
    assert relay.popen.wait(30) == 0
    assert time.monotonic() - ended >= 0.9
    assert "nothing was leased for 1 s" in relay.log.read_text()
    assert nodes(cluster)["n1"]["state"] == "left"


def test_fault_48_a_task_that_is_lost_three_times_names_its_relays(
    cluster: Cluster, tmp_path: Path
) -> None:
    """`hpc node lost` says that they will not come back; then nothing runs it a fourth time."""
    job = cluster.client().submit(staying(tmp_path, ends_on="none"), memory=16)
    for number in (1, 2, 3):
        relay = cluster.relay(f"n{number}")
        until(lambda number=number: len(runs(tmp_path)) == number)
        until(lambda: job.info()["state"] == "running")
        relay.kill()
        said = hpc(cluster, "node", "lost", f"n{number}").stderr
        assert said == f"node n{number} lost; runs nothing\n"
    assert job.wait(30)["state"] == "failed"
    shown = hpc(cluster, "job", "info", job.id).stdout
    assert "failed: lost with its relay three times while it ran: n1, n2, n3" in shown
    assert len(runs(tmp_path)) == 3
    rows = hpc(cluster, "node", "list").stdout.splitlines()[1:]
    assert [row.split()[:2] for row in rows] == [[f"n{n}", "lost"] for n in (1, 2, 3)]


def test_a_node_is_lost_to_its_users_once_it_is_given_up(cluster: Cluster) -> None:
    """Silence is not that: it may come back. A drain is shown beside either."""
    cluster.relay("n1").kill()
    cluster.relay("n2")
    until(lambda: nodes(cluster)["n1"]["state"] == "unreachable")
    hpc(cluster, "node", "drain", "n1")

    def states() -> list[str]:
        rows = hpc(cluster, "node", "list").stdout.splitlines()[1:]
        return [re.split(r"  +", row)[1] for row in rows]

    assert states() == ["unreachable, drained", "up"]
    hpc(cluster, "node", "lost", "n1", "--reason", "it burnt")
    assert states() == ["lost, drained", "up"]
    shown = hpc(cluster, "node", "info", "n1").stdout
    assert re.search(r"^given up +since \S+: it burnt$", shown, re.MULTILINE)
    job = cluster.client().submit("true", memory=16, nodes=["n1"])
    why = hpc(cluster, "job", "why", job.id).stdout
    assert re.search(r"^n1: is unreachable, and drained, last heard .+ ago$", why, re.MULTILINE)


def test_a_retry_has_the_memory_that_it_is_given(cluster: Cluster, tmp_path: Path) -> None:
    """The new limit is enforced, where one was: not the old one, and not none."""
    cluster.relay("n1")
    client = cluster.client()
    hog = tmp_path / "hog.py"
    hog.write_text(HOG)
    job = client.submit([sys.executable, os.fspath(hog), "60"], memory=32, key="grows")
    assert job.wait(30)["state"] == "failed"
    hpc(cluster, "job", "retry", "grows", "--memory", "256M")
    assert job.wait(30)["state"] == "succeeded"
    assert "256 MiB" in hpc(cluster, "job", "info", "grows").stdout

    # Twice of what it is told that it has.
    greedy = [sys.executable, os.fspath(hog), "2 * int(HPC_MEMORY_MIB)"]
    job = client.submit(greedy, memory=32, key="greedy")
    assert job.wait(30)["state"] == "failed"
    hpc(cluster, "job", "retry", "greedy", "--memory", "100")
    info = job.wait(30)
    first, second = info["attempts"]
    assert [first["cause"], second["cause"]] == ["oom", "oom"]
    assert second["peak_memory_bytes"] >= 100 << 20 > first["peak_memory_bytes"]


def test_a_retry_does_not_begin_to_enforce_memory(cluster: Cluster, tmp_path: Path) -> None:
    """Without --memory a job reserves some and has no limit; a retry reserves otherwise."""
    cluster.relay("n1")
    hog = tmp_path / "hog.py"
    hog.write_text(HOG)
    first = f"test -e {tmp_path}/second || exit 7"
    command = f"{first}; {sys.executable} {hog} 60; echo $HPC_MEMORY_MIB"
    job = cluster.client().submit(command, key="free")
    assert job.wait(30)["state"] == "failed"
    (tmp_path / "second").touch()
    hpc(cluster, "job", "retry", "free", "--memory", "16M")
    info = job.wait(30)
    assert info["state"] == "succeeded"
    assert info["attempts"][-1]["peak_memory_bytes"] > 16 << 20
    assert b"".join(job.log()) == b"16\n"
