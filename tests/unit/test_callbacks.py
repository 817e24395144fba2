"""Callbacks: pokes arrive at real servers, and at none that the Hub must not call.

The servers are on loopback, which the allow-list of these tests names.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from hpc.config import HubConfig
from hpc.hub import callbacks
from hpc.hub.callbacks import SUBSCRIBERS_MAX, Callbacks
from hpc.hub.certificate import identity
from hpc.hub.control_rows import Control, control_of
from hpc.hub.feeds import Feeds
from hpc.hub.look_up import look_up
from hpc.networks import Address, Network, parse_networks
from hpc.protocols import LogRow

HERE = parse_networks("127.0.0.0/8", field="allow-callbacks")
WORLD = parse_networks("0.0.0.0/0,::/0", field="allow-callbacks")
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
DEADLINE_S = 20.0

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A real server that notes what comes; `answer` is what it says, or does.

    Attributes:
        seen: Requests, head and body.
        ended: Connections that the Hub has left.
    """

    def __init__(self, answer: bytes | Answering) -> None:
        self.seen: asyncio.Queue[bytes] = asyncio.Queue()
        self.ended: asyncio.Queue[None] = asyncio.Queue()
        self.port = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        self.seen.put_nowait(head + await reader.readexactly(int(length.split()[1])))
        try:
            if isinstance(self._answer, bytes):
                writer.write(self._answer)
                await writer.drain()
            else:
                await self._answer(reader, writer)
        except OSError:
            pass  # the Hub has left
        finally:
            writer.close()
            self.ended.put_nowait(None)


