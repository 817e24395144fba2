//! Forgetting: jobs that are over leave the Hub, by request or by their age.
//!
//! A job that is settled and leased to nobody may be forgotten; what is left of it is in
//! `forgotten.rs`, its row leaves the kernel's facts for one in the table `forgotten` (`kernel.rs`).
//! The Hub writes into the event what became of the job. An event without that has no effect: by then
//! the job was not over, or forgotten already.
//!
//! By age it is the Hub that says it, some jobs a turn, as events like any other: a replay needs no
//! clock. Jobs are found by when they ended, from the start of the Hub on that keeps for a time only.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::check::Checked;
use super::forgotten::{Forgotten, digest_of, digest_of_entries};
use super::hub::{Fault, Hub, NewEvent, map};
use super::jobs::Form;
use super::kernel::Entry;
use super::queue::JobIx;
use super::totals::state_of;

use super::state::State;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::json::{Map, Value};
use crate::domain::problem::{FieldError, Problem};
use crate::lattice::tasks::TaskSet;

/// So many jobs are forgotten for their age in one turn: about 2 ms.
const FORGOTTEN_MAX: usize = 500;

/// A Hub begins with it so long after its start, ms, or after the time that jobs are kept where that
/// is shorter: one that cannot write and so is started again and again is left time to be read.
const PAUSE_MS: i64 = 60_000;

/// When which job ended, the earliest first: ms since 1970. A job can be in it twice.
pub(super) type Ages = BinaryHeap<Reverse<(i64, JobIx)>>;

impl State {
    /// Applies a request to forget a job.
    pub(super) fn forget(&mut self, entry: &Entry<'_>) {
        let Some(ix) = entry.ctx.job_id().and_then(|id| self.jobs.find(id)) else {
            return;
        };
        if entry.spec.get("outcome").is_none() {
            return;
        }
        let ns_id = self.jobs.namespace(ix);
        if self.jobs.forget(ix, entry.seq, entry.stamp.at) {
            // From now on compaction may drop events of this namespace.
            self.namespaces.note_forgets(&ns_id.unwrap_or_default());
            self.reconsider_after(ix);
        }
    }

    /// Whether an entry speaks of a job that is forgotten: what it says is absorbed.
    pub(super) fn is_about_forgotten(&self, entry: &Entry<'_>) -> bool {
        // Mostly there are none, and nothing is looked up.
        let job_id = entry.ctx.job_id().filter(|_| self.jobs.forgotten_len() > 0);
        let ix = job_id.and_then(|id| self.jobs.find(id));
        ix.is_some_and(|ix| self.jobs.form(ix) == Form::Forgotten)
    }

    /// Notes that a job is over.
    pub(super) fn note_age(&mut self, job_id: Option<&str>, at: i64) {
        let Some(ages) = &mut self.ages else {
            return;
        };
        if let Some(ix) = job_id.and_then(|id| self.jobs.find(id)) {
            ages.push(Reverse((at, ix)));
        }
    }

    /// Begins to note when jobs end, or ceases to.
    fn follow_ages(&mut self, is_wanted: bool) {
        self.ages = is_wanted.then(|| {
            let over = self.jobs.indexes().filter_map(|ix| {
                let is_over = self.jobs.is_over(ix);
                let id = self.jobs.id(ix).filter(|_| is_over)?;
                Some(Reverse((self.kernel.finished_at(id)?, ix)))
            });
            over.collect()
        });
    }

    /// Takes the job that ended first, where that was before a time and it is over still.
    fn take_older(&mut self, than: i64) -> Option<JobIx> {
        loop {
            let Reverse((at, ix)) = *self.ages.as_ref()?.peek()?;
            if at >= than {
                return None;
            }
            self.ages.as_mut()?.pop();
            let is_over = self.jobs.is_over(ix);
            let ended = self.jobs.id(ix).filter(|_| is_over);
            match ended.and_then(|id| self.kernel.finished_at(id)) {
                // In another round meanwhile, and perhaps over again: then that time counts.
                Some(ended) if ended > at => self.ages.as_mut()?.push(Reverse((ended, ix))),
                Some(_) => return Some(ix),
                None => {}
            }
        }
    }
}

impl Hub {
    /// Has jobs forgotten that ended so long ago, ms; `None`: never. To be said before
    /// [`Hub::start`].
    pub fn keep_jobs(&mut self, keep_ms: Option<i64>) {
        self.keep_ms = keep_ms;
    }

    /// After recovery: looks up when jobs ended, where that will be asked for.
    pub(super) fn start_ages(&mut self) {
        self.state.follow_ages(self.keep_ms.is_some());
        let pause_ms = self.keep_ms.unwrap_or_default().min(PAUSE_MS);
        self.forget_from = self.now.mono.saturating_add(pause_ms);
    }

    /// Forgets some of the jobs that ended too long ago.
    ///
    /// # Errors
    /// A mistake of ours.
    pub(super) fn forget_old(&mut self) -> Result<(), Fault> {
        let keep_ms = self.keep_ms.filter(|_| self.now.mono >= self.forget_from);
        let Some(keep_ms) = keep_ms else {
            return Ok(());
        };
        let before = self.calendar.at().saturating_sub(keep_ms);
        let mut row = self.begin_row();
        for _ in 0..FORGOTTEN_MAX {
            let Some(ix) = self.state.take_older(before) else {
                break;
            };
            let Some((ns_id, id, outcome)) = self.state.jobs.get(ix).map(|job| {
                let outcome = job.settled.outcome().wire();
                (job.ns_id.clone(), job.id.to_string(), outcome)
            }) else {
                continue;
            };
            let ctx = map([("ns_id", Value::text(ns_id)), ("job_id", Value::text(id))]);
            let spec = map([
                ("outcome", Value::text(outcome)),
                ("reason", Value::text("ended too long ago")),
            ]);
            self.record(&mut row, &NewEvent::own("ForgetJob", &ctx, &spec))?;
        }
        self.end_own_row(row);
        Ok(())
    }

