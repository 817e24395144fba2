//! Diagrams: what is accepted is a lattice, by every triple; what is refused is none, by brute force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hpc_core::lattice::Lattice;
use hpc_core::lattice::finite::{Diagram, ELEMENTS_MAX, Finite, NoLattice};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::config;

type Order = BTreeMap<usize, BTreeSet<usize>>;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn diagram(order: &Order) -> Result<Diagram, NoLattice> {
    let named = order.iter().map(|(low, above)| {
        let above = above.iter().map(|i| *NAMES.get(*i).unwrap()).collect();
        (*NAMES.get(*low).unwrap(), above)
    });
    Diagram::new(&named.collect())
}

/// Whether `high` can be reached from `low`: the order, by walking.
fn is_below(order: &Order, low: usize, high: usize) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![low]);
    while let Some(at) = next.pop() {
        if seen.insert(at) {
            next.extend(order.get(&at).into_iter().flatten());
        }
    }
    seen.contains(&high)
}

/// The least upper bound by definition, where there is one.
fn least_bound(order: &Order, elements: &[usize], a: usize, b: usize) -> Option<usize> {
    let below = |low, high| is_below(order, low, high);
    let bounds = elements.iter().filter(|c| below(a, **c) && below(b, **c));
    let bounds: Vec<usize> = bounds.copied().collect();
    let least = bounds
        .iter()
        .find(|c| bounds.iter().all(|d| below(**c, *d)));
    least.copied()
}

fn is_lattice(order: &Order, elements: &[usize]) -> bool {
    let pairs = || {
        elements
            .iter()
            .flat_map(|a| elements.iter().map(move |b| (*a, *b)))
    };
    let below = |low, high| is_below(order, low, high);
    pairs().all(|(a, b)| a == b || !(below(a, b) && below(b, a)))
        && elements
            .iter()
            .any(|a| elements.iter().all(|b| below(*a, *b)))
        && pairs().all(|(a, b)| least_bound(order, elements, a, b).is_some())
}

/// Random relations over up to six names: of those that are accepted each join is the least upper
/// bound, and every triple is associative; those that are refused are no lattice.
#[test]
fn a_diagram_is_accepted_if_and_only_if_it_is_a_lattice() {
    let above = proptest::collection::btree_set(0usize..6, 0..3);
    let orders = proptest::collection::btree_map(0usize..6, above, 1..6);
    let cases = ProptestConfig {
        cases: 4_000,
        ..config()
    };
    let checked = TestRunner::new(cases).run(&orders, |order| {
        let named = order.keys().chain(order.values().flatten());
        let elements: Vec<usize> = named
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let found = diagram(&order);
        assert_eq!(
            found.is_ok(),
            is_lattice(&order, &elements),
            "{order:?} {found:?}"
        );
        let Ok(found) = found.map(Arc::new) else {
            return Ok(());
        };
        let of = |i: usize| Finite::of(&found, NAMES.get(i).unwrap()).unwrap();
        let lub = |a: &Finite, b: &Finite| {
            let mut joined = a.clone();
            joined.join(b);
            joined
        };
        for a in &elements {
            for b in &elements {
                let least = least_bound(&order, &elements, *a, *b).unwrap();
                assert_eq!(lub(&of(*a), &of(*b)), of(least));
                for c in &elements {
                    let (a, b, c) = (of(*a), of(*b), of(*c));
                    assert_eq!(lub(&lub(&a, &b), &c), lub(&a, &lub(&b, &c)));
                }
            }
        }
        Ok(())
    });
    checked.unwrap();
}

/// A refusal names what shows it, so that whoever drew the diagram sees the hole.
#[test]
fn a_refusal_names_the_elements_that_show_it() {
    let order = |pairs: &[(&str, &[&str])]| -> Result<Diagram, NoLattice> {
        let pairs = pairs.iter().map(|(low, high)| (*low, high.to_vec()));
        Diagram::new(&pairs.collect())
    };
    let said = |pairs: &[(&str, &[&str])]| order(pairs).unwrap_err().to_string();
    assert_eq!(said(&[]), "from 1 to 64 elements, got 0");
    assert_eq!(
        said(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]),
        "an order: `a` and `b` lie above each other"
    );
    assert_eq!(
        said(&[("a", &["c"]), ("b", &["c"])]),
        "one bottom: nothing lies below `a`, nor below `b`"
    );
    assert_eq!(
        said(&[("run", &["ok", "bad"])]),
        "a join of every pair: nothing lies above both `bad` and `ok`"
    );
    let crown = [
        ("bot", &["a", "b"][..]),
        ("a", &["c", "d"]),
        ("b", &["c", "d"]),
        ("c", &["top"]),
        ("d", &["top"]),
    ];
    assert_eq!(
        said(&crown),
        "a least upper bound of every pair: above `a` and `b` lie `c` and `d`, and neither is the \
         lesser"
    );
    let names: Vec<String> = (0..=ELEMENTS_MAX).map(|n| format!("{n:02}")).collect();
    let line = |count: usize| {
        let names = names.get(..count).unwrap();
        let steps = names.windows(2).map(|w| match w {
            [low, high] => (low.as_str(), vec![high.as_str()]),
            _ => ("", vec![]),
        });
        Diagram::new(&steps.collect())
    };
    assert!(line(ELEMENTS_MAX).is_ok());
    assert_eq!(line(ELEMENTS_MAX + 1), Err(NoLattice::Elements(65)));
}
