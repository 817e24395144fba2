"""The claim loop: one open claim, which is heartbeat, join and request for work in one.

It holds the relay's side of protocol.md: the table "Relay" and rules R13 to R23. What it takes goes
to the supervisor at once and is kept there; this loop remembers only the number of the open claim
and when it was sent. It ends by an exception only: this relay is not the node any more, or the Hub
will not have it from the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, NamedTuple, NoReturn, Protocol

import msgspec

from hpc.clock import Clock
from hpc.domain import Grant, NodeOffer, Work
from hpc.errors import Conflict, HpcError, NoHub, NotAllowed, NotFound, Refused
from hpc.protocols import Handler
from hpc.relay.lifetime import Idleness
from hpc.relay.link import Link
from hpc.relay.membership import Membership
from hpc.transport.backoff import Backoff
from hpc.transport.http_async import OtherHub, Problem, Reply, Rpc

FENCE = 0.8  # of the lease, from when the answered claim was sent (R15)
GRANTS_MAX = 1024
NOTHING = b"[]"
FIRST_DEADLINE_S = 10.0
WAIT_S_MAX = 60.0
SLACK_S_MIN = 0.5
SLACK_S_MAX = 15.0
TAKEN_S_MAX = 2.0
OPENS_NOTHING = (
    "the Hub does not take this relay's token any more: it was revoked, has expired, or the access "
    "file was made anew. Nothing new is run or reported, running tasks go on, and the relay asks "
    "again until a token opens the Hub\n\nhint: make one (hpc token create --role relay) and put "
    "it into access.json of the relay's HPC_HOME, which is read at each try; one that came by "
    "HPC_TOKEN is never read again: start the relay anew with another"
)


class Cancel(msgspec.Struct, frozen=True):
    """Tasks that the Hub has decided otherwise."""

    job_id: str
    attempt: int
    tasks: str
    reason: str = "cancelled"


class GiveBack(msgspec.Struct, frozen=True):
    """Tasks that another relay could start now."""

    job_id: str
    attempt: int
    tasks: str


class ClaimAnswer(msgspec.Struct, frozen=True):
    """The answer to claim `n`."""

    n: int
    lease_s: float
    grants: list[Grant] = []
    cancels: list[Cancel] = []
    give_back: list[GiveBack] = []
    tail: list[dict[str, Any]] = []


class Identity(NamedTuple):
    """What a claim says about who sends it."""

    node_id: str
    host: str
    place: str
    session: str


class EpochBook(Protocol):
    """The node's counter on disk; `NodeFolder` is it."""

    def raise_epoch(self, *, above: int = 0) -> int:
        """Raise it by one, or to `above` + 1 where that is more."""
        ...

    def reach_epoch(self, least: int) -> int:
        """Raise it to `least` where it is lower."""
        ...

    def hub_of(self, session: str) -> str | None:
        """Return the Hub that a session belongs to, or None if it is not known."""
        ...

    def remember_hub(self, session: str, hub_id: str) -> None:
        """Note to which Hub a session belongs."""
        ...


class Replaced(Conflict):
    """Another place is this node now; this relay must end and not come back by itself."""

    default_code = "taken"


