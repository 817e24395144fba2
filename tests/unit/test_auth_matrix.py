"""Every route with every role, with none, and with tokens that open nothing any more."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from scripted_hub import DEADLINE_S, TOKEN, ScriptedHub, Served, serving

from hpc.hub.control_rows import control_of
from hpc.hub.tokens import Tokens
from hpc.ports import Holder, LogReading
from hpc.protocols import LogRow
from hpc.tokens import ROLES, make_token, token_id_of
from hpc.transport.admission import Gate
from hpc.transport.auth import ADDRESSES_MAX, FAILURES_MAX, WINDOW_S, Failures
from hpc.transport.authorisation import ROUTES, rule_of, tables
from hpc.transport.hot_routes import HOT_ROUTES
from hpc.transport.routes_read import read_handlers
from hpc.transport.routes_ui import ui_handlers

DOCS = Path(__file__).parents[2] / "docs" / "security.md"

MAY = {
    "admin": set(ROUTES),
    "submit": set(ROUTES) - {"/control", "/claim", "/outputs", "/tokens"},
    "relay": set(ROUTES) - {"/control", "/tokens"},
    "monitor": set(ROUTES) - {"/control", "/claim", "/outputs", "/tokens"},
    "read": set(ROUTES) - {"/ingest", "/control", "/claim", "/outputs", "/tokens"},
}
"""Written from the design, and not from the table."""

PAGES = {"/ui", "/ui/static/{path}", "/ui/session"}
"""What needs no token at all: test_ui_sessions.py asks them."""


@pytest.fixture(scope="module")
def hub() -> ScriptedHub:
    return ScriptedHub()


@pytest.fixture(scope="module")
def served(hub: ScriptedHub) -> Iterator[Served]:
    with serving(hub) as served:
        yield served


def ask(served: Served, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
    """Ask a route with a token; a stream's head alone is awaited."""
    method = ROUTES[path].methods[0]
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        kind = "application/octet-stream" if path == "/outputs" else "application/json"
        headers |= {"Content-Type": kind} if method == "POST" else {}
        query = "?full=true" if ROUTES[path].is_open else ""
        connection.request(
            method,
            path.replace("{job_id}", "1").replace("{path}", "index.html") + query,
            b"{}" if method == "POST" else None,
            headers,
        )
        answer = connection.getresponse()
        is_stream = answer.getheader("content-type") == "text/event-stream"
        head = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, head, b"" if is_stream else answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_opens_its_routes_and_no_other(hub: ScriptedHub, served: Served, role: str) -> None:
    """What is not allowed is 403 before a body is looked at, and the Hub hears nothing of it."""
    hub.holders[role.encode()] = Holder(f"id-of-{role}", role)
    opened = set()
    for path in ROUTES:
        hub.asked.clear()
        status, _, body = ask(served, path, role)
        if status == 403 and path != "/ui/session":
            problem = json.loads(body)
            assert (problem["code"], hub.asked) == ("not_allowed", [])
            assert f"role `{role}`" in problem["detail"]
            assert problem["hint"]
        else:
            assert status in (200, 201, 307, 400, 403, 404), path
            opened.add(path)
    assert opened == MAY[role]


def test_without_a_token_every_route_is_401_and_then_429() -> None:
    """A token that opens something is answered all the same, also in between."""
    hub = ScriptedHub()
    with serving(hub) as served:
        tried = count()
        for path in ROUTES.keys() - PAGES:
            hub.asked.clear()
            for token in (None, "wrong", "hpc1_admin_aaaaaaaa_bbbb"):
                status, headers, body = ask(served, path, token)
                wanted = 401 if next(tried) < FAILURES_MAX else 429
                assert (status, json.loads(body)["status"]) == (wanted, wanted)
                if wanted == 429:
                    assert 0 < int(headers["retry-after"]) <= WINDOW_S
                else:
                    assert headers["www-authenticate"].startswith("Bearer")
            assert hub.asked == []
            assert ask(served, "/jobs", TOKEN)[0] == 200
        _, _, body = ask(served, "/healthz", TOKEN)
        assert json.loads(body)["unauthorized"] == next(tried)


