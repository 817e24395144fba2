"""Nodes: what is shown of them and said of them."""

from __future__ import annotations

import json
import re
import time

import pytest
from canned_hub import CannedHub, answer, sent

from hpc.cli import tree


def test_a_node_is_shown_with_what_it_offers_and_its_labels(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it has nothing of is not spoken of, nor are labels by a Hub that knows none."""
    plain = {
        "node_id": "n0", "state": "up", "resources": {"cpus": 4, "memory_mib": 1024}, "used": {},
    }  # fmt: skip
    rich = {
        **plain,
        "node_id": "n1",
        "resources": {"cpus": 4, "memory_mib": 1024, "gpus": 2, "ports": 3, "fpgas": 4},
        "used": {"gpus": 1, "fpgas": 4},
        "labels": {"zone": "b", "disk": "nvme"},
    }
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [plain, rich], "next": None})
    hub.routes["GET", "/pull"] = answer({"gid": "monitor", "cursor": 5, "facts": {}})
    assert tree.main(["node", "info", "n1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    lines = {line.split()[0]: line.partition(" ")[2].strip() for line in shown}
    assert lines["gpus"] == "1/2"
    assert lines["resources"] == "fpgas 4/4, ports 0/3"
    assert lines["labels"] == "disk=nvme, zone=b"
    assert tree.main(["node", "info", "n0"]) == 0
    assert not re.search("gpus|resources|labels", capsys.readouterr().out)


def test_nodes_that_are_long_gone_are_listed_where_all_are_asked_for(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not those that hold something, nor of a Hub that does not say since when; how it was is told
    as it was."""
    now = time.time_ns() // 1_000_000
    lease = [{"job_id": "j", "tasks": "0-11", "started": "0"}]
    plain = {"resources": {"cpus": 2, "memory_mib": 0}, "used": {"cpus": 2}, "leases": []}
    rows = [
        {**plain, "node_id": "up", "state": "up", "gone_at": None, "leases": lease, "ahead": 10},
        {**plain, "node_id": "today", "state": "left", "gone_at": now - 86_000_000},
        {**plain, "node_id": "long", "state": "left", "gone_at": now - 87_000_000},
        {**plain, "node_id": "held", "state": "unreachable", "gone_at": 0, "leases": lease},
        {**plain, "node_id": "unsaid", "state": "unreachable", "draining": True},
    ]
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": rows, "next": None})

    def listed(*words: str) -> tuple[list[str], str]:
        assert tree.main([*words]) == 0
        out, err = capsys.readouterr()
        return [line.split()[0] for line in out.splitlines()[1:]], err

    recent = ["up", "today", "held", "unsaid"]
    said = "1 node is gone for more than a day: hpc node list --all\n"
    assert listed("node", "list") == (recent, said)
    assert listed("node", "list", "--all") == ([row["node_id"] for row in rows], "")
    assert listed("at", "4", "node", "list") == ([row["node_id"] for row in rows], "")
    assert tree.main(["node", "list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert [row["node_id"] for row in data] == recent
    assert tree.main(["node", "list"]) == 0
    shown = capsys.readouterr().out
    assert "2 +10 ahead" in shown
    assert "unreachable, draining" in shown


@pytest.mark.parametrize("verb", ["drain", "undrain", "lost"])
def test_what_is_said_of_nodes_is_one_batch_and_their_state_is_told(
    hub: CannedHub, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """A node that nobody knows is told before anything is sent."""
    row = {"node_id": "n1", "state": "up", "drained": False, "leases": [{"tasks": "0-2,5"}]}
    left = {**row, "node_id": "n2", "drained": True, "drain_deadline": 0}
    idle = {**row, "node_id": "n3", "state": "left", "leases": []}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [row, left, idle], "next": None})
    assert tree.main(["node", verb, "n9"]) == 4
    assert not [request for request in hub.asked if request.path == "/ingest"]
    assert "known: n1, n2, n3" in capsys.readouterr().err

    assert tree.main(["node", verb, "n1", "n2", "n3", "n1", "--reason", "disk"]) == 0
    (body,) = [request.body for request in hub.asked if request.path == "/ingest"]
    kind = {"drain": "NodeDrained", "undrain": "NodeUndrained", "lost": "NodeLost"}[verb]
    payloads = [(event["kind"], event["payload"]) for event in body["events"]]
    spec = {"reason": "disk"}
    assert payloads == [
        (kind, {"ctx": {"node_id": node}, "spec": spec}) for node in ("n1", "n2", "n3")
    ]
    assert capsys.readouterr().err.splitlines() == [
        "node n1 up; runs 4 tasks",
        "node n2 up, drained; runs 4 tasks until 1970-01-01T00:00:00.000Z",
        "node n3 left; runs nothing",
    ]


def test_who_gives_a_node_up_is_told_that_it_is_lost(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `hpc node list` calls it, and `hpc node info` too."""
    row = {"node_id": "n1", "state": "unreachable", "epoch": 3, "resources": {}, "used": {}}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [row], "next": None})
    hub.routes["GET", "/pull"] = answer({"gid": "monitor", "cursor": 5, "facts": {}})
    said = [{"kind": "NodeLost", "at": 0, "because": "burnt", "value": {"at": 3}}]
    hub.routes["GET", "/explain"] = lambda request: answer(
        {
            "cursor": 4,
            "events": said if request.query["column"] == "down" else [],
            "more": False,
        }
    )
    assert tree.main(["node", "lost", "n1"]) == 0
    assert capsys.readouterr().err == "node n1 lost; runs nothing\n"
    assert tree.main(["node", "info", "n1"]) == 0
    assert re.search(r"^state +lost$", capsys.readouterr().out, re.MULTILINE)


def test_a_deadline_is_counted_from_now(hub: CannedHub) -> None:
    """And told as a time of day, in ms."""
    row = {"node_id": "n1", "state": "up", "drained": True}
    hub.routes["GET", "/nodes"] = answer({"cursor": 4, "data": [row], "next": None})
    before = time.time_ns() // 1_000_000
    assert tree.main(["node", "drain", "n1", "--deadline", "10m"]) == 0
    deadline = sent(hub)["spec"]["deadline"]
    assert before <= deadline - 600_000 <= time.time_ns() // 1_000_000
