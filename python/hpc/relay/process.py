"""The relay's process: starts the supervisor, keeps the loops running, and ends in order.

The supervisor is started before any thread and sweeps what earlier starts left before the first
claim goes out (R26). SIGTERM and SIGINT drain: no new leases, `grace_s` for what runs, `NodeLeft`
at the end; a second signal ends what runs at once. The end of its time, and having had nothing to
do for long, are as the first signal. Results that the Hub has not got stay in the outbox and are
delivered at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import signal
import string
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import msgspec
import uvloop

from hpc import machine, plugins
from hpc._core import memory_cgroup
from hpc.clock import Clock, SystemClock
from hpc.config import RelayConfig, read_access
from hpc.errors import Conflict, HpcError, NoHub, NotFound
from hpc.memory_privacy import keep_memory_private
from hpc.protocols import Handler
from hpc.relay.claims import Claims, Identity, Replaced
from hpc.relay.lifetime import Idleness, TimeLimit
from hpc.relay.membership import Membership
from hpc.relay.orphans import become_subreaper, end_descendants
from hpc.relay.place import NodeFolder
from hpc.relay.poke_server import serving_pokes
from hpc.relay.reports import Reports
from hpc.relay.resources import measured
from hpc.relay.supervisor_link import STOP_S, Hooks, SupervisorLink
from hpc.terminal import clean
from hpc.transport.backoff import Backoff
from hpc.transport.http_async import AccessSource, Lane, OtherHub, Problem
from hpc.transport.register import register
from hpc.units import show_duration

# After `grace_s` a task has its own grace between SIGTERM and SIGKILL, and its report must leave.
END_S = 10.0
LEAVE_S = 3.0
IDENTIFY_S = 10.0
SPARE_S = 5.0
SESSION_LETTERS = string.ascii_lowercase + string.digits


def stop_s_max(grace_s: float) -> float:
    """Return how long a relay takes to end after SIGTERM, in seconds, however things stand."""
    return grace_s + END_S + LEAVE_S + STOP_S + SPARE_S


def run_relay(config: RelayConfig) -> int:
    """Be a relay until a signal or its time ends it; returns the exit code.

    Raises:
        HpcError: The Hub refuses this relay, another one has its name, or the supervisor is gone.
    """
    if config.hub_url is not None:
        # Tasks that speak to the Hub, workers above all, find it where this relay does.
        os.environ["HPC_HUB_URL"] = config.hub_url
    if config.cgroup == "require":
        require_cgroup()
    wait = None if config.takeover else _say_waiting(config.node_id)
    folder = NodeFolder.open(config.home, config.node_id, on_wait=wait)
    try:
        become_subreaper()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_Relay(config, folder).run())
    finally:
        folder.close()
    return 0


def require_cgroup() -> None:
    """Refuse to be a relay where tasks can have no memory cgroup.

    Raises:
        HpcError: What is missing.
    """
    version, missing = memory_cgroup(root="/", pids=[os.getpid()])
    if not version:
        raise HpcError(
            f"No memory cgroup can be made, and `--cgroup require` asks for one: {missing}",
            hint="systemd-run --user --scope -p Delegate=yes hpc relay --cgroup require",
        )


class _Relay:
    """One start of a relay."""

    def __init__(self, config: RelayConfig, folder: NodeFolder) -> None:
        self._config = config
        self._folder = folder
        self._clock: Clock = SystemClock()
        self._random = random.SystemRandom()
        self._session = "".join(secrets.choice(SESSION_LETTERS) for _ in range(26))
        self._membership = Membership()
        self._resources = measured(
            cpus=config.cpus,
            memory_mib=config.memory_mib,
            gpus=config.gpus,
            named=config.resources,
            say=self._say,
        )
        self._source = AccessSource(lambda: read_access(config.home, url=config.hub_url))
        self._idleness = Idleness(self._clock)
        self._time_limit: TimeLimit | None = None
        if config.time_limit_s is not None:
            self._time_limit = TimeLimit(self._clock, config.time_limit_s, config.grace_s)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until a signal, then leave."""
        with contextlib.suppress(NoHub):  # none yet: it is waited for
            self._source.get()
        link = await SupervisorLink.start(
            folder=self._folder.path,
            session=self._session,
            node_id=self._config.node_id,
            cpus=self._resources.cpus,
            memory_mib=self._resources.memory_mib,
            stock=self._resources.stock(),
            output_limit=self._config.output_limit,
            cgroup=self._config.cgroup,
            processes_max=self._config.max_processes or machine.processes_max() // 2,
            keep_output_s=self._config.keep_output_s,
            output_quota_bytes=self._config.output_quota_bytes,
            hooks=Hooks(
                pre=self._config.pre,
                post=self._config.post,
                limit_s=self._config.hook_timeout_s,
            ),
        )
        keep_memory_private()  # after the start of the supervisor, whose tasks may dump
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        try:
            await self._serve(link)
        except ConnectionResetError as error:
            raise HpcError(
                f"Supervisor of node `{self._config.node_id}` is gone: {error}",
                hint="its tasks were ended; start the relay again",
            ) from error
        finally:
            await self._stop_supervisor(link)

    async def _serve(self, link: SupervisorLink) -> None:
        claims = self._claims(link)
        reports = Reports(
            link=link,
            own=self._lane(),
            old=self._lane(),
            chunks=self._lane(),
            session=self._session,
            membership=self._membership,
            book=self._folder,
            random=self._random,
            say=self._say,
        )
        loops = {
            name: asyncio.create_task(_forever(coroutine), name=name)
            for name, coroutine in {
                "claims": claims.run(),
                "reports": reports.run(),
                "old reports": reports.run_old(),
                "chunks": reports.follow(),
                "joined": self._announce(),
            }.items()
        }
        signals = {
            "stop": asyncio.create_task(self._stop.wait(), name="stop"),
            "stuck": asyncio.create_task(reports.stuck.wait(), name="stuck"),
            "time": asyncio.create_task(self._time_over(), name="time"),
            "idle": asyncio.create_task(self._idle_too_long(), name="idle"),
        }
        try:
            async with serving_pokes(self._config.port, claims.poke) as port:
                if port is not None:
                    self._say(f"pokes are taken at http://127.0.0.1:{port}/poke")
                await self._until_over(link, claims, loops, signals)
        finally:
            for task in (*loops.values(), *signals.values()):
                task.cancel()
            await asyncio.gather(*loops.values(), *signals.values(), return_exceptions=True)

    async def _until_over(
        self,
        link: SupervisorLink,
        claims: Claims,
        loops: dict[str, asyncio.Task[None]],
        signals: dict[str, asyncio.Task[Any]],
    ) -> None:
        done, _ = await asyncio.wait(
            {*loops.values(), *signals.values()}, return_when=asyncio.FIRST_COMPLETED
        )
        replaced: Replaced | None = None
        for task in done & set(loops.values()):
            error = task.exception()
            if not isinstance(error, Replaced):
                task.result()
            else:
                replaced = error
        is_stuck = signals["stuck"] in done
        is_told = signals["stop"] in done and replaced is None
        if not self._membership.joined.is_set():
            if is_told:
                self._say("told to end: leaves; it had not joined yet")
            return  # nothing was leased, nothing is to be told
        # Whoever has the name now has the tasks too: ours end at once.
        grace_s = 0.0 if replaced else self._config.grace_s
        if self._time_limit is not None:  # it may be late: the machine may have slept
            grace_s = min(grace_s, self._time_limit.left_s())
        is_drained = await self._drain(link, claims, grace_s=grace_s, is_told=is_told)
        loops["claims"].cancel()
        await asyncio.gather(loops["claims"], return_exceptions=True)
        if replaced is not None:
            raise replaced
        if is_drained:
            # Else leases are left whose reports are kept: their loss would count against the tasks.
            await self._leave(claims.epoch)
        if is_stuck:
            raise Conflict(
                "The Hub has lost what it acknowledged to this relay",
                code="gap",
                hint="look at how far the Hub's log goes with `hpc events`; the outbox is kept in "
                f"{self._folder.path / 'outbox'}",
            )

    async def _time_over(self) -> None:
        """Wait for the time limit, less the grace of what runs then; say so."""
        if self._time_limit is None:
            await asyncio.Future()
            return
        await self._time_limit.near()
        left = show_duration(round(self._time_limit.left_s()))
        self._say(
            f"its time is nearly over: takes no more work; what runs has {left}, then it ends"
        )

    async def _idle_too_long(self) -> None:
        """Wait until nothing was leased for as long as was said; say so."""
        if self._config.idle_timeout_s is None:
            await asyncio.Future()
            return
        await self._idleness.lasted(self._config.idle_timeout_s)
        self._say(f"nothing was leased for {show_duration(self._config.idle_timeout_s)}: leaves")

    async def _drain(
        self, link: SupervisorLink, claims: Claims, *, grace_s: float, is_told: bool
    ) -> bool:
        """Let the tasks end; returns whether the Hub has every report."""
        claims.drain()
        link.drain(grace_s)
        if is_told:
            self._say(self._farewell(await link.running(), grace_s))
        idle = asyncio.create_task(link.idle())
        hurry = asyncio.create_task(self._hurry.wait())
        limit_s = grace_s + END_S
        try:
            await asyncio.wait({idle, hurry}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not idle.done() and hurry.done():
                self._say("told to end again: what runs is ended now and goes back")
                link.drain(0.0)
                await asyncio.wait({idle}, timeout=END_S)
            if not idle.done():
                self._say("reports that the Hub has not got are kept for the next start")
            return idle.done()
        finally:
            idle.cancel()
            hurry.cancel()
            await asyncio.gather(idle, hurry, return_exceptions=True)

    def _farewell(self, running: int, grace_s: float) -> str:
        if not running:
            return "told to end: nothing runs; leaves"
        tasks = "1 task" if running == 1 else f"{running} tasks"
        until = self._clock.wall_ms() // 1000 + round(grace_s)
        return (
            f"told to end: takes no more work and waits for {tasks}, for at most "
            f"{show_duration(grace_s)} (until {_time_of_day(until)}); then they are ended and run "
            "elsewhere. A second signal ends them now"
        )

    async def _leave(self, epoch: int) -> None:
        """Tell the Hub that this node is gone by its own will; without an answer it finds out."""
        ctx = {"node_id": self._config.node_id, "epoch": epoch}
        event = {
            "kind": "NodeLeft",
            "at": self._clock.wall_ms(),
            "payload": {"ctx": ctx, "spec": {}},
        }
        body = msgspec.json.encode({"id": str(uuid.uuid4()), "events": [event]})
        lane, backoff = self._lane(), Backoff(self._random)
        try:
            async with asyncio.timeout(LEAVE_S):
                while not await self._left(lane, body):
                    await asyncio.sleep(backoff.next_s())
        except TimeoutError:
            self._say("the Hub was not told that this node leaves")
        finally:
            lane.close()

    async def _left(self, lane: Lane, body: bytes) -> bool:
        try:
            reply = await lane.post("/ingest", body, deadline_s=LEAVE_S)
        except (NoHub, OtherHub):
            return False
        if reply.status >= 500 or reply.status == 429:  # noqa: PLR2004 - HTTP
            return False
        if reply.status != 200:  # noqa: PLR2004 - HTTP
            self._say(f"the Hub does not take NodeLeft: {reply.problem().sentence()}")
        return True

    async def _announce(self) -> NoReturn:
        await self._membership.joined.wait()
        config = self._config
        print(
            f"relay {config.node_id} joined {self._source.get().url} "
            f"({self._resources.summary()}; "
            f"namespaces: {', '.join(config.namespaces)})",
            flush=True,
        )
        await asyncio.Future()
        raise AssertionError

    async def _stop_supervisor(self, link: SupervisorLink) -> None:
        try:
            await link.stop()
        finally:
            if not end_descendants():
                self._say("a task's process could not be ended; it waits in the kernel")

    def _claims(self, link: SupervisorLink) -> Claims:
        return Claims(
            rpc=self._lane(),
            link=link,
            book=self._folder,
            identity=Identity(
                node_id=self._config.node_id,
                host=os.uname().nodename,
                place=self._folder.place,
                session=self._session,
            ),
            membership=self._membership,
            namespaces=self._config.namespaces,
            resources=self._resources.offer(),
            labels=self._config.labels,
            handlers=self._handlers(),
            identify=self._identify,
            register=self._register,
            clock=self._clock,
            random=self._random,
            say=self._say,
            idleness=self._idleness,
            time_left_s=None if self._time_limit is None else self._time_limit.left_s,
            takeover=self._config.takeover,
        )

    async def _identify(self) -> str:
        """Return the id of the Hub that answers now, whichever it is."""
        lane = Lane(self._source)
        try:
            reply = await lane.get("/healthz", deadline_s=IDENTIFY_S)
        finally:
            lane.close()
        if reply.hub is None:
            raise NoHub(f"What answers at {self._source.get().url} does not say which Hub it is")
        return reply.hub

    async def _register(self) -> Problem | None:
        """Register those of our namespaces that entry points of this machine bring."""
        lane = self._lane()
        try:
            for ns_id in self._config.namespaces:
                try:
                    module = plugins.namespace(ns_id)
                except NotFound:
                    continue  # the Hub may know it, and says so if it does not
                except HpcError as error:
                    return Problem(detail=error.message, hint=error.hint)
                why = await register(lane, module)
                if why is not None:
                    return why
        finally:
            lane.close()
        return None

    def _handlers(self) -> dict[str, Handler]:
        found: dict[str, Handler] = {}
        for name in plugins.names(plugins.HANDLERS):
            try:
                found[name] = plugins.handler(name)
            except HpcError as error:
                self._say(error.message)
        return found

    def _lane(self) -> Lane:
        return Lane(self._source, check=self._membership.check)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def _say(self, line: str) -> None:
        # Names and problems come from the Hub, and from other relays by way of it.
        print(f"relay {self._config.node_id}: {clean(line)}", file=sys.stderr, flush=True)


async def _forever(loop: Coroutine[Any, Any, Any]) -> None:
    await loop


def _time_of_day(at_s: int) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(at_s))


def _say_waiting(node_id: str) -> Callable[[str], None]:
    def say(holder: str) -> None:
        print(
            f"relay {node_id}: node {node_id} is held by process {holder or '?'} of this machine; "
            "waiting for it to end\n\nhint: give another --node-id",
            file=sys.stderr,
            flush=True,
        )

    return say
