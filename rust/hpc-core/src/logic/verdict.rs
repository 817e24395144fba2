//! Verdicts: what an event settles. Decided once, by the Hub that records it, in log order.
//!
//! Protocol R5 to R8 and R30: the first `ok` of any attempt; a failure of the active attempt; a
//! cancel at its commit; poison. There is no precedence among outcomes, and no reader repeats the
//! choice: it is written into the entry as `settles`.

use super::attempts::{NodeIx, Outcome, Settles};
use super::columns::{self, Ending};
use super::job::Job;
use crate::domain::json::{Map, Value};
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// The causes of a failure that may be another one the next time.
const RETRIED: [&str; 5] = ["exit", "signal", "oom", "time limit", "output limit"];

/// A task whose relay was lost this often while it ran is poison.
pub const LOSSES_MAX: u32 = 3;

/// What a report of ended tasks settles. A failure that may be tried again settles nothing; where
/// more tasks have failed than the job allows, all others are cancelled with them.
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
        let (outcome, mut counted) = if ending.is_ok() {
            (Outcome::Succeeded, figures.tasks)
        } else {
            (Outcome::Failed, figures.tasks.intersection(&active))
        };
        if ending.is_ok() && is_broken(Rule::R8Ok) {
            counted = counted.intersection(&active);
        } else if !ending.is_ok() && is_broken(Rule::R8) {
            counted = job.leased_ever(attempt, node, tasks);
        }
        if outcome == Outcome::Failed && retries_on(job, &ending) {
            counted.subtract(&job.may_retry(&counted));
        }
        if !is_broken(Rule::R5) {
            counted = job.unsettled_among(&counted);
        }
        settles.tasks.of_mut(outcome).join(&counted);
    }
    let failed = settles.tasks.of(Outcome::Failed);
    if !failed.is_empty()
        && let Some(max) = job.max_fails()
        && job.settled.of(Outcome::Failed).len() + failed.len() > max
    {
        let mut rest = job.unsettled_among(&job.tasks);
        rest.subtract(&settles.tasks.all());
        *settles.tasks.of_mut(Outcome::Cancelled) = rest;
    }
    settles
}

/// Whether a job's tasks that ended so are tried again: those that failed by themselves, or what its
/// `retry_on` lists, by cause, exit code or 128 + signal.
fn retries_on(job: &Job, ending: &Ending) -> bool {
    if job.gate.as_ref().is_none_or(|gate| gate.retries == 0) {
        return false;
    }
    let spec = crate::domain::json::decode(job.spec.as_bytes());
    let spec = spec.as_ref().ok().and_then(Value::as_map);
    let cause = ending.cause();
    let Some(listed) = spec.and_then(|spec| spec.get("retry_on")?.as_list()) else {
        return RETRIED.contains(&cause);
    };
    let code = ending
        .exit_code
        .or(ending.signal.map(|signal| 128 + signal));
    let code = code.map(|code| code.to_string());
    listed.iter().any(|listed| match listed {
        Value::Int(n) => code.as_ref().is_some_and(|code| *code == n.to_string()),
        Value::Str(text) => *text == cause || code.as_deref() == Some(text),
        _ => false,
    })
}

/// What a cancel settles: everything that has no outcome, whether or not anything runs.
#[must_use]
pub fn of_cancel(job: &Job, tasks: Option<&TaskSet>) -> Settles {
    let mut settles = Settles::default();
    let mut cancelled = job.unsettled_among(tasks.unwrap_or(&job.tasks));
    if is_broken(Rule::R30) {
        for lease in &job.leases {
            cancelled.subtract(&lease.tasks);
        }
    }
    *settles.tasks.of_mut(Outcome::Cancelled) = cancelled;
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
        before + u32::from(started.contains(*task)) >= LOSSES_MAX || is_broken(Rule::Poison)
    });
    *settles.tasks.of_mut(Outcome::Failed) = poison.collect();
    settles
}

impl Settles {
    /// Says which of them are in a further round of the job.
    pub(super) fn sort_by_round(&mut self, job: &Job) {
        let Some(gate) = job.gate.as_ref().filter(|gate| !gate.rounds.is_empty()) else {
            return;
        };
        for outcome in Outcome::ALL {
            for (round, tasks) in gate.by_round(self.tasks.of(outcome)) {
                let round = u32::try_from(round).unwrap_or(u32::MAX);
                self.note_round(round, outcome, tasks);
            }
        }
    }

    /// The form that stands in the log: `{OUTCOME: TASKS}`, of further rounds `{ROUND/OUTCOME: TASKS}`.
    #[must_use]
    pub fn to_map(&self) -> Map<'static> {
        let mut map = Map::new();
        for outcome in Outcome::ALL {
            let tasks = self.in_first_round(outcome);
            if !tasks.is_empty() {
                map.insert(outcome.wire(), Value::text(tasks.to_string()));
            }
        }
        for (round, outcome, tasks) in self.later() {
            let key = format!("{round}/{}", outcome.wire());
            map.insert(key, Value::text(tasks.to_string()));
        }
        map
    }

    /// Reads the form that stands in the log.
    #[must_use]
    pub fn from_map(map: &Map<'_>) -> Self {
        let mut settles = Self::default();
        for (key, value) in map.iter() {
            let Some(Ok(tasks)) = value.as_str().map(TaskSet::parse) else {
                continue;
            };
            let (round, outcome) = key.split_once('/').unwrap_or(("0", key));
            match (round.parse(), Outcome::from_wire(outcome)) {
                (Ok(0), Some(outcome)) => {
                    settles.tasks.of_mut(outcome).join(&tasks);
                }
                (Ok(round), Some(outcome)) => settles.note_round(round, outcome, tasks),
                _ => {}
            }
        }
        settles
    }
}
