"""What is done on a disk that will fail, and what must be there afterwards.

A Hub's turns by the committer that ships, with log, snapshots, compaction and output; and the small
files by which a relay knows who it is. Each is a function of its seed, so that the state after each
acknowledgement is known from a run in which nothing failed.
"""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from hpc._core import Hub
from hpc.clock import SystemClock
from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.errors import HpcError, NotFound, StorageError
from hpc.hub.commit import Committer
from hpc.hub.frames import Header, encode
from hpc.hub.outputs import OutputStore
from hpc.hub.recovery import recover
from hpc.hub.space import Space
from hpc.hub.turn_parts import Arrived, Input, Outcome
from hpc.hub.upkeep import Upkeep
from hpc.protocols import EventLog
from hpc.relay.place import NodeFolder
from hpc.storage.sqlite import open_log
from hpc.testing.small_hub import WALL_MS

Verdict = Literal["whole", "lost", "named", "wrong"]
"""All that was acknowledged is there; some is not, and nobody says so; an error of ours says what
is damaged; something else is there."""

TURNS: Final = 4
TURN_MS: Final = 600_000
"""So much passes between two turns."""

TRIES_MAX: Final = 8
"""Of a request that is answered that nothing was recorded."""

OK: Final = 200

NAMESPACE: Final = NamespaceSpec(
    ns_id="lab",
    handler_type="process",
    retention=1,
    schema={
        "Said": [FieldSpec(key="i", expected_type="Int")],
        "SubmitJob": [FieldSpec(key="command", expected_type="String")],
    },
)
GENERATOR: Final = GeneratorSpec(
    gid="g",
    namespaces=["lab"],
    rules=[
        {
            "on": "Said",
            "table": "t",
            "key": "$ctx.node_id",
            "join": {"most": {"max": "$spec.i"}, "count": {"count": 1}},
        }
    ],
)


class Workload(Protocol):
    """Something that is done below a folder."""

    def run(self, root: Path, acked: Callable[[], None]) -> None:
        """Do it all, and say after each acknowledgement that there was one.

        Raises:
            HpcError: It ended for a failure of the disk.
            OSError: Likewise.
        """
        ...

    def look(self, root: Path, acked: int) -> Verdict:
        """Hold what is below a folder against the first so many acknowledgements."""
        ...


class StillClock(SystemClock):
    """One that stands where it is put."""

    def __init__(self) -> None:
        self.turn = 0
        self.tries = 0

    def wall_ms(self) -> int:
        """Depends on the turn alone."""
        return WALL_MS + self.turn * TURN_MS

    def mono_ms(self) -> int:
        """Passes with each try, so that a pause of writes ends."""
        return (self.turn + self.tries) * TURN_MS


class _Done(NamedTuple):
    """What was acknowledged when a turn had ended."""

    head: int
    outputs: dict[int, bytes]


class HubWork:
    """Turns of one Hub. It is run once without faults, before it is looked at."""

    def __init__(self, seed: int, *, turns: int = TURNS) -> None:
        self._seed = seed
        self._turns = turns
        self._clock = StillClock()
        self._known: dict[int, list[Any]] = {}
        self.done: list[_Done] = []

    def run(self, root: Path, acked: Callable[[], None]) -> None:
        """See `Workload`; `done` says afterwards what was acknowledged."""
        rng = random.Random(self._seed)  # noqa: S311 - a seed decides everything
        self.done = []
        self._clock.turn = self._clock.tries = 0
        stored: dict[int, bytes] = {}
        with self._opened(root) as (log, outputs):
            upkeep = Upkeep(log, self._clock, snapshot_events=10, compact_ms=3 * TURN_MS)
            committer = Committer(
                log=log,
                outputs=outputs,
                build_engine=lambda: self._recovered(log),
                lease_ms=30_000,
                clock=self._clock,
                space=Space(reserve_bytes=0),
                upkeep=upkeep,
            )
            self._remember(committer)
            for number in range(self._turns):
                self._clock.turn = number
                inputs = self._inputs(number, rng)
                data = rng.randbytes(rng.randrange(1, 3000))
                if self._turn(committer, inputs, _frame(number, data)):
                    stored = {**stored, number: data}
                self.done.append(_Done(committer.head_seq, stored))
                acked()
                self._remember(committer)
            committer.close()

    def look(self, root: Path, acked: int) -> Verdict:
        """See `Workload`."""
        head, stored = self.done[acked - 1] if acked else _Done(0, {})
        try:
            with self._opened(root) as (log, outputs):
                engine = self._recovered(log)
                found = _answers(lambda asked: self._step(engine, asked), engine.last_seq)
                if self._known.get(engine.last_seq) != found:
                    return "wrong"
                is_there = all(_read(outputs, task) == data for task, data in stored.items())
        except NotFound:
            return "lost"  # as if its time had come
        except StorageError:
            return "named"
        return "whole" if engine.last_seq >= head and is_there else "lost"

    @contextlib.contextmanager
    def _opened(self, root: Path) -> Iterator[tuple[EventLog, OutputStore]]:
        data = root / "hub"
        with contextlib.closing(open_log(data)) as log:
            outputs = OutputStore(data, pack_bytes_max=3000, clock=self._clock)
            with contextlib.closing(outputs):
                yield log, outputs

    def _recovered(self, log: EventLog) -> Hub:
        return recover(log, lease_ms=30_000, reclaim_ms=300_000, clock=self._clock)

    def _step(self, engine: Hub, asked: list[Input]) -> list[tuple[int, bytes]]:
        turn = engine.step(asked, wall_ms=self._clock.wall_ms(), mono_ms=self._clock.mono_ms())
        return [(token, body) for token, _, body in turn.replies]

    def _remember(self, committer: Committer) -> None:
        """Note what a Hub knows whose log ends here, in a run without faults."""

        def ask(asked: list[Input]) -> list[tuple[int, bytes]]:
            outcome = committer.run(Arrived(inputs=asked))
            return [(token, answer.body) for token, answer in outcome.answers]

        if committer.head_seq not in self._known:
            self._known[committer.head_seq] = _answers(ask, committer.head_seq)

    def _inputs(self, number: int, rng: random.Random) -> list[Input]:
        if number == 0:
            specs: list[NamespaceSpec | GeneratorSpec] = [NAMESPACE, GENERATOR]
            return [(n, "control", "", _registration(spec), "") for n, spec in enumerate(specs, 1)]
        batches = [_batch(2 * number + n - 1, rng) for n in range(2)]
        return [(n + 1, "ingest", "", body, "") for n, body in enumerate(batches)]

    def _turn(self, committer: Committer, inputs: list[Input], pack: bytes) -> bool:
        """Send until it is recorded, as clients do; returns whether the output is stored.

        Raises:
            HpcError: The Hub has ended, or does not recover.
        """
        for _ in range(TRIES_MAX):
            self._clock.tries += 1
            outcome = _checked(committer.run(Arrived(inputs=inputs, packs=[(99, pack)])))
            answers = dict(outcome.answers)
            while outcome.again:
                outcome = _checked(committer.run(Arrived()))
                answers |= dict(outcome.answers)
            if all(answers[one[0]].status == OK for one in inputs):
                return b"dropped" not in answers[99].body
        raise HpcError("Nothing is recorded, though there is space", code="internal")


