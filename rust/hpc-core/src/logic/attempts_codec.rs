//! The canonical bytes of attempts: leases, what became of them, and what was settled.
//!
//! Nodes stand as their index; whoever reads checks that there is such a node.

use super::attempts::{AttemptKey, AttemptState, Lease, Outcome, Settled};
use super::columns::{Ending, Figures};
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes};
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;

impl Codec for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.at.encode(out);
        self.counter.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            at: reader.int()?,
            counter: reader.uint32()?,
        })
    }
}

impl Codec for Outcome {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Cancelled => 2,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.byte()?;
        let known = Self::ALL.get(usize::from(tag)).copied();
        known.ok_or_else(|| reader.refuse(DecodeReason::UnknownTag(tag)))
    }
}

impl Codec for Settled {
    fn encode(&self, out: &mut Vec<u8>) {
        for outcome in Outcome::ALL {
            self.of(outcome).encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut settled = Self::default();
        for outcome in Outcome::ALL {
            *settled.of_mut(outcome) = TaskSet::decode(reader)?;
        }
        Ok(settled)
    }
}

impl Codec for Lease {
    fn encode(&self, out: &mut Vec<u8>) {
        self.attempt.encode(out);
        self.node.encode(out);
        self.epoch.encode(out);
        self.shape.encode(out);
        self.tasks.encode(out);
        self.started.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            attempt: reader.uint32()?,
            node: reader.uint32()?,
            epoch: reader.uint32()?,
            shape: reader.uint32()?,
            tasks: TaskSet::decode(reader)?,
            started: TaskSet::decode(reader)?,
        })
    }
}

impl Codec for Ending {
    fn encode(&self, out: &mut Vec<u8>) {
        self.exit_code.encode(out);
        self.signal.encode(out);
        self.cause.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            exit_code: Codec::decode(reader)?,
            signal: Codec::decode(reader)?,
            cause: Codec::decode(reader)?,
        })
    }
}

const LEASED: u8 = 0;
const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const LOST: u8 = 3;
const RETURNED: u8 = 4;
const CLOSED: u8 = 5;

impl Codec for AttemptState {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leased => out.push(LEASED),
            Self::Running => out.push(RUNNING),
            Self::Ended(ending) => {
                out.push(ENDED);
                ending.encode(out);
            }
            Self::Lost { started } => {
                out.push(LOST);
                started.encode(out);
            }
            Self::Returned(reason) => {
                out.push(RETURNED);
                put_bytes(reason.as_bytes(), out);
            }
            Self::Closed => out.push(CLOSED),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.byte()? {
            LEASED => Self::Leased,
            RUNNING => Self::Running,
            ENDED => Self::Ended(Ending::decode(reader)?),
            LOST => Self::Lost {
                started: reader.flag()?,
            },
            RETURNED => Self::Returned(String::decode(reader)?),
            CLOSED => Self::Closed,
            tag => return Err(reader.refuse(DecodeReason::UnknownTag(tag))),
        })
    }
}

impl Codec for AttemptKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.attempt.encode(out);
        self.node.encode(out);
        self.state.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            attempt: reader.uint32()?,
            node: reader.uint32()?,
            state: AttemptState::decode(reader)?,
        })
    }
}

impl Codec for Figures {
    fn encode(&self, out: &mut Vec<u8>) {
        self.tasks.encode(out);
        self.started_at.encode(out);
        self.finished_at.encode(out);
        self.peak_memory_bytes.encode(out);
        self.cpu_seconds.encode(out);
        self.duration_ms.encode(out);
        self.detail.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tasks: TaskSet::decode(reader)?,
            started_at: Codec::decode(reader)?,
            finished_at: Codec::decode(reader)?,
            peak_memory_bytes: Codec::decode(reader)?,
            cpu_seconds: Codec::decode(reader)?,
            duration_ms: Codec::decode(reader)?,
            detail: Codec::decode(reader)?,
        })
    }
}
