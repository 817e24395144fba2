"""`hpc.testing.laws` on the namespaces that ship, on one that uses every lattice, and on engines
that are broken on purpose.

A check that cannot fail proves nothing. So each law has an engine here that breaks it and little
else, and the check must see it within 200 examples and say by what.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.errors import Refused
from hpc.namespaces.batch import BATCH
from hpc.namespaces.calls import CALLS
from hpc.namespaces.monitor import MONITOR
from hpc.testing.laws import LAWS, LawBroken, NamespaceLaws, check_namespace
from hpc.testing.small_hub import Reply, SmallHub

Json = Any
EXAMPLES_MAX = 200

ORDER = {"run": ["ok", "bad"], "ok": ["both"], "bad": ["both"]}
SAID = [
    FieldSpec(key="who", expected_type="String", required=True, min=1, max=5),
    FieldSpec(key="phase", expected_type="String", one_of=["run", "ok", "bad", "both"]),
    FieldSpec(key="n", expected_type="Int", min=0, max=1000, default=1),
    FieldSpec(key="x", expected_type="Float", min=-1),
    FieldSpec(key="up", expected_type="Bool"),
    FieldSpec(key="tags", expected_type="List", max=2),
    FieldSpec(key="env", expected_type="Map", format="env"),
    FieldSpec(key="where", expected_type="String", format="text"),
]
PLAIN = {
    "most": {"max": "$spec.x"},
    "least": {"min": "$spec.n"},
    "ever": {"or": "$spec.up"},
    "first": {"once": "$spec.where"},
    "newest": {"last": "$spec.up"},
    "tags": {"set": "$spec.tags"},
    "tasks": {"tasks": "$ctx.tasks"},
    "count": {"count": 1},
    "sum": {"sum": "$spec.n"},
    "phase": {"finite": {"order": ORDER, "value": "$spec.phase"}},
}
NESTED = {
    "life": {"epoch": {"at": "$spec.n", "join": {"once": "$spec.who"}}},
    "peaks": {"map": {"key": "$spec.n", "join": {"max": "$spec.x"}}},
    "tally": {"map": {"key": "$kind", "join": {"epoch": {"at": "$spec.n", "join": {"count": 1}}}}},
    "of_task": {"epoch": {"at": "$ctx.attempt", "join": {"map": {
        "key": "$ctx.node_id", "join": {"finite": {"order": ORDER, "value": "$spec.phase"}}}}}},
}  # fmt: skip
EVERYTHING = SimpleNamespace(
    namespace=NamespaceSpec(
        ns_id="all",
        schema={
            "Said": SAID,
            "Noted": [FieldSpec(key="text", expected_type="String")],
            "Simulate": [FieldSpec(key="steps", expected_type="Int", required=True, min=1)],
        },
        open=["Noted"],
        acts_as={"Simulate": "SubmitJob"},
        resources={"cpus": 1},
    ),
    generators=[
        GeneratorSpec(
            gid="plain",
            namespaces=["all"],
            rules=[
                {"on": "Said", "table": "t", "key": "$spec.who", "join": PLAIN},
                {"on": ["Said", "Noted"], "table": "k", "key": ["$kind", "$ctx.node_id"],
                 "join": {"count": {"count": 1}, "last_seq": {"max": "$seq"}}},
                {"on": "Noted", "table": "n", "key": "x", "where": {"$spec.severity": "high"},
                 "join": {"seen": {"last": "$spec.text"}}},
            ],
        ),
        GeneratorSpec(
            gid="nested",
            namespaces=["all"],
            rules=[
                {"on": "Said", "table": "t", "key": "all", "join": NESTED},
                {"on": ["Simulate", "JobFinished"], "table": "jobs", "key": "$ctx.job_id",
                 "join": {"kinds": {"set": "$kind"}, "reports": {"count": 1}}},
                {"on": "JobFinished", "table": "ends", "key": "$ctx.node_id",
                 "join": {"code": {"once": "$spec.exit_code"}}},
            ],
        ),
    ],
)  # fmt: skip


class TestBatch(NamespaceLaws):
    module = BATCH
    max_examples = 60


class TestCalls(NamespaceLaws):
    module = CALLS
    max_examples = 60


class TestMonitor(NamespaceLaws):
    module = MONITOR
    max_examples = 60


class TestEveryLattice(NamespaceLaws):
    module = EVERYTHING


# Engines that are broken.


class DropsAnEvent(SmallHub):
    """Of a batch of several it records all but the last."""

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        events = list(events)
        return super().ingest(batch_id, events[: max(1, len(events) - 1)])


class AddsInsteadOfJoining(SmallHub):
    """Its greatest is a sum."""

    def register(self, spec: Any, *, name: str | None = None) -> Json:
        if isinstance(spec, GeneratorSpec):
            rules = json.loads(json.dumps(spec.rules).replace('"max": "$spec', '"sum": "$spec'))
            spec = GeneratorSpec(gid=spec.gid, namespaces=spec.namespaces, rules=rules)
        return super().register(spec, name=name)


class CountsRepeatsTwice(SmallHub):
    """A batch that is sent again is recorded again, and its receipt does not tell."""

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        receipt = super().ingest(batch_id, events)
        if receipt["duplicate"]:
            super().ingest(f"again-{self.head}", events)
        return receipt


class StampsByArrival(SmallHub):
    """The newest is what came last."""

    def __init__(self) -> None:
        super().__init__()
        self.came: dict[str, int] = {}

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        at = self.came.setdefault(batch_id, self.head)
        return super().ingest(batch_id, [event | {"at": at} for event in events])


class SaysWhatIsNew(SmallHub):
    """What an event says depends on what is known: what is known already it does not say."""

    def offer(self, batch_id: str, events: Iterable[Json], *, dry_run: bool = False) -> Reply:
        reply = super().offer(batch_id, events, dry_run=dry_run)
        for gid, tables in reply.body.get("deltas", {}).items():
            known = self.facts(gid)
            for table, rows in tables.items():
                for row in rows.keys() & known.get(table, {}).keys():
                    rows[row] = {}
        return reply


class RefusesTheSecond(SmallHub):
    """It takes each kind once."""

    def offer(self, batch_id: str, events: Iterable[Json], *, dry_run: bool = False) -> Reply:
        reply = super().offer(batch_id, events, dry_run=dry_run)
        if reply.status == 200 and self.head > 3:
            return Reply(422, {"errors": [{"field": "kind"}]})
        return reply


class TakesAnything(SmallHub):
    """What is ill-formed it records nowhere, and says that it has."""

    def offer(self, batch_id: str, events: Iterable[Json], *, dry_run: bool = False) -> Reply:
        reply = super().offer(batch_id, events, dry_run=dry_run)
        return Reply(200, {}) if reply.status == 422 else reply


class NamesAnotherField(SmallHub):
    """Its refusals say that something is wrong somewhere."""

    def offer(self, batch_id: str, events: Iterable[Json], *, dry_run: bool = False) -> Reply:
        reply = super().offer(batch_id, events, dry_run=dry_run)
        if reply.status == 422:
            reply.body["errors"] = [{"event": 0, "field": "spec"}]
        return reply


def without_first_row(page: Json) -> Json:
    for table in list(page["facts"]):
        rows = page["facts"][table]
        del rows[min(rows)]
        break
    return page


class BuildsFromHalfTheLog(SmallHub):
    """A generator that comes late misses something."""

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        return without_first_row(page) if gid.endswith("-late") else page


class ForgetsOldRows(SmallHub):
    """When the log has grown, a row is gone."""

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        return without_first_row(page) if self.head > 4 else page


class MissesARow(SmallHub):
    """A pull from a cursor leaves a row out."""

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        return without_first_row(page) if cursor else page


class CursorsRunAhead(SmallHub):
    """It says that a reader has one event more than it was told."""

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        return page | {"cursor": page["cursor"] + 1}


class PullsByComparing(SmallHub):
    """It tells what is another than at the cursor: not what changed and changed back."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[tuple[str, int], Json] = {}

    def facts(self, gid: str) -> Json:
        facts = super().pull(gid, 0, limit=100_000)["facts"]
        self.shown[gid, self.head] = facts
        return facts

    def pull(self, gid: str, cursor: int = 0, *, limit: int | None = None) -> Json:
        page = super().pull(gid, cursor, limit=limit)
        then = self.shown.get((gid, cursor), {})
        for table, rows in page["facts"].items():
            for row, columns in rows.items():
                known = then.get(table, {}).get(row, {})
                rows[row] = {c: v for c, v in columns.items() if known.get(c) != v}
        return page


