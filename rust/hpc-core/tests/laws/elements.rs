//! Elements for the laws: small enough universes that elements meet, and now and then a far one.

use std::fmt::Debug;
use std::sync::Arc;

use hpc_core::lattice::capped::Capped;
use hpc_core::lattice::count::Count;
use hpc_core::lattice::epoch::Epoch;
use hpc_core::lattice::finite::{Diagram, Finite};
use hpc_core::lattice::last::{Last, Stamp};
use hpc_core::lattice::map::MapOf;
use hpc_core::lattice::max::Max;
use hpc_core::lattice::min::Min;
use hpc_core::lattice::or::Or;
use hpc_core::lattice::set::{SET_VALUES_MAX, Set};
use hpc_core::lattice::sum::Sum;
use hpc_core::lattice::tally::Tally;
use hpc_core::lattice::tasks::{TASK_MAX, TaskSet};
use hpc_core::lattice::{Atom, Lattice};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Number, Value};

/// Any JSON value but null, up to three levels deep.
pub fn json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        floats().prop_map(|float| Value::Number(Number::from_f64(float).unwrap())),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_filter("null is no value", |value| !value.is_null())
    .boxed()
}

/// Finite floats of every size; -0.0 among them.
pub fn floats() -> BoxedStrategy<f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
    prop_oneof![
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO,
        (-2..3).prop_map(f64::from)
    ]
    .prop_filter("finite", |float| float.is_finite())
    .boxed()
}

/// Three values in four come from a handful, one is any.
pub fn atoms() -> BoxedStrategy<Atom> {
    prop_oneof![
        9 => (0i64..6).prop_map(Atom::Int),
        1 => any::<bool>().prop_map(Atom::Bool),
        1 => (0i64..3).prop_map(|n| Atom::float(n as f64 / 2.0).unwrap()),
        1 => "[ab]{0,2}".prop_map(|text| Atom::from(text.as_str())),
        1 => any::<i64>().prop_map(Atom::Int),
        1 => floats().prop_map(|float| Atom::float(float).unwrap()),
        1 => json().prop_map(|value| Atom::from_value(&value).unwrap()),
    ]
    .boxed()
}

pub fn max() -> BoxedStrategy<Max> {
    prop::option::of(atoms()).prop_map(Max).boxed()
}

pub fn min() -> BoxedStrategy<Min> {
    prop::option::of(atoms()).prop_map(Min).boxed()
}

pub fn or() -> BoxedStrategy<Or> {
    any::<bool>().prop_map(Or).boxed()
}

/// Values below, at and beyond a small cap; bare flags, as deltas have them, too.
pub fn capped<const N: usize>() -> BoxedStrategy<Capped<N>> {
    let said = vec(atoms(), 0..2 * N).prop_map(Capped::from_iter);
    (said.clone(), said)
        .prop_map(|(a, b)| {
            if a.values().len() % 3 == 0 {
                a.delta(&b)
            } else {
                a
            }
        })
        .boxed()
}

/// Around the large cap: nearly 1,024 values that elements share, and some of their own.
pub fn set() -> BoxedStrategy<Set> {
    let most = SET_VALUES_MAX as i64;
    let near =
        (most - 2..most + 2, vec(-3i64..6, 0..4), any::<bool>()).prop_map(|(count, own, cut)| {
            let first = if cut { 4 } else { 0 };
            (first..count).chain(own).map(Atom::Int).collect()
        });
    prop_oneof![1 => near, 3 => vec(atoms(), 0..6).prop_map(Set::from_iter)].boxed()
}

pub fn last() -> BoxedStrategy<Last> {
    let said = (0i64..3, 0u32..2, "[nm]?", atoms());
    prop_oneof![
        1 => Just(Last::bot()),
        9 => said.prop_map(|(at, counter, node, value)| {
            Last::of(Stamp { at, counter }, node.into(), value)
        }),
        1 => (any::<i64>(), any::<u32>(), any::<String>(), atoms()).prop_map(
            |(at, counter, node, value)| Last::of(Stamp { at, counter }, node.into(), value)
        ),
    ]
    .boxed()
}

