//! The canonical bytes of one job: everything that the log has said of it.
//!
//! First its head, which `sealed.rs` keeps in another way, then the rest. Its shape and the nodes of
//! its attempts stand as indexes into the tables of the same state; [`Job::refers_to`] tells whether
//! those hold them. Nothing else of a state is needed to read a job.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::gate::Gate;
use super::job::Job;
use super::queue::{Rank, ShapeIx};
use crate::lattice::codec::{Codec, DecodeError, Reader, put_bytes};
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;

impl Codec for Rank {
    fn encode(&self, out: &mut Vec<u8>) {
        self.priority.0.encode(out);
        self.seq.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            priority: Reverse(reader.int()?),
            seq: reader.uint()?,
        })
    }
}

/// A sealed job has no more bytes: it would be slow to read.
pub const SEALED_BYTES_MAX: usize = 4096;
/// A set of so many tasks with gaps is not looked at for whether it is short all the same.
const LARGE: u64 = 100_000;

/// What jobs mostly have in common, but for the id.
#[derive(Clone, Debug)]
pub struct Head<'j> {
    /// See [`Job`].
    pub id: &'j str,
    /// See [`Job`].
    pub ns_id: &'j str,
    /// See [`Job`].
    pub spec: Cow<'j, str>,
    /// See [`Job`].
    pub handler_type: Option<&'j str>,
    /// See [`Job`].
    pub name: Option<&'j str>,
    /// See [`Job`].
    pub ctx: Cow<'j, str>,
}

impl<'j> Head<'j> {
    /// Appends its canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_bytes(self.id.as_bytes(), out);
        put_bytes(self.ns_id.as_bytes(), out);
        put_bytes(self.spec.as_bytes(), out);
        out.push(u8::from(self.handler_type.is_some()));
        if let Some(handler_type) = self.handler_type {
            put_bytes(handler_type.as_bytes(), out);
        }
        out.push(u8::from(self.name.is_some()));
        if let Some(name) = self.name {
            put_bytes(name.as_bytes(), out);
        }
        put_bytes(self.ctx.as_bytes(), out);
    }

    /// Reads it.
    ///
    /// # Errors
    /// Bytes that [`Head::write`] never writes.
    pub fn read(reader: &mut Reader<'j>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: reader.text()?,
            ns_id: reader.text()?,
            spec: reader.text()?.into(),
            handler_type: reader.flag()?.then(|| reader.text()).transpose()?,
            name: reader.flag()?.then(|| reader.text()).transpose()?,
            ctx: reader.text()?.into(),
        })
    }
}

