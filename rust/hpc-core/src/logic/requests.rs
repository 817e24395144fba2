//! Requests about jobs: hold and release, priority, another round for what has failed.

use super::check::Checked;
use super::claim::held_tasks;
use super::gate::Word;
use super::hub::Hub;
use super::job::Job;
use super::kernel::Entry;
use super::queue::JobIx;
use super::state::State;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::json::{Map, Value};
use crate::domain::problem::FieldError;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

impl State {
    /// Applies a request about a job.
    pub(super) fn apply_request(&mut self, entry: &Entry<'_>) {
        let Some(ix) = entry.ctx.job_id().and_then(|id| self.jobs.find(id)) else {
            return;
        };
        match entry.kind {
            KernelKind::HoldJob | KernelKind::ReleaseJob => {
                let said = Word {
                    stamp: entry.stamp,
                    tasks: entry.ctx.tasks(),
                    value: entry.kind == KernelKind::HoldJob,
                };
                self.change_job(ix, None, |job| {
                    said.join(&mut job.gate_mut().holds);
                    job.regate(Some(entry.stamp.at));
                });
                self.call_holders(ix);
            }
            KernelKind::SetPriority => self.set_priority(ix, entry),
            // Which tasks and which round the Hub has written into the entry.
            KernelKind::RetryJob => {
                if let (Some(tasks), Some(_)) = (entry.ctx.tasks(), entry.spec.int("round")) {
                    if let Some(amounts) = entry.spec.get("resources").and_then(Value::as_map) {
                        self.reshape(ix, amounts);
                    }
                    self.change_job(ix, None, |job| job.begin_round(&tasks));
                    self.depend(ix);
                    self.reconsider(ix, None);
                    self.reconsider_after(ix);
                }
            }
            _ => {}
        }
    }

    /// Has those looked at that tasks of a job are leased to: what has not started may be held.
    fn call_holders(&mut self, ix: JobIx) {
        let leases = self.jobs.live(ix).map(|job| job.leases.iter());
        for lease in leases.into_iter().flatten() {
            if let Some(node) = self.nodes.get_mut(lease.node) {
                node.attention = true;
            }
        }
    }

    fn set_priority(&mut self, ix: JobIx, entry: &Entry<'_>) {
        let (stamp, tasks, priority) = (entry.stamp, entry.ctx.tasks(), entry.ctx.priority());
        self.rerank(ix, |job| job.say_priority(stamp, tasks, priority));
    }

    /// Changes where a job stands in the queue, and keeps the queue in step with it.
    pub(super) fn rerank(&mut self, ix: JobIx, change: impl FnOnce(&mut Job)) {
        let Some(job) = self.jobs.get_mut(ix) else {
            return;
        };
        let former = job.rank;
        change(job);
        job.settle_rank();
        if job.rank != former && job.is_ready() {
            self.queue.remove(&job.ns_id, job.shape, former, ix);
            self.queue.insert(&job.ns_id, job.shape, job.rank, ix);
        }
    }

    /// Changes what tasks of a job take from their next lease on.
    fn reshape(&mut self, ix: JobIx, amounts: &Map<'_>) {
        let Some(former) = self.jobs.get(ix).map(|job| job.shape) else {
            return;
        };
        let mut shape = self.queue.shape_at(former).clone();
        for (name, amount) in amounts.iter() {
            let resource = self.queue.resource(name);
            let Value::Int(amount) = amount else {
                continue;
            };
            shape.needs.retain(|(of, _)| *of != resource);
            shape.needs.push((resource, *amount));
        }
        shape.needs.sort_unstable();
        let shape = self.queue.shape(shape);
        if let Some(job) = self.jobs.get_mut(ix) {
            if job.is_ready() {
                self.queue.remove(&job.ns_id, former, job.rank, ix);
                self.queue.insert(&job.ns_id, shape, job.rank, ix);
            }
            job.shape = shape;
        }
    }

