"""Partitions, one-way and whole, a slow line and a lossy one: real packets that do not arrive."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc.client import Job
from hpc.testing.netns import Network, Side, missing
from hpc.testing.processes import Cluster, until

MISSING = missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

LEASE_S = 2.0
STEP_S = 0.05
SIDES: dict[str, list[Side]] = {"both": ["hub", "relay"], "hub": ["hub"], "relay": ["relay"]}


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network, network.entered("hub"):
        yield network


@pytest.fixture
def cluster(tmp_path: Path, network: Network, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A Hub on one side; relays that are started come to the other."""
    lease_s = getattr(request, "param", LEASE_S)
    with Cluster(tmp_path / "cluster", lease_s=lease_s, network=network) as cluster:
        yield cluster


def _ticking(folder: Path, name: str) -> str:
    """A command that notes its attempt again and again, and ends once it may."""
    note = f"echo $HPC_ATTEMPT >> {folder}/{name}"
    return f"{note}; while ! test -e {folder}/{name}.end; do {note}; sleep {STEP_S}; done"


def _ticks(folder: Path, name: str) -> list[int]:
    file = folder / name
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def _attempts(job: Job) -> list[str]:
    return [attempt["state"] for attempt in job.info()["attempts"]]


def _state(cluster: Cluster) -> str:
    (node,) = cluster.client().nodes()
    return str(node["state"])


def test_fault_27_a_short_partition_costs_nothing(
    cluster: Cluster, network: Network, tmp_path: Path
) -> None:
    """What ends meanwhile is told afterwards; `stop` tasks too, for their lease was not over."""
    cluster.relay(cpus=2)
    client = cluster.client()
    jobs = {
        how: client.submit(_ticking(tmp_path, how), memory=16, on_cut_off=how)
        for how in ("finish", "stop")
    }
    until(lambda: all(_ticks(tmp_path, how) for how in jobs))
    network.cut()
    began_s = time.monotonic()
    for how in jobs:
        (tmp_path / f"{how}.end").touch()
    counts = {how: len(_ticks(tmp_path, how)) for how in jobs}
    until(lambda: time.monotonic() > began_s + LEASE_S / 2)
    assert {job.info()["state"] for job in jobs.values()} <= {"leased", "running"}
    network.heal()
    for how, job in jobs.items():
        assert job.wait(30)["state"] == "succeeded"
        assert _attempts(job) == ["succeeded"]
        assert len(_ticks(tmp_path, how)) - counts[how] < 10


@pytest.mark.parametrize("muted", list(SIDES))
def test_fault_28_and_29_a_partition_that_outlasts_the_lease(
    cluster: Cluster, network: Network, tmp_path: Path, muted: str
) -> None:
    """Whole or one-way: a `stop` task ends before it may run elsewhere, the other goes on."""
    cluster.relay(cpus=2)
    client = cluster.client()
    jobs = {
        how: client.submit(_ticking(tmp_path, how), memory=16, on_cut_off=how)
        for how in ("finish", "stop")
    }
    until(lambda: all(_ticks(tmp_path, how) for how in jobs))
    for side in SIDES[muted]:
        network.mute(side)
    until(lambda: _state(cluster) == "unreachable")
    stopped = len(_ticks(tmp_path, "stop"))
    going = len(_ticks(tmp_path, "finish"))
    until(lambda: len(_ticks(tmp_path, "finish")) > going + 5)
    assert len(_ticks(tmp_path, "stop")) == stopped, "its relay has ended it before that"
    assert jobs["stop"].info()["state"] == "queued"
    (tmp_path / "finish.end").touch()
    network.heal()
    assert jobs["finish"].wait(30)["state"] == "succeeded"
    assert _attempts(jobs["finish"]) == ["succeeded"]
    until(lambda: _ticks(tmp_path, "stop")[-1] > 1)
    (tmp_path / "stop.end").touch()
    assert jobs["stop"].wait(30)["state"] == "succeeded"
    ran = _ticks(tmp_path, "stop")
    assert ran == sorted(ran), "never two at once"
    assert client.submit("true", memory=16).wait(30)["state"] == "succeeded"


@pytest.mark.parametrize("cluster", [20.0], indirect=True)
def test_fault_31_a_line_of_64_kbit_delivers_and_holds_up_nobody(
    cluster: Cluster, network: Network
) -> None:
    """All of the output arrives, later; whoever else asks the Hub is answered as ever."""
    cluster.relay(cpus=2)
    client = cluster.client()
    assert client.submit("true", memory=16).wait(30)["state"] == "succeeded"
    network.slow(64)
    began_s = time.monotonic()
    script = "head -c 24000 /dev/urandom | base64 -w 0"
    job = client.submit(script, memory=16, tasks="0-1")
    slowest_s = 0.0
    while (state := job.info()["state"]) != "succeeded":
        asked_s = time.monotonic()
        client.nodes()
        slowest_s = max(slowest_s, time.monotonic() - asked_s)
        assert asked_s < began_s + 90, state
    assert time.monotonic() - began_s > 2 * 32_000 / 8_000, "the line was as slow as that"
    assert slowest_s < 2.0
    assert [len(b"".join(job.log(task=task))) for task in (0, 1)] == [32_000, 32_000]
    assert _state(cluster) == "up"


def test_fault_32_a_third_of_all_packets_is_lost(cluster: Cluster, network: Network) -> None:
    """It is slow, and right: every task runs once and is told once."""
    cluster.relay(cpus=2)
    client = cluster.client()
    with network.losing(0.3, seed=32):
        jobs = [client.submit("echo done", memory=16, tasks="0-2") for _ in range(2)]
        for job in jobs:
            assert job.wait(90)["state"] == "succeeded"
    for job in jobs:
        assert b"".join(job.log(task=2)) == b"done\n"
