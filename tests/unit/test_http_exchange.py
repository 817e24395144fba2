"""Requests of hot routes, which do not go through ASGI: bytes on a socket of a real server."""

from __future__ import annotations

import gc
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from scripted_hub import DEADLINE_S, TOKEN, ScriptedHub, Served, dialled, serving, until

from hpc.protocols import Answer
from hpc.transport import bodies, connection

HEAD = f"Host: hub\r\nAuthorization: Bearer {TOKEN}\r\n"
CLAIM, INGEST = "POST /claim", "POST /ingest"


@pytest.fixture
def hub() -> ScriptedHub:
    return ScriptedHub()


@pytest.fixture
def served(hub: ScriptedHub) -> Iterator[Served]:
    with serving(hub) as served:
        yield served


def request(
    line: str, body: bytes | None = b"{}", *, more: str = "", version: str = "HTTP/1.1"
) -> bytes:
    """Return a request's bytes."""
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    return f"{line} {version}\r\n{HEAD}{length}{more}\r\n".encode() + (body or b"")


class Answers:
    """Reads answers one after the other."""

    def __init__(self, sock: socket.socket) -> None:
        self._file = sock.makefile("rb")

    def next(self, *, has_body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        length = int(headers["content-length"]) if has_body else 0
        return status, headers, self._file.read(length)

    def are_over(self) -> bool:
        """Return whether the server has closed, and said nothing more."""
        return self._file.read() == b""


def test_what_comes_behind_a_held_request_waits_for_its_answer(
    hub: ScriptedHub, served: Served
) -> None:
    """HTTP answers in the order of the requests, and a claim may be held for minutes."""
    hub.script = lambda verb, *_: None if verb == "claim" else Answer(200, b'"taken"')
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(CLAIM) + request(INGEST) + request("GET /nodes", None))
        until(lambda: hub.waiting is not None)
        assert [verb for verb, *_ in hub.asked] == ["claim"]

        served.call(hub.waiting, Answer(200, b'"granted"'))

        assert [answers.next()[2] for _ in range(3)] == [b'"granted"', b'"taken"', b'"taken"']
        assert [verb for verb, *_ in hub.asked] == ["claim", "ingest", "nodes"]


def test_a_request_like_the_one_before_it_has_its_own_body(
    hub: ScriptedHub, served: Served
) -> None:
    """Its head is not parsed again; where anything but the length differs, it is."""
    bodies_sent = [b"{}", b'{"a": 1}', b"{}", b'{"b": ' + b"1" * 3000 + b"}"]
    with dialled(served) as sock:
        answers = Answers(sock)
        for body in bodies_sent:
            for line in (INGEST, CLAIM, INGEST + "?dry_run=true"):
                sock.sendall(request(line, body))
                assert answers.next()[0] == 200
            sock.sendall(request("GET /nodes", None))
            assert answers.next()[0] == 200
    asked = [(verb, query, body) for verb, query, body, *_ in hub.asked if verb != "nodes"]
    assert asked == [
        (verb, query, body)
        for body in bodies_sent
        for verb, query in (("ingest", ""), ("claim", ""), ("ingest", "dry_run=true"))
    ]


@pytest.mark.parametrize("pieces", [2, 3, 200])
def test_a_request_like_the_one_before_it_may_come_in_pieces(
    hub: ScriptedHub, served: Served, pieces: int
) -> None:
    """And what comes behind it in its packet is the next one."""
    body = b'{"a": 1}'
    whole = request(INGEST, body)
    with dialled(served) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(sock)
        for _ in range(2):
            sock.sendall(whole)
            assert answers.next()[0] == 200
        size = -(-len(whole) // pieces)
        for start in range(0, len(whole), size):
            sock.sendall(whole[start : start + size])
        assert answers.next()[0] == 200
        sock.sendall(whole + whole + request("GET /nodes", None))
        assert [answers.next()[0] for _ in range(3)] == [200] * 3
    assert [body for verb, _, body, *_ in hub.asked if verb == "ingest"] == [body] * 5


@pytest.mark.parametrize(
    ("length", "status"),
    [("x", 400), ("-2", 400), ("2\r\nContent-Length: 3", 400), ("2, 2", 400), ("1" * 12, 413)],
)
def test_a_length_that_is_none_is_refused_behind_a_request_with_the_same_head(
    hub: ScriptedHub, served: Served, length: str, status: int
) -> None:
    """What a parser would refuse is not taken for what it is not."""
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(INGEST))
        assert answers.next()[0] == 200
        sock.sendall(f"{INGEST} HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\n{{}}".encode())
        assert answers.next()[0] == status
    assert len(hub.asked) == 1


