"""Herd: many relays in one process, at a real Hub, with tasks that have ended as they begin.

Each has the claims and the reports that ship, over connections of its own; only the supervisor is
missing, and with it every process and file. So a machine that can hold one relay shows what a
thousand do to a Hub: when they join, when work comes, and when the Hub was away.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import uvloop

from hpc import plugins, ranges
from hpc.access import read_access
from hpc.clock import SystemClock
from hpc.domain import NamespaceSpec, Work
from hpc.errors import NoHub
from hpc.relay.claims import Claims, Identity
from hpc.relay.membership import Membership
from hpc.relay.reports import Reports
from hpc.transport.http_async import JSON, AccessSource, Lane, Problem, Reply

NULL: Final = NamespaceSpec(
    ns_id="null", handler_type="none", resources={"cpus": 1}, schema={"SubmitJob": []}
)
"""What a herd serves; register it first."""

FILES_A_RELAY: Final = 4
FILES_BESIDE: Final = 256
IDENTIFY_S: Final = 10.0
END_S: Final = 30.0


class NullBatch(msgspec.Struct, frozen=True):
    """See `hpc.relay.link.Batch`."""

    origin: str
    n: int
    body: bytes
    outputs: bytes = b""


class NullLink:
    """See `hpc.relay.link.Link`: what is leased succeeds at once, and is held until it was told.

    Attributes:
        old: No session was before this one.
        ended: Tasks that the Hub has acknowledged.
        refusals: Reports that the Hub has refused.
    """

    old: Sequence[str] = ()

    def __init__(self, node_id: str, session: str) -> None:
        self.ended = 0
        self.refusals = 0
        self._node_id = node_id
        self._session = session
        self._clock = SystemClock()
        self._held: dict[tuple[str, int], set[int]] = {}
        self._ready: list[tuple[Work, set[int]]] = []
        self._told: list[tuple[Work, set[int]]] = []
        self._n = 0
        self._batches: asyncio.Queue[NullBatch] = asyncio.Queue()

    def run(self, works: list[Work]) -> None:
        """Report what is not held yet as having succeeded."""
        for work in works:
            held = self._held.setdefault((work.job_id, work.attempt), set())
            new = set(ranges.numbers(work.tasks)) - held
            held |= new
            if new:
                self._ready.append((work, new))
        self._offer()

    def acked(self, origin: str, n: int) -> None:
        """Let go of what the Hub has, and tell the rest."""
        for work, tasks in self._told:
            self.ended += len(tasks)
            held = self._held[work.job_id, work.attempt]
            held -= tasks
            if not held:
                del self._held[work.job_id, work.attempt]
        self._told = []
        self._offer()

    def refused(self, origin: str, n: int, events: Sequence[int]) -> None:
        """Take note; a herd has nothing that a Hub could refuse."""
        self.refusals += len(events)
        self.acked(origin, n)

    def refuse(self, work: Work, detail: str) -> None:
        """The handler of a herd refuses nothing."""
        raise AssertionError(f"a handler has refused: {detail}")

    def cancel(self, job_id: str, attempt: int, tasks: str, reason: str) -> None:
        """It has ended already."""

    def give_back(self, job_id: str, attempt: int, tasks: str) -> None:
        """Nothing waits here."""

    def fence(self, boottime_ms: int) -> None:
        """Nothing runs."""

    def lost(self) -> None:
        """Nothing runs."""

    def drain(self, grace_s: float) -> None:
        """Nothing runs."""

    def tail(self, streams: list[dict[str, Any]]) -> None:
        """Nothing is written."""

    def adopt(self, origins: Sequence[str]) -> None:
        """There are none."""

    async def holds(self) -> bytes:
        """Return what has ended and was not acknowledged."""
        return msgspec.json.encode(
            [
                {"job_id": job_id, "attempt": attempt, "tasks": ranges.of(tasks)}
                for (job_id, attempt), tasks in self._held.items()
            ]
        )

    async def next_batch(self) -> NullBatch:
        """Wait for the next batch; one is under way at a time."""
        return await self._batches.get()

    async def next_old_batch(self) -> NullBatch:
        """Wait for ever: there was no session before."""
        await asyncio.Future()
        raise AssertionError

    async def next_chunks(self) -> bytes:
        """Wait for ever: nothing is written."""
        await asyncio.Future()
        raise AssertionError

    async def idle(self) -> None:
        """Not asked by a herd, which is never drained."""
        raise NotImplementedError

    def _offer(self) -> None:
        if self._told or not self._ready:
            return
        self._told, self._ready = self._ready, []
        self._n += 1
        events = [self._event(work, tasks) for work, tasks in self._told]
        body = msgspec.json.encode({"id": f"{self._session}/{self._n}", "events": events})
        self._batches.put_nowait(NullBatch(self._session, self._n, body))

    def _event(self, work: Work, tasks: set[int]) -> dict[str, Any]:
        now_ms = self._clock.wall_ms()
        ctx = {
            "ns_id": work.ns_id,
            "job_id": work.job_id,
            "attempt": work.attempt,
            "tasks": ranges.of(tasks),
            "node_id": self._node_id,
            "epoch": work.epoch,
        }
        spec = {"exit_code": 0, "started_at": now_ms, "finished_at": now_ms}
        return {"kind": "JobFinished", "at": now_ms, "payload": {"ctx": ctx, "spec": spec}}


class _Book:
    """What a relay keeps on disk, kept in memory: a herd is never started again."""

    def __init__(self) -> None:
        self._epoch = 0
        self._hubs: dict[str, str] = {}

    def raise_epoch(self, *, above: int = 0) -> int:
        self._epoch = max(self._epoch, above) + 1
        return self._epoch

    def reach_epoch(self, least: int) -> int:
        self._epoch = max(self._epoch, least)
        return self._epoch

    def hub_of(self, session: str) -> str | None:
        return self._hubs.get(session)

    def remember_hub(self, session: str, hub_id: str) -> None:
        self._hubs[session] = hub_id


class _Counted:
    """A lane whose answers are counted."""

    def __init__(self, lane: Lane, answers: Counter[tuple[int, str]]) -> None:
        self._lane = lane
        self._answers = answers

    async def post(
        self, path: str, body: bytes, *, deadline_s: float, content_type: str = JSON
    ) -> Reply:
        reply = await self._lane.post(path, body, deadline_s=deadline_s, content_type=content_type)
        code = "" if reply.status == 200 else reply.problem().code  # noqa: PLR2004 - HTTP
        self._answers[reply.status, code] += 1
        return reply


class Herd:
    """So many relays of the namespace `null` at the Hub of a home, until the `with` block ends.

    Args:
        home: `$HPC_HOME` of the Hub.
        relays: How many; each takes up to four open files.
        cpus: That each of them offers.

    Attributes:
        answers: By status and the problem's code, how many claims and reports were answered so.
        said: By line, how often relays have told people so.
    """

    def __init__(self, home: Path, relays: int, *, cpus: int = 2) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.said: Counter[str] = Counter()
        self._home = home
        self._relays = relays
        self._cpus = cpus
        self._random = SystemRandom()
        self._links: list[NullLink] = []
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="herd", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._started = threading.Event()

    def __enter__(self) -> Self:
        _allow_files(self._relays * FILES_A_RELAY + FILES_BESIDE)
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._over is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(END_S)
        self.check()

    @property
    def ended(self) -> int:
        """How many tasks were run, and acknowledged by the Hub."""
        return sum(link.ended for link in self._links)

    def check(self) -> None:
        """Raise what a relay has ended by, if one has."""
        if self._failed is not None:
            raise self._failed
        refused = sum(link.refusals for link in self._links)
        assert refused == 0, f"the Hub has refused {refused} reports of a herd"

    def _run(self) -> None:
        try:
            uvloop.run(self._live())
        except BaseException as error:  # told by `check`, in the caller's thread
            self._failed = error
        finally:
            self._started.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        source = AccessSource(lambda: read_access(self._home))
        loops = [
            asyncio.ensure_future(loop)
            for number in range(self._relays)
            for loop in self._relay(f"h{number}", source)
        ]
        over = asyncio.ensure_future(self._over.wait())
        self._started.set()
        try:
            done, _ = await asyncio.wait([over, *loops], return_when=asyncio.FIRST_COMPLETED)
            for one in done - {over}:
                one.result()
        finally:
            for one in (over, *loops):
                one.cancel()
            await asyncio.gather(over, *loops, return_exceptions=True)

    def _relay(self, node_id: str, source: AccessSource) -> list[Any]:
        session = str(uuid.uuid4())
        link = NullLink(node_id, session)
        self._links.append(link)
        membership = Membership()
        book = _Book()

        def lane() -> _Counted:
            return _Counted(Lane(source, check=membership.check), self.answers)

        async def identify() -> str:
            asking = Lane(source)
            try:
                reply = await asking.get("/healthz", deadline_s=IDENTIFY_S)
            finally:
                asking.close()
            if reply.hub is None:
                raise NoHub("What answers does not say which Hub it is")
            return reply.hub

        async def unknown() -> Problem | None:
            return Problem(detail="a herd registers nothing")

        claims = Claims(
            rpc=lane(),
            link=link,
            book=book,
            identity=Identity(node_id, f"host-{node_id}", f"place-{node_id}", session),
            membership=membership,
            namespaces=[NULL.ns_id],
            resources={"cpus": self._cpus, "memory_mib": 1024},
            handlers={"none": plugins.handler("none")},
            identify=identify,
            register=unknown,
            clock=SystemClock(),
            random=self._random,
            say=self._say,
        )
        reports = Reports(
            link=link,
            own=lane(),
            old=lane(),
            chunks=lane(),
            session=session,
            membership=membership,
            book=book,
            random=self._random,
            say=self._say,
        )
        return [claims.run(), reports.run()]

    def _say(self, line: str) -> None:
        self.said[line] += 1


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
