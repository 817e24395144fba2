"""What a runner tells the Hub: events of the namespace, under the job, task and attempt that it is.

The Hub is found as every command finds it, by `$HPC_HOME/access.json` or HPC_HUB_URL. A Hub that is
away holds no simulation up: what it was not told it is told later, and with the time of then. Only
at the end is it waited for.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hpc import Client
from hpc.errors import NoHub

TIMEOUT_S: Final = 5.0
"""For one request: longer than a Hub takes, shorter than the grace of a task."""

PATIENCE_S: Final = 600.0
"""How long a Hub that is away is waited for at the end."""

AGAIN_S: Final = 1.0


class Place(NamedTuple):
    """Which task this is, at which attempt and where."""

    job_id: str
    task: int
    attempt: int
    node_id: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Place:
        """Read it off a task's environment."""
        task, attempt = int(environ["HPC_TASK_ID"]), int(environ["HPC_ATTEMPT"])
        return cls(environ["HPC_JOB_ID"], task, attempt, environ["HPC_NODE_ID"])


class Telling:
    """Tells events in their order, each once."""

    def __init__(self, place: Place) -> None:
        self._ctx = {
            "ns_id": "simulation",
            "job_id": place.job_id,
            "tasks": str(place.task),
            "attempt": place.attempt,
            "node_id": place.node_id,
        }
        self._client = Client(timeout_s=TIMEOUT_S, patience_s=0)
        self._untold: list[tuple[str, dict[str, Any]]] = []

    def tell(self, kind: str, spec: dict[str, Any]) -> None:
        """Tell what happened now, or keep it until the next call where the Hub is away.

        Raises:
            HpcError: The Hub will not have it.
        """
        at_ms = time.time_ns() // 1_000_000
        event = {"kind": kind, "at": at_ms, "payload": {"ctx": self._ctx, "spec": spec}}
        # The id is made once: whether an unanswered try arrived or not, it is recorded once.
        self._untold.append((uuid.uuid4().hex, event))
        self._try()

    def finish(self) -> None:
        """Tell what is left, and wait for the Hub if need be.

        Raises:
            HpcError: It did not come back, or will not have it.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while (away := self._try()) is not None:
            if time.monotonic() >= deadline_s:
                raise away
            time.sleep(AGAIN_S)

    def _try(self) -> NoHub | None:
        """Tell what is untold; returns why the Hub could not be told, if so."""
        while self._untold:
            batch_id, event = self._untold[0]
            try:
                self._client.ingest([event], batch_id=batch_id)
            except NoHub as away:
                return away
            del self._untold[0]
        return None
