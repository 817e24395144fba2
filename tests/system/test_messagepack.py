"""MessagePack beside JSON: the same events, receipts, facts and refusals in either form."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from hpc.access import read_access
from hpc.testing.processes import Cluster

PACKED = "application/msgpack"


def asked(
    cluster: Cluster, request: str, document: Any = None, *, sent: str, wanted: str | None = None
) -> tuple[int, str, Any]:
    """Send a request in one form and read the answer in another; by the standard library alone."""
    method, target = request.split()
    access = read_access(cluster.home)
    connection = http.client.HTTPConnection(urlsplit(access.url).netloc, timeout=30)
    encode = msgspec.msgpack.encode if sent == PACKED else msgspec.json.encode
    headers = {"Authorization": f"Bearer {access.token}", "Content-Type": sent}
    if wanted is not None:
        headers["Accept"] = wanted
    body = None if document is None else encode(document)
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    data, kind = answer.read(), answer.headers["Content-Type"]
    connection.close()
    return answer.status, kind, (msgspec.msgpack.decode if kind == PACKED else json.loads)(data)


def batch(batch_id: str, *events: Any) -> dict[str, Any]:
    return {"id": batch_id, "events": list(events)}


def sample(at: int = 1, **more: Any) -> dict[str, Any]:
    spec = {"cpu_usage": "1.5%", "mem_used_kb": 10, "mem_total_kb": 20, **more}
    payload = {"ctx": {"ns_id": "monitor", "node_id": "n1"}, "spec": spec}
    return {"kind": "HardwareStats", "at": at, "payload": payload}


def test_both_forms_say_the_same(cluster: Cluster) -> None:
    """A batch that is sent again in the other form is the same batch."""
    document = batch("018f4e2a-5d1c-7b3a-9c55-2f6f3a1d0b77", sample())
    status, kind, receipt = asked(cluster, "POST /ingest", document, sent=PACKED, wanted=PACKED)
    assert (status, kind, receipt["duplicate"]) == (200, PACKED, False)

    again = asked(cluster, "POST /ingest", document, sent="application/json")
    assert again == (200, "application/json", {**receipt, "duplicate": True})

    target = "GET /pull?gid=monitor&cursor=0"
    plain = asked(cluster, target, sent="application/json")[2]
    packed = asked(cluster, target, sent="application/json", wanted=PACKED)
    assert packed == (200, PACKED, plain)
    assert plain["facts"]["nodes"]["n1"]["mem_used_kb"] == 10
    for path in ("/jobs", "/nodes", "/events?cursor=0", "/namespaces"):
        status, kind, found = asked(cluster, f"GET {path}", sent=PACKED, wanted=PACKED)
        assert (status, kind) == (200, PACKED)
        assert found == asked(cluster, f"GET {path}", sent="application/json")[2]


def test_a_refusal_comes_in_the_form_that_was_asked_for(cluster: Cluster) -> None:
    """Field, expected and got are the same; so is the code of what cannot be read."""
    bad = batch("o/1", sample(mem_used_kb=1.5))
    status, kind, refusal = asked(cluster, "POST /ingest", bad, sent=PACKED, wanted=PACKED)
    assert (status, kind) == (422, PACKED)
    assert refusal["errors"][0]["field"] == "spec.mem_used_kb"
    plain = asked(cluster, "POST /ingest", bad, sent="application/json")
    assert plain == (422, "application/problem+json", refusal)

    extended = batch("o/1", sample(more=msgspec.msgpack.Ext(1, b"x")))
    status, kind, refusal = asked(cluster, "POST /ingest", extended, sent=PACKED)
    assert (status, kind, refusal["code"]) == (400, "application/problem+json", "bad_request")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/msgpack, application/json", PACKED),
        ("application/json, application/msgpack", "application/json"),
        ("*/*", "application/json"),
        ("application/msgpack;q=0", "application/json"),
        ("application/x-msgpack", PACKED),
    ],
)
def test_the_form_that_is_named_first_is_answered(cluster: Cluster, accept: str, kind: str) -> None:
    """A client that can read both says which it would rather have."""
    assert asked(cluster, "GET /nodes", sent="application/json", wanted=accept)[1] == kind


@pytest.mark.parametrize(
    ("said", "begins"), [(PACKED, b'{"events": []}'), ("application/json", b"\x81\xa6events\x90")]
)
def test_a_body_of_the_other_form_is_refused(cluster: Cluster, said: str, begins: bytes) -> None:
    """What the type says is what is read, never what it looks like."""
    access = read_access(cluster.home)
    connection = http.client.HTTPConnection(urlsplit(access.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {access.token}", "Content-Type": said}
    connection.request("POST", "/ingest", begins, headers)
    answer = connection.getresponse()
    assert answer.status == 400
    assert "Content-Type" in json.loads(answer.read())["hint"]
    connection.close()
