"""Registration at a start of the Hub, against the real engine over a log in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hpc.clock import SystemClock
from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.hub.recovery import recover
from hpc.hub.registration import register
from hpc.namespaces.batch import BATCH
from hpc.namespaces.monitor import MONITOR
from hpc.protocols import Answer, LogRow, Namespace
from hpc.storage.memory import MemoryLog


@dataclass
class Module:
    """A namespace as an entry point gives it."""

    namespace: NamespaceSpec
    generators: list[GeneratorSpec] = field(default_factory=list)


def probe(revision: int, *, required: bool = False, optional: str | None = None) -> Module:
    """A namespace whose revisions can be told apart."""
    fields = [FieldSpec(key="figure", expected_type="Int", required=required)]
    if optional:
        fields.append(FieldSpec(key=optional, expected_type="Int"))
    spec = NamespaceSpec(ns_id="probe", schema={"Probed": fields}, revision=revision)
    rules = [{"on": "Probed", "table": "t", "key": "$ctx.node_id", "join": {"n": {"count": 1}}}]
    generator = GeneratorSpec(gid="probe", namespaces=["probe"], rules=rules, revision=revision)
    return Module(spec, [generator])


class Engine:
    """The real engine, one turn for each question."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.clock = SystemClock()
        self.hub = recover(self.log, lease_ms=1000, reclaim_ms=10_000, clock=self.clock)
        self.token = 0

    async def ask(self, verb: str, query: str, body: bytes) -> Answer:
        self.token += 1
        turn = self.hub.step(
            [(self.token, verb, query, body, "")],
            wall_ms=self.clock.wall_ms(),
            mono_ms=self.clock.mono_ms(),
        )
        self.log.append([LogRow(*row) for row in turn.rows])
        ((_, status, answer),) = turn.replies
        return Answer(status, answer)

    def register(self, *modules: Namespace) -> list[str]:
        return asyncio.run(register(self.ask, modules))

    def registered(self) -> dict[str, Any]:
        answer = json.loads(asyncio.run(self.ask("namespaces", "", b"")).body)
        return {one["ns_id"]: one for one in answer["data"]}


def test_what_ships_is_registered_once_and_again_without_effect() -> None:
    """Every start registers; a log that grows by it would never end."""
    engine = Engine()

    assert engine.register(BATCH, MONITOR) == []
    once = engine.log.head()
    assert set(engine.registered()) == {"batch", "monitor"}
    assert engine.register(BATCH, MONITOR) == []
    assert engine.log.head() == once


def test_a_higher_revision_replaces_and_a_lower_one_is_left() -> None:
    """An old installation that starts beside a new log must not undo it."""
    engine = Engine()
    assert engine.register(probe(1)) == []

    assert engine.register(probe(2, optional="more")) == []
    newer = engine.registered()["probe"]
    assert (newer["version"], newer["spec"]["revision"]) == (2, 2)
    said = engine.register(probe(1))

    assert engine.registered()["probe"] == newer
    assert len(said) == 2
    assert "revision 2, which is left" in said[0]


def test_what_the_hub_refuses_is_named_and_keeps_nothing_else_out() -> None:
    """One bad plugin must not keep the Hub from starting with the others."""
    engine = Engine()
    assert engine.register(probe(1)) == []

    said = engine.register(probe(2, required=True), MONITOR)

    assert len(said) >= 1
    assert said[0].startswith("probe is not registered as installed: ")
    assert "monitor" in engine.registered()


def test_another_spec_of_the_same_revision_is_left() -> None:
    """A revision that was not raised says that nothing changed; the log's word stands."""
    engine = Engine()
    assert engine.register(probe(1)) == []

    said = engine.register(probe(1, optional="more"))

    assert said == [
        "probe is not registered as installed: `probe` is registered with another spec, version 1"
    ]


def test_an_engine_that_cannot_record_is_said_and_survived() -> None:
    """A Hub also starts on a full disk, reading only."""

    async def full(verb: str, _query: str, _body: bytes) -> Answer:
        if verb == "namespaces":
            return Answer(200, b'{"data": [], "generators": []}')
        return Answer(507, msgspec.json.encode({"detail": "no space"}))

    modules: Sequence[Namespace] = [probe(1)]
    said = asyncio.run(register(full, modules))

    assert said == ["probe is not registered as installed: no space"] * 2


def test_what_is_registered_already_is_not_offered_again() -> None:
    """A start on a full disk has nothing to complain of if there is nothing to record."""
    engine = Engine()
    assert engine.register(BATCH, MONITOR) == []
    verbs: list[str] = []

    async def ask(verb: str, query: str, body: bytes) -> Answer:
        verbs.append(verb)
        return await engine.ask(verb, query, body)

    assert asyncio.run(register(ask, [BATCH, MONITOR])) == []
    assert verbs == ["namespaces"]
