"""Where a Hub listens, and by what URL it says that it is reached."""

from __future__ import annotations

import contextlib
import socket

import pytest

from hpc.errors import UsageError
from hpc.transport import http_server


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.2", "127.0.0.2"),
        ("localhost", "127.0.0.1"),
        ("hub.test", "hub.test"),
        ("0.0.0.0", "login"),
    ],
)
def test_the_url_names_what_others_can_reach(
    monkeypatch: pytest.MonkeyPatch, host: str, shown: str
) -> None:
    """0.0.0.0 leads every machine to itself; a name is what a certificate is for."""
    lookup = socket.getaddrinfo

    def known(name: str, *more: object) -> object:
        return lookup("127.0.0.1" if name in ("hub.test", "login") else name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    monkeypatch.setattr(socket, "gethostname", lambda: "login")
    with contextlib.closing(http_server._bound(host, 0)) as sock:
        assert http_server._shown(host, sock) == shown


def test_a_machine_without_a_name_is_reached_from_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's host name may lead nowhere."""
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-name.invalid")
    with contextlib.closing(http_server._bound("0.0.0.0", 0)) as sock:
        assert http_server._shown("0.0.0.0", sock) == "localhost"


def test_a_name_that_leads_nowhere_is_no_host() -> None:
    """The message says what was looked for."""
    with pytest.raises(UsageError, match=r"no-such-name\.invalid"):
        http_server._bound("no-such-name.invalid", 0)
