//! The laws of the lattices: one macro states them, each lattice and each kind of cell is an instance.
//!
//! Facts may be joined in any order, any number of times, in any pieces; that is all that retries,
//! late reports, recovery and federation rest on. The elements come from `laws/elements.rs`, the
//! registers of other systems that break a law, and ours on the same input, from
//! `laws/counterexamples.rs`.
#![expect(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "laws/counterexamples.rs"]
mod counterexamples;
#[path = "laws/decoders.rs"]
mod decoders;
#[path = "laws/diagrams.rs"]
mod diagrams;
#[path = "laws/elements.rs"]
mod elements;
#[path = "laws/forgotten.rs"]
mod forgotten;
#[path = "laws/irreducibles.rs"]
mod irreducibles;
#[path = "laws/json_decoding.rs"]
mod json_decoding;
#[path = "laws/packed_facts.rs"]
mod packed_facts;
#[path = "laws/task_sets.rs"]
mod task_sets;
#[path = "laws/values.rs"]
mod values;

use std::fmt::Debug;

use hpc_core::lattice::codec::{Codec, DecodeError, Reader};
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
use hpc_core::lattice::{Atom, Cell, Lattice, LatticeKind};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None, // the failing input is printed; no file appears in the tree
        ..ProptestConfig::default()
    }
}

/// `a ⊔ b`, and whether a grew.
fn join<L: Lattice>(a: &L, b: &L) -> (L, bool) {
    let mut joined = a.clone();
    let grew = joined.join(b);
    (joined, grew)
}

/// `a ⊔ b`.
fn lub<L: Lattice>(a: &L, b: &L) -> L {
    join(a, b).0
}

fn associative<L: Lattice + Debug>(a: &L, b: &L, c: &L) {
    assert_eq!(lub(&lub(a, b), c), lub(a, &lub(b, c)));
}

fn commutative<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    assert_eq!(lub(a, b), lub(b, a));
}

fn idempotent<L: Lattice + Debug>(a: &L, _: &L, _: &L) {
    assert_eq!(join(a, a), (a.clone(), false));
}

fn bot_is_the_unit<L: Lattice + Debug>(a: &L, _: &L, _: &L) {
    let bot = L::bot();
    assert_eq!(join(a, &bot), (a.clone(), false));
    assert_eq!(lub(&bot, a), *a);
    assert!(bot.leq(a));
}

fn the_order_is_that_of_join<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    assert_eq!(a.leq(b), lub(a, b) == *b);
    assert_eq!(a.leq(b) && b.leq(a), a == b);
    assert!(a.leq(&lub(a, b)) && b.leq(&lub(a, b)));
}

fn join_says_exactly_whether_it_grew<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    let (joined, grew) = join(a, b);
    assert_eq!(grew, joined != *a);
}

fn a_delta_leads_to_the_join<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    let delta = a.delta(b);
    assert_eq!(join(a, &delta), join(a, b));
    assert!(delta.leq(b));
}

fn the_delta_of_what_is_known_is_bot<L: Lattice + Debug>(a: &L, b: &L, _: &L) {
    let (bot, joined) = (L::bot(), lub(a, b));
    assert_eq!(joined.delta(a), bot);
    assert_eq!(joined.delta(b), bot);
    assert_eq!(a.delta(b) == bot, b.leq(a));
    assert_eq!(bot.delta(a), *a);
}

/// Each element that leads from a to the same join is a rival; these are the likely ones.
fn rivals<L: Lattice>(a: &L, b: &L, c: &L) -> impl Iterator<Item = L> {
    let joined = lub(a, b);
    let padded = lub(&a.delta(b), &c.delta(a));
    let likely = [
        c.clone(),
        c.delta(b),
        c.delta(&joined),
        padded,
        b.clone(),
        joined.clone(),
    ];
    let a = a.clone();
    likely
        .into_iter()
        .filter(move |rival| lub(&a, rival) == joined)
}

