"""What is refused beyond a number: by name in `/healthz?full=true`, and in docs/limits.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_hub import ScriptedHub, serving

from hpc.hub import limit_table as hub_table
from hpc.hub.service import Service
from hpc.hub.tokens import Tokens
from hpc.transport import connection
from hpc.transport import limit_table as http_table

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
ALL = (*http_table.LIMITS, *hub_table.LIMITS)


def shown(name: str, most: float) -> str:
    """A number with its unit; of bytes the largest that leaves it whole."""
    number = int(most)
    if name.endswith("_bytes"):
        power, unit = next(
            (power, unit)
            for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB"), (0, "bytes"))
            if number % (1 << power) == 0
        )
        return f"{number >> power:,} {unit}"
    units = [unit for end, unit in (("_per_s", " bytes/s"), ("_s", " s")) if name.endswith(end)]
    return "".join([f"{number:,}", *units[:1]])


def test_the_page_has_each_limit_with_its_number() -> None:
    """A number that is changed in one place only would be believed in the other."""
    rows = [f"| `{one.name}` | {shown(one.name, one.most)} | {one.what} |" for one in ALL]
    table = "\n".join(["| limit | at most | of what |", "|---|---|---|", *rows]) + "\n"
    assert table in PAGE.read_text("utf-8"), f"docs/limits.md must have this table:\n\n{table}"


def test_each_limit_has_a_name_of_its_own() -> None:
    """They are shown together."""
    names = [one.name for one in ALL]
    assert len(names) == len(set(names))
    assert all(one.most == int(one.most) > 0 and one.what for one in ALL)


def test_who_has_a_token_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of this process: `connections` by the files that it may open."""
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 7)
    with serving(ScriptedHub()) as served:
        status, _, body = served.request("GET", "/healthz?full=true")
        assert status == 200
        limits = json.loads(body)["limits"]
        assert set(limits) == {one.name for one in http_table.LIMITS}
        assert limits["connections"] == 7
        assert limits["body_bytes"] == 64 << 20
        assert served.request("GET", "/healthz?full=true", token=None)[0] == 401


def test_the_hub_tells_its_own_also_while_it_reads_its_log() -> None:
    """A client that asks why it was refused need not wait for the log."""
    service = Service("a-hub", Tokens(b"", []))
    assert service.figures()["limits"] == {one.name: one.most for one in hub_table.LIMITS}
    assert service.figures()["limits"]["jobs_going_on"] == 4_000_000
