//! What a queued job costs: jobs of one task, each with a command of its own.

use hpc_core::logic::state::State;

use crate::desk::Desk;
use crate::measure::{live_bytes, timed};

/// Jobs of one batch.
const BATCH: usize = 1_000;

/// The registrations of the namespace `batch` and of its generator, as the package makes them.
const BATCH_SPEC: [&str; 2] = [include_str!("batch_namespace.json"), include_str!("batch_generator.json")];

/// What a job costs.
pub struct Queued {
    /// CPU time of a job, in ns.
    pub ns: f64,
    /// Bytes of a job.
    pub bytes: f64,
    /// What takes them, each copied by itself.
    pub parts: [(&'static str, f64); 4],
}

/// As many jobs as are asked for.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn run(jobs: usize) -> Queued {
    let bodies: Vec<String> = (0..jobs).step_by(BATCH).map(body).collect();
    let mut desk = Desk::with(&BATCH_SPEC);
    let before = live_bytes();
    let ((), ns) = timed(|| {
        for body in &bodies {
            desk.ask("ingest", "", body.as_bytes());
        }
    });
    let each = |bytes: usize| bytes as f64 / jobs as f64;
    let bytes = each(live_bytes() - before);
    let state: &State = desk.0.state();
    assert_eq!(state.jobs.len(), jobs);
    assert_eq!(state.queue.ahead("batch", LAST).count(), jobs, "all are ready");
    let parts = [
        ("jobs", copied(&state.jobs)),
        ("queue", copied(&state.queue)),
        ("facts of the kernel", copied(&state.kernel)),
        ("facts of generators", copied(&state.generators)),
    ];
    Queued { ns: ns as f64 / jobs as f64, bytes, parts: parts.map(|(name, bytes)| (name, each(bytes))) }
}

const LAST: hpc_core::logic::queue::Rank =
    hpc_core::logic::queue::Rank { priority: std::cmp::Reverse(i64::MIN), seq: u64::MAX };

/// How many bytes a copy takes.
fn copied<T: Clone>(part: &T) -> usize {
    let before = live_bytes();
    let copy = part.clone();
    let bytes = live_bytes() - before;
    drop(copy);
    bytes
}

fn body(first: usize) -> String {
    let events: Vec<String> = (first..first + BATCH)
        .map(|n| {
            format!(
                r#"{{"kind":"SubmitJob","payload":{{"ctx":{{"job_id":"j{n}","ns_id":"batch"}},"spec":{{"args":["--seed={n}"],"command":"/bin/true","cpu":1,"memory":16}}}}}}"#
            )
        })
        .collect();
    format!(r#"{{"id":"jobs-{first}","events":[{}]}}"#, events.join(","))
}
