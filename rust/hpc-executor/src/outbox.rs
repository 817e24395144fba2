//! outbox: what one session has to tell the Hub and the Hub has not acknowledged.
//!
//! One append-only file per session (the ORIGIN of its batch ids). `write` comes before anything
//! that depends on it: a start before the spawn, an end before the slot is free, a batch before it
//! is sent. An fsync is not needed for truth (protocol.md R11), only to bound what a power cut
//! costs. A batch is fixed when it gets its number and is offered unchanged until it is
//! acknowledged; at most one per session is in flight.
//!
//! A session that is over makes no further batch: a power cut may have taken the record of one that was
//! sent, and its number must never stand before anything else. What no batch holds goes to the next
//! session ([`Outbox::hand_over`]), in whose outbox everything stands once. The Hub may then be told some
//! of it by two batches, which says nothing new.
//!
//! Neighbours: [`crate::record`] is the form on disk, [`crate::report`] makes the events. Sending
//! is the relay's.

use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record::{Payload, Record, Span, read_payload, write_output, write_record};
use crate::report;
use crate::work::Lease;

/// Most records in a batch: their event stays far below 1 MiB.
const BATCH_RECORDS: usize = 2_000;

/// Most bytes of output in a batch, but for the task that passes it.
const BATCH_OUTPUT_BYTES: usize = 4 << 20;

/// A file above this size is written anew once little of it is still needed.
const REWRITE_BYTES: u64 = 8 << 20;

/// What is meant by little: so many items not yet in a batch.
const REWRITE_ITEMS: usize = 5_000;

/// Ends that an acknowledgement makes forgettable.
pub type Ended = Vec<(Arc<Lease>, Span)>;

enum Item {
    Record(Record),
    Output(Vec<u8>),
}

struct InFlight {
    n: u64,
    events: Vec<String>,
    outputs: Vec<u8>,
    ended: Ended,
    is_offered: bool,
}

/// How urgent it is to make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing to tell, or a batch is in flight.
    None,
    /// Only starts: they may wait for company.
    Starts,
    /// The start of what did not succeed before, at once: it may be what took a relay down, and
    /// counts so only if the Hub knows that it had started.
    Again,
    /// An end: at once.
    Ends,
}

fn is_again(item: &Item) -> bool {
    matches!(item, Item::Record(Record::Started { lease, .. }) if lease.attempt > 1)
}

/// The outbox of one session.
pub struct Outbox {
    session: String,
    node_id: String,
    path: PathBuf,
    file: Arc<File>,
    file_bytes: u64,
    buffer: Vec<u8>,
    pending: VecDeque<Item>,
    pending_ends: usize,
    in_flight: Option<InFlight>,
    acked: u64,
    unsynced: bool,
    /// Who has what no batch held, while this file does not say so yet.
    heir: Option<String>,
}

impl Outbox {
    /// Makes the file of a new session, or continues one that a former supervisor began.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(folder: &Path, session: &str, node_id: &str) -> io::Result<Self> {
        let path = folder.join(format!("{session}.log"));
        if let Some(found) = Self::load(&path)? {
            return Ok(found);
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        let mut outbox = Self::empty(path, file, session, node_id);
        let head = outbox.head();
        write_record(&mut outbox.buffer, &head);
        outbox.flush()?;
        File::open(folder)?.sync_all()?;
        Ok(outbox)
    }

    fn empty(path: PathBuf, file: File, session: &str, node_id: &str) -> Self {
        Self {
            session: session.to_owned(),
            node_id: node_id.to_owned(),
            path,
            file: Arc::new(file),
            file_bytes: 0,
            buffer: Vec::new(),
            pending: VecDeque::new(),
            pending_ends: 0,
            in_flight: None,
            acked: 0,
            unsynced: false,
            heir: None,
        }
    }

    fn head(&self) -> Record {
        Record::Head {
            session: self.session.clone(),
            node_id: self.node_id.clone(),
            acked: self.acked,
        }
    }

