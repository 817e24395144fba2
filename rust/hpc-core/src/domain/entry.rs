//! One batch of the log: its canonical body and its place in the chain.
//!
//! The body is `{"events":[{"at","counter","kind","payload","settles"}],"pokes":[…],"who":"…"}`,
//! canonical; `who` sent it ([`Who`]), and is absent where the Hub wrote it by itself.
//! The chain value of a row is blake3 over the former row's chain value and this row's header and
//! body, so a batch that is changed, missing or moved is named when the log is read. Compaction drops
//! bodies and keeps the rest: of such a batch the chain value is taken as it stands.

use super::access::Who;
use super::json::{Map, Value, decode_own};
use super::json_write::{ObjectWriter, write_int, write_list, write_str};
use crate::lattice::last::Stamp;

/// Flag of a row that registers a namespace or a generator.
pub const FLAG_CONTROL: u32 = 1;

/// A digest or chain value.
pub type Digest = [u8; 32];

/// One batch as it lies in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRow {
    /// Seq of its first event.
    pub first_seq: u64,
    /// Number of events.
    pub count: u32,
    /// Idempotency key.
    pub batch_id: String,
    /// Digest of the content as it was sent.
    pub digest: Digest,
    /// Chain value.
    pub chain: Digest,
    /// See [`FLAG_CONTROL`].
    pub flags: u32,
    /// Canonical body; empty once compaction has dropped it.
    pub body: Vec<u8>,
    /// The jobs that it speaks of.
    pub job_ids: Vec<String>,
}

impl LogRow {
    /// The chain value that the row must have after `former`.
    #[must_use]
    pub fn chain_after(&self, former: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(former);
        hasher.update(&self.first_seq.to_le_bytes());
        hasher.update(&self.count.to_le_bytes());
        hasher.update(&self.flags.to_le_bytes());
        hasher.update(&(self.batch_id.len() as u64).to_le_bytes());
        hasher.update(self.batch_id.as_bytes());
        hasher.update(&self.digest);
        hasher.update(&self.body);
        *hasher.finalize().as_bytes()
    }
}

/// A batch that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRow {
    /// Seq of its first event.
    pub first_seq: u64,
    /// Its id.
    pub batch_id: String,
    /// What is wrong with it.
    pub why: String,
}

/// Verifies rows that should follow a chain value, with `next_seq` as their first seq: the chain,
/// the bodies, and the digests of registrations, which alone stand in the log as they were sent.
/// Returns the chain value behind them, and each that is damaged.
#[must_use]
pub fn verify(rows: &[LogRow], former: &Digest, next_seq: u64) -> (Digest, Vec<DamagedRow>) {
    walk(rows, former, next_seq, LogRow::verify)
}

/// The same of the chain alone, at the cost of a checksum: a body that it holds was made by a Hub.
#[must_use]
pub fn verify_chain(rows: &[LogRow], former: &Digest, next_seq: u64) -> (Digest, Vec<DamagedRow>) {
    walk(rows, former, next_seq, LogRow::follows)
}

fn walk(
    rows: &[LogRow],
    former: &Digest,
    next_seq: u64,
    check: impl Fn(&LogRow, &Digest, u64) -> Result<(), String>,
) -> (Digest, Vec<DamagedRow>) {
    let (mut chain, mut next_seq) = (*former, next_seq);
    let mut damaged = Vec::new();
    for row in rows {
        // From what the row itself says on, so that only what is damaged is named.
        if let Err(why) = check(row, &chain, next_seq) {
            damaged.push(DamagedRow {
                first_seq: row.first_seq,
                batch_id: row.batch_id.clone(),
                why,
            });
        }
        chain = row.chain;
        next_seq = row.first_seq.saturating_add(u64::from(row.count));
    }
    (chain, damaged)
}