impl Job {
    /// What it has in common with others.
    #[must_use]
    pub fn head(&self) -> Head<'_> {
        Head {
            id: &self.id,
            ns_id: &self.ns_id,
            spec: self.spec.as_str().into(),
            handler_type: self.handler_type.as_deref(),
            name: self.name.as_deref(),
            ctx: self.ctx.as_str().into(),
        }
    }

    /// Whether it is settled and nobody has a lease on it: nothing happens to it any more by itself.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_settled() && self.leases.is_empty() && !self.tasks.is_empty()
    }

    /// Whether none of its tasks was ever leased or settled, and nothing keeps them from it: it waits for
    /// a node, and nothing else.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let untouched =
            self.leases.is_empty() && self.attempts.is_empty() && self.settled.is_empty();
        untouched && self.gate.is_none() && !self.tasks.is_empty()
    }

    /// Whether its bytes are surely many: seen without writing them.
    #[must_use]
    pub fn is_large(&self) -> bool {
        let texts = self.ctx.len() + self.attempts.len() * 16;
        let tasks = self.attempts.values().map(|figures| &figures.tasks);
        let gaps = |tasks: &TaskSet| tasks.as_range().is_none() && tasks.len() > LARGE;
        texts + self.entries.len() * 4 > SEALED_BYTES_MAX || tasks.into_iter().any(gaps)
    }

    /// Appends the canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.head().write(out);
        self.write_rest(out);
    }

    /// Reads a job.
    ///
    /// # Errors
    /// Bytes that [`Job::write`] never writes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = Head::read(reader)?;
        Self::read_rest(&head, reader)
    }

    /// Appends all but the head.
    pub fn write_rest(&self, out: &mut Vec<u8>) {
        self.name_stamp.encode(out);
        self.entries.encode(out);
        // By what is ready its rank follows from the rest.
        Rank {
            priority: Reverse(self.priority()),
            ..self.rank
        }
        .encode(out);
        self.shape.encode(out);
        self.stops.encode(out);
        self.submitted_at.encode(out);
        self.tasks.encode(out);
        match &self.gate {
            // Which of them are ready is asked of the clock, and is not kept.
            Some(_) => self.open().encode(out),
            None => self.queued.encode(out),
        }
        self.leases.encode(out);
        self.settled.encode(out);
        self.causes.encode(out);
        self.reasons.encode(out);
        self.attempts.encode(out);
        self.losses.encode(out);
        self.has_lost.encode(out);
        self.mean_ms.encode(out);
        self.gate.is_some().encode(out);
        if let Some(gate) = &self.gate {
            gate.write(out);
        }
    }

    /// Reads all but the head.
    ///
    /// # Errors
    /// Bytes that [`Job::write_rest`] never writes.
    pub fn read_rest(head: &Head<'_>, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut job = Self {
            id: head.id.into(),
            ns_id: head.ns_id.to_owned(),
            spec: head.spec.clone().into_owned(),
            handler_type: head.handler_type.map(str::to_owned),
            name: head.name.map(str::to_owned),
            ctx: head.ctx.clone().into_owned(),
            name_stamp: Codec::decode(reader)?,
            entries: Codec::decode(reader)?,
            rank: Codec::decode(reader)?,
            shape: Codec::decode(reader)?,
            stops: Codec::decode(reader)?,
            submitted_at: Codec::decode(reader)?,
            tasks: Codec::decode(reader)?,
            queued: Codec::decode(reader)?,
            leases: Codec::decode(reader)?,
            settled: Codec::decode(reader)?,
            causes: Codec::decode(reader)?,
            reasons: Codec::decode(reader)?,
            attempts: Codec::decode(reader)?,
            losses: Codec::decode(reader)?,
            has_lost: Codec::decode(reader)?,
            mean_ms: Codec::decode(reader)?,
            gate: if reader.flag()? {
                Some(Box::new(Gate::read(reader)?))
            } else {
                None
            },
        };
        job.regate(None);
        job.settle_rank();
        Ok(job)
    }

    /// The tasks of a job, of all but the head; what stands behind them is not read.
    ///
    /// # Errors
    /// Bytes that [`Job::write_rest`] never writes.
    pub fn read_tasks(reader: &mut Reader<'_>) -> Result<TaskSet, DecodeError> {
        let _stamp: Stamp = Codec::decode(reader)?;
        let _entries: BTreeMap<u32, String> = Codec::decode(reader)?;
        let _rank: Rank = Codec::decode(reader)?;
        let _shape: ShapeIx = Codec::decode(reader)?;
        let _stops: bool = Codec::decode(reader)?;
        let _submitted_at: i64 = Codec::decode(reader)?;
        Codec::decode(reader)
    }

    /// Whether all that it refers to by index is among so many nodes and shapes.
    #[must_use]
    pub fn refers_to(&self, nodes: usize, shapes: usize) -> bool {
        let named = self.leases.iter().map(|lease| lease.node);
        let mut named = named.chain(self.attempts.keys().map(|key| key.node));
        let mut shaped = self
            .leases
            .iter()
            .map(|lease| lease.shape)
            .chain([self.shape]);
        named.all(|node| (node as usize) < nodes) && shaped.all(|shape| (shape as usize) < shapes)
    }
}