    /// Reads a file up to its first torn or damaged record and cuts the rest off; `None` where the
    /// file does not exist or holds not even its head.
    ///
    /// # Errors
    /// The file system's.
    pub fn load(path: &Path) -> io::Result<Option<Self>> {
        let mut file = match OpenOptions::new().read(true).append(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Some((
            Payload::Record(Record::Head {
                session,
                node_id,
                acked,
            }),
            mut at,
        )) = read_payload(&bytes)
        else {
            drop(file);
            std::fs::remove_file(path)?;
            return Ok(None);
        };
        let mut outbox = Self::empty(path.to_owned(), file, &session, &node_id);
        outbox.acked = acked;
        while let Some((payload, length)) = read_payload(bytes.get(at..).unwrap_or_default()) {
            if !outbox.replay(payload) {
                break;
            }
            at += length;
        }
        outbox.file_bytes = at as u64;
        if at < bytes.len() {
            outbox.file.set_len(outbox.file_bytes)?;
        }
        Ok(Some(outbox))
    }

    /// Applies a record of the file; whether it can follow what came before.
    fn replay(&mut self, payload: Payload) -> bool {
        let record = match payload {
            Payload::Output(frames) => {
                self.pending.push_back(Item::Output(frames));
                return true;
            }
            Payload::Record(record) => record,
        };
        match record {
            Record::Head { .. } => return false,
            Record::Batch { n, count } => {
                if self.in_flight.is_some()
                    || n != self.acked.saturating_add(1)
                    || count > self.pending.len()
                {
                    return false;
                }
                self.take_batch(count);
            }
            Record::Acked { n } => return self.forget(n).is_some(),
            Record::Refused { n, events } => return self.drop_events(n, &events).is_some(),
            Record::HandedOver { .. } => self.drop_pending(),
            told => self.remember(told),
        }
        true
    }

    fn remember(&mut self, record: Record) {
        if !matches!(record, Record::Started { .. }) {
            self.pending_ends += 1;
        }
        self.pending.push_back(Item::Record(record));
    }

    fn drop_pending(&mut self) {
        self.pending.clear();
        self.pending_ends = 0;
    }

    /// Gives what no batch holds to the outbox of a later session, where it is durable before this one
    /// forgets it. What is there already is not added: a crash in between leaves it in both, and a batch
    /// that says one thing twice is refused.
    ///
    /// # Errors
    /// The file system's: nothing is lost, and the next call goes on.
    pub fn hand_over(&mut self, to: &mut Self) -> io::Result<()> {
        if !self.pending.is_empty() {
            let written = |item: &Item| {
                let mut bytes = Vec::new();
                match item {
                    Item::Record(record) => write_record(&mut bytes, record),
                    Item::Output(frames) => write_output(&mut bytes, frames),
                }
                bytes
            };
            let known: HashSet<Vec<u8>> = to.pending.iter().map(written).collect();
            self.pending_ends = 0;
            for item in self.pending.drain(..) {
                if known.contains(&written(&item)) {
                    continue;
                }
                match item {
                    Item::Record(record) => to.push(record),
                    Item::Output(frames) => to.push_output(frames),
                }
            }
            self.heir = Some(to.session.clone());
        }
        let Some(heir) = self.heir.clone() else {
            return Ok(());
        };
        to.flush()?;
        to.file.sync_data()?;
        self.heir = None;
        write_record(&mut self.buffer, &Record::HandedOver { to: heir });
        self.flush()
    }

    /// Whose outbox it is.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Adds something that happened; on disk after [`Outbox::flush`].
    pub fn push(&mut self, record: Record) {
        write_record(&mut self.buffer, &record);
        self.remember(record);
    }

    /// Adds frames of output, ahead of the end that they belong to.
    pub fn push_output(&mut self, frames: Vec<u8>) {
        if !frames.is_empty() {
            write_output(&mut self.buffer, &frames);
            self.pending.push_back(Item::Output(frames));
        }
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// The file system's; nothing is lost, and the next call tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = (&*self.file).write_all(&self.buffer);
        if let Err(error) = written {
            // What was written of it must not stand before the next try.
            self.file.set_len(self.file_bytes)?;
            return Err(error);
        }
        self.file_bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.unsynced = true;
        Ok(())
    }

    /// The file, if anything was written since the last call: for an fsync elsewhere.
    pub fn take_unsynced(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.unsynced).then(|| Arc::clone(&self.file))
    }

