"""Joins of what a reader is shown, for the checks of `laws.py`; no part of the engine.

The engine joins in Rust and shows JSON. Here the same joins are done once more, in Python, over
what it shows of single events: so that "facts are the join of what each event says" is compared
with something. A `join` is a column's lattice as it stands in a rule, such as `{"max": "$at"}`.

What is shown says less than what is joined: a `last` needs its stamp as well, a tally the number of
its events. An **element** here has both.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

Json = Any
Join = dict[str, Any]
Element = Any

KEPT: Final = {"once": 4, "set": 1024}
"""How many values these lattices keep."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class Stamp(NamedTuple):
    """By what two values of `last` are compared before the values are."""

    at: int
    node: bytes


def text(value: Json) -> str:
    """Return the canonical text of a value; 1, 1.0 and true have different ones."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def rank(value: Json) -> tuple[int, Any]:
    """Return a key for the order of values: false < true < Int < Float < String < List, Map."""
    match value:
        case bool():
            return (0, value)
        case int():
            return (1, value)
        case float():
            return (2, value)
        case str():
            return (3, value.encode())
        case _:
            return (4, text(value).encode())


def lattice_of(join: Join) -> tuple[str, Json]:
    """Return the lattice's name and what stands behind it."""
    ((name, inside),) = join.items()
    return name, inside


def element(join: Join, shown: Json, stamp: Stamp) -> Element:
    """Return the element of which one event's delta is shown so."""
    name, inside = lattice_of(join)
    match name:
        case "last":
            said: Element = (stamp, rank(shown), shown)
        case "max" | "min":
            said = (rank(shown), shown)
        case "once" | "set":
            said = ({rank(value): value for value in shown}, False)
        case "tasks":
            said = frozenset(tasks(shown))
        case "count" | "sum":
            said = (1, shown)
        case "epoch":
            at, value = shown["at"], shown["value"]
            said = (rank(at), at, element(inside["join"], value, stamp))
        case "map":
            said = {key: element(inside["join"], value, stamp) for key, value in shown.items()}
        case _:
            said = shown
    return said


def joined(join: Join, a: Element, b: Element) -> Element:
    """Return `a ⊔ b`."""
    name, inside = lattice_of(join)
    match name:
        case "max" | "last":
            both: Element = max(a, b, key=lambda x: x[:-1])
        case "min":
            both = min(a, b, key=lambda x: x[:-1])
        case "once" | "set":
            values = a[0] | b[0]
            kept = {key: values[key] for key in sorted(values)[: KEPT[name]]}
            both = (kept, a[1] or b[1] or len(kept) < len(values))
        case "tasks" | "or":
            both = a | b
        case "count" | "sum":
            both = (a[0] + b[0], a[1] + b[1])
        case "epoch" if a[0] == b[0]:
            both = (a[0], a[1], joined(inside["join"], a[2], b[2]))
        case "epoch":
            both = max(a, b, key=lambda x: x[0])
        case "map":
            shared = {key: joined(inside["join"], a[key], b[key]) for key in a.keys() & b.keys()}
            both = a | b | shared
        case _:
            both = _least_bound(inside["order"], a, b)
    return both


def shown(join: Join, x: Element) -> Json:
    """Return what a pull shows of an element."""
    name, inside = lattice_of(join)
    match name:
        case "max" | "min" | "last":
            value: Json = x[-1]
        case "once" | "set":
            value = [x[0][key] for key in sorted(x[0])]
        case "tasks":
            value = ranges(x)
        case "count" | "sum":
            value = max(INT_MIN, min(x[1], INT_MAX))
        case "epoch":
            value = {"at": x[1], "value": shown(inside["join"], x[2])}
        case "map":
            value = {key: shown(inside["join"], inner) for key, inner in x.items()}
        case _:
            value = x
    return value


def is_overflowed(join: Join, x: Element) -> bool:
    """Return whether values were left out."""
    name, inside = lattice_of(join)
    if name == "epoch":
        return is_overflowed(inside["join"], x[2])
    if name == "map":
        return any(is_overflowed(inside["join"], value) for value in x.values())
    return name in KEPT and bool(x[1])


def is_below(join: Join, before: Json, after: Json) -> bool:
    """Return whether one value may be shown before another, where facts only grow.

    Of `last` and `sum` the reading may fall while the element grows: they are not judged.
    """
    name, inside = lattice_of(join)
    if name in {"last", "sum"}:
        return True
    if name == "epoch":
        at_before, at_after = rank(before["at"]), rank(after["at"])
        if at_before != at_after:
            return at_before < at_after
        return is_below(inside["join"], before["value"], after["value"])
    if name == "map":
        return all(
            key in after and is_below(inside["join"], value, after[key])
            for key, value in before.items()
        )
    if name == "count":
        return bool(before <= after)
    stamp = Stamp(0, b"")
    both = joined(join, element(join, before, stamp), element(join, after, stamp))
    return text(shown(join, both)) == text(after)


def tasks(range_list: str) -> set[int]:
    """Return the numbers of a range list."""
    numbers: set[int] = set()
    for part in range_list.split(",") if range_list else ():
        low, _, high = part.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return numbers


def ranges(numbers: frozenset[int]) -> str:
    """Return the canonical range list of a set."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _reachable(order: dict[str, list[str]], name: str) -> set[str]:
    found = {name}
    for above in order.get(name, ()):
        found |= _reachable(order, above)
    return found


def _least_bound(order: dict[str, list[str]], a: str, b: str) -> str:
    bounds = _reachable(order, a) & _reachable(order, b)
    (least,) = (name for name in bounds if bounds <= _reachable(order, name))
    return least
