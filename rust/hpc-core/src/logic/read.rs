//! What the read routes answer: jobs, one job, nodes, namespaces. They change nothing.

use std::borrow::Cow;

use super::attempts::{AttemptKey, AttemptState, Outcome};
use super::columns::Figures;
use super::forget::forgotten_job;
use super::gate::{After, Condition, Gate};
use super::hub::Hub;
use super::job::Job;
use super::jobs::Form;
use super::query::Query;
use super::queue::JobIx;
use super::totals::{STATES, counts, state_of};
use super::why::Lookout;
use crate::domain::json::Value;
use crate::domain::json_write::{ObjectWriter, write_str};
use crate::domain::problem::{Problem, nearest};
use crate::lattice::tasks::TaskSet;

pub(super) const PAGE_MAX: u64 = 10_000;
pub(super) const PAGE_DEFAULT: u64 = 1_000;
/// So many jobs are looked at for one page.
const LOOKED_AT_MAX: usize = 100_000;
/// The most jobs that one read asks for by their ids.
const IDS_MAX: usize = 1_000;
/// The latest time that a read can ask for, in ms since 1970.
const TIME_MAX: u64 = i64::MAX.cast_unsigned();
impl Hub {
    /// `GET /jobs`.
    pub(super) fn read_jobs(&mut self, token: u64, query: &str) {
        match self.jobs_page(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn jobs_page(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let known = [
            "after", "limit", "ns", "state", "name", "since", "until", "order", "ids",
        ];
        let query = Query::parse(query, &known)?;
        let limit = query.int("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let newest_first = match query.get("order") {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                let detail = format!("Query parameter `order` must be asc or desc, got `{other}`");
                return Err(Problem::bad_query("order", detail).into());
            }
        };
        check_state(&query)?;
        let since = query.int("since", 0, TIME_MAX)?;
        let until = query.int("until", 0, TIME_MAX)?;
        let after = match query.get("after") {
            None => None,
            Some(id) => Some(self.state.jobs.find(id).ok_or_else(|| {
                Problem::not_found(format!("Job `{id}`, after which to go on, is not known"))
                    .hint("give `after` the `next` of the page before")
            })?),
        };
        let wanted = |job: &Job| {
            query.get("ns").is_none_or(|ns| ns == job.ns_id)
                && query.get("state").is_none_or(|s| s == state_of(job))
                && query
                    .get("name")
                    .is_none_or(|n| job.name.as_deref() == Some(n))
                && since.is_none_or(|at| job.submitted_at >= at.cast_signed())
                && until.is_none_or(|at| job.submitted_at < at.cast_signed())
        };
        if let Some(ids) = query.get("ids") {
            let ids = listed_ids(&query, ids)?;
            let page = ids.filter_map(|id| self.state.jobs.get(self.state.jobs.find(id)?));
            let page: Vec<Cow<'_, Job>> = page.filter(|job| wanted(job)).collect();
            return Ok(self.render_jobs(&page, None));
        }
        let all = self.state.jobs.indexes();
        let all: Box<dyn Iterator<Item = JobIx>> = if newest_first {
            Box::new(all.rev().filter(|ix| after.is_none_or(|a| *ix < a)))
        } else {
            Box::new(all.filter(|ix| after.is_none_or(|a| *ix > a)))
        };
        let mut page: Vec<Cow<'_, Job>> = Vec::new();
        let mut next = None;
        let mut last = None;
        // A filter that few jobs pass must not hold up the turn: such a page is short, and goes on.
        for (looked, ix) in all.enumerate() {
            if page.len() == limit || looked == LOOKED_AT_MAX {
                next = last.and_then(|ix| self.state.jobs.id(ix));
                break;
            }
            last = Some(ix);
            page.extend(self.state.jobs.get(ix).filter(|job| wanted(job)));
        }
        Ok(self.render_jobs(&page, next))
    }

    fn render_jobs<'h>(&'h self, page: &'h [Cow<'h, Job>], next: Option<&str>) -> Vec<u8> {
        let mut lookout = self.lookout_of_page();
        self.render_list(page, next, |out, job| {
            self.write_job(out, job, &mut lookout);
        })
    }

    pub(super) fn render_list<'i, T>(
        &self,
        items: &'i [T],
        next: Option<&str>,
        mut write: impl FnMut(&mut Vec<u8>, &'i T),
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        let mut object = ObjectWriter::new(&mut out);
        object
            .int("cursor", self.last_seq())
            .list("data", items, |out, item| write(out, item));
        let next_out = object.key("next");
        match next {
            Some(next) => write_str(next_out, next),
            None => next_out.extend_from_slice(b"null"),
        }
        object.end();
        out
    }

    /// The job of an id, or the 404.
    pub(super) fn known_job(&self, id: &str) -> Result<Cow<'_, Job>, Box<Problem>> {
        let jobs = &self.state.jobs;
        let ix = jobs.find(id);
        let job = ix.and_then(|ix| jobs.get(ix));
        job.ok_or_else(|| {
            let left = ix.and_then(|ix| jobs.forgotten(ix));
            Box::new(left.map_or_else(|| self.unknown_job(id), |left| forgotten_job(&left)))
        })
    }

    fn unknown_job(&self, id: &str) -> Problem {
        let jobs = &self.state.jobs;
        let newest = jobs.indexes().rev().take(1000);
        let newest = newest.filter(|ix| jobs.form(*ix) != Form::Forgotten);
        let newest = newest.filter_map(|ix| jobs.id(ix));
        let problem = Problem::not_found(format!("Job `{id}` is not known"));
        match nearest(id, newest) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("see the jobs that there are: hpc job list"),
        }
    }

    pub(super) fn write_job<'h>(
        &'h self,
        out: &mut Vec<u8>,
        job: &'h Job,
        lookout: &mut Lookout<'h>,
    ) {
        let counts = counts(job);
        let mut object = ObjectWriter::new(out);
        object
            .str("job_id", &job.id)
            .str("ns_id", &job.ns_id)
            .value("name", &optional(job.name.as_deref()))
            .str("state", state_of(job))
            .int("phase", self.state.kernel.phase(&job.id))
            .int("priority", job.priority())
            .raw("spec", &job.spec)
            .value("resources", &Value::Map(self.needs_of(job.shape)))
            .str("tasks", &job.tasks.to_string());
        let priorities = job.own_priorities();
        if !priorities.is_empty() {
            object.list("priorities", priorities.iter(), |out, (priority, tasks)| {
                let mut object = ObjectWriter::new(out);
                object
                    .str("tasks", &tasks.to_string())
                    .int("priority", *priority);
                object.end();
            });
        }
        if let Some(gate) = &job.gate {
            write_after(&mut object, gate);
        }
        let inner = object.key("counts");
        let mut tallies = ObjectWriter::new(inner);
        for (state, count) in STATES.into_iter().zip(counts) {
            tallies.int(state, count);
        }
        tallies.end();
        object.int("submitted_at", job.submitted_at).value(
            "why",
            &self.why(job, lookout).map_or(Value::Null, Value::text),
        );
        object.list("settled", settled(job), |out, row| {
            let mut object = ObjectWriter::new(out);
            object
                .str("tasks", &row.tasks.to_string())
                .str("state", row.outcome.wire())
                .value("cause", &optional(row.cause));
            if let Some(reason) = row.reason {
                object.str("reason", reason);
            }
            object.end();
        });
        object.list("attempts", job.attempts.iter(), |out, (key, figures)| {
            self.write_attempt(out, key, figures);
        });
        object.end();
    }

    fn write_attempt(&self, out: &mut Vec<u8>, key: &AttemptKey, figures: &Figures) {
        let node = self.state.nodes.get(key.node);
        let ending = match &key.state {
            AttemptState::Ended(ending) => Some(ending),
            _ => None,
        };
        let (state, cause) = words_of(&key.state);
        let int = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
        let mut object = ObjectWriter::new(out);
        object
            .str("tasks", &figures.tasks.to_string())
            .int("attempt", key.attempt)
            .str("node_id", node.map_or("", |node| &node.id))
            .str("state", state)
            .value("exit_code", &int(ending.and_then(|e| e.exit_code)))
            .value("signal", &int(ending.and_then(|e| e.signal)))
            .value("cause", &optional(cause))
            .value("started_at", &int(figures.started_at))
            .value("finished_at", &int(figures.finished_at))
            .value("peak_memory_bytes", &int(figures.peak_memory_bytes))
            .value("cpu_seconds", &Value::Float(figures.cpu_seconds));
        if let Some(detail) = &figures.detail {
            object.str("detail", detail);
        }
        object.end();
    }

    /// The registered namespaces and generators.
    pub(super) fn read_namespaces(&mut self, token: u64) {
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        let namespaces = self.state.namespaces.iter();
        object.list("data", namespaces, |out, (ns_id, ns)| {
            let generators = self.state.generators.iter();
            let generators =
                generators.filter(|(_, g)| g.spec().namespaces.iter().any(|n| n == ns_id));
            ObjectWriter::new(out)
                .str("ns_id", ns_id)
                .int("version", ns.version)
                .int("seq", ns.seq)
                .raw("spec", &ns.spec.text)
                .list("generators", generators, |out, (gid, _)| {
                    write_str(out, gid)
                })
                .end();
        });
        object.list(
            "generators",
            self.state.generators.iter(),
            |out, (gid, generator)| {
                let (version, seq) = generator.version();
                ObjectWriter::new(out)
                    .str("gid", gid)
                    .int("version", version)
                    .int("seq", seq)
                    .bool("building", generator.is_building())
                    .raw("spec", &generator.spec().text)
                    .end();
            },
        );
        object.raw("next", "null").end();
        self.reply(token, 200, out);
    }
}

