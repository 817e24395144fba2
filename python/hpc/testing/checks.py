"""The checks of `laws.py`: for each law a function that tries it on one case, and what it raises.

A check is handed a `Lab` and a case and returns, or raises `LawBroken`. It knows nothing of chance:
`laws.py` makes the cases, and looks for a lesser one where one breaks a law. No check changes an
event, since all are tried on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from hpc.testing import joins
from hpc.testing.events import Wrong
from hpc.testing.lab import Case, CellAt, Elements, Lab
from hpc.testing.small_hub import SmallHub, Tables, cells, overlay

Json = Any
OK: Final = 200
NOT_WELL_FORMED: Final = 422
LIMIT_MAX: Final = 100_000


class LawBroken(AssertionError):
    """A law that does not hold, and what shows it.

    Attributes:
        law: Its number, such as `M2`.
        detail: What was expected and what came.
        cell: Generator, table, row and column, where it shows in one.
        rules: The rules that write that column.
        events: The fewest events found that show it.
    """

    def __init__(
        self,
        law: str,
        detail: str,
        *,
        cell: CellAt | None = None,
        rules: Sequence[dict[str, Json]] = (),
        events: Sequence[Json] = (),
    ) -> None:
        lines = [f"{law} does not hold ({LAWS[law].statement}): {detail}"]
        if cell is not None:
            gid, table, row, column = cell
            lines.append(f"  cell: column `{column}`, row `{row}`, table `{table}` of `{gid}`")
        lines += [f"  rule: {joins.text(rule)}" for rule in rules]
        lines += [f"  event {n}: {joins.text(event)}" for n, event in enumerate(events)]
        super().__init__("\n".join(lines))
        self.law = law
        self.detail = detail
        self.cell = cell
        self.rules = list(rules)
        self.events = list(events)


class _Judge(NamedTuple):
    """Says for one law and one log what breaks it."""

    lab: Lab
    law: str
    log: Sequence[Json]

    def broken(self, detail: str, cell: CellAt | None = None) -> LawBroken:
        rules = [] if cell is None else self.lab.rules_of(cell.gid, cell.table, cell.column)
        return LawBroken(self.law, detail, cell=cell, rules=rules, events=self.log)

    def is_so(self, holds: bool, detail: str) -> None:
        if not holds:
            raise self.broken(detail)

    def same(
        self, expected: dict[CellAt, Json], got: dict[CellAt, Json], *, ordered: bool = True
    ) -> None:
        """Two sets of cells are one; where the order differed, without those that read `$seq`."""
        for cell in sorted(expected.keys() | got.keys()):
            if not ordered and self.lab.depends_on_place(cell):
                continue
            a, b = (joins.text(f[cell]) if cell in f else "nothing" for f in (expected, got))
            if a != b:
                raise self.broken(f"expected {a}, got {b}", cell)


def facts_of(hub: SmallHub, lab: Lab) -> dict[CellAt, Json]:
    """Return what a Hub shows of the module's generators."""
    return lab.cells({gid: hub.facts(gid) for gid in lab.gids})


def _deltas(judge: _Judge, hub: SmallHub, event: Json) -> dict[str, Tables]:
    """What one event says; a well-formed one must be taken."""
    status, answer = hub.offer("try", [event], dry_run=True)
    judge.is_so(status == OK, f"a well-formed event is refused: {joins.text(answer)}")
    deltas: dict[str, Tables] = answer["deltas"]
    return deltas


def _said(judge: _Judge, hub: SmallHub, event: Json) -> Elements:
    return judge.lab.elements(_deltas(judge, hub, event), event)


def _join(lab: Lab, held: Elements, said: Elements) -> set[CellAt]:
    """Join what an event says into what is held; the cells that grew."""
    grew = set()
    for cell, element in said.items():
        after = joins.joined(lab.join_of(cell), held[cell], element) if cell in held else element
        if cell not in held or after != held[cell]:
            held[cell] = after
            grew.add(cell)
    return grew


def _m1(lab: Lab, case: Case) -> None:
    """What an event says is asked of a Hub that knows nothing else, and of one that knows all."""
    judge = _Judge(lab, "M1", case.log)
    full = lab.hub(case.log)
    head = full.head
    for event in case.log[:2]:
        bare = lab.hub(lab.prelude(case.log, event))
        alone, after = (lab.cells(_deltas(judge, hub, event)) for hub in (bare, full))
        judge.same(alone, after, ordered=False)
    judge.is_so(full.head == head, "a dry run has recorded something")


def _wf(lab: Lab, wrong: Wrong) -> None:
    """An event that is wrong in one place is refused, by the name of the place, with its batch."""
    judge = _Judge(lab, "WF", [wrong.event])
    hub = lab.hub()
    head, facts = hub.head, facts_of(hub, lab)
    status, answer = hub.offer("wrong", [wrong.event])
    judge.is_so(
        status == NOT_WELL_FORMED,
        f"`{wrong.field}` is wrong: expected 422, got {status} {joins.text(answer)}",
    )
    named = [error["field"] for error in answer["errors"]]
    judge.is_so(wrong.field in named, f"expected `{wrong.field}` to be named, got {named}")
    judge.is_so(hub.head == head and facts_of(hub, lab) == facts, "the refusal has left something")


