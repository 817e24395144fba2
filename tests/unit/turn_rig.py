"""Turns over a scripted engine and a log that can be stopped and made to fail."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpc.errors import HpcError
from hpc.hub.commit import Committer
from hpc.hub.outputs import Stored
from hpc.hub.space import Space
from hpc.hub.turn import Turns
from hpc.hub.turn_parts import Input
from hpc.protocols import Answer, EventLog, LogRow
from hpc.storage.memory import MemoryDisk, MemoryLog

DEADLINE_S = 20.0
LEASE_MS = 30_000
REPORT = b'{"events":[{"kind":"JobFinished"}]}'
SUBMIT = b'{"events":[{"kind":"SubmitJob"}]}'


@dataclass
class Step:
    """What one step of the scripted engine brings; `hpc._core.Turn` has the same fields."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    replies: list[tuple[int, int, bytes]] = field(default_factory=list)
    pokes: list[tuple[str, int]] = field(default_factory=list)
    wake_ms: int | None = None
    build_from: int | None = None


class ScriptedEngine:
    """Records each `ingest` as a row, answers reads with its last seq, and holds `claim`."""

    def __init__(self, log: EventLog) -> None:
        self.last_seq = log.head().last_seq
        self.steps: list[list[str]] = []
        self.threads: list[int] = []
        """On which each step was run."""
        self.builds: list[int] = []
        self.recalled: list[LogRow] = []
        self.wake_ms: int | None = None
        self.jumped_ms = 0
        self.tokens: list[tuple[str, str, bool]] = []
        self.generators: list[tuple[str, str]] = []
        self.build_from: int | None = None
        self.before_step: Callable[[list[Input]], None] = lambda _: None

    def recall(self, row: LogRow) -> None:
        self.recalled.append(row)

    def ahead_ms(self, *, wall_ms: int, mono_ms: int) -> int:
        return self.jumped_ms

    def step(
        self, inputs: list[Input], *, wall_ms: int, mono_ms: int, build: Sequence[Any]
    ) -> Step:
        self.before_step(inputs)
        self.threads.append(threading.get_ident())
        self.steps.append([one[1] for one in inputs])
        self.builds.append(len(build))
        step = Step(wake_ms=self.wake_ms, build_from=self.build_from)
        self.build_from = None
        for token, verb, _, body, _ in inputs:
            if verb in ("ingest", "control"):
                self.last_seq += 1
                ids = (f"job-{self.last_seq}",)
                row = (self.last_seq, 1, f"b{self.last_seq}", bytes(32), bytes(32), 0, body, ids)
                step.rows.append(row)
                step.replies.append((token, 200, b"%d" % self.last_seq))
                step.pokes = [("g", self.last_seq)]
            elif verb == "jobs":
                step.replies.append((token, 200, b"%d" % self.last_seq))
        return step


class SlowLog(MemoryLog):
    """A memory log whose appends can be stopped and made to fail."""

    def __init__(self) -> None:
        super().__init__(MemoryDisk("h"))
        self.gate = threading.Event()
        self.gate.set()
        self.appending = threading.Event()
        self.failures: list[Exception] = []
        self.free = 1 << 40
        self.on_append: Callable[[], None] = lambda: None

    def append(self, rows: Sequence[LogRow]) -> None:
        self.appending.set()
        assert self.gate.wait(DEADLINE_S)
        if self.failures:
            raise self.failures.pop()
        self.on_append()
        super().append(rows)

    def free_bytes(self) -> int:
        return self.free


class ManualClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def wall_ms(self) -> int:
        return self.now_ms

    def mono_ms(self) -> int:
        return self.now_ms


class MemoryOutputs:
    """Output packs in memory."""

    ahead_ms = 0

    def __init__(self) -> None:
        self.packs: list[bytes] = []
        self.ahead_seen: list[int] = []
        """By how much the clock was ahead at each append."""
        self.failures: list[Exception] = []

    def append(self, packs: Sequence[bytes]) -> list[Stored]:
        if self.failures:
            raise self.failures.pop()
        self.packs += packs
        self.ahead_seen.append(self.ahead_ms)
        return [Stored(Answer(200, b"stored"), frozenset({"job-of-pack"}))] * len(packs)


class Desk:
    """A committer over a scripted engine, and what a test wants to look at.

    Attributes:
        timer_s: What the committer's timer says.
    """

    def __init__(self) -> None:
        self.log = SlowLog()
        self.outputs = MemoryOutputs()
        self.clock = ManualClock()
        self.timer_s = 0.0
        self.engines: list[ScriptedEngine] = []
        self.committer = Committer(
            log=self.log,
            outputs=self.outputs,
            build_engine=self.build_engine,
            lease_ms=LEASE_MS,
            clock=self.clock,
            space=Space(reserve_bytes=1000),
            timer_s=lambda: self.timer_s,
        )

    def build_engine(self) -> ScriptedEngine:
        self.engines.append(ScriptedEngine(self.log))
        return self.engines[-1]

    @property
    def engine(self) -> ScriptedEngine:
        return self.engines[-1]


class Rig(Desk):
    """Turns of such a committer."""

    def __init__(self, here_turns_max: int = 0) -> None:
        super().__init__()
        self.fatal: list[HpcError] = []
        self.turns = Turns(
            self.committer,
            on_fatal=self.fatal.append,
            clock=self.clock,
            here_turns_max=here_turns_max,
        )

    def asked(self, verb: str, body: bytes = b"") -> asyncio.Task[Answer]:
        return asyncio.ensure_future(self.turns.ask(verb, "", body))


def with_rig(test: Callable[[Rig], Coroutine[Any, Any, None]], *, here_turns_max: int = 0) -> None:
    """Run a test on a loop of its own, and end the turns whatever happens."""

    async def run() -> None:
        rig = Rig(here_turns_max)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await test(rig)
        finally:
            rig.log.gate.set()
            await rig.turns.close()

    asyncio.run(run())


async def in_thread(event: threading.Event) -> None:
    """Wait for an event that the turn thread sets."""
    assert await asyncio.to_thread(event.wait, DEADLINE_S)


async def settled(rig: Rig) -> None:
    """Let everything that is on the queue be taken and answered."""
    await rig.turns.on_log(lambda _: None)


def code(answer: Answer) -> str:
    return str(json.loads(answer.body)["code"])