fn no_lesser_delta_leads_there<L: Lattice + Debug>(a: &L, b: &L, c: &L) {
    let delta = a.delta(b);
    for rival in rivals(a, b, c) {
        assert!(
            !rival.leq(&delta) || rival == delta,
            "{rival:?} is below {delta:?}"
        );
    }
}

fn the_delta_is_the_least<L: Lattice + Debug>(a: &L, b: &L, c: &L) {
    let delta = a.delta(b);
    for rival in rivals(a, b, c) {
        assert!(delta.leq(&rival), "{delta:?} is not below {rival:?}");
    }
}

fn bytes_say_the_element_and_only_it<L: Codec + PartialEq + Debug>(a: &L, b: &L, _: &L) {
    let bytes = a.to_bytes();
    assert_eq!(L::from_bytes(&bytes).as_ref(), Ok(a));
    assert_eq!(bytes == b.to_bytes(), a == b);
}

/// Bytes either are refused or are the canonical ones of what they say.
fn assert_canonical<L: Codec>(bytes: &[u8]) {
    if let Ok(element) = L::from_bytes(bytes) {
        assert_eq!(element.to_bytes(), bytes);
    }
}

/// Noise, and an encoding that is cut or altered at one place.
fn hostile_bytes_never_panic<L: Codec>(element: &L, noise: &[u8], place: usize) {
    assert_canonical::<L>(noise);
    let mut bytes = element.to_bytes();
    let place = place % bytes.len();
    assert!(L::from_bytes(bytes.get(..place).unwrap()).is_err());
    if let (Some(there), Some(byte)) = (bytes.get_mut(place), noise.first()) {
        *there = *byte;
    }
    assert_canonical::<L>(&bytes);
}

fn check<L: Debug>(elements: BoxedStrategy<L>, law: fn(&L, &L, &L)) {
    let triples = (elements.clone(), elements.clone(), elements);
    let checked = TestRunner::new(config()).run(&triples, |(a, b, c)| {
        law(&a, &b, &c);
        Ok(())
    });
    checked.unwrap();
}

fn check_hostile<L: Codec + Debug>(elements: BoxedStrategy<L>) {
    let noise = proptest::collection::vec(any::<u8>(), 0..64);
    let input = (elements, noise, any::<usize>());
    let checked = TestRunner::new(config()).run(&input, |(element, noise, place)| {
        hostile_bytes_never_panic(&element, &noise, place);
        Ok(())
    });
    checked.unwrap();
}

/// The tests of one lattice. `least` or `minimal`: what its delta is.
macro_rules! laws {
    ($name:ident, $lattice:ty, $elements:expr, least) => {
        laws!($name, $lattice, $elements, minimal, the_delta_is_the_least);
    };
    ($name:ident, $lattice:ty, $elements:expr, minimal $(, $least:ident)?) => {
        mod $name {
            use super::*;

            // Boxed, and every law a function: else each pair of them compiles its own runner.
            fn elements() -> BoxedStrategy<$lattice> {
                $elements.boxed()
            }

            laws!(
                @associative, commutative, idempotent, bot_is_the_unit, the_order_is_that_of_join,
                join_says_exactly_whether_it_grew, a_delta_leads_to_the_join,
                the_delta_of_what_is_known_is_bot, no_lesser_delta_leads_there,
                bytes_say_the_element_and_only_it $(, $least)?
            );

            #[test]
            fn hostile_bytes_never_panic() {
                check_hostile(elements());
            }
        }
    };
    (@$($law:ident),*) => {$(
        #[test]
        fn $law() {
            check(elements(), super::$law);
        }
    )*};
}

