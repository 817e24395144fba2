"""A namespace with jobs and a handler from another package, on a Hub that has never heard of it.

The package is `examples/simulation`, installed as a user would, in a virtual environment of its
own, in which the relay runs. What the tasks really did is read off files that they wrote, and off
`/proc`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from elsewhere import Elsewhere

from hpc.client import Client, Job
from hpc.testing.processes import Cluster, until

STEPS = 60
SOON_S = 60.0

CRASHING = """
import os, socket, sys
socket.create_connection(("127.0.0.1", int(os.environ["HPC_SIM_PORT"]))).recv(1)
sys.exit(7)
"""

STAYING = """
import os, socket, threading
there = socket.create_connection(("127.0.0.1", int(os.environ["HPC_SIM_PORT"])))
threading.Event().wait()
"""

CARELESS = """
import os, socket
server = socket.create_server(("127.0.0.1", int(os.environ["HPC_SIM_PORT"])))
with server.accept()[0] as connection:
    connection.sendall(b'{"over": true}\\n')
"""
"""An environment that plays and writes no result."""

DEAF = """
import os, signal, socket, threading
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = socket.create_server(("127.0.0.1", int(os.environ["HPC_SIM_PORT"])))
threading.Event().wait()
"""
"""An environment that does not end when it is asked to."""


class Environments(NamedTuple):
    """Where the Hub runs, and where the relay does."""

    bare: Elsewhere
    there: Elsewhere


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Made once, since that takes longer than most of the tests."""
    folder = tmp_path_factory.mktemp("environments")
    bare, there = (Elsewhere(folder / name, dict(os.environ)) for name in ("bare", "there"))
    there.install("simulation")
    return Environments(bare, there)


@pytest.fixture
def cluster(tmp_path: Path, environments: Environments) -> Iterator[Cluster]:
    """A Hub in an environment without the example, whoever has installed it here."""
    with Cluster(tmp_path, python=environments.bare.python) as running:
        yield running


@pytest.fixture
def there(cluster: Cluster, environments: Environments) -> Elsewhere:
    """An environment with the example; whatever is started from now on runs in it."""
    found = environments.there
    found.env = cluster.env
    cluster.python = os.fspath(found.python)
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those that the kernel gives to connections."""
    taken: list[socket.socket] = []
    for port in random.sample(range(20_000, 30_000), 1_000):
        if len(taken) < count:
            with contextlib.suppress(OSError):
                taken.append(socket.create_server(("127.0.0.1", port)))
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def relay(cluster: Cluster, ports: list[int]) -> None:
    """Start a relay that has ports to lease, and more cores than these."""
    offer = ["--cpus", "4", "--resource", f"ports=[{','.join(map(str, ports))}]"]
    cluster.start("relay", "--ns", "simulation", "--node-id", "n1", *offer)


def submit(hub: Client, tasks: str = "0", **spec: Any) -> Job:
    """Submit simulations."""
    spec = {"steps": STEPS, "memory": 256, **spec}
    return hub.submit_spec("simulation", spec, kind="SubmitSimulation", tasks=tasks)


def facts(hub: Client, job_id: str) -> dict[str, Any]:
    """The row that the example's generator keeps of a job."""
    row: dict[str, Any] = hub.pull("simulations", table="jobs")["facts"]["jobs"][job_id]
    return row