impl LogRow {
    fn follows(&self, former: &Digest, next_seq: u64) -> Result<(), String> {
        if self.first_seq != next_seq {
            return Err(format!(
                "a batch is missing before it: expected first seq {next_seq}"
            ));
        }
        if !self.body.is_empty() && self.chain != self.chain_after(former) {
            return Err("its checksum does not match".to_owned());
        }
        Ok(())
    }

    fn verify(&self, former: &Digest, next_seq: u64) -> Result<(), String> {
        self.follows(former, next_seq)?;
        if self.body.is_empty() {
            return Ok(());
        }
        let body = Body::decode(&self.body)?;
        if body.len() != self.count as usize || body.events().count() != body.len() {
            return Err("its number of events does not match".to_owned());
        }
        if self.flags & FLAG_CONTROL != 0 {
            let stored = body.events().next().map(|event| event.spec.clone());
            let sent = Value::Map(stored.unwrap_or_default());
            if digest(&sent) != self.digest {
                return Err("the digest of what was sent does not match".to_owned());
            }
        }
        Ok(())
    }
}

/// The digest of a batch's content: of its canonical text.
#[must_use]
pub fn digest(events: &Value<'_>) -> Digest {
    let mut text = Vec::with_capacity(4096);
    events.write(&mut text);
    *blake3::hash(&text).as_bytes()
}

/// One event as it stands in a body.
#[derive(Clone, Debug)]
pub struct StoredEvent<'e> {
    /// Its stamp.
    pub stamp: Stamp,
    /// Its kind.
    pub kind: &'e str,
    /// Context.
    pub ctx: &'e Map<'e>,
    /// Spec.
    pub spec: &'e Map<'e>,
    /// What it settles, in the form of the log.
    pub settles: Option<&'e Map<'e>>,
}

impl<'e> StoredEvent<'e> {
    /// Reads an event of a body; `None` where it is none of ours.
    #[must_use]
    pub fn read(event: &'e Value<'_>) -> Option<Self> {
        let event = event.as_map()?;
        let payload = event.get("payload")?.as_map()?;
        Some(Self {
            stamp: Stamp {
                at: event.int("at")?,
                counter: event
                    .int("counter")
                    .and_then(|n| u32::try_from(n).ok())
                    .unwrap_or_default(),
            },
            kind: event.str("kind")?,
            ctx: payload.get("ctx")?.as_map()?,
            spec: payload.get("spec")?.as_map()?,
            settles: event.get("settles").and_then(Value::as_map),
        })
    }

    /// Appends the canonical text.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"at\":");
        write_int(out, self.stamp.at);
        if self.stamp.counter != 0 {
            out.extend_from_slice(b",\"counter\":");
            write_int(out, self.stamp.counter);
        }
        out.extend_from_slice(b",\"kind\":");
        write_str(out, self.kind);
        out.extend_from_slice(b",\"payload\":{\"ctx\":");
        self.ctx.write(out);
        out.extend_from_slice(b",\"spec\":");
        self.spec.write(out);
        out.push(b'}');
        if let Some(settles) = self.settles {
            out.extend_from_slice(b",\"settles\":");
            settles.write(out);
        }
        out.push(b'}');
    }
}

/// Closes a body whose events were appended, comma-separated, after [`BODY_OPEN`].
pub fn close_body(body: &mut Vec<u8>, pokes: &[String], who: &str) {
    body.extend_from_slice(b"],\"pokes\":");
    write_list(body, pokes, &mut |out, gid| write_str(out, gid));
    if !who.is_empty() {
        body.extend_from_slice(b",\"who\":");
        write_str(body, who);
    }
    body.push(b'}');
}

/// How a body begins.
pub const BODY_OPEN: &[u8] = b"{\"events\":[";

/// A body, decoded.
#[derive(Debug)]
pub struct Body<'b> {
    events: Vec<Value<'b>>,
    /// The generators of which a cell grew by this batch.
    pub pokes: Vec<String>,
    /// Who sent it, if anybody.
    pub who: Option<String>,
}