// Past the cap of once and set no least delta exists: `laws/counterexamples.rs` shows why, and tries
// every triple of a small one.
laws!(max, Max, elements::max(), least);
laws!(min, Min, elements::min(), least);
laws!(or, Or, elements::or(), least);
laws!(once, Once, elements::capped(), minimal);
laws!(last, Last, elements::last(), least);
laws!(set, Set, elements::set(), minimal);
laws!(tasks, TaskSet, elements::tasks(), least);
laws!(tally, Tally, elements::tally(), least);
laws!(count, Count, elements::count(), least);
laws!(sum, Sum, elements::sum(), least);
laws!(map, MapOf<Max>, elements::map(elements::max()), least);
laws!(
    map_of_once,
    MapOf<Once>,
    elements::map(elements::capped()),
    minimal
);
laws!(
    epoch_of_map,
    Epoch<MapOf<Or>>,
    elements::epoch(elements::map(elements::or())),
    least
);
laws!(
    map_of_epoch,
    MapOf<Epoch<Max>>,
    elements::map(elements::epoch(elements::max())),
    least
);
laws!(finite, Finite, elements::finite(), minimal);
laws!(epoch, Epoch<Max>, elements::epoch(elements::max()), least);
laws!(
    epoch_of_once,
    Epoch<Once>,
    elements::epoch(elements::capped()),
    minimal
);
laws!(
    epoch_of_epoch,
    Epoch<Epoch<Or>>,
    elements::epoch(elements::epoch(elements::or())),
    least
);

/// A cell of one kind. The kind is known at run time in [`Cell`] and by type here.
#[derive(Clone, Debug, PartialEq)]
struct CellOf<const KIND: usize>(Cell);

impl<const KIND: usize> Lattice for CellOf<KIND> {
    fn bot() -> Self {
        Self(Cell::bot(*LatticeKind::ALL.get(KIND).unwrap()))
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0).unwrap()
    }

    fn delta(&self, other: &Self) -> Self {
        Self(self.0.delta(&other.0).unwrap())
    }

    fn irreducibles(&self) -> Vec<Self> {
        self.0.irreducibles().into_iter().map(Self).collect()
    }

    fn leq(&self, other: &Self) -> bool {
        self.0.leq(&other.0).unwrap()
    }
}

impl<const KIND: usize> Codec for CellOf<KIND> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Cell::decode(reader)?))
    }
}

macro_rules! cell_laws {
    ($($name:ident, $kind:ident, $elements:expr;)*) => {$(
        laws!(
            $name,
            CellOf<{ LatticeKind::$kind as usize }>,
            $elements.prop_map(|leaf| CellOf(leaf.into())),
            minimal
        );
    )*};
}

cell_laws! {
    cell_max, Max, elements::max();
    cell_min, Min, elements::min();
    cell_or, Or, elements::or();
    cell_once, Once, elements::capped::<4>();
    cell_last, Last, elements::last();
    cell_set, Set, elements::set();
    cell_tasks, Tasks, elements::tasks();
    cell_count, Count, elements::count();
    cell_sum, Sum, elements::sum();
    cell_epoch, Epoch, elements::epoch(elements::tasks().prop_map(Cell::from));
    cell_finite, Finite, elements::finite();
    cell_map, Map, cell_maps();
}

/// Maps of cells: of tasks, built key by key.
fn cell_maps() -> BoxedStrategy<MapOf<Cell>> {
    let entry = ("[ab]?", elements::tasks().prop_map(Cell::from));
    proptest::collection::vec(entry, 0..4)
        .prop_map(|said| {
            let mut all = Cell::bot(LatticeKind::Map);
            for (key, cell) in said {
                all.join(&MapOf::from_cell(key.into(), cell).into())
                    .unwrap();
            }
            match all {
                Cell::Map(map) => *map,
                _ => MapOf::default(),
            }
        })
        .boxed()
}

