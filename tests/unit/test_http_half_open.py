"""Connections whose other end has gone without a word: real packets that do not arrive."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from scripted_hub import TOKEN, ScriptedHub, serving

from hpc.access import Access
from hpc.testing.netns import Network, missing
from hpc.testing.processes import until
from hpc.transport import connection, sockets
from hpc.transport.http_client import HttpClient, Unanswered

MISSING = missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

GONE_S = 1.5
FOLLOW = f"GET /pokes HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Ours, in which who is gone is noticed sooner."""
    monkeypatch.setattr(sockets, "PROBE_S", 1)
    monkeypatch.setattr(connection, "IDLE_S", GONE_S)
    with Network() as network:
        yield network


def test_fault_30_a_reader_whose_machine_is_gone_is_let_go(network: Network) -> None:
    """A stream is quiet and stays; once nothing comes back from its reader, it ends."""
    hub = ScriptedHub()
    with network.entered("hub"), serving(hub) as served:
        parts = urlsplit(served.url)
        with (
            network.entered("relay"),
            socket.create_connection((str(parts.hostname), parts.port or 0), timeout=30) as reader,
        ):
            reader.sendall(FOLLOW)
            assert reader.recv(65536).startswith(b"HTTP/1.1 200")
            until(lambda: hub.feeds.pokes)
            began_s = time.monotonic()
            until(lambda: time.monotonic() > began_s + 2 * GONE_S)
            assert hub.feeds.pokes, "who is quiet and there is not let go"
            network.mute("relay")
            until(lambda: not hub.feeds.pokes, timeout_s=10 * GONE_S)


def test_fault_30_a_hub_whose_machine_is_gone_is_given_up_at_the_deadline(
    network: Network,
) -> None:
    """The connection was open and in use, and nobody tells its client that it is not any more."""
    with network.entered("hub"), serving(ScriptedHub()) as served, network.entered("relay"):
        client = HttpClient(lambda: Access(served.url, TOKEN))
        assert client.get("/healthz").body == b"ok\n"
        network.mute("hub")
        began_s = time.monotonic()
        with pytest.raises(Unanswered):
            client.get("/healthz", timeout_s=0.5)
        assert time.monotonic() - began_s < 5
        network.heal()
        assert client.get("/healthz", timeout_s=30).body == b"ok\n"
        client.close()