/// Small sets, ranges over several containers of the bitmap, and the last task.
pub fn tasks() -> BoxedStrategy<TaskSet> {
    let few = vec(0u32..12, 0..8).prop_map(TaskSet::from_iter);
    let many = (0u32..200_000, 0u32..140_000)
        .prop_map(|(first, reach)| TaskSet::range(first, first + reach));
    let end = (0u32..3).prop_map(|back| TaskSet::one(TASK_MAX - back));
    prop_oneof![
        4 => few.clone(),
        1 => many.clone(),
        1 => (few, many, end).prop_map(|(a, b, c)| a.union(&b).union(&c)),
    ]
    .boxed()
}

/// Sets that can be taken apart task by task.
pub fn few_tasks() -> BoxedStrategy<TaskSet> {
    vec(0u32..40, 0..20).prop_map(TaskSet::from_iter).boxed()
}

fn subtotals<T: Debug + Clone + 'static>(
    totals: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<Vec<(Arc<str>, u64, T)>> {
    let hub = prop::sample::select(vec!["", "a", "b", "c"]).prop_map(Arc::from);
    let seq = prop_oneof![9 => 0u64..3, 1 => any::<u64>()];
    vec((hub, seq, totals), 0..4).boxed()
}

fn join_all<L: Lattice>(elements: impl IntoIterator<Item = L>) -> L {
    elements.into_iter().fold(L::bot(), |mut all, element| {
        all.join(&element);
        all
    })
}

fn amounts() -> BoxedStrategy<i64> {
    prop_oneof![9 => -2i64..3, 1 => any::<i64>()].boxed()
}

pub fn tally() -> BoxedStrategy<Tally> {
    subtotals(amounts())
        .prop_map(|said| {
            join_all(
                said.into_iter()
                    .map(|(hub, seq, n)| Tally::of(hub, seq, i128::from(n))),
            )
        })
        .boxed()
}

pub fn sum() -> BoxedStrategy<Sum> {
    subtotals(amounts())
        .prop_map(|said| join_all(said.into_iter().map(|(hub, seq, n)| Sum::of(hub, seq, n))))
        .boxed()
}

pub fn count() -> BoxedStrategy<Count> {
    subtotals(prop_oneof![9 => 0u64..3, 1 => any::<u64>()])
        .prop_map(|said| join_all(said.into_iter().map(|(hub, seq, n)| Count::of(hub, seq, n))))
        .boxed()
}

/// Few keys, so that maps meet at them.
pub fn map<L: Lattice + Debug + 'static>(
    inner: impl Strategy<Value = L> + 'static,
) -> BoxedStrategy<MapOf<L>> {
    let key = prop_oneof![9 => "[ab]?", 1 => any::<String>()];
    vec((key, inner), 0..4)
        .prop_map(|said| join_all(said.into_iter().map(|(key, l)| MapOf::of(key.into(), l))))
        .boxed()
}

/// Elements of a diagram with a fork, a join and an element that skips a rank.
pub fn finite() -> BoxedStrategy<Finite> {
    let order = [
        ("submitted", vec!["queued", "cancelled"]),
        ("queued", vec!["running"]),
        ("running", vec!["done", "failed"]),
        ("done", vec!["conflict"]),
        ("failed", vec!["conflict"]),
        ("cancelled", vec!["conflict"]),
    ];
    let diagram = Arc::new(Diagram::new(&order.into_iter().collect()).unwrap());
    let names: Vec<String> = diagram.names().map(str::to_owned).collect();
    prop::sample::select(names)
        .prop_map(move |name| Finite::of(&diagram, &name).unwrap())
        .boxed()
}

/// An element of the diamond with three atoms, any two of which lead to its top.
pub fn diamond(name: &str) -> Finite {
    let atoms = ["x", "y", "z"];
    let order = atoms.map(|atom| (atom, vec!["top"])).into_iter();
    let order = order.chain([("none", atoms.to_vec())]).collect();
    Finite::of(&Arc::new(Diagram::new(&order).unwrap()), name).unwrap()
}

pub fn not_distributive() -> BoxedStrategy<Finite> {
    prop::sample::select(vec!["none", "x", "y", "z", "top"])
        .prop_map(diamond)
        .boxed()
}

pub fn epoch<L: Debug + Clone + 'static>(
    inner: impl Strategy<Value = L> + 'static,
) -> BoxedStrategy<Epoch<L>> {
    let key = prop_oneof![9 => (0i64..3).prop_map(Atom::Int), 1 => atoms()];
    prop_oneof![
        1 => Just(Epoch::default()),
        9 => (key, inner).prop_map(|(at, value)| Epoch::of(at, value)),
    ]
    .boxed()
}
