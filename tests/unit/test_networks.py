"""Networks: what is typed, and who a peer is."""

from __future__ import annotations

import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from scripted_hub import ScriptedHub, serving

from hpc.config import HubConfig
from hpc.errors import UsageError
from hpc.hub.certificate import identity
from hpc.hub.service import Service
from hpc.hub.tokens import Tokens
from hpc.networks import is_within, parse_networks, parse_peer
from hpc.transport.connection import HEAD_S

HOST = "127.0.0.1"
DEADLINE_S = HEAD_S / 2
"""Sooner than whoever says nothing is left."""


def test_a_list_of_networks_is_read() -> None:
    """An address alone is a network of one."""
    networks = parse_networks("10.0.0.0/8, fd00::/8,192.0.2.7", field="accept-from")
    inside = ("10.255.0.1", "fd00::1", "192.0.2.7")
    outside = ("11.0.0.1", "fe80::1", "192.0.2.8")
    assert [is_within(ip_address(one), networks) for one in inside] == [True] * 3
    assert [is_within(ip_address(one), networks) for one in outside] == [False] * 3


@pytest.mark.parametrize("text", ["", ",", "10.0.0.7/8", "10.0.0.0/33", "site", "10.0.0.0/8,,"])
def test_what_is_no_network_is_named(text: str) -> None:
    """Bits beside the prefix are a slip of the pen: which of the two was meant?"""
    with pytest.raises(UsageError, match="must be networks") as raised:
        parse_networks(text, field="accept-from")
    assert raised.value.field == "accept-from"


def test_a_peer_of_ipv4_is_one_behind_both_protocols() -> None:
    """A Hub that listens at `::` must know 10.0.0.7 for who it is."""
    assert str(parse_peer("::ffff:10.0.0.7")) == "10.0.0.7"
    assert str(parse_peer("fe80::1%eth0")) == "fe80::1"
    assert parse_peer("somewhere") is None


def test_who_is_not_accepted_is_left_before_a_byte_is_read(tmp_path: Path) -> None:
    """No handshake either: what is at the other end could be anything."""
    shown = identity(HubConfig(home=tmp_path, data=tmp_path, tls="auto"))
    assert shown is not None
    hub = ScriptedHub()
    with serving(hub, tls=shown.context) as served:
        here = (HOST, served.port)
        trusting = ssl.create_default_context(cafile=tmp_path / "tls.pem")
        with socket.create_connection(here, DEADLINE_S) as sock:
            trusting.wrap_socket(sock, server_hostname=HOST).close()
        hub.turned_away.add("127.0.0.2")
        with socket.create_connection(here, DEADLINE_S, ("127.0.0.2", 0)) as sock:
            assert sock.recv(1) == b""
        with socket.create_connection(here, DEADLINE_S) as sock:
            trusting.wrap_socket(sock, server_hostname=HOST).close()


def test_who_is_not_accepted_is_counted() -> None:
    """Loopback is always accepted, and everybody where nothing is said."""
    networks = parse_networks("10.0.0.0/8", field="accept-from")
    service = Service("h", Tokens(bytes(32)), accept_from=networks)
    peers = ("10.1.2.3", "::ffff:10.1.2.3", "127.0.0.2", "::1", "11.0.0.1", "::ffff:11.0.0.1", "")
    assert [service.accepts(peer) for peer in peers] == [True] * 4 + [False] * 3
    assert service.figures()["turned_away"] == 3
    assert Service("h", Tokens(bytes(32))).accepts("11.0.0.1")
