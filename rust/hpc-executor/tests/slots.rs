//! The book of the relay's offer: no value is ever with two tasks, and all of them come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a test may stop at once

use std::collections::{BTreeMap, BTreeSet};

use hpc_executor::slots::{Asked, Slots, Stock, Taken};
use proptest::collection::vec;
use proptest::prelude::*;

const CPUS: u32 = 4;
const MIB: u64 = 100;
const SUM: u64 = 7;
const GPUS: [&str; 5] = ["0", "1", "GPU-7f", "3", "MIG-9"];
const PORTS: [&str; 2] = ["8000", "8001"];

fn pool(values: &[&str]) -> Stock {
    Stock::Pool(values.iter().map(|value| (*value).to_owned()).collect())
}

fn slots() -> Slots {
    let mut slots = Slots::new((0..CPUS).collect(), MIB);
    slots.stock(BTreeMap::from([
        ("gpus".to_owned(), pool(&GPUS)),
        ("ports".to_owned(), pool(&PORTS)),
        ("licences".to_owned(), Stock::Sum(SUM)),
    ]));
    slots
}

fn asked(cpus: u32, mib: u64, named: &[(&str, u64)]) -> Asked {
    let named = named.iter().filter(|(_, amount)| *amount > 0);
    Asked {
        cpus,
        mib,
        named: named.map(|(name, n)| ((*name).to_owned(), *n)).collect(),
    }
}

/// What is with a task, as its environment says it.
fn shown(slots: &Slots, taken: &Taken) -> BTreeMap<String, String> {
    let shown = slots.shown(taken).into_iter();
    shown
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn values(shown: &BTreeMap<String, String>, name: &str) -> Vec<String> {
    let text = shown.get(name).map(String::as_str).unwrap_or_default();
    let parts = text.split(',').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// One thing that happens: a task asks, or the task at this place of those that run ends.
#[derive(Clone, Debug)]
enum Step {
    Ask(Asked),
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // One more of each than there is, so that what can never fit is asked for too.
    let ask = (0..=CPUS + 1, 0..=MIB + 1, 0..=6_u64, 0..=3_u64, 0..=SUM + 1).prop_map(
        |(cpus, mib, gpus, ports, licences)| {
            let named = [("gpus", gpus), ("ports", ports), ("licences", licences)];
            Step::Ask(asked(cpus, mib, &named))
        },
    );
    let small = (0..=1_u32, 0..=30_u64, 0..=2_u64, 0..=1_u64, 0..=3_u64).prop_map(
        |(cpus, mib, gpus, ports, licences)| {
            let named = [("gpus", gpus), ("ports", ports), ("licences", licences)];
            Step::Ask(asked(cpus, mib, &named))
        },
    );
    let end = any::<usize>().prop_map(Step::End);
    vec(prop_oneof![1 => ask, 4 => small, 3 => end], 0..60)
}

proptest! {
    #[test]
    fn no_value_is_with_two_tasks_and_all_come_back(steps in steps()) {
        let mut slots = slots();
        let mut running: Vec<(Asked, Taken, BTreeMap<String, String>)> = Vec::new();
        for step in steps {
            match step {
                Step::End(_) if running.is_empty() => {}
                Step::End(place) => {
                    let (_, taken, _) = running.swap_remove(place % running.len());
                    slots.give(taken);
                }
                Step::Ask(asked) => {
                    let sum = |of: fn(&Asked) -> u64| {
                        running.iter().map(|(asked, ..)| of(asked)).sum::<u64>() + of(&asked)
                    };
                    let named = |asked: &Asked, name: &str| asked.named.get(name).copied().unwrap_or(0);
                    let fits = sum(|a| u64::from(a.cpus)) <= u64::from(CPUS)
                        && sum(|a| a.mib) <= MIB
                        && [("gpus", GPUS.len() as u64), ("ports", PORTS.len() as u64), ("licences", SUM)]
                            .iter()
                            .all(|(name, total)| {
                                let held: u64 = running.iter().map(|(a, ..)| named(a, name)).sum();
                                held + named(&asked, name) <= *total
                            });
                    let taken = slots.take(&asked);
                    prop_assert_eq!(taken.is_some(), fits);
                    if let Some(taken) = taken {
                        prop_assert!(slots.could_fit(&asked).is_ok());
                        let shown = shown(&slots, &taken);
                        prop_assert_eq!(values(&shown, "gpus").len() as u64, named(&asked, "gpus"));
                        prop_assert_eq!(taken.cpus.len(), asked.cpus as usize);
                        running.push((asked, taken, shown));
                    }
                }
            }
            let mut held = BTreeSet::new();
            for (_, taken, shown) in &running {
                for cpu in &taken.cpus {
                    prop_assert!(held.insert(("cpus", cpu.to_string())));
                }
                for name in ["gpus", "ports"] {
                    for value in values(shown, name) {
                        prop_assert!(held.insert((name, value)));
                    }
                }
            }
        }
        for (_, taken, _) in running {
            slots.give(taken);
        }
        let all = asked(CPUS, MIB, &[("gpus", 5), ("ports", 2), ("licences", SUM)]);
        let whole = slots.take(&all).expect("everything is free again");
        let shown = shown(&slots, &whole);
        prop_assert_eq!(&shown["gpus"], &GPUS.join(","));
        prop_assert_eq!(&shown["ports"], &PORTS.join(","));
        prop_assert_eq!(&shown["licences"], &SUM.to_string());
    }
}

#[test]
fn the_first_that_are_free_are_taken() {
    let mut slots = slots();
    let two = asked(0, 0, &[("gpus", 2)]);
    let first = slots.take(&two).unwrap();
    let second = slots.take(&two).unwrap();
    assert_eq!(shown(&slots, &first)["gpus"], "0,1");
    assert_eq!(shown(&slots, &second)["gpus"], "GPU-7f,3");
    slots.give(first);
    let three = slots.take(&asked(0, 0, &[("gpus", 3)])).unwrap();
    assert_eq!(shown(&slots, &three)["gpus"], "0,1,MIG-9");
}

#[test]
fn what_is_refused_takes_nothing() {
    let mut slots = slots();
    let cores = slots.take(&asked(3, 0, &[("ports", 1)])).unwrap();
    assert!(
        slots
            .take(&asked(1, 0, &[("gpus", 5), ("ports", 2)]))
            .is_none()
    );
    assert!(slots.take(&asked(2, 0, &[("gpus", 1)])).is_none());
    assert!(
        slots
            .take(&asked(1, MIB, &[("gpus", 5), ("ports", 1)]))
            .is_some()
    );
    slots.give(cores);
}

#[test]
fn what_can_never_fit_is_named() {
    let slots = slots();
    let told = |asked: &Asked| slots.could_fit(asked).unwrap_err();
    assert_eq!(
        told(&asked(1, 1, &[("fpgas", 1)])),
        "`fpgas` is nothing that this relay offers"
    );
    assert_eq!(
        told(&asked(1, 1, &[("gpus", 6)])),
        "6 of `gpus`: this relay offers 5"
    );
    assert_eq!(
        told(&asked(5, 1, &[])),
        "5 cpus and 1 MiB are more than this relay offers"
    );
    assert!(
        slots
            .could_fit(&asked(4, MIB, &[("licences", SUM)]))
            .is_ok()
    );
}
