//! Ingest: a batch is decoded, de-duplicated, checked as a whole, and only then recorded.
//!
//! All its events are well-formed and recorded, or none is. The check changes nothing; recording
//! cannot fail for anything that a client sent.

use super::check::{Checked, check_event};
use super::check_after::Submitted;
use super::hub::{Fault, Hub, RowWriter};
use super::leases::EndedNode;
use super::query::Query;
use super::queue::JobIx;
use super::receipts::{Receipt, half};
use crate::domain::batch_text::BatchText;
use crate::domain::entry::Digest;
use crate::domain::event::{BATCH_EVENTS_MAX, Ctx, EVENT_BYTES_MAX, KernelKind};
use crate::domain::ids::{BatchId, OWN_ID_SIGN};
use crate::domain::json::{Map, Value};
use crate::domain::json_write::{ObjectWriter, write_str};
use crate::domain::msgpack::decode_either;
use crate::domain::problem::{ERRORS_MAX, FieldError, Problem};
use crate::domain::reader::unknown_fields;
use crate::mutants::{Rule, is_broken};

/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;

/// The most jobs that are not over, of all tokens: each takes some 300 bytes of memory while it waits.
pub const JOBS_GOING_ON_MAX: usize = 4_000_000;

/// What a relay's clock may differ by before its failures are timed by the Hub's, ms.
const SKEW_MS: i64 = 500;

/// What the end of a task may lie back before its job gets old from when the Hub heard of it, ms.
const LATE_MS: i64 = 60_000;

impl Hub {
    /// Answers one ingest.
    ///
    /// # Errors
    /// A mistake of ours; what the client sent is answered, never an error.
    pub(super) fn ingest(&mut self, token: u64, query: &str, body: &[u8]) -> Result<(), Fault> {
        match self.try_ingest(query, body)? {
            Ok(receipt) => self.reply(token, 200, receipt),
            Err(problem) => self.refuse(token, &problem),
        }
        Ok(())
    }

    fn try_ingest(&mut self, query: &str, body: &[u8]) -> Result<Result<Vec<u8>, Problem>, Fault> {
        let sent = match self.open(query, body) {
            Ok(Opened::New(sent)) => sent,
            Ok(Opened::Duplicate(receipt)) => return Ok(Ok(receipt)),
            Err(problem) => return Ok(Err(*problem)),
        };
        let checked = match self.check_all(sent.events, &sent.text) {
            Ok(checked) => checked,
            Err(problem) => return Ok(Err(*problem)),
        };
        if let Err(problem) = self.check_room(&checked) {
            return Ok(Err(*problem));
        }
        if sent.is_dry {
            return self.try_out(sent.id, checked).map(Ok);
        }
        self.record_batch(sent.id, &sent.content, checked).map(Ok)
    }

