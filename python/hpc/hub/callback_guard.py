"""Callback guard: which URLs the Hub may call, and at which addresses.

The Hub stands where its clients do not, so that a URL which it calls for them must not lead
anywhere else than its owner has said: `--allow-callbacks`. A URL is read by a grammar that is
narrower than any other reader's, so that nobody downstream can see another host in it. A name is
looked up once, by the caller, and all its addresses are judged: what is then called is an address.
It is pure: it looks up nothing and connects to nothing (callbacks.py does).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_network
from typing import Final, NamedTuple

from hpc.networks import Address, Network, is_loopback, is_within

URL_CHARS_MAX: Final = 2048

ADDRESSES_MAX: Final = 16
"""Addresses that a name may have."""

_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65535
_SCHEME: Final = re.compile(r"(?i)(https?)://")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_NUMBER: Final = re.compile(r"(?i)[0-9]+|0x[0-9a-f]*")
"""A host whose last label is so is a number to whoever looks it up: 0x7f.1 is 127.0.0.1."""
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?i)(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")

_NEVER: Final = tuple(
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/8", "no address of a machine"),
        ("169.254.0.0/16", "link-local"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, or broadcast"),
        ("168.63.129.16/32", "a cloud's service for its machines"),
        ("100.100.100.200/32", "a cloud's service for its machines"),
        ("::/128", "no address of a machine"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("fd00:ec2::254/128", "a cloud's service for its machines"),
        ("::ffff:0:0/96", "an address of IPv4 inside another"),
        ("::ffff:0:0:0/96", "an address of IPv4 inside another"),
        ("64:ff9b::/96", "an address of IPv4 inside another"),
        ("64:ff9b:1::/48", "an address of IPv4 inside another"),
        ("2002::/16", "an address of IPv4 inside another"),
        ("2001::/32", "an address of IPv4 inside another"),
    )
)
"""Refused whatever is allowed, with the reason."""

_COMPATIBLE: Final = ip_network("::/96")
"""`::10.0.0.7`, but `::1`, which is loopback."""


class CallbackRefused(Exception):
    """A URL or an address that the Hub does not call; its text says what was expected."""


class Target(NamedTuple):
    """A URL, taken apart.

    Attributes:
        host: A name in lower case, or an address.
        address: Of the host where it is one; nothing is looked up then.
        path: With the query, beginning with a slash.
        host_field: For the header `Host`.
    """

    scheme: str
    host: str
    address: Address | None
    port: int
    path: str
    host_field: str


def parse_url(url: str) -> Target:
    """Take a URL apart.

    Raises:
        CallbackRefused: It is not of the narrow form that is taken.
    """
    if len(url) > URL_CHARS_MAX:
        raise CallbackRefused(f"at most {URL_CHARS_MAX} characters long")
    if not re.fullmatch(r"[!-~]*", url):
        raise CallbackRefused("of printable ASCII without spaces")
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise CallbackRefused("a URL that begins with http:// or https://")
    if "\\" in url or "#" in url:
        raise CallbackRefused("without a backslash or a fragment")
    rest = url[scheme.end() :]
    end = re.search(r"[/?]|$", rest)
    authority, path = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in authority:
        raise CallbackRefused("without a user or a password")
    host, port = _host_and_port(authority)
    name = scheme[1].lower()
    return Target(
        scheme=name,
        host=host,
        address=_address(host),
        port=_PORTS[name] if port is None else port,
        path=path if path.startswith("/") else "/" + path,
        host_field=authority,
    )


def check_address(address: Address, allowed: Sequence[Network]) -> None:
    """Refuse an address that the Hub must not call.

    Args:
        address: From a URL, or of a name that was looked up.
        allowed: Those of `--allow-callbacks`.

    Raises:
        CallbackRefused: It is one of those that are never called, or it is not allowed.
    """
    for network, what in _NEVER:
        if address in network:
            raise CallbackRefused(f"another address than {address}, which is {what}")
    if address in _COMPATIBLE and not is_loopback(address):
        raise CallbackRefused(f"another address than {address}, which is one of IPv4 inside")
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise CallbackRefused(f"another address than {address}, which names a network card")
    if is_loopback(address):
        # All of the world does not mean this machine: it must be meant.
        allowed = [network for network in allowed if is_loopback(network[0])]
    if not is_within(address, allowed):
        raise CallbackRefused(
            f"at an address that --allow-callbacks names, and {address} is not one"
        )


def check_addresses(addresses: Sequence[Address], allowed: Sequence[Network]) -> None:
    """Refuse a name one of whose addresses the Hub must not call.

    Raises:
        CallbackRefused: One of them is refused, there are none, or there are too many.
    """
    if not 1 <= len(addresses) <= ADDRESSES_MAX:
        raise CallbackRefused(f"a name with 1 to {ADDRESSES_MAX} addresses, not {len(addresses)}")
    for address in addresses:
        check_address(address, allowed)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    """Return the host without brackets, in lower case, and the port where one is named."""
    if authority.startswith("["):
        host, bracket, after = authority[1:].partition("]")
        if not bracket or (after and not after.startswith(":")):
            raise CallbackRefused("an address of IPv6 in brackets, and a port behind a colon")
        if ":" not in host:
            raise CallbackRefused("an address of IPv6 where there are brackets")
        has_port, port = bool(after), after[1:]
    else:
        host, colon, port = authority.partition(":")
        if ":" in port:
            raise CallbackRefused("with brackets around an address of IPv6")
        has_port = bool(colon)
    if not has_port:
        return host.lower(), None
    if not _PORT.fullmatch(port) or int(port) > _PORT_MAX:
        raise CallbackRefused(f"with a port from 1 to {_PORT_MAX}")
    return host.lower(), int(port)


def _address(host: str) -> Address | None:
    """Return the address that a host is, or None where it is a name.

    Raises:
        CallbackRefused: It is neither, or an address in another form than the plain one.
    """
    if host.endswith("."):
        raise CallbackRefused("a host without a dot at its end")
    try:
        if ":" in host:
            if "%" in host:
                raise CallbackRefused("an address of IPv6 without a zone")
            return IPv6Address(host)
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            return IPv4Address(host)
    except AddressValueError:
        raise CallbackRefused("an address in its plain form, such as 10.0.0.7") from None
    if not _NAME.fullmatch(host):
        raise CallbackRefused("a host of letters, digits, `-` and dots")
    return None