def test_a_token_that_opens_nothing_any_more_is_seen_behind_a_request_with_the_same_head(
    hub: ScriptedHub, served: Served
) -> None:
    """A head that is known is judged anew: only its parsing is spared."""
    with dialled(served) as sock:
        answers = Answers(sock)
        for _ in range(2):
            sock.sendall(request(INGEST))
            assert answers.next()[0] == 200
        served.call(hub.holders.pop(TOKEN.encode()).ended.set)
        sock.sendall(request(INGEST))
        assert answers.next()[0] == 401
    assert len(hub.asked) == 2


def test_a_request_like_the_one_before_it_is_held_as_any_other(
    hub: ScriptedHub, served: Served
) -> None:
    """What comes behind it waits for its answer, and its client may leave."""
    with dialled(served) as sock:
        answers = _after_one_like_it(sock, CLAIM)
        hub.script = lambda verb, *_: None if verb == "claim" else Answer(200, b'"taken"')
        sock.sendall(request(CLAIM))
        until(lambda: hub.waiting is not None)
        sock.sendall(request(CLAIM) + request(INGEST))
        held, hub.waiting = hub.waiting, None
        served.call(held, Answer(200, b'"granted"'))
        assert answers.next()[2] == b'"granted"'
        until(lambda: hub.waiting is not None)
        assert [verb for verb, *_ in hub.asked] == ["claim"] * 3

        served.call(hub.waiting, Answer(200, b'"again"'))
        assert [answers.next()[2], answers.next()[2]] == [b'"again"', b'"taken"']
        sock.sendall(request(CLAIM))
        until(lambda: len(hub.asked) == 5)
        assert hub.left == []
        sock.shutdown(socket.SHUT_RDWR)
        until(lambda: hub.left == ["claim"])


def test_a_hub_that_stops_answers_what_came_again_and_closes(hub: ScriptedHub) -> None:
    """Its client must not send another one into a connection that nobody reads."""

    def answer_late() -> None:
        until(lambda: not _is_listening(served.port))
        served.call(hub.waiting, Answer(200, b'"late"'))

    with socket.socket() as sock:
        with serving(hub) as served:
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", served.port))
            answers = _after_one_like_it(sock, CLAIM)
            hub.script = lambda *_: None
            sock.sendall(request(CLAIM))
            until(lambda: hub.waiting is not None)
            answering = threading.Thread(target=answer_late, daemon=True)
            answering.start()
        answering.join(DEADLINE_S)
        status, headers, body = answers.next()
        assert (status, headers["connection"], body) == (200, "close", b'"late"')
        assert answers.are_over()


def _is_listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _after_one_like_it(sock: socket.socket, line: str) -> Answers:
    """Have one request answered; the next one with its head is not parsed."""
    answers = Answers(sock)
    sock.sendall(request(line))
    assert answers.next()[0] == 200
    return answers


@pytest.mark.parametrize(
    ("packet", "status"),
    [
        (request(INGEST, more="Connection: close\r\n"), 200),
        (request(INGEST, version="HTTP/1.0"), 200),
        (request("PUT /ingest"), 405),
        (f"{INGEST} HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n".encode(), None),
        (f"{INGEST} HTTP/1.1\r\n{HEAD}Content-Length: 2\r\n\r\n{{".encode(), None),
        (b"\r\n" + request(INGEST), 200),
        (request(INGEST) + b"\r\n", 200),
        (
            f"{INGEST} HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n"
            "2\r\n{}\r\n0\r\n\r\n".encode(),
            200,
        ),
        (
            f"{INGEST} HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
            "{}".encode(),
            400,
        ),
    ],
)
def test_what_is_not_quite_like_the_request_before_it_is_parsed(
    hub: ScriptedHub, served: Served, packet: bytes, status: int | None
) -> None:
    """And a request that is like it, behind that, is answered as after any other."""
    with dialled(served) as sock:
        answers = _after_one_like_it(sock, INGEST)
        sock.sendall(packet)
        if status is None:  # it is not whole
            for _ in range(2):
                served.call(lambda: None)
            assert len(hub.asked) == 1
            return
        got, headers, _ = answers.next()
        assert got == status
        if "connection" in headers:
            assert answers.are_over()
            return
        sock.sendall(request(INGEST, b'{"a": 1}'))
        assert answers.next()[0] == 200
        assert [body for *_, body in hub.asked][-1] == b'{"a": 1}'
        assert len(hub.asked) == (3 if status == 200 else 2)


def test_a_long_head_is_not_kept(served: Served) -> None:
    """A connection that is open keeps what the last head took; there may be thousands."""

    def known() -> list[object]:
        return [
            one
            for one in gc.get_objects()
            if isinstance(one, connection._Known) and b"X-Of-This-Test" in one.head
        ]

    with dialled(served) as sock:
        answers = Answers(sock)
        for length, kept in ((8000, 0), (10, 1)):
            more = f"X-Of-This-Test: {'x' * length}\r\nContent-Length: 2\r\n"
            sock.sendall(request(INGEST, None, more=more) + b"{}")
            assert answers.next()[0] == 200
            assert len(served.call(known)) == kept