    /// Decodes the envelope and looks for the id among the receipts.
    fn open<'b>(&self, query: &str, body: &'b [u8]) -> Result<Opened<'b>, Box<Problem>> {
        if body.len() > BODY_BYTES_MAX {
            let detail = format!(
                "The body has {} bytes: at most {BODY_BYTES_MAX}",
                body.len()
            );
            return Err(too_large(detail));
        }
        let query = Query::parse(query, &["dry_run", "key"])?;
        let is_dry = query.bool("dry_run")?.unwrap_or(false);
        let mut map = match decode_either(body).map_err(Problem::bad_request)? {
            Value::Map(map) => map,
            other => {
                let error = FieldError::new("", "a map with `events`", other.type_name());
                return Err(Problem::not_well_formed(vec![error]).into());
            }
        };
        let events = check_envelope(&mut map)?;
        let text = BatchText::write(&events);
        check_sizes(&text)?;
        let id = batch_id(&map, query.get("key"))?;
        let content = text.digest();
        if let Some(id) = &id
            && let Some(receipt) = self.find_duplicate(id, &content)?
        {
            return Ok(Opened::Duplicate(receipt));
        }
        Ok(Opened::New(Sent {
            id,
            events,
            text,
            content,
            is_dry,
        }))
    }

    fn find_duplicate(&self, id: &str, content: &Digest) -> Result<Option<Vec<u8>>, Box<Problem>> {
        if let Some(receipt) = self.receipts.get(id) {
            if receipt.digest == half(content) {
                return Ok(Some(self.render_receipt(id, receipt, true)));
            }
            let detail = format!("Batch id `{id}` was recorded with another content");
            let problem = Problem::new(409, "id_conflict", "Another batch has this id", detail)
                .hint("give every batch an id of its own; repeat one only as it was")
                .with("first_seq", int(receipt.first_seq));
            return Err(problem.into());
        }
        let Some(BatchId::Numbered { origin, n }) = BatchId::parse(id) else {
            return Ok(None);
        };
        let expected = self.receipts.last_of(origin) + 1;
        if n < expected {
            // Recorded, but its receipt is no longer kept.
            let mut out = Vec::new();
            let mut object = ObjectWriter::new(&mut out);
            object.str("id", id).bool("duplicate", true).end();
            return Ok(Some(out));
        }
        if n > expected && !is_broken(Rule::R10) {
            let detail = format!("Origin `{origin}` sent number {n} before {expected}");
            let problem = Problem::new(409, "gap", "A batch is missing", detail)
                .hint("send the missing batches first, each under its own number")
                .with("expected", int(expected));
            return Err(problem.into());
        }
        Ok(None)
    }

    fn check_all<'b>(
        &self,
        events: Vec<Value<'b>>,
        text: &'b BatchText,
    ) -> Result<Vec<Checked<'b>>, Box<Problem>> {
        let mut checked = Vec::with_capacity(events.len());
        let mut errors: Vec<FieldError> = Vec::new();
        let mut submitted = Submitted::of_batch(events.len());
        let allowed = self.allowed()?;
        for (index, event) in events.into_iter().enumerate() {
            let mut found = Vec::new();
            let text = (text, index);
            let event = check_event(
                &self.state,
                &allowed,
                event,
                text,
                &mut submitted,
                &mut found,
            );
            errors.extend(found.into_iter().map(|error| error.at(index)));
            match event.map_err(|problem| name_event(problem, index))? {
                Some(event) => checked.push(event),
                None if errors.len() >= ERRORS_MAX => break,
                None => {}
            }
        }
        if errors.is_empty() {
            errors = submitted.check();
        }
        if errors.is_empty() {
            Ok(checked)
        } else {
            Err(Problem::not_well_formed(errors).into())
        }
    }

    /// Refuses jobs where too many are going on: a loop that submits without end would take all memory,
    /// and with it the work of everybody else.
    fn check_room(&self, events: &[Checked<'_>]) -> Result<(), Box<Problem>> {
        let is_submit = |event: &&Checked<'_>| event.kernel == Some(KernelKind::SubmitJob);
        let new = events.iter().filter(is_submit).count();
        let going_on = self.state.jobs.going_on_len();
        if new == 0 || going_on.saturating_add(new) <= self.jobs_max {
            return Ok(());
        }
        let most = self.jobs_max;
        let detail =
            format!("{going_on} jobs are going on, and with {new} more it would be over {most}");
        let hint = "send the same batch again when some have ended; an array is one job, however \
                    many tasks it has";
        Err(Box::new(
            Problem::new(429, "too_many_jobs", "Too many jobs are going on", detail).hint(hint),
        ))
    }

    fn record_batch(
        &mut self,
        id: Option<String>,
        content: &Digest,
        events: Vec<Checked<'_>>,
    ) -> Result<Vec<u8>, Fault> {
        let id = id.unwrap_or_else(|| self.own_batch_id());
        let mut row = self.begin_row();
        let (jobs, ended) = self.record_events(&mut row, events)?;
        let (first_seq, count) = (row.first_seq, row.count);
        let pokes = self.end_row(row, &id, *content, 0);
        let receipt = Receipt {
            first_seq,
            count,
            digest: half(content),
            jobs: jobs.into(),
            pokes: self.receipts.intern_pokes(&pokes),
            at: self.stamp.at,
        };
        let rendered = self.render_receipt(&id, &receipt, false);
        self.remember(&id, receipt);
        self.end_nodes(ended)?;
        Ok(rendered)
    }

    /// Records the events of a batch; returns the jobs that it submits and the nodes that it ends.
    pub(super) fn record_events(
        &mut self,
        row: &mut RowWriter,
        events: Vec<Checked<'_>>,
    ) -> Result<(Vec<JobIx>, Vec<EndedNode>), Fault> {
        let mut jobs = Vec::new();
        let mut ended = Vec::new();
        row.reserve(&events);
        for mut event in events {
            if event.kernel == Some(KernelKind::SubmitJob) {
                if event.ctx.get("job_id").is_none() {
                    let number = self.state.jobs.numbered() + 1;
                    event.ctx.insert("job_id", Value::text(number.to_string()));
                }
                self.record(row, &event.to_record())?;
                let job_id = event.ctx.str("job_id").unwrap_or_default();
                jobs.extend(self.state.jobs.find(job_id));
                continue;
            }
            if event.kernel == Some(KernelKind::RetryJob) {
                self.name_round(&mut event);
            }
            if event.kernel == Some(KernelKind::ForgetJob) {
                self.name_outcome(&mut event);
            }
            if let Some(KernelKind::JobFinished | KernelKind::CancelJob) = event.kernel {
                self.name_hearing(&mut event);
            }
            ended.extend(self.node_ended_by(&event));
            self.record(row, &event.to_record())?;
        }
        Ok((jobs, ended))
    }

    /// Writes into what ends tasks when it was heard, where its sender's clock goes otherwise than the
    /// Hub's, or it comes late: by that time a back-off would be over, or long, and a job old.
    fn name_hearing(&self, event: &mut Checked<'_>) {
        let job_id = Ctx::new(&event.ctx).job_id();
        let ix = job_id.and_then(|id| self.state.jobs.find(id));
        let job = ix.and_then(|ix| self.state.jobs.get(ix));
        let may_retry =
            job.is_some_and(|job| job.gate.as_ref().is_some_and(|gate| gate.retries > 0));
        let now = self.steady();
        let is_noted = |at: i64| may_retry && (now - at).abs() > SKEW_MS || now - at > LATE_MS;
        if event.at.is_some_and(is_noted) {
            event.spec.insert("heard_at", Value::Int(now));
        }
    }

    /// Remembers a receipt under its batch id, and its number where it has one. Nobody can ask for
    /// an id of the Hub's own.
    pub(super) fn remember(&mut self, id: &str, receipt: Receipt) {
        if id.contains(OWN_ID_SIGN) || is_broken(Rule::R2) {
            return;
        }
        let origin = match BatchId::parse(id) {
            Some(BatchId::Numbered { origin, n }) => Some((origin, n)),
            _ => None,
        };
        self.receipts.put(id, origin, receipt);
    }

    fn render_receipt(&self, id: &str, receipt: &Receipt, duplicate: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        let mut object = ObjectWriter::new(&mut out);
        let jobs = receipt.jobs.iter().filter_map(|ix| self.state.jobs.id(*ix));
        object
            .str("id", id)
            .int("first_seq", receipt.first_seq)
            .int("count", receipt.count)
            .bool("duplicate", duplicate)
            .list("jobs", jobs, write_str)
            .list("pokes", self.receipts.pokes(receipt.pokes), |out, gid| {
                write_str(out, gid);
            })
            .end();
        out
    }
}