/// The kinds of the wire and the tags of the bytes are one list; neither may move.
#[test]
fn kinds_keep_their_names_and_tags() {
    let names: Vec<_> = LatticeKind::ALL.iter().map(|kind| kind.wire()).collect();
    let expected = "max min or once last set tasks count sum epoch map finite";
    assert_eq!(names.join(" "), expected);
    for (tag, kind) in LatticeKind::ALL.into_iter().enumerate() {
        assert_eq!(LatticeKind::from_wire(kind.wire()), Some(kind));
        assert_eq!(kind as usize, tag);
        let bot = Cell::bot(kind);
        assert!(bot.kind() == kind && bot.is_bot());
        assert_eq!(usize::from(*bot.to_bytes().first().unwrap()), tag);
    }
}

/// A column with two lattices is an error for whoever joins, never a choice by order.
#[test]
fn cells_of_different_kinds_refuse_each_other() {
    for left in LatticeKind::ALL {
        for right in LatticeKind::ALL {
            let (mut a, b) = (Cell::bot(left), Cell::bot(right));
            assert_eq!(a.join(&b).is_ok(), left == right);
            assert_eq!(a.delta(&b).is_ok(), left == right);
        }
    }
}

/// If the higher key simply won, one order of three joins would be refused and another not.
#[test]
fn epochs_of_different_cells_refuse_each_other_at_any_key() {
    let at = |key, inner: Cell| Cell::from(Epoch::of(Atom::Int(key), inner));
    let deep = |key, inner| at(1, at(key, inner));
    for (mut a, b) in [
        (at(1, Or(true).into()), at(2, Max::bot().into())),
        (at(2, Or(true).into()), at(1, Max::bot().into())),
        (deep(1, Or(true).into()), deep(2, Max::bot().into())),
    ] {
        let before = a.clone();
        let mismatch = a.join(&b).unwrap_err();
        assert_eq!(mismatch.to_string(), "Cell is of lattice `or`, got `max`");
        assert_eq!(a.delta(&b), Err(mismatch));
        assert_eq!(a, before);
    }
}

/// What a pull shows is the contract with every reader, so it is spelled out.
#[test]
fn cells_are_shown_as_the_design_says() {
    let text = |cells: &[Cell]| {
        cells
            .iter()
            .map(Cell::to_json)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let hub = || "hub-a".into();
    let stamp = hpc_core::lattice::last::Stamp { at: 1, counter: 0 };
    assert_eq!(
        text(&[
            Max::of(Atom::from("12.5%")).into(),
            Min::of(Atom::float(2.0).unwrap()).into(),
            Or(true).into(),
            Once::from_iter([Atom::from("b"), Atom::Int(1)]).into(),
            Last::of(stamp, "n1".into(), Atom::parse("[1, {}]").unwrap()).into(),
            Set::from_iter([Atom::Bool(true), Atom::Bool(false)]).into(),
            TaskSet::parse("43,0-41").unwrap().into(),
            Count::of(hub(), 4, 7).into(),
            Sum::of(hub(), 4, -7).into(),
            Epoch::of(Atom::Int(2), Or(false).into()).into(),
            MapOf::from_cell("a\"".into(), Or(true).into()).into(),
        ]),
        r#""12.5%" 2.0 true [1,"b"] [1,{}] [false,true] "0-41,43" 7 -7 {"at":2,"value":false} {"a\"":true}"#
    );
    let bots: Vec<_> = LatticeKind::ALL.into_iter().map(Cell::bot).collect();
    assert_eq!(
        text(&bots),
        r#"null null false [] null [] "" 0 0 null {} null"#
    );
}

/// The bytes of an epoch within an epoch could nest without end; the stack does not.
#[test]
fn deep_epochs_are_refused_in_bytes() {
    let nested = |depth: usize| {
        (0..depth).fold(Cell::from(Or(true)), |inner, _| {
            Epoch::of(Atom::Int(0), inner).into()
        })
    };
    assert_eq!(Cell::from_bytes(&nested(8).to_bytes()), Ok(nested(8)));
    let error = Cell::from_bytes(&nested(9).to_bytes()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("epochs are nested deeper than 8")
    );
}
