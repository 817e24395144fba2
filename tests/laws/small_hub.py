"""A Hub's state machine with a log and a clock, readers of its generators, and its past."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hpc import _core

Json = Any
Tables = dict[str, dict[str, dict[str, Json]]]

WALL_MS = 1_700_000_000_000


class SmallHub:
    """One Hub over a log in memory, one request a turn."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.pokes: list[str] = []
        self._mono_ms = 0
        self._hub = self._started([])

    def _started(self, rows: Sequence[Any]) -> _core.Hub:
        hub = _core.Hub(hub_id="hub", lease_ms=30_000, reclaim_ms=300_000)
        hub.preload([row for row in rows if row[5] & 1])
        hub.replay(rows)
        hub.start(wall_ms=WALL_MS, mono_ms=self._mono_ms)
        return hub

    def restart(self) -> None:
        """Throw the Hub away and rebuild it from its log."""
        self._hub = self._started(self.log)

    def replayed(self) -> SmallHub:
        """Another Hub, rebuilt from the same log."""
        other = copy.copy(self)
        other.log = list(self.log)
        other.restart()
        return other

    def snapshot(self) -> tuple[int, bytes]:
        """What a snapshot taken now holds, and how many rows of the log are in it."""
        return len(self.log), self._hub.snapshot()

    def restored(self, taken: tuple[int, bytes]) -> SmallHub:
        """Another Hub, from a snapshot and the log after it."""
        rows, state = taken
        other = copy.copy(self)
        other.log = list(self.log)
        hub = _core.Hub(hub_id="hub", lease_ms=30_000, reclaim_ms=300_000)
        hub.restore(state)
        hub.replay(self.log[rows:])
        while hub.build_from is not None:
            hub.catch_up(self.read(hub.build_from, 3))
        hub.start(wall_ms=WALL_MS, mono_ms=self._mono_ms)
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
        """One turn; what a generator wants of the log is not given."""
        self._mono_ms += ms
        encoded = [(n, verb, query, json.dumps(body).encode()) for n, verb, query, body in inputs]
        turn = self._hub.step(encoded, wall_ms=WALL_MS, mono_ms=self._mono_ms, build=build)
        self.log.extend(turn.rows)
        self.pokes = [gid for gid, _ in turn.pokes]
        return turn

    def read(self, first_seq: int, limit: int) -> list[Any]:
        """Rows of the log, from the one that holds a seq."""
        rows = [row for row in self.log if row[0] + row[1] > first_seq]
        return rows[:limit]

    def ask(self, verb: str, query: str, body: Json = None) -> Json:
        """One request that is answered at once with 200; generators are built to the end."""
        turn = self.turn([(1, verb, query, body)])
        (reply,) = turn.replies
        pokes = self.pokes
        while turn.build_from is not None:
            turn = self.turn([], build=self.read(turn.build_from, 3))
        self.pokes = pokes
        assert reply[1] == 200, reply[2].decode()
        return json.loads(reply[2])

    def namespace(self, ns_id: str, spec: Json) -> None:
        """Register a namespace."""
        self.ask("control", "", {"type": "RegisterNamespace", "ns_id": ns_id, "spec": spec})

    def generator(self, gid: str, rules: Json, **more: Json) -> Json:
        """Register a generator over the namespace `lab`."""
        spec = {"namespaces": ["lab"], "rules": rules}
        return self.ask(
            "control", "", {"type": "RegisterGenerator", "gid": gid, "spec": spec} | more
        )

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        """Offer a batch; its receipt."""
        return self.ask("ingest", "", {"id": batch_id, "events": list(events)})

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        """One page."""
        query = f"gid={gid}&cursor={cursor}" + (f"&limit={limit}" if limit else "")
        return self.ask("pull", query)

    def facts(self, gid: str) -> Tables:
        """All facts."""
        page = self.pull(gid, limit=100_000)
        assert not page["more"]
        return page["facts"]


def overlay(facts: Tables, page: Tables) -> Tables:
    """What a reader holds who overwrites cell by cell."""
    held = copy.deepcopy(facts)
    for table, rows in page.items():
        for row, cells in rows.items():
            held.setdefault(table, {}).setdefault(row, {}).update(cells)
    return held


def past_of(hub: SmallHub) -> _core.Past:
    """The past of a Hub, before the first event."""
    past = _core.Past(hub_id="hub")
    past.preload([row for row in hub.log if row[5] & 1])
    return past


def reach(past: _core.Past, hub: SmallHub, at: int, *, rows: int = 1000) -> None:
    """Replay up to a seq, so many rows at a time."""
    while past.last_seq < at:
        past.replay(hub.read(past.last_seq + 1, rows), at)


def asked(past: _core.Past, verb: str, query: str = "") -> Json:
    """What the past answers."""
    status, body = past.ask(verb, query)
    assert status == 200, body.decode()
    return json.loads(body)
