"""The blocking client: what it repeats, what it gives up, what it makes of refusals."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from canned_hub import TOKEN, Canned, CannedHub, Request, answer, job, problem

from hpc import as_completed
from hpc.access import Access, write_access
from hpc.client import Client
from hpc.client.patience import Patience
from hpc.errors import (
    Conflict,
    HpcError,
    NoHub,
    NotAllowed,
    NotFound,
    Refused,
    TimedOut,
    UsageError,
)
from hpc.transport.http_client import HttpClient, Unanswered

HUB_SAYS = b"HTTP/1.1 200 OK\r\nHpc-Hub: h\r\n"
RECEIPT = answer({"id": "b", "first_seq": 4, "count": 1, "duplicate": False, "jobs": ["7"]})


@pytest.fixture
def hub() -> Iterator[CannedHub]:
    with CannedHub() as serving:
        yield serving


@pytest.fixture
def http(hub: CannedHub) -> Iterator[HttpClient]:
    client = HttpClient(lambda: Access(hub.url, TOKEN), timeout_s=10)
    with contextlib.closing(client):
        yield client


@contextlib.contextmanager
def raw_server(*answers: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each request, on whatever connection, with the next bytes.

    None closes the connection unanswered. An answer stands for one request; after the last one
    connections are closed.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []
    left = list(answers)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while left:
                connection, _ = listener.accept()
                with connection:
                    while left and (received := connection.recv(65536)):
                        seen.append(received)
                        reply = left.pop(0)
                        if reply is None:
                            break
                        connection.sendall(reply)
                        if b"Connection: close" in reply or b"no-length" in reply:
                            break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.close()
        thread.join(10)


def reply(body: bytes, *headers: str) -> bytes:
    head = "\r\n".join(["HTTP/1.1 200 OK", "Hpc-Hub: h", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def at(url: str) -> HttpClient:
    return HttpClient(lambda: Access(url, TOKEN), timeout_s=5)


def test_one_connection_carries_many_requests() -> None:
    """A client that connects for each request is half as fast."""
    with raw_server(reply(b"1"), reply(b"2"), reply(b"3")) as (url, seen):
        client = at(url)
        assert [client.get("/x").body for _ in range(3)] == [b"1", b"2", b"3"]
    assert all(b"Authorization: Bearer " + TOKEN.encode() in request for request in seen)


def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    """The Hub closes idle connections; that is no failure of the next request."""
    with raw_server(reply(b"1"), None, reply(b"2")) as (url, seen):
        client = at(url)
        assert client.get("/x").body == b"1"
        assert client.get("/x").body == b"2"
    assert len(seen) == 3


def test_a_new_connection_that_ends_without_an_answer_is_unknown() -> None:
    """Only a kept one may have been closed before the request came."""
    with raw_server(None) as (url, _), pytest.raises(Unanswered):
        at(url).get("/x")


@pytest.mark.parametrize(
    "pieces",
    [
        HUB_SAYS + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nHpc-Hub: h\r\nX: no-length\r\n\r\nabcde",
        HUB_SAYS + b"Connection: close\r\nContent-Length: 5\r\n\r\nabcde",
    ],
)
def test_every_framing_of_a_body_is_read(pieces: bytes) -> None:
    """Chunks, a length, or until the connection ends."""
    with raw_server(pieces) as (url, _):
        assert at(url).get("/x").body == b"abcde"


@pytest.mark.parametrize(
    "pieces",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        HUB_SAYS + b"Connection: close\r\nContent-Length: 9\r\n\r\nabc",
        HUB_SAYS + b"Connection: close\r\nContent-Length: x\r\n\r\nabc",
        HUB_SAYS + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        HUB_SAYS + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
    ],
)
def test_what_is_no_whole_answer_is_unknown(pieces: bytes) -> None:
    """Half an answer must not be taken for one."""
    with raw_server(pieces) as (url, _), pytest.raises(Unanswered):
        at(url).get("/x")


def test_fault_30_a_hub_that_says_nothing_is_given_up_at_the_deadline() -> None:
    """A command never hangs for ever."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = HttpClient(lambda: Access(f"http://127.0.0.1:{silent.getsockname()[1]}", "t"))
        with pytest.raises(Unanswered, match="no answer in time"):
            client.get("/x", timeout_s=0.2)


