"""Which events a fact comes from: named by seq, found in a log of other things."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from hpc.client import Client
from hpc.errors import NotFound, Refused
from hpc.testing.processes import Cluster

SCHEMA = {
    "Said": [
        {"key": "i", "expected_type": "Int"},
        {"key": "p", "expected_type": "String", "one_of": ["run", "ok", "bad", "both"]},
    ],
    "Noise": [],
}
ORDER = {"run": ["ok", "bad"], "ok": ["both"], "bad": ["both"]}
JOIN = {
    "most": {"max": "$spec.i"},
    "least": {"min": "$spec.i"},
    "newest": {"last": "$spec.i"},
    "ever": {"or": True},
    "n": {"count": 1},
    "all": {"set": "$spec.i"},
    "said": {"once": "$spec.i"},
    "phase": {"finite": {"order": ORDER, "value": "$spec.p"}},
    "round": {"epoch": {"at": "$spec.i", "join": {"count": 1}}},
    "by": {"map": {"key": "$ctx.name", "join": {"sum": "$spec.i"}}},
}


def said(i: int, p: str, *, node: str = "n", at: int = 1) -> dict[str, Any]:
    ctx = {"ns_id": "lab", "node_id": node, "name": f"i{i % 2}"}
    return {"kind": "Said", "at": at, "payload": {"ctx": ctx, "spec": {"i": i, "p": p}}}


@pytest.fixture
def lab(cluster: Cluster) -> tuple[Client, list[int]]:
    """A Hub with a log: what was said of row `n` at these seqs, and other things between."""
    client = cluster.client()
    client.control({"type": "RegisterNamespace", "ns_id": "lab", "spec": {"schema": SCHEMA}})
    rule = {"on": "Said", "table": "t", "key": "$ctx.node_id", "join": JOIN}
    spec = {"namespaces": ["lab"], "rules": [rule]}
    client.control({"type": "RegisterGenerator", "gid": "g", "spec": spec})
    noise = {"kind": "Noise", "payload": {"ctx": {"ns_id": "lab"}, "spec": {}}}
    seqs = []
    for number, (i, p) in enumerate([(2, "ok"), (5, "run"), (5, "bad"), (1, "ok")]):
        batch = [noise, said(9, "both", node="other"), said(i, p, at=number + 1), noise]
        seqs.append(client.ingest(batch)["first_seq"] + 2)
    return client, seqs


@pytest.mark.parametrize(
    ("column", "places"),
    [
        ("most", [1]),  # the first that said 5
        ("least", [3]),
        ("newest", [3]),
        ("ever", [0]),
        ("n", [0, 1, 2, 3]),
        ("all", [0, 1, 2, 3]),
        ("said", [0, 1, 2, 3]),
        ("phase", [0, 2, 3]),  # `run` is the bottom and says nothing
        ("round", [1, 2]),  # the highest epoch is 5
        ("by", [0, 1, 2, 3]),
    ],
)
def test_a_cell_names_the_events_that_it_comes_from(
    lab: tuple[Client, list[int]], column: str, places: list[int]
) -> None:
    """A register comes from one event, a tally or a set from all that said something."""
    client, seqs = lab
    query = [("gid", "g"), ("table", "t"), ("key", "n"), ("column", column)]
    told = client.read("/explain", query)
    assert [event["seq"] for event in told["events"]] == [seqs[place] for place in places]
    assert told["more"] is False
    log = {event["seq"]: event for event in client.events()}
    for event in told["events"]:
        assert event == {
            key: log[event["seq"]][key] for key in ("seq", "id", "index", "at", "kind")
        }

    pages, after = [], 0
    while True:
        page = client.read("/explain", [*query, ("limit", 1), ("after", after)])
        pages += page["events"]
        if not page["more"]:
            break
        after = page["after"]
    assert pages == told["events"], "pages joined are the whole"


def test_what_is_not_there_is_told(lab: tuple[Client, list[int]]) -> None:
    """A typo gets the nearest name."""
    client, _ = lab
    place = {"gid": "g", "table": "t", "key": "n", "column": "most"}
    for field, value in (("gid", "gg"), ("table", "tt"), ("key", "nobody"), ("column", "mots")):
        with pytest.raises(NotFound):
            client.read("/explain", list((place | {field: value}).items()))
    with pytest.raises(Refused, match="column"):
        client.read("/explain", [("gid", "g"), ("table", "t"), ("key", "n")])


def test_the_kernel_s_facts_can_be_explained(cluster: Cluster) -> None:
    """Who asks why a job is done is told by which report."""
    cluster.relay()
    client = cluster.client()
    client.submit("true", memory=16).wait(30)
    job = client.submit("true", memory=16, tasks="0-3")
    job.wait(30)
    kinds = {}
    for column in ("submitted", "spec", "started", "succeeded", "phase"):
        query = [("gid", "kernel"), ("table", "jobs"), ("key", job.id), ("column", column)]
        told = client.read("/explain", query)
        kinds[column] = {event["kind"] for event in told["events"]}
    assert kinds == {
        "submitted": {"SubmitJob"},
        "spec": {"SubmitJob"},
        "started": {"JobStarted"},
        "succeeded": {"JobFinished"},
        "phase": {"JobFinished"},
    }
    shown = subprocess.run(
        [sys.executable, "-m", "hpc", "explain", "kernel", "jobs", job.id, "--json"],
        env=cluster.env,
        capture_output=True,
        text=True,
        check=True,
    )
    data = json.loads(shown.stdout)["data"]
    assert {event["kind"] for event in data["succeeded"]["events"]} == {"JobFinished"}
