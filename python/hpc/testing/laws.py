"""Checks with which a package proves its namespace: the laws of facts, tried on the real engine.

    class TestMine(NamespaceLaws):
        module = my_package            # it has `namespace` and `generators`

or, anywhere, `check_namespace(my_package)`. Events are made from the schema by Hypothesis, told to
a Hub in memory in many ways, and what it answers is held against the laws. What breaks one comes as
`LawBroken`, with the law, the rules concerned and the fewest events that show it.

The laws are those of `docs/laws.md`, by number. Rules that read `$seq` depend on the order of the
log and are spared where order is what is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Final, TypeVar

try:
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "hpc.testing.laws needs hypothesis: pip install 'hpc-lattice[testing]'"
    ) from error

from hpc.domain import NamespaceSpec
from hpc.errors import Refused
from hpc.protocols import Namespace
from hpc.testing.checks import LAWS, LawBroken, facts_of
from hpc.testing.events import Wrong, kinds_of
from hpc.testing.lab import Case, Lab
from hpc.testing.small_hub import SmallHub

__all__ = ["LAWS", "LawBroken", "NamespaceLaws", "check_namespace"]

SHRINKS_MAX: Final = 500
"""So often a case that breaks a law is tried with less."""

REACH_EXAMPLES: Final = 300
"""So many more logs are tried where some column is not reached."""

RUN_EXAMPLES: Final = 10
"""Values that Hypothesis draws at a time."""

T = TypeVar("T")


def check_namespace(
    module: Namespace,
    *,
    laws: Iterable[str] = tuple(LAWS),
    max_examples: int = 100,
    beside: Sequence[NamespaceSpec] = (),
    open_hub: Callable[[], SmallHub] = SmallHub,
    shrink: bool = True,
) -> None:
    """Try laws on a namespace and its generators; which examples are tried never changes.

    Args:
        module: An object with `namespace` and `generators`, as an entry point names it.
        laws: Numbers of `LAWS`.
        max_examples: Logs that are tried for each law.
        beside: Other namespaces that the generators read.
        open_hub: Makes the Hub; a test that the checks see a fault hands in a broken one.
        shrink: Whether to look for the fewest events once some have broken a law.

    Raises:
        LawBroken: A law does not hold.
        Refused: The Hub does not register the module; `errors` names the fields.
    """
    lab = Lab(module, beside, open_hub)
    lab.hub()
    for law in laws:
        if law == "REACH":
            _check_reach(lab, max_examples)
            continue
        tried = _wrongs(lab, max_examples) if law == "WF" else _cases(lab, max_examples)
        for case in tried:
            broken = _broken(lab, law, case)
            if broken is not None and shrink and isinstance(case, Case):
                broken = _broken(lab, law, _least(lab, law, case))
            if broken is not None:
                raise broken


_SAMPLES: dict[tuple[Any, ...], tuple[Lab, list[Any]]] = {}
"""What was made of a module is tried for each law: making it takes longer than trying it."""


def _cases(lab: Lab, max_examples: int) -> Sequence[Case]:
    return _sample(lab, "cases", lab.cases, max_examples)


def _wrongs(lab: Lab, max_examples: int) -> Sequence[Wrong]:
    return _sample(lab, "wrongs", lab.wrongs, max_examples)


def _sample(
    lab: Lab, name: str, strategy: Callable[[], st.SearchStrategy[T]], max_examples: int
) -> list[T]:
    """Return as many values as are asked for, always the same, from the simplest on."""
    key = (name, max_examples, id(lab.module), *map(id, lab.beside))
    if key not in _SAMPLES:
        made = _drawn(strategy(), max_examples) if lab.makers else []
        # Together with the lab, so that no other module gets the id of this one.
        _SAMPLES[key] = (lab, made)
    return _SAMPLES[key][1]


def _drawn(strategy: st.SearchStrategy[T], max_examples: int) -> list[T]:
    """Draw by many short runs, each from a seed of its own.

    A long run draws one value in six anew and makes the others of it; here all shall be new. The
    first of a run is always the simplest, and of no use twice.
    """
    made = _run(strategy, 0)
    for number in range(1, max_examples):
        if len(made) >= max_examples:
            break
        made += _run(strategy, number)[1:]
    return made[:max_examples]


def _run(strategy: st.SearchStrategy[T], number: int) -> list[T]:
    drawn: list[T] = []

    @seed(number)
    @settings(
        max_examples=RUN_EXAMPLES,
        deadline=None,
        database=None,
        # A log shrinks faster by what it is than by how it was made: `_least`.
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy)
    def example(value: T) -> None:
        drawn.append(value)

    example()
    return drawn


def _broken(lab: Lab, law: str, case: Case | Wrong) -> LawBroken | None:
    """Return what a case breaks, if it does."""
    try:
        LAWS[law].check(lab, case)
    except LawBroken as broken:
        return broken
    except Refused as refused:
        log = case.log if isinstance(case, Case) else [case.event]
        return LawBroken(law, f"what is well-formed is refused: {refused.message}", events=log)
    return None


def _least(lab: Lab, law: str, case: Case) -> Case:
    """Return a case of which nothing can be left out without its keeping the law."""
    tries = 0
    lesser = lab.lesser(case)
    while tries < SHRINKS_MAX and (less := next(lesser, None)) is not None:
        tries += 1
        try:
            LAWS[law].check(lab, less)
        except LawBroken:
            case, lesser = less, lab.lesser(less)
        except Refused:
            continue  # it leaves out what the rest needs
    return case


def _check_reach(lab: Lab, max_examples: int) -> None:
    """A law holds of a column that nothing is ever said in, and says nothing of it."""
    kinds = {maker.kind for maker in lab.makers}
    missing = {
        where
        for where in lab.columns
        if any(kind in kinds for rule in lab.rules_of(*where) for kind in kinds_of(rule))
    }
    for examples in (max_examples, REACH_EXAMPLES):
        for case in _cases(lab, examples) if missing else ():
            found = facts_of(lab.hub(case.log), lab)
            missing.difference_update((cell.gid, cell.table, cell.column) for cell in found)
    for gid, table, column in sorted(missing):
        detail = f"no log says anything in column `{column}` of table `{table}` of `{gid}`"
        raise LawBroken("REACH", detail, rules=lab.rules_of(gid, table, column))


class NamespaceLaws:
    """The laws as tests: subclass it, and say which module it is about.

    Attributes:
        module: An object with `namespace` and `generators`.
        beside: Other namespaces that the generators read.
        max_examples: Logs that are tried for each law.
    """

    module: ClassVar[Namespace]
    beside: ClassVar[Sequence[NamespaceSpec]] = ()
    max_examples: ClassVar[int] = 100

    def check(self, law: str) -> None:
        """Try one law."""
        check_namespace(self.module, laws=[law], max_examples=self.max_examples, beside=self.beside)

    def test_what_is_ill_formed_is_refused_by_the_name_of_the_field(self) -> None:
        """A producer that is wrong learns where, and leaves nothing behind."""
        self.check("WF")

    def test_m1_what_an_event_says_is_a_function_of_this_event(self) -> None:
        """Every well-formed event is taken, and says the same whatever else is known."""
        self.check("M1")

    def test_m2_facts_are_the_join_of_what_each_event_says(self) -> None:
        """Nothing else comes in, and nothing is lost."""
        self.check("M2")

    def test_m3_order_batching_and_repeats_do_not_matter(self) -> None:
        """A retry is harmless, and a late report still counts."""
        self.check("M3")

    def test_e1_registered_late_is_registered_early(self) -> None:
        """A table can be thought of a year later."""
        self.check("E1")

    def test_e2_a_prefix_of_the_log_is_below_the_whole(self) -> None:
        """Facts only grow."""
        self.check("E2")

    def test_e3_what_changed_since_then_and_then_is_now(self) -> None:
        """A cursor is all that a reader must keep."""
        self.check("E3")

    def test_e4_pulls_compose(self) -> None:
        """Readers stop and go on wherever they like."""
        self.check("E4")

    def test_e5_a_reader_who_knows_more_is_told_right(self) -> None:
        """A cursor that is too old costs bytes, and never the truth."""
        self.check("E5")

    def test_e6_a_poke_comes_if_and_only_if_a_cell_grew(self) -> None:
        """Whoever follows misses nothing, and is not woken for nothing."""
        self.check("E6")

    def test_e7_a_restart_in_between_changes_nothing(self) -> None:
        """The tables are a function of the log."""
        self.check("E7")

    def test_every_column_is_said_something_by_some_event(self) -> None:
        """A rule that never fires is a mistake, and its laws would hold of nothing."""
        self.check("REACH")
