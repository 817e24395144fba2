//! L8: every element is the join of its irreducibles, and none of them can be spared.
//!
//! That is what makes "nothing is sent of what is known" exact: a delta is the join of those
//! irreducibles that are not known yet (Enes et al. 2019). Elements are as in the other laws, but of
//! few tasks, since a range of a hundred thousand has as many parts.

use std::fmt::Debug;

use hpc_core::lattice::count::Count;
use hpc_core::lattice::epoch::Epoch;
use hpc_core::lattice::finite::Finite;
use hpc_core::lattice::last::Last;
use hpc_core::lattice::map::MapOf;
use hpc_core::lattice::max::Max;
use hpc_core::lattice::min::Min;
use hpc_core::lattice::once::Once;
use hpc_core::lattice::or::Or;
use hpc_core::lattice::set::Set;
use hpc_core::lattice::sum::Sum;
use hpc_core::lattice::tally::Tally;
use hpc_core::lattice::tasks::TaskSet;
use hpc_core::lattice::{Cell, Lattice, LatticeKind};
use proptest::prelude::*;

use super::{check, elements, lub};

/// So many parts at most are left out in turn; of more, every n-th.
const SPARED_MAX: usize = 12;

fn join_all<'a, L: Lattice + 'a>(parts: impl IntoIterator<Item = &'a L>) -> L {
    parts.into_iter().fold(L::bot(), |mut all, part| {
        all.join(part);
        all
    })
}

fn it_is_the_join_of_its_irreducibles<L: Lattice + Debug>(a: &L, _: &L, _: &L) {
    let parts = a.irreducibles();
    assert_eq!(join_all(&parts), *a);
    assert_eq!(a.irreducibles(), parts);
}

fn no_irreducible_can_be_spared<L: Lattice + Debug>(a: &L, _: &L, _: &L) {
    let parts = a.irreducibles();
    let step = parts.len().div_ceil(SPARED_MAX).max(1);
    for spared in (0..parts.len()).step_by(step) {
        let others = parts.iter().enumerate().filter(|(i, _)| *i != spared);
        assert_ne!(join_all(others.map(|(_, part)| part)), *a, "{spared}");
    }
}

fn an_irreducible_is_in_one_piece<L: Lattice + Debug>(a: &L, _: &L, _: &L) {
    let parts = a.irreducibles();
    for part in parts
        .iter()
        .step_by(parts.len().div_ceil(SPARED_MAX).max(1))
    {
        assert_eq!(part.irreducibles(), std::slice::from_ref(part));
        assert!(part.leq(a) && *part != L::bot());
    }
}

fn the_delta_is_the_join_of_what_is_not_known<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    let parts = b.irreducibles();
    let unknown = parts.iter().filter(|part| !part.leq(a));
    assert_eq!(join_all(unknown), a.delta(b));
}

macro_rules! decompositions {
    (@$elements:expr, $($law:ident),*) => {$(
        #[test]
        fn $law() {
            check($elements.boxed(), super::$law);
        }
    )*};
    ($($name:ident, $elements:expr $(, $least:ident)?;)*) => {$(
        mod $name {
            use super::*;

            decompositions!(
                @$elements, it_is_the_join_of_its_irreducibles, no_irreducible_can_be_spared,
                an_irreducible_is_in_one_piece $(, $least)?
            );
        }
    )*};
}

// Where no least delta exists (`laws.rs`), a minimal one may be less than what is not known.
decompositions! {
    max, elements::max(), the_delta_is_the_join_of_what_is_not_known;
    min, elements::min(), the_delta_is_the_join_of_what_is_not_known;
    or, elements::or(), the_delta_is_the_join_of_what_is_not_known;
    once, elements::capped::<4>();
    last, elements::last(), the_delta_is_the_join_of_what_is_not_known;
    set, elements::set();
    tasks, elements::few_tasks(), the_delta_is_the_join_of_what_is_not_known;
    tally, elements::tally(), the_delta_is_the_join_of_what_is_not_known;
    count, elements::count(), the_delta_is_the_join_of_what_is_not_known;
    sum, elements::sum(), the_delta_is_the_join_of_what_is_not_known;
    map, elements::map(elements::few_tasks()), the_delta_is_the_join_of_what_is_not_known;
    map_of_once, elements::map(elements::capped::<4>());
    epoch, elements::epoch(elements::few_tasks()), the_delta_is_the_join_of_what_is_not_known;
    epoch_of_map,
        elements::epoch(elements::map(elements::or())),
        the_delta_is_the_join_of_what_is_not_known;
    epoch_of_once, elements::epoch(elements::capped::<4>());
    finite, elements::finite();
    diamond, elements::not_distributive();
}

fn cells<L>(of: BoxedStrategy<L>) -> BoxedStrategy<(Cell, Vec<Cell>)>
where
    L: Lattice + Into<Cell> + Debug + 'static,
{
    of.prop_map(|leaf| {
        let parts = leaf.irreducibles().into_iter().map(Into::into).collect();
        (leaf.into(), parts)
    })
    .boxed()
}

/// A cell is taken apart as what it holds, whatever its kind; an epoch and a map of cells as those
/// of a lattice known by type.
#[test]
fn a_cell_is_taken_apart_as_what_it_holds() {
    let inner = || elements::few_tasks().prop_map(|tasks| (tasks.clone(), Cell::from(tasks)));
    let epochs = elements::epoch(inner()).prop_map(|Epoch(said)| {
        let typed = Epoch(said.clone().map(|(at, (tasks, _))| (at, tasks)));
        let cell = Epoch(said.map(|(at, (_, cell))| (at, cell)));
        let parts = typed.irreducibles().into_iter();
        let parts = parts.map(|Epoch(part)| Epoch(part.map(|(at, t)| (at, Cell::from(t)))).into());
        (Cell::from(cell), parts.collect())
    });
    let maps = ("[ab]?", elements::few_tasks()).prop_map(|(key, tasks)| {
        let at = |tasks: &TaskSet| MapOf::from_cell(key.as_str().into(), tasks.clone().into());
        let parts = tasks.irreducibles();
        let parts = parts.iter().map(|part| at(part).into()).collect();
        (at(&tasks).into(), parts)
    });
    let all = prop_oneof![
        cells::<Max>(elements::max()),
        cells::<Min>(elements::min()),
        cells::<Or>(elements::or()),
        cells::<Once>(elements::capped()),
        cells::<Last>(elements::last()),
        cells::<Set>(elements::set()),
        cells::<TaskSet>(elements::few_tasks()),
        cells::<Count>(elements::count()),
        cells::<Sum>(elements::sum()),
        cells::<Finite>(elements::finite()),
        epochs,
        maps,
    ];
    check(all.boxed(), |(cell, parts), _, _| {
        assert_eq!(cell.irreducibles(), *parts);
        let mut joined = Cell::bot(cell.kind());
        for part in parts {
            joined.join(part).unwrap();
        }
        assert_eq!(joined, *cell);
    });
    for kind in LatticeKind::ALL {
        assert_eq!(Cell::bot(kind).irreducibles(), []);
    }
}

/// Two of three atoms lead to the top; which two is fixed, so that equal elements have equal parts.
#[test]
fn a_diagram_that_is_not_distributive_names_as_few_as_lead_there() {
    let top = elements::diamond("top");
    let parts = top.irreducibles();
    let names: Vec<_> = parts.iter().filter_map(Finite::name).collect();
    assert_eq!(names, ["y", "z"]);
    assert_eq!(lub(&elements::diamond("y"), &elements::diamond("z")), top);
    assert_eq!(Tally::bot().irreducibles(), []);
}
