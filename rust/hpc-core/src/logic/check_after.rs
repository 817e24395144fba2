//! The check of what a submit says of the jobs that it comes after: each is known, none goes round in
//! a circle. Jobs of one batch may name each other in any order.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::gate::Condition;
use super::state::State;
use crate::domain::json::{Map, Value};
use crate::domain::problem::FieldError;

/// What a batch submits under an id.
#[derive(Clone, Debug)]
pub struct SubmittedJob<'b> {
    /// Its namespace.
    pub ns_id: Cow<'b, str>,
    /// Its canonical spec.
    pub spec: &'b str,
    /// What it comes after, see [`after_text`].
    pub after: String,
    /// The jobs that it comes after.
    pub before: Vec<String>,
}

/// What earlier events of the same batch submit, by job id.
#[derive(Debug, Default)]
pub struct Submitted<'b> {
    jobs: HashMap<Cow<'b, str>, SubmittedJob<'b>>,
    /// Events of the batch.
    events: usize,
    /// Jobs that no earlier event and no log knows: event, field and id.
    unknown: Vec<(usize, &'static str, String)>,
}

/// What a ctx says of the jobs that come before it, canonical; nothing where it says nothing.
#[must_use]
pub fn after_text(ctx: &Map<'_>) -> String {
    let fields = Condition::ALL.map(|(field, _)| field);
    let fields = fields.into_iter().chain(["after_task"]);
    let said: Map<'_> = fields
        .filter_map(|field| Some((field, ctx.get(field)?.clone())))
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        said.to_text()
    }
}

fn before<'c>(ctx: &'c Map<'_>) -> impl Iterator<Item = (&'static str, &'c str)> {
    Condition::ALL.into_iter().flat_map(move |(field, _)| {
        let ids = ctx.get(field).and_then(Value::as_list).unwrap_or_default();
        ids.iter()
            .filter_map(Value::as_str)
            .map(move |id| (field, id))
    })
}

impl<'b> Submitted<'b> {
    /// Nothing yet, of a batch of so many events.
    #[must_use]
    pub fn of_batch(events: usize) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    /// What this batch submits under an id.
    #[must_use]
    pub fn get(&self, job_id: &str) -> Option<&SubmittedJob<'b>> {
        self.jobs.get(job_id)
    }

    /// Remembers a submit under an id of its own, by the text of its spec.
    pub fn insert(&mut self, spec: &'b str, ctx: &Map<'b>) {
        let text = |key| match ctx.get(key) {
            Some(Value::Str(text)) => text.clone(),
            _ => Cow::Borrowed(""),
        };
        let job = SubmittedJob {
            ns_id: text("ns_id"),
            spec,
            after: after_text(ctx),
            before: before(ctx).map(|(_, id)| id.to_owned()).collect(),
        };
        if self.jobs.is_empty() {
            self.jobs.reserve(self.events);
        }
        self.jobs.insert(text("job_id"), job);
    }

    /// Notes the jobs that a submit comes after and that nobody knows yet.
    pub fn note_unknown(&mut self, state: &State, index: usize, ctx: &Map<'_>) {
        for (field, id) in before(ctx) {
            if !self.jobs.contains_key(id) && state.jobs.find(id).is_none() {
                self.unknown.push((index, field, id.to_owned()));
            }
        }
    }

    /// After all events: what is still unknown, and circles.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        // Without a job that names a later one there is no circle.
        let unknown = self.unknown.iter();
        let mut errors: Vec<FieldError> = unknown
            .filter_map(|(index, field, id)| {
                let field = format!("ctx.{field}");
                if !self.jobs.contains_key(id.as_str()) {
                    let got = Value::text(id.as_str()).shown();
                    let error = FieldError::new(field, "ids of jobs that exist", got);
                    return Some(
                        error
                            .hint("submit those first, or in the same batch")
                            .at(*index),
                    );
                }
                let circle = self.circle(id)?;
                let error = FieldError::new(field, "jobs that come before it", circle);
                let hint = "a job cannot come after itself; leave one of these out";
                Some(error.hint(hint).at(*index))
            })
            .collect();
        errors.dedup_by(|a, b| a == b);
        errors
    }

    /// A circle through a job, as `a after b after a`.
    fn circle(&self, start: &str) -> Option<String> {
        let mut seen: HashSet<&str> = HashSet::new();
        // The way to a job, and those before it that are still to be looked at.
        let mut way: Vec<(&str, std::slice::Iter<'_, String>)> = Vec::new();
        let (start, job) = self.jobs.get_key_value(start)?;
        way.push((start, job.before.iter()));
        while let Some((_, left)) = way.last_mut() {
            let Some(next) = left.next() else {
                way.pop();
                continue;
            };
            if next == start {
                let names = way.iter().map(|(name, _)| *name).chain([start.as_ref()]);
                return Some(names.collect::<Vec<_>>().join(" after "));
            }
            if let Some((name, job)) = self.jobs.get_key_value(next.as_str())
                && seen.insert(name)
            {
                way.push((name, job.before.iter()));
            }
        }
        None
    }
}
