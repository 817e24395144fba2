"""`hpc token`: what the command itself does; what tokens open is held by tests of the Hub."""

from __future__ import annotations

import pytest
from canned_hub import CannedHub, Request, answer

from hpc.cli import tree

DAY_MS = 86_400_000


def test_a_token_ends_by_the_hubs_clock(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a machine whose clock is wrong it would be over at once, or live on for years."""
    sent: list[Request] = []
    hub.routes["GET", "/healthz"] = answer({"hub": "h", "at": 5_000, "totals": {}})
    hub.routes["POST", "/control"] = lambda request: sent.append(request) or answer({"seq": 7})
    assert tree.main(["token", "create", "--role", "read", "--expires", "30d"]) == 0
    assert tree.main(["token", "create", "--role", "read"]) == 0
    assert [request.body["spec"].get("expires_at") for request in sent] == [
        5_000 + 30 * DAY_MS,
        None,
    ]
    assert all(line.startswith("hpc1_read_") for line in capsys.readouterr().out.splitlines())
