"""What one turn of the Hub takes and brings, and what it needs: shapes alone, and ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hpc.errors import HpcError
from hpc.hub.outputs import Stored
from hpc.hub.upkeep import Engine as KeptEngine
from hpc.protocols import Answer, EventLog, LogRow

Input = tuple[int, str, str, bytes, str]
"""Token, verb, raw query, body, and who sends it; nobody: the Hub itself."""


class EngineTurn(Protocol):
    """What one step of the engine brings; `hpc._core.Turn`."""

    @property
    def rows(self) -> Sequence[tuple[Any, ...]]:
        """Rows to append before any reply leaves."""
        ...

    @property
    def replies(self) -> list[tuple[int, int, bytes]]:
        """Token, status, body."""
        ...

    @property
    def pokes(self) -> list[tuple[str, int]]:
        """Generators that grew, with the seq."""
        ...

    @property
    def wake_ms(self) -> int | None:
        """Monotonic ms at which the next step is due without inputs."""
        ...

    @property
    def build_from(self) -> int | None:
        """Seq from which the next step wants events, or None."""
        ...


class Engine(KeptEngine, Protocol):
    """The state machine; `hpc._core.Hub`, or a scripted one in tests."""

    @property
    def tokens(self) -> list[tuple[str, str, bool]]:
        """All tokens: id, spec as JSON, and whether it was revoked."""
        ...

    @property
    def generators(self) -> list[tuple[str, str]]:
        """All generators: id and spec as JSON."""
        ...

    def recall(self, row: LogRow) -> None:
        """Remember the receipt of a batch of the log again."""
        ...

    def ahead_ms(self, *, wall_ms: int, mono_ms: int) -> int:
        """Look at the clocks; how far the wall clock has jumped ahead of the time of ages.

        0 where it is believed.
        """
        ...

    def step(
        self, inputs: list[Input], *, wall_ms: int, mono_ms: int, build: Sequence[Any]
    ) -> EngineTurn:
        """Take inputs and time, return rows and replies."""
        ...


class Outputs(Protocol):
    """The part of the output store that a turn writes to.

    Attributes:
        ahead_ms: How far the wall clock is ahead of the time by which output gets old.
    """

    ahead_ms: int

    def append(self, packs: Sequence[bytes]) -> list[Stored]:
        """Store packs and sync them once; for each its answer and the jobs in it."""
        ...


class Clock(Protocol):
    """Where time comes from."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        ...

    def mono_ms(self) -> int:
        """Milliseconds of a clock that nobody sets."""
        ...


@dataclass(slots=True)
class Arrived:
    """What one turn takes: engine inputs, output packs, and calls that need the log."""

    inputs: list[Input] = field(default_factory=list)
    packs: list[tuple[int, bytes]] = field(default_factory=list)
    calls: list[tuple[int, Callable[[EventLog], Any]]] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What one turn brought.

    Attributes:
        answers: By token; everything in them is durable.
        results: Of the calls, by token: a value, or the exception to raise.
        pokes: Generators that grew, with the seq.
        rows: What was appended.
        head_seq: Seq of the last durable event.
        heard: Jobs of the output frames that were stored.
        wake_ms: When the next turn is due without anything arriving; None: never.
        again: The next turn should follow at once.
        rebuilt: The engine was thrown away and rebuilt; it has forgotten who tails what.
        fatal: The Hub must end; nothing was acknowledged since.
    """

    answers: list[tuple[int, Answer]] = field(default_factory=list)
    results: list[tuple[int, Any]] = field(default_factory=list)
    pokes: list[tuple[str, int]] = field(default_factory=list)
    rows: list[LogRow] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    head_seq: int = 0
    wake_ms: int | None = None
    again: bool = False
    rebuilt: bool = False
    fatal: HpcError | None = None
