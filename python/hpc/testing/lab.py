"""The bench on which `laws.py` tries a namespace: its Hub, its events, its columns.

A `Lab` knows what can be said and what each rule keeps; a `Case` is one log, and all that chance
decides about how it is told. Both are data, so that a case can be shrunk and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import strategies as st

from hpc.domain import GeneratorSpec, NamespaceSpec
from hpc.protocols import Namespace
from hpc.testing import events as made
from hpc.testing import joins
from hpc.testing.small_hub import SmallHub, Tables

Json = Any
EVENTS_MAX = 8
"""Events of a log: enough to meet, few enough to read."""


class CellAt(NamedTuple):
    """Where a cell is."""

    gid: str
    table: str
    row: str
    column: str


Elements = dict[CellAt, Any]
"""For each cell an element of its column's lattice."""


class Case(NamedTuple):
    """One log and one way of telling it.

    Attributes:
        log: Events, a job's submit before all that speaks of it.
        order: Another order of them; see `Lab.told`.
        cuts: Where batches end.
        repeats: Batches that are sent again.
        at: A place in the log: where somebody reads, restarts or registers.
    """

    log: list[Json]
    order: list[int]
    cuts: set[int]
    repeats: set[int]
    at: int

    def without(self, place: int) -> Case:
        """Return the case without one event."""
        order = [i - (i > place) for i in self.order if i != place]
        log = [*self.log[:place], *self.log[place + 1 :]]
        return self._replace(log=log, order=order, at=min(self.at, len(log)))

    def batches(self, log: Sequence[Json]) -> list[tuple[str, list[Json]]]:
        """Return a log cut into batches, each with an id."""
        edges = [0, *sorted(cut for cut in self.cuts if cut < len(log)), len(log)]
        parts = [list(log[a:b]) for a, b in pairwise(edges) if a < b]
        return [(f"b{number}", part) for number, part in enumerate(parts)]


