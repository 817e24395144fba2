//! The check of one event before anything of its batch is recorded; it changes nothing.

use std::borrow::Cow;

use super::check_after::{Submitted, after_text};
use super::columns;
use super::forget;
use super::hub::NewEvent;
use super::job::Job;
use super::placement;
use super::requests;
use super::rules::EventView;
use super::state::State;
use super::tokens::Allowed;
use super::well_formed::check_spec;
use crate::domain::batch_text::BatchText;
use crate::domain::event::{Ctx, KernelKind, Sender, check_ctx};
use crate::domain::ids::{ROW_KEY_BYTES_MAX, is_hub_number, is_id};
use crate::domain::json::{Map, Value};
use crate::domain::problem::{FieldError, Problem, nearest};
use crate::domain::reader::unknown_fields;
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// An event that is well-formed, in its stored form but for stamp and seq.
#[derive(Clone, Debug)]
pub struct Checked<'b> {
    /// Kind as it was sent.
    pub kind: Cow<'b, str>,
    /// The lifecycle kind that it is, if any.
    pub kernel: Option<KernelKind>,
    /// The producer's time.
    pub at: Option<i64>,
    /// Context.
    pub ctx: Map<'b>,
    /// Spec, defaults filled in.
    pub spec: Map<'b>,
}

impl Checked<'_> {
    /// The same, to be recorded.
    pub(super) fn to_record(&self) -> NewEvent<'_> {
        NewEvent {
            kind: &self.kind,
            kernel: self.kernel,
            ctx: &self.ctx,
            spec: &self.spec,
            at: self.at,
        }
    }
}

/// Checks one event; its text is that of a batch at an index. `Ok(None)` comes with field errors,
/// paths from the event on.
///
/// # Errors
/// A problem of the whole batch: an unknown namespace (404), what the sender may not say (403), a job
/// with another spec (409).
pub fn check_event<'b>(
    state: &State,
    allowed: &Allowed<'_>,
    event: Value<'b>,
    text: (&'b BatchText, usize),
    submitted: &mut Submitted<'b>,
    errors: &mut Vec<FieldError>,
) -> Result<Option<Checked<'b>>, Box<Problem>> {
    let Some((kind, at, mut ctx, mut spec)) = take_apart(event, errors) else {
        return Ok(None);
    };
    let (text, index) = text;
    text.lend(index, &mut ctx, &mut spec);
    let kernel = kernel_kind(state, &kind, &ctx, errors)?;
    allowed.check_kind(&kind, kernel, ctx.str("ns_id"))?;
    check_ctx(&ctx, errors);
    for field in kernel.map_or(&["ns_id"][..], KernelKind::required_ctx) {
        if ctx.get(field).is_none() {
            let expected = format!("required in {kind}");
            errors.push(FieldError::new(format!("ctx.{field}"), expected, "nothing"));
        }
    }
    check_payload(state, &kind, kernel, &ctx, &mut spec, errors);
    if !errors.is_empty() {
        return Ok(None);
    }
    match kernel {
        Some(KernelKind::SubmitJob) => {
            let spec = (text.keep(index, &mut spec), &spec);
            check_submit(state, &ctx, spec, (submitted, index), errors)?
        }
        Some(kernel) => {
            check_report(state, kernel, &mut ctx, submitted, errors);
            if kernel == KernelKind::RetryJob {
                check_retry(state, &ctx, &spec, errors);
            }
        }
        None => {}
    }
    if errors.is_empty() {
        allowed.check_ctx(&ctx)?;
    }
    // What a relay reports has happened: no generator may keep it from being recorded, or it happens again.
    if kernel.is_none_or(|kernel| kernel.sender() != Sender::Relay) {
        check_row_keys(state, &kind, &ctx, &spec, errors);
    }
    Ok(errors.is_empty().then_some(Checked {
        kind,
        kernel,
        at,
        ctx,
        spec,
    }))
}

type Parts<'b> = (Cow<'b, str>, Option<i64>, Map<'b>, Map<'b>);

