//! The canonical bytes of one job: everything that the log has said of it.
//!
//! Its shape and the nodes of its attempts stand as indexes into the tables of the same state;
//! [`Job::refers_to`] tells whether those hold them. Nothing else of a state is needed to read a
//! job, so a settled one can be kept elsewhere and read back by itself.

use std::cmp::Reverse;

use super::jobs::Job;
use super::queue::Rank;
use crate::lattice::codec::{Codec, DecodeError, Reader, put_bytes};

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

impl Codec for Job {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        put_bytes(self.ns_id.as_bytes(), out);
        self.name.encode(out);
        put_bytes(self.spec.as_bytes(), out);
        put_bytes(self.ctx.as_bytes(), out);
        self.handler_type.encode(out);
        self.name_stamp.encode(out);
        self.entries.encode(out);
        self.rank.encode(out);
        self.shape.encode(out);
        self.stops.encode(out);
        self.submitted_at.encode(out);
        self.tasks.encode(out);
        self.queued.encode(out);
        self.leases.encode(out);
        self.settled.encode(out);
        self.causes.encode(out);
        self.reasons.encode(out);
        self.attempts.encode(out);
        self.losses.encode(out);
        self.has_lost.encode(out);
        self.mean_ms.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: Codec::decode(reader)?,
            ns_id: Codec::decode(reader)?,
            name: Codec::decode(reader)?,
            spec: Codec::decode(reader)?,
            ctx: Codec::decode(reader)?,
            handler_type: Codec::decode(reader)?,
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
        })
    }
}

impl Job {
    /// Whether all that it refers to by index is among so many nodes and shapes.
    #[must_use]
    pub fn refers_to(&self, nodes: usize, shapes: usize) -> bool {
        let named = self.leases.iter().map(|lease| lease.node);
        let mut named = named.chain(self.attempts.keys().map(|key| key.node));
        named.all(|node| (node as usize) < nodes) && (self.shape as usize) < shapes
    }
}
