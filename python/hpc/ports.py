"""The seam between the Hub and its transport: what a transport is given and what it must be.

A transport turns requests into calls of `HubPorts` and never looks into a body; the Hub never sees
a socket, a header or a path. Neither imports the other. Everything here is called on the event
loop's thread.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from hpc.protocols import Answer

if TYPE_CHECKING:
    from ssl import SSLContext


class Holder:
    """Whom a token names: what a request is admitted by, and what the log says of it.

    Attributes:
        token_id: Of the token.
        role: What it is for.
        expires_at: From when on it opens nothing, ms since 1970; None: never.
        ended: Set once it was revoked.
    """

    __slots__ = ("__weakref__", "_lent", "ended", "expires_at", "role", "token_id")

    def __init__(self, token_id: str, role: str, expires_at: int | None = None) -> None:
        self.token_id = token_id
        self.role = role
        self.expires_at = expires_at
        self.ended = asyncio.Event()
        self._lent: weakref.WeakSet[Holder] = weakref.WeakSet()

    def who(self, address: str) -> str:
        """Return how the log names one that sends from an address."""
        return f"{self.token_id} {self.role} {address}"

    def lend(self, until_ms: int) -> Holder:
        """Return one who may do the same, until a time at most, and ends where this one does."""
        ends = until_ms if self.expires_at is None else min(until_ms, self.expires_at)
        lent = Holder(self.token_id, self.role, ends)
        if self.ended.is_set():
            lent.end()
        self._lent.add(lent)
        return lent

    def end(self) -> None:
        """Take note that the token was revoked."""
        self.ended.set()
        for lent in self._lent:
            lent.end()


NOBODY: Final = Holder("", "")
"""Who asks a route that needs no token."""


class Limit(NamedTuple):
    """What is refused beyond a number.

    Attributes:
        name: Ends with its unit, where it is no count.
        most: The number.
        what: Of what, in words.
    """

    name: str
    most: float
    what: str


class LogQuery(NamedTuple):
    """What a reader of a task's output asks for.

    Attributes:
        task: None is the job's first task.
        stream: `stdout` or `stderr`.
        follow: Go on until the task is settled.
        last: Only the last so many of the bytes that there are then; None is all.
        after: Where in the stream to begin, in bytes.
        before: Where to end, in bytes of the stream; None is its end. Not of who follows.
    """

    task: int | None = None
    stream: str = "stdout"
    follow: bool = False
    last: int | None = None
    after: int = 0
    before: int | None = None


class Chunks(Protocol):
    """Bytes that come one after the other; every async generator of bytes is one."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over itself."""
        ...

    async def __anext__(self) -> bytes:
        """Wait for the next bytes."""
        ...

    async def aclose(self) -> None:
        """End the interest in them, begun or not; a second call does nothing."""
        ...


class StreamBroken(Exception):
    """A stream cannot go on: its answer breaks off, since one that ends says that it is whole."""


class LogReading(NamedTuple):
    """An opened output: a note about what is missing, and the bytes.

    Attributes:
        note: What the reader should know before it reads, one line of ASCII, or None.
        chunks: The bytes in order; must be closed, begun or not.
        empty: The other stream of the task, where it is settled and has nothing for sure.
        offset: In the stream, of the first byte.
    """

    note: str | None
    chunks: Chunks
    empty: str | None = None
    offset: int = 0


class PokeFeed(Protocol):
    """Pokes for one subscriber, coalesced by generator: it holds one seq for each at most."""

    async def take(self) -> list[tuple[str, int]]:
        """Wait for news and return them as (gid, seq), oldest first; empty once the Hub ends."""
        ...

    def close(self) -> None:
        """End the subscription; a second call does nothing."""
        ...


class JobFeed(Protocol):
    """One reader's interest in a job."""

    async def changed(self) -> bool:
        """Wait for news since the last call; False once the Hub ends."""
        ...

    def close(self) -> None:
        """End it; a second call does nothing."""
        ...


Answered = Callable[[Answer], None]
"""Takes the answer to a request; must not raise."""


