"""A reference model of generators: what the facts of a set of events must be.

Written from the design alone (lattices, events, generators) and sharing no code with the package,
so that a mistake in either is found by comparing the two. It is slow and plain on purpose: a
fact is the join of what each event says, and every join is one line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = Any
Cell = tuple[str, str, str]
"""Table, row key, column."""

ONCE_MAX = 4
SET_MAX = 1024


@dataclass(frozen=True)
class Event:
    """One event of the log in its stored form; `seq` is its place there."""

    kind: str
    at: int
    ctx: dict[str, Json]
    spec: dict[str, Json]
    seq: int = 0


def text(value: Json) -> str:
    """The canonical JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def rank(value: Json) -> tuple[int, Any]:
    """The total order of values: false < true < Int < Float < String < List and Map."""
    match value:
        case bool():
            return (0, value)
        case int():
            return (1, value)
        case float():
            return (2, value + 0.0)
        case str():
            return (3, value.encode())
        case _:
            return (4, text(value).encode())


def task_set(ranges: str) -> frozenset[int] | None:
    """The numbers of a range list, or None where it is none."""
    numbers: set[int] = set()
    for part in ranges.split(",") if ranges else ():
        low, dash, high = part.partition("-")
        if not (
            low.isascii() and low.isdigit() and ((high.isascii() and high.isdigit()) or not dash)
        ):
            return None
        numbers.update(range(int(low), int(high or low) + 1))
        if dash and int(low) > int(high):
            return None
    return frozenset(numbers)


def ranges(numbers: frozenset[int]) -> str:
    """The canonical range list of a set."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


# The elements of the lattices. None is the bottom of each of them, beside False for
# `or` and the empty set for `tasks`.


def element(lattice: str, join: Json, event: Event) -> Any:
    """What one event says in a column, as an element of the column's lattice; None: nothing."""
    if lattice == "epoch":
        at, (inner, value) = read(join["at"], event), next(iter(join["join"].items()))
        said = element(inner, value, event)
        return None if at is None or said is None else (rank(at), at, inner, said)
    if lattice == "map":
        key, (inner, value) = row_key(join["key"], event), next(iter(join["join"].items()))
        said = element(inner, value, event)
        return None if key is None or said is None else (inner, {key: said})
    if lattice == "finite":
        name = read(join["value"], event)
        return None if name is None else (join["order"], name)
    value = read(join, event)
    return None if value is None else _ELEMENTS[lattice](value, event)


def _amount(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


# An element that an event adds to is another one, also where the reading is the same.
_ELEMENTS: dict[str, Callable[[Json, Event], Any]] = {
    "max": lambda value, event: (rank(value), value),
    "min": lambda value, event: (rank(value), value),
    "or": lambda value, event: value if isinstance(value, bool) else None,
    "once": lambda value, event: ({rank(value): value}, False),
    "set": lambda value, event: ({rank(value): value}, False),
    "last": lambda v, event: (event.at, event.ctx.get("node_id", "").encode(), rank(v), v),
    "tasks": lambda value, event: task_set(value) if isinstance(value, str) else None,
    "count": lambda value, event: (1, _amount(value)) if _amount(value) > 0 else None,
    "sum": lambda value, event: (1, _amount(value)) if _amount(value) else None,
}


def join(lattice: str, a: Any, b: Any) -> Any:
    """The join of two elements."""
    if a is None or b is None:
        return b if a is None else a
    if lattice == "epoch" and a[0] == b[0]:
        return (*a[:3], join(a[2], a[3], b[3]))
    if lattice == "map":
        both = {key: join(a[0], a[1].get(key), b[1].get(key)) for key in {*a[1], *b[1]}}
        return (a[0], both)
    if lattice == "finite":
        return (a[0], least_bound(a[0], a[1], b[1]))
    return _JOINS[lattice](a, b)


def reachable(order: dict[str, list[str]], name: str) -> set[str]:
    """The elements of a diagram that are at least one of them."""
    found = {name}
    for above in order.get(name, ()):
        found |= reachable(order, above)
    return found


def least_bound(order: dict[str, list[str]], a: str, b: str) -> str:
    """The least upper bound: of all bounds the one from which all others are reached."""
    bounds = reachable(order, a) & reachable(order, b)
    (least,) = (name for name in bounds if bounds <= reachable(order, name))
    return least


def is_bottom(lattice: str, x: Any) -> bool:
    """Whether an element says nothing."""
    if x is None or x is False or x == frozenset():
        return True
    if lattice == "map":
        return all(is_bottom(x[0], inner) for inner in x[1].values())
    if lattice == "finite":
        return {*x[0], *(n for above in x[0].values() for n in above)} <= reachable(x[0], x[1])
    return False


def _capped(most: int) -> Callable[[Any, Any], Any]:
    def union(a: Any, b: Any) -> Any:
        values = a[0] | b[0]
        kept = {key: values[key] for key in sorted(values)[:most]}
        return (kept, a[1] or b[1] or len(kept) < len(values))

    return union


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    "max": lambda a, b: max(a, b, key=lambda x: x[:-1]),
    "last": lambda a, b: max(a, b, key=lambda x: x[:-1]),
    "min": lambda a, b: min(a, b, key=lambda x: x[:-1]),
    "or": lambda a, b: a or b,
    "once": _capped(ONCE_MAX),
    "set": _capped(SET_MAX),
    "tasks": lambda a, b: a | b,
    "count": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sum": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "epoch": lambda a, b: max(a, b, key=lambda x: x[0]),
}