impl<'b> Body<'b> {
    /// Decodes a row's body.
    ///
    /// # Errors
    /// What is wrong with it: the row is damaged, or of another version.
    pub fn decode(body: &'b [u8]) -> Result<Self, String> {
        let Value::Map(mut map) = decode_own(body)? else {
            return Err("The body of a batch is no map".to_owned());
        };
        let Some(Value::List(events)) = map.remove("events") else {
            return Err("The body of a batch has no events".to_owned());
        };
        let pokes = map.get("pokes").and_then(Value::as_list).unwrap_or(&[]);
        let pokes = pokes.iter().filter_map(Value::as_str).map(str::to_owned);
        Ok(Self {
            pokes: pokes.collect(),
            who: map.str("who").map(str::to_owned),
            events,
        })
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = StoredEvent<'_>> {
        self.events.iter().filter_map(StoredEvent::read)
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The body of `GET /events`: the events after a cursor, at most `limit`.
///
/// # Errors
/// Names the row whose body cannot be read.
pub fn events_page(
    rows: &[LogRow],
    cursor: u64,
    limit: usize,
    head: u64,
) -> Result<Vec<u8>, String> {
    page(rows, cursor, limit, head, |_| true, None)
}

/// The same with only those events that speak of a job. The rows hold all of them up to `covered`,
/// which is the cursor of a page that is not cut short: so a reader passes over what is not its own.
///
/// # Errors
/// Names the row whose body cannot be read.
pub fn job_events_page(
    rows: &[LogRow],
    job_id: &str,
    cursor: u64,
    limit: usize,
    covered: u64,
    head: u64,
) -> Result<Vec<u8>, String> {
    let speaks = |event: &StoredEvent<'_>| event.ctx.str("job_id") == Some(job_id);
    page(rows, cursor, limit, head, speaks, Some(covered))
}

fn page(
    rows: &[LogRow],
    cursor: u64,
    limit: usize,
    head: u64,
    is_asked: impl Fn(&StoredEvent<'_>) -> bool,
    covered: Option<u64>,
) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(1024);
    let mut last = cursor;
    let mut written = 0;
    let mut cut = false;
    out.extend_from_slice(b"{\"data\":[");
    'rows: for row in rows.iter().filter(|row| !row.body.is_empty()) {
        let body = Body::decode(&row.body)
            .map_err(|e| format!("Batch {} at seq {}: {e}", row.batch_id, row.first_seq))?;
        let who = body.who.as_deref().and_then(Who::parse);
        for (index, event) in body.events().enumerate() {
            let seq = row.first_seq + index as u64;
            if seq <= cursor || !is_asked(&event) {
                continue;
            }
            if written == limit {
                cut = true;
                break 'rows;
            }
            if written > 0 {
                out.push(b',');
            }
            written += 1;
            last = seq;
            let mut object = ObjectWriter::new(&mut out);
            object
                .int("seq", seq)
                .str("id", &row.batch_id)
                .int("index", index)
                .int("at", event.stamp.at)
                .str("kind", event.kind);
            let payload = object.key("payload");
            let mut inner = ObjectWriter::new(payload);
            event.ctx.write(inner.key("ctx"));
            event.spec.write(inner.key("spec"));
            inner.end();
            if let Some(settles) = event.settles {
                settles.write(object.key("settles"));
            }
            if let Some(who) = who {
                let mut by = ObjectWriter::new(object.key("by"));
                by.str("token", who.token)
                    .str("role", who.role)
                    .str("from", who.from)
                    .end();
            }
            object.end();
        }
    }
    if !cut && let Some(covered) = covered {
        last = last.max(covered);
    }
    let more = cut || last < head;
    out.extend_from_slice(b"],\"cursor\":");
    write_int(&mut out, last);
    out.extend_from_slice(b",\"next\":");
    if more {
        write_int(&mut out, last);
    } else {
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
    Ok(out)
}
