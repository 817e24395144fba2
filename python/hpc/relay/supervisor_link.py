"""The relay's end of its supervisor: orders go out, batches, output and answers come back.

Orders return at once and are carried out in their order. What is awaited raises
`ConnectionResetError` once the supervisor is gone; it has ended its tasks then, or the relay
inherits them. Nothing here looks into a report: batches are bytes from Rust. How messages look
stands in `rust/hpc-executor/src/wire.rs`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import msgspec

from hpc._core import sweep_cgroups
from hpc.domain import Work
from hpc.errors import Refused
from hpc.limits import (
    HOOK_TIMEOUT_S_DEFAULT,
    KEEP_OUTPUT_S_DEFAULT,
    OUTPUT_BYTES_DEFAULT,
    OUTPUT_QUOTA_BYTES_DEFAULT,
)
from hpc.resources import Stock

STOP_S = 10.0
"""How long a supervisor may take to end its tasks and itself before it is killed."""

_LENGTH_BYTES = 4
_ID_BYTES = 8

_T = TypeVar("_T")


class Batch(NamedTuple):
    """Reports under one number; fixed, and kept by the supervisor until they are acknowledged.

    Attributes:
        origin: Session whose outbox it is from.
        n: Its number there, from 1.
        body: Body of `POST /ingest`.
        outputs: Body of `POST /outputs`, to be at the Hub before the reports; or empty.
    """

    origin: str
    n: int
    body: bytes
    outputs: bytes


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What a relay's owner has run by the shell around each task.

    Attributes:
        pre: Before it; the task starts only where this exits with 0.
        post: After it, whatever came of it.
        limit_s: Each is ended after so long.
    """

    pre: str | None = None
    post: str | None = None
    limit_s: float = HOOK_TIMEOUT_S_DEFAULT


class _Ready(msgspec.Struct):
    pid: int
    swept: int
    old: list[str]


class _BatchHeader(msgspec.Struct):
    origin: str
    n: int
    body: int


