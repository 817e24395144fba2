"""The network: requests to the Hub are late, lost, answered in vain, and come again minutes later.

A `Lane` is what a process holds of a connection: one request in flight, with a deadline, as
`transport/http_async.py` has it. Directions between a process and the Hub can be cut one by one.
What is on its way belongs to nobody: it arrives also after its sender has died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import NamedTuple, Protocol

from hpc.errors import NoHub
from hpc.protocols import Answer
from hpc.testing.sim.loop import SimLoop
from hpc.transport.http_async import JSON, Reply

LATE_COPY_S = 20.0
"""A request may come again so much later."""


class Odds(NamedTuple):
    """How bad a network is: chances by request, delays in seconds."""

    drop: float = 0.0
    lose_reply: float = 0.0
    repeat: float = 0.0
    slow: float = 0.0
    slow_s: float = 2.0


GOOD = Odds()


class Server(Protocol):
    """What requests arrive at."""

    hub_id: str

    def arrive(
        self, verb: str, query: str, body: bytes, answered: Callable[[Answer | None], None]
    ) -> Callable[[], None]:
        """Take a request; `answered` has its answer, or None where the connection breaks.

        Returns:
            What to call once the client has left.
        """
        ...


class Network:
    """Between the Hub and everybody.

    Attributes:
        odds: How bad it is; may be changed at any time.
        cuts: Directions that nothing passes: (process, whether towards the Hub).
        counts: What was done to requests, by kind.
        watch: Is shown each request as it is sent: sender, verb, body.
    """

    def __init__(self, loop: SimLoop, random: Random, server: Server) -> None:
        self._loop = loop
        self._random = random
        self._server = server
        self.odds = GOOD
        self.cuts: set[tuple[str, bool]] = set()
        self.counts: dict[str, int] = {}
        self.watch: list[Callable[[str, str, bytes], None]] = []

    def lane(self, sender: str, check: Callable[[str | None], None] | None = None) -> Lane:
        """Return a connection for a process."""
        return Lane(self, sender, check)

    def send(
        self, sender: str, verb: str, query: str, body: bytes
    ) -> tuple[asyncio.Future[Answer | None], Callable[[], None]]:
        """Send a request; its answer, None where the connection breaks, and how to leave it."""
        for watch in self.watch:
            watch(sender, verb, body)
        answer: asyncio.Future[Answer | None] = self._loop.create_future()
        leave: list[Callable[[], None]] = []
        if self._happens("drop") or (sender, True) in self.cuts:
            # Lost for good, with or without a word of the connection's end.
            if self._random.random() < 0.5:  # noqa: PLR2004 - an even chance
                self._loop.outside(self._delay_s(), _settle, answer, None)
            return answer, lambda: None
        loses_reply = self._happens("lose_reply")

        def back(got: Answer | None) -> None:
            if loses_reply or (sender, False) in self.cuts:
                return
            self._loop.outside(self._delay_s(), _settle, answer, got)

        def arrive() -> None:
            leave.append(self._server.arrive(verb, query, body, back))

        self._loop.outside(self._delay_s(), arrive)
        if self._happens("repeat"):
            again_s = self._random.uniform(0.0, LATE_COPY_S)
            self._loop.outside(again_s, self._server.arrive, verb, query, body, _nobody)

        def left() -> None:
            # The Hub learns it if the news gets through.
            if leave and (sender, True) not in self.cuts:
                self._loop.outside(self._delay_s(), leave[0])

        return answer, left

    def _happens(self, kind: str) -> bool:
        odds: float = getattr(self.odds, kind)
        is_so = odds > 0 and self._random.random() < odds
        if is_so:
            self.counts[kind] = self.counts.get(kind, 0) + 1
        return is_so

    def _delay_s(self) -> float:
        delay_s = self._random.uniform(0.0005, 0.02)
        if self._happens("slow"):
            delay_s += self._random.uniform(0.0, self.odds.slow_s)
        return delay_s


def _settle(answer: asyncio.Future[Answer | None], got: Answer | None) -> None:
    if not answer.done():
        answer.set_result(got)


def _nobody(_: Answer | None) -> None:
    """The answer to a copy finds nobody."""


class Lane:
    """One connection; an `Rpc` of relays."""

    def __init__(
        self, network: Network, sender: str, check: Callable[[str | None], None] | None
    ) -> None:
        self._network = network
        self._sender = sender
        self._check = check

    async def post(
        self, path: str, body: bytes, *, deadline_s: float, content_type: str = JSON
    ) -> Reply:
        """Send one request and return its answer; see `Rpc.post`."""
        answer = await self.ask(path.removeprefix("/"), "", body, deadline_s=deadline_s)
        reply = Reply(answer.status, self._network._server.hub_id, answer.body)
        if self._check is not None:
            self._check(reply.hub)
        return reply

    async def ask(self, verb: str, query: str, body: bytes, *, deadline_s: float) -> Answer:
        """Put one request to the Hub.

        Raises:
            NoHub: Nothing was answered in time; the outcome is unknown.
        """
        pending, leave = self._network.send(self._sender, verb, query, body)
        try:
            async with asyncio.timeout(deadline_s):
                answer = await pending
        except TimeoutError:
            leave()
            raise NoHub(f"No answer to {verb} within {deadline_s:.1f} s") from None
        except asyncio.CancelledError:
            leave()
            raise
        if answer is None:
            raise NoHub(f"The connection broke during {verb}")
        return answer