def test_what_is_refused_for_its_token_is_counted() -> None:
    """`hpc doctor` and people see that something asks for what it may not."""
    hub = ScriptedHub()
    hub.holders[b"reads"] = Holder("r", "read")
    with serving(hub) as served:
        assert ask(served, "/claim", "reads")[0] == 403
        _, _, body = ask(served, "/healthz", "reads")
        figures = json.loads(body)
        assert (figures["forbidden"], figures["unauthorized"]) == (1, 0)


def test_every_route_that_is_served_is_in_the_table(hub: ScriptedHub) -> None:
    """Whatever is served and not in it would be closed to everyone: a route is named twice."""
    gate = Gate(hub)
    read = {
        re.sub(":[a-z]+", "", path)
        for handler in [*read_handlers(hub, gate), *ui_handlers(hub, gate)]
        for path in handler.paths
    }
    assert read | set(HOT_ROUTES) == set(ROUTES)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/job",
        "/jobs//log",
        "/jobs/1/nothing",
        "/jobs/a/b/log",
        "/ingest/x",
        "/claim//x",
        "/ui/x",
    ],
)
def test_what_is_not_in_the_table_is_no_route(path: str) -> None:
    """Default deny: no pattern opens more than it says."""
    assert rule_of(path) is None


def test_the_docs_have_the_tables() -> None:
    """They are printed from what decides: `python -m hpc.transport.authorisation`."""
    assert tables() in DOCS.read_text(encoding="utf-8")


def test_failures_are_counted_by_address_and_forgotten() -> None:
    """One that hammers keeps nobody else waiting, and not itself for ever."""
    failures = Failures()
    for _ in range(FAILURES_MAX):
        assert failures.note("::1", 100.0) == 0
    assert failures.note("::1", 101.0) == WINDOW_S - 1
    assert failures.note("127.0.0.1", 101.0) == 0
    assert failures.note("::1", 100.0 + WINDOW_S) == 0
    for n in range(ADDRESSES_MAX):
        failures.note(f"10.0.{n}", 200.0)
    assert failures.note("::1", 200.0) == 0


def test_who_sent_it_goes_to_the_hub_with_the_request(hub: ScriptedHub, served: Served) -> None:
    """Token, role and address; the Hub writes that down."""
    hub.holders[b"ours"] = Holder("ab12", "submit")
    hub.senders.clear()
    assert ask(served, "/ingest", "ours")[0] == 200
    assert hub.senders == ["ab12 submit 127.0.0.1"]


