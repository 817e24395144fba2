"""`hpc up`: three parts by one command, and none of them afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from commands import HEEDING

from hpc.access import written
from hpc.client import Client
from hpc.launch.up import PartEnded, Plan, Up
from hpc.testing.processes import until

END_S = 30


class Running:
    """An `hpc up` of a home of its own."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [*HEEDING, "up", "--port", "0", *flags],
            env={**os.environ, "HPC_HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.parts: list[psutil.Process] = []
        self.dashboard = ""

    def up(self) -> str:
        """Wait until it says that it is; returns the URL."""
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        line = next(line for line in lines if line.startswith("up at "))
        self.parts = psutil.Process(self.process.pid).children(recursive=True)
        url = re.fullmatch(r"up at (\S+); try: hpc run -- hostname. Ctrl-C ends it\n", line)
        assert url is not None, line
        self.dashboard = next(lines)
        return url[1]

    def part(self, name: str) -> psutil.Process:
        return next(part for part in self.parts if part.cmdline()[4:5] == [name])

    def said(self) -> str:
        """What it has said on stderr, once it has ended."""
        return self.process.communicate(timeout=END_S)[1]

    def nothing_is_left(self) -> None:
        _, alive = psutil.wait_procs(self.parts, END_S)
        assert alive == []


@contextmanager
def running(home: Path, *flags: str) -> Iterator[Running]:
    one = Running(home, *flags)
    try:
        yield one
    finally:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()
        one.nothing_is_left()


def test_one_command_runs_jobs_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    """The relay is told to drain, the Hub hears that it leaves, and the log is there again."""
    with running(tmp_path, "--cpus", "1", "--node-id", "here", "--interval", "1s") as one:
        url = one.up()
        assert re.fullmatch(f"dashboard: {url}/ui/#code=[\\w-]{{40,}}\n", one.dashboard)
        with Client(home=tmp_path) as client:
            job = client.submit(["sh", "-c", "echo $HPC_NODE_ID"], key="first")
            assert job.wait(60)["state"] == "succeeded"
            assert url == Client(home=tmp_path)._read_access().url
            (node,) = client.nodes()
            assert (node["node_id"], node["resources"]["cpus"]) == ("here", 1)
        assert {part.cmdline()[4] for part in one.parts[:3]} == {"hub", "relay", "monitor"}
        with running(tmp_path) as second:
            assert f"error: A Hub is up here already, at {url}\n" in second.said()
            assert second.process.returncode == 2
        one.process.send_signal(signal.SIGINT)
        said = one.said()
        assert one.process.returncode == 0
        assert "ending; what runs has its grace" in said
        one.nothing_is_left()
    with running(tmp_path) as again:
        again.up()
        with Client(home=tmp_path) as client:
            assert client.info("first")["state"] == "succeeded"
            states = {row["node_id"]: row["state"] for row in client.nodes()}
            assert states.pop("here") == "left"


def test_a_second_ctrl_c_ends_what_runs(tmp_path: Path) -> None:
    """The first one waits for it as long as its grace is."""
    began = tmp_path / "began"
    with running(tmp_path / "home", "--grace", "10m") as one:
        one.up()
        with Client(home=tmp_path / "home") as client:
            client.submit(["sh", "-c", f"touch {began}; sleep 600"], grace=1)
            relay, monitor = one.part("relay"), one.part("monitor")
            until(began.exists)
            one.process.send_signal(signal.SIGINT)
            until(lambda: not monitor.is_running())
            assert relay.is_running()
        one.process.send_signal(signal.SIGINT)
        one.said()
        assert one.process.returncode == 0


@pytest.mark.parametrize("name", ["hub", "monitor"])
def test_a_part_that_ends_takes_the_others_along(name: str, tmp_path: Path) -> None:
    """Half a cluster would look like one."""
    with running(tmp_path) as one:
        one.up()
        one.part(name).kill()
        said = one.said()
        why = f"The {name} has ended by itself, with signal 9"
        assert f"error: {why}\n" in said
        assert said.index(f"{why}; so all of it ends") < said.index("told to end")
        assert one.process.returncode == 1


def test_a_part_that_ended_just_before_a_look_is_seen(tmp_path: Path) -> None:
    """Its stdout is at its end by then, and says nothing more."""
    with Up(tmp_path) as up:
        assert up.start(Plan("hub", ["hub", "--port", "0"]))
        hub = up._parts[0].process.pid
        os.kill(hub, signal.SIGKILL)
        os.waitid(os.P_PID, hub, os.WEXITED | os.WNOWAIT)
        up._look(0)
        with pytest.raises(PartEnded, match="The hub has ended by itself, with signal 9"):
            up.wait()


def test_who_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    """The kernel tells the parts."""
    with running(tmp_path, "--grace", "1s") as one:
        one.up()
        one.process.kill()
        one.process.communicate()
        one.nothing_is_left()


def test_what_a_part_refuses_is_said_once(tmp_path: Path) -> None:
    """With the part's own words and exit code; what was started before it has ended."""
    with running(tmp_path, "--memory", "much") as one:
        said = one.said()
        assert one.process.returncode == 2
        assert said.count("error:") == 1
        assert "error: `memory` must be memory such as 512M or 4G, got 'much'\n" in said


def test_it_says_where_it_is_and_not_where_the_environment_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it told the URL of the other Hub, and nothing of it; the code is its own Hub's, too."""
    monkeypatch.setenv("HPC_HUB_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HPC_TOKEN", "another Hub's")
    with running(tmp_path) as one:
        url = one.up()
        access = written(tmp_path)
        assert access is not None and access.url == url
        assert one.dashboard.startswith(f"dashboard: {url}/ui/#code=")
        one.process.send_signal(signal.SIGINT)
        assert "warning: HPC_HUB_URL is http://127.0.0.1:1, which commands" in one.said()