@dataclass(frozen=True)
class Lab:
    """A namespace with its generators, and what can be said in it.

    Attributes:
        module: What is proved.
        beside: Namespaces that its generators read as well.
        open_hub: Makes a Hub; a test of the checks hands in a broken one.
    """

    module: Namespace
    beside: Sequence[NamespaceSpec] = ()
    open_hub: Callable[[], SmallHub] = SmallHub
    columns: dict[tuple[str, str, str], joins.Join] = field(default_factory=dict)
    placed: set[tuple[str, str, str]] = field(default_factory=set)
    makers: list[made.Maker] = field(default_factory=list)

    def __post_init__(self) -> None:
        for gid, rule in self._rules():
            for column, join in rule["join"].items():
                where = (gid, rule["table"], column)
                self.columns[where] = join
                everywhere = [rule["key"], rule.get("where", {}), join]
                if _mentions(everywhere, "$seq"):
                    self.placed.add(where)
        for namespace in (self.module.namespace, *self.beside):
            self.makers.extend(made.makers(namespace, self.generators))

    @property
    def generators(self) -> Sequence[GeneratorSpec]:
        """The module's generators."""
        return self.module.generators

    @property
    def gids(self) -> list[str]:
        """Their ids."""
        return [generator.gid for generator in self.generators]

    def _rules(self) -> Iterator[tuple[str, dict[str, Json]]]:
        for generator in self.generators:
            for rule in generator.rules:
                yield generator.gid, rule

    def rules_of(self, gid: str, table: str, column: str) -> list[dict[str, Json]]:
        """Return the rules that write a column."""
        return [
            rule
            for owner, rule in self._rules()
            if owner == gid and rule["table"] == table and column in rule["join"]
        ]

    def hub(self, log: Iterable[Json] = (), *, generators: bool = True) -> SmallHub:
        """Return a Hub with the module registered, given a log an event a batch.

        Raises:
            Refused: The namespace or a generator is not as a Hub wants it.
        """
        hub = self.open_hub()
        for namespace in (self.module.namespace, *self.beside):
            hub.register(namespace)
        for generator in self.generators if generators else ():
            hub.register(generator)
        for number, event in enumerate(log):
            hub.ingest(f"e{number}", [event])
        return hub

    def maker(self, event: Json) -> made.Maker:
        """Return the kind of an event."""
        ns_id, kind = event["payload"]["ctx"]["ns_id"], event["kind"]
        return next(m for m in self.makers if (m.ns_id, m.kind) == (ns_id, kind))

    def job_of(self, event: Json) -> str | None:
        """Return the job of a submit or a report, which is only taken if the job is known."""
        job_id: str = event["payload"]["ctx"].get("job_id", "")
        return job_id if self.maker(event).kernel is not None else None

    def told(self, case: Case) -> list[Json]:
        """Return a log in its other order; what speaks of a job waits for its submit."""
        submitted: set[str | None] = {None}
        waiting: dict[str | None, list[Json]] = {}
        told: list[Json] = []
        for event in (case.log[i] for i in case.order):
            job = self.job_of(event)
            if job not in submitted and not self.maker(event).is_submit:
                waiting.setdefault(job, []).append(event)
                continue
            told.append(event)
            submitted.add(job)
            told += waiting.pop(job, [])
        return told

    def prelude(self, log: Sequence[Json], event: Json) -> list[Json]:
        """Return what must be said before an event can be: the submit of its job."""
        job = self.job_of(event)
        if job is None or self.maker(event).is_submit:
            return []
        return [next(other for other in log if self.job_of(other) == job)]

    def lesser(self, case: Case) -> Iterator[Case]:
        """Return cases that say less: told plainly, without an event, without a field of one."""
        plain = case._replace(order=list(range(len(case.log))), cuts=set(), repeats=set())
        yield from (p for p in (plain, plain._replace(cuts=case.cuts)) if p != case)
        yield from (case.without(place) for place in reversed(range(len(case.log))))
        for place, event in enumerate(case.log):
            maker, payload = self.maker(event), event["payload"]
            needed = {field.key for field in maker.fields if field.required}
            spec = () if maker.kernel is not None else payload["spec"].keys() - needed
            ctx = (
                () if maker.kernel in made.REPORTS else payload["ctx"].keys() - {"ns_id", "job_id"}
            )
            for part, key in (
                *(("spec", k) for k in sorted(spec)),
                *(("ctx", k) for k in sorted(ctx)),
            ):
                rest = {k: v for k, v in payload[part].items() if k != key}
                less = event | {"payload": payload | {part: rest}}
                log = [*case.log[:place], less, *case.log[place + 1 :]]
                yield case._replace(log=log)

    def elements(self, deltas: dict[str, Tables], event: Json) -> Elements:
        """Return what the deltas of one event are, as elements."""
        node = event["payload"]["ctx"].get("node_id", "")
        stamp = joins.Stamp(event["at"], node.encode())
        return {
            cell: joins.element(self.join_of(cell), value, stamp)
            for cell, value in self.cells(deltas).items()
        }

    def cells(self, facts: dict[str, Tables]) -> dict[CellAt, Json]:
        """Return the cells of the module's generators with what is shown of each."""
        return {
            CellAt(gid, table, row, column): value
            for gid in self.gids
            for table, rows in facts.get(gid, {}).items()
            for row, columns in rows.items()
            for column, value in columns.items()
        }

    def join_of(self, cell: CellAt) -> joins.Join:
        """Return the lattice of a cell's column."""
        return self.columns[cell.gid, cell.table, cell.column]

    def depends_on_place(self, cell: CellAt) -> bool:
        """Return whether a rule of the column reads `$seq`, so that order may matter to it."""
        return (cell.gid, cell.table, cell.column) in self.placed

    def cases(self) -> st.SearchStrategy[Case]:
        """Return a strategy of cases."""
        return _cases(self.makers, made.hints(self.generators))

    def wrongs(self) -> st.SearchStrategy[made.Wrong]:
        """Return a strategy of ill-formed events."""
        return made.wrongs(self.makers, made.hints(self.generators))


def _mentions(value: Json, name: str) -> bool:
    match value:
        case dict():
            return any(_mentions(part, name) for pair in value.items() for part in pair)
        case list():
            return any(_mentions(part, name) for part in value)
    return bool(value == name)


def _cases(makers: Sequence[made.Maker], hinted: made.Hints) -> st.SearchStrategy[Case]:
    logs = made.logs(makers, hinted, most=EVENTS_MAX)

    @st.composite
    def case(draw: st.DrawFn) -> Case:
        log = draw(logs)
        inside = st.integers(0, len(log))
        return Case(
            log,
            draw(st.permutations(range(len(log)))),
            draw(st.sets(inside, max_size=4)),
            draw(st.sets(inside, max_size=2)),
            draw(inside),
        )

    return case()
