"""Hostile input against a real Hub: the right 4xx, words that help, and nothing left behind.

The table is design section 5, "By case", and reliability rows 37 to 45. Each line is sent to a Hub
that runs for the whole file, beside it a job whose facts must stay as they are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from hpc.access import read_access
from hpc.testing.processes import Cluster

DEADLINE_S = 60.0
NESTED = 5000


class Case(NamedTuple):
    """One hostile request and what it must be answered.

    Attributes:
        field: Of the first error of a 422; None where there is none.
        word: Stands in the document; a status alone would not tell why.
    """

    name: str
    request: str
    body: bytes | None
    status: int
    field: str | None = None
    word: str = ""


class Sender:
    """Sends raw requests with the token."""

    def __init__(self, cluster: Cluster) -> None:
        access = read_access(cluster.home)
        self.port = int(access.url.rsplit(":", 1)[1])
        self.headers = {"Authorization": f"Bearer {access.token}"}

    def send(
        self, request: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own."""
        method, path = request.split(" ", 1)
        sent = dict(self.headers)
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()

    def state(self) -> tuple[Any, ...]:
        """What must not change: the end of the log, the jobs, and every generator's facts."""
        head = json.loads(self.send("GET /events?cursor=0&limit=10000")[2])
        facts = [
            json.loads(self.send(f"GET /pull?gid={gid}&cursor=0")[2])["facts"]
            for gid in ("kernel", "batch", "monitor")
        ]
        return head["cursor"], head["next"], self.send("GET /jobs")[2], facts


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sender]:
    with Cluster(tmp_path_factory.mktemp("hub")) as cluster:
        sender = Sender(cluster)
        status, _, body = sender.send("POST /ingest", batch(submit(job_id="fit-1"), id="first-1"))
        assert status == 200, body
        yield sender


def event(kind: str, ctx: Any, spec: Any, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "payload": {"ctx": ctx, "spec": spec}, **more}


def submit(spec: dict[str, Any] | None = None, **ctx: Any) -> dict[str, Any]:
    """A submit to `batch` that is well-formed but for what is given."""
    whole = {"command": "true", "cpu": 1, "memory": 64} | (spec or {})
    return event("SubmitJob", {"ns_id": "batch", **ctx}, whole)


def cancel(job_id: str) -> dict[str, Any]:
    return event("CancelJob", {"ns_id": "batch", "job_id": job_id}, {})


def batch(*events: Any, **more: Any) -> bytes:
    return json.dumps({**more, "events": list(events)}).encode()


def raw(spec: bytes) -> bytes:
    """A submit whose `cpu` is these bytes, which need be no JSON."""
    return batch(submit({"cpu": "CPU"})).replace(b'"CPU"', spec)


def generator(**spec: Any) -> bytes:
    whole = {"namespaces": ["batch"], "rules": [], **spec}
    return json.dumps({"type": "RegisterGenerator", "gid": "probe", "spec": whole}).encode()


INGEST = "POST /ingest"
CONTROL = "POST /control"

UNREADABLE = [
    Case("nothing", INGEST, b"", 400),
    Case("half an object", INGEST, b"{", 400),
    Case("no JSON", INGEST, b"events", 400),
    Case("two values", INGEST, batch(submit()) + b"{}", 400),
    Case("nested", INGEST, raw(b"[" * NESTED + b"]" * NESTED), 400, word="nest"),
    Case("nested without end", INGEST, raw(b'{"a":' * 200_000), 400, word="nest"),
    Case("nested 65 deep", INGEST, b"[" * 65 + b"]" * 65, 400, word="nest"),
    Case("bad UTF-8", INGEST, raw(b'"\xff\xfe"'), 400),
    Case("overlong UTF-8", INGEST, raw(b'"\xc0\xaf"'), 400),
    Case("a lone surrogate", INGEST, raw(b'"\\ud800"'), 400),
    Case("NaN", INGEST, raw(b"NaN"), 400),
    Case("Infinity", INGEST, raw(b"-Infinity"), 400),
    Case("1e400", INGEST, raw(b"1e400"), 400),
    Case("5,000 digits", INGEST, raw(b"9" * 5000), 400),
    Case("past 64 bits", INGEST, raw(b"18446744073709551616"), 400),
    Case("a key twice", INGEST, raw(b'1, "cpu": 2'), 400, word="cpu"),
    Case("a key of the batch twice", INGEST, b'{"events": [], "events": []}', 400),
    Case("a bad escape", INGEST, raw(b'"\\x41"'), 400),
    Case("a raw control character", INGEST, raw(b'"a\nb"'), 400),
    Case("a bad flag", "POST /ingest?dry_run=perhaps", batch(submit()), 400, word="dry_run"),
    Case("an unknown query", "POST /ingest?nothing=1", batch(submit()), 400, word="nothing"),
    Case("no control JSON", CONTROL, b"\x00", 400),
    Case("no claim JSON", "POST /claim", b"[", 400),
    Case("a cursor below 0", "GET /pull?gid=kernel&cursor=-1", None, 400, word="cursor"),
    Case("no cursor", "GET /pull?gid=kernel&cursor=x", None, 400, word="cursor"),
    Case("a giant cursor", f"GET /pull?gid=kernel&cursor={10**30}", None, 400, word="cursor"),
    Case("a limit of 0", "GET /pull?gid=kernel&limit=0", None, 400, word="limit"),
    Case("a giant limit", "GET /pull?gid=kernel&limit=100001", None, 400, word="limit"),
    Case("a wait past 60 s", "GET /pull?gid=kernel&wait=61", None, 400, word="wait"),
    Case("a wait of NaN", "GET /pull?gid=kernel&wait=nan", None, 400, word="wait"),
    Case("a cursor twice", "GET /pull?gid=kernel&cursor=1&cursor=2", None, 400, word="cursor"),
    Case("an unknown pull query", "GET /pull?gid=kernel&nothing=1", None, 400, word="nothing"),
    Case("a query of no UTF-8", "GET /pull?gid=%ff", None, 400),
    Case("jobs with a bad limit", "GET /jobs?limit=-1", None, 400, word="limit"),
    Case("events below 0", "GET /events?cursor=-1", None, 400, word="cursor"),
    Case("a log's task below 0", "GET /jobs/fit-1/log?task=-1", None, 400, word="task"),
]