    /// Whether anything was written since [`Outbox::take_unsynced`].
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// How urgent it is to make a batch.
    #[must_use]
    pub fn news(&self) -> News {
        match (&self.in_flight, self.pending_ends) {
            (Some(_), _) => News::None,
            (None, 0) if self.pending.is_empty() => News::None,
            (None, _) if self.pending.iter().any(is_again) => News::Again,
            (None, 0) => News::Starts,
            _ => News::Ends,
        }
    }

    /// Whether everything is acknowledged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty() && self.heir.is_none()
    }

    /// Fixes the next batch, where there is news and none is in flight.
    ///
    /// # Errors
    /// The file system's: the batch is fixed, and may be offered once a flush succeeds.
    pub fn make_batch(&mut self) -> io::Result<bool> {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return Ok(false);
        }
        let (mut records, mut output_bytes, mut count) = (0, 0, 0);
        for item in &self.pending {
            match item {
                Item::Record(_) => records += 1,
                Item::Output(frames) => output_bytes += frames.len(),
            }
            count += 1;
            if records >= BATCH_RECORDS || output_bytes >= BATCH_OUTPUT_BYTES {
                break;
            }
        }
        let n = self.acked.saturating_add(1);
        write_record(&mut self.buffer, &Record::Batch { n, count });
        self.take_batch(count);
        self.flush()?;
        Ok(true)
    }

    fn take_batch(&mut self, count: usize) {
        let (mut records, mut outputs, mut ended) = (Vec::new(), Vec::new(), Ended::new());
        for item in self.pending.drain(..count.min(self.pending.len())) {
            match item {
                Item::Output(frames) => outputs.extend_from_slice(&frames),
                Item::Record(record) => {
                    if let Record::Ended { lease, tasks, .. }
                    | Record::Returned { lease, tasks, .. } = &record
                    {
                        ended.push((Arc::clone(lease), *tasks));
                        self.pending_ends -= 1;
                    }
                    if matches!(record, Record::Drained { .. }) {
                        self.pending_ends -= 1;
                    }
                    records.push(record);
                }
            }
        }
        self.in_flight = Some(InFlight {
            n: self.acked.saturating_add(1),
            events: report::events(&records, &self.node_id),
            outputs,
            ended,
            is_offered: false,
        });
    }

    /// The batch in flight as it is sent, once: its number and ingest body.
    ///
    /// `None` also while the record that fixes it could not be written.
    pub fn take_offer(&mut self) -> Option<(u64, Vec<u8>)> {
        let is_written = self.buffer.is_empty();
        let batch = self.in_flight.as_mut()?;
        if !is_written || std::mem::replace(&mut batch.is_offered, true) {
            return None;
        }
        let (session, n) = (&self.session, batch.n);
        let events = batch.events.join(",");
        let body = format!("{{\"id\":\"{session}/{n}\",\"events\":[{events}]}}");
        Some((n, body.into_bytes()))
    }

    /// The frames that go with the batch in flight.
    #[must_use]
    pub fn offered_outputs(&self) -> &[u8] {
        self.in_flight.as_ref().map_or(&[], |batch| &batch.outputs)
    }

    /// Takes the Hub's acknowledgement; returns what ended in the batch, or `None` where another
    /// number is in flight (an old answer: nothing changes).
    ///
    /// # Errors
    /// The file system's: the acknowledgement counts, and a restart would offer the batch again.
    pub fn acknowledge(&mut self, n: u64) -> io::Result<Option<Ended>> {
        let Some(ended) = self.forget(n) else {
            return Ok(None);
        };
        write_record(&mut self.buffer, &Record::Acked { n });
        if self.file_bytes > REWRITE_BYTES && self.pending.len() < REWRITE_ITEMS {
            self.rewrite()?; // where it fails, the old file goes on as it was
        } else {
            self.flush()?;
        }
        Ok(Some(ended))
    }

    fn forget(&mut self, n: u64) -> Option<Ended> {
        let batch = self.in_flight.take_if(|batch| batch.n == n)?;
        self.acked = n;
        Some(batch.ended)
    }

    /// Writes the file anew with what is still needed, and puts it in the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.path.with_extension("new");
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)?;
        file.set_len(0)?;
        let mut kept = Vec::new();
        write_record(&mut kept, &self.head());
        for item in &self.pending {
            match item {
                Item::Record(record) => write_record(&mut kept, record),
                Item::Output(frames) => write_output(&mut kept, frames),
            }
        }
        (&file).write_all(&kept)?;
        file.sync_data()?;
        std::fs::rename(&path, &self.path)?;
        self.file = Arc::new(file);
        self.file_bytes = kept.len() as u64;
        self.buffer.clear(); // all of it was in `pending` too, or is said by the new head
        Ok(())
    }

    /// Takes events out of the batch in flight that the Hub refuses for good, and puts them into
    /// `folder`; the rest is offered under the same number. Whether anything changed.
    ///
    /// # Errors
    /// The file system's; then nothing was taken out.
    pub fn refuse(&mut self, n: u64, indexes: &[usize], folder: &Path) -> io::Result<bool> {
        let Some(batch) = self.in_flight.as_ref().filter(|batch| batch.n == n) else {
            return Ok(false);
        };
        let events: Vec<&str> = picked(&batch.events, indexes).collect();
        if events.is_empty() {
            return Ok(false);
        }
        crate::capture::private_folder(folder)?;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(folder.join(format!("{}-{n}.jsonl", self.session)))?;
        file.write_all((events.join("\n") + "\n").as_bytes())?;
        file.sync_data()?;
        self.drop_events(n, indexes);
        let record = Record::Refused {
            n,
            events: indexes.to_vec(),
        };
        write_record(&mut self.buffer, &record);
        self.flush()?;
        Ok(true)
    }

    fn drop_events(&mut self, n: u64, indexes: &[usize]) -> Option<()> {
        let batch = self.in_flight.as_mut().filter(|batch| batch.n == n)?;
        let refused: Vec<String> = picked(&batch.events, indexes).map(str::to_owned).collect();
        batch.is_offered = false;
        let mut place = 0;
        batch.events.retain(|_| {
            place += 1;
            !indexes.contains(&(place - 1))
        });
        if batch.events.is_empty() {
            batch.events = vec![report::all_refused(&refused, &self.session, &self.node_id)];
        }
        Some(())
    }

    /// What ended and is not acknowledged.
    pub fn ended(&self) -> impl Iterator<Item = (&Arc<Lease>, Span)> {
        let pending = self.pending.iter().filter_map(|item| match item {
            Item::Record(
                Record::Ended { lease, tasks, .. } | Record::Returned { lease, tasks, .. },
            ) => Some((lease, *tasks)),
            _ => None,
        });
        let in_flight = self.in_flight.iter().flat_map(|batch| &batch.ended);
        in_flight
            .map(|(lease, tasks)| (lease, *tasks))
            .chain(pending)
    }

    /// Deletes the file of a session that has nothing left to tell.
    ///
    /// # Errors
    /// The file system's.
    pub fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn picked<'a>(events: &'a [String], indexes: &[usize]) -> impl Iterator<Item = &'a str> {
    indexes
        .iter()
        .filter_map(|index| events.get(*index).map(String::as_str))
}
