"""What `hpc top` reads and prints: little, in few requests, and nothing that steers a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from canned_hub import TOKEN, CannedHub, answer, job

from hpc.cli import top_board
from hpc.cli.top_board import Board
from hpc.client import Client
from hpc.errors import HpcError
from hpc.terminal import CONTROL

EVIL = "\x1b]0;title\x07[red]\u202e\nx" + "long " * 30


def figures(cursor: int, succeeded: int = 0, hub: str = "h") -> Any:
    tasks = {"running": 1, "succeeded": succeeded}
    totals = {"jobs": {"running": 1, "queued": 0}, "tasks": tasks, "nodes": {"up": 1}}
    return answer({"hub": hub, "cursor": cursor, "totals": totals})


def event(seq: int, kind: str = "JobStarted", **ctx: Any) -> dict[str, Any]:
    ctx = {"ns_id": "batch", "job_id": "7", **ctx}
    return {"seq": seq, "at": 1_700_000_000_000, "kind": kind, "payload": {"ctx": ctx}}


def page(*rows: dict[str, Any]) -> Any:
    return answer({"cursor": 9, "data": list(rows), "next": None})


@pytest.fixture
def hub() -> Iterator[CannedHub]:
    """A Hub of one node with a monitor and a GPU, and a job with a name that is none."""
    node = {"node_id": "n1", "state": "up", "drained": True, "leases": [{"tasks": "0-1"}]}
    gpu = {"name": "H100", "usage": "50%", "mem_used_kb": 1, "mem_total_kb": 2}
    stats = {"cpu_usage": "25.0%", "mem_used_kb": 1 << 20, "mem_total_kb": 4 << 20, "gpus": [gpu]}
    with CannedHub() as hub:
        hub.routes = {
            ("GET", "/healthz"): figures(9),
            ("GET", "/nodes"): page(node, {"node_id": EVIL, "state": "up", "leases": []}),
            ("GET", "/jobs"): page(job("7", "running", name=EVIL)),
            ("GET", "/pull"): answer({"cursor": 9, "facts": {"nodes": {"n1": stats}}}),
            ("GET", "/events"): page(event(8), event(9, "HardwareStats"), event(10, name=EVIL)),
        }
        yield hub


def board(hub: CannedHub) -> Board:
    return Board(Client(hub.url, token=TOKEN, patience_s=0.0), newest=5)


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_what_is_shown_fits_and_steers_nothing(hub: CannedHub, columns: int) -> None:
    """Whatever names are."""
    shown = board(hub)
    shown.look(0.0)
    lines = shown.text(columns)
    assert all(len(line) <= columns for line in lines)
    assert not CONTROL & {ord(sign) for line in lines for sign in line}
    assert not any("\u202e" in line or "\n" in line for line in lines)


def test_nodes_have_bars_and_samples_are_no_news(hub: CannedHub) -> None:
    """Cores, memory and GPUs as their monitor says; a node without one has none."""
    shown = board(hub)
    shown.look(0.0)
    lines = shown.text(120)
    assert lines[0].endswith("seq 10")
    assert lines[1:3] == ["jobs   1 running", "tasks  1 running"]
    assert lines[4].split() == ["NODE", "STATE", "TASKS", "CPU", "MEMORY", "GPU"]
    cpu, memory, gpu = "[##------]  25%", "[##------]  25% of 4 GiB", "[####----]  50%"
    assert lines[5].split("  ", 1)[0] == "n1"
    assert f"up, drained  2      {cpu}  {memory}  {gpu}" in lines[5]
    assert "[" not in lines[6].partition("[red]")[2]
    kinds = [line.split()[2] for line in shown.event_lines(120)]
    assert kinds == ["JobStarted", "JobStarted"]


def test_a_look_at_a_log_that_has_not_grown_is_one_request(hub: CannedHub) -> None:
    """Who has it open all day must cost next to nothing."""
    shown = board(hub)
    hub.routes["GET", "/events"] = page(event(9))
    shown.look(0.0)
    assert len(hub.asked) == 5
    shown.look(1.0)
    assert hub.paths()[5:] == ["GET /healthz"]
    hub.routes["GET", "/healthz"] = figures(12, succeeded=4)
    hub.routes["GET", "/events"] = page(event(12))
    shown.look(2.0)
    assert len(hub.asked) == 11
    assert hub.asked[-1].query["cursor"] == "9"
    assert shown.head(80)[0].endswith("seq 12   2.0 tasks/s")
    assert [line.split()[0] for line in shown.event_lines(80)] == ["9", "12"]


@pytest.mark.parametrize("hub_id", ["another", "h"])
def test_a_hub_that_is_away_leaves_what_was_read_and_another_log_begins_anew(
    hub: CannedHub, hub_id: str
) -> None:
    """Old figures are better than none; those of another log, or of a lost end of it, are wrong."""
    shown = board(hub)
    shown.look(0.0)
    before = shown.text(80)
    hub.routes["GET", "/healthz"] = [None]
    with pytest.raises(HpcError):
        shown.look(1.0)
    assert shown.text(80) == before
    hub.routes["GET", "/healthz"] = figures(1, hub=hub_id)
    hub.routes["GET", "/events"] = page(event(1))
    shown.look(2.0)
    assert [line.split()[0] for line in shown.event_lines(80)] == ["1"]
    assert shown.head(80)[0].endswith("seq 1")


def test_before_the_first_look_nothing_is_claimed(hub: CannedHub) -> None:
    """Not even that there is no node."""
    assert board(hub).head(80) == board(hub).node_lines(80) == []
    assert top_board.NODES_MAX > 0


def test_without_the_extra_the_error_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, hub: CannedHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what does without."""
    from hpc.cli import tree

    monkeypatch.setenv("HPC_HUB_URL", hub.url)
    monkeypatch.setenv("HPC_TOKEN", TOKEN)
    monkeypatch.delitem(sys.modules, "hpc.cli.top_screen", raising=False)
    monkeypatch.setitem(sys.modules, "textual", None)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    monkeypatch.setattr("hpc.cli.top.is_terminal", lambda: True)
    assert tree.main(["top"]) == 2
    told = capsys.readouterr().err
    assert "pip install 'hpc-lattice[tui]'" in told
    assert "hpc top --once" in told


def test_what_is_no_terminal_is_printed_once(hub: CannedHub) -> None:
    """A pipe, a file: plain text, and an end."""
    done = subprocess.run(
        [sys.executable, "-m", "hpc", "top"],
        env={"HPC_HUB_URL": hub.url, "HPC_TOKEN": TOKEN},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(hub.url)
    assert "\x1b" not in done.stdout