fn take_apart<'b>(event: Value<'b>, errors: &mut Vec<FieldError>) -> Option<Parts<'b>> {
    let Value::Map(mut event) = event else {
        errors.push(FieldError::new("", "Map", event.shown()));
        return None;
    };
    let (kind, at, payload) = (event.take("kind"), event.take("at"), event.take("payload"));
    let named = [&kind, &at, &payload];
    if named.iter().filter(|value| value.is_some()).count() < event.len() {
        let known = ["kind", "payload", "at"];
        unknown_fields(&event, "", &known, "a known field", errors);
    }
    let kind = match kind {
        Some(Value::Str(kind)) => Some(kind),
        other => {
            errors.push(FieldError::new("kind", "String", shown(other.as_ref())));
            None
        }
    };
    let at = match at {
        None => None,
        Some(Value::Int(at)) if at >= 0 => Some(at),
        Some(other) => {
            errors.push(FieldError::new(
                "at",
                "Int from 0, ms since 1970",
                other.shown(),
            ));
            None
        }
    };
    let mut payload = match payload {
        Some(Value::Map(payload)) => payload,
        other => {
            errors.push(FieldError::new("payload", "Map", shown(other.as_ref())));
            return None;
        }
    };
    let (ctx, spec) = (payload.take("ctx"), payload.take("spec"));
    if usize::from(ctx.is_some()) + usize::from(spec.is_some()) < payload.len() {
        let known = ["ctx", "spec"];
        unknown_fields(&payload, "payload", &known, "a known field", errors);
    }
    let ctx = match ctx {
        Some(Value::Map(ctx)) => Some(ctx),
        other => {
            errors.push(FieldError::new("ctx", "Map", shown(other.as_ref())));
            None
        }
    };
    let spec = match spec {
        Some(Value::Map(spec)) => Some(spec),
        None => Some(Map::new()),
        Some(other) => {
            errors.push(FieldError::new("spec", "Map", other.shown()));
            None
        }
    };
    Some((kind?, at, ctx?, spec?))
}

fn shown(value: Option<&Value<'_>>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::shown)
}

/// The lifecycle kind of an event; a kind that is neither the kernel's nor its namespace's is an
/// error.
fn kernel_kind(
    state: &State,
    kind: &str,
    ctx: &Map<'_>,
    errors: &mut Vec<FieldError>,
) -> Result<Option<KernelKind>, Box<Problem>> {
    let kernel = KernelKind::from_wire(kind);
    let ns_id = ctx.str("ns_id");
    let Some(ns_id) = ns_id else {
        return Ok(kernel);
    };
    let Some(ns) = state.namespaces.get(ns_id) else {
        return Err(unknown_namespace(state, ns_id));
    };
    if ns.spec.kind(kind).is_some() {
        return Ok(kernel.or_else(|| ns.spec.acts_as(kind)));
    }
    if kernel.is_none_or(|kernel| kernel == KernelKind::SubmitJob) {
        let known = || ns.spec.kinds.iter().map(|(name, _)| name.as_str());
        let got = Value::text(kind).shown();
        let error = FieldError::new("kind", format!("a kind of namespace `{ns_id}`"), got);
        errors.push(match nearest(kind, known()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known: {}", known().collect::<Vec<_>>().join(", "))),
        });
    }
    Ok(kernel)
}

/// 404 with the namespaces that exist.
#[must_use]
pub fn unknown_namespace(state: &State, ns_id: &str) -> Box<Problem> {
    let known: Vec<&str> = state.namespaces.ids().collect();
    let list = Value::List(
        known
            .iter()
            .map(|id| Value::text((*id).to_owned()))
            .collect(),
    );
    let hint = match nearest(ns_id, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "none is registered yet: hpc ns register FILE".to_owned(),
        None => format!("known: {}", known.join(", ")),
    };
    let detail = format!("Namespace `{ns_id}` is not registered");
    let title = "Unknown namespace";
    let problem = Problem::new(404, "unknown_namespace", title, detail);
    Box::new(problem.hint(hint).with("known", list))
}

