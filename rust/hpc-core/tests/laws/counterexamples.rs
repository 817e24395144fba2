//! Registers that look like lattices and are none, each with the input that shows it, and ours on
//! the same input. Most were found by Z3 or by search, some in systems that are in use.

use hpc_core::lattice::capped::Capped;
use hpc_core::lattice::epoch::Epoch;
use hpc_core::lattice::last::{Last, Stamp};
use hpc_core::lattice::min::Min;
use hpc_core::lattice::once::Once;
use hpc_core::lattice::or::Or;
use hpc_core::lattice::sum::Sum;
use hpc_core::lattice::{Atom, Lattice};

use super::{join, lub};

fn last(at: i64, node: &str, value: i64) -> Last {
    Last::of(Stamp { at, counter: 0 }, node.into(), Atom::Int(value))
}

/// Two replicas that saw both writes would each keep their own for ever.
#[test]
fn last_that_keeps_its_own_value_on_a_tie_does_not_commute() {
    let keeps_own = |a: (i64, i64), b: (i64, i64)| if b.0 > a.0 { b } else { a };
    assert_ne!(keeps_own((1, 7), (1, 8)), keeps_own((1, 8), (1, 7)));

    let (a, b) = (last(1, "n", 7), last(1, "n", 8));
    assert_eq!(lub(&a, &b), lub(&b, &a));
    assert_eq!(lub(&a, &b), b);
}

/// One node may write twice under one stamp, for example after its clock was set back.
#[test]
fn last_that_breaks_ties_by_node_alone_does_not_commute() {
    let by_node = |a: (i64, &'static str, i64), b: (i64, &'static str, i64)| {
        if (b.0, b.1) > (a.0, a.1) { b } else { a }
    };
    assert_ne!(
        by_node((1, "n", 7), (1, "n", 8)),
        by_node((1, "n", 8), (1, "n", 7))
    );

    let said = [last(1, "m", 9), last(1, "n", 7), last(1, "n", 8)];
    let forwards = said.iter().fold(Last::bot(), |all, one| lub(&all, one));
    let backwards = said
        .iter()
        .rev()
        .fold(Last::bot(), |all, one| lub(&all, one));
    assert_eq!(forwards, backwards);
    assert_eq!(forwards.value(), Some(&Atom::Int(8)));
}

/// Lexicographic over a version vector: concurrent keys are joined, and so are their values, which
/// the other order never sees side by side.
#[test]
fn a_pair_over_a_partial_order_is_not_associative() {
    type Pair = ((i64, i64), i64);
    let dom_pair = |a: Pair, b: Pair| {
        let leq = |x: (i64, i64), y: (i64, i64)| x.0 <= y.0 && x.1 <= y.1;
        match (leq(a.0, b.0), leq(b.0, a.0)) {
            (true, false) => b,
            (false, true) => a,
            _ => ((a.0.0.max(b.0.0), a.0.1.max(b.0.1)), a.1.max(b.1)),
        }
    };
    let (a, b, c) = (((0, -1), 1), ((-1, 0), -1), ((1, -1), 0));
    assert_ne!(dom_pair(dom_pair(a, b), c), dom_pair(a, dom_pair(b, c)));

    // A key of ours is an Atom, and all Atoms are comparable: also the Lists of these vectors.
    let ours = |(key, value): Pair| {
        let at = Atom::parse(&format!("[{},{}]", key.0, key.1)).unwrap();
        Epoch::of(at, hpc_core::lattice::max::Max::of(Atom::Int(value)))
    };
    let (a, b, c) = (ours(a), ours(b), ours(c));
    assert_eq!(lub(&lub(&a, &b), &c), lub(&a, &lub(&b, &c)));
}

/// Adding is no join: a retry would count twice.
#[test]
fn a_sum_of_amounts_is_not_idempotent() {
    let added = |a: i64, b: i64| a + b;
    assert_ne!(added(5, 5), 5);

    let total = Sum::of("hub-a".into(), 3, 5);
    assert_eq!(join(&total, &total), (total.clone(), false));
}

/// Two Hubs under one id, or a total from a fork of the log: visible nonsense, but one nonsense.
#[test]
fn unequal_totals_at_one_seq_still_commute() {
    let (a, b) = (Sum::of("hub-a".into(), 3, 5), Sum::of("hub-a".into(), 3, 6));
    assert_eq!(lub(&a, &b), lub(&b, &a));
}

/// i64 arithmetic that wraps, or stops at each step, depends on the order of the Hubs.
#[test]
fn a_sum_beyond_i64_stops_once_at_the_end() {
    let mut sum = Sum::of("a".into(), 1, i64::MAX);
    sum.join(&Sum::of("b".into(), 1, i64::MAX));
    assert_eq!(sum.value(), i64::MAX);
    sum.join(&Sum::of("c".into(), 1, -i64::MAX));
    assert_eq!(sum.value(), i64::MAX);
    sum.join(&Sum::of("d".into(), 1, -i64::MAX));
    assert_eq!(sum.value(), 0);
}