def _checked(outcome: Outcome) -> Outcome:
    if outcome.fatal is not None:
        raise outcome.fatal
    return outcome


def _registration(spec: NamespaceSpec | GeneratorSpec) -> bytes:
    data = msgspec.to_builtins(spec)
    id_field = "ns_id" if isinstance(spec, NamespaceSpec) else "gid"
    kind = "RegisterNamespace" if id_field == "ns_id" else "RegisterGenerator"
    return json.dumps({"type": kind, id_field: data.pop(id_field), "spec": data}).encode()


def _batch(number: int, rng: random.Random) -> bytes:
    ctx = {"ns_id": "lab", "node_id": rng.choice(["n1", "n2", "n3"])}
    said = {"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": rng.randrange(100)}}}
    job = {"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "lab"}, "spec": {"command": "a"}}}
    events = [said] * rng.randrange(1, 25) + [job] * rng.randrange(2)
    return json.dumps({"id": f"box/{number}", "events": events}).encode()


def _frame(number: int, data: bytes) -> bytes:
    header = Header(
        job_id="job", task=number, attempt=1, stream="stdout", offset=0, length=len(data), end=True
    )
    return encode(header, data)


def _read(outputs: OutputStore, task: int) -> bytes | None:
    view = outputs.read("job", task, "stdout")
    return view and b"".join(outputs.data(segment) for segment in view.segments)


def _answers(ask: Callable[[list[Input]], list[tuple[int, bytes]]], head: int) -> list[Any]:
    """Return what pulls of all generators answer, from some cursors on."""
    cursors = sorted({cursor for cursor in (0, head // 2, head) if cursor >= 0})
    gids = ["kernel", "g"] if head > 1 else ["kernel"]
    queries = [f"gid={gid}&cursor={cursor}" for gid in gids for cursor in cursors]
    asked = [(n, "pull", query, b"null", "") for n, query in enumerate(queries)]
    return [json.loads(body) | {"hub": None} for _, body in sorted(ask(asked))]


class NodeWork:
    """The small files of a relay: its epoch, and to which Hub a session belongs."""

    def __init__(self, seed: int, *, turns: int = TURNS) -> None:
        rng = random.Random(seed)  # noqa: S311 - a seed decides everything
        self._above = [rng.randrange(1000) for _ in range(turns)]
        self.done: list[tuple[int, str]] = []

    def run(self, root: Path, acked: Callable[[], None]) -> None:
        """See `Workload`."""
        self.done = []
        epoch, session = 0, ""
        with contextlib.closing(_node(root)) as folder:
            for number, above in enumerate(self._above):
                epoch = folder.raise_epoch(above=above)
                self.done.append((epoch, session))
                acked()
                session = f"s{number}"
                folder.remember_hub(session, "hub")
                self.done.append((epoch, session))
                acked()

    def look(self, root: Path, acked: int) -> Verdict:
        """See `Workload`."""
        epoch, session = self.done[acked - 1] if acked else (0, "")
        try:
            with contextlib.closing(_node(root)) as folder:
                # A later session may have taken the place of the one that was acknowledged.
                sessions = {session, f"s{acked // 2}"} if session else {""}
                is_known = not session or any(folder.hub_of(one) == "hub" for one in sessions)
                return "whole" if folder.epoch >= epoch and is_known else "lost"
        except HpcError:
            return "named"


def _node(root: Path) -> NodeFolder:
    return NodeFolder.open(root, "n1", on_wait=None, boot_id="boot")
