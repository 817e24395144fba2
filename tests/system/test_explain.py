"""Which events a fact comes from, and how it was: found in a log of other things.

Over HTTP, against a real Hub: a Hub that was killed tells the same of its past.
"""

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


def shown(column: str, i: int, p: str) -> Any:
    """What one event says of a column, in the form of a pull."""
    forms = {
        **dict.fromkeys(("most", "least", "newest"), i),
        **{key: [i] for key in ("all", "said")},
        **{"ever": True, "n": 1, "phase": p, "by": {f"i{i % 2}": i}},
        "round": {"at": i, "value": 1},
    }
    return forms[column]


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
        known = log[event["seq"]]
        spec = known["payload"]["spec"]
        assert event == {
            **{key: known[key] for key in ("seq", "id", "index", "at", "kind")},
            "node_id": "n",
            "rule": 0,
            "on": ["Said"],
            "value": shown(column, spec["i"], spec["p"]),
        }

    pages, after = [], 0
    while True:
        page = client.read("/explain", [*query, ("limit", 1), ("after", after)])
        pages += page["events"]
        if not page["more"]:
            break
        after = page["after"]
    assert pages == told["events"], "pages joined are the whole"


@pytest.mark.parametrize(
    ("column", "reasons"),
    [
        ("most", {2: "said before", 3: "says 1, the cell had 5"}),
        ("least", {1: "says 5, the cell had 2", 2: "says 5, the cell had 2"}),
        ("newest", {}),
        ("ever", {1: "said before", 2: "said before", 3: "said before"}),
        ("n", {}),
        ("all", {2: "said before"}),
        ("phase", {1: "says the least that there is", 3: 'says "ok", the cell had "both"'}),
        ("round", {3: "past epoch 1, the cell was in 5"}),
    ],
)
def test_what_did_not_change_a_cell_is_told_with_a_reason(
    lab: tuple[Client, list[int]], column: str, reasons: dict[int, str]
) -> None:
    """Who wonders why a report changed nothing is told."""
    client, seqs = lab
    query = [("gid", "g"), ("table", "t"), ("key", "n"), ("column", column), ("why_not", "true")]
    told = client.read("/explain", query)
    assert {event["seq"]: event["reason"] for event in told["events"]} == {
        seqs[place]: reason for place, reason in reasons.items()
    }
    pages, after = [], 0
    while True:
        page = client.read("/explain", [*query, ("limit", 1), ("after", after)])
        pages += page["events"]
        if not page["more"]:
            break
        after = page["after"]
    assert pages == told["events"]


def test_an_outbox_is_named_as_the_origin(lab: tuple[Client, list[int]]) -> None:
    """Whose report it was stands in the batch's id."""
    client, _ = lab
    seq = client.ingest([said(77, "ok", at=99)], batch_id="an-outbox/1")["first_seq"]
    query = [("gid", "g"), ("table", "t"), ("key", "n"), ("column", "newest")]
    (event,) = client.read("/explain", query)["events"]
    assert (event["seq"], event["origin"], event["id"]) == (seq, "an-outbox", "an-outbox/1")


def test_what_was_said_in_several_ways_is_shown_with_its_events(
    lab: tuple[Client, list[int]],
) -> None:
    """A contradiction names both who said it, and is not there before it was one."""
    client, seqs = lab
    (conflict,) = client.conflicts()
    place = {name: conflict[name] for name in ("gid", "table", "key", "column")}
    assert place == {"gid": "g", "table": "t", "key": "n", "column": "said"}
    assert (conflict["values"], conflict["overflow"]) == ([1, 2, 5], False)
    assert [(event["value"], event["seq"]) for event in conflict["evidence"]] == [
        (2, seqs[0]), (5, seqs[1]), (1, seqs[3]),
    ]  # fmt: skip
    assert list(client.conflicts("g")) == [conflict]
    assert list(client.conflicts("kernel")) == []
    with pytest.raises(NotFound, match="Generator `gg`"):
        list(client.conflicts("gg"))
    then = client.read("/conflicts", [("at", seqs[0])])
    assert (then["cursor"], then["data"]) == (seqs[0], [])
    (then,) = client.read("/conflicts", [("at", seqs[1])])["data"]
    assert then["values"] == [2, 5]


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
