"""A relay's `POST /poke`: it wakes the relay, bounds what it reads, and tells nothing."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from hpc.errors import UsageError
from hpc.relay import poke_server
from hpc.relay.poke_server import BODY_BYTES_MAX, serving_pokes


def answered(request: bytes) -> tuple[bytes, int]:
    """The first line that comes back, and how often the relay was woken."""
    pokes = 0

    def on_poke() -> None:
        nonlocal pokes
        pokes += 1

    async def scenario() -> bytes:
        async with serving_pokes(0, on_poke) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            line = await reader.readline()
            writer.close()
            return line.strip()

    return asyncio.run(scenario()), pokes


@pytest.mark.parametrize(
    ("request_", "status", "pokes"),
    [
        (b"POST /poke HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"204", 1),
        (b"POST /poke?gid=batch HTTP/1.1\r\n\r\n", b"204", 1),
        (b"GET /poke HTTP/1.1\r\n\r\n", b"405", 0),
        (b"POST /other HTTP/1.1\r\n\r\n", b"404", 0),
        (b"POST /poke HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"411", 0),
        (b"POST /poke HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), b"413", 0),
    ],
)
def test_only_a_post_to_poke_wakes(request_: bytes, status: bytes, pokes: int) -> None:
    """Everything else is refused without effect."""
    line, woken = answered(request_)

    assert line.split()[1] == status
    assert woken == pokes


def test_who_sends_no_http_is_not_answered() -> None:
    """A head without end is cut at its limit."""
    assert answered(b"x" * 100_000) == (b"", 0)


def test_a_flood_of_pokes_wakes_once_and_then_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim for each poke would make the Hub pay for whoever can reach the port."""
    monkeypatch.setattr(poke_server, "WAKE_GAP_S", 0.2)
    woken: list[float] = []

    async def scenario() -> None:
        again = asyncio.Event()

        def on_poke() -> None:
            woken.append(asyncio.get_running_loop().time())
            if len(woken) > 1:
                again.set()

        async with serving_pokes(0, on_poke) as port:
            for _ in range(10):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"POST /poke HTTP/1.1\r\n\r\n")
                assert b"204" in await reader.readline()
                writer.close()
            async with asyncio.timeout(10):
                await again.wait()

    asyncio.run(scenario())
    assert all(later - earlier >= 0.19 for earlier, later in itertools.pairwise(woken))
    assert len(woken) < 10


def test_a_taken_port_is_named() -> None:
    """The message says which port, and what to do."""

    async def scenario() -> None:
        async with serving_pokes(0, lambda: None) as port, serving_pokes(port, lambda: None):
            raise AssertionError("Two servers share a port")

    with pytest.raises(UsageError, match=r"Port \d+ cannot be bound"):
        asyncio.run(scenario())