def processes_of(job_id: str) -> list[int]:
    """The processes that run on behalf of a job, by their environment."""
    found, wanted = [], f"HPC_JOB_ID={job_id}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_simulations_run_on_a_hub_that_never_heard_of_them(
    cluster: Cluster, there: Elsewhere, environments: Environments, tmp_path: Path
) -> None:
    """The five commands of the README, but that the relay offers two ports for four simulations."""
    hub_process = cluster.hub
    assert hub_process is not None
    find = "import importlib.util; print(importlib.util.find_spec('hpc_simulation'))"
    assert environments.bare.run("-c", find) == "None\n"
    ports = free_ports(2)
    relay(cluster, ports)
    spans = tmp_path / "spans"
    spans.mkdir()
    environment = (
        f"from=$(date +%s%N); {there.python} -m hpc_simulation.gridworld;"
        f' echo "$HPC_SIM_PORT $from $(date +%s%N)" > {spans}/$HPC_TASK_ID'
    )
    spec = json.dumps({"environment": environment, "steps": STEPS, "seed": 5, "memory": 256})
    what = ["--ns", "simulation", "--kind", "SubmitSimulation", "--spec", spec]

    there.run("-m", "hpc", "submit", *what, "--key", "four", "--array", "0-3", "--wait")

    told = sorted(tuple(map(int, path.read_text().split())) for path in spans.iterdir())
    assert len(told) == 4
    assert {port for port, _, _ in told} == set(ports)
    for (port, _, ended), (next_port, began, _) in pairwise(told):
        assert port != next_port or ended <= began, "two simulations had a port at the same time"
    with cluster.client() as hub:
        row = facts(hub, "four")
        assert (row["runs"], row["steps"], row["nodes"]) == (4, 4 * STEPS, ["n1"])
        assert row["exit_codes"] == {"0": 4}
        assert set(row["rewards"]) == {"0", "1", "2", "3"}
        assert row["best"] == max(row["rewards"].values())
        assert len(set(row["rewards"].values())) > 1, "each task has a chance of its own"
        tasks = hub.pull("simulations", table="tasks")["facts"]["tasks"]
        assert {cells["port"] for cells in tasks.values()} == set(ports)
        # The same seeds, and nothing said of commands: the same again.
        again = submit(hub, "0-3", seed=5)
        assert again.wait(SOON_S)["state"] == "succeeded"
        assert facts(hub, again.id)["rewards"] == row["rewards"]
    assert hub_process.popen.poll() is None, (
        "the Hub that was running before is the one that answered"
    )


def test_a_policy_that_crashes_fails_its_task_and_leaves_nothing(
    cluster: Cluster, there: Elsewhere
) -> None:
    """An environment that went on alone would keep its port."""
    relay(cluster, free_ports(1))
    with cluster.client() as hub:
        bad = submit(hub, policy=os.fspath(there.python), policy_args=["-c", CRASHING])
        assert bad.wait(SOON_S)["state"] == "failed"
        (task,) = bad.tasks()
        assert (task["exit_code"], task["cause"]) == (7, "exit")
        assert b"the policy ended with exit code 7" in b"".join(bad.log(stream="stderr"))
        assert processes_of(bad.id) == []
        assert facts(hub, bad.id)["exit_codes"] == {"7": 1}
        # There is one port: that it can be had again is shown by the next one.
        assert submit(hub).wait(SOON_S)["state"] == "succeeded"


def test_a_cancelled_simulation_leaves_nothing(cluster: Cluster, there: Elsewhere) -> None:
    """Also where the environment is a shell that has started more."""
    relay(cluster, free_ports(1))
    with cluster.client() as hub:
        line = f"sleep 600 & {there.python} -m hpc_simulation.gridworld"
        job = submit(hub, environment=line, policy="sleep 600; exit")
        until(lambda: len(processes_of(job.id)) >= 6)
        job.cancel()
        assert job.wait(SOON_S)["state"] == "cancelled"
        until(lambda: not processes_of(job.id))
        assert submit(hub).wait(SOON_S)["state"] == "succeeded"


def test_without_ports_on_offer_a_simulation_waits_and_says_so(
    cluster: Cluster, there: Elsewhere
) -> None:
    """It is the Hub that knows of ports: a task is never started without one."""
    there.run("-m", "hpc", "ns", "register", "--plugin", "simulation")
    cluster.start("relay", "--ns", "simulation", "--node-id", "n1")
    with cluster.client() as hub:
        job = submit(hub)
        assert hub.why(job.id)["why"] == "needs 1 port, no relay has any"