NOT_WELL_FORMED = [
    Case("a list", INGEST, b"[]", 422),
    Case("no events", INGEST, b"{}", 422, "events"),
    Case("zero events", INGEST, batch(), 422, "events"),
    Case("events as a map", INGEST, b'{"events": {}}', 422, "events"),
    Case("an event that is none", INGEST, batch(7), 422),
    Case("an unknown member", INGEST, batch(submit(), evnts=1), 422, "evnts"),
    Case("no kind", INGEST, batch({"payload": {}}), 422, "kind"),
    Case("no ctx", INGEST, batch({"kind": "SubmitJob", "payload": {"spec": {}}}), 422),
    Case("ctx as a list", INGEST, batch(event("SubmitJob", [], {})), 422, "ctx"),
    Case("an unknown kind", INGEST, batch(event("SubmitJab", {"ns_id": "batch"}, {})), 422, "kind"),
    Case("an unknown ctx field", INGEST, batch(submit(jobid="a")), 422, "ctx.jobid"),
    Case("an unknown spec field", INGEST, batch(submit({"cpus": 1})), 422, "spec.cpus"),
    Case("text for an Int", INGEST, batch(submit({"cpu": "two"})), 422, "spec.cpu"),
    Case("a Float for an Int", INGEST, batch(submit({"cpu": 1.0})), 422, "spec.cpu"),
    Case("an Int below its bound", INGEST, batch(submit({"cpu": 0})), 422, "spec.cpu"),
    Case("an Int below 64 bits", INGEST, raw(b"-9223372036854775808"), 422, "spec.cpu"),
    Case("a number for a String", INGEST, batch(submit({"command": 7})), 422, "spec.command"),
    Case("an empty command", INGEST, batch(submit({"command": ""})), 422, "spec.command"),
    Case("a path for an id", INGEST, batch(submit(job_id="../../etc")), 422, "ctx.job_id"),
    Case("a newline in an id", INGEST, batch(submit(job_id="a\nb")), 422, "ctx.job_id"),
    Case("NUL in an id", INGEST, batch(submit(job_id="a\0")), 422, "ctx.job_id"),
    Case("an id that is too long", INGEST, batch(submit(job_id="a" * 129)), 422, "ctx.job_id"),
    Case("digits for an id", INGEST, batch(submit(job_id="17")), 422, "ctx.job_id"),
    Case("a batch id with a slash", INGEST, batch(submit(), id="a/b/c"), 422, "id"),
    Case("a batch id that is a number", INGEST, batch(submit(), id=7), 422, "id"),
    Case("a long name", INGEST, batch(submit(name="n" * 201)), 422, "ctx.name"),
    Case("bad tasks", INGEST, batch(submit(tasks="9-0")), 422, "ctx.tasks"),
    Case("tasks without end", INGEST, batch(submit(tasks="0-99999999999")), 422, "ctx.tasks"),
    Case("a time before 1970", INGEST, batch(submit() | {"at": -1}), 422, "at"),
    Case("no env name", INGEST, batch(submit({"env": {"": "x"}})), 422, "spec.env"),
    Case("an env name with =", INGEST, batch(submit({"env": {"A=B": "x"}})), 422, "spec.env"),
    Case("an env name with NUL", INGEST, batch(submit({"env": {"A\0": "x"}})), 422, "spec.env"),
    Case("a cancel of no job", INGEST, batch(cancel("nobody")), 422, "ctx.job_id"),
    Case("one bad of three", INGEST, batch(submit(), submit({"cpu": -1}), submit()), 422),
    Case("a forget too soon", INGEST, batch(event("ForgetJob", {"job_id": "fit-1"}, {})), 422),
    Case("after a job of nobody", INGEST, batch(submit(after=["nobody"])), 422, "ctx.after"),
    Case("rules of no field", CONTROL, generator(rules=[{"on": "SubmitJob"}]), 422),
    Case("no such request", CONTROL, b'{"type": "DropEverything"}', 422, "type"),
    Case("a claim of nothing", "POST /claim", b"{}", 422),
]

