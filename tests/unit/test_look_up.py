"""Look-up of names: a resolver that hangs takes nothing from anybody."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
import uvloop

from hpc.hub.look_up import LOOK_UPS_MAX, look_up

HANGS = """
import asyncio, socket, threading
import uvloop
from hpc.hub.look_up import look_up

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()

async def main():
    try:
        await asyncio.wait_for(look_up("slow.example", 80), 0.05)
    except TimeoutError:
        print("left")

uvloop.run(main())
"""


def test_a_name_has_addresses() -> None:
    """By the machine's own files and servers."""
    assert "127.0.0.1" in [str(address) for address in uvloop.run(look_up("localhost", 80))]


def test_a_name_without_one_is_an_error_of_the_network() -> None:
    """As that a port is closed is one."""
    with pytest.raises(OSError, match="label empty or too long"):
        uvloop.run(look_up("a" * 64 + ".invalid", 80))


def test_fault_61_a_process_ends_beside_a_look_up() -> None:
    """A Hub that is told to end must not wait for a stranger's server of names."""
    ran = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, check=True, timeout=20
    )
    assert ran.stdout == "left\n"


def test_fault_61_look_ups_that_hang_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused at once, and taken again when one has ended."""
    go_on = threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        go_on.wait(20)
        return [(2, 1, 6, "", ("10.0.0.7", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def scenario() -> None:
        asked = [asyncio.ensure_future(look_up(f"n{n}", 80)) for n in range(LOOK_UPS_MAX)]
        await asyncio.wait(asked, timeout=0.01)
        with pytest.raises(OSError, match="being looked up"):
            await look_up("one-more", 80)
        go_on.set()
        assert [str(each[0]) for each in await asyncio.gather(*asked)] == ["10.0.0.7"] * 16
        assert len(await look_up("one-more", 80)) == 1

    asyncio.run(scenario())