@asynccontextmanager
async def serving(
    answer: bytes | Answering = OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server


def registration(url: str | None, gid: str = "usage") -> dict[str, Any]:
    return {"gid": gid, "spec": {"namespaces": ["batch"], "rules": [], "callback_url": url}}


def registered(url: str | None, gid: str = "usage") -> Control:
    """What a row of the log says of a registration."""
    payload = {"spec": registration(url, gid), "ctx": {}}
    events = [{"at": 1, "kind": "RegisterGenerator", "payload": payload}]
    body = json.dumps({"id": "x", "events": events}).encode()
    (control,) = control_of(LogRow(1, 1, "x", bytes(32), bytes(32), 1, body))
    return control


def calling(
    urls: dict[str, str] | str,
    allowed: Sequence[Network] = HERE,
    resolve: Callable[[str, int], Awaitable[Sequence[Address]]] = look_up,
) -> Callbacks:
    """Callbacks of a Hub that has recovered generators with these URLs."""
    told = Callbacks(allowed, resolve)
    by_gid = {"usage": urls} if isinstance(urls, str) else urls
    told.settle((gid, json.dumps(registration(url)["spec"])) for gid, url in by_gid.items())
    return told


@asynccontextmanager
async def poking(told: Callbacks) -> AsyncIterator[Feeds]:
    """A Hub's feeds, whose pokes are passed on while the block runs."""
    feeds = Feeds(0)
    running = asyncio.ensure_future(told.run(feeds.subscribe(frozenset())))
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield feeds
    finally:
        feeds.close()
        await running


def poke(feeds: Feeds, *cursors: int, gid: str = "usage") -> None:
    for cursor in cursors:
        feeds.tell(head_seq=cursor, pokes=[(gid, cursor)], jobs=())


async def failed(told: Callbacks, times: int = 1) -> str:
    """Wait until pokes have failed; why the last one did."""
    while told.figures()["failed"] < times:
        await asyncio.sleep(0.002)
    return str(told.figures()["failing"]["usage"])


def always(*texts: str) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    """Looks up every name as these addresses."""

    async def resolve(_host: str, _port: int) -> list[Address]:
        return [ip_address(text) for text in texts]

    return resolve


def test_a_poke_is_a_generator_and_a_cursor_and_no_token() -> None:
    """Whoever is called learns what it may ask for, and nothing to ask it with."""

    async def scenario() -> None:
        async with serving() as server:
            told = calling(f"http://127.0.0.1:{server.port}/poke?x=1")
            async with poking(told) as feeds:
                poke(feeds, 17)
                head, _, body = (await server.seen.get()).partition(b"\r\n\r\n")
                await server.ended.get()
                poke(feeds, 18)
                later = await server.seen.get()
            assert json.loads(body) == {"gid": "usage", "cursor": 17}
            assert json.loads(later.partition(b"\r\n\r\n")[2])["cursor"] == 18
            lines = head.decode().split("\r\n")
            assert lines[0] == "POST /poke?x=1 HTTP/1.1"
            names = {line.partition(":")[0].lower() for line in lines[1:]}
            assert names == {"host", "content-type", "content-length", "connection"}

    asyncio.run(scenario())


def test_a_name_is_called_at_an_address_that_it_has() -> None:
    """It is looked up at each poke, and says its name in the head."""

    async def scenario() -> None:
        async with serving() as server:
            url = f"http://node-1.example:{server.port}/"
            told = calling(url, resolve=always("127.0.0.1"))
            async with poking(told) as feeds:
                poke(feeds, 1)
                assert b"\r\nHost: node-1.example:" in await server.seen.get()

    asyncio.run(scenario())


def test_fault_58_many_news_are_few_pokes_and_the_newest_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A subscriber holds one cursor, however slow it is and however busy the Hub."""
    monkeypatch.setattr(callbacks, "GAP_S", 0.01)
    go_on = asyncio.Event()

    async def slowly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(OK)

    async def scenario() -> None:
        async with serving(slowly) as server:
            told = calling(f"http://127.0.0.1:{server.port}/")
            async with poking(told) as feeds:
                poke(feeds, 1)
                await server.seen.get()
                poke(feeds, *range(2, 10_000))
                poke(feeds, 20_000, gid="another")
                go_on.set()
                last = await server.seen.get()
                await server.ended.get()
                await server.ended.get()
            assert json.loads(last.partition(b"\r\n\r\n")[2])["cursor"] == 9_999
            assert server.seen.empty()

    asyncio.run(scenario())


def test_fault_58_a_dead_subscriber_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, ever more seldom, and told the newest once it is there."""
    monkeypatch.setattr(callbacks, "_pause_s", lambda _failures: 0.01)

    async def scenario() -> None:
        async with serving() as server:
            dead = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            port = dead.sockets[0].getsockname()[1]
            dead.close()
            await dead.wait_closed()
            urls = {"usage": port, "other": server.port}
            told = calling({gid: f"http://127.0.0.1:{port}/" for gid, port in urls.items()})
            async with poking(told) as feeds:
                poke(feeds, 1)
                assert "cannot be reached" in await failed(told, 2)
                poke(feeds, 2, gid="other")
                assert b'"other"' in await server.seen.get()
                poke(feeds, 3)
                back = await asyncio.start_server(server.serve, "127.0.0.1", port)
                async with back:
                    assert b'{"gid":"usage","cursor":3}' in await server.seen.get()
                    await server.ended.get()

    asyncio.run(scenario())


def test_the_back_off_grows_and_has_an_end() -> None:
    """A subscriber that is gone for good costs a connection in minutes."""
    for failures, most in ((1, 1.0), (2, 2.0), (5, 16.0), (10, 300.0), (10_000, 300.0)):
        assert most / 2 <= callbacks._pause_s(failures) <= most
    assert callbacks._pause_s(0) == callbacks.GAP_S


async def endlessly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def by_drops(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"H")
        await writer.drain()
        await asyncio.sleep(0.05)  # as slow as it chooses to be


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (never, "did not answer within"),
        (by_drops, "did not answer within"),
        (endlessly, "no HTTP"),
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
        (b"", "no HTTP"),
        (b"HTTP/1.1 500 Oh\r\n\r\n", "answered 500"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "answered 100"),
    ],
)
def test_fault_61_an_answer_costs_little_whatever_it_is(
    answer: bytes | Answering, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first line is read, of at most 4 KiB, for at most 2 s; then the Hub has left."""
    monkeypatch.setattr(callbacks, "POKE_S", 0.3)

    async def scenario() -> None:
        async with serving(answer) as server:
            told = calling(f"http://127.0.0.1:{server.port}/")
            async with poking(told) as feeds:
                poke(feeds, 1)
                assert reason in await failed(told)
                await server.ended.get()

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_fault_61_a_redirect_is_not_followed(status: int) -> None:
    """Where it leads was judged by nobody."""

    async def scenario() -> None:
        async with serving() as inside:
            location = f"http://127.0.0.1:{inside.port}/"
            answer = f"HTTP/1.1 {status} There\r\nLocation: {location}\r\n\r\n".encode()
            async with serving(answer) as server:
                told = calling(f"http://127.0.0.1:{server.port}/")
                async with poking(told) as feeds:
                    poke(feeds, 1)
                    assert await failed(told) == f"it answered {status}"
            assert inside.seen.empty()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "addresses",
    [
        ["169.254.169.254"],
        ["127.0.0.1", "169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["127.0.0.1", "::1"],
        [],
    ],
)
def test_fault_61_a_name_that_leads_inside_is_not_called(addresses: list[str]) -> None:
    """All its addresses are judged before the first is called."""

    async def scenario() -> None:
        async with serving() as server:
            url = f"http://innocent.example:{server.port}/"
            told = calling(url, resolve=always(*addresses))
            async with poking(told) as feeds:
                poke(feeds, 1)
                assert (await failed(told)).startswith("it must be ")
            assert server.seen.empty()

    asyncio.run(scenario())


def test_fault_61_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has another address a moment later is called at the one that was judged."""
    looked_up: list[str] = []
    rebinding = iter(["127.0.0.1", "169.254.169.254", "169.254.169.254"])

    async def resolve(host: str, _port: int) -> list[Address]:
        looked_up.append(host)
        return [ip_address(next(rebinding))]

    async def scenario() -> None:
        async with serving() as server:
            told = calling(f"http://rebind.example:{server.port}/", resolve=resolve)
            connected: list[Any] = []
            opened = asyncio.open_connection

            async def noted(host: str, port: int, **how: Any) -> Any:
                connected.append(host)
                return await opened(host, port, **how)

            monkeypatch.setattr(asyncio, "open_connection", noted)
            async with poking(told) as feeds:
                poke(feeds, 1)
                await server.seen.get()
                assert looked_up == ["rebind.example"]
                poke(feeds, 2)
                assert "169.254.169.254" in await failed(told)
            assert connected == ["127.0.0.1"]
            assert server.seen.empty()

    asyncio.run(scenario())


def test_fault_61_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look the name up anew, and stand elsewhere."""

    async def scenario() -> None:
        async with serving() as proxy, serving() as server:
            for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            told = calling(f"http://127.0.0.1:{server.port}/")
            async with poking(told) as feeds:
                poke(feeds, 1)
                await server.seen.get()
            assert proxy.seen.empty()

    asyncio.run(scenario())


def test_fault_61_a_look_up_that_hangs_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts for the 2 s, and the Hub ends in the middle of one."""
    monkeypatch.setattr(callbacks, "POKE_S", 0.1)

    async def resolve(_host: str, _port: int) -> list[Address]:
        await asyncio.Event().wait()
        return []

    async def scenario() -> None:
        told = calling("http://slow.example/", resolve=resolve)
        async with poking(told) as feeds:
            poke(feeds, 1)
            assert "did not answer" in await failed(told)
            poke(feeds, 2)

    asyncio.run(scenario())


def test_https_wants_a_certificate_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever sits on the way would be told; the system's CAs say which one does."""
    shown = identity(HubConfig(home=tmp_path, data=tmp_path, tls="auto"))
    assert shown is not None

    async def scenario() -> None:
        async with serving(tls=shown.context) as server:
            url = f"https://127.0.0.1:{server.port}/"
            told = calling(url)
            async with poking(told) as feeds:
                poke(feeds, 1)
                assert await failed(told) == "TLS: CERTIFICATE_VERIFY_FAILED"
            assert server.seen.empty()
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
            async with poking(calling(url)) as feeds:
                poke(feeds, 2)
                assert b'"cursor":2' in await server.seen.get()

    asyncio.run(scenario())


def control(url: object, **more: object) -> bytes:
    return (
        json.dumps({"type": "RegisterGenerator", **registration(None), **more})
        .encode()
        .replace(b"null", json.dumps(url).encode())
    )


@pytest.mark.parametrize(
    "body",
    [
        control("http://169.254.169.254/"),
        control("file:///etc/passwd"),
        control("http://127.0.0.1/").replace(b"callback_url", b"callback\\u005furl"),
        b"\x83\xa4type\xb1RegisterGenerator\xa3gid\xa5usage\xa4spec"
        b"\x81\xaccallback_url\xb7http://169.254.169.254/",
    ],
)
def test_fault_61_a_registration_is_refused_before_it_is_recorded(body: bytes) -> None:
    """In JSON, however its names are spelled, and in MessagePack."""
    refusal = Callbacks(WORLD).refusal(body)
    assert refusal is not None
    assert refusal.status == 422
    problem = json.loads(refusal.body)
    assert problem["errors"][0]["field"] == "spec.callback_url"
    assert "--allow-callbacks" in problem["hint"]


@pytest.mark.parametrize(
    "body",
    [
        control(None),
        control("http://10.0.0.7/"),
        control("http://a.name.example/"),
        control(7),
        control("file:///etc/passwd", type="RegisterNamespace"),
        b"callback_url",
        b'{"callback_url": "\xff"}',
        b"\xc1callback_url",
        b"",
    ],
)
def test_what_is_no_such_registration_is_left_to_the_engine(body: bytes) -> None:
    """It says what is wrong with it, if something is."""
    assert Callbacks(WORLD).refusal(body) is None


def test_fault_61_without_the_flag_nobody_is_called() -> None:
    """Not at a registration, and not for one that an earlier start has taken."""
    told = calling("http://127.0.0.1:9/", ())
    refusal = told.refusal(control("http://127.0.0.1:9/"))
    assert refusal is not None
    assert "calls nobody" in refusal.body.decode()
    figures = told.figures()
    assert figures["subscribers"] == 0
    assert "calls nobody" in figures["failing"]["usage"]


def test_the_newest_registration_counts() -> None:
    """A generator without a URL any more is not called any more, nor at its old one."""

    async def scenario() -> None:
        async with serving() as old, serving() as new:
            told = calling(f"http://127.0.0.1:{old.port}/")
            async with poking(told) as feeds:
                told.take(registered(f"http://127.0.0.1:{new.port}/"))
                poke(feeds, 1)
                await new.seen.get()
                told.take(registered(None))
                poke(feeds, 2)
                told.take(registered(f"http://127.0.0.1:{new.port}/", "other"))
                poke(feeds, 3, gid="other")
                assert b'{"gid":"other","cursor":3}' in await new.seen.get()
            assert old.seen.empty()

    asyncio.run(scenario())


def test_one_callback_too_many_is_refused() -> None:
    """The Hub calls so many, and no more."""
    told = calling({f"g{n}": "http://127.0.0.1/" for n in range(SUBSCRIBERS_MAX)})
    refusal = told.refusal(control("http://127.0.0.1/"))
    assert refusal is not None
    assert "the most" in refusal.body.decode()
    assert told.refusal(control("http://127.0.0.1/", gid="g3")) is None
    told.take(registered("http://127.0.0.1/", "one-more"))
    assert told.figures()["subscribers"] == SUBSCRIBERS_MAX
