"""Rules and events for the laws: few names and few values, so that they meet."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from model import Event

Json = Any

LAB = {
    "schema": {
        "Said": [
            {"key": "s", "expected_type": "String"},
            {"key": "i", "expected_type": "Int"},
            {"key": "f", "expected_type": "Float"},
            {"key": "b", "expected_type": "Bool"},
            {"key": "l", "expected_type": "List"},
            {"key": "m", "expected_type": "Map"},
            {"key": "t", "expected_type": "String"},
            {"key": "d", "expected_type": "Int", "default": 7},
            {"key": "p", "expected_type": "String", "one_of": ["run", "ok", "bad", "both"]},
        ],
        "Heard": {"fields": [{"key": "s", "expected_type": "String"}], "open": True},
    }
}

INTS = st.integers(-3, 3) | st.sampled_from([2**62, -(2**62)])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.5, -2.5, 1e15, 0.0001])
STRINGS = st.sampled_from(["", "a", "b", "ab", "ä", 'z\n"', "\U0001f600", "\uffff"])
TASKS = st.sampled_from(["0", "0-3", "2-5,9", "7", "1,3,5", "x", "5-1", "1-"])
SCALARS = INTS | FLOATS | STRINGS | st.booleans()
LISTS = st.lists(SCALARS, max_size=2)
MAPS = st.dictionaries(st.sampled_from(["k", "a", "ä"]), SCALARS, max_size=2)

SPECS = {
    "Said": st.fixed_dictionaries(
        {},
        optional={
            "s": STRINGS,
            "i": INTS | INTS.map(str),
            "f": FLOATS | st.integers(-2, 2),
            "b": st.booleans(),
            "l": LISTS,
            "m": MAPS,
            "t": TASKS,
            "d": INTS,
            "p": st.sampled_from(["run", "ok", "bad", "both"]),
        },
    ),
    "Heard": st.fixed_dictionaries(
        {}, optional={"s": STRINGS, "i": SCALARS | LISTS | st.none(), "t": SCALARS | TASKS}
    ),
}
CTXS = st.fixed_dictionaries(
    {"ns_id": st.just("lab")},
    optional={
        "node_id": st.sampled_from(["n1", "n2", "n10"]),
        "priority": st.integers(-1, 1),
        "name": STRINGS,
        "tasks": st.sampled_from(["0", "0-3", "4"]),
    },
)


@st.composite
def sent_events(draw: st.DrawFn) -> Json:
    """One event as a producer sends it, with its time."""
    kind = draw(st.sampled_from(["Said", "Said", "Heard"]))
    payload = {"ctx": draw(CTXS), "spec": draw(SPECS[kind])}
    return {"kind": kind, "at": draw(st.integers(0, 4)), "payload": payload}


LOGS = st.lists(sent_events(), max_size=5) | st.lists(sent_events(), min_size=12, max_size=30)


def _normal(value: Json) -> Json:
    """-0.0 is 0.0, wherever it stands."""
    match value:
        case float():
            return value + 0.0
        case list():
            return [_normal(part) for part in value]
        case dict():
            return {key: _normal(part) for key, part in value.items()}
    return value


def stored(sent: Json, seq: int = 0) -> Event:
    """The form in which an event is stored: converted and completed as its schema says."""
    spec = {key: _normal(value) for key, value in sent["payload"]["spec"].items()}
    if sent["kind"] == "Said":
        spec.setdefault("d", 7)
        if isinstance(spec.get("i"), str):
            spec["i"] = int(spec["i"])
        if "f" in spec:
            spec["f"] = float(spec["f"])
    return Event(sent["kind"], sent["at"], sent["payload"]["ctx"], spec, seq)


_VALUES = {
    "max": ["$spec.i", "$spec.f", "$spec.s", "$at", "$ctx.priority", 2, "lit"],
    "min": ["$spec.i", "$spec.f", "$spec.s", "$at", "$kind"],
    "or": ["$spec.b", True, False],
    "once": [
        "$spec.s",
        "$spec.s",
        "$spec.d",
        "$spec.i",
        "$spec.l",
        {"a": "$spec.i", "b": "$ctx.node_id"},
        1.5,
    ],
    "last": ["$spec.i", "$spec.m", "$spec.b", "$spec.s", "$ctx.name", "$kind"],
    "set": ["$spec.f", "$spec.i", "$spec.l", "$ctx.node_id", "$at"],
    "tasks": ["$ctx.tasks", "$spec.t"],
    "count": [1, 3, "$spec.i", "$spec.d"],
    "sum": [1, -1, "$spec.i", "$ctx.priority"],
}
_NESTED = ["max", "or", "once", "last", "tasks", "set"]
_ORDER = {"run": ["ok", "bad"], "ok": ["both"], "bad": ["both"]}
# Most rules write few rows, so that what events say is joined.
_KEYS = [
    *["all", "$ctx.node_id"] * 4,
    *["$spec.s", "$spec.i", "$spec.f", "$spec.b", 5, "$kind"],
    *[["$ctx.node_id", "$spec.i"], ["$kind"], ["$spec.f", "$spec.s", "x"]],
]
_WHERE = [
    *[{}] * 8,
    *[{"$spec.i": 1}, {"$spec.f": 1}, {"$spec.f": 1.0}, {"$spec.s": "a"}, {"$kind": "Said"}],
    *[{"$spec.b": True, "$ctx.node_id": "n1"}, {"$spec.l": [1]}, {"$at": 2}, {"$spec.b": 1}],
]


@st.composite
def rules(draw: st.DrawFn, *, with_seq: bool = False) -> Json:
    """One rule; a column is named for its lattice, so that no two rules quarrel."""
    on = draw(st.sampled_from([["Said"], ["Heard"], ["Said", "Heard"]]))
    join: dict[str, Json] = {}
    for lattice in sorted(draw(st.sets(st.sampled_from(sorted(_VALUES)), min_size=2, max_size=6))):
        values = _VALUES[lattice] + (["$seq"] if with_seq and lattice in {"max", "last"} else [])
        join[lattice] = {lattice: draw(st.sampled_from(values))}
    for lattice in sorted(draw(st.sets(st.sampled_from(_NESTED), max_size=2))):
        at = draw(st.sampled_from(["$spec.d", "$ctx.priority", "$spec.s"]))
        value = draw(st.sampled_from(_VALUES[lattice]))
        join[f"epoch_{lattice}"] = {"epoch": {"at": at, "join": {lattice: value}}}
    for lattice in sorted(draw(st.sets(st.sampled_from(_NESTED), max_size=1))):
        key = draw(st.sampled_from(["$spec.s", "$spec.d", "$kind"]))
        inner = {lattice: draw(st.sampled_from(_VALUES[lattice]))}
        if draw(st.booleans()):
            inner = {"epoch": {"at": "$spec.d", "join": inner}}
        join[f"map_{lattice}_{len(inner)}{'epoch' in inner}"] = {"map": {"key": key, "join": inner}}
    if on == ["Said"] and draw(st.booleans()):
        join["finite"] = {"finite": {"order": _ORDER, "value": "$spec.p"}}
    rule = {
        "on": on if len(on) > 1 or draw(st.booleans()) else on[0],
        "table": draw(st.sampled_from(["t1", "t2"])),
        "key": draw(st.sampled_from(_KEYS)),
        "join": join,
    }
    where = draw(st.sampled_from(_WHERE))
    return rule | ({"where": where} if where else {})


RULES = st.lists(rules(), min_size=1, max_size=4)
RULES_WITH_SEQ = st.lists(rules(with_seq=True), min_size=1, max_size=4)


@st.composite
def batches(draw: st.DrawFn, log: list[Json]) -> list[tuple[str, list[Json]]]:
    """The log cut into batches, each with an id."""
    cuts = draw(st.sets(st.integers(1, max(1, len(log) - 1)), max_size=6))
    edges = [0, *sorted(cut for cut in cuts if cut < len(log)), len(log)]
    parts = [log[a:b] for a, b in pairwise(edges) if a < b]
    return [(f"b{number}", part) for number, part in enumerate(parts)]
