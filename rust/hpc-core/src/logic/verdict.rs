//! Verdicts: what an event settles. Decided once, by the Hub that records it, in log order.
//!
//! Protocol R5 to R8 and R30: the first `ok` of any attempt; a failure of the active attempt; a
//! cancel at its commit; poison. There is no precedence among outcomes, and no reader repeats the
//! choice: it is written into the entry as `settles`.

use super::attempts::{NodeIx, Outcome, Settles};
use super::columns;
use super::job::Job;
use crate::domain::json::{Map, Value};
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

/// A task whose relay was lost this often while it ran is poison.
pub const LOSSES_MAX: u32 = 3;

/// What a report of ended tasks settles.
#[must_use]
pub fn of_finish(
    job: &Job,
    spec: &Map<'_>,
    tasks: &TaskSet,
    attempt: u32,
    node: NodeIx,
) -> Settles {
    let mut settles = Settles::default();
    let lease = job.lease(attempt, node);
    let active = lease.map_or_else(TaskSet::new, |lease| lease.tasks.intersection(tasks));
    // Only what was leased to that node can count: anything else is evidence.
    let leased = job.leased_ever(attempt, node, tasks);
    for (ending, figures) in columns::group(spec, tasks, &leased) {
        let (outcome, counted) = if ending.is_ok() {
            (Outcome::Succeeded, figures.tasks)
        } else {
            (Outcome::Failed, figures.tasks.intersection(&active))
        };
        settles.of_mut(outcome).join(&job.unsettled_among(&counted));
    }
    settles
}

/// What a cancel settles: everything that has no outcome, whether or not anything runs.
#[must_use]
pub fn of_cancel(job: &Job, tasks: Option<&TaskSet>) -> Settles {
    let mut settles = Settles::default();
    *settles.of_mut(Outcome::Cancelled) = job.unsettled_among(tasks.unwrap_or(&job.tasks));
    settles
}

/// What a loss settles: tasks that were lost too often while they ran. That one did may have been
/// told only after its loss; then the next loss settles it, whether or not that one had started.
#[must_use]
pub fn of_loss(job: &Job, tasks: &TaskSet, attempt: u32, node: NodeIx) -> Settles {
    let mut settles = Settles::default();
    let Some(lease) = job.lease(attempt, node) else {
        return settles;
    };
    let lost = lease.tasks.intersection(tasks);
    let started = lease.started.intersection(tasks);
    let known = job
        .losses
        .keys()
        .copied()
        .filter(|task| lost.contains(*task));
    let poison = started.iter().chain(known).filter(|task| {
        let before = job.losses.get(task).copied().unwrap_or_default();
        before + u32::from(started.contains(*task)) >= LOSSES_MAX
    });
    *settles.of_mut(Outcome::Failed) = poison.collect();
    settles
}

impl Settles {
    /// The form that stands in the log.
    #[must_use]
    pub fn to_map(&self) -> Map<'static> {
        let sets = Outcome::ALL.into_iter().filter(|o| !self.of(*o).is_empty());
        sets.map(|o| (o.wire(), Value::text(self.of(o).to_string())))
            .collect()
    }

    /// Reads the form that stands in the log.
    #[must_use]
    pub fn from_map(map: &Map<'_>) -> Self {
        let mut settles = Self::default();
        for outcome in Outcome::ALL {
            if let Some(Ok(tasks)) = map.str(outcome.wire()).map(TaskSet::parse) {
                *settles.of_mut(outcome) = tasks;
            }
        }
        settles
    }
}
