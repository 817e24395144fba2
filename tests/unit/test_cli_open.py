"""`hpc open`: what it prints, and of whom it asks a code. A browser is test_dashboard.py's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from canned_hub import CannedHub, answer, problem

from hpc.cli import tree


def test_the_url_alone_is_printed(hub: CannedHub, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a script takes it; the code stands where no browser sends it to anyone."""
    hub.routes["POST", "/ui/codes"] = answer({"code": "c-1", "expires_in": 300}, 201)
    url = f"{hub.url}/ui/#code=c-1"
    assert tree.main(["open", "--print"]) == 0
    assert tuple(capsys.readouterr()) == (url + "\n", "")
    assert tree.main(["open", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["data"]) == ("hpc.open/1", {"url": url})
    assert [one.path for one in hub.asked] == ["/ui/codes"] * 2


def test_where_no_browser_can_be_it_says_so(
    hub: CannedHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A browser of the terminal would take it over; nothing is written either."""
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    hub.routes["POST", "/ui/codes"] = answer({"code": "c-1", "expires_in": 300}, 201)
    assert tree.main(["open"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{hub.url}/ui/#code=c-1\n"
    assert err == "no browser is here; in one, the URL logs in once, within 5 minutes\n"
    assert list(tmp_path.iterdir()) == []


def test_a_hub_that_is_too_old_is_named_as_such(
    hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knows no such route, which says nothing to whoever typed the command."""
    hub.routes["POST", "/ui/codes"] = problem(404, "no_route", "path '/ui/codes' is none of ours")
    assert tree.main(["open"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"error: The Hub at {hub.url} has no dashboard: it is of an older version"
    )
    assert "route" not in err
