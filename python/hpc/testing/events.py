"""Events of a namespace, made from its schema by Hypothesis: well-formed ones, and ill-formed ones.

Few names and few values, so that events meet in rows and cells; what a rule compares with, and the
edges of what a field takes, are among them. An ill-formed event is a well-formed one that is wrong
in one place, and comes with the name of the field that a refusal must tell.

Not made: kinds that only the Hub writes, and those about nodes; a rule over these alone is not
judged. Jobs have an id, since one that the Hub numbers depends on the order of the events.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from hpc.domain import FieldSpec, GeneratorSpec, NamespaceSpec
from hpc.testing.small_hub import WALL_MS

Json = Any
Strategy = st.SearchStrategy[Json]
Hints = Mapping[str, Sequence[Json]]
"""What rules compare an expression with: `{"$spec.kind": ["nightly"]}`."""

NODES: Final = ["n1", "n2", "n10"]
JOBS_MAX: Final = 3
FEW: Final = 3
"""Every second String is one of so many, so that events meet in rows."""

EXTRA_CHARS_MAX: Final = 4
TASK_LISTS: Final = ["0", "0-3", "2-5,9", "7", "1,3"]
WORDS: Final = ["", "a", "b", "ab", "ä", 'z\n"', "\U0001f600", *TASK_LISTS]
REPORTS: Final = ("CancelJob", "JobStarted", "JobFinished", "TasksReturned")
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

ABSENT: Final = object()
"""In place of a value: the key is left out."""

_SCALARS: Strategy = (
    st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 0.5, -2.5]) | st.sampled_from(WORDS)
)


class Wrong(NamedTuple):
    """An event that must be refused, and the field that the refusal must name."""

    event: Json
    field: str


class Maker(NamedTuple):
    """One kind of event that can be made.

    Attributes:
        kernel: The kernel's kind that it is, or None.
        fields: Its schema; empty for reports, whose schema is the kernel's.
        is_open: Whether it takes other fields too.
        placed: Fields by which the Hub places tasks, with what it takes beyond their types.
    """

    ns_id: str
    kind: str
    kernel: str | None
    fields: Sequence[FieldSpec]
    is_open: bool
    placed: Mapping[str, Strategy] = {}

    @property
    def is_submit(self) -> bool:
        """Whether a job begins with it."""
        return self.kernel == "SubmitJob"


def makers(namespace: NamespaceSpec, generators: Sequence[GeneratorSpec]) -> list[Maker]:
    """Return the kinds of a namespace of which events can be made."""
    found = []
    for kind, fields in namespace.schema.items():
        kernel = "SubmitJob" if kind == "SubmitJob" else namespace.acts_as.get(kind)
        if kernel in {None, "SubmitJob"}:
            placed = _placed(namespace) if kernel == "SubmitJob" else {}
            is_open = kind in namespace.open
            found.append(Maker(namespace.ns_id, kind, kernel, fields, is_open, placed))
    if any(maker.is_submit for maker in found):
        own = {kind: kernel for kind, kernel in namespace.acts_as.items() if kernel in REPORTS}
        read = {kind for generator in generators for kind in kinds_read(generator)}
        reports = own | {kind: kind for kind in REPORTS if kind in read}
        found += [Maker(namespace.ns_id, kind, as_, (), False) for kind, as_ in reports.items()]
    return found


def _placed(namespace: NamespaceSpec) -> dict[str, Strategy]:
    """Return what the Hub takes of the fields by which it places tasks."""
    names = st.sampled_from([name for name in ("A", "fpgas") if name not in namespace.resources])
    placed = {
        "*": st.dictionaries(names, st.integers(1, 2), max_size=2),
        "require": st.dictionaries(st.sampled_from(["zone", "A"]), st.sampled_from(WORDS)),
        "nodes": st.lists(st.sampled_from(NODES), max_size=2),
        "exclude": st.lists(st.sampled_from(NODES), max_size=2),
    }
    read = {"*": namespace.resources.get("*"), **namespace.placement}
    return {
        str(expression).removeprefix("$spec."): placed[what]
        for what, expression in read.items()
        if what in placed and expression is not None
    }


def kinds_read(generator: GeneratorSpec) -> set[str]:
    """Return the kinds that the rules of a generator read."""
    return {kind for rule in generator.rules for kind in kinds_of(rule)}


def kinds_of(rule: Mapping[str, Json]) -> list[str]:
    """Return the kinds that a rule reads."""
    on = rule["on"]
    return [on] if isinstance(on, str) else list(on)


def hints(generators: Sequence[GeneratorSpec]) -> dict[str, list[Json]]:
    """Return what the conditions of the rules compare with, by expression."""
    found: dict[str, list[Json]] = {}
    for generator in generators:
        for rule in generator.rules:
            for expression, value in rule.get("where", {}).items():
                found.setdefault(expression, []).append(value)
    return found


# Well-formed values of one field.


def values(field: FieldSpec, hinted: Sequence[Json] = ()) -> Strategy:
    """Return a strategy of what a field takes."""
    if field.one_of is not None:
        allowed = [value for value in field.one_of if _is_within(field, value)]
        return st.sampled_from(allowed)
    made = _BY_TYPE[field.expected_type](field)
    taken = [value for value in hinted if _has_type(field, value) and _is_within(field, value)]
    return _half(taken, made)


def _half(some: Sequence[Json], others: Strategy) -> Strategy:
    """Return a strategy of which every second value is one of some, where there are any."""
    return (
        st.booleans().flatmap(lambda b: st.sampled_from(some) if b else others) if some else others
    )


def _ints(field: FieldSpec) -> Strategy:
    low = INT_MIN if field.min is None else math.ceil(field.min)
    high = INT_MAX if field.max is None else math.floor(field.max)
    near = st.integers(max(low, min(-3, high)), min(high, max(3, low + 3)))
    edges = [edge for edge in (low, high) if abs(edge) < 2**53]  # bounds are compared as floats
    numbers = (
        near | st.sampled_from([*edges, *[n for n in (2**40, -(2**40)) if low <= n <= high]])
        if edges or low <= 2**40 <= high
        else near
    )
    return numbers | near.map(str)


def _floats(field: FieldSpec) -> Strategy:
    low = -math.inf if field.min is None else float(field.min)
    high = math.inf if field.max is None else float(field.max)
    edges = [edge for edge in (low, high) if math.isfinite(edge)]
    few = [x for x in (0.0, -0.0, 0.5, 1.0, 1, -2.5, 1e15, *edges) if low <= x <= high]
    finite = st.floats(
        None if math.isinf(low) else low,
        None if math.isinf(high) else high,
        allow_nan=False,
        allow_infinity=False,
    )
    return st.sampled_from(few) | finite if few else finite


def _lengths(field: FieldSpec) -> tuple[int, int]:
    low = 0 if field.min is None else max(0, math.ceil(field.min))
    high = low + EXTRA_CHARS_MAX
    return low, high if field.max is None else min(high, math.floor(field.max))


def _strings(field: FieldSpec) -> Strategy:
    low, high = _lengths(field)
    fitting = [word for word in WORDS if low <= len(word) <= high]
    made: Strategy = st.text("abä", min_size=low, max_size=high)
    return _half(fitting[:FEW], st.sampled_from(fitting) | made if fitting else made)


def _lists(field: FieldSpec) -> Strategy:
    low, high = _lengths(field)
    inner = st.sampled_from(WORDS) if field.format == "argv" else _SCALARS
    return st.lists(inner, min_size=low, max_size=max(low, min(high, low + 2)))


def _maps(field: FieldSpec) -> Strategy:
    low, high = _lengths(field)
    keys = st.text("KAB", min_size=1, max_size=max(2, low))
    inner = st.sampled_from(WORDS) if field.format == "env" else _SCALARS
    return st.dictionaries(keys, inner, min_size=low, max_size=max(low, min(high, low + 2)))


_BY_TYPE: Final[dict[str, Callable[[FieldSpec], Strategy]]] = {
    "String": _strings,
    "Int": _ints,
    "Float": _floats,
    "Bool": lambda _: st.booleans(),
    "List": _lists,
    "Map": _maps,
}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "String": (str,),
    "Int": (int,),
    "Float": (int, float),
    "Bool": (bool,),
    "List": (list,),
    "Map": (dict,),
}


def _has_type(field: FieldSpec, value: Json) -> bool:
    is_bool = isinstance(value, bool)
    return isinstance(value, _TYPES[field.expected_type]) and is_bool == (
        field.expected_type == "Bool"
    )


def _is_within(field: FieldSpec, value: Json) -> bool:
    if field.expected_type in {"Int", "Float"}:
        size: float = float(value)
    elif field.expected_type == "Bool":
        return True
    else:
        size = len(value)
    above = field.min is None or size >= field.min
    return above and (field.max is None or size <= field.max)


# Well-formed events.


def specs(maker: Maker, hinted: Hints) -> Strategy:
    """Return a strategy of the specs of a kind."""
    if not maker.fields and maker.kernel in REPORTS:
        return _REPORT_SPECS[maker.kernel]
    made = {
        field.key: values(field, hinted.get(f"$spec.{field.key}", ())) for field in maker.fields
    } | dict(maker.placed)
    required = {field.key for field in maker.fields if field.required}
    optional = {key: made[key] for key in made if key not in required}
    if maker.is_open:
        named = {name.removeprefix("$spec.") for name in hinted if name.startswith("$spec.")}
        for key in sorted((named | {"extra"}) - made.keys()):
            optional[key] = _half(list(hinted.get(f"$spec.{key}", ())), _SCALARS)
    return _mapping({key: made[key] for key in made if key in required}, optional)


_ENDED: Strategy = st.fixed_dictionaries(
    {"exit_code": st.integers(0, 2)},
    optional={"finished_at": st.integers(0, 9), "started_at": st.integers(0, 9)},
)
_REPORT_SPECS: Final[dict[str, Strategy]] = {
    "CancelJob": st.fixed_dictionaries({}, optional={"reason": st.sampled_from(["a", "b"])}),
    "JobStarted": st.fixed_dictionaries({}, optional={"started_at": st.integers(0, 9)}),
    "JobFinished": _ENDED,
    "TasksReturned": st.fixed_dictionaries(
        {"reason": st.sampled_from(["fence", "drain", "given_back"])}
    ),
}


def contexts(maker: Maker, hinted: Hints) -> Strategy:
    """Return a strategy of the contexts of a kind; a submit's and a report's has its job."""

    def among(key: str, made: Strategy) -> Strategy:
        return _half(list(hinted.get(f"$ctx.{key}", ())), made)

    ids = among("job_id", st.sampled_from([job_id(maker, n) for n in range(JOBS_MAX)]))
    optional = {
        "priority": among("priority", st.integers(-1, 1)),
        "name": among("name", st.sampled_from(WORDS)),
        "tasks": among("tasks", st.sampled_from(TASK_LISTS)),
        "target": among("target", st.sampled_from(["g1", "g2"])),
        "slots": among("slots", st.integers(1, 3)),
    }
    lease = {
        "node_id": among("node_id", st.sampled_from(NODES)),
        "attempt": among("attempt", st.integers(1, 3)),
        "epoch": among("epoch", st.integers(1, 3)),
    }
    required: dict[str, Strategy] = {"ns_id": st.just(maker.ns_id)}
    if maker.kernel is None:
        optional |= lease | {"job_id": ids}
    elif maker.is_submit or maker.kernel == "CancelJob":
        required["job_id"] = ids
    else:
        required |= lease | {"job_id": ids, "tasks": optional.pop("tasks")}
    return _mapping(required, optional)


def _mapping(required: Mapping[str, Strategy], optional: Mapping[str, Strategy]) -> Strategy:
    """Return a strategy of maps in which every optional key is there at least every second time.

    Where there are many, `fixed_dictionaries` alone takes few of them.
    """
    maybe = {key: st.just(ABSENT) | made for key, made in optional.items()}
    whole = st.fixed_dictionaries({**required, **maybe})
    return whole.map(lambda m: {key: value for key, value in m.items() if value is not ABSENT})


def job_id(maker: Maker, number: int) -> str:
    """Return the id of a job; jobs of different kinds have different ones."""
    return f"job-{maker.ns_id}-{number}"


def events(maker: Maker, hinted: Hints) -> Strategy:
    """Return a strategy of well-formed events of a kind, with their times; some are of one time."""
    at = _half(list(hinted.get("$at", ())), st.integers(0, 4) | st.just(WALL_MS))
    payload = st.fixed_dictionaries({"ctx": contexts(maker, hinted), "spec": specs(maker, hinted)})
    return st.fixed_dictionaries({"kind": st.just(maker.kind), "at": at, "payload": payload})


def logs(kinds: Sequence[Maker], hinted: Hints, *, most: int) -> st.SearchStrategy[list[Json]]:
    """Return a strategy of logs of these kinds; a job is submitted before it is spoken of.

    Submits of one job have one kind and one spec: another one would be refused as a conflict. Of
    two events of a kind the second is often much like the first, so that they meet in cells.
    """
    # Built once, since drawing from a strategy costs less than making one.
    made = {(maker.ns_id, maker.kind): events(maker, hinted) for maker in kinds}
    by_kind = {(maker.ns_id, maker.kind): maker for maker in kinds}
    submits = {
        ns_id: st.one_of([made[key] for key in made if by_kind[key].is_submit and key[0] == ns_id])
        for ns_id in {maker.ns_id for maker in kinds if maker.is_submit}
    }
    one = st.one_of(list(made.values()))
    mixed = st.lists(one, min_size=most // 2, max_size=most)
    alike = [st.lists(made[key], min_size=most // 2, max_size=most) for key in made]
    lists = st.lists(one, max_size=2) | mixed | st.sampled_from(alike).flatmap(lambda kind: kind)
    masks = st.integers(0, 2**16 - 1)

    @st.composite
    def log(draw: st.DrawFn) -> list[Json]:
        first: dict[str, Json] = {}
        newest: dict[tuple[str, str], Json] = {}
        told: list[Json] = []
        for event in draw(lists):
            ctx = event["payload"]["ctx"]
            key = (ctx["ns_id"], event["kind"])
            maker = by_kind[key]
            if maker.kernel is None and key in newest and draw(st.booleans()):
                _liken(event, newest[key], draw(masks))
            newest[key] = event
            name = ctx.get("job_id")
            if maker.kernel is not None and name not in first:
                submit = event
                if not maker.is_submit:
                    submit = draw(submits[maker.ns_id])
                    submit["payload"]["ctx"]["job_id"] = name
                    told.append(submit)
                first[name] = submit
            elif maker.is_submit:
                ctx["ns_id"] = first[name]["payload"]["ctx"]["ns_id"]
                event["kind"] = first[name]["kind"]
                event["payload"]["spec"] = first[name]["payload"]["spec"]
            told.append(event)
        return told

    return log()


def _liken(event: Json, before: Json, mask: int) -> None:
    """Give an event some fields of another of its kind, by the bits of a mask."""
    for part in ("ctx", "spec"):
        mine, theirs = event["payload"][part], before["payload"][part]
        for place, key in enumerate(sorted(mine.keys() | theirs.keys())):
            if mask >> (place % 16) & 1 and key in theirs:
                mine[key] = theirs[key]


# Ill-formed events.


def wrongs(kinds: Sequence[Maker], hinted: Hints) -> st.SearchStrategy[Wrong]:
    """Return a strategy of events that are wrong in one place."""
    ways = [
        st.tuples(
            events(maker, hinted), st.sampled_from([*_wrong_envelopes(), *_wrong_fields(maker)])
        )
        for maker in kinds
        if maker.kernel not in REPORTS
    ]
    return st.one_of(ways).map(lambda drawn: _spoilt(*drawn))


def _spoilt(event: Json, way: tuple[str, str, Json]) -> Wrong:
    part, key, value = way
    where = {"": event, "ctx": event["payload"]["ctx"], "spec": event["payload"]["spec"]}[part]
    if value is ABSENT:
        where.pop(key, None)
    else:
        where[key] = value
    return Wrong(event, f"{part}.{key}" if part else key)


def _wrong_envelopes() -> Iterator[tuple[str, str, Json]]:
    yield "", "at", -1
    yield "", "kind", "NoSuchKind"
    yield "ctx", "no_such_field", 1
    yield "ctx", "priority", "high"
    yield "ctx", "name", 7


def _wrong_fields(maker: Maker) -> Iterator[tuple[str, str, Json]]:
    if not maker.is_open:
        yield "spec", "no-such-field", 1
    for field in maker.fields:
        for value in _wrong_values(field):
            yield "spec", field.key, value


def _wrong_values(field: FieldSpec) -> Iterator[Json]:
    """What a field must refuse: absence, another type, beyond its bounds, not in its list."""
    if field.required:
        yield ABSENT
    others = {"String": 5, "Int": "two", "Float": "x", "Bool": 1, "List": {}, "Map": []}
    yield others[field.expected_type]
    if field.expected_type == "Int":
        yield 0.5
    yield from _beyond(field)
    if field.one_of is not None and field.expected_type == "String":
        yield "no such value"
    formats: dict[str, Json] = {"text": "a\0", "argv": ["a\0"], "env": {"A=B": "x"}}
    if field.format is not None:
        yield formats[field.format]


LENGTH_MAX: Final = 10_000
"""Longer Strings, Lists and Maps are not made to see them refused."""


def _beyond(field: FieldSpec) -> Iterator[Json]:
    if field.expected_type in {"Int", "Float"}:
        if field.min is not None and field.min > INT_MIN:
            yield math.ceil(field.min) - 1
        if field.max is not None and field.max < 2**53:
            yield math.floor(field.max) + 1
        return
    longer: dict[str, Callable[[int], Json]] = {
        "String": lambda n: "a" * n,
        "List": lambda n: ["a"] * n,
        "Map": lambda n: {f"K{i}": "a" for i in range(n)},
    }
    make = longer.get(field.expected_type)
    if make is not None and field.min is not None and field.min > 0:
        yield make(math.ceil(field.min) - 1)
    if make is not None and field.max is not None and field.max < LENGTH_MAX:
        yield make(math.floor(field.max) + 1)
