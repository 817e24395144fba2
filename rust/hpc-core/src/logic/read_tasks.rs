//! The tasks of a job one by one, as far as the state knows them: number, state, attempt, entry.
//!
//! A job keeps sets of tasks, so a page costs what is on it and the sets that the job has. When each
//! task started and what it used stands in the log alone: [`super::task_page`] adds it, on a thread
//! that no turn waits for.

use std::collections::BTreeMap;

use super::attempts::{AttemptKey, AttemptState, Outcome};
use super::hub::Hub;
use super::job::Job;
use super::plan::write_own_kinds;
use super::query::Query;
use super::read::{PAGE_DEFAULT, PAGE_MAX, check_state, optional, words_of};
use crate::domain::json::Value;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::Problem;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

impl Hub {
    /// `{"cursor", "data", "next", "job_id", "acts_as"}`: a page for [`super::task_page`].
    pub(super) fn read_tasks(&mut self, token: u64, query: &str) {
        match self.tasks_page(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn tasks_page(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let query = Query::parse(query, &["job_id", "after", "limit", "state"])?;
        let limit = query.int("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
        let after = query.int("after", 0, u64::from(u32::MAX))?;
        let after = after.and_then(|after| u32::try_from(after).ok());
        check_state(&query)?;
        let job = self.known_job(query.get("job_id").unwrap_or_default())?;
        let states = states_of(&job);
        let wanted = |state: &str| query.get("state").is_none_or(|wanted| wanted == state);
        let mut rest = TaskSet::new();
        for (_, tasks) in states.iter().filter(|(state, _)| wanted(state)) {
            rest.join(tasks);
        }
        if let Some(after) = after {
            rest.subtract(&TaskSet::range(0, after));
        }
        let page = rest.take_first(limit);
        let attempts = attempts_of(&job, &page);
        let mut out = Vec::with_capacity(1024);
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        object.list("data", page.iter(), |out, task| {
            let holds = |(_, tasks): &&(&str, TaskSet)| tasks.contains(task);
            let state = states.iter().find(holds).map_or("queued", |found| found.0);
            self.write_task(out, &job, task, state, attempts.get(&task).copied());
        });
        let next = page.last().filter(|_| !rest.is_empty());
        object.value("next", &next.map_or(Value::Null, |n| Value::Int(n.into())));
        object.str("job_id", &job.id);
        write_own_kinds(&mut object, &self.state.namespaces);
        object.end();
        Ok(out)
    }

    fn write_task(
        &self,
        out: &mut Vec<u8>,
        job: &Job,
        task: u32,
        state: &str,
        attempt: Option<&AttemptKey>,
    ) {
        let node = attempt.and_then(|key| self.state.nodes.get(key.node));
        let ending = match attempt.map(|key| &key.state) {
            Some(AttemptState::Ended(ending)) => Some(ending),
            _ => None,
        };
        let int = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
        let mut object = ObjectWriter::new(out);
        object
            .int("task", task)
            .str("state", state)
            .value("attempt", &int(attempt.map(|key| key.attempt.into())))
            .value("node_id", &optional(node.map(|node| &*node.id)))
            .value("exit_code", &int(ending.and_then(|e| e.exit_code)))
            .value("signal", &int(ending.and_then(|e| e.signal)))
            .value("cause", &optional(cause_of(job, task, attempt)));
        let reasons = job.reasons.iter();
        let mut reasons = reasons.filter(|(_, tasks)| state == "cancelled" && tasks.contains(task));
        if let Some((reason, _)) = reasons.next() {
            object.str("reason", reason);
        }
        let entry = job.entries.get(&task).map_or("null", String::as_str);
        object.raw("entry", entry).end();
    }
}

/// The tasks of a job by state; together they are all of it, and none is in two.
fn states_of(job: &Job) -> Vec<(&'static str, TaskSet)> {
    let outcomes = Outcome::ALL.map(|outcome| (outcome.wire(), job.settled.of(outcome).clone()));
    let (mut running, mut leased) = (TaskSet::new(), TaskSet::new());
    for lease in &job.leases {
        running.join(&lease.started);
        leased.join(&lease.tasks.difference(&lease.started));
    }
    let mut states = Vec::from(outcomes);
    states.extend([("running", running), ("leased", leased)]);
    if let Some(gate) = &job.gate {
        let parked = gate.parked();
        let held = gate.held(&parked);
        states.extend([("waiting", parked.difference(&held)), ("held", held)]);
    }
    let mut queued = job.tasks.clone();
    for (_, tasks) in &states {
        queued.subtract(tasks);
    }
    states.push(("queued", queued));
    states
}

/// The attempt of each task that counts: of a task that succeeded the one that did, since a late
/// success may settle a task of which another attempt was leased since; else the one that is leased,
/// which was adopted where newer ones came before; else the newest.
fn attempts_of<'j>(job: &'j Job, page: &TaskSet) -> BTreeMap<u32, &'j AttemptKey> {
    let succeeded = job.settled.of(Outcome::Succeeded);
    let is_ok = |key: &AttemptKey| matches!(&key.state, AttemptState::Ended(end) if end.is_ok());
    let is_active =
        |key: &AttemptKey| matches!(key.state, AttemptState::Leased | AttemptState::Running);
    let mut found: BTreeMap<u32, &AttemptKey> = BTreeMap::new();
    for (key, figures) in &job.attempts {
        for task in figures.tasks.intersection(page).iter() {
            let decided = |key: &AttemptKey| succeeded.contains(task) && is_ok(key);
            let rank = |key: &AttemptKey| (decided(key), is_active(key), key.attempt);
            let best = found.entry(task).or_insert(key);
            if rank(key) >= rank(best) {
                *best = key;
            }
        }
    }
    found
}

/// Why a task was settled as it was, or why its newest attempt did not succeed.
fn cause_of<'j>(job: &'j Job, task: u32, attempt: Option<&'j AttemptKey>) -> Option<&'j str> {
    if job.settled.of(Outcome::Succeeded).contains(task) {
        return None;
    }
    let mut causes = job.causes.iter();
    let settled = causes.find(|(_, tasks)| tasks.contains(task));
    let settled = settled.map(|((_, cause), _)| cause.as_str());
    settled.or_else(|| words_of(&attempt?.state).1)
}
