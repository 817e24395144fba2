"""Deadlines and limits of one connection, by bytes on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import Iterator

import pytest
from scripted_hub import TOKEN, ScriptedHub, Served, dialled, serving

from hpc.access import Access
from hpc.transport import connection, http_async, wire
from hpc.transport.sockets import watch

REQUEST = f"GET /healthz HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
POST = (
    f"POST /ingest HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\n"
).encode()


CLOSE = b"\r\nConnection: close\r\n\r\n"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(ScriptedHub()) as served:
        yield served


def rest(sock: socket.socket) -> bytes:
    """Read until the server closes; a reset counts as closing."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            got += part
    return got


def refusal(answer: bytes) -> tuple[bytes, str]:
    """Return the status and the problem's code of the last answer."""
    head, _, body = answer.rpartition(b"\r\n\r\n")
    head = head[head.rindex(b"HTTP/1.1 ") :]
    assert b"content-type: application/problem+json" in head
    assert b"hpc-hub: scripted-hub" in head
    return head.split(b" ")[1], json.loads(body)["code"]


class Written:
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.packets.append(b"".join(parts))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def test_no_packet_waits_for_company_at_either_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TCP_NODELAY a second small packet waits for the first's acknowledgement: 40 ms."""
    ends: dict[str, int] = {}
    for module in (connection, http_async, wire):

        def watched(sock: socket.socket, name: str = module.__name__, **more: float) -> None:
            watch(sock, **more)
            ends[name] = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        monkeypatch.setattr(module, "watch", watched)

    async def ask() -> None:
        lane = http_async.Lane(http_async.AccessSource(lambda: Access(served.url, TOKEN)))
        await lane.get("/healthz", deadline_s=5)
        lane.close()

    asyncio.run(ask())
    wire.Wire(served.url, time.monotonic() + 5).close()
    assert ends == {module.__name__: 1 for module in (connection, http_async, wire)}


@pytest.mark.parametrize("length", [0, 7, 1 << 20])
def test_a_head_leaves_with_the_beginning_of_its_body(length: int) -> None:
    """Each packet wakes whoever waits for the answer."""

    async def scenario() -> None:
        written = Written()
        joined = connection._Joined(written, asyncio.get_running_loop())  # type: ignore[arg-type]
        head, body = b"HTTP/1.1 200 OK\r\n\r\n", b"b" * length
        joined.write(head)
        joined.write(body)
        assert written.packets == [head + body]
        joined.write(head)  # of a stream that has nothing to say yet
        await asyncio.sleep(0)
        assert written.packets[1:] == [head]
        joined.write(head)
        joined.close()
        assert written.packets[2:] == [head]
        assert written.is_closed

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/ingest", "/ingest/"])
def test_answers_come_in_the_order_of_their_requests(served: Served, path: str) -> None:
    """Three requests in one packet, of a hot route and another; a slash at the end says nothing."""
    post = POST.replace(b"/ingest", path.encode()) + b"Content-Length: 2\r\n\r\n{}"
    with dialled(served) as sock:
        sock.sendall(post + REQUEST + b"\r\n" + post.replace(b"\r\n\r\n", CLOSE, 1))
        answers = rest(sock).split(b"HTTP/1.1 ")[1:]
        assert [answer.split(b" ")[0] for answer in answers] == [b"200"] * 3
        assert answers[1].endswith(b"ok\n")


def test_fault_31_a_head_that_does_not_end_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability row 31: a slow loris holds its own connection for 10 s and no longer."""
    monkeypatch.setattr(connection, "HEAD_S", 0.1)
    with dialled(served) as sock:
        sock.sendall(REQUEST)

        assert refusal(rest(sock)) == (b"408", "too_slow")


def test_fault_31_a_body_that_does_not_end_is_cut_off(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30 s for a body, counted from its head, also where bytes drip in."""
    monkeypatch.setattr(connection, "BODY_S", 0.1)
    with dialled(served) as sock:
        sock.sendall(POST + b"Content-Length: 10\r\n\r\n1234")

        assert refusal(rest(sock)) == (b"408", "too_slow")


def test_fault_31_a_body_that_comes_slowly_and_steadily_is_awaited(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reliability row 31: a relay on a slow line delivers its results, however many they are."""
    monkeypatch.setattr(connection, "BODY_S", 0.2)
    monkeypatch.setattr(connection, "BODY_BYTES_PER_S_MIN", 50)
    with dialled(served) as sock:
        body = b'{"a":"' + b"x" * 400 + b'"}'
        sock.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body))
        began = time.monotonic()
        for start in range(0, len(body), 8):
            sock.sendall(body[start : start + 8])
            time.sleep(0.02)
        assert time.monotonic() - began > 3 * connection.BODY_S
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_refused_body_is_not_awaited_for_ever(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal is out at once; the connection goes when the body stays away."""
    monkeypatch.setattr(connection, "BODY_S", 0.1)
    with dialled(served) as sock:
        sock.sendall(POST + b"Content-Length: 99999999999\r\n\r\n")

        assert refusal(rest(sock)) == (b"413", "too_large")


@pytest.mark.parametrize("sent", [b"", b"\r\n", REQUEST + b"\r\n"])
def test_fault_30_an_idle_connection_is_cut(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    """Reliability row 30: whether it never asked, or asked and fell silent."""
    monkeypatch.setattr(connection, "IDLE_S", 1)
    with serving(ScriptedHub()) as served, dialled(served) as sock:
        sock.sendall(sent)

        assert rest(sock).endswith(b"ok\n") == (sent == REQUEST + b"\r\n")


def test_a_head_of_any_size_is_not_taken(served: Served) -> None:
    """Headers are held in memory, so they are bounded."""
    with dialled(served) as sock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(REQUEST)
        for _ in range(2000):
            sock.sendall(b"X-Header: " + b"x" * 90 + b"\r\n")

        assert refusal(rest(sock)) == (b"431", "head_too_large")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /a\xff HTTP/1.1\r\n\r\n",
        b"CONNECT hub:80 HTTP/1.1\r\n\r\n",
        POST + b"Content-Length: x\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_a_problem_document_too(served: Served, sent: bytes) -> None:
    """TLS to the plain port, half a request line, two lengths: 400 and closed, never a 500."""
    with dialled(served) as sock:
        sock.sendall(sent)

        assert refusal(rest(sock)) == (b"400", "bad_http")


def test_more_connections_than_the_limit_are_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is connected stays so; who comes too late is told, and not left hanging."""
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 1)
    with dialled(served) as first:
        first.sendall(REQUEST + b"\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        with dialled(served) as second:
            answer = rest(second)
            assert refusal(answer) == (b"503", "busy")
            assert b"\r\nretry-after: 1\r\n" in answer
        first.sendall(REQUEST + b"\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connections_leave_files_for_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few files may be open, fewer connections are."""
    for limit, most in ((1 << 20, 4096), (1024, 896), (100, 1), (resource.RLIM_INFINITY, 4096)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=limit: (soft, soft))
        assert connection.connections_max() == most


def test_many_connections_are_held(served: Served) -> None:
    """At least 1,000 are promised; each can be used after the last has come."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(dialled(served)) for _ in range(400)]
        for sock in socks:
            sock.sendall(REQUEST + b"\r\n")
        for sock in socks:
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """The timers must not take a second request in the same packet for a slow first one."""
    with dialled(served) as sock:
        last = REQUEST.replace(b"/healthz", b"/nothing") + b"Connection: close\r\n\r\n"
        sock.sendall((REQUEST + b"\r\n") * 3 + last)

        answer = rest(sock)

    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert refusal(answer) == (b"404", "no_route")