def shown(lattice: str, x: Any) -> Json:
    """What a pull shows of an element."""
    match lattice:
        case "once" | "set":
            found: Json = [x[0][key] for key in sorted(x[0])]
        case "tasks":
            found = ranges(x)
        case "count" | "sum":
            found = max(-(2**63), min(x[1], 2**63 - 1))
        case "epoch":
            found = {"at": x[1], "value": shown(x[2], x[3])}
        case "map":
            said = {key: inner for key, inner in x[1].items() if not is_bottom(x[0], inner)}
            found = {key: shown(x[0], inner) for key, inner in said.items()}
        case "or":
            found = x
        case _:
            found = x[-1]
    return found


def read(expression: Json, event: Event) -> Json:
    """What an expression is in an event; None where it is absent."""
    if isinstance(expression, dict):
        parts = {key: read(part, event) for key, part in expression.items()}
        return None if None in parts.values() else parts
    if not isinstance(expression, str) or not expression.startswith("$"):
        return expression
    part, _, name = expression[1:].partition(".")
    if part in {"ctx", "spec"}:
        return getattr(event, part).get(name)
    return getattr(event, part)


def row_key(key: Json, event: Event) -> str | None:
    """The row that a rule writes, or None where a part of its key is absent."""
    if isinstance(key, list):
        parts = [read(part, event) for part in key]
        return None if None in parts else text(parts)
    value = read(key, event)
    return value if value is None or isinstance(value, str) else text(value)


def deltas(rules: list[Json], event: Event) -> dict[Cell, tuple[str, Any]]:
    """What one event says: for each cell its lattice and an element of it."""
    said: dict[Cell, tuple[str, Any]] = {}
    for rule in rules:
        kinds = [rule["on"]] if isinstance(rule["on"], str) else rule["on"]
        conditions = rule.get("where", {}).items()
        row = row_key(rule["key"], event)
        holds = all(
            (value := read(field, event)) is not None and rank(value) == rank(wanted)
            for field, wanted in conditions
        )
        if event.kind not in kinds or not holds or row is None:
            continue
        for column, ((lattice, value),) in ((c, j.items()) for c, j in rule["join"].items()):
            cell = (rule["table"], row, column)
            found = join(
                lattice, said.get(cell, (lattice, None))[1], element(lattice, value, event)
            )
            # A bottom says nothing by itself; in an epoch it says that the epoch has begun.
            if not is_bottom(lattice, found):
                said[cell] = (lattice, found)
    # What the rules say of one event is added up before it counts: no amount is no change.
    tallies = {cell for cell, (lattice, _) in said.items() if lattice in {"count", "sum"}}
    for cell in tallies:
        lattice, (_, amount) = said.pop(cell)
        if amount:
            said[cell] = (lattice, (1, amount))
    return said


@dataclass
class Facts:
    """The join of what events say, event by event."""

    rules: list[Json]
    cells: dict[Cell, tuple[str, Any]] = field(default_factory=dict)

    def add(self, event: Event) -> set[Cell]:
        """Joins one event in; the cells that grew."""
        grew = set()
        for cell, (lattice, said) in deltas(self.rules, event).items():
            before = self.cells.get(cell, (lattice, None))[1]
            after = join(lattice, before, said)
            if after != before:
                self.cells[cell] = (lattice, after)
                grew.add(cell)
        return grew

    def shown(self) -> dict[str, dict[str, dict[str, Json]]]:
        """The facts as a pull from cursor 0 shows them."""
        tables: dict[str, dict[str, dict[str, Json]]] = {}
        for (table, row, column), (lattice, x) in self.cells.items():
            tables.setdefault(table, {}).setdefault(row, {})[column] = shown(lattice, x)
        return tables

    def overflow(self) -> set[Cell]:
        """The cells that hold fewer values than were said."""
        return {cell for cell, (lattice, x) in self.cells.items() if _overflowed(lattice, x)}


def _overflowed(lattice: str, x: Any) -> bool:
    if lattice == "map":
        return any(_overflowed(x[0], inner) for inner in x[1].values())
    return _overflowed(x[2], x[3]) if lattice == "epoch" else lattice in {"once", "set"} and x[1]