class PokesAlways(SmallHub):
    """Whoever follows is woken by every event."""

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        receipt = super().ingest(batch_id, events)
        registered = [gid for gid in self.gids if gid not in receipt["pokes"]]
        self.pokes = [*self.pokes, *registered]
        return receipt | {"pokes": [*receipt["pokes"], *registered]}

    @property
    def gids(self) -> list[str]:
        return [one["gid"] for one in self.ask("namespaces", "")["generators"]]


class PokesNever(SmallHub):
    """Whoever follows waits for ever."""

    def ingest(self, batch_id: str, events: Iterable[Json]) -> Json:
        receipt = super().ingest(batch_id, events)
        self.pokes = []
        return receipt


class LosesTheLastRow(SmallHub):
    """What was recorded just before it ended is not there afterwards."""

    def restart(self) -> None:
        registrations = 3
        self.log = self.log[: max(registrations, len(self.log) - 1)]
        super().restart()


PLANTED = [
    ("WF", TakesAnything),
    ("WF", NamesAnotherField),
    ("M1", SaysWhatIsNew),
    ("M1", RefusesTheSecond),
    ("M2", DropsAnEvent),
    ("M2", StampsByArrival),
    ("M3", CountsRepeatsTwice),
    ("M3", StampsByArrival),
    ("E1", BuildsFromHalfTheLog),
    ("E2", ForgetsOldRows),
    ("E3", MissesARow),
    ("E4", CursorsRunAhead),
    ("E4", MissesARow),
    ("E5", PullsByComparing),
    ("E6", PokesAlways),
    ("E6", PokesNever),
    ("E7", LosesTheLastRow),
]