class Claims:
    """Keeps a claim open.

    Args:
        rpc: A lane of its own.
        resources: All that the node offers, used or not.
        labels: What jobs may require of it.
        identify: Asks which Hub answers now; raises `NoHub` where none does.
        register: Registers the namespaces that are missing at the Hub; returns why it could not.
        say: Takes a line for people.
        idleness: Told whether anything is leased.
        time_left_s: How long it is until tasks are ended; None where nobody knows.
        takeover: Take the node's name from a live relay elsewhere.
    """

    def __init__(
        self,
        *,
        rpc: Rpc,
        link: Link,
        book: EpochBook,
        identity: Identity,
        membership: Membership,
        namespaces: list[str],
        resources: dict[str, int],
        labels: Mapping[str, str] | None = None,
        handlers: Mapping[str, Handler],
        identify: Callable[[], Awaitable[str]],
        register: Callable[[], Awaitable[Problem | None]],
        clock: Clock,
        random: Random,
        say: Callable[[str], None],
        idleness: Idleness | None = None,
        time_left_s: Callable[[], float] | None = None,
        takeover: bool = False,
    ) -> None:
        self._rpc = rpc
        self._link = link
        self._book = book
        self._identity = identity
        self._membership = membership
        self._namespaces = namespaces
        self._resources = resources
        self._labels = labels or {}
        self._handlers = handlers
        self._identify = identify
        self._register = register
        self._clock = clock
        self._say = say
        self._idleness = idleness or Idleness(clock)
        self._time_left_s = time_left_s
        self._takeover = takeover
        self._backoff = Backoff(random)
        self._taken = Backoff(random, first_s=0.2, max_s=TAKEN_S_MAX)
        self._n = 0
        self._lease_s: float | None = None
        self._max = GRANTS_MAX
        self._is_leaving = False
        self._losses = 0
        self._registered = False
        self._token_read_again = False
        self._trouble = ""
        self._nudge = asyncio.Event()
        self._open: asyncio.Task[Any] | None = None
        """The task that awaits the answer to a claim."""
        self._is_interrupted = False
        self.epoch = 0

    async def run(self) -> NoReturn:
        """Join, and keep a claim open for ever.

        Raises:
            Replaced: Another place has the node's name.
            HpcError: The Hub refuses this relay, and never answered it a claim.
        """
        self.epoch = self._book.raise_epoch()
        while True:
            pause_s = await self._round()
            if pause_s > 0:
                await self._pause(pause_s)

    def drain(self) -> None:
        """Take no new leases from now on, but stay the node: what runs is still held."""
        self._max = 0
        self._is_leaving = True
        self._nudge.set()
        if self._open is not None:
            self._is_interrupted = True
            self._open.cancel()

    def poke(self) -> None:
        """Claim now, instead of after the back-off."""
        self._nudge.set()

    async def _round(self) -> float:
        """Send one claim and do what its answer says; returns the pause before the next, in s."""
        self._n += 1
        try:
            if not self._membership.joined.is_set():
                await self._adopt()
            holds = await self._link.holds()
            self._idleness.note(is_busy=holds != NOTHING)
            sent_ms = self._clock.boottime_ms()
            reply = await self._send(self._body(holds))
        except OtherHub as error:
            self._tell(
                f"another Hub answers ({error.seen}, expected {error.expected}): nothing is "
                "delivered to it; running tasks go on and reports are kept"
            )
            return self._backoff.next_s()
        except NoHub as error:
            is_member = self._membership.joined.is_set()
            self._tell(f"{error.message}; {'running tasks go on' if is_member else 'waiting'}")
            return self._backoff.next_s()
        if reply is None:  # interrupted by `drain`
            return 0.0
        try:
            return await self._judge(reply, sent_ms)
        except OSError as error:
            # Nothing was taken: what must be on disk first is not. Running tasks go on.
            self._tell(f"the relay's folder cannot be written: {error}; trying again")
            return self._backoff.next_s()

    async def _adopt(self) -> None:
        """Hold what earlier sessions ended for this Hub (R13), and nothing of another Hub's.

        As `Reports` delivers: what is kept back from this Hub it could never acknowledge, and a
        task of its own with the same name would be held for ever.
        """
        hub_id = await self._identify()
        self._membership.expect(hub_id)
        old = self._link.old
        self._link.adopt([o for o in old if self._book.hub_of(o) in (None, hub_id)])

    def _body(self, holds: bytes) -> bytes:
        who = self._identity
        claim: dict[str, Any] = {
            "node_id": who.node_id,
            "host": who.host,
            "place": who.place,
            "session": who.session,
            "epoch": self.epoch,
            "n": self._n,
            "ns": self._namespaces,
            "resources": self._resources,
            "max": self._max,
            "wait": self._wait_s(),
            "holds": msgspec.Raw(holds),
        }
        if self._labels:  # an older Hub refuses what it does not know
            claim["labels"] = self._labels
        if self._time_left_s is not None:  # likewise
            claim["time_left"] = self._time_left_s()
        if self._is_leaving:  # likewise
            claim["leaving"] = True
        if self._takeover and not self._membership.joined.is_set():
            claim["takeover"] = True
        return msgspec.json.encode(claim)

    def _wait_s(self) -> float:
        # The lease is not known before the first answer, which therefore comes at once.
        return 0.0 if self._lease_s is None else min(self._lease_s / 4, WAIT_S_MAX)

    async def _send(self, body: bytes) -> Reply | None:
        deadline_s = FIRST_DEADLINE_S
        if self._lease_s is not None:
            # Late enough for a held claim, early enough for another try before the fence.
            slack_s = min(max(self._lease_s / 4, SLACK_S_MIN), SLACK_S_MAX)
            deadline_s = self._wait_s() + slack_s
        # Awaited by this very task: one of its own would be two more rounds of the loop before a
        # lease is looked at.
        task = asyncio.current_task()
        self._open = task
        try:
            return await self._rpc.post("/claim", body, deadline_s=deadline_s)
        except asyncio.CancelledError:
            if task is None or not self._is_interrupted or task.uncancel() > 0:
                raise
            return None
        finally:
            self._open = None
            self._is_interrupted = False

    async def _judge(self, reply: Reply, sent_ms: int) -> float:
        if reply.status == 200:  # noqa: PLR2004 - HTTP
            return self._take(reply, sent_ms)
        problem = reply.problem()
        match reply.status, problem.code:
            case 409, "lost":
                return self._lost(problem)
            case 409, "taken":
                return self._wait_for_name(problem)
            case 404, _:
                return await self._unknown_namespace(problem)
            case 401, _ if not self._token_read_again:
                # The token may have changed; the lane reads the access file again.
                self._token_read_again = True
                return 0.0
            case ((400 | 401 | 403 | 409 | 413 | 415 | 422 | 426), _):
                if not self._membership.joined.is_set() and reply.hub is not None:
                    raise _refusal(reply.status, problem)
        verb = "cannot answer" if reply.status >= 500 else "refuses"  # noqa: PLR2004 - HTTP
        trouble = f"the Hub {verb} the claim: {problem.sentence()}; trying again"
        was_open = self._membership.joined.is_set()
        self._tell(OPENS_NOTHING if was_open and reply.opens_nothing() else trouble)
        return self._backoff.next_s(reply.retry_after_s)

    def _take(self, reply: Reply, sent_ms: int) -> float:
        try:
            answer = msgspec.json.decode(reply.body, type=ClaimAnswer)
        except msgspec.DecodeError as error:
            self._tell(f"the Hub's answer to a claim cannot be read: {error}; trying again")
            return self._backoff.next_s()
        if answer.n != self._n:  # an answer to an older claim (R14)
            return self._backoff.next_s()
        self._well(answer.lease_s)
        if not self._membership.joined.is_set():
            if reply.hub is not None:
                # On disk before the first lease: its reports must never reach another Hub.
                self._book.remember_hub(self._identity.session, reply.hub)
            self._membership.join(reply.hub)
        fence_ms = sent_ms + int(answer.lease_s * FENCE * 1000)
        self._link.fence(fence_ms)
        for cancel in answer.cancels:
            self._link.cancel(cancel.job_id, cancel.attempt, cancel.tasks, cancel.reason)
        for back in answer.give_back:
            self._link.give_back(back.job_id, back.attempt, back.tasks)
        if self._clock.boottime_ms() < fence_ms:  # else the next answer grants them again (R16)
            self._start(answer.grants)
        self._link.tail(answer.tail)
        return 0.0

    def _start(self, grants: list[Grant]) -> None:
        offer = NodeOffer(
            node_id=self._identity.node_id,
            host=self._identity.host,
            epoch=self.epoch,
            resources=self._resources,
        )
        for grant in grants:
            self._idleness.note(is_busy=True)
            try:
                self._link.run([checked(_handler(self._handlers, grant).work(grant, offer))])
            except HpcError as error:
                self._link.refuse(_unplanned(grant, self.epoch), error.message)
            except Exception as error:  # a handler's fault must not end what other jobs run
                fault = f"Handler `{grant.handler_type}` failed: {error!r}"
                self._say(f"job {grant.job_id}: {fault}")
                self._link.refuse(_unplanned(grant, self.epoch), fault)

    def _well(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._losses = 0
        self._registered = False
        self._token_read_again = False
        self._backoff.max_s = min(5.0, max(lease_s / 8, 0.1))
        self._backoff.reset()
        self._taken.reset()
        if trouble := self._trouble:
            self._trouble = ""
            is_token = trouble == OPENS_NOTHING
            self._say(f"the Hub {'takes the token' if is_token else 'answers'} again")

    def _lost(self, problem: Problem) -> float:
        """The Hub gave the epoch up: end `stop` tasks, keep `finish` tasks, join anew with them."""
        self._link.lost()
        self.epoch = self._book.raise_epoch(above=problem.last_epoch)
        if self._membership.joined.is_set():
            self._tell(f"the lease of this node was lost; joining again with epoch {self.epoch}")
        self._losses += 1
        return 0.0 if self._losses == 1 else self._backoff.next_s()

    def _wait_for_name(self, problem: Problem) -> float:
        node_id = self._identity.node_id
        where = f"host {problem.host or '?'}, place {problem.place or '?'}"
        if self._membership.joined.is_set():
            raise Replaced(
                f"Node `{node_id}` is another relay now ({where}); this one ends",
                hint="start it again with another --node-id, or with --takeover",
            )
        self.epoch = self._book.reach_epoch(problem.last_epoch + 1)
        if self._takeover:
            self._tell(
                f"node {node_id} is at another relay ({where}) that may run tasks which must never "
                "overlap; taking over once they have ended, or its lease has"
            )
        else:
            self._tell(
                f"node {node_id} is held by another relay ({where}); waiting until its lease is "
                "lost\n\nhint: give another --node-id, or --takeover if that relay is gone for good"
            )
        return self._taken.next_s()

    async def _unknown_namespace(self, problem: Problem) -> float:
        """Register what the Hub does not know, once; a second 404 in a row is a refusal."""
        if self._registered:
            if not self._membership.joined.is_set():
                raise NotFound(problem.sentence(), code=problem.code, hint=problem.hint)
            self._tell(f"the Hub refuses the claim: {problem.sentence()}; trying again")
            return self._backoff.next_s()
        try:
            why = await self._register()
        except (NoHub, OtherHub) as error:
            self._tell(f"{error.message}; trying again")
            return self._backoff.next_s()
        self._registered = True
        if why is not None:
            self._say(f"namespace could not be registered: {why.sentence()}")
        return 0.0

    def _tell(self, trouble: str) -> None:
        """Say what is wrong, once until something else is."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._say(trouble)

    async def _pause(self, seconds: float) -> None:
        self._nudge.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        except TimeoutError:
            pass


def _handler(handlers: Mapping[str, Handler], grant: Grant) -> Handler:
    handler = handlers.get(grant.handler_type or "")
    if handler is None:
        known = ", ".join(f"`{name}`" for name in sorted(handlers)) or "none"
        raise Refused(
            f"This relay has no handler `{grant.handler_type}` for namespace `{grant.ns_id}`: "
            f"it has {known}"
        )
    return handler


def checked(work: Work) -> Work:
    """Return a plan whose amounts can be had.

    Raises:
        Refused: A handler has planned what nobody could run.
    """
    least = {"cpus": 0, "reserve_mib": 0, "memory_mib": 0, "grace_s": 0, "time_limit_s": 0}
    for field, limit in least.items():
        value = getattr(work, field)
        if value is not None and not value >= limit:
            raise Refused(f"Handler plans `{field}` = {value!r}, expected {limit} or more")
    for name, amount in work.resources.items():
        if not amount >= 0:
            raise Refused(f"Handler plans {amount!r} of `{name}`, expected 0 or more")
    return work


def _unplanned(grant: Grant, epoch: int) -> Work:
    """What a report needs to know of tasks that no handler could plan."""
    return Work(
        job_id=grant.job_id,
        ns_id=grant.ns_id,
        attempt=grant.attempt,
        epoch=epoch,
        tasks=grant.tasks,
        kind="none",
    )


def _refusal(status: int, problem: Problem) -> HpcError:
    """What a relay that was never served ends with."""
    text = f"The Hub refuses this relay: {problem.sentence()}"
    if status in (401, 403):
        return NotAllowed(text, code=problem.code or None, hint=problem.hint)
    if status == 409:  # noqa: PLR2004 - HTTP
        return Conflict(text, code=problem.code or None, hint=problem.hint)
    return Refused(text, code=problem.code or None, hint=problem.hint, errors=problem.errors)
