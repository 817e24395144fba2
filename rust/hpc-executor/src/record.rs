//! record: what the outbox remembers, and how a record lies on disk.
//!
//! A record is `u32 length | u32 crc32 of the payload | payload`, little endian. A payload that
//! begins with `{` is a [`Record`] as JSON; one that begins with `O` holds frames of output for
//! `POST /outputs`. Reading stops before the first record that is cut short or does not match its
//! sum: what follows a torn write was never acknowledged to anyone.

use std::sync::Arc;

use hpc_core::lattice::tasks::TaskSet;
use serde::{Deserialize, Serialize};

use crate::work::Lease;

/// Greatest payload; a length above it is damage.
pub const PAYLOAD_MAX: usize = 64 << 20;

const HEADER: usize = 8;
const OUTPUT_TAG: u8 = b'O';

/// Tasks from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span(pub u32, pub u32);

impl Span {
    /// How many tasks it names: none, where the last is before the first.
    #[must_use]
    pub fn count(self) -> u64 {
        (u64::from(self.1) + 1).saturating_sub(u64::from(self.0))
    }

    /// Whether it names a task.
    #[must_use]
    pub fn contains(self, task: u32) -> bool {
        (self.0..=self.1).contains(&task)
    }

    /// The tasks that it names.
    #[must_use]
    pub fn tasks(self) -> TaskSet {
        TaskSet::range(self.0, self.1)
    }
}

/// Why a task failed; the words of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)] // each is its own word
pub enum Cause {
    #[serde(rename = "exit")]
    Exit,
    #[serde(rename = "signal")]
    Signal,
    #[serde(rename = "oom")]
    Oom,
    #[serde(rename = "time limit")]
    TimeLimit,
    #[serde(rename = "output limit")]
    OutputLimit,
    #[serde(rename = "cancelled")]
    Cancelled,
    #[serde(rename = "not found")]
    NotFound,
    #[serde(rename = "cwd not found")]
    CwdNotFound,
    #[serde(rename = "refused")]
    Refused,
}

/// Why tasks go back without a result; the words of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // each is its own word
pub enum Reason {
    Fence,
    Drain,
    GivenBack,
}

/// How an execution ended. Absent means unknown or not applicable.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the fields of JobFinished.spec
pub struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    pub finished_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Microseconds here, seconds on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// Begins a file: whose outbox this is, and what was acknowledged before its first record.
    #[serde(rename = "head")]
    Head {
        /// Origin of the batch ids.
        session: String,
        /// Node that reports.
        node_id: String,
        /// Last batch that was acknowledged.
        acked: u64,
    },
    /// Tasks began; written before they do.
    #[serde(rename = "s")]
    Started {
        /// Lease.
        #[serde(rename = "l")]
        lease: Arc<Lease>,
        /// Tasks.
        #[serde(rename = "t")]
        tasks: Span,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// Tasks ended; written before their slot is free.
    #[serde(rename = "e")]
    Ended {
        /// Lease.
        #[serde(rename = "l")]
        lease: Arc<Lease>,
        /// Tasks.
        #[serde(rename = "t")]
        tasks: Span,
        /// How, the same for all of them.
        #[serde(rename = "o")]
        outcome: Outcome,
    },
    /// Tasks go back without a result.
    #[serde(rename = "r")]
    Returned {
        /// Lease.
        #[serde(rename = "l")]
        lease: Arc<Lease>,
        /// Tasks.
        #[serde(rename = "t")]
        tasks: Span,
        /// Why.
        #[serde(rename = "w")]
        reason: Reason,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// The node is not fit for work, as it has found itself.
    #[serde(rename = "d")]
    Drained {
        /// What was found.
        reason: String,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// Fixes what number `n` holds: the next `count` items that no batch holds yet.
    #[serde(rename = "batch")]
    Batch {
        /// Number, from 1 without gaps.
        n: u64,
        /// Items, output among them.
        count: usize,
    },
    /// Number `n` is recorded by the Hub.
    #[serde(rename = "acked")]
    Acked {
        /// Number.
        n: u64,
    },
    /// All items that no batch holds yet were handed over to the outbox of a later session.
    #[serde(rename = "handed")]
    HandedOver {
        /// Whose outbox has them.
        to: String,
    },
    /// These events of number `n`, counted in what was offered last, were refused and set aside.
    #[serde(rename = "refused")]
    Refused {
        /// Number.
        n: u64,
        /// Indexes, ascending.
        events: Vec<usize>,
    },
}

/// A payload, read.
#[derive(Debug, PartialEq)]
pub enum Payload {
    /// Something that happened.
    Record(Record),
    /// Frames of output.
    Output(Vec<u8>),
}

/// Appends a record in its form on disk.
pub fn write_record(out: &mut Vec<u8>, record: &Record) {
    framed(out, |out| {
        // Writing plain data into a Vec cannot fail: no map with odd keys, no I/O.
        let _ = serde_json::to_writer(out, record);
    });
}

/// Appends frames of output in their form on disk.
pub fn write_output(out: &mut Vec<u8>, frames: &[u8]) {
    framed(out, |out| {
        out.push(OUTPUT_TAG);
        out.extend_from_slice(frames);
    });
}

fn framed(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    fill(out);
    let payload = out.get(start + HEADER..).unwrap_or_default();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let sum = crc32(payload);
    if let Some(header) = out.get_mut(start..start + HEADER) {
        let (first, second) = header.split_at_mut(4);
        first.copy_from_slice(&length.to_le_bytes());
        second.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Reads the record at the start of `bytes`; returns it and how many bytes it takes, or `None`
/// where it is cut short, does not match its sum, or is not understood.
#[must_use]
pub fn read_payload(bytes: &[u8]) -> Option<(Payload, usize)> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let (length, sum) = header.split_at_checked(4)?;
    let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    if length > PAYLOAD_MAX {
        return None;
    }
    let payload = rest.get(..length)?;
    if crc32(payload) != sum {
        return None;
    }
    let read = match payload.split_first()? {
        (&OUTPUT_TAG, frames) => Payload::Output(frames.to_vec()),
        _ => Payload::Record(serde_json::from_slice(payload).ok()?),
    };
    Some((read, HEADER + length))
}

/// CRC-32 (IEEE 802.3), by a table of one byte.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        let index = (sum ^ u32::from(*byte)) & 0xff;
        let entry = TABLE.get(index as usize).copied().unwrap_or(0);
        sum = entry ^ (sum >> 8);
    }
    !sum
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                0xedb8_8320 ^ (value >> 1)
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_record_reads_back_and_a_torn_or_damaged_one_does_not() {
        let record = Record::Batch { n: 3, count: 7 };
        let mut bytes = Vec::new();
        write_record(&mut bytes, &record);
        let (read, length) = read_payload(&bytes).unwrap();
        assert_eq!((read, length), (Payload::Record(record), bytes.len()));
        for end in 0..bytes.len() {
            assert!(read_payload(&bytes[..end]).is_none());
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(read_payload(&bytes).is_none());
    }
}