fn check_payload(
    state: &State,
    kind: &str,
    kernel: Option<KernelKind>,
    ctx: &Map<'_>,
    spec: &mut Map<'_>,
    errors: &mut Vec<FieldError>,
) {
    let ns = ctx.str("ns_id").and_then(|ns| state.namespaces.get(ns));
    let schema = ns.and_then(|ns| ns.spec.kind(kind));
    match (kernel, schema) {
        (Some(KernelKind::JobFinished), _) => {
            let tasks = Ctx::new(ctx).tasks().unwrap_or_default();
            columns::check(spec, tasks.len(), errors);
        }
        (None | Some(KernelKind::SubmitJob), Some(schema)) => check_spec(schema, spec, errors),
        (None, None) => {}
        (Some(kernel), _) => check_kernel_spec(kernel, spec, errors),
    }
    if let (Some(KernelKind::SubmitJob), Some(ns)) = (kernel, ns)
        && errors.is_empty()
    {
        placement::check(&ns.spec, spec, errors);
    }
}

/// The kernel's own schema of the lifecycle kinds without columns.
fn check_kernel_spec(kernel: KernelKind, spec: &Map<'_>, errors: &mut Vec<FieldError>) {
    let fields = super::type_check::kernel_fields(kernel);
    unknown_fields(spec, "spec", fields, "a known field", errors);
    if let Some(reason) = spec.get("reason") {
        let listed = match kernel {
            KernelKind::TasksReturned => Some(["fence", "drain", "given_back"]),
            _ => None,
        };
        let fits = reason
            .as_str()
            .is_some_and(|text| listed.is_none_or(|listed| listed.contains(&text)));
        if !fits {
            let expected = listed.map_or("String".to_owned(), |l| l.join(", "));
            errors.push(FieldError::new("spec.reason", expected, reason.shown()));
        }
    } else if kernel == KernelKind::TasksReturned {
        errors.push(FieldError::new(
            "spec.reason",
            "fence, drain or given_back",
            "nothing",
        ));
    }
    if let Some(resources) = spec
        .get("resources")
        .filter(|_| kernel == KernelKind::RetryJob)
    {
        let is_amount = |value: &Value<'_>| matches!(value, Value::Int(n) if *n > 0);
        let fits = resources
            .as_map()
            .is_some_and(|map| map.iter().all(|(name, n)| is_id(name) && is_amount(n)));
        if !fits {
            let expected = "Map of resource to Int from 1";
            errors.push(FieldError::new(
                "spec.resources",
                expected,
                resources.shown(),
            ));
        }
    }
    if let Some(deadline) = spec.get("deadline")
        && !matches!(deadline, Value::Int(at) if *at >= 0)
    {
        let expected = "Int from 0, ms since 1970";
        errors.push(FieldError::new("spec.deadline", expected, deadline.shown()));
    }
    if let Some(started) = spec.get("started_at") {
        let is_time = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Null);
        let fits = match started {
            Value::List(list) => list.iter().all(is_time),
            value => is_time(value),
        };
        if !fits {
            errors.push(FieldError::new(
                "spec.started_at",
                "Int, ms since 1970",
                started.shown(),
            ));
        }
    }
}

/// Checks a submit by its ctx, and the text of its spec beside the spec.
fn check_submit<'b>(
    state: &State,
    ctx: &Map<'b>,
    (text, spec): (&'b str, &Map<'b>),
    (submitted, index): (&mut Submitted<'b>, usize),
    errors: &mut Vec<FieldError>,
) -> Result<(), Box<Problem>> {
    for field in ["attempt", "epoch", "node_id"] {
        if let Some(value) = ctx.get(field) {
            let error =
                FieldError::new(format!("ctx.{field}"), "absent in a submit", value.shown());
            errors.push(error);
        }
    }
    submitted.note_unknown(state, index, ctx);
    let Some(job_id) = ctx.str("job_id") else {
        return Ok(());
    };
    if is_hub_number(job_id) {
        let expected = "an id that is not digits alone: those are the Hub's";
        let error = FieldError::new("ctx.job_id", expected, Value::text(job_id).shown());
        errors.push(error.hint("leave it out, and the Hub gives the next number"));
        return Ok(());
    }
    let ns_id = ctx.str("ns_id").unwrap_or_default();
    let ix = state.jobs.find(job_id);
    if let Some(left) = ix.and_then(|ix| state.jobs.forgotten(ix)) {
        return forget::check_resubmit(&left, ns_id, text, ctx);
    }
    let job = ix.and_then(|ix| state.jobs.get(ix));
    let known = match &job {
        Some(job) => Some((job.ns_id.as_str(), job.spec.as_str())),
        None => submitted
            .get(job_id)
            .map(|job| (job.ns_id.as_ref(), job.spec)),
    };
    let Some((known_ns, known_spec)) = known else {
        submitted.insert(text, ctx);
        return Ok(());
    };
    if known_ns != ns_id {
        return Err(job_conflict(job_id, "ctx.ns_id"));
    }
    if known_spec != text {
        let field = differing_field(known_spec, spec);
        return Err(job_conflict(job_id, &format!("spec.{field}")));
    }
    if job.as_ref().is_some_and(|job| has_other_entries(job, ctx)) {
        return Err(job_conflict(job_id, "ctx.entries"));
    }
    // More tasks of a job come after what its first came after.
    let after = after_text(ctx);
    let known_after = || match &job {
        Some(job) => {
            let known = crate::domain::json::decode(job.ctx.as_bytes()).ok()?;
            Some(after_text(known.as_map()?))
        }
        None => Some(submitted.get(job_id)?.after.clone()),
    };
    if !after.is_empty() && known_after() != Some(after) {
        return Err(job_conflict(job_id, "ctx.after"));
    }
    Ok(())
}

