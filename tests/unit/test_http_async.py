"""The asyncio HTTP client: one connection, deadlines, and who it talks to."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from relay_scripted import TOKEN, Request, Response, ScriptedHub, run

from hpc.access import Access, read_access, write_access
from hpc.errors import NoHub
from hpc.relay.membership import Membership
from hpc.transport.http_async import AccessSource, Lane, OtherHub, Reply


async def echo(request: Request) -> Response:
    return Response(200, request.body or b"-", {"retry-after": "3"})


async def silence(_: Request) -> Response:
    await asyncio.Event().wait()
    raise AssertionError


def test_requests_share_a_connection_and_reopen_it_when_it_was_closed() -> None:
    """A new connection per request halves what a Hub can answer."""

    async def scenario() -> None:
        async with ScriptedHub(echo) as hub:
            lane = hub.lane()
            for body in (b"1", b"2", b"3" * 1_000_000):
                reply = await lane.post("/x", body, deadline_s=5)
                assert (reply.status, reply.body, reply.hub) == (200, body, "hub-a")
                assert reply.retry_after_s == 3.0
            assert hub.connections == 1
            await hub.stop()
            await hub.start()
            await asyncio.sleep(0)
            assert (await lane.get("/x", deadline_s=5)).body == b"-"
            assert hub.seen("/x")[0].headers["authorization"] == f"Bearer {TOKEN}"
            assert hub.seen("/x")[0].headers["hpc-protocol"] == "1"
            lane.close()

    run(scenario())


def test_fault_30_an_answer_that_does_not_come_ends_at_its_deadline() -> None:
    """A silent peer must not hang a loop; the connection is of no more use."""

    async def scenario() -> None:
        async with ScriptedHub(silence) as hub:
            lane = hub.lane()
            with pytest.raises(NoHub, match="within"):
                await lane.post("/x", b"", deadline_s=0.05)
            hub.script = echo
            assert (await lane.post("/x", b"1", deadline_s=5)).body == b"1"
            assert hub.connections == 2
            lane.close()

    run(scenario())


def test_a_cancelled_request_leaves_a_lane_that_can_be_used() -> None:
    """A drain gives the open claim up and sends another one."""

    async def scenario() -> None:
        async with ScriptedHub(silence) as hub:
            lane = hub.lane()
            call = asyncio.create_task(lane.post("/x", b"", deadline_s=5))
            while not hub.requests:
                await asyncio.sleep(0.002)
            call.cancel()
            await asyncio.wait({call})
            hub.script = echo
            assert (await lane.post("/x", b"1", deadline_s=5)).body == b"1"
            lane.close()

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"",
    ],
)
def test_what_is_no_answer_of_a_hub_is_no_hub(answer: bytes) -> None:
    """Whatever listens on the port, a loop sees one error that it knows."""

    async def scenario() -> None:
        lane, server = await _raw(answer)
        with pytest.raises(NoHub):
            await lane.get("/x", deadline_s=5)
        server.close()

    run(scenario())


def test_a_chunked_answer_is_read_whole() -> None:
    """A proxy may send what it likes of HTTP/1.1."""

    async def scenario() -> None:
        lane, server = await _raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        )
        assert (await lane.get("/x", deadline_s=5)).body == b"abcde"
        server.close()

    run(scenario())


async def _raw(answer: bytes) -> tuple[Lane, asyncio.Server]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = AccessSource(lambda: Access(f"http://127.0.0.1:{port}", TOKEN))
    return Lane(source), server


def test_the_access_file_is_read_again_when_nobody_answers(tmp_path: Path) -> None:
    """A Hub that comes back on another port is found without a restart of its relays."""

    async def scenario() -> None:
        lane = Lane(AccessSource(lambda: read_access(tmp_path)))
        with pytest.raises(NoHub, match=r"access\.json"):
            await lane.get("/x", deadline_s=5)
        async with ScriptedHub(echo) as first, ScriptedHub(echo) as second:
            write_access(tmp_path, Access(first.url, TOKEN))
            await lane.get("/x", deadline_s=5)
            await first.stop()
            write_access(tmp_path, Access(second.url, TOKEN))
            for _ in range(2):  # the lost connection, then the refused one
                with contextlib.suppress(NoHub):
                    await lane.get("/x", deadline_s=5)
            await lane.get("/x", deadline_s=5)
            assert second.seen("/x")
            lane.close()

    run(scenario())


def test_the_token_is_read_again_after_401(tmp_path: Path) -> None:
    """A token that was replaced reaches running relays by the file."""

    async def scenario() -> None:
        async with ScriptedHub(echo) as hub:
            write_access(tmp_path, Access(hub.url, "old"))
            lane = Lane(AccessSource(lambda: read_access(tmp_path)))
            assert (await lane.get("/x", deadline_s=5)).status == 401
            write_access(tmp_path, Access(hub.url, TOKEN))
            assert (await lane.get("/x", deadline_s=5)).status == 200
            lane.close()

    run(scenario())


def test_another_hub_is_asked_who_it_is_and_sent_nothing_else() -> None:
    """Reports and claims are for the Hub that leased the tasks."""

    async def scenario() -> None:
        membership = Membership()
        membership.join("hub-a")
        async with ScriptedHub(echo, hub_id="hub-b") as hub:
            lane = hub.lane(membership.check)
            with pytest.raises(OtherHub) as caught:
                await lane.post("/claim", b"{}", deadline_s=5)
            assert (caught.value.expected, caught.value.seen) == ("hub-a", "hub-b")
            assert hub.requests == []

    run(scenario())


def test_a_refusal_that_is_no_problem_document_still_has_a_sentence() -> None:
    """Proxies answer in HTML."""
    assert Reply(502, None, b"<html>bad \xff gateway").problem().sentence().startswith("<html>bad")
    assert Reply(502, None, b"[" * 5000).problem().status == 502
    assert Reply(500, None, b'{"title": "T"}').problem().sentence() == "T"
