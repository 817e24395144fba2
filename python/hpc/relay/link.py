"""What the relay's loops need of the supervisor: `SupervisorLink`, or what a simulation brings.

Orders return at once and are kept in order; what comes back is awaited. Any await raises once the
supervisor is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from hpc.domain import Work


class Batch(Protocol):
    """Reports that belong together under one number; fixed, the same again until acknowledged."""

    @property
    def origin(self) -> str:
        """The session whose outbox it is from."""
        ...

    @property
    def n(self) -> int:
        """Its number there, from 1."""
        ...

    @property
    def body(self) -> bytes:
        """Body of `POST /ingest`."""
        ...

    @property
    def outputs(self) -> bytes:
        """Body of `POST /outputs`, which must be at the Hub before the reports; or empty."""
        ...


class Link(Protocol):
    """Orders to the supervisor and what it has to tell."""

    def run(self, works: list[Work]) -> None:
        """Take what is not held yet; what does not fit now is queued.

        Raises:
            Refused: A handler has planned what cannot be told; nothing was taken.
        """
        ...

    def refuse(self, work: Work, detail: str) -> None:
        """Report tasks failed, cause `refused`, without starting them."""
        ...

    def cancel(self, job_id: str, attempt: int, tasks: str, reason: str) -> None:
        """End tasks that the Hub has decided otherwise."""
        ...

    def give_back(self, job_id: str, attempt: int, tasks: str) -> None:
        """Return those that have not started."""
        ...

    def fence(self, boottime_ms: int) -> None:
        """Start nothing after this moment of CLOCK_BOOTTIME, and end `stop` tasks then."""
        ...

    def lost(self) -> None:
        """End `stop` tasks and return what is queued: the Hub gave the epoch up."""
        ...

    def drain(self, grace_s: float) -> None:
        """Start nothing more; end what runs after `grace_s`; return what was not finished."""
        ...

    def tail(self, streams: list[dict[str, Any]]) -> None:
        """Take the newest list of streams that readers follow."""
        ...

    def acked(self, origin: str, n: int) -> None:
        """Forget reports up to `n`: the Hub has them."""
        ...

    def refused(self, origin: str, n: int, events: Sequence[int]) -> None:
        """Set the events of a batch aside; the rest is offered again under the same number."""
        ...

    @property
    def old(self) -> Sequence[str]:
        """Former sessions that had reports left at the start."""
        ...

    def adopt(self, origins: Sequence[str]) -> None:
        """Hold what these former sessions have ended, and not what others have."""
        ...

    async def holds(self) -> bytes:
        """Return the JSON list of what is running, queued, or ended and not acknowledged."""
        ...

    async def next_batch(self) -> Batch:
        """Wait for the next batch of this session that was not handed out yet."""
        ...

    async def next_old_batch(self) -> Batch:
        """Wait for the next batch of a former session that was not handed out yet."""
        ...

    async def next_chunks(self) -> bytes:
        """Wait for output that readers follow: frames for `POST /outputs`."""
        ...

    async def idle(self) -> None:
        """Wait until nothing is held and every outbox is empty."""
        ...
