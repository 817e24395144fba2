//! Dependencies: when a job has come so far that those after it may run, or never will.
//!
//! Whoever comes after a job is found by that job's id, so a report costs its dependents and no more.
//! What can never be met is settled by an entry of the Hub's own in the same commit (protocol R6).

use super::gate::{Condition, Standing};
use super::hub::{Fault, Hub, NewEvent, map};
use super::job::Job;
use super::queue::JobIx;
use super::state::State;
use crate::domain::json::Value;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

/// What one job means for tasks of another that comes after it.
struct Meaning {
    /// Those that need not wait for it.
    free: TaskSet,
    /// Those for which it can never be met.
    doomed: TaskSet,
    /// How far it has come as a whole.
    whole: Standing,
}

fn meaning(of: &Job, condition: Condition, by_task: bool, tasks: &TaskSet) -> Meaning {
    let whole = of.standing(condition);
    if !by_task {
        let all_if = |is: bool| if is { tasks.clone() } else { TaskSet::new() };
        return Meaning {
            free: all_if(whole == Standing::Met),
            doomed: all_if(whole == Standing::Never),
            whole,
        };
    }
    let [succeeded, failed, cancelled] = super::attempts::Outcome::ALL.map(|o| of.settled.of(o));
    let (met, never) = match condition {
        Condition::Succeeded => (succeeded.clone(), failed.union(cancelled)),
        Condition::Settled => (of.settled.all(), TaskSet::new()),
        Condition::Failed => (failed.clone(), succeeded.union(cancelled)),
    };
    let mut free = tasks.intersection(&met);
    let mut doomed = tasks.intersection(&never);
    // A task that the other does not have comes after the whole of it.
    let alone = tasks.difference(&of.tasks);
    match whole {
        Standing::Met => free.join(&alone),
        Standing::Never => doomed.join(&alone),
        Standing::Open => false,
    };
    Meaning {
        free,
        doomed,
        whole,
    }
}

impl State {
    /// Remembers who comes after whom, and looks how far those have come.
    pub(super) fn depend(&mut self, ix: JobIx) {
        let after = self.jobs.live(ix).and_then(|job| job.gate.as_ref());
        let after = after.filter(|gate| !gate.is_met).map(|gate| &gate.after);
        for (_, id) in after.into_iter().flatten() {
            let dependents = self.dependents.entry(id.clone()).or_default();
            if dependents.last() != Some(&ix) {
                dependents.push(ix);
            }
        }
    }

    /// Looks at those that come after a job, some tasks of which were settled, or which is new.
    pub(super) fn reconsider_after(&mut self, ix: JobIx) {
        if self.dependents.is_empty() {
            return;
        }
        let Some(id) = self.jobs.id(ix) else {
            return;
        };
        for dependent in self.dependents.get(id).cloned().unwrap_or_default() {
            self.reconsider(dependent);
        }
    }

    /// Looks whether tasks of a job that wait for others need not wait any more, or wait in vain.
    pub(super) fn reconsider(&mut self, ix: JobIx) {
        let Some(job) = self.jobs.live(ix) else {
            return;
        };
        let Some(gate) = job.gate.as_ref().filter(|gate| !gate.is_met) else {
            return;
        };
        let (mut free, mut is_met, mut is_doomed) = (job.tasks.clone(), true, false);
        for (condition, id) in &gate.after {
            let of = self.jobs.find(id).and_then(|of| self.jobs.get(of));
            let Some(of) = of else {
                (free, is_met) = (TaskSet::new(), false);
                continue;
            };
            let meaning = meaning(&of, *condition, gate.by_task, &job.tasks);
            free = free.intersection(&meaning.free);
            is_met &= meaning.whole == Standing::Met;
            is_doomed |= !meaning.doomed.is_empty();
        }
        let is_news = is_met || !free.is_subset(&gate.released);
        if is_news {
            self.change_job(ix, None, |job| {
                let gate = job.gate_mut();
                gate.is_met = is_met;
                gate.released.join(&free);
                job.regate(None);
            });
        }
        if is_doomed {
            self.doomed.push(ix);
        }
    }

    /// The tasks of a job that wait in vain, and for which job.
    fn doomed_tasks(&self, ix: JobIx) -> Option<(TaskSet, String)> {
        let job = self.jobs.live(ix)?;
        let gate = job.gate.as_ref()?;
        let (mut doomed, mut whose) = (TaskSet::new(), None);
        for (condition, id) in &gate.after {
            let of = self.jobs.find(id).and_then(|of| self.jobs.get(of));
            let Some(of) = of else {
                continue;
            };
            let meaning = meaning(&of, *condition, gate.by_task, &job.tasks);
            if !meaning.doomed.is_empty() {
                doomed.join(&meaning.doomed);
                whose.get_or_insert_with(|| reason(id, *condition));
            }
        }
        doomed.subtract(&gate.released);
        let doomed = job.unsettled_among(&doomed);
        (!doomed.is_empty()).then(|| (doomed, whose.unwrap_or_default()))
    }
}

fn reason(id: &str, condition: Condition) -> String {
    match condition {
        Condition::Failed => format!("job {id} did not fail"),
        _ => format!("job {id} did not succeed"),
    }
}

impl Hub {
    /// Settles what waits in vain, and what waits for that in turn.
    ///
    /// # Errors
    /// A mistake of ours.
    pub(super) fn settle_doomed(&mut self) -> Result<(), Fault> {
        if self.state.doomed.is_empty() {
            return Ok(());
        }
        let mut row = self.begin_row();
        while let Some(ix) = self.state.doomed.pop() {
            let Some((tasks, reason)) = self.state.doomed_tasks(ix) else {
                continue;
            };
            let Some(job) = self.state.jobs.live(ix) else {
                continue;
            };
            let ctx = map([
                ("ns_id", Value::text(job.ns_id.clone())),
                ("job_id", Value::text(job.id.to_string())),
                ("tasks", Value::text(tasks.to_string())),
            ]);
            let spec = map([
                ("cause", Value::text("dependency")),
                ("reason", Value::text(reason)),
            ]);
            self.record(&mut row, &NewEvent::own("CancelJob", &ctx, &spec))?;
        }
        self.end_own_row(row);
        Ok(())
    }
}
