"""Delivery: what the supervisor's outboxes hold goes to the Hub, and what readers follow.

One batch of each origin is in flight, resent as it was until the Hub has answered it: first its
outputs, then its events. The outbox forgets by the Hub's acknowledgement only (R12). The loops know
nothing of tasks; batches are bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import NamedTuple, NoReturn, Protocol

import msgspec

from hpc.errors import NoHub
from hpc.relay.link import Batch, Link
from hpc.relay.membership import Membership
from hpc.transport.backoff import Backoff
from hpc.transport.http_async import JSON, OCTETS, OtherHub, Problem, Reply, Rpc

ANSWER_S = 30.0
UPLOAD_BYTES_PER_S_MIN = 2_000
"""What the Hub awaits; a peer that is gone is noticed earlier, by the connection."""


class Fate(Enum):
    """What became of a batch that was offered."""

    RECORDED = "recorded"
    UNKNOWN = "unknown"
    GAP = "gap"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """A Hub's answer to a batch of reports.

    Attributes:
        events: Indexes of those that were refused; empty unless it names some.
    """

    fate: Fate
    events: tuple[int, ...] = ()
    problem: Problem = Problem()


class HubBook(Protocol):
    """To which Hub a session's reports belong; `NodeFolder` is it."""

    def hub_of(self, session: str) -> str | None:
        """Return the Hub's id, or None if it is not known."""
        ...


def judge(reply: Reply) -> Verdict:
    """Return what an answer to `POST /ingest` means.

    A refusal counts only where no retry can mend it. 401 and 403 can be mended by another token,
    426 by another version, and an answer that is not our Hub's (a proxy's, also its 200) means
    nothing.
    """
    if reply.status == 200 and reply.hub is not None:  # noqa: PLR2004 - HTTP
        return Verdict(Fate.RECORDED)
    problem = reply.problem()
    events = tuple(sorted({e["event"] for e in problem.errors if isinstance(e.get("event"), int)}))
    match reply.status, problem.code:
        case 409, ("gap" | "id_conflict"):
            return Verdict(Fate.GAP, problem=problem)
        case ((400 | 403 | 404 | 409 | 413 | 415 | 422), _) if reply.hub is not None and (
            events or reply.status != 403  # noqa: PLR2004 - HTTP
        ):
            return Verdict(Fate.REFUSED, events, problem)
    return Verdict(Fate.UNKNOWN, problem=problem)


class Reports:
    """Delivers batches and followed output.

    Args:
        own: Lane for the reports of this session.
        old: Lane for those of earlier sessions.
        chunks: Lane for followed output.
        session: This session.
        book: Which Hub earlier sessions belong to.
        say: Takes a line for people.

    Attributes:
        stuck: Set when the Hub has lost what it acknowledged to this session.
    """

    def __init__(
        self,
        *,
        link: Link,
        own: Rpc,
        old: Rpc,
        chunks: Rpc,
        session: str,
        membership: Membership,
        book: HubBook,
        random: Random,
        say: Callable[[str], None],
    ) -> None:
        self._link = link
        self._own = own
        self._old = old
        self._chunks = chunks
        self._session = session
        self._membership = membership
        self._book = book
        self._random = random
        self._say = say
        self._trouble = ""
        self.stuck = asyncio.Event()

    async def run(self) -> NoReturn:
        """Deliver what this session has to tell, for ever, once a Hub was joined."""
        await self._membership.joined.wait()
        while True:
            await self._settle(self._own, await self._link.next_batch())

    async def run_old(self) -> NoReturn:
        """Deliver what former sessions have left, for ever, once a Hub was joined."""
        await self._membership.joined.wait()
        while True:
            batch = await self._link.next_old_batch()
            hub = self._book.hub_of(batch.origin)
            if hub is not None and hub != self._membership.hub_id:
                self._say(f"reports of session {batch.origin} are for Hub {hub}; they are kept")
            else:
                await self._settle(self._old, batch)

    async def follow(self) -> NoReturn:
        """Send what readers follow, for ever, once a Hub was joined."""
        await self._membership.joined.wait()
        while True:
            frames = await self._link.next_chunks()
            await self._upload(self._chunks, frames)

    async def _settle(self, rpc: Rpc, batch: Batch) -> None:
        """Offer a batch until it is recorded, refused or stuck."""
        if batch.outputs:
            await self._upload(rpc, batch.outputs)
        backoff = Backoff(self._random)
        while True:
            reply = await self._post(rpc, "/ingest", batch.body)
            verdict = Verdict(Fate.UNKNOWN) if reply is None else judge(reply)
            match verdict.fate:
                case Fate.RECORDED:
                    self._trouble = ""
                    self._link.acked(batch.origin, batch.n)
                    return
                case Fate.REFUSED:
                    self._set_aside(batch, verdict)
                    return
                case Fate.GAP:
                    self._stop(batch, verdict.problem)
                    return
            if reply is not None and not reply.opens_nothing():  # the claim loop says so
                self._tell(f"reports are not taken: {verdict.problem.sentence()}; trying again")
            await asyncio.sleep(backoff.next_s(reply.retry_after_s if reply else None))

    def _set_aside(self, batch: Batch, verdict: Verdict) -> None:
        events = verdict.events or tuple(range(_count(batch.body)))
        self._say(
            f"the Hub refuses {len(events)} reports of {batch.origin}/{batch.n}, they are set "
            f"aside in `refused/`: {verdict.problem.sentence()}"
        )
        self._link.refused(batch.origin, batch.n, events)

    def _stop(self, batch: Batch, problem: Problem) -> None:
        self._say(
            f"the Hub has lost reports that it acknowledged: it does not take {batch.origin}/"
            f"{batch.n} ({problem.sentence()}); the outbox is kept, no more of it is delivered"
        )
        if batch.origin == self._session:
            self.stuck.set()

    async def _upload(self, rpc: Rpc, frames: bytes) -> None:
        """Send output until the Hub has it or will not have it."""
        backoff = Backoff(self._random)
        while True:
            reply = await self._post(rpc, "/outputs", frames, OCTETS)
            status = reply.status if reply is not None and reply.hub is not None else None
            if status == 200:  # noqa: PLR2004 - HTTP
                return
            if reply is not None and status in (400, 404, 409, 413, 415, 422):
                self._tell(f"output is not taken and left out: {reply.problem().sentence()}")
                return
            if reply is not None and not reply.opens_nothing():  # the claim loop says so
                self._tell(f"output is not taken: {reply.problem().sentence()}; trying again")
            await asyncio.sleep(backoff.next_s(reply.retry_after_s if reply else None))

    async def _post(
        self, rpc: Rpc, path: str, body: bytes, content_type: str = JSON
    ) -> Reply | None:
        deadline_s = ANSWER_S + len(body) / UPLOAD_BYTES_PER_S_MIN
        try:
            return await rpc.post(path, body, deadline_s=deadline_s, content_type=content_type)
        except (NoHub, OtherHub):
            return None  # the claim loop says so

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(trouble)


class _Body(msgspec.Struct):
    events: list[msgspec.Raw]


def _count(body: bytes) -> int:
    return len(msgspec.json.decode(body, type=_Body).events)