@pytest.mark.parametrize(
    ("law", "broken"), PLANTED, ids=[f"{law}-{hub.__name__}" for law, hub in PLANTED]
)
def test_fault_60_a_broken_engine_is_found_by_the_law_it_breaks(
    law: str, broken: Callable[[], SmallHub]
) -> None:
    """A check that cannot fail proves nothing."""
    with pytest.raises(LawBroken) as found:
        check_namespace(
            EVERYTHING, laws=[law], max_examples=EXAMPLES_MAX, open_hub=broken, shrink=False
        )
    assert found.value.law == law
    assert found.value.events


def test_each_law_has_an_engine_that_breaks_it() -> None:
    """Also one that is added later."""
    assert {law for law, _ in PLANTED} | {"REACH"} == set(LAWS)


def test_what_breaks_a_law_is_told_with_the_rule_and_the_fewest_events() -> None:
    """An author must see what to look at, not a log of twenty events."""
    with pytest.raises(LawBroken) as found:
        check_namespace(MONITOR, laws=["M2"], max_examples=EXAMPLES_MAX, open_hub=DropsAnEvent)
    assert len(found.value.events) == 2

    with pytest.raises(LawBroken) as found:
        check_namespace(
            MONITOR, laws=["M2"], max_examples=EXAMPLES_MAX, open_hub=AddsInsteadOfJoining
        )
    broken = found.value
    assert broken.cell is not None
    assert broken.cell.column == "peak_mem_used_kb"
    assert broken.rules == MONITOR.generators[0].rules
    assert len(broken.events) == 2
    for part in ("M2 does not hold", "`peak_mem_used_kb`", '"max":"$spec.mem_used_kb"', "event 1"):
        assert part in str(broken)


def with_rule(**changes: Json) -> SimpleNamespace:
    """A small namespace with a rule that is changed."""
    rule = {"on": "Said", "table": "t", "key": "$ctx.node_id", "join": {"n": {"max": "$spec.n"}}}
    fields = [FieldSpec(key="n", expected_type="Int"), FieldSpec(key="x", expected_type="Float")]
    return SimpleNamespace(
        namespace=NamespaceSpec(ns_id="small", schema={"Said": fields}),
        generators=[GeneratorSpec(gid="small", namespaces=["small"], rules=[rule | changes])],
    )


def test_a_rule_that_can_never_fire_is_named() -> None:
    """Its laws would hold of nothing; 7 is no Float, so that this condition is never true."""
    never = with_rule(where={"$spec.x": 7})
    with pytest.raises(LawBroken, match="REACH does not hold") as found:
        check_namespace(never, laws=["REACH"])
    assert found.value.rules == never.generators[0].rules
    check_namespace(with_rule(where={"$spec.x": 7.0, "$ctx.name": "only"}), laws=["REACH", "M2"])


def test_a_module_that_a_hub_refuses_is_refused() -> None:
    """What is wrong with a rule is told by its field, before any event is made."""
    with pytest.raises(Refused) as found:
        check_namespace(with_rule(key="$ctx.node"))
    assert found.value.field == "spec.rules[0].key"


def test_a_generator_may_read_a_namespace_of_somebody_else() -> None:
    """A table over what `batch` and `monitor` say is proved in the same way."""
    joined = {"on": ["SubmitJob", "HardwareStats"], "table": "kinds", "key": "$kind",
              "join": {"said": {"count": 1}, "at": {"max": "$at"}}}  # fmt: skip
    both = GeneratorSpec(gid="both", namespaces=["batch", "monitor"], rules=[joined])
    module = SimpleNamespace(namespace=BATCH.namespace, generators=[both])
    check_namespace(module, beside=[MONITOR.namespace], max_examples=20)


def test_the_program_that_the_page_shows_finds_nothing() -> None:
    """It is what an author copies."""
    page = Path(__file__).resolve().parents[2] / "docs" / "namespaces.md"
    (program,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        if "check_namespace(" in block
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)