def test_nobody_there_is_told_with_the_url_and_a_way_out() -> None:
    """Nothing was sent, and that is said by the class."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(NoHub, match="connection refused") as nobody:
        at(url).get("/x")
    assert url in nobody.value.message
    assert type(nobody.value) is NoHub
    assert "hpc up" in (nobody.value.hint or "")


def test_after_a_refused_connection_the_access_file_is_read_again(
    hub: CannedHub, tmp_path: Path
) -> None:
    """A Hub with `--port 0` comes back elsewhere."""
    hub.routes["GET", "/x"] = Canned()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        accesses = [Access(f"http://127.0.0.1:{gone.getsockname()[1]}", TOKEN)]
    accesses.append(Access(hub.url, TOKEN))
    client = HttpClient(lambda: accesses.pop(0) if len(accesses) > 1 else accesses[0])
    assert client.get("/x").status == 200


def test_after_a_401_the_access_file_is_read_again(hub: CannedHub, tmp_path: Path) -> None:
    """A token that was changed does not end a program that waits."""
    hub.routes["GET", "/x"] = Canned()
    tokens = ["old", TOKEN]
    client = HttpClient(lambda: Access(hub.url, tokens.pop(0) if len(tokens) > 1 else tokens[0]))
    assert client.get("/x").status == 200
    hub.token = "changed again"
    with pytest.raises(NotAllowed):
        client.get("/x")


@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [
        (400, Refused, 5), (403, NotAllowed, 7), (404, NotFound, 4), (409, Conflict, 6),
        (410, NotFound, 4), (413, Refused, 5), (415, Refused, 5), (422, Refused, 5),
        (426, Refused, 5), (429, NoHub, 3), (500, HpcError, 1), (503, NoHub, 3), (507, NoHub, 3),
    ],
)  # fmt: skip
def test_each_status_is_its_error(
    hub: CannedHub, http: HttpClient, status: int, kind: type[HpcError], exit_code: int
) -> None:
    """The class decides what a program does and what a command exits with."""
    hub.routes["GET", "/x"] = problem(status, "a_code", "what failed.", hint="what next")
    with pytest.raises(kind) as refused:
        http.get("/x")
    error = refused.value
    assert (type(error), error.exit_code) == (kind, exit_code)
    assert (error.message, error.code, error.hint) == ("What failed", "a_code", "what next")


def test_a_refusal_that_is_no_problem_document_is_told_too(
    hub: CannedHub, http: HttpClient
) -> None:
    """A proxy answers in its own words."""
    hub.routes["GET", "/x"] = Canned(502, b"<h1>Bad gateway</h1>")
    with pytest.raises(NoHub, match="Bad gateway"):
        http.get("/x")


def test_the_fields_of_a_422_are_told_one_by_one(hub: CannedHub, http: HttpClient) -> None:
    """All that is wrong is mended in one go; nothing is said twice."""
    errors = [
        {"event": 0, "field": "spec.cpu", "expected": "Int", "got": '"two"', "hint": "give 2"},
        {"event": 0, "field": "spec.memory", "expected": "Int", "got": "nothing"},
    ]
    detail = 'Event 0: `spec.cpu` must be Int, got "two"'
    hub.routes["POST", "/x"] = problem(422, "not_well_formed", detail, errors=errors)
    with pytest.raises(Refused) as refused:
        http.post("/x", {})
    error = refused.value
    assert error.message == detail + "\n  `spec.memory` must be Int, got nothing"
    assert (error.field, error.hint, error.errors) == ("spec.cpu", "give 2", errors)


@pytest.fixture
def client(hub: CannedHub) -> Iterator[Client]:
    with Client(hub.url, token=TOKEN, patience_s=5) as made:
        yield made


def test_a_batch_whose_answer_was_lost_is_sent_again_under_its_id(
    hub: CannedHub, client: Client
) -> None:
    """What was recorded is not recorded twice: the id decides."""
    hub.routes["POST", "/ingest"] = [None, problem(503, "stopping", "the Hub ends"), RECEIPT]
    submitted = client.submit(["true"])
    assert len(hub.asked) == 3
    assert len({json.dumps(request.body) for request in hub.asked}) == 1
    assert hub.asked[0].body["events"][0]["payload"]["ctx"]["job_id"] == submitted.id


def test_fault_57_a_client_comes_again_when_the_hub_has_said_and_not_at_once(
    hub: CannedHub, http: HttpClient
) -> None:
    """Else who is told to wait would ask four times a second; and a thousand would be in step."""
    busy = problem(503, "busy", "much to do")._replace(headers={"Retry-After": "7"})
    hub.routes["GET", "/x"] = [answer({}), busy, busy, answer({})]
    waited: list[float] = []
    patience = Patience(60.0, None, sleep=waited.append, now=lambda: sum(waited))
    for _ in range(2):
        patience.ask(lambda: http.get("/x"))
    assert len(waited) == 2
    assert all(7.0 <= one_s <= 10.5 for one_s in waited)
    assert waited[0] != waited[1]


def test_who_is_asked_again_by_http_hears_that_tls_may_be_the_matter(
    hub: CannedHub, http: HttpClient
) -> None:
    """A Hub with TLS closes what does not begin with it; the hint came only after ten minutes."""
    hub.routes["GET", "/x"] = [None, None, None, answer({})]
    waited: list[float] = []
    told: list[str] = []
    patience = Patience(
        60.0, told.append, sleep=lambda _s: waited.append(2.0), now=lambda: sum(waited)
    )
    patience.was_there = True
    patience.ask(lambda: http.get("/x"))
    (why,) = told
    assert why.endswith("the connection was closed; if it serves TLS, its URL begins with https://")


def test_patience_ends_with_the_id_that_makes_the_repeat_safe(hub: CannedHub) -> None:
    """Unknown is not no; the message says how to ask again."""
    hub.routes["POST", "/ingest"] = problem(507, "full", "no space")
    with Client(hub.url, token=TOKEN, patience_s=0.2) as client, pytest.raises(NoHub) as unknown:
        client.ingest([{}], batch_id="mine")
    assert unknown.value.exit_code == 3
    assert "--batch-id mine" in (unknown.value.hint or "")


def test_the_id_is_told_also_where_the_last_try_found_no_hub(hub: CannedHub) -> None:
    """The first may have been recorded before the Hub was gone for good."""

    def gone(_request: Request) -> None:
        hub.stop_listening()

    hub.routes["POST", "/ingest"] = gone
    with Client(hub.url, token=TOKEN, patience_s=0.3) as client, pytest.raises(NoHub) as unknown:
        client.ingest([{}], batch_id="mine")
    assert "--batch-id mine" in (unknown.value.hint or "")


@pytest.mark.parametrize(
    "said", [Canned(200, b"[]"), Canned(200, b"<html>"), Canned(404, b"<html>"), Canned(302)]
)
def test_what_is_no_hub_is_told_from_one(hub: CannedHub, said: Canned) -> None:
    """The port is a common one: whatever another program answers is no success and no refusal."""
    hub.is_hub = False
    hub.routes["POST", "/ingest"] = said
    hub.routes["GET", "/jobs/7/log"] = said
    with Client(hub.url, token=TOKEN) as client:
        with pytest.raises(NoHub, match="is no Hub"):
            client.submit(["true"])
        with pytest.raises(NoHub, match="is no Hub"):
            client.log("7")


def test_a_refusal_is_not_repeated(hub: CannedHub, client: Client) -> None:
    """It would be refused again."""
    hub.routes["POST", "/ingest"] = problem(409, "job_conflict", "another spec")
    with pytest.raises(Conflict):
        client.submit(["true"])
    assert len(hub.asked) == 1


def test_waiting_is_a_read_that_the_hub_holds(hub: CannedHub, client: Client) -> None:
    """Nothing polls: the read of a job waits for its end, and is asked again after a minute."""
    hub.routes["POST", "/ingest"] = RECEIPT
    submitted = client.submit(["true"])
    hub.routes["GET", f"/jobs/{submitted.id}"] = [
        answer({"cursor": 6, "data": job(submitted.id, "running")}),
        answer({"cursor": 11, "data": job(submitted.id, "failed")}),
    ]
    assert submitted.wait()["state"] == "failed"
    reads = hub.asked[1:]
    assert [request.path for request in reads] == [f"/jobs/{submitted.id}"] * 2
    assert all(float(request.query["wait"]) > 1 for request in reads)


def test_an_empty_page_that_has_a_next_is_gone_on_from(hub: CannedHub, client: Client) -> None:
    """The Hub looks at so many jobs for a page; that none of them fits does not end the list."""
    hub.routes["GET", "/jobs"] = [
        answer({"cursor": 9, "data": [], "next": "a"}),
        answer({"cursor": 9, "data": [job("b")], "next": "c"}),
        answer({"cursor": 9, "data": [job("d")], "next": None}),
    ]
    assert [row["job_id"] for row in client.jobs(state="running")] == ["b", "d"]
    assert [request.query.get("after") for request in hub.asked] == [None, "a", "c"]


def test_the_past_is_not_waited_for(hub: CannedHub) -> None:
    """What was over then is told; what was not will never be."""
    hub.routes["GET", "/jobs/7"] = [
        answer({"cursor": 9, "data": job()}),
        answer({"cursor": 9, "data": job(state="running")}),
    ]
    with Client(hub.url, token=TOKEN, at=9) as then:
        assert then.wait("7")["state"] == "succeeded"
        with pytest.raises(UsageError, match="not over at 9"):
            then.wait("7")
    assert [request.query for request in hub.asked] == [{"at": "9"}] * 2


def test_a_wait_ends_at_its_time(hub: CannedHub, client: Client) -> None:
    """The job goes on, and the message says so."""
    hub.routes["GET", "/jobs/7"] = answer({"cursor": 9, "data": job(state="running")})
    with pytest.raises(TimedOut) as late:
        client.job("7").wait(timeout_s=0.1)
    assert late.value.exit_code == 124
    assert all(float(request.query.get("wait", 0)) <= 0.1 for request in hub.asked)


def test_the_time_of_a_wait_has_two_names(hub: CannedHub, client: Client) -> None:
    """Ours, and the one of `concurrent.futures`; by both at once it would be a guess."""
    hub.routes["GET", "/jobs/7"] = answer({"cursor": 9, "data": job(state="running")})
    page = {"gid": "kernel", "hub": "h", "cursor": 9, "facts": {}, "more": False}
    hub.routes["GET", "/pull"] = answer(page)
    seven = client.job("7")
    for late in (
        lambda: seven.wait(timeout=0.05),
        lambda: client.wait("7", timeout=0.05),
        lambda: next(as_completed([seven], timeout_s=0.05)),
        lambda: next(as_completed([seven], timeout=0.05)),
    ):
        with pytest.raises(TimedOut):
            late()
    for twice in (
        lambda: seven.wait(1, timeout=1),
        lambda: client.wait("7", timeout_s=1, timeout=1),
        lambda: as_completed([seven], 1, timeout_s=1),
    ):
        with pytest.raises(TypeError, match="give it once"):
            twice()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cpus", "; did you mean `cpu`?"),
        ("after_tasks", "; did you mean `after_task`?"),
        ("timeout", "; did you mean `time_limit`?"),
        ("xyzzy", "."),
    ],
)
def test_an_argument_that_nobody_knows_is_named(
    hub: CannedHub, client: Client, name: str, near: str
) -> None:
    """With what is near and what there is; nothing is sent, nor is a graph."""
    with pytest.raises(TypeError) as refused:
        client.submit("true", **{name: 1})
    said = str(refused.value)
    assert said.startswith(f"Client.submit() has no argument `{name}`{near} It takes: command, ")
    assert {"after", "cpu", "ulimits", "hold"} <= set(said.partition("takes: ")[2].split(", "))
    with client.graph() as graph, pytest.raises(TypeError, match=r"^Graph\.submit"):
        graph.submit("true", **{name: 1})
    assert hub.asked == []


def test_a_wait_outlives_a_hub_that_restarts(hub: CannedHub, client: Client) -> None:
    """The next one is asked the same."""
    hub.routes["GET", "/jobs/7"] = [
        answer({"cursor": 9, "data": job(state="running")}),
        None,
        problem(503, "not_ready", "the Hub recovers its log"),
        answer({"cursor": 12, "data": job()}),
    ]
    assert client.job("7").wait()["state"] == "succeeded"
    assert hub.paths() == ["GET /jobs/7"] * 4


def test_another_hub_behind_the_url_is_asked_for_the_job(hub: CannedHub, client: Client) -> None:
    """It may not know the job at all."""
    hub.routes["GET", "/jobs/7"] = [
        answer({"cursor": 9, "data": job(state="running")}),
        problem(404, "not_found", "Job `7` is not known"),
    ]
    with pytest.raises(NotFound):
        client.job("7").wait()


def test_pages_are_followed_to_the_end(hub: CannedHub, client: Client) -> None:
    """A list longer than a page is whole."""

    def rows(request: Request) -> Canned:
        first = int(request.query.get("after", "0")) + 1
        data = [job(str(first)), job(str(first + 1))]
        return answer({"cursor": 9, "data": data, "next": str(first + 1) if first < 5 else None})

    hub.routes["GET", "/jobs"] = rows
    assert [row["job_id"] for row in client.jobs()] == ["1", "2", "3", "4", "5", "6"]


def test_a_log_is_yielded_as_it_comes(hub: CannedHub, client: Client) -> None:
    """Bytes, not text: output may be anything."""
    hub.routes["GET", "/jobs/a.b/log"] = Canned(body=b"\xff\x00\n" * 1000)
    assert b"".join(client.job("a.b").log(3, stream="stderr", follow=True)) == b"\xff\x00\n" * 1000
    assert hub.asked[0].query == {"stream": "stderr", "task": "3", "follow": "true"}


def test_events_are_taken_up_after_a_break(hub: CannedHub, client: Client) -> None:
    """No event is missed and none comes twice."""
    hub.routes["GET", "/events"] = [
        answer({"cursor": 1, "data": [{"seq": 1}]}),
        answer({"cursor": 1, "data": []}),
        Canned(body=b': open\n\nid: 2\ndata: {"seq": 2}\n\nid: 3\ndata: {"s', cut=44),
        Canned(body=b'id: 3\ndata: {"seq": 3}\n\n'),
    ]
    found = client.events(follow=True)
    assert [next(found)["seq"] for _ in range(3)] == [1, 2, 3]
    followed = [request.query for request in hub.asked if "follow" in request.query]
    assert [query["cursor"] for query in followed] == ["1", "2"]


def test_the_access_file_leads_to_the_hub(
    hub: CannedHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Client()` needs no argument where `hpc hub` was started."""
    for name in ("HPC_HUB_URL", "HPC_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HPC_HOME", str(tmp_path))
    write_access(tmp_path, Access(hub.url, TOKEN))
    hub.routes["GET", "/jobs/7"] = answer({"cursor": 1, "data": job()})
    with Client() as client:
        assert client.info("7")["state"] == "succeeded"