class HubPorts(Protocol):
    """The Hub, as a transport sees it."""

    @property
    def hub_id(self) -> str:
        """Id of the Hub, for the header `Hpc-Hub` of every answer."""
        ...

    @property
    def lineage(self) -> str:
        """Which history of that Hub this is.

        Another than its id where the log was restored once, or begun without damaged batches; then
        it is the header `Hpc-Lineage` of every answer.
        """
        ...

    def accepts(self, peer: str) -> bool:
        """Return whether a connection from an address is to be read at all.

        A transport that others than this machine reach asks before it reads a byte, and closes what
        is not. What is refused is counted.
        """
        ...

    def holder(self, token: bytes) -> Holder | None:
        """Return whom a token names now; None where it opens nothing."""
        ...

    def tokens(self) -> Answer:
        """Return all tokens, as `GET /tokens` answers it."""
        ...

    @property
    def is_ready(self) -> bool:
        """Whether the log is recovered and ingest is answered."""
        ...

    async def wait_ready(self) -> None:
        """Return once it is."""
        ...

    async def ask(self, verb: str, query: str, body: bytes = b"") -> Answer:
        """Put one request to the engine and return its answer, once what it wrote is durable.

        Cancelling tells the engine that the client has left. Never raises for a request's sake.
        """
        ...

    def put(
        self, verb: str, query: str, body: bytes, answered: Answered, who: str
    ) -> Callable[[], None]:
        """Put one request as `ask` does, without a task to wait in.

        `answered` is called once, before this returns or later. `who` sends it, as
        `Holder.who` says.

        Returns:
            What to call if the client has left; `answered` is not called after that.
        """
        ...

    def put_outputs(self, pack: bytes, answered: Answered) -> None:
        """Store a body of output frames; they are on disk when the answer is 200."""
        ...

    async def events(self, cursor: int, limit: int, job_id: str | None = None) -> Answer:
        """Return a page of the events after a cursor, as `GET /events` answers it.

        With `job_id` only of those that speak of a job, whether or not there is one of that name.
        """
        ...

    async def explain(self, query: str) -> Answer:
        """Return the events that a cell comes from, as `GET /explain` answers it."""
        ...

    async def conflicts(self, query: str) -> Answer:
        """Return the cells that contradict themselves, as `GET /conflicts` answers it."""
        ...

    async def tasks(self, job_id: str, query: str) -> Answer:
        """Return a page of a job's tasks, as `GET /jobs/{job_id}/tasks` answers it."""
        ...

    async def diff(self, query: str) -> Answer:
        """Return what differs between two cursors, as `GET /diff` answers it."""
        ...

    def figures(self) -> dict[str, Any]:
        """Return counts since the start: `requests`, `turns`, `commits`, ..., and what is open."""
        ...

    async def grown(self, seq: int) -> int | None:
        """Wait until the log goes past `seq`; returns its last seq, or None once the Hub ends."""
        ...

    def watch_job(self, job_id: str) -> JobFeed:
        """Be woken by the events that speak of a job, from now on."""
        ...

    def subscribe_pokes(self, gids: frozenset[str]) -> PokeFeed:
        """Subscribe to the pokes of some generators, or of all where the set is empty."""
        ...

    async def job_log(self, job_id: str, query: LogQuery) -> LogReading | Answer:
        """Open a task's output, or refuse with a problem document."""
        ...


class Transport(Protocol):
    """What an entry point of `hpc.transport` loads."""

    async def serve(
        self,
        ports: HubPorts,
        *,
        host: str,
        port: int,
        tls: SSLContext | None = None,
        on_listening: Callable[[str], None],
        stop: asyncio.Event,
    ) -> None:
        """Serve until `stop` is set, then finish what is being answered and return.

        Args:
            ports: The Hub; it need not be ready yet.
            host: An address, or a name of one; another than loopback only with TLS.
            port: 0 picks a free one.
            tls: How connections are secured; None is not at all.
            on_listening: Called once with the URL, when nobody is refused there any more.
            stop: Set when the Hub has answered all that was open.

        Raises:
            HpcError: The address cannot be bound.
        """
        ...