/// Whether a submit has another entry for a task that the job has.
fn has_other_entries(job: &Job, ctx: &Map<'_>) -> bool {
    let ctx = Ctx::new(ctx);
    let Some(entries) = ctx.entries() else {
        return false;
    };
    let tasks = ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
    let mut told = tasks.iter().zip(entries);
    told.any(|(task, entry)| {
        let known = job.entries.get(&task);
        job.tasks.contains(task) && known.map(String::as_str) != Some(&entry.to_text())
    })
}

fn job_conflict(job_id: &str, field: &str) -> Box<Problem> {
    let detail = format!("Job `{job_id}` exists with another `{field}`");
    let problem = Problem::new(409, "job_conflict", "The job exists and is another", detail);
    let problem = problem.with("field", Value::text(field.to_owned()));
    Box::new(problem.hint("submit under another id, or with the spec of the first submit"))
}

fn differing_field(known: &str, spec: &Map<'_>) -> String {
    let known = crate::domain::json::decode(known.as_bytes());
    let empty = Map::new();
    let known = match &known {
        Ok(Value::Map(map)) => map,
        _ => &empty,
    };
    differing_key(known, spec)
}

/// The path of the first field in which two maps differ.
fn differing_key(known: &Map<'_>, said: &Map<'_>) -> String {
    let changed = said
        .iter()
        .find(|(key, value)| known.get(key) != Some(value));
    if let Some((key, value)) = changed {
        return match (known.get(key), value) {
            (Some(Value::Map(known)), Value::Map(said)) => {
                format!("{key}.{}", differing_key(known, said))
            }
            _ => key.to_owned(),
        };
    }
    let mut gone = known.iter().map(|(key, _)| key);
    let gone = gone.find(|key| said.get(key).is_none());
    gone.unwrap_or_default().to_owned()
}

