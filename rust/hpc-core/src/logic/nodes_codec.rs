//! The canonical bytes of one node: what the log has said of it.
//!
//! Deadlines, open claims and holds are not in them: the next claims bring those again. What its
//! leases take follows from the jobs.

use super::nodes::{Node, NodeState};
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes};

impl Codec for NodeState {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Up => 0,
            Self::Unreachable => 1,
            Self::Left => 2,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            0 => Ok(Self::Up),
            1 => Ok(Self::Unreachable),
            2 => Ok(Self::Left),
            tag => Err(reader.refuse(DecodeReason::UnknownTag(tag))),
        }
    }
}

impl Codec for Node {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.epoch.encode(out);
        put_bytes(self.host.as_bytes(), out);
        put_bytes(self.place.as_bytes(), out);
        put_bytes(self.session.as_bytes(), out);
        self.state.encode(out);
        self.namespaces.encode(out);
        self.total.encode(out);
        self.labels.encode(out);
        self.lease_ms.encode(out);
        self.drained.encode(out);
        self.drain_deadline.encode(out);
        self.joined_at.encode(out);
        self.gone_at.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut node = Self::new(reader.text()?);
        node.epoch = reader.uint32()?;
        node.host = Codec::decode(reader)?;
        node.place = Codec::decode(reader)?;
        node.session = Codec::decode(reader)?;
        node.state = Codec::decode(reader)?;
        node.namespaces = Codec::decode(reader)?;
        node.total = Codec::decode(reader)?;
        node.labels = Codec::decode(reader)?;
        node.lease_ms = Codec::decode(reader)?;
        node.drained = Codec::decode(reader)?;
        node.drain_deadline = Codec::decode(reader)?;
        node.joined_at = Codec::decode(reader)?;
        node.gone_at = Codec::decode(reader)?;
        // As after a replay: whatever may have to be looked at or told is.
        node.dirty = true;
        node.attention = true;
        Ok(node)
    }
}
