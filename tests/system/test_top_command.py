"""`hpc top`: its screen against a Hub that is really there, goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import succeed as hpc

from hpc.testing.processes import Cluster

pytest.importorskip("textual", reason="the extra `tui` is not installed")

DEADLINE_S = 30.0


async def until(pilot: Any, holds: Callable[[], bool]) -> None:
    """Let the screen go on until a condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await pilot.pause(0.05)


def text_of(pilot: Any, name: str) -> str:
    """What a part of the topmost screen shows."""
    found = pilot.app.screen.query(name)
    return str(found.first().render()) if found else ""


def test_keys_tell_why_show_the_log_and_cancel_what_was_asked_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Of the job that the cursor is on; nothing is cancelled without a yes."""
    from hpc.cli.top_screen import Top

    cluster.relay("n1", cpus=1)
    client = cluster.client()
    stays = f"echo [red]begun; while ! test -e {tmp_path}/gate; do sleep 0.05; done"
    client.submit(["sh", "-c", stays], key="runs", name="[b]name", memory=16)
    client.submit("true", key="waits", cpu=64, memory=16)

    async def session() -> None:
        app = Top(cluster.client().again(patience_s=0.0))
        async with app.run_test(size=(80, 24)) as pilot:
            table = app.query_one("#jobs")
            await until(pilot, lambda: table.row_count == 2)
            await until(pilot, lambda: "1 running, 1 queued" in text_of(pilot, "#head"))
            assert "n1" in text_of(pilot, "#node_lines")
            assert "SubmitJob" in text_of(pilot, "#events")
            await pilot.press("w")
            await until(pilot, lambda: "needs 64 cpus" in text_of(pilot, "#text"))
            await pilot.press("escape", "down", "l")
            await until(pilot, lambda: "[red]begun" in text_of(pilot, "#text"))
            await pilot.press("escape", "k")
            assert "Cancel job runs?" in text_of(pilot, "#question")
            await pilot.press("n", "up", "k")
            assert "Cancel job waits?" in text_of(pilot, "#question")
            await pilot.press("y")
            await until(pilot, lambda: client.info("waits")["state"] == "cancelled")
            assert client.info("runs")["state"] == "running"
            await pilot.press("q")

    asyncio.run(session())
    (tmp_path / "gate").touch()
    client.wait("runs", timeout_s=DEADLINE_S)


def test_a_hub_that_goes_away_is_told_of_until_it_is_back(cluster: Cluster) -> None:
    """What was read before stays."""
    from hpc.cli.top_screen import Top

    cluster.client().submit("true", key="held", hold=True)

    async def session() -> None:
        app = Top(cluster.client().again(patience_s=0.0))
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "1 held" in text_of(pilot, "#head"))
            assert cluster.hub is not None
            cluster.hub.kill()
            await until(pilot, lambda: "asking again" in text_of(pilot, "#away"))
            assert app.query_one("#away").display
            assert "1 held" in text_of(pilot, "#head")
            await asyncio.to_thread(cluster.start_hub)
            await until(pilot, lambda: not app.query_one("#away").display)

    asyncio.run(session())


def test_the_program_draws_on_a_terminal_and_ends_by_its_key(cluster: Cluster) -> None:
    """As it is typed; with NO_COLOR no colour is set, and the terminal is given back."""
    client = cluster.client()
    client.submit("true", key="held", hold=True)
    terminal, inside = pty.openpty()
    top = subprocess.Popen(
        [sys.executable, "-m", "hpc", "top"],
        env={**os.environ, **cluster.env, "NO_COLOR": "1", "TERM": "xterm-256color"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    os.close(inside)
    shown = b""
    is_told = False
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the other side is closed
            break
        shown += piece
        if b"1 held" in shown and not is_told:
            is_told = True
            os.write(terminal, b"q")
    assert top.wait(DEADLINE_S) == 0
    os.close(terminal)
    assert b"\x1b[?1049l" in shown  # the screen that was there before
    assert b"\x1b[31m" not in shown


def test_once_is_plain_text(cluster: Cluster) -> None:
    """For a file, a mail, or who has not got the extra."""
    cluster.relay("n1", cpus=1)
    cluster.client().submit("true", key="a", memory=16).wait(DEADLINE_S)
    lines = hpc(cluster, "top", "--once").stdout.splitlines()
    assert lines[1] == "jobs   1 succeeded"
    assert any(line.split()[:2] == ["n1", "up"] for line in lines)
    assert any(line.split()[:3] == ["a", "(true)", "succeeded"] for line in lines)