OTHERS = [
    Case("no such namespace", INGEST, batch(submit(ns_id="nobody")), 404, word="batch"),
    Case("no such generator", "GET /pull?gid=nobody", None, 404),
    Case("no such job", "GET /jobs/nobody", None, 404),
    Case("no such job's log", "GET /jobs/nobody/log", None, 404),
    Case("no such task's log", "GET /jobs/fit-1/log?task=1", None, 404),
    Case("no such poke", "GET /pokes?gid=nobody", None, 404),
    Case("a path that climbs", f"GET /jobs/{quote('../../etc/passwd', safe='')}", None, 404),
    Case(
        "a kind of the Hub's own", INGEST, batch(event("JobClaimed", {"ns_id": "batch"}, {})), 403
    ),
    Case("another content", INGEST, batch(submit(), id="first-1"), 409, word="id_conflict"),
    Case(
        "another spec", INGEST, batch(submit({"cpu": 2}, job_id="fit-1")), 409, word="job_conflict"
    ),
    Case("a gap", INGEST, batch(submit(), id="origin-of-tests/2"), 409, word="expected"),
    Case("too many events", INGEST, batch(*[{}] * 100_001), 413),
    Case("too large an event", INGEST, batch(submit({"command": "x" * (1 << 20)})), 413),
    Case("too large a body", INGEST, b" " * ((64 << 20) + 1), 413),
    Case("no route", "POST /jobs/fit-1/cancel", b"{}", 404),
    Case("a wrong method", "DELETE /jobs/fit-1", None, 405),
]


@pytest.mark.parametrize(
    "case", UNREADABLE + NOT_WELL_FORMED + OTHERS, ids=lambda case: case.name.replace(" ", "-")
)
def test_fault_38_to_44_hostile_input_is_refused_and_leaves_nothing_behind(
    sender: Sender, case: Case
) -> None:
    """Never a 5xx, never a 200 with nothing in it: a problem that says what next."""
    before = sender.state()

    status, headers, body = sender.send(case.request, case.body)

    problem = json.loads(body)
    assert status == case.status, problem
    assert headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert all(problem[member] for member in ("type", "title", "detail", "code"))
    assert case.word in body.decode()
    if status == 422:
        first = problem["errors"][0]
        assert {"field", "expected", "got"} <= first.keys()
        assert case.field is None or first["field"].startswith(case.field), problem
    assert problem["hint"]
    assert sender.state() == before


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/", "http://127.0.0.1:1/", "file:///etc/passwd", "http://[::1]/"]
)
def test_fault_61_no_generator_makes_the_hub_call_somebody(sender: Sender, url: str) -> None:
    """Unless its owner has said where it may call; the hint names the flag."""
    before = sender.state()

    status, _, body = sender.send(CONTROL, generator(callback_url=url))

    assert status == 422
    problem = json.loads(body)
    assert problem["errors"][0]["field"] == "spec.callback_url"
    assert "--allow-callbacks" in problem["hint"]
    assert sender.state() == before


def test_fault_45_a_gzip_bomb_is_not_opened(sender: Sender) -> None:
    """Reliability row 45: bodies are not decompressed, so there is nothing to go off."""
    before = sender.state()

    status, _, body = sender.send(INGEST, b"\x1f\x8b" + bytes(1000), Content_Encoding="gzip")

    assert (status, json.loads(body)["code"]) == (415, "unsupported_media_type")
    assert sender.state() == before


def test_each_of_three_bad_events_is_named(sender: Sender) -> None:
    """Who sends a thousand events must not learn of their faults one by one."""
    bad = batch(submit({"cpu": 0}), submit(), submit({"memory": "much"}), submit({"x": 1}))

    status, _, body = sender.send(INGEST, bad)

    assert status == 422
    named = [(one["event"], one["field"]) for one in json.loads(body)["errors"]]
    assert named == [(0, "spec.cpu"), (2, "spec.memory"), (3, "spec.x")]


def test_what_is_odd_but_right_is_taken(sender: Sender) -> None:
    """The bounds refuse nothing that they should not: each of these is within them."""
    fine = [
        submit({"cpu": "2"}),
        submit({"command": "echo $'\\x1b[31m' ünïcödé 🚀 \u2028"}),
        submit(name="n" * 200),
        submit({"env": {"Ä": "\0"[:0], "B": "=;$(rm)"}}),
        submit(tasks="0-9,12"),
        submit(job_id="a" * 128),
    ]
    status, _, body = sender.send(INGEST, batch(*fine))

    assert status == 200, body
    assert json.loads(body)["count"] == len(fine)