class SupervisorLink:
    """Orders to one supervisor and what it has to tell; made by `start`.

    Attributes:
        pid: Process id of the supervisor; before it is ready, of its guard.
        guard_pid: Of the process above it, which ends what runs where the supervisor is killed.
        swept: How many processes of earlier incarnations it found and ended at its start.
        old: Former sessions that had reports left at its start.
    """

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, session: str) -> None:
        self._process = process
        self._session = session
        self._folder = folder.absolute()
        self.pid = self.guard_pid = process.pid
        self.swept = 0
        self.old: Sequence[str] = ()
        self._transport: asyncio.Transport | None = None
        self._orders: list[bytes] = []
        """Those that go out together, at the end of this round of the event loop."""
        self._is_followed = False
        self._ready = asyncio.Event()
        """Also set once it is gone."""
        self._end = asyncio.Event()
        # Each has a reader of its own, and None at its end once the supervisor is gone.
        self._batches: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._old_batches: asyncio.Queue[Batch | None] = asyncio.Queue()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._asked = 0

    @classmethod
    async def start(
        cls,
        *,
        folder: Path,
        session: str,
        node_id: str,
        cpus: list[int],
        memory_mib: int,
        stock: Mapping[str, Stock] | None = None,
        output_limit: int = OUTPUT_BYTES_DEFAULT,
        cgroup: str = "auto",
        processes_max: int | None = None,
        keep_output_s: float = KEEP_OUTPUT_S_DEFAULT,
        output_quota_bytes: int = OUTPUT_QUOTA_BYTES_DEFAULT,
        hooks: Hooks | None = None,
    ) -> SupervisorLink:
        """Start a supervisor and wait until it has swept and takes orders.

        It inherits the umask and stderr of this process, and of its environment all but the token.

        Args:
            folder: The node's folder, which this relay has locked.
            session: Origin of its batches, letters and digits; made anew per start of a relay.
            node_id: Name of the node in reports and in the environment of tasks.
            cpus: Cores that tasks are pinned to, each to its own.
            memory_mib: Memory that tasks may reserve.
            stock: What else there is for tasks, by name.
            output_limit: Bytes that are kept of the output of a task that sets no limit of its own.
            cgroup: `auto`, `off` or `require`: whether memory limits are kept by cgroups.
            processes_max: Most processes of all tasks together; None is no limit.
            keep_output_s: How long long streams stay here for readers.
            output_quota_bytes: How much of them; the oldest goes first.
            hooks: What is run around each task, if anything is.

        Raises:
            ConnectionResetError: It ended instead; stderr says why.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # a folder named `hpc` beside us is not the package
                    "-m",
                    "hpc.relay.supervisor",
                    str(theirs.fileno()),
                    str(folder.absolute()),
                    session,
                    node_id,
                    ",".join(map(str, cpus)),
                    str(memory_mib),
                    str(output_limit),
                    cgroup,
                    str(processes_max or 0),
                    str(round(keep_output_s * 1000)),
                    str(output_quota_bytes),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env={name: value for name, value in os.environ.items() if name != "HPC_TOKEN"},
                start_new_session=True,
            )
        link = cls(process, folder, session)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: _Wire(link), sock=ours)
        try:
            await link._ready.wait()
            link._raise_if_gone()
        except BaseException:
            await link.stop()
            raise
        if stock:
            # No argument of its start: one may be longer than the kernel takes.
            link._order("offer", {"stock": stock})
        if hooks is not None and (hooks.pre or hooks.post):
            link._order("hooks", hooks)
        return link

    def run(self, works: list[Work]) -> None:
        """Take what is not held yet; what does not fit now is queued.

        Raises:
            Refused: A handler has planned what cannot be told; nothing was taken.
        """
        try:
            self._order("run", {"works": works})
        except (UnicodeEncodeError, TypeError, ValueError) as error:
            raise Refused(f"Handler plans what cannot be told: {error}") from error

    def refuse(self, work: Work, detail: str) -> None:
        """Report tasks failed, cause `refused`, without starting them."""
        # A handler's words may quote what cannot be told.
        told = detail.encode("utf-8", "replace").decode()
        self._order("refuse", {"work": work, "detail": told})

    def cancel(self, job_id: str, attempt: int, tasks: str, reason: str) -> None:
        """End tasks that the Hub has decided otherwise; those that wait are given back."""
        self._order(
            "cancel", {"job_id": job_id, "attempt": attempt, "tasks": tasks, "reason": reason}
        )

    def give_back(self, job_id: str, attempt: int, tasks: str) -> None:
        """Return those of the tasks that have not started."""
        self._order("give_back", {"job_id": job_id, "attempt": attempt, "tasks": tasks})

    def fence(self, boottime_ms: int) -> None:
        """Start nothing after this moment of CLOCK_BOOTTIME, and end `stop` tasks at it.

        They are killed an eighth of the fence's distance later, which is within 0.9 of the lease.
        """
        self._order("fence", {"boottime_ms": max(boottime_ms, 0)})

    def lost(self) -> None:
        """End `stop` tasks and give back what waits: the Hub gave the epoch up."""
        self._order("lost")

    def drain(self, grace_s: float) -> None:
        """Start nothing more; end what still runs after `grace_s`; return what has no result."""
        self._order("drain", {"grace_s": grace_s})

    def tail(self, streams: list[dict[str, Any]]) -> None:
        """Follow these streams and no other: job_id, task, stream, offset."""
        if streams or self._is_followed:
            self._order("tail", {"streams": streams})
            self._is_followed = bool(streams)

    def acked(self, origin: str, n: int) -> None:
        """Forget a batch: the Hub has it."""
        self._order("acked", {"origin": origin, "n": n})

    def refused(self, origin: str, n: int, events: Sequence[int]) -> None:
        """Set events of a batch aside in `refused/`; the rest comes again under the same number."""
        self._order("refused", {"origin": origin, "n": n, "events": list(events)})

    def adopt(self, origins: Sequence[str]) -> None:
        """Hold what these former sessions have ended, and not what others have.

        It comes before the first work: then a task that is held is one of this relay's Hub.
        """
        self._order("adopt", {"origins": list(origins)})

    async def holds(self) -> bytes:
        """Return the JSON list of what runs, waits, or has ended and is not acknowledged."""
        return await self._ask("holds")

    async def running(self) -> int:
        """Return how many tasks run."""
        return int(await self._ask("running"))

    async def next_batch(self) -> Batch:
        """Wait for the next batch of this session that was not handed out yet; one at a time."""
        return await self._take(self._batches)

    async def next_old_batch(self) -> Batch:
        """Wait for the next batch of a former session; one of each at a time."""
        return await self._take(self._old_batches)

    async def next_chunks(self) -> bytes:
        """Wait for output that readers follow: frames for `POST /outputs`."""
        chunks = await self._take(self._chunks)
        self._order("taken")
        return chunks

    async def idle(self) -> None:
        """Wait until nothing is held and this session's outbox is empty."""
        await self._ask("idle")

    async def stop(self) -> None:
        """End the supervisor with everything that it runs; a second call does nothing.

        What is not acknowledged stays in its outbox for the next start.
        """
        self._order("stop")
        try:
            async with asyncio.timeout(STOP_S):
                await self._end.wait()
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)  # its socket is open, so it is still that process
        if self._transport is not None:
            self._transport.close()
        # It has closed its socket or was killed: its guard ends what it has left, and goes.
        await asyncio.to_thread(self._process.wait)
        # One that was killed has left the groups of its tasks.
        await asyncio.to_thread(sweep_cgroups, self._folder)

    def _order(self, name: str, fields: object = None) -> None:
        if self._transport is None or self._end.is_set():
            return  # whoever awaits something next is told
        message = msgspec.json.encode({name: fields})
        if not self._orders:
            # An answer of the Hub leads to several orders: one write, and one wake-up over there.
            asyncio.get_running_loop().call_soon(self._flush)
        self._orders += (len(message).to_bytes(_LENGTH_BYTES, "little"), message)

    def _flush(self) -> None:
        orders, self._orders = self._orders, []
        if orders and self._transport is not None and not self._end.is_set():
            self._transport.write(b"".join(orders))

    async def _ask(self, op: str) -> bytes:
        self._raise_if_gone()
        self._asked += 1
        question = self._asked
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._questions[question] = answer
        self._order(op, {"id": question})
        self._flush()  # with what was ordered before; who asks should not wait for the loop's round
        try:
            return await answer
        finally:
            self._questions.pop(question, None)

    async def _take(self, queue: asyncio.Queue[_T | None]) -> _T:
        item = await queue.get()
        if item is None:
            queue.put_nowait(None)
            raise self._gone()
        return item

    def _raise_if_gone(self) -> None:
        if self._end.is_set():
            raise self._gone()

    def _gone(self) -> ConnectionResetError:
        code = self._process.poll()
        how = "" if code is None else f" (exit code {code})"
        return ConnectionResetError(f"Supervisor {self.pid} has ended{how}")

    def connected(self, transport: asyncio.Transport) -> None:
        """Called by the wire when it can be written to."""
        self._transport = transport

    def lost_connection(self) -> None:
        """Called by the wire when the supervisor has closed its end."""
        self._end.set()
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(self._gone())
        for queue in (self._batches, self._old_batches, self._chunks):
            queue.put_nowait(None)
        self._ready.set()

    def received(self, message: memoryview) -> None:
        """Called by the wire for each message, whole and in order."""
        letter, rest = message[0], message[1:]
        match chr(letter):
            case "R":
                ready = msgspec.json.decode(rest, type=_Ready)
                self.pid, self.swept, self.old = ready.pid, ready.swept, ready.old
                self._ready.set()
            case "B":
                batch = _batch(rest)
                is_own = batch.origin == self._session
                (self._batches if is_own else self._old_batches).put_nowait(batch)
            case "C":
                self._chunks.put_nowait(bytes(rest))
            case "H" | "I":
                question = int.from_bytes(rest[:_ID_BYTES], "little")
                answer = self._questions.get(question)
                if answer is not None and not answer.done():
                    answer.set_result(bytes(rest[_ID_BYTES:]))


def _batch(message: memoryview) -> Batch:
    start = _LENGTH_BYTES + int.from_bytes(message[:_LENGTH_BYTES], "little")
    header = msgspec.json.decode(message[_LENGTH_BYTES:start], type=_BatchHeader)
    end = start + header.body
    return Batch(header.origin, header.n, bytes(message[start:end]), bytes(message[end:]))


class _Wire(asyncio.Protocol):
    """Cuts the socket's bytes into messages."""

    def __init__(self, link: SupervisorLink) -> None:
        self._link = link
        self._bytes = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream socket's; uvloop's class is one in everything but its bases.
        self._link.connected(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        start = 0
        with memoryview(self._bytes) as view:
            while len(view) - start >= _LENGTH_BYTES:
                first = start + _LENGTH_BYTES
                end = first + int.from_bytes(view[start:first], "little")
                if end > len(view):
                    break
                with view[first:end] as message:
                    self._link.received(message)
                start = end
        del self._bytes[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.lost_connection()
