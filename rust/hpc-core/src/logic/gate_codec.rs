//! The canonical bytes of a gate; which tasks it parks is found anew.

use super::gate::{After, Condition, Gate, Standing, Word};
use super::priorities::Priorities;
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader};

impl Codec for Condition {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Succeeded => 0,
            Self::Settled => 1,
            Self::Failed => 2,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.byte()?;
        let known = Self::ALL.get(usize::from(tag));
        let known = known.map(|(_, condition)| *condition);
        known.ok_or_else(|| reader.refuse(DecodeReason::UnknownTag(tag)))
    }
}

impl Codec for After {
    fn encode(&self, out: &mut Vec<u8>) {
        self.job_id.encode(out);
        self.condition.encode(out);
        out.push(match self.standing {
            Standing::Open => 0,
            Standing::Met => 1,
            Standing::Never => 2,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            job_id: Codec::decode(reader)?,
            condition: Codec::decode(reader)?,
            standing: match reader.byte()? {
                0 => Standing::Open,
                1 => Standing::Met,
                2 => Standing::Never,
                tag => return Err(reader.refuse(DecodeReason::UnknownTag(tag))),
            },
        })
    }
}

impl<T: Codec> Codec for Word<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.stamp.encode(out);
        self.tasks.encode(out);
        self.value.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            stamp: Codec::decode(reader)?,
            tasks: Codec::decode(reader)?,
            value: Codec::decode(reader)?,
        })
    }
}

impl Codec for Priorities {
    fn encode(&self, out: &mut Vec<u8>) {
        self.of_job.encode(out);
        self.said.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            of_job: Codec::decode(reader)?,
            said: Codec::decode(reader)?,
        })
    }
}

impl Gate {
    /// Appends the canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.holds.encode(out);
        self.after.encode(out);
        self.by_task.encode(out);
        self.released.encode(out);
        self.delays.encode(out);
        self.failures.encode(out);
        self.retries.encode(out);
        self.max_fails.encode(out);
        self.throttle.encode(out);
        self.priority_stamp.encode(out);
        self.rounds.encode(out);
        // Older snapshots have none; a gate is the last of a job's bytes.
        if let Some(priorities) = &self.priorities {
            priorities.encode(out);
        }
    }

    /// Reads a gate that parks nothing yet, up to the end of the bytes.
    ///
    /// # Errors
    /// Bytes that [`Gate::write`] never writes.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut gate = Self {
            holds: Codec::decode(reader)?,
            after: Codec::decode(reader)?,
            by_task: Codec::decode(reader)?,
            released: Codec::decode(reader)?,
            delays: Codec::decode(reader)?,
            failures: Codec::decode(reader)?,
            retries: Codec::decode(reader)?,
            max_fails: Codec::decode(reader)?,
            throttle: Codec::decode(reader)?,
            priority_stamp: Codec::decode(reader)?,
            rounds: Codec::decode(reader)?,
            ..Self::default()
        };
        if reader.remaining() > 0 {
            gate.priorities = Some(Box::new(Codec::decode(reader)?));
        }
        Ok(gate)
    }
}
