//! What is forgotten is the top of its row: the kernel's facts are a join still, in any order.

use hpc_core::domain::event::{Ctx, KernelKind};
use hpc_core::domain::json::{Map, decode};
use hpc_core::lattice::last::Stamp;
use hpc_core::lattice::tasks::TaskSet;
use hpc_core::logic::attempts::Settles;
use hpc_core::logic::kernel::{Entry, KernelFacts};
use proptest::prelude::*;

/// What is said of one job, in the order of a log: kind, ctx beside the id, spec, what it settles.
const SAID: [(KernelKind, &str, &str, &str); 8] = [
    (
        KernelKind::SubmitJob,
        r#""ns_id":"ns","tasks":"0-1","name":"x""#,
        r#"{"n":1}"#,
        "{}",
    ),
    // Another Hub's word: a conflict, which goes with the row.
    (
        KernelKind::SubmitJob,
        r#""ns_id":"ns","tasks":"0-1""#,
        r#"{"n":2}"#,
        "{}",
    ),
    (KernelKind::HoldJob, r#""tasks":"1""#, "{}", "{}"),
    (KernelKind::JobStarted, r#""tasks":"0""#, "{}", "{}"),
    (
        KernelKind::JobFinished,
        r#""tasks":"0""#,
        "{}",
        r#"{"succeeded":"0"}"#,
    ),
    (
        KernelKind::CancelJob,
        r#""tasks":"1""#,
        "{}",
        r#"{"cancelled":"1"}"#,
    ),
    (
        KernelKind::ForgetJob,
        "",
        r#"{"outcome":"cancelled"}"#,
        "{}",
    ),
    (KernelKind::JobFinished, r#""tasks":"1""#, "{}", "{}"),
];

fn map(text: &str) -> Map<'static> {
    let value = decode(text.as_bytes()).unwrap();
    value.as_map().unwrap().clone().into_owned()
}

/// Joins what is said of jobs `a`, `b` and so on, by the places in [`SAID`], in this order.
fn joined(order: &[(char, usize)]) -> KernelFacts {
    let mut facts = KernelFacts::default();
    for (seq, (job, place)) in (1..).zip(order) {
        let (kind, ctx, spec, settles) = SAID[*place];
        let comma = if ctx.is_empty() { "" } else { "," };
        let ctx = map(&format!(r#"{{"job_id":"{job}"{comma}{ctx}}}"#));
        let (spec, settles) = (map(spec), Settles::from_map(&map(settles)));
        let entry = Entry {
            seq,
            stamp: Stamp {
                at: i64::try_from(*place).unwrap(),
                counter: 0,
            },
            kind,
            ctx: Ctx::new(&ctx),
            spec: &spec,
            settles: &settles,
        };
        let tasks = entry.ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
        facts.apply(&entry, &tasks, false).unwrap();
    }
    facts
}

fn told(facts: &KernelFacts) -> String {
    facts.facts().pull(0, u64::MAX, usize::MAX, None).facts
}

proptest! {
    /// M3 of the kernel, what is forgotten among it.
    #[test]
    fn order_and_repeats_do_not_matter_where_jobs_are_forgotten(
        said in prop::collection::vec((prop::sample::select(vec!['a', 'b', 'c']), 0..SAID.len()), 0..24),
        again in any::<prop::sample::Index>(),
        shuffled in any::<u64>(),
    ) {
        let once = joined(&said);
        let mut other = said.clone();
        if !said.is_empty() {
            other.push(said[again.index(said.len())]);
        }
        // A permutation of it, whatever the number.
        let mut state = shuffled;
        for at in (1..other.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            other.swap(at, usize::try_from(state >> 33).unwrap() % (at + 1));
        }
        let facts = joined(&other);
        prop_assert_eq!(told(&facts), told(&once));
        prop_assert_eq!(facts.conflicts(), once.conflicts());
        for job in ['a', 'b', 'c'] {
            let is_forgotten = said.contains(&(job, 6));
            prop_assert_eq!(facts.is_forgotten(&job.to_string()), is_forgotten);
            let has_row = facts.facts().find("jobs", &job.to_string(), "finished_at").is_some();
            prop_assert!(!(is_forgotten && has_row));
        }
    }

    /// E2, E4: who knew less, or what was there before, and joins what is told since, knows all.
    #[test]
    fn a_forgotten_row_absorbs_what_a_reader_knew(
        said in prop::collection::vec((prop::sample::select(vec!['a', 'b']), 0..SAID.len()), 0..16),
        split in any::<prop::sample::Index>(),
    ) {
        let split = if said.is_empty() { 0 } else { split.index(said.len()) };
        let (then, now) = (joined(&said[..split]), joined(&said));
        let since = now.facts().pull(split as u64, u64::MAX, usize::MAX, None).facts;
        let mut known: serde_json::Value = serde_json::from_str(&told(&then)).unwrap();
        let since: serde_json::Value = serde_json::from_str(&since).unwrap();
        for (table, rows) in since.as_object().unwrap() {
            for (key, cells) in rows.as_object().unwrap() {
                for (column, value) in cells.as_object().unwrap() {
                    known[table][key][column] = value.clone();
                }
            }
        }
        let forgotten = known["forgotten"].as_object().cloned().unwrap_or_default();
        if let Some(jobs) = known["jobs"].as_object_mut() {
            jobs.retain(|job, _| !forgotten.contains_key(job));
        }
        let mut all: serde_json::Value = serde_json::from_str(&told(&now)).unwrap();
        for side in [&mut known, &mut all] {
            let tables = side.as_object_mut().unwrap();
            tables.retain(|_, rows| rows.as_object().is_some_and(|rows| !rows.is_empty()));
        }
        prop_assert_eq!(known, all);
    }
}