/// The ids of `ids=a,b,c`; a page of its own, which neither begins behind another nor is cut.
fn listed_ids<'q>(
    query: &Query,
    ids: &'q str,
) -> Result<impl Iterator<Item = &'q str>, Box<Problem>> {
    if let Some(other) = ["after", "limit", "order"]
        .iter()
        .find(|name| query.get(name).is_some())
    {
        let detail = format!("Query parameter `{other}` cannot stand beside `ids`");
        return Err(Problem::bad_query(other, detail).into());
    }
    let count = ids.split(',').count();
    if count > IDS_MAX {
        let detail = format!("Query parameter `ids` must be at most {IDS_MAX} ids, got {count}");
        return Err(Problem::bad_query("ids", detail).into());
    }
    Ok(ids.split(','))
}

/// Which jobs another comes after, as its submit said it; nothing where it said nothing.
fn write_after(object: &mut ObjectWriter<'_>, gate: &Gate) {
    for (field, condition) in Condition::ALL {
        let of = |after: &&After| after.condition == condition;
        if gate.after.iter().any(|after| of(&after)) {
            object.list(field, gate.after.iter().filter(of), |out, after| {
                write_str(out, &after.job_id);
            });
        }
    }
    if gate.by_task {
        object.bool("after_task", true);
    }
}

