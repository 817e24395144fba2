"""The relay's process against a scripted Hub: joins, runs a real command, reports, leaves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from relay_scripted import Request, Response, ScriptedHub, run

from hpc.access import Access, write_access
from hpc.config import RelayConfig
from hpc.errors import HpcError
from hpc.relay import process

LEASE_S = 2.0
START = """
import sys
from pathlib import Path
from hpc.config import RelayConfig
from hpc.errors import HpcError
from hpc.relay.process import run_relay
try:
    code = run_relay(RelayConfig(home=Path(sys.argv[1]), node_id="n1", namespaces=["batch"],
                                 cpus=2, memory_mib=100, grace_s=float(sys.argv[2])))
except HpcError as error:
    print("error:", error.message, file=sys.stderr)
    code = error.exit_code
sys.exit(code)
"""


class Field:
    """A Hub that grants by the test's word, and relays of one state folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.hub = ScriptedHub(self._script)
        self.grants: list[dict[str, Any]] = []
        self.refusal: Response | None = None
        self.ingest_status = 200
        self.news = asyncio.Event()

    async def _script(self, request: Request) -> Response:
        if request.path == "/ingest":
            return Response(self.ingest_status, {})
        if request.path != "/claim":
            return Response(200, {})
        claim = request.json()
        if self.refusal is not None:
            return self.refusal
        if claim["wait"] and not self.grants:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(claim["wait"]):
                    await self.news.wait()
        self.news.clear()
        granted, self.grants = self.grants, []
        if claim["max"] == 0:
            granted = []
        return Response(200, {"n": claim["n"], "lease_s": LEASE_S, "grants": granted})

    def grant(self, job_id: str, command: str, **spec: Any) -> None:
        self.grants = [
            {
                "job_id": job_id,
                "ns_id": "batch",
                "handler_type": "process",
                "attempt": 1,
                "tasks": "0",
                "ctx": {"ns_id": "batch", "job_id": job_id},
                "spec": {"command": command, **spec},
                "resources": {"cpus": 1, "memory_mib": 10},
            }
        ]
        self.news.set()

    @contextlib.asynccontextmanager
    async def relay(self, *, grace_s: float = 5.0) -> AsyncIterator[asyncio.subprocess.Process]:
        write_access(self.home, Access(self.hub.url, self.hub.token))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            START,
            str(self.home),
            str(grace_s),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def events(self, kind: str) -> list[dict[str, Any]]:
        bodies = [request.json() for request in self.hub.seen("/ingest")]
        return [event for body in bodies for event in body["events"] if event["kind"] == kind]

    async def told(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        while len(self.events(kind)) < count:
            await asyncio.sleep(0.01)
        return self.events(kind)


async def joined(relay: asyncio.subprocess.Process) -> str:
    assert relay.stdout is not None
    return (await relay.stdout.readline()).decode()


def test_a_relay_joins_runs_reports_and_leaves(tmp_path: Path) -> None:
    """The whole of a relay's life, with a command whose effect is seen outside."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        async with field.hub, field.relay() as relay:
            line = await joined(relay)
            assert line == (
                f"relay n1 joined {field.hub.url} (2 cpus, 100 MiB; namespaces: batch)\n"
            )
            field.grant("j1", f"echo made > {tmp_path}/made; echo seen; exit 3")
            [finished] = await field.told("JobFinished")
            relay.send_signal(signal.SIGTERM)
            assert await relay.wait() == 0
            [left] = field.events("NodeLeft")
        assert (tmp_path / "made").read_text() == "made\n"
        assert finished["payload"]["ctx"]["job_id"] == "j1"
        assert finished["payload"]["spec"]["exit_code"] == 3
        assert left["payload"]["ctx"] == {"node_id": "n1", "epoch": 1}
        paths = [request.path for request in field.hub.requests if request.path != "/claim"]
        assert paths.index("/outputs") < len(paths) - 1
        assert b"seen\n" in field.hub.seen("/outputs")[0].body

    run(scenario())


def test_fault_27_results_are_delivered_by_the_next_start(tmp_path: Path) -> None:
    """What a killed relay had not got rid of comes from the next one as it was."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        field.ingest_status = 503
        async with field.hub:
            async with field.relay() as relay:
                await joined(relay)
                field.grant("j1", "exit 4")
                await field.told("JobFinished")
                relay.kill()
                await relay.wait()
            before = len(field.hub.seen("/ingest"))
            sent = field.hub.seen("/ingest")[-1]
            field.ingest_status = 200
            async with field.relay() as relay:
                await joined(relay)
                while len(field.hub.seen("/ingest")) == before:
                    await asyncio.sleep(0.01)
                assert field.hub.seen("/ingest")[before].body == sent.body
                relay.send_signal(signal.SIGTERM)
                assert await relay.wait() == 0
            claims = [request.json() for request in field.hub.seen("/claim")]
            assert claims[-1]["epoch"] == 2
            joins = [claim for claim in claims if claim["epoch"] == 2]
            assert joins[0]["holds"] == [{"job_id": "j1", "attempt": 1, "tasks": "0"}]
            assert not sent.json()["id"].startswith(claims[-1]["session"])

    run(scenario())


def test_a_relay_whose_reports_are_not_taken_does_not_leave(tmp_path: Path) -> None:
    """The Hub would count the leases as lost, though their results come with the next start."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        field.ingest_status = 503
        async with field.hub, field.relay(grace_s=0.1) as relay:
            await joined(relay)
            field.grant("j1", "exit 4")
            await field.told("JobFinished")
            relay.send_signal(signal.SIGTERM)
            assert await relay.wait() == 0
            assert relay.stderr is not None
            assert b"kept for the next start" in await relay.stderr.read()
        assert field.events("NodeLeft") == []

    run(scenario())


def test_another_hub_s_task_runs_though_an_old_one_of_its_name_is_untold(tmp_path: Path) -> None:
    """Job ids are the users' choice: two Hubs have the same ones."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        field.ingest_status = 503
        async with field.hub:
            for hub_id in ("hub-a", "hub-b"):
                field.hub.hub_id = hub_id
                async with field.relay() as relay:
                    await joined(relay)
                    while hub_id not in _text(tmp_path / "ran"):
                        # Granted until it is held, as a Hub does; a dead relay's claim may take it.
                        field.grant("j1", f"echo {hub_id} >> {tmp_path}/ran")
                        await asyncio.sleep(0.1)
                    await field.told("JobFinished")
                    relay.kill()
                    await relay.wait()
            first = field.hub.seen("/claim")[0].json()["session"]
            second = next(
                claim
                for claim in (request.json() for request in field.hub.seen("/claim"))
                if claim["session"] != first
            )
            assert second["holds"] == []

    run(scenario())


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_fault_25_a_relay_that_is_replaced_ends_its_tasks_and_exits(tmp_path: Path) -> None:
    """R23: another place is this node now, and has its tasks."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        async with field.hub, field.relay(grace_s=600) as relay:
            await joined(relay)
            field.grant("j1", f"echo $$ > {tmp_path}/pid; sleep 600")
            await field.told("JobStarted")
            taken = {"status": 409, "code": "taken", "last_epoch": 9, "host": "h2", "place": "p2"}
            field.refusal = Response(409, taken)
            field.news.set()
            assert await relay.wait() == 6
            assert relay.stderr is not None
            assert b"h2" in await relay.stderr.read()
            [returned] = field.events("TasksReturned")
        assert returned["payload"]["spec"]["reason"] == "drain"
        assert field.events("NodeLeft") == []
        pid = int((tmp_path / "pid").read_text())
        assert not Path(f"/proc/{pid}").exists()

    run(scenario())


def test_a_second_relay_of_the_same_folder_waits_and_says_so(tmp_path: Path) -> None:
    """Two processes must not be one place; the second is served when the first has ended."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        async with field.hub, field.relay() as first, field.relay() as second:
            starting = {asyncio.create_task(joined(relay)): relay for relay in (first, second)}
            done, waiting = await asyncio.wait(starting, return_when=asyncio.FIRST_COMPLETED)
            [served] = [starting[task] for task in done]
            [held] = [starting[task] for task in waiting]
            assert held.stderr is not None
            line = await held.stderr.readline()
            assert b"node n1 is held by process %d" % served.pid in line
            served.send_signal(signal.SIGTERM)
            assert await served.wait() == 0
            await asyncio.wait(waiting)
            assert held.returncode is None

    run(scenario())


def test_without_its_supervisor_a_relay_ends_every_task_and_says_so(tmp_path: Path) -> None:
    """The relay inherits what a killed supervisor leaves, daemons included."""

    async def scenario() -> None:
        field = Field(tmp_path / "home")
        async with field.hub, field.relay() as relay:
            await joined(relay)
            field.grant(
                "j1", f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 600' & sleep 600"
            )
            await field.told("JobStarted")
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                await asyncio.sleep(0.01)
            [supervisor] = psutil.Process(relay.pid).children()
            supervisor.kill()
            assert await relay.wait() == 1
            assert relay.stderr is not None
            assert b"Supervisor of node `n1` is gone" in await relay.stderr.read()
        assert not Path(f"/proc/{int((tmp_path / 'pid').read_text())}").exists()

    run(scenario())


def test_a_cgroup_that_is_required_and_cannot_be_made_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever asks for it gets no relay that is less strict, and reads what is missing."""
    asked: list[dict[str, Any]] = []

    def missing(**given: Any) -> tuple[str, str]:
        asked.append(given)
        return "", "other processes share /sys/fs/cgroup/user.slice"

    monkeypatch.setattr(process, "memory_cgroup", missing)
    config = RelayConfig(home=tmp_path, node_id="n1", namespaces=["batch"], cgroup="require")
    with pytest.raises(HpcError, match="other processes share") as refused:
        process.run_relay(config)
    assert "Delegate=yes" in (refused.value.hint or "")
    assert asked[0]["root"] == "/"
    assert not (tmp_path / "relays").exists()
