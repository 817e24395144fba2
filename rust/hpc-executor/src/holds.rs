//! holds: what a relay names in its claims.
//!
//! Tasks that run, are queued, or have ended and are not acknowledged (protocol.md R13): who is
//! offered one of them again must not start it.

use std::collections::HashMap;
use std::sync::Arc;

use hpc_core::lattice::Lattice;
use hpc_core::lattice::tasks::TaskSet;

use crate::capture::Source;
use crate::record::Span;
use crate::work::Lease;

/// Held tasks by job and attempt.
#[derive(Default)]
pub struct Holds {
    by_attempt: HashMap<(String, u64), TaskSet>,
}

impl Holds {
    /// Adds tasks; returns those that were not held.
    pub fn add(&mut self, lease: &Lease, tasks: &TaskSet) -> TaskSet {
        if tasks.is_empty() {
            return TaskSet::new();
        }
        let key = (lease.job_id.clone(), lease.attempt);
        let held = self.by_attempt.entry(key).or_default();
        let new = tasks.difference(held);
        held.join(&new);
        new
    }

    /// Forgets what was acknowledged.
    pub fn remove(&mut self, ended: &[(Arc<Lease>, Span)]) {
        let mut sets: Vec<(&Arc<Lease>, TaskSet)> = Vec::new();
        for (lease, Span(first, last)) in ended {
            let place = sets.iter().position(|(known, _)| *known == lease);
            let set = match place.and_then(|place| sets.get_mut(place)) {
                Some((_, set)) => set,
                None => {
                    sets.push((lease, TaskSet::range(*first, *last)));
                    continue;
                }
            };
            if first == last {
                set.insert(*first);
            } else {
                set.join(&TaskSet::range(*first, *last));
            }
        }
        for (lease, tasks) in sets {
            let key = (lease.job_id.clone(), lease.attempt);
            if let Some(held) = self.by_attempt.get_mut(&key) {
                held.subtract(&tasks);
                if held.is_empty() {
                    self.by_attempt.remove(&key);
                }
            }
        }
    }

    /// Whether the task of a stream is held, in the attempt that wrote it.
    #[must_use]
    pub fn contains(&self, source: &Source) -> bool {
        let key = (source.job_id.clone(), source.attempt);
        let held = self.by_attempt.get(&key);
        held.is_some_and(|tasks| tasks.contains(source.task))
    }

    /// Whether a task is held, in whatever attempt.
    #[must_use]
    pub fn has(&self, job_id: &str, task: u32) -> bool {
        let mut all = self.by_attempt.iter();
        all.any(|((job, _), tasks)| job == job_id && tasks.contains(task))
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_attempt.is_empty()
    }

    /// The list of a claim, as JSON.
    ///
    /// ```
    /// use hpc_executor::holds::Holds;
    /// assert_eq!(Holds::default().to_json(), "[]");
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let entries: Vec<String> = self
            .by_attempt
            .iter()
            // A job's id needs no escaping: `Lot::new` takes ids only.
            .map(|((job_id, attempt), tasks)| {
                format!("{{\"job_id\":\"{job_id}\",\"attempt\":{attempt},\"tasks\":\"{tasks}\"}}")
            })
            .collect();
        format!("[{}]", entries.join(","))
    }
}
