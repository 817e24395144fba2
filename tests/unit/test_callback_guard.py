"""Callback guard: what the Hub must not call, each URL refused for a reason of its own."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from hpc.hub.callback_guard import (
    ADDRESSES_MAX,
    CallbackRefused,
    check_address,
    check_addresses,
    parse_url,
)
from hpc.networks import parse_networks

SITE = parse_networks("10.0.0.0/8,fd00::/8,192.0.2.7", field="allow-callbacks")
WORLD = parse_networks("0.0.0.0/0,::/0", field="allow-callbacks")

FORM = "plain form"
LETTERS = "letters, digits"
PORT = "a port from 1"
PRINTABLE = "printable ASCII"
SCHEME = "http:// or https://"
INSIDE = "IPv4 inside"

URLS = [
    ("", SCHEME),
    ("file:///etc/passwd", SCHEME),
    ("ftp://10.0.0.7/", SCHEME),
    ("gopher://10.0.0.7:6379/_SET", SCHEME),
    ("unix:///run/docker.sock", SCHEME),
    ("//10.0.0.7/", SCHEME),
    ("http:10.0.0.7/", SCHEME),
    ("http:/10.0.0.7/", SCHEME),
    ("javascript://10.0.0.7/%0aalert(1)", SCHEME),
    ("http://169.254.169.254\\@10.0.0.7/", "backslash"),
    ("http://10.0.0.7/#@169.254.169.254/", "fragment"),
    ("http://10.0.0.7 @169.254.169.254/", PRINTABLE),
    ("http://10.0.0.7/\r\nHost: inside", PRINTABLE),
    ("http://10.0.0.7/\tx", PRINTABLE),
    ("http://10.0.0.\uff17/", PRINTABLE),
    ("http://\u0661\u0660.0.0.7/", PRINTABLE),
    ("http://10\u30020\u30020\u30027/", PRINTABLE),
    ("http://\u24d4xample/", PRINTABLE),
    ("http://10.0.0.7@169.254.169.254/", "without a user"),
    ("http://user:secret@10.0.0.7/", "without a user"),
    ("http://@10.0.0.7/", "without a user"),
    ("http://10.0.0.7:80@169.254.169.254:80/", "without a user"),
    ("http:///poke", LETTERS),
    ("http://exa%6dple/", LETTERS),
    ("http://10.0.0.7%2f.example/", LETTERS),
    ("http://-example/", LETTERS),
    ("http://a..b/", LETTERS),
    ("http://[10.0.0.7]/", "where there are brackets"),
    ("http://[fd00::7", "in brackets"),
    ("http://[fd00::7]x/", "in brackets"),
    ("http://fd00::7/", "brackets around"),
    ("http://[fe80::1%25eth0]/", "zone"),
    ("http://[::10.0.0.0.7]/", FORM),
    ("http://localhost./", "dot at its end"),
    ("http://10.0.0.7./", "dot at its end"),
    ("http://10.0.0.7:/", PORT),
    ("http://10.0.0.7:0/", PORT),
    ("http://10.0.0.7:080/", PORT),
    ("http://10.0.0.7:65536/", PORT),
    ("http://10.0.0.7:+80/", PORT),
    ("http://10.0.0.7:80:80/", "brackets around"),
    ("http://2852039166/", FORM),
    ("http://0xa9fea9fe/", FORM),
    ("http://0xA9.0xFE.0xA9.0xFE/", FORM),
    ("http://025177524776/", FORM),
    ("http://0251.0376.0251.0376/", FORM),
    ("http://010.0.0.7/", FORM),
    ("http://127.1/", FORM),
    ("http://10.7/", FORM),
    ("http://169.254.43518/", FORM),
    ("http://10.0.0.256/", FORM),
    ("http://10.0.0.7.1/", FORM),
    ("http://1.0x7f/", FORM),
    ("http://" + "a" * 2048, "2048"),
]
"""URL, and a word of the reason, of those that are refused by their form."""

ADDRESSES = [
    ("http://169.254.169.254/latest/meta-data/", "link-local"),
    ("http://[fe80::1]/", "link-local"),
    ("http://[fec0::1]/", "site-local"),
    ("http://[fd00:ec2::254]/", "a cloud"),
    ("http://168.63.129.16/", "a cloud"),
    ("http://100.100.100.200/", "a cloud"),
    ("http://0.0.0.0/", "no address"),
    ("http://0.1.2.3/", "no address"),
    ("http://[::]/", "no address"),
    ("http://224.0.0.1/", "multicast"),
    ("http://[ff02::1]/", "multicast"),
    ("http://255.255.255.255/", "broadcast"),
    ("http://[::ffff:169.254.169.254]/", INSIDE),
    ("http://[::ffff:a9fe:a9fe]/", INSIDE),
    ("http://[::ffff:10.0.0.7]/", INSIDE),
    ("http://[::169.254.169.254]/", INSIDE),
    ("http://[::ffff:0:169.254.169.254]/", INSIDE),
    ("http://[64:ff9b::169.254.169.254]/", INSIDE),
    ("http://[64:ff9b:1::a9fe:a9fe]/", INSIDE),
    ("http://[2002:a9fe:a9fe::1]/", INSIDE),
    ("http://[2001:0:a9fe:a9fe::1]/", INSIDE),
    ("http://127.0.0.1/", "--allow-callbacks names"),
    ("http://127.8.9.10/", "--allow-callbacks names"),
    ("http://[::1]/", "--allow-callbacks names"),
    ("http://[0:0:0:0:0:0:0:1]/", "--allow-callbacks names"),
]
"""Likewise by their address, though all of the world is allowed."""

TAKEN = {
    "http://10.0.0.7": ("http", "10.0.0.7", 80, "/"),
    "http://10.0.0.7:9/poke?gid=usage": ("http", "10.0.0.7", 9, "/poke?gid=usage"),
    "https://[fd00::7]/a": ("https", "fd00::7", 443, "/a"),
    "HTTP://[FD00::7]:8443": ("http", "fd00::7", 8443, "/"),
    "https://Node-1.example:65535?x": ("https", "node-1.example", 65535, "/?x"),
    "http://10.0.0.7/@169.254.169.254": ("http", "10.0.0.7", 80, "/@169.254.169.254"),
    "http://7.example": ("http", "7.example", 80, "/"),
}


@pytest.mark.parametrize(("url", "reason"), URLS)
def test_fault_61_a_url_in_a_doubtful_form_is_refused(url: str, reason: str) -> None:
    """What two readers could read differently is no URL here, wherever it leads."""
    with pytest.raises(CallbackRefused, match=reason):
        parse_url(url)


@pytest.mark.parametrize(("url", "reason"), ADDRESSES)
def test_fault_61_some_addresses_are_refused_whatever_is_allowed(url: str, reason: str) -> None:
    """Nobody means them by `--allow-callbacks 0.0.0.0/0,::/0`, and nothing good answers there."""
    address = parse_url(url).address
    assert address is not None
    with pytest.raises(CallbackRefused, match=reason):
        check_address(address, WORLD)


@pytest.mark.parametrize(
    "text", ["192.0.2.8", "11.0.0.1", "9.255.255.255", "fc00::1", "2001:db8::1"]
)
def test_fault_61_what_is_not_allowed_is_refused(text: str) -> None:
    """The list is all that there is: nothing is allowed for being public, or private."""
    with pytest.raises(CallbackRefused, match="--allow-callbacks names"):
        check_address(ip_address(text), SITE)


@pytest.mark.parametrize("text", ["10.0.0.7", "192.0.2.7", "fd12::1"])
def test_what_is_allowed_is_taken(text: str) -> None:
    """A guard that refuses everything guards nothing."""
    check_address(ip_address(text), SITE)


def test_loopback_is_allowed_where_it_is_named() -> None:
    """By any part of it."""
    named = parse_networks("127.0.0.0/30,::1", field="allow-callbacks")
    check_address(ip_address("127.0.0.1"), named)
    check_address(ip_address("::1"), named)
    with pytest.raises(CallbackRefused):
        check_address(ip_address("127.0.0.4"), named)


@pytest.mark.parametrize("url", TAKEN)
def test_a_plain_url_is_taken_apart(url: str) -> None:
    """What is called, and what is asked there."""
    target = parse_url(url)
    assert (target.scheme, target.host, target.port, target.path) == TAKEN[url]


def test_fault_61_a_name_is_refused_for_any_of_its_addresses() -> None:
    """Which of them would be called is chance, or an attacker's choice."""
    good, bad = ip_address("10.0.0.7"), ip_address("169.254.169.254")
    check_addresses([good], SITE)
    for addresses in ([good, bad], [bad, good], [good, ip_address("11.0.0.1")]):
        with pytest.raises(CallbackRefused):
            check_addresses(addresses, SITE)
    for addresses in ([], [good] * (ADDRESSES_MAX + 1)):
        with pytest.raises(CallbackRefused, match="1 to"):
            check_addresses(addresses, SITE)
    with pytest.raises(CallbackRefused, match="network card"):
        check_address(ip_address("fd00::1%eth0"), SITE)