/// `Option` puts None below everything, so its own `min` would make absence win for ever.
#[test]
fn min_by_the_order_of_option_has_no_unit() {
    assert_eq!(Some(3).min(None), None);
    let three = Min::of(Atom::Int(3));
    assert_eq!(lub(&three, &Min::bot()), three);
}

/// IEEE comparison knows two zeros that are equal with unequal bytes, and NaN equal to nothing.
#[test]
fn floats_that_break_the_order_cannot_be_made() {
    assert!(-0.0_f64 == 0.0 && (-0.0_f64).to_bits() != 0.0_f64.to_bits());
    assert_eq!(Atom::float(-0.0).unwrap().to_json(), "0.0");
    assert!(Atom::float(f64::NAN).is_err());
}

/// Keeping the first values that came depends on who came first.
#[test]
fn a_set_that_keeps_the_first_four_does_not_commute() {
    let keep_first = |a: &[i64], b: &[i64]| {
        let mut kept: Vec<i64> = a.iter().chain(b).copied().take(4).collect();
        kept.sort_unstable();
        kept
    };
    let (a, b) = ([1, 2, 3], [4, 5]);
    assert_ne!(keep_first(&a, &b), keep_first(&b, &a));

    let [a, b] = [&a[..], &b[..]].map(|said| Once::from_iter(said.iter().copied().map(Atom::Int)));
    assert_eq!(lub(&a, &b), lub(&b, &a));
    assert!(lub(&a, &b).is_overflowed());
}

/// An epoch's delta within one key must not be the key with a bottom: that would poke for nothing.
#[test]
fn an_epoch_that_knows_sends_nothing() {
    let up = Epoch::of(Atom::Int(1), Or(true));
    assert_eq!(up.delta(&Epoch::of(Atom::Int(1), Or(false))), Epoch::bot());
    // A higher key says something even with a bottom: the former life is over.
    let reborn = Epoch::of(Atom::Int(2), Or(false));
    assert_eq!(up.delta(&reborn), reborn);
}

/// All elements of a small capped set: the values 0 to 3, at most two kept, with and without flag.
fn all_capped() -> Vec<Capped<2>> {
    let values = (0..16).map(|bits| (0..4).filter(move |bit| bits & 1 << bit != 0));
    let plain = values.map(|set| Capped::from_iter(set.map(Atom::Int)));
    let plain: Vec<Capped<2>> = plain.filter(|capped| !capped.is_overflowed()).collect();
    let over: Capped<2> = (0..3).map(Atom::Int).collect();
    let known: Capped<2> = (0..2).map(Atom::Int).collect();
    // The bare flag: what leads from {0, 1} to the same with overflow.
    let flag = known.delta(&over);
    assert!(flag.is_overflowed() && flag.values().is_empty());
    plain
        .iter()
        .flat_map(|capped| [capped.clone(), lub(capped, &flag)])
        .collect()
}

/// Random elements seldom meet at the cap, so there every triple is tried.
#[test]
fn capped_sets_keep_every_law_at_the_cap() {
    let all = all_capped();
    assert_eq!(all.len(), 22);
    for a in &all {
        for b in &all {
            let (joined, grew) = join(a, b);
            assert_eq!(joined, lub(b, a));
            assert_eq!(grew, joined != *a);
            let delta = a.delta(b);
            assert_eq!(lub(a, &delta), joined);
            assert!(delta.leq(b));
            for c in &all {
                assert_eq!(lub(&joined, c), lub(a, &lub(b, c)));
                let leads = lub(a, c) == joined;
                assert!(
                    !leads || !c.leq(&delta) || *c == delta,
                    "{c:?} is below {delta:?}"
                );
                let has_least = a.is_overflowed() || !joined.is_overflowed();
                assert!(!leads || !has_least || delta.leq(c));
            }
        }
    }
}

/// Why a delta past the cap is only minimal: two ways lead there, and nothing below both does.
#[test]
fn past_the_cap_no_least_delta_exists() {
    let known: Capped<2> = (0..2).map(Atom::Int).collect();
    let over = lub(&known, &Capped::of(Atom::Int(2)));
    let ways = [
        Capped::of(Atom::Int(2)),
        Capped::of(Atom::Int(3)),
        known.delta(&over),
    ];
    for way in &ways {
        assert_eq!(lub(&known, way), over);
        let others = ways.iter().filter(|other| *other != way);
        assert!(others.into_iter().all(|other| !way.leq(other)));
    }
    let below = |low: &Capped<2>| ways.iter().all(|way| low.leq(way));
    assert!(
        all_capped()
            .iter()
            .filter(|low| below(low))
            .all(|low| lub(&known, low) != over)
    );
}