def test_each_request_of_a_connection_is_held_against_its_own_token(
    hub: ScriptedHub, served: Served
) -> None:
    """Also where the token before it opened the route, or did until now."""
    mine = hub.holders[b"mine"] = Holder("m", "submit")
    hub.holders[b"reads"] = Holder("r", "read")
    hub.holders[b"short"] = Holder("s", "submit", expires_at=1)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    hub.senders.clear()

    def status(token: str | None) -> int:
        headers = {"Content-Type": "application/json"}
        headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("POST", "/ingest", b"{}", headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    tokens = ["mine", "mine", "reads", "mine", "min", None, "mine", "short"]
    assert [status(token) for token in tokens] == [200, 200, 403, 200, 401, 401, 200, 200]
    del hub.holders[b"short"], hub.holders[b"mine"]
    assert status("short") == 401, "one that expires is looked up each time"
    served.call(mine.end)
    assert status("mine") == 401, "revoked on an open connection"
    assert hub.senders == [f"{who} submit 127.0.0.1" for who in "mmmms"]
    connection.close()


def test_an_open_stream_ends_with_its_token(hub: ScriptedHub, served: Served) -> None:
    """It is cut, so that its reader does not take what came for all there is."""
    for path in ("/pokes", "/events?follow=true", "/jobs/1/log?follow=true"):
        holder = hub.holders[b"soon gone"] = Holder("s", "read")
        hub.reading = LogReading(None, _endless(hub))
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
        connection.request("GET", path, headers={"Authorization": "Bearer soon gone"})
        answer = connection.getresponse()
        assert answer.status == 200
        served.call(holder.end)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
        connection.close()


def test_a_stream_ends_when_its_token_expires(hub: ScriptedHub, served: Served) -> None:
    """Nobody tells the Hub that time has passed."""
    hub.holders[b"short"] = Holder("s", "read", expires_at=1)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    connection.request("GET", "/pokes", headers={"Authorization": "Bearer short"})
    with pytest.raises((http.client.IncompleteRead, http.client.RemoteDisconnected)):
        connection.getresponse().read()
    connection.close()


async def _endless(hub: ScriptedHub) -> Any:
    yield b"some"
    await hub.feeds.grown(0)


# The Hub's own table


def row(kind: str, token_id: str, spec: dict[str, Any], at: int = 5) -> LogRow:
    """Return a row as the log has it."""
    event = {
        "at": at,
        "kind": kind,
        "payload": {"ctx": {}, "spec": {"token_id": token_id, "spec": spec}},
    }
    body = json.dumps({"events": [event], "pokes": [], "who": "access admin ::1"}).encode()
    return LogRow(1, 1, "b", bytes(32), bytes(32), 1, body)


def test_a_token_opens_until_it_expires_or_is_revoked() -> None:
    """By its whole text: one letter, another role or another id is another token."""
    made = make_token("submit")
    now = [100]
    tokens = Tokens(bytes(32), wall_ms=lambda: now[0])
    text = made.text.encode()
    assert tokens.holder(text) is None
    spec = {"role": "submit", "sha256": made.sha256, "expires_at": 200}
    tokens.take(*control_of(row("RegisterToken", made.token_id, spec)))
    holder = tokens.holder(text)
    assert holder is not None
    assert (holder.token_id, holder.role) == (made.token_id, "submit")
    for other in (text[:-1], text + b"a", text.replace(b"_submit_", b"_admin_"), b"", b"_" * 3):
        assert tokens.holder(other) is None
    now[0] = 200
    assert tokens.holder(text) is None
    now[0] = 199
    assert not holder.ended.is_set()
    tokens.take(*control_of(row("RevokeToken", made.token_id, {}, at=7)))
    assert tokens.holder(text) is None
    assert holder.ended.is_set()
    (listed,) = tokens.listed()
    assert (listed["revoked_at"], listed["is_valid"]) == (7, False)
    assert listed["created_by"] == "access"
    assert made.sha256 not in json.dumps(listed)


def test_a_token_is_registered_once() -> None:
    """What comes later under its id changes nothing: neither role nor secret."""
    first, second = make_token("read"), make_token("admin")
    tokens = Tokens(
        bytes(32),
        [
            row("RegisterToken", "t", {"role": "read", "sha256": first.sha256}),
            row("RegisterToken", "t", {"role": "admin", "sha256": second.sha256}),
        ],
    )
    assert [one["role"] for one in tokens.listed()] == ["read"]


def test_fault_13_tokens_are_those_of_the_engine_whatever_rows_say() -> None:
    """Rows of control are read before anybody has verified them, and one may be damaged: in a
    revocation, a role, an id, or so that it cannot be read."""
    made = {name: make_token("submit") for name in ("revoked", "role", "id", "unread", "whole")}
    specs = {name: {"role": "submit", "sha256": one.sha256} for name, one in made.items()}
    damaged = dict(specs, role={**specs["role"], "role": "admin"}, unread={"role": "submit"})
    ids = {name: one.token_id for name, one in made.items()} | {"id": "another"}
    rows = [row("RegisterToken", ids[name], damaged[name]) for name in made]
    rows += [row("RevokeToken", "whale", {}), row("RegisterToken", "t", {})._replace(body=b"{")]
    rows.append(row("RevokeToken", made["whole"].token_id, {}))  # never said
    tokens = Tokens(bytes(32), rows, wall_ms=lambda: 9)
    admitted = tokens.holder(made["role"].text.encode())
    assert admitted is not None and admitted.role == "admin"
    tokens.settle(
        (one.token_id, json.dumps(specs[name]), name == "revoked") for name, one in made.items()
    )
    assert admitted.ended.is_set(), "who was let in by what the row says is not any more"
    roles = {name: tokens.holder(one.text.encode()) for name, one in made.items()}
    assert roles.pop("revoked") is None
    assert {holder and holder.role for holder in roles.values()} == {"submit"}
    listed = {one["token_id"]: one for one in tokens.listed()}
    assert listed.keys() == {one.token_id for one in made.values()}
    assert listed[made["revoked"].token_id]["revoked_at"] == 9
    assert listed[made["revoked"].token_id]["created_by"] == "access"


def test_fault_64_a_tokens_text_is_in_no_repr() -> None:
    """A traceback, a log line or a debugger's print shows the id alone."""
    made = make_token("relay")
    assert made.text not in repr(made)
    assert made.text not in f"{made}"
    assert token_id_of(made.text.encode()) == made.token_id
