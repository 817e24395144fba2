"""Streams and held requests over a real server: they go on, end, and leave nothing behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_hub import DEADLINE_S, TOKEN, ScriptedHub, Served, chunks, serving, until

from hpc.ports import LogQuery, LogReading
from hpc.protocols import Answer
from hpc.transport.admission import Gate
from hpc.transport.authorisation import ROUTES
from hpc.transport.hot_routes import HOT_ROUTES
from hpc.transport.routes_read import read_handlers
from hpc.transport.routes_ui import ui_handlers


@pytest.fixture
def hub() -> ScriptedHub:
    return ScriptedHub()


@pytest.fixture
def served(hub: ScriptedHub) -> Iterator[Served]:
    with serving(hub) as served:
        yield served


@contextlib.contextmanager
def opened(
    served: Served, path: str, **headers: str
) -> Iterator[tuple[http.client.HTTPConnection, http.client.HTTPResponse]]:
    """Open a stream and leave it at the end, whether or not it has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        sent = {"Authorization": f"Bearer {TOKEN}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers=sent)
        yield connection, connection.getresponse()


def message(stream: http.client.HTTPResponse) -> list[bytes]:
    """Read one server-sent message; comments are left out, the end is an empty list."""
    while True:
        lines = []
        while (line := stream.readline()) not in (b"\n", b""):
            lines.append(line.rstrip(b"\n"))
        if not lines or not all(line.startswith(b":") for line in lines):
            return lines


def page(cursor: int, head: int) -> bytes:
    """Two events a page at most, as `GET /events` answers them."""
    data = [{"seq": seq, "kind": "K"} for seq in range(cursor + 1, min(cursor + 2, head) + 1)]
    last = head if not data else data[-1]["seq"]
    following = last if last < head else None
    return json.dumps({"cursor": last, "data": data, "next": following}).encode()


def test_pokes_come_as_server_sent_events(hub: ScriptedHub, served: Served) -> None:
    """Design section 2, to the letter: event, id and data with gid and cursor."""
    with opened(served, "/pokes") as (_, stream):
        assert stream.getheader("content-type") == "text/event-stream"
        until(lambda: hub.feeds.pokes)
        served.call(lambda: hub.feeds.tell(head_seq=17, pokes=[("probe", 17)], jobs=()))

        event, ident, data = message(stream)

    assert (event, ident) == (b"event: poke", b"id: 17")
    assert json.loads(data.removeprefix(b"data: ")) == {"gid": "probe", "cursor": 17}


def test_pokes_can_be_asked_for_by_generator(hub: ScriptedHub, served: Served) -> None:
    """A relay that follows two generators is not woken by the others."""
    with opened(served, "/pokes?gid=a&gid=b") as (_, stream):
        until(lambda: hub.feeds.pokes)
        pokes = [("c", 1), ("b", 2), ("a", 3)]
        served.call(lambda: hub.feeds.tell(head_seq=3, pokes=pokes, jobs=()))

        got = [message(stream)[1], message(stream)[1]]

    assert got == [b"id: 2", b"id: 3"]


def test_pokes_of_an_unknown_generator_are_404(hub: ScriptedHub, served: Served) -> None:
    """A misspelt gid would otherwise wait for ever."""
    hub.script = lambda *_: Answer(404, b'{"code":"not_found"}')

    assert served.request("GET", "/pokes?gid=nobody")[0] == 404


def test_a_subscriber_that_leaves_is_forgotten(hub: ScriptedHub, served: Served) -> None:
    """A dead follower must not be held, or a Hub that runs for months fills up."""
    with opened(served, "/pokes") as (connection, _):
        until(lambda: hub.feeds.pokes)
        connection.close()
        until(lambda: not hub.feeds.pokes)


def test_events_are_followed_page_by_page_and_then_as_they_come(
    hub: ScriptedHub, served: Served
) -> None:
    """No event is skipped or told twice where the stored ones end and the new ones begin."""
    head = 3
    hub.pages = lambda cursor, _limit: page(cursor, head)
    with opened(served, "/events?cursor=0&follow=true") as (_, stream):
        seen = [message(stream) for _ in range(3)]
        head = 5
        served.call(lambda: hub.feeds.tell(head_seq=5, pokes=[], jobs=()))
        seen += [message(stream) for _ in range(2)]

    assert [ident for ident, _ in seen] == [b"id: %d" % seq for seq in range(1, 6)]
    assert json.loads(seen[4][1].removeprefix(b"data: ")) == {"seq": 5, "kind": "K"}


def test_a_browser_that_reconnects_goes_on_where_it_was(hub: ScriptedHub, served: Served) -> None:
    """`Last-Event-ID` is what an EventSource sends by itself; it goes before the cursor."""
    hub.pages = lambda cursor, _limit: page(cursor, 9)
    with opened(served, "/events?cursor=0&follow=true", Last_Event_ID="8") as (_, stream):
        assert message(stream)[0] == b"id: 9"


def test_streams_end_when_the_hub_does(hub: ScriptedHub, served: Served) -> None:
    """SIGTERM must not wait for followers."""
    with (
        opened(served, "/pokes") as (_, pokes),
        opened(served, "/events?follow=true") as (_, events),
    ):
        until(lambda: hub.feeds.pokes)
        served.call(hub.feeds.close)

        assert message(pokes) == []
        assert message(events) == []


def test_a_log_comes_raw_with_its_note(hub: ScriptedHub, served: Served) -> None:
    """Output is bytes; what is missing stands in a header, never among them."""
    note = "bytes 3 to 8 are kept by the node n1"
    hub.reading = LogReading(note, chunks(b"a\xff", b"\n", b"z"), offset=7)

    status, headers, body = served.request(
        "GET", "/jobs/fit-1/log?task=3&stream=stderr&follow=true&last=9&after=5"
    )

    assert (status, body) == (200, b"a\xff\nz")
    assert (headers["hpc-note"], headers["hpc-offset"]) == (note, "7")
    assert hub.log_queries == [("fit-1", LogQuery(3, "stderr", True, 9, 5))]


@pytest.mark.parametrize(("method", "path"), [("POST", "/claim"), ("GET", "/pull?gid=g&wait=60")])
def test_a_client_that_leaves_a_held_request_is_noticed(
    hub: ScriptedHub, served: Served, method: str, path: str
) -> None:
    """The engine must not grant work to a claim that nobody waits for any more."""
    hub.script = lambda *_: None
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE_S)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    connection.request(method, path, b"{}" if method == "POST" else None, headers)
    until(lambda: hub.held is not None)

    connection.close()

    until(lambda: hub.left)
    assert hub.left == [path.partition("?")[0].removeprefix("/")]


