"""What HTTP itself refuses: each by the right status, as a problem document, and past the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from scripted_hub import ScriptedHub, Served, serving

from hpc.protocols import Answer
from hpc.transport.bodies import BODY_BYTES_MAX


@pytest.fixture(scope="module")
def hub() -> ScriptedHub:
    return ScriptedHub()


@pytest.fixture(scope="module")
def served(hub: ScriptedHub) -> Iterator[Served]:
    with serving(hub) as served:
        yield served


CODE_415 = "unsupported_media_type"
REFUSED = [
    ("POST /ingest", {"Content-Type": "text/plain"}, 415, CODE_415),
    ("POST /ingest", {"Content-Type": "application/msgpack"}, 400, "bad_request"),
    ("POST /outputs", {"Content-Type": "application/msgpack"}, 415, CODE_415),
    ("POST /ingest", {"Content-Encoding": "gzip"}, 415, CODE_415),
    (
        "POST /control",
        {"Content-Type": "application/json; charset=l1"},
        415,
        "unsupported_media_type",
    ),
    ("POST /outputs", {"Content-Type": "application/json"}, 415, CODE_415),
    ("POST /ingest", {"Hpc-Protocol": "2"}, 426, "protocol_version"),
    ("GET /jobs", {"Hpc-Protocol": "none"}, 426, "protocol_version"),
    ("GET /ingest", {}, 405, "wrong_method"),
    ("PUT /claim", {}, 405, "wrong_method"),
    ("POST /pull", {}, 405, "wrong_method"),
    ("DELETE /jobs/1", {}, 405, "wrong_method"),
    ("POST /events", {}, 405, "wrong_method"),
    ("GET /nothing", {}, 404, "no_route"),
    ("GET /", {}, 404, "no_route"),
    ("GET /jobs/..%2f..%2fetc%2fpasswd", {}, 404, "no_route"),
    ("GET /events?cursor=-1", {}, 400, "bad_request"),
    ("GET /events?cursor=x", {}, 400, "bad_request"),
    ("GET /events?cursor=99999999999999999999", {}, 400, "bad_request"),
    ("GET /events?limit=0", {}, 400, "bad_request"),
    ("GET /events?cursor=1&cursor=2", {}, 400, "bad_request"),
    ("GET /events?follow=perhaps", {}, 400, "bad_request"),
    ("GET /events?nothing=1", {}, 400, "bad_request"),
    ("GET /events?cursor=%ff", {}, 400, "bad_request"),
    ("GET /jobs/1/log?task=-1", {}, 400, "bad_request"),
    ("GET /jobs/1/log?stream=stdin", {}, 400, "bad_request"),
    ("GET /jobs/1/log?last=0", {}, 400, "bad_request"),
    ("GET /jobs/1/log?before=9&follow=true", {}, 400, "bad_request"),
    ("GET /pokes?gid=a&x=1", {}, 400, "bad_request"),
    # Found by asking what the OpenAPI document does not allow.
    ("GET /healthz", {"Hpc-Protocol": "2"}, 426, "protocol_version"),
    ("GET /readyz", {"Hpc-Protocol": "2"}, 426, "protocol_version"),
    ("GET /healthz?full=perhaps", {}, 400, "bad_request"),
    ("GET /readyz?x=1", {}, 400, "bad_request"),
    ("GET /schema?x=1", {}, 400, "bad_request"),
    ("GET /namespaces?x=1", {}, 400, "bad_request"),
    ("GET /tokens?x=1", {}, 400, "bad_request"),
    ("POST /control?x=1", {}, 400, "bad_request"),
    ("POST /ingest?key=1", {}, 400, "bad_request"),
    ("POST /claim?x=1", {}, 400, "bad_request"),
    ("POST /outputs?x=1", {"Content-Type": "application/octet-stream"}, 400, "bad_request"),
    ("GET /events?cursor=null", {"Last-Event-ID": "1"}, 400, "bad_request"),
    ("GET /events?cursor=1&after=false", {}, 400, "bad_request"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]} {case[1]}")
def test_a_refusal_is_a_problem_document_that_says_what_to_do(
    hub: ScriptedHub, served: Served, case: tuple[str, dict[str, str], int, str]
) -> None:
    """A program reads the code, a person the hint; neither meets a 500 or a bare text."""
    request, headers, status, code = case
    method, path = request.split()
    hub.asked.clear()

    body = b"{}" if method in ("POST", "PUT") else None
    got, got_headers, answer = served.request(method, path, body, headers)

    problem = json.loads(answer)
    assert (got, problem["status"], problem["code"]) == (status, status, code)
    assert got_headers["content-type"] == "application/problem+json"
    assert got_headers["hpc-hub"] == hub.hub_id
    assert problem["hint"] and problem["detail"] and problem["title"] and problem["type"]
    assert ("allow" in got_headers) == (status == 405)
    assert not hub.asked


@pytest.mark.parametrize("token", [None, "", "wrong", "a-token-of-testz"])
@pytest.mark.parametrize("path", ["/jobs", "/pull?gid=kernel", "/schema", "/nothing", "/pokes"])
def test_fault_62_without_the_token_every_route_answers_401(
    hub: ScriptedHub, served: Served, path: str, token: str | None
) -> None:
    """Whoever reaches the port runs commands as the user: nothing may be learnt without it."""
    hub.asked.clear()

    status, headers, answer = served.request("GET", path, token=token)

    assert (status, json.loads(answer)["code"]) == (401, "unauthorized")
    assert headers["www-authenticate"].startswith("Bearer")
    assert not hub.asked


def test_the_token_may_come_with_any_case_of_its_scheme(served: Served) -> None:
    """RFC 7235: the scheme's case does not matter."""
    header = {"Authorization": "bearer a-token-of-tests"}

    assert served.request("GET", "/jobs", headers=header, token=None)[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token_and_tells_nothing_but_ok(served: Served, path: str) -> None:
    """A load balancer has no token."""
    assert served.request("GET", path, token=None)[::2] == (200, b"ok\n")


def test_a_hub_that_recovers_answers_503_and_is_alive(served: Served, hub: ScriptedHub) -> None:
    """A relay that comes back early is told to ask again, not that the Hub is gone."""
    hub.is_ready = False
    try:
        for path in ("/readyz", "/jobs", "/nothing"):
            status, _, answer = served.request("GET", path)
            assert (status, json.loads(answer)["code"]) == (503, "recovering")
        assert served.request("GET", "/healthz")[0] == 200
    finally:
        hub.is_ready = True


def test_fault_37_a_body_over_the_limit_is_refused_by_its_length_alone(
    served: Served, hub: ScriptedHub
) -> None:
    """Reliability row 37: 413 before reading, though the client sends on undisturbed."""
    hub.asked.clear()

    status, _, answer = served.request("POST", "/ingest", bytes(BODY_BYTES_MAX + 1))

    assert (status, json.loads(answer)["code"]) == (413, "too_large")
    assert not hub.asked


def test_fault_37_a_body_that_tells_no_length_is_cut_off_as_it_grows(
    served: Served, hub: ScriptedHub
) -> None:
    """Chunked bodies are bounded as well, and the connection can be used on."""
    hub.asked.clear()
    part = bytes(1024 * 1024)
    body = iter([part] * (BODY_BYTES_MAX // len(part) + 1))

    status, _, answer = served.request(
        "POST",
        "/ingest",
        body,  # type: ignore[arg-type]
        {"Content-Type": "application/json"},
    )

    assert (status, json.loads(answer)["code"]) == (413, "too_large")
    assert not hub.asked


def test_the_largest_body_arrives_whole(served: Served, hub: ScriptedHub) -> None:
    """The limit itself is allowed; what it says is the engine's to judge."""
    hub.asked.clear()
    body = b"x" * BODY_BYTES_MAX

    assert served.request("POST", "/ingest", body)[0] == 200
    assert hub.asked == [("ingest", "", body)]


def test_a_fault_of_ours_is_a_503_without_a_traceback(
    served: Served, hub: ScriptedHub, capfd: pytest.CaptureFixture[str]
) -> None:
    """Clients see no internals; whoever runs the Hub sees all of them on stderr."""

    def fails(*_: object) -> Answer:
        raise ZeroDivisionError("a fault of ours")

    script, hub.script = hub.script, fails
    try:
        for path in ("/jobs", "/pull?gid=kernel"):
            status, _, answer = served.request("GET", path)
            assert (status, json.loads(answer)["code"]) == (503, "internal")
            assert b"Zero" not in answer and b"Traceback" not in answer
    finally:
        hub.script = script
    assert "ZeroDivisionError" in capfd.readouterr().err