def test_a_thousand_requests_in_one_packet_are_answered(served: Served) -> None:
    """Each begins when the one before it is over, and not inside of it."""
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(CLAIM) * 999 + request("PUT /claim"))

        assert [answers.next()[0] for _ in range(1000)] == [200] * 999 + [405]


def test_who_leaves_takes_back_what_is_held_and_nothing_else(
    hub: ScriptedHub, served: Served
) -> None:
    """A claim nobody waits for must not be granted; a batch is recorded although nobody waits."""
    hub.script = lambda *_: None
    for line, left in ((INGEST, []), (CLAIM, ["claim"]), ("GET /jobs/fit?wait=5", ["job"])):
        hub.left.clear()
        hub.waiting = None
        with dialled(served) as sock:
            sock.sendall(request(line, None if line.startswith("GET") else b"{}"))
            until(lambda: hub.waiting is not None)
        until(lambda left=left: hub.left == left)
        for _ in range(2):  # a round of the loop that has surely seen the end of the connection
            served.call(lambda: None)
        assert hub.left == left
        served.call(hub.waiting, Answer(200, b"{}"))  # nobody is there any more


def test_a_request_that_is_left_while_it_waits_for_its_turn_never_reaches_the_hub(
    hub: ScriptedHub, served: Served
) -> None:
    """Its client knows nothing of it, and will send it again."""
    hub.script = lambda *_: None
    with dialled(served) as sock:
        sock.sendall(request(CLAIM) + request(INGEST))
        until(lambda: hub.waiting is not None)
    until(lambda: hub.left)

    assert [verb for verb, *_ in hub.asked] == ["claim"]


def test_a_client_that_waits_for_a_word_before_its_body_gets_it(served: Served) -> None:
    """`curl` does so before a large body; a refusal comes instead of the word."""
    expects = "Expect: 100-continue\r\n"
    with dialled(served) as sock:
        answers = Answers(sock)
        whole = request(INGEST, b'{"a":1}', more=expects)
        sock.sendall(whole[:-7])
        assert answers.next(has_body=False)[0] == 100
        sock.sendall(whole[-7:])
        assert answers.next()[0] == 200
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request("PUT /ingest", b"", more=expects + "Content-Type: text/plain\r\n"))
        assert answers.next()[0] == 405


def test_head_says_what_get_would_without_a_body(served: Served) -> None:
    """The next answer on the connection would be taken for its body."""
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request("HEAD /pull", None) + request(INGEST))
        status, headers, _ = answers.next(has_body=False)
        assert (status, headers["allow"]) == (405, "GET")
        assert int(headers["content-length"]) > 0
        assert answers.next()[0] == 200


@pytest.mark.parametrize(
    ("version", "more"), [("HTTP/1.0", ""), ("HTTP/1.1", "Connection: close\r\n")]
)
def test_a_connection_that_is_to_be_closed_is(served: Served, version: str, more: str) -> None:
    """Once the answer is out, and with a word that says so."""
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(INGEST, version=version, more=more))
        status, headers, _ = answers.next()
        assert (status, headers["connection"]) == (200, "close")
        assert answers.are_over()


def test_who_asks_for_messagepack_gets_it(hub: ScriptedHub, served: Served) -> None:
    """Refusals as well: a client has one decoder."""
    hub.script = lambda *_: Answer(200, b'{"a": [1, 2.5]}')
    accepts = "Accept: application/msgpack\r\n"
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(INGEST, more=accepts) + request("PUT /ingest", more=accepts))
        status, headers, body = answers.next()
        assert (status, headers["content-type"]) == (200, "application/msgpack")
        assert msgspec.msgpack.decode(body) == {"a": [1, 2.5]}
        status, headers, body = answers.next()
        assert (status, headers["content-type"]) == (405, "application/msgpack")
        assert msgspec.msgpack.decode(body)["code"] == "wrong_method"


