"""Networks as people write them, `10.0.0.0/8,fd00::/8`, and whether an address lies in one.

Addresses and numbers alone: it never looks up a name and opens no connection. What the Hub may call
is judged in `hub/callback_guard.py`, by these.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from hpc.errors import UsageError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOOPBACK: Final = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))


def parse_networks(text: str, *, field: str) -> tuple[Network, ...]:
    """Return the networks of a list with commas; a single address is a network of one.

    Raises:
        UsageError: One of them is none, or has bits beside its prefix.
    """
    try:
        return tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"`{field}` must be networks with commas between them, got {text!r}: {error}",
            field=field,
            hint=f"--{field} 10.0.0.0/8,fd00::/8   or an address alone: --{field} 10.0.0.7",
        ) from None


def parse_peer(text: str) -> Address | None:
    """Return the address that a socket names, one of IPv4 as such; None where it is none.

    A socket that listens by both protocols names a peer of IPv4 as `::ffff:10.0.0.7`.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def is_loopback(address: Address) -> bool:
    """Return whether an address is this machine's own loopback."""
    return is_within(address, LOOPBACK)


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Return whether an address lies in one of some networks."""
    return any(address in network for network in networks)