enum Opened<'b> {
    New(Sent<'b>),
    Duplicate(Vec<u8>),
}

/// A batch that was not sent before.
struct Sent<'b> {
    id: Option<String>,
    events: Vec<Value<'b>>,
    text: BatchText,
    content: Digest,
    is_dry: bool,
}

fn check_envelope<'b>(map: &mut Map<'b>) -> Result<Vec<Value<'b>>, Box<Problem>> {
    let known = ["id", "events"];
    let mut errors = Vec::new();
    unknown_fields(map, "", &known, "a field of a batch", &mut errors);
    let events = map.remove("events");
    let count = match &events {
        Some(Value::List(list)) if !list.is_empty() => list.len(),
        other => {
            let got = other.as_ref().map_or("nothing".to_owned(), Value::shown);
            let expected = "List of at least one event";
            errors.push(FieldError::new("events", expected, got));
            0
        }
    };
    if count > BATCH_EVENTS_MAX {
        let detail = format!("The batch has {count} events: at most {BATCH_EVENTS_MAX}");
        return Err(too_large(detail));
    }
    match events {
        Some(Value::List(events)) if errors.is_empty() => Ok(events),
        _ => Err(Problem::not_well_formed(errors).into()),
    }
}

fn check_sizes(text: &BatchText) -> Result<(), Box<Problem>> {
    match text
        .sizes()
        .enumerate()
        .find(|(_, size)| *size > EVENT_BYTES_MAX)
    {
        None => Ok(()),
        Some((index, size)) => {
            let detail = format!("Event {index} has {size} bytes: at most {EVENT_BYTES_MAX}");
            Err(too_large(detail))
        }
    }
}

fn batch_id(map: &Map<'_>, header: Option<&str>) -> Result<Option<String>, Box<Problem>> {
    let expected = "an id, a UUID or ORIGIN/N";
    let refuse = |field: &str, got: String| {
        Box::new(Problem::not_well_formed(vec![FieldError::new(
            field, expected, got,
        )]))
    };
    let in_body = match map.get("id") {
        None => None,
        Some(Value::Str(id)) if BatchId::parse(id).is_some() => Some(id.as_ref()),
        Some(other) => return Err(refuse("id", other.shown())),
    };
    match (in_body, header) {
        (_, Some(header)) if BatchId::parse(header).is_none() => {
            Err(refuse("Idempotency-Key", Value::text(header).shown()))
        }
        (Some(id), Some(header)) if id != header => {
            let error = FieldError::new("id", format!("as in Idempotency-Key: {header}"), id);
            Err(Problem::not_well_formed(vec![error]).into())
        }
        (Some(id), _) => Ok(Some(id.to_owned())),
        (None, header) => Ok(header.map(str::to_owned)),
    }
}

pub(super) fn too_large(detail: String) -> Box<Problem> {
    let hint = "send several smaller batches, each under an id of its own";
    Box::new(Problem::new(413, "too_large", "Too large", detail).hint(hint))
}

fn name_event(mut problem: Box<Problem>, index: usize) -> Box<Problem> {
    problem.detail = format!("Event {index}: {}", problem.detail);
    problem
}

fn int(n: u64) -> Value<'static> {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}