def test_a_chunked_body_that_grows_too_large_is_refused_and_the_connection_lives(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells no length is counted as it comes; what still comes of it is dropped."""
    monkeypatch.setattr(bodies, "BODY_BYTES_MAX", 1000)
    chunked = f"{INGEST} HTTP/1.1\r\n{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"258\r\n" + b" " * 600 + b"\r\n"
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(chunked + chunk * 2)
        status, _, body = answers.next()
        assert (status, json.loads(body)["code"]) == (413, "too_large")
        sock.sendall(chunk * 3 + b"0\r\n\r\n" + request(INGEST))
        assert answers.next()[0] == 200


def test_bodies_are_counted_until_they_are_answered(
    hub: ScriptedHub, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is held together has a limit; what was answered or left counts no more."""
    monkeypatch.setattr(bodies, "HELD_BYTES_MAX", 1500)
    body = b" " * 1000
    hub.script = lambda *_: None
    with dialled(served) as first:
        first.sendall(request(CLAIM, body))
        until(lambda: hub.waiting is not None)
        with dialled(served) as second:
            second.sendall(request(INGEST, body))
            assert Answers(second).next()[0] == 503
    until(lambda: hub.left)
    hub.script = lambda *_: Answer(200, b"{}")
    for _ in range(3):
        with dialled(served) as sock:
            sock.sendall(request(INGEST, body))
            assert Answers(sock).next()[0] == 200


def test_a_client_that_does_not_read_is_not_answered_more(hub: ScriptedHub, served: Served) -> None:
    """What it has asked for waits for it, and not in the Hub's memory for ever."""
    size = 8 << 20
    hub.script = lambda *_: Answer(200, b'"' + b"x" * size + b'"')
    with dialled(served) as sock:
        sock.sendall(request("GET /pull", None) * 4)
        until(lambda: len(hub.asked) >= 2)
        asked: list[Any] = list(hub.asked)
        answers = Answers(sock)
        assert [len(answers.next()[2]) for _ in range(4)] == [size + 2] * 4
    assert len(asked) < 4


def test_a_fault_of_the_hub_is_a_503_and_shows_nothing(
    hub: ScriptedHub, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """The traceback is for who runs the Hub."""

    def fail(*_: object) -> Answer:
        raise RuntimeError("a secret of the Hub")

    hub.script = fail
    with dialled(served) as sock:
        sock.sendall(request(INGEST))
        status, _, body = Answers(sock).next()

    assert (status, json.loads(body)["code"]) == (503, "internal")
    assert b"secret" not in body
    assert "a secret of the Hub" in capfd.readouterr().err


def test_who_is_refused_is_not_heard_however_slowly_it_reads(
    hub: ScriptedHub, served: Served
) -> None:
    """A refusal that cannot be written yet is one: nothing of its request goes to the Hub."""
    count = 20_000
    post = b"POST /ingest HTTP/1.1\r\nHost: hub\r\nContent-Length: 2\r\n\r\n{}"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(DEADLINE_S)
        sock.connect(("127.0.0.1", served.port))
        sending = threading.Thread(target=sock.sendall, args=(post * count,), daemon=True)
        sending.start()
        sending.join(1)  # by then it waits for us to read, or has sent all
        answers = Answers(sock)
        assert {answers.next()[0] for _ in range(count)} <= {401, 429}
        sending.join(DEADLINE_S)
    assert hub.asked == []


def test_what_is_sent_behind_a_refusal_is_not_kept(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that goes on and on after its refusal costs the Hub nothing."""
    kept: list[int] = []
    hold = bodies.Bodies.hold
    monkeypatch.setattr(
        bodies.Bodies, "hold", lambda self, size: (kept.append(size), hold(self, size))[1]
    )
    head = b"POST /ingest HTTP/1.1\r\nHost: hub\r\nTransfer-Encoding: chunked\r\n\r\n"
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(head)
        assert answers.next()[0] in (401, 429)
        for _ in range(20):
            sock.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        sock.sendall(b"0\r\n\r\n" + request(INGEST))
        assert answers.next()[0] == 200
    assert sum(kept) == len(b"{}")


def test_an_answer_that_cannot_be_made_is_a_503(
    hub: ScriptedHub, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """In JSON then; and the connection goes on."""
    hub.script = lambda *_: Answer(200, b"no JSON")
    with dialled(served) as sock:
        answers = Answers(sock)
        sock.sendall(request(INGEST, more="Accept: application/msgpack\r\n") + request(INGEST))
        status, headers, body = answers.next()
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert json.loads(body)["code"] == "internal"
        assert answers.next()[0] == 200
    assert "JSON" in capfd.readouterr().err


def test_full_bodies_do_not_refuse_what_has_none(
    hub: ScriptedHub, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads needs no room."""
    monkeypatch.setattr(bodies, "HELD_BYTES_MAX", 12)
    hub.script = lambda verb, *_: None if verb == "claim" else Answer(200, b"{}")
    with dialled(served) as first, dialled(served) as second:
        first.sendall(request(CLAIM, b" " * 11))
        until(lambda: hub.waiting is not None)
        second.sendall(request("GET /pull", None) + request(INGEST))
        answers = Answers(second)
        assert [answers.next()[0], answers.next()[0]] == [200, 503]