    /// When the next job is old enough, monotonic ms.
    pub(super) fn next_forgotten(&self) -> Option<i64> {
        let Reverse((ended, _)) = *self.state.ages.as_ref()?.peek()?;
        let due = ended.saturating_add(self.keep_ms?).saturating_add(1);
        let left = due.saturating_sub(self.calendar.at()).max(0);
        let at = self.now.mono.saturating_add(left).max(self.forget_from);
        Some(self.calendar.believed_at().map_or(at, |then| at.min(then)))
    }

    /// Writes into a request to forget a job what became of it; into one that cannot be followed any
    /// more nothing, and it has no effect.
    pub(super) fn name_outcome(&self, event: &mut Checked<'_>) {
        let job_id = Ctx::new(&event.ctx).job_id();
        let ix = job_id.and_then(|id| self.state.jobs.find(id));
        let job = ix.and_then(|ix| self.state.jobs.get(ix));
        if let Some(job) = job.filter(|job| job.is_at_rest()) {
            let outcome = job.settled.outcome().wire();
            event.spec.insert("outcome", Value::text(outcome));
        }
    }
}

/// Checks a request to forget a job, or one about a job that was forgotten.
pub(super) fn check_request(
    state: &State,
    kernel: KernelKind,
    ctx: &Map<'_>,
    errors: &mut Vec<FieldError>,
) {
    let job_id = ctx.str("job_id").unwrap_or_default();
    let ix = state.jobs.find(job_id);
    let got = || Value::text(job_id.to_owned()).shown();
    match kernel {
        KernelKind::ForgetJob => {
            if let Some(tasks) = ctx.get("tasks") {
                let expected = "absent: a job is forgotten as a whole";
                errors.push(FieldError::new("ctx.tasks", expected, tasks.shown()));
            }
            // Of the job of this batch nothing is settled yet.
            let job = ix.and_then(|ix| state.jobs.get(ix));
            if ix.is_none() || job.as_ref().is_some_and(|job| !job.is_at_rest()) {
                let said = job.map_or("queued", |job| state_of(&job));
                let expected = "the id of a job whose tasks have all ended";
                let error = FieldError::new("ctx.job_id", expected, format!("{}, {said}", got()));
                errors.push(error.hint(format!("cancel it first: hpc job cancel {job_id}")));
            }
        }
        // Every other request finds nothing to do, as about any task that is settled.
        KernelKind::RetryJob if ix.is_some_and(|ix| state.jobs.forgotten(ix).is_some()) => {
            let expected = "the id of a job that was not forgotten";
            let error = FieldError::new("ctx.job_id", expected, got());
            errors.push(error.hint("submit it again under another id"));
        }
        _ => {}
    }
}

/// Checks a submit under the id of a forgotten job: it is harmless if it is the same again.
///
/// # Errors
/// 409: it is of another namespace or spec, or would add tasks.
pub(super) fn check_resubmit(
    left: &Forgotten<'_>,
    ns_id: &str,
    spec: &str,
    ctx: &Map<'_>,
) -> Result<(), Box<Problem>> {
    let ctx = Ctx::new(ctx);
    let tasks = ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
    let texts = ctx.entries().unwrap_or_default().iter().map(Value::to_text);
    let texts: Vec<(u32, String)> = tasks.iter().zip(texts).collect();
    let entries = digest_of_entries(texts.iter().map(|(task, text)| (*task, text.as_str())));
    let (field, detail) = match () {
        () if left.ns_id != ns_id => ("ctx.ns_id", "was of another `ctx.ns_id`"),
        () if left.spec != digest_of(spec) => ("spec", "had another `spec`"),
        () if !tasks.is_subset(&left.settled.all()) => ("ctx.tasks", "had other `ctx.tasks`"),
        // Only all of them together can be compared with the digest that is left.
        () if entries.is_some() && entries != left.entries => (
            "ctx.entries",
            "had other `ctx.entries`, or is not named with all of them",
        ),
        () => return Ok(()),
    };
    let detail = format!("Job `{}` was forgotten, and {detail}", left.id);
    let problem = Problem::new(409, "job_conflict", "The job exists and is another", detail);
    let problem = problem.with("field", Value::text(field));
    Err(Box::new(problem.hint("submit under another id")))
}

/// 404 for a job that was forgotten, with what is left of it.
pub(super) fn forgotten_job(left: &Forgotten<'_>) -> Problem {
    let outcome = left.outcome().wire();
    let detail = format!("Job `{}` {outcome}, and was forgotten", left.id);
    Problem::new(404, "forgotten", "The job was forgotten", detail)
        .hint("its spec, attempts and output are gone; its id is not free")
        .with("outcome", Value::text(outcome))
        .with("forgotten_at", Value::Int(left.at))
        .with(
            "seq",
            Value::Int(i64::try_from(left.seq).unwrap_or(i64::MAX)),
        )
}
