"""A body of a thousand events costs Python what a body of one does: it goes to Rust once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from hpc import plugins
from hpc.clock import SystemClock
from hpc.hub.commit import Committer
from hpc.hub.outputs import OutputStore
from hpc.hub.recovery import recover
from hpc.hub.turn_parts import Arrived
from hpc.storage.memory import MemoryLog

CLAIM = {
    "node_id": "n1",
    "host": "h",
    "place": "p",
    "session": "s1",
    "epoch": 1,
    "ns": ["batch"],
    "resources": {"cpus": 100_000, "memory_mib": 100_000},
    "max": 10_000,
    "wait": 0,
}


class Calls:
    """Counts what Python calls while it is on."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Calls:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, _frame: FrameType, event: str, _arg: Any) -> None:
        self.count += event in {"call", "c_call"}


class Turns:
    """Turns over a memory log, each counted."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog()
        clock = SystemClock()
        self.committer = Committer(
            log=self.log,
            outputs=OutputStore(folder),
            build_engine=lambda: recover(
                self.log, lease_ms=30_000, reclaim_ms=300_000, clock=clock
            ),
            lease_ms=30_000,
        )
        self.token = 0
        for module in plugins.namespaces().namespaces:
            spec = msgspec.to_builtins(module.namespace)
            request = {"type": "RegisterNamespace", "ns_id": spec.pop("ns_id"), "spec": spec}
            self.ask("control", request)

    def ask(self, verb: str, document: object) -> tuple[Any, int]:
        """One request: its answer, and the number of calls in its turn, or turns."""
        self.token += 1
        arrived = Arrived(inputs=[(self.token, verb, "", json.dumps(document).encode(), "")])
        with Calls() as calls:
            outcome = self.committer.run(arrived)
            if self.committer.has_more:  # much is appended beside the next step
                outcome = self.committer.run(Arrived())
        ((_, answer),) = outcome.answers
        assert answer.status == 200, answer.body
        return json.loads(answer.body), calls.count


@pytest.fixture
def turns(tmp_path: Path) -> Turns:
    """Turns, warmed up."""
    return Turns(tmp_path)


def sample(i: int) -> dict[str, Any]:
    """One sample of a monitor."""
    return {
        "kind": "HardwareStats",
        "at": i,
        "payload": {
            "ctx": {"ns_id": "monitor", "node_id": f"n{i % 7}"},
            "spec": {"cpu_usage": "1%", "mem_used_kb": i, "mem_total_kb": i},
        },
    }


def test_ingest_makes_no_python_call_per_event(turns: Turns) -> None:
    """The body is parsed, checked, encoded for the log and joined in one call."""
    _, of_one = turns.ask("ingest", {"id": "one", "events": [sample(1)]})
    _, of_many = turns.ask("ingest", {"id": "many", "events": [sample(i) for i in range(1000)]})

    # Much is recorded by a second turn, in which a further step could be taken.
    assert of_one < 100
    assert of_many < of_one + 100


def test_claim_and_report_make_no_python_call_per_task(turns: Turns) -> None:
    """A grant and a report speak of a range, and stay bytes to the turn."""
    spec = {"command": "true", "cpu": 1, "memory": 1}
    calls = {}
    for name, last in (("one", 0), ("many", 4999)):
        ctx = {"ns_id": "batch", "job_id": name, "tasks": f"0-{last}"}
        submit = {"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": spec}}
        turns.ask("ingest", {"id": f"submit-{name}", "events": [submit]})
        answer, claimed = turns.ask("claim", {**CLAIM, "n": len(calls)})
        assert [grant["tasks"] for grant in answer["grants"]] == ["0" if last == 0 else "0-4999"]
        tasks = {**ctx, "node_id": "n1", "attempt": 1, "epoch": 1}
        ended = {"exit_code": 0, "finished_at": list(range(last + 1))}
        finish = {"kind": "JobFinished", "payload": {"ctx": tasks, "spec": ended}}
        _, reported = turns.ask("ingest", {"id": f"s1/{len(calls) + 1}", "events": [finish]})
        calls[name] = (claimed, reported)

    # The first claim also records that the node has joined: one more row of the log.
    (claim_one, report_one), (claim_many, report_many) = calls["one"], calls["many"]
    assert report_many == report_one
    assert claim_many <= claim_one