fn check_report(
    state: &State,
    kernel: KernelKind,
    ctx: &mut Map<'_>,
    submitted: &Submitted<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(job_id) = ctx.str("job_id") {
        let ix = state.jobs.find(job_id);
        if is_broken(Rule::R9)
            && kernel == KernelKind::JobFinished
            && let Some(job) = ix.and_then(|ix| state.jobs.live(ix))
            && job.leases.is_empty()
        {
            errors.push(FieldError::new(
                "ctx.attempt",
                "an active attempt",
                String::new(),
            ));
        }
        let ns_id = ix
            .and_then(|ix| state.jobs.namespace(ix))
            .or_else(|| Some(submitted.get(job_id)?.ns_id.to_string()));
        if ns_id.is_some() {
            forget::check_request(state, kernel, ctx, errors);
            if kernel == KernelKind::RetryJob {
                requests::check_round(state, ctx, errors);
            }
        }
        match (ns_id, ctx.str("ns_id")) {
            (None, _) => {
                let got = Value::text(job_id).shown();
                let error = FieldError::new("ctx.job_id", "the id of a job", got);
                errors.push(error.hint("submit the job first"));
            }
            (Some(ns_id), Some(said)) if ns_id != said => {
                let expected = format!("`{ns_id}`, the job's namespace");
                errors.push(FieldError::new("ctx.ns_id", expected, said.to_owned()));
            }
            (Some(ns_id), None) => ctx.insert("ns_id", Value::text(ns_id)),
            (Some(_), Some(_)) => {}
        }
    }
    if kernel.is_about_node()
        && let Some(node_id) = ctx.str("node_id")
    {
        let node = state.nodes.find(node_id).and_then(|ix| state.nodes.get(ix));
        match node {
            None => {
                let got = Value::text(node_id).shown();
                errors.push(FieldError::new("ctx.node_id", "the id of a node", got));
            }
            Some(node) if kernel == KernelKind::NodeLost => match ctx.int("epoch") {
                None => ctx.insert("epoch", Value::Int(i64::from(node.epoch))),
                Some(epoch) if epoch > i64::from(node.epoch) => {
                    let expected = format!("at most {}, the node's epoch", node.epoch);
                    errors.push(FieldError::new("ctx.epoch", expected, epoch.to_string()));
                }
                Some(_) => {}
            },
            Some(_) => {}
        }
    }
}

/// What a further round is to take must be of the job's namespace, or what its tasks take already.
fn check_retry(state: &State, ctx: &Map<'_>, spec: &Map<'_>, errors: &mut Vec<FieldError>) {
    let amounts = spec.get("resources").and_then(Value::as_map);
    let job = ctx.str("job_id").and_then(|id| state.jobs.find(id));
    let (Some(amounts), Some(job)) = (amounts, job.and_then(|ix| state.jobs.get(ix))) else {
        return;
    };
    let names = state.queue.resources();
    let needs = state.queue.shape_at(job.shape).needs.iter();
    let taken = needs.filter_map(|(resource, _)| names.get(*resource));
    let ns = state.namespaces.get(&job.ns_id);
    let mut known: Vec<&str> = ns
        .into_iter()
        .flat_map(|ns| ns.spec.resources.iter().map(|(name, _)| name))
        .chain(taken)
        .map(String::as_str)
        .collect();
    known.sort_unstable();
    known.dedup();
    for (name, _) in amounts.iter().filter(|(name, _)| !known.contains(name)) {
        let field = format!("spec.resources.{name}");
        let error = FieldError::new(field, "a resource of the job", "another name");
        errors.push(match nearest(name, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known: {}", known.join(", "))),
        });
    }
}

fn check_row_keys(
    state: &State,
    kind: &str,
    ctx: &Map<'_>,
    spec: &Map<'_>,
    errors: &mut Vec<FieldError>,
) {
    // Only an event with much text can make a long key; an escaped byte has up to six.
    let size = |map: &Map<'_>| -> usize {
        let sizes = map.iter().map(|(_, value)| match value {
            Value::Str(text) => 6 * text.len(),
            Value::List(_) | Value::Map(_) => ROW_KEY_BYTES_MAX,
            _ => 0,
        });
        sizes.fold(0, usize::saturating_add)
    };
    if size(spec).saturating_add(size(ctx)) < ROW_KEY_BYTES_MAX / 2 {
        return;
    }
    // As long as they can get: the number of a job that comes without one, and the seq.
    let numbered;
    let ctx = if ctx.get("job_id").is_none() {
        let mut with_id = ctx.clone();
        with_id.insert("job_id", Value::text(u64::MAX.to_string()));
        numbered = with_id;
        &numbered
    } else {
        ctx
    };
    let view = EventView {
        seq: i64::MAX.unsigned_abs(),
        stamp: Stamp::default(),
        kind,
        ns_id: ctx.str("ns_id").unwrap_or_default(),
        ctx,
        spec,
    };
    for (gid, generator) in state.generators.iter() {
        let bytes = generator.key_bytes(&view);
        if bytes > ROW_KEY_BYTES_MAX {
            let expected = format!("a row key of at most {ROW_KEY_BYTES_MAX} bytes in `{gid}`");
            errors.push(FieldError::new("spec", expected, format!("{bytes} bytes")));
        }
    }
}