    /// Makes those tasks of a job ready whose back-off is over at a time, ms since 1970.
    pub(super) fn end_back_off(&mut self, ix: JobIx, now: i64) {
        // One that is over is sealed, and stays so.
        if self.jobs.live(ix).is_none() {
            return;
        }
        self.change_job(ix, None, |job| job.regate(Some(now)));
        let gate = self.jobs.live(ix).and_then(|job| job.gate.as_ref());
        let delays = gate.map(|gate| &gate.delays);
        // What is over stays there until the log tells of a later time; it is not waited for again.
        let first = delays.and_then(|delays| delays.keys().next().copied());
        let later = delays.and_then(|delays| delays.range(now.saturating_add(1)..).next());
        let later = later.map(|(until, _)| (*until, ix));
        if let Some(first) = first {
            self.delayed.remove(&(first, ix));
        }
        self.delayed.extend(later);
    }

    /// What another round would be for: those of the named tasks, or of all, that have failed or
    /// were cancelled; and its number.
    fn next_round(&self, job_id: &str, named: Option<&TaskSet>) -> Option<(TaskSet, i64)> {
        let job = self.jobs.get(self.jobs.find(job_id)?)?;
        let [_, failed, cancelled] = super::attempts::Outcome::ALL.map(|o| job.settled.of(o));
        let mut tasks = failed.union(cancelled);
        if let Some(named) = named {
            tasks = tasks.intersection(named);
        }
        if let Some((running, _)) = self.still_running(&job, &tasks) {
            tasks.subtract(&running);
        }
        let rounds = job.gate.as_ref().map_or(0, |gate| gate.rounds.len());
        let round = i64::try_from(rounds + 1).unwrap_or(i64::MAX);
        (!tasks.is_empty()).then_some((tasks, round))
    }

    /// Settled tasks that must never overlap and may run still where they were leased, and the name of
    /// that node: its fence has not come, no report says that they have ended, and no claim since its
    /// last answer that it does not hold them. A claim that waits is such a one: by its number the relay
    /// takes no earlier answer any more (protocol R14).
    fn still_running(&self, job: &Job, among: &TaskSet) -> Option<(TaskSet, &str)> {
        let mut found = TaskSet::new();
        let mut name = None;
        for (key, tasks) in job.closed().filter(|_| job.stops) {
            let node = self.nodes.get(key.node);
            let Some(node) = node.filter(|node| node.deadline.is_some()) else {
                continue;
            };
            let mut tasks = tasks.intersection(among);
            if node.open.is_some() {
                tasks = tasks.intersection(&held_tasks(&node.holds, &job.id, key.attempt));
            }
            if !tasks.is_empty() {
                found.join(&tasks);
                name.get_or_insert(&*node.id);
            }
        }
        Some((found, name?))
    }
}

/// Checks a request for another round: no task of it may run still that must never overlap.
pub(super) fn check_round(state: &State, ctx: &Map<'_>, errors: &mut Vec<FieldError>) {
    let job_id = ctx.str("job_id").unwrap_or_default();
    let job = state.jobs.find(job_id).and_then(|ix| state.jobs.get(ix));
    let Some(job) = job else {
        return;
    };
    let named = Ctx::new(ctx).tasks();
    let among = named.unwrap_or_else(|| job.settled.all());
    if let Some((_, node)) = state.still_running(&job, &among) {
        let expected = "the id of a job whose tasks have ended, since they must never overlap";
        let got = format!("{}, ending on {node}", Value::text(job_id).shown());
        let error = FieldError::new("ctx.job_id", expected, got);
        let hint = format!("send it again when they have ended: hpc job info {job_id}");
        errors.push(error.hint(hint));
    }
}

impl Hub {
    /// Writes into a request for another round which tasks it is for, and its number; into one that
    /// finds nothing to do neither, and it has no effect.
    pub(super) fn name_round(&self, event: &mut Checked<'_>) {
        let ctx = Ctx::new(&event.ctx);
        let named = ctx.tasks();
        let round = ctx
            .job_id()
            .and_then(|job_id| self.state.next_round(job_id, named.as_ref()));
        if let Some((tasks, round)) = round {
            event.ctx.insert("tasks", Value::text(tasks.to_string()));
            event.spec.insert("round", Value::Int(round));
        }
    }
}