def _m2(lab: Lab, case: Case) -> None:
    """The deltas of single events are joined here, and the facts of batches by the engine."""
    judge = _Judge(lab, "M2", case.log)
    hub, held = lab.hub(), Elements()
    for batch_id, events in case.batches(case.log):
        before = hub.head
        trial = hub.replayed()
        for event in events:
            _join(lab, held, _said(judge, trial, event))
            trial.ingest(f"{batch_id}-{trial.head}", [event])
        hub.ingest(batch_id, events)
        judge.is_so(hub.head == before + len(events), f"{len(events)} events were not recorded")
    expected = {cell: joins.shown(lab.join_of(cell), x) for cell, x in held.items()}
    judge.same(expected, facts_of(hub, lab))
    overflow = {gid: hub.pull(gid, limit=LIMIT_MAX).get("overflow", {}) for gid in lab.gids}
    told = {CellAt(gid, *cell) for gid, found in overflow.items() for cell in cells(found)}
    left_out = {c for c, x in held.items() if joins.is_overflowed(lab.join_of(c), x)}
    judge.is_so(told == left_out, f"expected overflow in {left_out}, got {told}")


def _m3(lab: Lab, case: Case) -> None:
    """Another order, other batches, and some of them sent again."""
    judge = _Judge(lab, "M3", case.log)
    plain, other = lab.hub(case.log), lab.hub()
    batches = case.batches(lab.told(case))
    for number, (batch_id, events) in enumerate(batches):
        first = other.ingest(batch_id, events)
        if number in case.repeats:
            head = other.head
            again = other.ingest(batch_id, events)
            is_same = again["duplicate"] and again["first_seq"] == first["first_seq"]
            judge.is_so(is_same, "a batch that was sent again does not get its first receipt")
            judge.is_so(other.head == head, "a batch that was sent again is recorded again")
    for batch_id, events in (batches[n] for n in case.repeats if n < len(batches)):
        judge.is_so(other.ingest(batch_id, events)["duplicate"], "an old batch is taken again")
    judge.same(facts_of(plain, lab), facts_of(other, lab), ordered=False)


def _e1(lab: Lab, case: Case) -> None:
    """The same generators, registered under other names in the middle of the log."""
    judge = _Judge(lab, "E1", case.log)
    hub = lab.hub(case.log[: case.at])
    for generator in lab.generators:
        hub.register(generator, name=f"{generator.gid}-late")
    for number, event in enumerate(case.log[case.at :]):
        hub.ingest(f"l{number}", [event])
    late = lab.cells({gid: hub.facts(f"{gid}-late") for gid in lab.gids})
    judge.same(facts_of(hub, lab), late)
    for gid in lab.gids:
        for cursor in range(hub.head + 1):
            early = hub.pages(gid, cursor, limit=2)
            is_same = early == hub.pages(f"{gid}-late", cursor, limit=2)
            judge.is_so(is_same, f"`{gid}`, registered late, answers cursor {cursor} otherwise")


def _e2(lab: Lab, case: Case) -> None:
    """After each event nothing that was there is gone, or less."""
    judge = _Judge(lab, "E2", case.log)
    hub = lab.hub()
    before: dict[CellAt, Json] = {}
    for number, event in enumerate(case.log):
        hub.ingest(f"e{number}", [event])
        after = facts_of(hub, lab)
        for cell, value in before.items():
            if cell not in after or not joins.is_below(lab.join_of(cell), value, after[cell]):
                now = joins.text(after[cell]) if cell in after else "nothing"
                raise judge.broken(f"it was {joins.text(value)} and is {now}", cell)
        before = after


def _states(lab: Lab, case: Case) -> tuple[SmallHub, list[tuple[int, dict[str, Tables]]]]:
    """A Hub that was given the log, and what it showed at each cursor."""
    hub = lab.hub()
    states: list[tuple[int, dict[str, Tables]]] = [(hub.head, {gid: {} for gid in lab.gids})]
    for number, event in enumerate(case.log):
        hub.ingest(f"e{number}", [event])
        states.append((hub.head, {gid: hub.facts(gid) for gid in lab.gids}))
    return hub, states


def _e3(lab: Lab, case: Case) -> None:
    """A reader at every cursor catches up by one pull."""
    judge = _Judge(lab, "E3", case.log)
    hub, states = _states(lab, case)
    now = states[-1][1]
    for cursor, then in states:
        pages = {gid: hub.pull(gid, cursor, limit=LIMIT_MAX)["facts"] for gid in lab.gids}
        held = {gid: overlay(then[gid], pages[gid]) for gid in lab.gids}
        judge.same(lab.cells(now), lab.cells(held))
        told, facts = lab.cells(pages), lab.cells(now)
        judge.same({cell: facts[cell] for cell in told if cell in facts}, told)
    rest = lab.cells({gid: hub.pull(gid, hub.head)["facts"] for gid in lab.gids})
    judge.same({}, rest)


