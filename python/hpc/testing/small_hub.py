"""A Hub in memory: the engine that ships, a log that is a list, a clock that a test moves.

No process, no socket and no disk, so a test can ask it thousands of times a second. It is the same
state machine as in a Hub's process (`hpc._core.Hub`); what this file adds is what a process adds:
rows are kept, generators are built, a restart replays the rows. One request is one turn.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Self

import msgspec

from hpc import _core
from hpc.domain import GeneratorSpec, NamespaceSpec
from hpc.errors import Refused

Json = Any
Tables = dict[str, dict[str, dict[str, Json]]]
"""Facts as a pull shows them: table, row, column."""

WALL_MS: Final = 1_700_000_000_000
"""Where the clock stands at first."""

BUILD_ROWS: Final = 3
"""Rows that a generator is built from at a time: few, so that building takes several turns."""


class Reply(NamedTuple):
    """What the Hub answers: an HTTP status and the body, decoded."""

    status: int
    body: Json


class Taken(NamedTuple):
    """A snapshot: how many rows of the log are in it, and the state."""

    rows: int
    state: bytes


class SmallHub:
    """One Hub over a log in memory.

    Attributes:
        log: The rows, as an `EventLog` keeps them.
        pokes: The generators that the last request poked.
        wall_ms: What its clock shows.
    """

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.pokes: list[str] = []
        self.wall_ms = WALL_MS
        self.who = ""
        self._mono_ms = 0
        self._hub = self._started([])

    def _new(self) -> _core.Hub:
        return _core.Hub(hub_id="hub", lease_ms=30_000, reclaim_ms=300_000)

    def _started(self, rows: Sequence[Any]) -> _core.Hub:
        hub = self._new()
        hub.preload([row for row in rows if row[5] & 1])
        hub.replay(rows)
        hub.start(wall_ms=self.wall_ms, mono_ms=self._mono_ms)
        return hub

    def restart(self) -> None:
        """Throw the engine away and rebuild it from its log."""
        self._hub = self._started(self.log)

    def replayed(self) -> Self:
        """Return another Hub, rebuilt from the same log."""
        other = copy.copy(self)
        other.log = list(self.log)
        other.restart()
        return other

    def snapshot(self) -> Taken:
        """Return what a snapshot holds that is taken now."""
        return Taken(len(self.log), self._hub.snapshot())

    def restored(self, taken: Taken) -> Self:
        """Return another Hub, from a snapshot of this one and the log after it."""
        other = copy.copy(self)
        other.log = list(self.log)
        hub = self._new()
        hub.restore(taken.state)
        hub.replay(self.log[taken.rows :])
        while hub.build_from is not None:
            hub.catch_up(self.read(hub.build_from, BUILD_ROWS))
        hub.start(wall_ms=self.wall_ms, mono_ms=self._mono_ms)
        other._hub = hub
        return other

    @property
    def head(self) -> int:
        """The last seq."""
        return self._hub.last_seq

    def turn(
        self,
        inputs: Sequence[tuple[int, str, str, Json]],
        *,
        build: Sequence[Any] = (),
        ms: int = 1,
    ) -> _core.Turn:
        """Take one turn, `ms` after the last; what a generator wants of the log is not given."""
        self._mono_ms += ms
        encoded = [
            (n, verb, query, json.dumps(body).encode(), self.who) for n, verb, query, body in inputs
        ]
        turn = self._hub.step(encoded, wall_ms=self.wall_ms, mono_ms=self._mono_ms, build=build)
        self.log.extend(turn.rows)
        self.pokes = [gid for gid, _ in turn.pokes]
        return turn

    def read(self, first_seq: int, limit: int) -> list[Any]:
        """Return rows of the log, from the one that holds a seq."""
        rows = [row for row in self.log if row[0] + row[1] > first_seq]
        return rows[:limit]

    def reply(self, verb: str, query: str, body: Json = None) -> Reply:
        """Put one request that is answered at once; generators are built to the end."""
        turn = self.turn([(1, verb, query, body)])
        ((_, status, answer),) = turn.replies
        pokes = self.pokes
        while turn.build_from is not None:
            turn = self.turn([], build=self.read(turn.build_from, BUILD_ROWS))
        self.pokes = pokes
        return Reply(status, json.loads(answer))

    def ask(self, verb: str, query: str, body: Json = None) -> Json:
        """Put one request and return the answer.

        Raises:
            Refused: The status is not 200; nothing was changed.
        """
        status, answer = self.reply(verb, query, body)
        if status != 200:  # noqa: PLR2004 - OK
            errors = answer.get("errors", [])
            field = errors[0]["field"] if errors else answer.get("field")
            raise Refused(answer["detail"], code=answer["code"], field=field, errors=errors)
        return answer

    def register(self, spec: NamespaceSpec | GeneratorSpec, *, name: str | None = None) -> Json:
        """Register a namespace or a generator, under another name where one is given.

        Raises:
            Refused: It is not as the Hub wants it; `errors` names the fields.
        """
        data = msgspec.to_builtins(spec)
        is_namespace = isinstance(spec, NamespaceSpec)
        id_field = "ns_id" if is_namespace else "gid"
        kind = "RegisterNamespace" if is_namespace else "RegisterGenerator"
        own = data.pop(id_field)
        return self.ask("control", "", {"type": kind, id_field: name or own, "spec": data})

    def offer(self, batch_id: str, events: Iterable[Json], *, dry_run: bool = False) -> Reply:
        """Offer a batch; what is answered, be it a receipt or a refusal."""
        query = "dry_run=true" if dry_run else ""
        return self.reply("ingest", query, {"id": batch_id, "events": list(events)})

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        """Offer a batch that must be taken; its receipt.

        Raises:
            Refused: It was not; nothing was recorded.
        """
        return self.ask("ingest", "", {"id": batch_id, "events": list(events)})

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        """Return one page."""
        query = f"gid={gid}&cursor={cursor}" + (f"&limit={limit}" if limit else "")
        return self.ask("pull", query)

    def facts(self, gid: str) -> Tables:
        """Return all facts."""
        page = self.pull(gid, limit=100_000)
        assert not page["more"]
        facts: Tables = page["facts"]
        return facts

    def pages(self, gid: str, cursor: int = 0, *, limit: int = 1) -> list[tuple[int, Tables]]:
        """Return all pages from a cursor on, each with the cursor after it."""
        found = []
        while True:
            page = self.pull(gid, cursor, limit=limit)
            found.append((page["cursor"], page["facts"]))
            if not page["more"]:
                return found
            assert page["cursor"] > cursor, "more comes with a greater cursor"
            cursor = page["cursor"]


def overlay(facts: Tables, page: Tables) -> Tables:
    """Return what a reader holds who overwrites cell by cell."""
    held = copy.deepcopy(facts)
    for table, rows in page.items():
        for row, cells in rows.items():
            held.setdefault(table, {}).setdefault(row, {}).update(cells)
    return held


def cells(tables: Json) -> set[tuple[str, str, str]]:
    """Return the cells that a page names: table, row, column."""
    return {
        (table, row, column)
        for table, rows in tables.items()
        for row, columns in rows.items()
        for column in columns
    }