/// The state of an attempt, and why it is none that succeeded.
pub(super) fn words_of(state: &AttemptState) -> (&'static str, Option<&str>) {
    match state {
        AttemptState::Leased => ("leased", None),
        AttemptState::Running => ("running", None),
        AttemptState::Ended(ending) if ending.is_ok() => ("succeeded", None),
        AttemptState::Ended(ending) => ("failed", Some(ending.cause())),
        AttemptState::Lost { .. } => ("lost", Some("lost")),
        AttemptState::Returned(reason) => ("returned", Some(reason.as_str())),
        AttemptState::Closed => ("closed", Some("settled otherwise")),
    }
}

/// Refuses a query for a state that nothing can be in.
pub(super) fn check_state(query: &Query) -> Result<(), Box<Problem>> {
    match query.get("state").filter(|state| !STATES.contains(state)) {
        None => Ok(()),
        Some(state) => {
            let detail = format!(
                "Query parameter `state` must be one of {}, got `{state}`",
                STATES.join(", ")
            );
            Err(Problem::bad_query("state", detail).into())
        }
    }
}

pub(super) fn optional(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Null, Value::text)
}

/// Tasks that were settled alike.
struct Settled<'j> {
    tasks: TaskSet,
    outcome: Outcome,
    cause: Option<&'j str>,
    reason: Option<&'j str>,
}

/// The settled tasks by outcome, cause and what was said about it.
fn settled(job: &Job) -> Vec<Settled<'_>> {
    let mut rows = Vec::new();
    for outcome in Outcome::ALL {
        let mut rest = job.settled.of(outcome).clone();
        let causes = job.causes.iter().filter(|((of, _), _)| *of == outcome);
        let causes = causes.map(|((_, cause), tasks)| (Some(cause.as_str()), tasks.clone()));
        for (cause, tasks) in causes.chain([(None, rest.clone())]) {
            let mut tasks = tasks.intersection(&rest);
            rest.subtract(&tasks);
            let reasons = job.reasons.iter().filter(|_| outcome == Outcome::Cancelled);
            let reasons = reasons.map(|(reason, of)| (Some(reason.as_str()), of.clone()));
            for (reason, of) in reasons.chain([(None, tasks.clone())]) {
                let of = of.intersection(&tasks);
                tasks.subtract(&of);
                if !of.is_empty() {
                    rows.push(Settled {
                        tasks: of,
                        outcome,
                        cause,
                        reason,
                    });
                }
            }
        }
    }
    rows
}