def _e4(lab: Lab, case: Case) -> None:
    """A reader stops in the middle of the log, and goes on when it has grown."""
    judge = _Judge(lab, "E4", case.log)
    hub = lab.hub(case.log[: case.at])
    starts = range(hub.head + 1)
    middle = {(gid, start): hub.pull(gid, start) for gid in lab.gids for start in starts}
    for number, event in enumerate(case.log[case.at :]):
        hub.ingest(f"m{number}", [event])
    for (gid, start), page in middle.items():
        rest = hub.pull(gid, page["cursor"])
        once, twice = hub.pull(gid, start)["facts"], overlay(page["facts"], rest["facts"])
        judge.same(lab.cells({gid: once}), lab.cells({gid: twice}))


def _e5(lab: Lab, case: Case) -> None:
    """A reader of an old cursor may know more than that already, from whomever."""
    judge = _Judge(lab, "E5", case.log)
    hub, states = _states(lab, case)
    now = lab.cells(states[-1][1])
    for place, (cursor, _) in enumerate(states):
        pages = {gid: hub.pull(gid, cursor, limit=LIMIT_MAX)["facts"] for gid in lab.gids}
        for _, more in states[place:]:
            judge.same(now, lab.cells({gid: overlay(more[gid], pages[gid]) for gid in lab.gids}))


def _e6(lab: Lab, case: Case) -> None:
    """Which cells an event makes grow is found here, by joining; the Hub must poke for these."""
    judge = _Judge(lab, "E6", case.log)
    hub, held = lab.hub(), Elements()
    for batch_id, events in case.batches(case.log):
        cursor, grew = hub.head, set[CellAt]()
        trial = hub.replayed()
        for event in events:
            grew |= _join(lab, held, _said(judge, trial, event))
            trial.ingest(f"{batch_id}-{trial.head}", [event])
        receipt = hub.ingest(batch_id, events)
        told, poked = set(receipt["pokes"]), set(hub.pokes)
        for gid in lab.gids:
            mine = sorted(cell for cell in grew if cell.gid == gid)
            first = mine[0] if mine else None
            for place, gids in (("the receipt", told), ("the pokes", poked)):
                if (gid in gids) != bool(mine):
                    said = f"{len(mine)} cells of `{gid}` grew, and {place} name {sorted(gids)}"
                    raise judge.broken(said, first)
            page = {CellAt(gid, *cell) for cell in cells(hub.pull(gid, cursor)["facts"])}
            if page != set(mine):
                wrong = sorted(page ^ set(mine))[0]
                raise judge.broken("a pull tells another cell than those that grew", wrong)


def _e7(lab: Lab, case: Case) -> None:
    """One Hub lives on, the others are rebuilt: in the middle, at the end, from a snapshot."""
    judge = _Judge(lab, "E7", case.log)
    steady, restarted = lab.hub(), lab.hub()
    taken = steady.snapshot()
    for number, event in enumerate(case.log):
        if number == case.at:
            restarted.restart()
            taken = steady.snapshot()
        for hub in (steady, restarted):
            hub.ingest(f"e{number}", [event])
    for other in (restarted, steady.replayed(), steady.restored(taken)):
        judge.same(facts_of(steady, lab), facts_of(other, lab))
        for gid in lab.gids:
            for cursor in range(steady.head + 1):
                is_same = steady.pages(gid, cursor) == other.pages(gid, cursor)
                judge.is_so(is_same, f"`{gid}` answers cursor {cursor} otherwise after a restart")


class Law(NamedTuple):
    """A law, and the check of one case."""

    statement: str
    check: Callable[[Lab, Any], None]


LAWS: Final[dict[str, Law]] = {
    "WF": Law("what is ill-formed is refused whole, by the name of the field", _wf),
    "M1": Law("what an event says is a total function of this event", _m1),
    "M2": Law("facts are the join of what each event says", _m2),
    "M3": Law("order, batching and repeats do not matter", _m3),
    "E1": Law("registered late is registered early", _e1),
    "E2": Law("a prefix of the log is below the whole", _e2),
    "E3": Law("what is known joined with what changed since is what is known now", _e3),
    "E4": Law("pulls compose", _e4),
    "E5": Law("a reader who knows more is told right", _e5),
    "E6": Law("a poke comes if and only if a cell grew", _e6),
    "E7": Law("a restart in between changes nothing", _e7),
    "REACH": Law("every column is said something by some event", lambda lab, case: None),
}
"""The laws by number. `WF` and `REACH` are ours: well-formedness, and that no check is empty."""