def test_raw_bodies_and_queries_reach_the_hub_as_they_came(
    hub: ScriptedHub, served: Served
) -> None:
    """Design section 15, point 2: nothing on the way looks into them."""
    body = b' {"id" : "x",  "events":[ ] } '
    key: Any = {"Idempotency-Key": "a b&c"}

    served.request("POST", "/ingest?dry_run=true", body, key)
    served.request("POST", "/control", b"{")
    served.request("GET", "/pull?gid=a%20b&cursor=-1")
    served.request("GET", "/jobs/fit%201?x=1")
    served.request("POST", "/outputs", b"\0", {"Content-Type": "application/octet-stream"})

    assert hub.asked == [
        ("ingest", "dry_run=true&key=a%20b%26c", body),
        ("control", "", b"{"),
        ("pull", "gid=a%20b&cursor=-1", b""),
        ("job", "job_id=fit%201&x=1", b""),
        ("outputs", "", b"\0"),
    ]


@pytest.mark.parametrize("status", [200, 404, 409, 422, 503, 507])
def test_the_engines_answer_passes_as_it_is(hub: ScriptedHub, served: Served, status: int) -> None:
    """Status and body are the engine's; the type says whether it is a problem document."""
    hub.script = lambda *_: Answer(status, b'{"a": 1}')

    for method, path in (("POST", "/ingest"), ("GET", "/pull"), ("GET", "/nodes")):
        got, headers, body = served.request(method, path, b"{}" if method == "POST" else None)
        assert (got, body) == (status, b'{"a": 1}')
        kind = "application/json" if status == 200 else "application/problem+json"
        assert headers["content-type"] == kind


def test_the_schema_names_every_route_and_no_other(hub: ScriptedHub, served: Served) -> None:
    """The document is written by hand: a route that comes or goes without it fails here."""
    gate = Gate(hub)
    handlers = [*read_handlers(hub, gate), *ui_handlers(hub, gate)]
    served_at = {
        (re.sub(":[a-z]+", "", path), method.lower())
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    }

    status, headers, body = served.request("GET", "/schema")

    document = json.loads(body)
    assert (status, headers["content-type"]) == (200, "application/json")
    hot = {(path, ROUTES[path].methods[0].lower()) for path in HOT_ROUTES}
    told = {(path, method) for path, item in document["paths"].items() for method in item}
    assert told == served_at | hot


def test_events_of_one_job_are_followed_and_a_quiet_reader_is_told_how_far_others_came(
    hub: ScriptedHub, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wakes for its job alone; and after a day it can still come back where it was."""
    monkeypatch.setattr("hpc.transport.streams.COMMENT_S", 0.05)
    head = 1
    hub.pages = lambda cursor, _limit: page(cursor, head)
    with opened(served, "/events?cursor=0&follow=true&job=fit-1") as (_, stream):
        first = message(stream)
        until(lambda: "fit-1" in hub.feeds.jobs)
        quiet = message(stream)
        head = 2
        served.call(lambda: hub.feeds.tell(head_seq=9, pokes=[], jobs=["other", "fit-1"]))
        while (second := message(stream)) and len(second) < 2:
            pass

    assert first[0] == b"id: 1"
    assert quiet[-1] == b"id: 1"
    assert second[0] == b"id: 2"
    assert set(hub.jobs_read) == {"fit-1"}
    until(lambda: not hub.feeds.jobs)
