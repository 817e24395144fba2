"""A Hub without a transport: engine, log, turns and service, on the loop of a test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from kept_hub import NoOutputs

from hpc.clock import SystemClock
from hpc.hub.commit import Committer
from hpc.hub.recovery import recover
from hpc.hub.service import Service
from hpc.hub.side import Side
from hpc.hub.tokens import Tokens
from hpc.hub.turn import Turns
from hpc.protocols import Answer, EventLog

DEADLINE_S = 60.0

Log = TypeVar("Log", bound=EventLog)
Rig = TypeVar("Rig", bound="ServiceRig[Any]")


class ServiceRig(Generic[Log]):
    """Runs from when it is made, on a loop, until its `async with` block ends.

    Attributes:
        log: As given.
        turns: Of the engine.
        side: Where the log is read beside them.
        service: What a transport would ask.
    """

    def __init__(self, log: Log, *, lease_ms: int = 600_000) -> None:
        self.log = log
        clock = SystemClock()
        committer = Committer(
            log=log,
            outputs=NoOutputs(),
            build_engine=lambda: recover(
                log, lease_ms=lease_ms, reclaim_ms=9 * lease_ms, clock=clock
            ),
            lease_ms=lease_ms,
            clock=clock,
        )
        self.turns = Turns(committer, on_fatal=lambda _: None, clock=clock)
        self.side = Side(log)
        self.service = Service("h", Tokens(bytes(32)))
        self.service.begin(self.turns, None, self.side)  # type: ignore[arg-type]  # no output

    async def ask(self, verb: str, body: Any) -> Any:
        """Put a request that must be taken; its answer."""
        return told(await self.service.ask(verb, "", json.dumps(body).encode()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.turns.close()
        if not self.side.is_closed:
            await self.side.close()
        self.service.end()
        self.log.close()


def told(answer: Answer) -> Any:
    """The body of an answer that must be good."""
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def run_with(make: Callable[[], Rig], test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Run a test on a loop of its own, and end everything whatever happens."""

    async def run() -> None:
        async with make() as rig, asyncio.timeout(DEADLINE_S):
            await test(rig)

    asyncio.run(run())
