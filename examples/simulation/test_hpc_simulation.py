"""`simulation` without a relay: its laws, its plans, its game."""

from __future__ import annotations

import json
import random
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import hpc_simulation
import msgspec
import pytest
from hpc_simulation import greedy, gridworld
from hpc_simulation.handler import SimulationHandler
from hpc_simulation.runner import Failed, Plan, is_listening, leased_port, read_result

from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Refused
from hpc.testing.laws import NamespaceLaws
from hpc.testing.small_hub import SmallHub

OFFER = NodeOffer(node_id="n1", host="h", epoch=3, resources={"cpus": 2, "ports": 2})
DEFAULTS = {"cpu": 1, "memory": 512, "steps": 200, "seed": 0}


class TestSimulation(NamespaceLaws):
    """Each law is a test."""

    module = hpc_simulation


def planned(**spec: Any) -> Work:
    """What the handler plans for a spec, as the Hub hands it out: with its defaults."""
    taken = {"cpus": 1, "memory_mib": 512, "ports": 1}
    grant = Grant(
        job_id="j",
        ns_id="simulation",
        attempt=2,
        tasks="0-3",
        spec=DEFAULTS | spec,
        resources=taken,
    )
    return SimulationHandler().work(grant, OFFER)


def plan_of(work: Work) -> Plan:
    """The plan that a runner is handed."""
    *_, text = work.argv
    return Plan(**json.loads(text))


def test_a_simulation_without_commands_plays_what_ships() -> None:
    """The first thing that is tried must work."""
    work = planned()
    assert work.argv[:4] == [sys.executable, "-P", "-m", "hpc_simulation.runner"]
    plan = plan_of(work)
    assert (plan.environment[-1], plan.policy[-1]) == (
        "hpc_simulation.gridworld",
        "hpc_simulation.greedy",
    )
    assert (work.tasks, work.attempt, work.epoch) == ("0-3", 2, 3)
    assert (work.resources, work.memory_mib) == ({"ports": 1}, 512)


def test_a_line_is_for_the_shell_and_a_list_is_not() -> None:
    """As in `batch`: what was typed is what runs."""
    plan = plan_of(planned(environment="./env | tee log", policy="./policy", policy_args=["a b"]))
    assert plan.environment == ["/bin/sh", "-c", "./env | tee log"]
    assert plan.policy == ["./policy", "a b"]
    with pytest.raises(Refused) as refused:
        planned(policy_args=[])
    assert refused.value.field == "spec.policy"


def test_the_job_s_environment_and_time_are_passed_on() -> None:
    """And no token, whoever says one."""
    work = planned(env={"MODEL": "a", "HPC_TOKEN": "b"}, time_limit=2.5)
    assert work.env["MODEL"] == "a"
    assert "HPC_TOKEN" not in work.env
    assert work.time_limit_s == 2.5


def test_a_listener_is_seen_without_being_connected_to() -> None:
    """A connection would be taken for the policy's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(port)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not is_listening(port)


def test_an_amount_of_ports_names_none() -> None:
    """A relay with `--resource ports=4` hands its tasks an amount of 1."""
    assert leased_port({"HPC_RESOURCE_PORTS": "20003"}) == 20003
    with pytest.raises(Failed, match=r"ports=range\(20000-20099\)"):
        leased_port({"HPC_RESOURCE_PORTS": "1"})


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"reward": "x"}', '{"reward": NaN}'])
def test_a_result_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    """It is the environment's fault, and is told as that."""
    result = tmp_path / "result.json"
    with pytest.raises(Failed, match="no result"):
        read_result(result)
    result.write_text(text)
    with pytest.raises(Failed, match="must be"):
        read_result(result)
    result.write_text('{"reward": 1, "steps": 7, "more": []}')
    assert read_result(result) == {"reward": 1.0, "steps": 7}


def game(seed: int, *, moves: int = 100) -> float | None:
    """Play over a real connection against the policy that ships, for so many of its moves."""
    ours, theirs = socket.socketpair()

    def answer() -> None:
        with theirs, theirs.makefile("rw", encoding="utf-8") as lines:
            for _, line in zip(range(moves), lines, strict=False):
                seen = json.loads(line)
                if "over" in seen:
                    return
                said = {"move": greedy.move(seen["at"], seen["goal"])}
                print(json.dumps(said), file=lines, flush=True)

    policy = threading.Thread(target=answer)
    policy.start()
    reward = gridworld.play(ours, 50, random.Random(seed))
    policy.join()
    return reward


def test_a_game_is_its_seed_s() -> None:
    """Else no result could be tried again."""
    assert game(1) == game(1) != game(2)


def test_a_policy_that_goes_away_ends_the_game_without_a_result() -> None:
    """What it came to until then would be taken for a result."""
    assert game(1, moves=10) is None


def said(kind: str, spec: dict[str, Any], **ctx: Any) -> dict[str, Any]:
    """An event of the job `j`."""
    at = {"ns_id": "simulation", "job_id": "j", **ctx}
    return {"kind": kind, "payload": {"ctx": at, "spec": spec}}


def test_a_kind_that_acts_as_a_report_says_what_a_report_says_and_settles_the_task() -> None:
    """Why SimulationFinished does not act as JobFinished: it has a reward to tell, and a task that
    still runs would give its port away by telling it."""
    acts_as = {"SimulationStarted": "JobStarted", "SimulationFinished": "JobFinished"}
    spec = msgspec.structs.replace(
        hpc_simulation.namespace, acts_as=hpc_simulation.namespace.acts_as | acts_as
    )
    hub = SmallHub()
    hub.register(spec)
    hub.offer("a", [said("SubmitSimulation", {})])
    lease = {"tasks": "0", "attempt": 1, "node_id": "n1", "epoch": 1}
    for kind, field, sent in (
        ("SimulationStarted", "port", {"port": 20_000}),
        ("SimulationFinished", "reward", {"exit_code": 0, "reward": 2.0}),
    ):
        reply = hub.offer(kind, [said(kind, sent, **lease)])
        assert reply.status == 422
        assert [error["field"] for error in reply.body["errors"]] == [f"spec.{field}"]

    relay = {"node_id": "n1", "host": "h", "place": "p", "session": "s", "epoch": 1, "n": 1}
    offer = {"ns": ["simulation"], "resources": OFFER.resources | {"memory_mib": 1024}}
    assert hub.ask("claim", "", relay | offer)["grants"]
    assert hub.offer("b", [said("SimulationFinished", {"exit_code": 0}, **lease)]).status == 200
    job = hub.ask("job", "job_id=j")["data"]
    assert job["state"] == "succeeded", "and the relay has not said that anything ended"
