//! Dependencies: when a job has come so far that those after it may run, or never will.
//!
//! Whoever comes after a job is found by that job's id, so a report costs its dependents and no more.
//! What can never be met is settled by an entry of the Hub's own in the same commit (protocol R6).

use super::attempts::Settled;
use super::gate::{After, Condition, Standing};
use super::hub::{Fault, Hub, NewEvent, map};
use super::job::Job;
use super::queue::JobIx;
use super::state::State;
use crate::domain::json::Value;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// What one job means for tasks of another that comes after it.
struct Meaning {
    /// Those that need not wait for it.
    free: TaskSet,
    /// Those for which it can never be met.
    doomed: TaskSet,
    /// How far it has come as a whole.
    whole: Standing,
}

/// What a job means that has these tasks, so many of them settled, and has come so far as a whole.
fn meaning(
    (all, settled, whole): (&TaskSet, &Settled, Standing),
    condition: Condition,
    by_task: bool,
    tasks: &TaskSet,
) -> Meaning {
    if !by_task {
        let all_if = |is: bool| if is { tasks.clone() } else { TaskSet::new() };
        return Meaning {
            free: all_if(whole == Standing::Met),
            doomed: all_if(whole == Standing::Never),
            whole,
        };
    }
    let [succeeded, failed, cancelled] = super::attempts::Outcome::ALL.map(|o| settled.of(o));
    let (met, never) = match condition {
        Condition::Succeeded => (succeeded.clone(), failed.union(cancelled)),
        Condition::Settled => (settled.all(), TaskSet::new()),
        Condition::Failed => (failed.clone(), succeeded.union(cancelled)),
    };
    let mut free = tasks.intersection(&met);
    let mut doomed = tasks.intersection(&never);
    // A task that the other does not have comes after the whole of it.
    let alone = tasks.difference(all);
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
        let gate = self.jobs.live(ix).and_then(|job| job.gate.as_ref());
        let gate = gate.filter(|gate| !gate.is_met());
        for after in gate.iter().flat_map(|gate| &gate.after) {
            let dependents = self.dependents.entry(after.job_id.clone()).or_default();
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
        let Some(id) = self.jobs.id(ix).map(str::to_owned) else {
            return;
        };
        let Some(mut dependents) = self.dependents.remove(&id) else {
            return;
        };
        for dependent in &dependents {
            self.reconsider(*dependent, Some(&id));
        }
        dependents.retain(|ix| self.waits(*ix));
        if !dependents.is_empty() {
            self.dependents.insert(id, dependents);
        }
    }

    /// Whether a job waits for others still.
    fn waits(&self, ix: JobIx) -> bool {
        let job = self.jobs.live(ix).filter(|job| !job.is_settled());
        let gate = job.and_then(|job| job.gate.as_ref());
        gate.is_some_and(|gate| !gate.is_met())
    }

    /// Looks whether tasks of a job that wait for others need not wait any more, or wait in vain; of
    /// the jobs before it only at the one that has changed, where it is one.
    pub(super) fn reconsider(&mut self, ix: JobIx, changed: Option<&str>) {
        let Some(job) = self.jobs.live(ix) else {
            return;
        };
        let Some(gate) = job.gate.as_ref().filter(|gate| !gate.is_met()) else {
            return;
        };
        // Task by task all that it comes after has a say, else each by itself.
        let is_about = |after: &After| changed.is_none_or(|id| after.job_id == id);
        let (mut free, mut news) = (job.tasks.clone(), Vec::new());
        for (place, after) in gate.after.iter().enumerate() {
            if !gate.by_task && !is_about(after) {
                continue;
            }
            match self.meaning_of(after, job) {
                Some(meaning) => {
                    free = free.intersection(&meaning.free);
                    news.push((place, meaning.whole, !meaning.doomed.is_empty()));
                }
                None => free = TaskSet::new(),
            }
        }
        let is_doomed = news.iter().any(|(_, _, is_doomed)| *is_doomed);
        self.change_job(ix, None, |job| {
            let gate = job.gate_mut();
            for (place, standing, _) in &news {
                if let Some(after) = gate.after.get_mut(*place) {
                    after.standing = *standing;
                }
            }
            let is_news = gate.is_met() || gate.by_task && !free.is_subset(&gate.released);
            if gate.by_task {
                gate.released.join(&free);
            }
            if is_news {
                job.regate(None);
            }
        });
        if is_doomed {
            self.doomed.push(ix);
        }
    }

    /// What a job that comes first means for one after it; `None` before it is there.
    fn meaning_of(&self, after: &After, job: &Job) -> Option<Meaning> {
        let ix = self.jobs.find(&after.job_id)?;
        let by_task = job.gate.as_ref().is_some_and(|gate| gate.by_task);
        let (condition, tasks) = (after.condition, &job.tasks);
        // One that was forgotten had settled all its tasks.
        if let Some(of) = self.jobs.forgotten(ix) {
            let whole = of.settled.standing(condition, true);
            let of = (&of.settled.all(), &of.settled, whole);
            return Some(meaning(of, condition, by_task, tasks));
        }
        let of = self.jobs.get(ix)?;
        let of = (&of.tasks, &of.settled, of.standing(condition));
        Some(meaning(of, condition, by_task, tasks))
    }

    /// The tasks of a job that wait in vain, and for which job.
    fn doomed_tasks(&self, ix: JobIx) -> Option<(TaskSet, String)> {
        let job = self.jobs.live(ix)?;
        let gate = job.gate.as_ref()?;
        let (mut doomed, mut whose) = (TaskSet::new(), None);
        for after in &gate.after {
            let meaning = self.meaning_of(after, job);
            let Some(meaning) = meaning.filter(|meaning| !meaning.doomed.is_empty()) else {
                continue;
            };
            doomed.join(&meaning.doomed);
            whose.get_or_insert_with(|| reason(after));
        }
        doomed.subtract(&gate.released);
        let doomed = job.unsettled_among(&doomed);
        (!doomed.is_empty()).then(|| (doomed, whose.unwrap_or_default()))
    }
}

fn reason(after: &After) -> String {
    let id = &after.job_id;
    match after.condition {
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
        if self.state.doomed.is_empty() || is_broken(Rule::R6Dependents) {
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
