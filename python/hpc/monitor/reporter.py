"""Which samples are worth an event, and bringing them to the Hub in order, also late.

A sample is kept when a figure moved by 2 % of its whole or 60 s have passed. While the Hub is away
those of the last hour wait in memory, each with its own time. A monitor has no state to protect: a
Hub that lost its numbers gets a new origin, since gauges may be told again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, NamedTuple, NoReturn

import msgspec

from hpc.clock import Clock
from hpc.errors import NoHub, NotAllowed
from hpc.transport.backoff import Backoff
from hpc.transport.http_async import Problem, Reply, Rpc

MOVED = 0.02
QUIET_MS_MAX = 60_000
KEPT_MS = 3_600_000
BATCH_MAX = 1_000
POST_S = 30.0
FIRST_S = 0.25


class Sample(NamedTuple):
    """Figures and when they were taken, in ms: since 1970, and since the machine's start."""

    at: int
    taken_ms: int
    figures: dict[str, Any]


class Reporter:
    """Takes samples every interval and delivers them.

    Args:
        sample: Returns the figures now.
        origin: Makes a random id for the batches of this run.
        register: Registers the namespace where the Hub does not know it.
        on_recorded: Called once, when the Hub has the first sample.
        say: Takes a line for people.
    """

    def __init__(
        self,
        *,
        rpc: Rpc,
        node_id: str,
        interval_s: float,
        sample: Callable[[], dict[str, Any]],
        origin: Callable[[], str],
        register: Callable[[], Awaitable[Problem | None]],
        clock: Clock,
        random: Random,
        on_recorded: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._rpc = rpc
        self._node_id = node_id
        self._interval_s = interval_s
        self._sample = sample
        self._make_origin = origin
        self._register = register
        self._clock = clock
        self._backoff = Backoff(random)
        self._on_recorded = on_recorded
        self._say = say
        self._trouble = ""
        self._recorded = False
        self._refusals = 0
        self._origin = origin()
        self._n = 1
        self._waiting: deque[Sample] = deque()
        self._last: Sample | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Report for ever.

        Raises:
            NotAllowed: The Hub refuses the token, and never took a sample.
        """
        watching = asyncio.create_task(self._watch())
        sending = asyncio.create_task(self._deliver())
        try:
            await asyncio.wait({watching, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            sending.cancel()
            await asyncio.gather(watching, sending, return_exceptions=True)
        for task in (sending, watching):
            if not task.cancelled():
                task.result()

    async def _watch(self) -> NoReturn:
        # The cpu counters need a moment between two readings before they say anything.
        await asyncio.sleep(min(FIRST_S, self._interval_s))
        while True:
            self._look()
            await asyncio.sleep(self._interval_s)

    def _look(self) -> None:
        """Take a sample and keep it if it says something new."""
        now = Sample(self._clock.wall_ms(), self._clock.boottime_ms(), self._sample())
        last = self._last
        is_due = last is None or now.taken_ms - last.taken_ms >= QUIET_MS_MAX
        if not is_due and last is not None and not moved(last.figures, now.figures):
            return
        self._last = now
        self._waiting.append(now)
        while now.taken_ms - self._waiting[0].taken_ms > KEPT_MS:
            self._waiting.popleft()
        self._news.set()

    async def _deliver(self) -> NoReturn:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                count = min(len(self._waiting), BATCH_MAX)
                batch = [self._waiting.popleft() for _ in range(count)]
                await self._settle([self._event(sample) for sample in batch])

    async def _settle(self, events: list[dict[str, Any]]) -> None:
        """Offer a batch, the same under the same id, until the Hub has it or will not have it."""
        while True:
            body = msgspec.json.encode({"id": f"{self._origin}/{self._n}", "events": events})
            try:
                reply = await self._rpc.post("/ingest", body, deadline_s=POST_S)
                is_over = await self._judge(reply)
            except NoHub as error:
                self._tell(f"{error.message}; samples of the last hour are kept")
                reply, is_over = None, False
            if is_over:
                self._backoff.reset()
                return
            await asyncio.sleep(self._backoff.next_s(reply.retry_after_s if reply else None))

    async def _judge(self, reply: Reply) -> bool:
        """Return whether the batch is settled."""
        if reply.status == 200:  # noqa: PLR2004 - HTTP
            self._n += 1
            self._trouble = ""
            if not self._recorded:
                self._recorded = True
                self._on_recorded()
            return True
        problem = reply.problem()
        self._tell(f"the Hub does not take samples: {problem.sentence()}")
        match reply.status:
            case 404:
                why = await self._register()
                if why is not None:
                    self._tell(f"namespace `monitor` is not registered: {why.sentence()}")
            case 409:
                self._origin, self._n = self._make_origin(), 1
            case 401 | 403:
                # The first may be due to a token that has changed; it is read again.
                self._refusals += 1
                if not self._recorded and self._refusals > 1:
                    raise NotAllowed(problem.sentence(), hint=problem.hint)
            case 400 | 413 | 415 | 422:
                return True  # nothing was recorded under the number: the next batch takes it
        return False

    def _event(self, sample: Sample) -> dict[str, Any]:
        return {
            "kind": "HardwareStats",
            "at": sample.at,
            "payload": {
                "ctx": {"ns_id": "monitor", "node_id": self._node_id},
                "spec": sample.figures,
            },
        }

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(trouble)


def moved(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a figure moved by 2 % of its whole; those without a whole do not count."""
    before, after = _shares(old), _shares(new)
    # Rounded, since 12.0 % - 10.0 % is a little less than 2 % in binary.
    return before.keys() != after.keys() or any(
        round(abs(after[name] - before[name]), 6) >= MOVED for name in after
    )


def _shares(figures: dict[str, Any]) -> dict[str, float]:
    shares = {
        "cpu": float(figures["cpu_usage"].rstrip("%")) / 100,
        "memory": figures["mem_used_kb"] / max(figures["mem_total_kb"], 1),
    }
    for index, gpu in enumerate(figures.get("gpus", [])):
        shares[f"gpu{index}"] = float(gpu["usage"].rstrip("%")) / 100
        shares[f"gpu{index}.memory"] = gpu["mem_used_kb"] / max(gpu["mem_total_kb"], 1)
    return shares