class ByHand:
    """A runner without a relay, so that nobody else ends what it leaves behind."""

    def __init__(self, there: Elsewhere, port: int, **plan: Any) -> None:
        self.job_id = f"by-hand-{port}"
        ours = {"HPC_TASK_ID": "0", "HPC_ATTEMPT": "1", "HPC_NODE_ID": "n1"}
        played = {
            name: [os.fspath(there.python), "-m", f"hpc_simulation.{module}"]
            for name, module in (("environment", "gridworld"), ("policy", "greedy"))
        }
        words = json.dumps({**played, "steps": STEPS, "seed": 1, **plan})
        folder = there.python.parents[1] / self.job_id  # results of others lie elsewhere
        folder.mkdir()
        self.popen = subprocess.Popen(
            [there.python, "-m", "hpc_simulation.runner", words],
            env=there.env | ours | {"HPC_JOB_ID": self.job_id, "HPC_RESOURCE_PORTS": str(port)},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def await_processes(self, count: int) -> None:
        """Wait until so many processes of the simulation run, the runner among them."""
        until(lambda: len(processes_of(self.job_id)) >= count)

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said, once it has ended; nothing of it is left."""
        try:
            _, said = self.popen.communicate(timeout=SOON_S)
            until(lambda: not processes_of(self.job_id), 1.0)
        finally:  # a test that fails leaves nothing either
            for pid in processes_of(self.job_id):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        return self.popen.returncode, said


FAILURES: list[tuple[dict[str, Any], int, str]] = [
    ({"environment": ["/bin/sh", "-c", "exit 9"]}, 9, "the environment ended"),
    ({"environment": ["/bin/sh", "-c", "kill -9 $$"]}, 137, "the environment ended"),
    ({"environment": ["no-such-program"]}, 127, "cannot be started: no-such-program"),
    ({"environment": ["/bin/true"]}, 69, "before it listened"),
    ({"policy": ["/bin/sh", "-c", "sleep 600 & exit 4"]}, 4, "the policy ended"),
    ({"policy": ["no-such-program"]}, 127, "the policy cannot be started"),
    ({"steps": 0, "policy": [sys.executable, "-c", STAYING]}, 70, "still there"),
    ({"environment": [sys.executable, "-c", CARELESS]}, 65, "no result"),
]
"""A plan, the exit code that it leads to, and what is said."""


@pytest.fixture
def registered(there: Elsewhere) -> Elsewhere:
    """The environment, and a Hub that knows the namespace."""
    there.run("-m", "hpc", "ns", "register", "--plugin", "simulation")
    return there


def test_a_runner_that_is_stopped_ends_both(registered: Elsewhere) -> None:
    """Be they deaf, or a shell that has started others."""
    (port,) = free_ports(1)
    deaf = [os.fspath(registered.python), "-c", DEAF]
    shell = ["/bin/sh", "-c", "sleep 600 & sleep 600; exit"]
    runner = ByHand(registered, port, environment=deaf, policy=shell)
    runner.await_processes(5)
    runner.popen.send_signal(signal.SIGTERM)
    assert runner.ended() == (128 + signal.SIGTERM, "")


def test_what_fails_is_told_and_leaves_nothing(cluster: Cluster, registered: Elsewhere) -> None:
    """The exit code is that of who failed; the message says who that was."""
    runners = [
        ByHand(registered, port, **plan)
        for port, (plan, _, _) in zip(free_ports(len(FAILURES)), FAILURES, strict=True)
    ]
    for runner, (plan, exit_code, says) in zip(runners, FAILURES, strict=True):
        code, said = runner.ended()
        assert code == exit_code, (plan, said)
        assert says in said, plan
    with cluster.client() as hub:
        told = [facts(hub, runner.job_id)["exit_codes"] for runner in runners]
    assert told == [{str(exit_code): 1} for _, exit_code, _ in FAILURES]


def test_a_port_that_somebody_has_is_not_used(registered: Elsewhere) -> None:
    """A policy would else play with who knows whom."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, said = ByHand(registered, other.getsockname()[1]).ended()
    assert code == 75
    assert "is in use" in said


def test_a_result_waits_for_a_hub_that_is_away(
    cluster: Cluster, registered: Elsewhere, tmp_path: Path
) -> None:
    """What was computed is not lost, and is told once."""
    (port,) = free_ports(1)
    go = tmp_path / "go"
    os.mkfifo(go)
    policy = ["/bin/sh", "-c", f"cat {go} && exec {registered.python} -m hpc_simulation.greedy"]
    runner = ByHand(registered, port, policy=policy)
    runner.await_processes(4)  # the shell has its `cat`
    assert cluster.hub is not None
    cluster.hub.kill()
    go.write_text("go\n")
    until(lambda: len(processes_of(runner.job_id)) == 1)
    cluster.start_hub()

    assert runner.ended() == (0, "")
    with cluster.client() as hub:
        row = facts(hub, runner.job_id)
        assert (row["runs"], row["steps"], row["port"]) == (1, STEPS, port)
