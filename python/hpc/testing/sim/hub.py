"""The process of a Hub: `Committer` over the engine that ships, its log on a simulated disk.

It is what turn.py and process.py are to a real one, without threads: what arrives while a commit is
on its way shares the next turn, and answers leave once that has been synced. It can be killed at
any moment, also within an append, frozen, and started again, which replays the log.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from hpc.domain import FieldSpec, NamespaceSpec
from hpc.hub.commit import Committer
from hpc.hub.outputs import Stored
from hpc.hub.recovery import recover
from hpc.hub.registration import register
from hpc.hub.turn_parts import Arrived, Clock, Input, Outcome
from hpc.hub.upkeep import Upkeep
from hpc.protocols import Answer, Namespace
from hpc.testing.sim.disk import Killed, LogDisk, SimLog
from hpc.testing.sim.loop import Owner, SimLoop

LEASE_MS = 2_000
RECLAIM_MS = 10_000
SNAPSHOT_EVENTS = 40
WALL_MS = 1_700_000_000_000
SYNC_S = (0.001, 0.02)

Answered = Callable[[Answer | None], None]


class _Module(NamedTuple):
    namespace: NamespaceSpec
    generators: list[object]


SIM: Namespace = _Module(  # type: ignore[assignment]  # it has no generators
    NamespaceSpec(
        ns_id="sim",
        handler_type="sim",
        resources={"cpus": "$spec.cpu"},
        schema={
            "SubmitJob": [
                FieldSpec(key="cpu", expected_type="Int", default=1),
                FieldSpec(key="seconds", expected_type="Float", required=True),
                FieldSpec(key="fails", expected_type="Float", default=0.0),
                FieldSpec(key="on_cut_off", expected_type="String", one_of=["finish", "stop"]),
                FieldSpec(key="retries", expected_type="Int", min=0),
            ]
        },
    ),
    [],
)
"""Jobs that take so long, and fail with that chance."""


class HubClock:
    """The Hub's clocks; its wall clock can be set."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.jump_ms = 0

    def wall_ms(self) -> int:
        """Milliseconds since 1970."""
        return WALL_MS + self.mono_ms() + self.jump_ms

    def mono_ms(self) -> int:
        """Virtual milliseconds."""
        return int(self._loop.time() * 1000)


class NoOutputs:
    """Tasks of a simulation print nothing."""

    ahead_ms = 0

    def append(self, packs: object) -> list[Stored]:
        """There are none."""
        raise AssertionError("no task of a simulation has output")


class SimHub:
    """One Hub over one disk, through all its starts.

    Attributes:
        clock: Its clocks.
        committer: Of the present start.
        is_up: Whether it runs.
        on_commit: Called after each commit.
        on_start: Called after each start.
        on_killed: Called after each end.
        faults: What must not happen, in sentences.
        make_log: Opens the log; a mutant has another.
        start_clock: By which it recovers; likewise.
        commits: Over all starts.
    """

    def __init__(self, loop: SimLoop, random: Random, disk: LogDisk) -> None:
        self._loop = loop
        self._random = random
        self.disk = disk
        self.hub_id = disk.hub_id
        self.clock = HubClock(loop)
        self.is_up = False
        self.starts = 0
        self.commits = 0
        self.on_commit: Callable[[], None] = lambda: None
        self.on_start: Callable[[], None] = lambda: None
        self.on_killed: Callable[[], None] = lambda: None
        self.faults: list[str] = []
        self.make_log: Callable[[LogDisk], SimLog] = SimLog
        self.start_clock: Clock = self.clock
        self.committer: Committer
        self._owner: Owner
        self._tokens = itertools.count(1)
        self._open: dict[int, Answered] = {}
        self._inputs: list[Input] = []
        self._is_busy = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Recover from the log and serve."""
        assert not self.is_up, "it runs already"
        self._owner = Owner(self._loop)
        self._inputs, self._open, self._is_busy, self._timer = [], {}, False, None
        log = self.make_log(self.disk)
        self.committer = Committer(
            log=log,
            outputs=NoOutputs(),
            build_engine=lambda: recover(
                log, lease_ms=LEASE_MS, reclaim_ms=RECLAIM_MS, clock=self.start_clock
            ),
            lease_ms=LEASE_MS,
            clock=self.clock,
            upkeep=Upkeep(log, self.clock, snapshot_events=SNAPSHOT_EVENTS, timer_s=lambda: 0.0),
            timer_s=lambda: 0.0,
        )
        self.is_up = True
        self.starts += 1
        self._owner.spawn(register(self._ask, [SIM]))
        self._wake()
        self.on_start()

    def kill(self) -> None:
        """End at once: what was not synced is gone, and every connection breaks."""
        if not self.is_up:
            return
        self.is_up = False
        self._owner.die()
        broken, self._open = self._open, {}
        for answered in broken.values():
            answered(None)
        self.on_killed()

    def freeze(self) -> None:
        """Stand still, as after SIGSTOP."""
        self._owner.freeze()

    def thaw(self) -> None:
        """Go on."""
        self._owner.thaw()

    def arrive(self, verb: str, query: str, body: bytes, answered: Answered) -> Callable[[], None]:
        """Take a request of the network; see `network.Server`."""
        if not self.is_up:
            answered(None)
            return lambda: None
        if verb == "healthz":
            answered(Answer(200, b""))
            return lambda: None
        token = next(self._tokens)
        self._open[token] = answered
        self._put((token, verb, query, body, ""))
        start = self.starts

        def left() -> None:
            if start == self.starts and self._open.pop(token, None) is not None:
                self._put((next(self._tokens), "gone", f"token={token}", b"", ""))

        return left

    async def _ask(self, verb: str, query: str, body: bytes) -> Answer:
        answer: asyncio.Future[Answer] = self._loop.create_future()

        def answered(got: Answer | None) -> None:
            if got is not None and not answer.done():
                answer.set_result(got)

        self.arrive(verb, query, body, answered)
        return await answer

    def _put(self, one: Input) -> None:
        self._inputs.append(one)
        if len(self._inputs) == 1:
            self._wake()

    def _wake(self) -> None:
        self._owner.soon(self._turn)

    def _turn(self) -> None:
        if self._is_busy:
            return  # what has arrived shares the next one
        inputs, self._inputs = self._inputs, []
        commits = self.committer.commits
        try:
            outcome = self.committer.run(Arrived(inputs=inputs))
        except Killed:
            self.kill()
            return
        if outcome.fatal is not None:
            self.faults.append(f"the Hub ended: {outcome.fatal}")
            self.kill()
            return
        self._is_busy = True
        took_s = self._random.uniform(*SYNC_S) if outcome.rows else 0.0005
        self._owner.later(took_s, self._told, outcome)
        if self.committer.commits > commits:
            self.commits += 1
            self.on_commit()

    def _told(self, outcome: Outcome) -> None:
        self._is_busy = False
        for token, answer in outcome.answers:
            answered = self._open.pop(token, None)
            if answered is not None:
                answered(answer)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inputs or outcome.again:
            self._wake()
        elif outcome.wake_ms is not None:
            delay_s = max(outcome.wake_ms + 1 - self.clock.mono_ms(), 1) / 1000
            self._timer = self._owner.later(delay_s, self._turn)
