"""Clients: they submit and cancel with the patience that ships, and read what came of it.

Patience blocks, as clients do. `blocking` runs it in a thread that takes turns with the loop: one
of the two runs at a time, so that a seed decides as everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from random import Random
from threading import Thread
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from hpc import ranges
from hpc.client.patience import Patience
from hpc.errors import HpcError, NoHub
from hpc.protocols import Answer
from hpc.testing.sim.loop import SimLoop
from hpc.testing.sim.network import Network
from hpc.transport.http_client import Unanswered
from hpc.transport.refusals import error_of

ANSWER_S = 5.0
PATIENCE_S = 600.0
OK = 200

T = TypeVar("T")


class Wait(Protocol):
    """Blocks the thread until the loop has awaited something."""

    def __call__(self, awaited: Coroutine[Any, Any, T]) -> T:
        """Return what it brought, or raise what it raised."""
        ...


async def blocking(work: Callable[[Wait], T]) -> T:
    """Run what blocks in a thread, which runs only while the loop waits for it here."""
    asked: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    told: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def wait(awaited: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - as awaited
        asked.put(("await", awaited))
        value, error = told.get()
        if error is not None:
            raise error
        return value

    def body() -> None:
        try:
            asked.put(("done", work(wait)))
        except BaseException as error:
            asked.put(("raised", error))

    Thread(target=body, daemon=True).start()
    while True:
        kind, value = asked.get()
        if kind == "done":
            done: T = value
            return done
        if kind == "raised":
            raise value
        try:
            answer: tuple[Any, BaseException | None] = (await value, None)
        except BaseException as error:
            answer = (None, error)
        told.put(answer)


class Submitted(NamedTuple):
    """What a client was told about a job."""

    job_id: str
    batch_id: str
    body: bytes
    first_seq: int
    tasks: int


class Client:
    """One client.

    Attributes:
        acked: What it has a receipt for.
        cancelled: Ids of the batches of its cancels that were acknowledged.
        faults: What must not happen, in sentences.
        new_id: Makes the id of each send of a batch; a mutant makes another one each time.
    """

    def __init__(self, loop: SimLoop, random: Random, network: Network, name: str) -> None:
        self._loop = loop
        self._random = random
        self._lane = network.lane(name)
        self._name = name
        self._made = 0
        self.acked: list[Submitted] = []
        self.cancelled: list[str] = []
        self.faults: list[str] = []
        self.new_id: Callable[[str, int], str] = lambda batch_id, sends: batch_id

    async def submit(self, **spec: Any) -> None:  # noqa: ANN401 - as the namespace has it
        """Submit a job of one to three tasks, until it is acknowledged."""
        self._made += 1
        job_id = f"{self._name}-j{self._made}"
        tasks = self._random.choice([1, 1, 2, 3])
        ctx = {"ns_id": "sim", "job_id": job_id, "tasks": f"0-{tasks - 1}" if tasks > 1 else "0"}
        sent = await self._send("SubmitJob", ctx, spec)
        if sent is not None:
            batch_id, body, receipt = sent
            self.acked.append(Submitted(job_id, batch_id, body, receipt["first_seq"], tasks))

    async def cancel(self) -> None:
        """Cancel one of its jobs, if it has any."""
        if self.acked:
            job_id = self._random.choice(self.acked).job_id
            sent = await self._send("CancelJob", {"job_id": job_id}, {})
            if sent is not None:
                self.cancelled.append(sent[0])

    async def lose_node(self, node_id: str, epoch: int) -> None:
        """Say that a node will not come back."""
        await self._send("NodeLost", {"node_id": node_id, "epoch": epoch}, {})

    async def _send(
        self, kind: str, ctx: dict[str, Any], spec: dict[str, Any]
    ) -> tuple[str, bytes, Any] | None:
        event = {"kind": kind, "payload": {"ctx": ctx, "spec": spec}}
        batch_id = f"{self._random.getrandbits(128):032x}"
        sends = 0

        def send() -> tuple[str, bytes, Any]:
            nonlocal sends
            sends += 1
            sent_id = self.new_id(batch_id, sends)
            body = msgspec.json.encode({"id": sent_id, "events": [event]})
            return sent_id, body, waiting[0](self._post(body))

        waiting: list[Wait] = []

        def work(wait: Wait) -> tuple[str, bytes, Any]:
            waiting.append(wait)
            patience = Patience(
                PATIENCE_S,
                None,
                was_there=True,
                now=self._loop.time,
                sleep=lambda delay_s: wait(_pass(self._loop, delay_s)),
                random=self._random,
            )
            return patience.ask(send)

        try:
            return await blocking(work)
        except NoHub as error:
            self.faults.append(f"client {self._name} gave up: {error.message}")
        except HpcError as error:
            self.faults.append(f"client {self._name}: {kind} was refused: {error.message}")
        return None

    async def _post(self, body: bytes) -> Any:  # noqa: ANN401 - a receipt
        try:
            answer = await self._lane.ask("ingest", "", body, deadline_s=ANSWER_S)
        except NoHub as error:
            raise Unanswered(error.message) from error
        if answer.status != OK:
            raise error_of(answer.status, answer.body)
        return msgspec.json.decode(answer.body)


async def _pass(loop: SimLoop, delay_s: float) -> None:
    passed: asyncio.Future[None] = loop.create_future()
    loop.call_later(delay_s, passed.set_result, None)
    await passed


class Reader:
    """Follows the facts of the kernel by a cursor, and never unlearns.

    Attributes:
        settled: The outcome of each task, as it was first seen.
        faults: What must not happen, in sentences.
    """

    def __init__(self, loop: SimLoop, random: Random, network: Network) -> None:
        self._loop = loop
        self._random = random
        self._lane = network.lane("reader")
        self._cursor = 0
        self._cells: dict[tuple[str, str], str] = {}
        self.settled: dict[tuple[str, int], str] = {}
        self.faults: list[str] = []

    async def run(self) -> None:
        """Read for ever."""
        while True:
            wait_s = self._random.choice([0, 1])
            query = f"gid=kernel&cursor={self._cursor}&limit=5&wait={wait_s}"
            try:
                answer = await self._lane.ask("pull", query, b"", deadline_s=ANSWER_S)
            except NoHub:
                await _pass(self._loop, 0.5)
                continue
            if answer.status == OK:
                self._take(answer)
            await _pass(self._loop, self._random.uniform(0.0, 0.3))

    def _take(self, answer: Answer) -> None:
        page = msgspec.json.decode(answer.body)
        if page["cursor"] < self._cursor or page.get("snapshot"):
            self.faults.append(f"a reader at {self._cursor} was answered {page['cursor']}")
        self._cursor = page["cursor"]
        for job_id, row in page["facts"].get("jobs", {}).items():
            for outcome in ("succeeded", "failed", "cancelled"):
                for task in ranges.numbers(row.get(outcome) or ""):
                    known = self.settled.setdefault((job_id, task), outcome)
                    if known != outcome:
                        self.faults.append(f"{job_id}/{task} was {known}, now {outcome}")
