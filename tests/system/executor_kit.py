"""A relay as far as its supervisor can tell: gives work, takes reports, acknowledges them.

Results are what an independent reader makes of the batches' JSON and of the output's frames; what
tasks did is asserted on files and processes, by the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from hpc.domain import Work
from hpc.relay.supervisor_link import Batch, Hooks, SupervisorLink
from hpc.resources import Stock

DEADLINE_S = 30.0
BASE = Work(
    job_id="job",
    ns_id="batch",
    attempt=1,
    epoch=3,
    tasks="0",
    kind="process",
    env={"PATH": os.environ["PATH"]},
    cwd="/",
)


def work(*argv: str, **fields: Any) -> Work:
    """Return work that executes this; fields replace those of BASE."""
    return msgspec.structs.replace(BASE, argv=list(argv), **fields)


def shell(script: str, **fields: Any) -> Work:
    """Return work that runs a script by the shell."""
    return work("/bin/sh", "-c", script, **fields)


def boottime_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


async def until(condition: Callable[[], Any], what: str, *, deadline_s: float = DEADLINE_S) -> Any:
    """Wait until a condition is true and return its value."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.005)
    return value


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def numbers(tasks: str) -> list[int]:
    found = []
    for part in tasks.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def frames(pack: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Read the frames of `POST /outputs`."""
    found, at = [], 0
    while at < len(pack):
        size = int.from_bytes(pack[at : at + 4], "little")
        header = json.loads(pack[at + 4 : at + 4 + size])
        at += 4 + size
        found.append((header, pack[at : at + header["length"]]))
        at += header["length"]
    assert at == len(pack)
    return found


class Relay:
    """Takes a supervisor's reports and answers for the Hub.

    Attributes:
        events: All events, in order.
        ends: By (job, attempt, task): kind and the task's own values of its last event.
        output: By (job, task, stream): bytes by offset.
    """

    def __init__(self, link: SupervisorLink, *, acknowledges: bool = True) -> None:
        self.link = link
        self.acknowledges = acknowledges
        self.batches: list[Batch] = []
        self.events: list[dict[str, Any]] = []
        self.started: list[tuple[str, int, int]] = []
        self.ends: dict[tuple[str, int, int], tuple[str, dict[str, Any]]] = {}
        self.output: dict[tuple[str, int, str], dict[int, bytes]] = {}
        self.news = asyncio.Event()

    async def listen(self) -> None:
        await asyncio.gather(
            self._listen(self.link.next_batch), self._listen(self.link.next_old_batch)
        )

    async def _listen(self, take: Callable[[], Awaitable[Batch]]) -> None:
        while True:
            batch = await take()
            self.take(batch)
            if self.acknowledges:
                self.link.acked(batch.origin, batch.n)

    def take(self, batch: Batch) -> None:
        self.batches.append(batch)
        for header, data in frames(batch.outputs):
            key = (header["job_id"], header["task"], header["stream"])
            self.output.setdefault(key, {})[header["offset"]] = data
        body = json.loads(batch.body)
        assert body["id"] == f"{batch.origin}/{batch.n}"
        for event in body["events"]:
            self.events.append(event)
            ctx, spec = event["payload"]["ctx"], event["payload"]["spec"]
            if event["kind"] in ("ReportRefused", "NodeDrained"):
                continue
            for place, task in enumerate(numbers(ctx["tasks"])):
                key = (ctx["job_id"], ctx["attempt"], task)
                own = {k: v[place] if isinstance(v, list) else v for k, v in spec.items()}
                if event["kind"] == "JobStarted":
                    self.started.append(key)
                else:
                    assert key not in self.ends, f"{key} ended twice"
                    said = {k: v for k, v in own.items() if v is not None}
                    self.ends[key] = (event["kind"], said)
        self.news.set()

    async def end(self, task: int = 0, *, job: str = "job", attempt: int = 1) -> dict[str, Any]:
        """Wait for the result of a task and return its values."""
        key = (job, attempt, task)
        await until(lambda: key in self.ends, f"the end of {key}")
        kind, said = self.ends[key]
        assert kind == "JobFinished", (kind, said)
        return said

    async def returned(self, task: int = 0, *, job: str = "job", attempt: int = 1) -> str:
        """Wait until a task comes back without a result and return the reason."""
        key = (job, attempt, task)
        await until(lambda: key in self.ends, f"the end of {key}")
        kind, said = self.ends[key]
        assert kind == "TasksReturned", (kind, said)
        reason: str = said["reason"]
        return reason

    async def has_started(self, task: int = 0, *, job: str = "job") -> None:
        key = (job, 1, task)
        await until(lambda: key in self.started, f"the start of {key}")

    def text(self, task: int = 0, stream: str = "stdout", *, job: str = "job") -> str:
        parts = self.output.get((job, task, stream), {})
        return b"".join(parts[offset] for offset in sorted(parts)).decode()


@asynccontextmanager
async def relay(
    folder: Path,
    *,
    session: str = "s1",
    cpus: list[int] | None = None,
    memory_mib: int = 4096,
    stock: Mapping[str, Stock] | None = None,
    acknowledges: bool = True,
    cgroup: str = "off",
    output_limit: int = 1 << 30,
    output_quota_bytes: int = 10 << 30,
    hooks: Hooks | None = None,
) -> AsyncIterator[Relay]:
    """Start a supervisor in a folder and take its reports; it ends with the block."""
    cores = sorted(os.sched_getaffinity(0)) if cpus is None else cpus
    link = await SupervisorLink.start(
        folder=folder,
        session=session,
        node_id="n1",
        cpus=cores,
        memory_mib=memory_mib,
        stock=stock,
        cgroup=cgroup,
        output_limit=output_limit,
        output_quota_bytes=output_quota_bytes,
        hooks=hooks,
    )
    taken = Relay(link, acknowledges=acknowledges)
    listener = asyncio.create_task(taken.listen())
    try:
        yield taken
    finally:
        listener.cancel()
        failed = (await asyncio.gather(listener, return_exceptions=True))[0]
        await link.stop()
        if isinstance(failed, AssertionError):
            raise failed
