"""The laws of the built-in lattices, proved for all values by an SMT solver.

Each lattice is written down here as formulas, from the design and not from the package: carrier,
join, bottom. The solver is asked for values that break a law; that it finds none is a proof. Where
a register is no lattice, it must find some: so that a formula that says nothing would be seen.

Integers stand for any totally ordered values; a set is an array of truth values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import z3

Term = Any
"""A value of a lattice: a tuple of solver terms."""

SOLVER_MS_MAX = 20_000


class Model(NamedTuple):
    """A lattice as formulas.

    Attributes:
        make: An arbitrary element, named.
        join: Of two elements.
        bot: The bottom.
        same: Whether two elements are equal.
        valid: Whether a term is an element at all.
    """

    make: Callable[[str], Term]
    join: Callable[[Term, Term], Term]
    bot: Term
    same: Callable[[Term, Term], Any]
    valid: Callable[[Term], Any] = lambda _: True


def optional(fields: int, greater: Callable[[Term, Term], Any]) -> Model:
    """Registers that hold a tuple or nothing, of which the greater wins."""

    def make(name: str) -> Term:
        return (z3.Bool(f"{name}?"), *(z3.Int(f"{name}{i}") for i in range(fields)))

    def join(a: Term, b: Term) -> Term:
        takes_b = z3.And(b[0], z3.Or(z3.Not(a[0]), greater(b[1:], a[1:])))
        return tuple(z3.If(takes_b, y, x) for x, y in zip(a, b, strict=True))

    def same(a: Term, b: Term) -> Any:
        equal = z3.And(*(x == y for x, y in zip(a[1:], b[1:], strict=True)))
        return z3.And(a[0] == b[0], z3.Implies(a[0], equal))

    return Model(make, join, (z3.BoolVal(False), *[z3.IntVal(0)] * fields), same)


def lexicographic(a: Term, b: Term) -> Any:
    """Whether a tuple is greater than another, first field first."""
    if len(a) == 1:
        return a[0] > b[0]
    return z3.Or(a[0] > b[0], z3.And(a[0] == b[0], lexicographic(a[1:], b[1:])))


def sets(element: Any) -> Model:
    """Sets under union, as arrays of truth values."""

    def make(name: str) -> Term:
        return (z3.Array(name, element, z3.BoolSort()),)

    def union(a: Term, b: Term) -> Term:
        return (z3.SetUnion(a[0], b[0]),)

    return Model(make, union, (z3.EmptySet(element),), lambda a, b: a[0] == b[0])


def epoch_of(inner: Model) -> Model:
    """An inner lattice under the highest key: a higher key replaces, an equal one joins."""

    def make(name: str) -> Term:
        return (z3.Bool(f"{name}?"), z3.Int(f"{name}@"), *inner.make(f"{name}."))

    def join(a: Term, b: Term) -> Term:
        both = inner.join(a[2:], b[2:])
        takes_b = z3.And(b[0], z3.Or(z3.Not(a[0]), b[1] > a[1]))
        joins = z3.And(a[0], b[0], a[1] == b[1])
        values = [
            z3.If(takes_b, y, z3.If(joins, x_y, x))
            for x, y, x_y in zip(a[2:], b[2:], both, strict=True)
        ]
        return (z3.Or(a[0], b[0]), z3.If(takes_b, b[1], a[1]), *values)

    def same(a: Term, b: Term) -> Any:
        equal = z3.And(a[1] == b[1], inner.same(a[2:], b[2:]))
        return z3.And(a[0] == b[0], z3.Implies(a[0], equal))

    return Model(make, join, (z3.BoolVal(False), z3.IntVal(0), *inner.bot), same)


def map_of(inner: Model, keys: int = 2) -> Model:
    """A lattice at each key; the laws are pointwise, so that two keys stand for any."""
    width = len(inner.bot)

    def at(x: Term, key: int) -> Term:
        return x[key * width : (key + 1) * width]

    def make(name: str) -> Term:
        return tuple(term for key in range(keys) for term in inner.make(f"{name}{key}."))

    def join(a: Term, b: Term) -> Term:
        return tuple(t for key in range(keys) for t in inner.join(at(a, key), at(b, key)))

    def same(a: Term, b: Term) -> Any:
        return z3.And(*(inner.same(at(a, key), at(b, key)) for key in range(keys)))

    return Model(make, join, inner.bot * keys, same)


MAX = optional(1, lexicographic)
MIN = optional(1, lambda a, b: a[0] < b[0])
LAST = optional(4, lexicographic)
"""Stamp, counter, node, value."""
OR = Model(
    lambda name: (z3.Bool(name),),
    lambda a, b: (z3.Or(a[0], b[0]),),
    (z3.BoolVal(False),),
    lambda a, b: a[0] == b[0],
)
TALLY = map_of(optional(2, lexicographic))
"""By Hub: seq, total."""

LATTICES = {
    "max": MAX,
    "min": MIN,
    "or": OR,
    "once and set, below their cap": sets(z3.IntSort()),
    "last": LAST,
    "tasks": sets(z3.IntSort()),
    "count and sum": TALLY,
    "epoch of max": epoch_of(MAX),
    "epoch of a set": epoch_of(sets(z3.IntSort())),
    "map of last": map_of(LAST),
    "epoch of map of max": epoch_of(map_of(MAX)),
    "map of epoch of or": map_of(epoch_of(OR)),
}


def laws(model: Model) -> dict[str, Any]:
    """The laws as formulas that must hold whatever a, b and c are."""
    a, b, c = (model.make(name) for name in "abc")
    join, same = model.join, model.same
    elements = z3.And(*(model.valid(x) for x in (a, b, c)))
    stated = {
        "associative": same(join(join(a, b), c), join(a, join(b, c))),
        "commutative": same(join(a, b), join(b, a)),
        "idempotent": same(join(a, a), a),
        "bottom is the unit": same(join(a, model.bot), a),
        "an upper bound": same(join(a, join(a, b)), join(a, b)),
        "the least upper bound": z3.Implies(
            z3.And(same(join(a, c), c), same(join(b, c), c)), same(join(join(a, b), c), c)
        ),
    }
    return {name: z3.Implies(elements, law) for name, law in stated.items()}


def counterexample(law: Any) -> Any:
    """Values that break a law; None where there are none."""
    solver = z3.Solver()
    solver.set("timeout", SOLVER_MS_MAX)
    solver.add(z3.Not(law))
    found = solver.check()
    assert found != z3.unknown, f"the solver gives up: {solver.reason_unknown()}"
    return solver.model() if found == z3.sat else None


@pytest.mark.parametrize("name", LATTICES)
def test_the_solver_finds_nothing_that_breaks_a_law(name: str) -> None:
    """A proof for all values, where a property test can only try many."""
    for law, formula in laws(LATTICES[name]).items():
        assert counterexample(formula) is None, f"{name} is not {law}"


def keeps_its_own_on_a_tie(a: Term, b: Term) -> Any:
    """A last-writer register that compares stamps alone."""
    return a[0] > b[0]


def by_node_alone(a: Term, b: Term) -> Any:
    """One that breaks ties of stamps by the node, and not by the value."""
    return lexicographic(a[:2], b[:2])


def over_a_version_vector(a: Term, b: Term) -> Any:
    """A lexicographic pair whose key is ordered pointwise, so that some keys are not comparable."""
    later = z3.And(a[0] >= b[0], a[1] >= b[1], z3.Or(a[0] > b[0], a[1] > b[1]))
    return z3.Or(later, z3.And(a[0] == b[0], a[1] == b[1], a[2] > b[2]))


@pytest.mark.parametrize(
    ("register", "broken"),
    [
        (optional(2, keeps_its_own_on_a_tie), "commutative"),
        (optional(3, by_node_alone), "commutative"),
        (optional(3, over_a_version_vector), "associative"),
        (optional(1, lambda a, b: a[0] != b[0]), "commutative"),
    ],
    ids=["keeps its own", "by node alone", "partial order", "last arrival"],
)
def test_the_solver_refutes_what_is_no_lattice(register: Model, broken: str) -> None:
    """Registers of other systems; that it sees these shows that the proofs say something."""
    assert counterexample(laws(register)[broken]) is not None
