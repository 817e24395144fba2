//! Receipts: what was recorded under which batch id, so that a repeat is answered as the first was.
//!
//! They are kept 30 days at least, by the time of the log: a snapshot leaves older ones out, and
//! the memory of them goes with it. The last number of an origin stays for ever, so a number that
//! has passed is known for a duplicate; the log itself, which holds each id once, knows the rest.

use std::collections::HashMap;

use super::queue::JobIx;
use crate::domain::entry::Digest;
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// How long a receipt is kept at least, in ms.
pub const RECEIPT_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// What was recorded under one batch id.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Seq of the batch's first event.
    pub first_seq: u64,
    /// Number of events.
    pub count: u32,
    /// First half of the content's digest: enough to tell contents apart.
    pub digest: [u8; 16],
    /// The jobs that it submitted.
    pub jobs: Box<[JobIx]>,
    /// Index of its set of pokes.
    pub pokes: u32,
    /// The newest stamp of the log when it was recorded, ms since 1970.
    pub at: i64,
}

/// All receipts, and the last number of every origin.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    by_id: HashMap<Box<str>, Receipt>,
    origins: HashMap<Box<str>, u64>,
    pokes: Vec<Vec<String>>,
}

/// The half of a digest that receipts keep.
#[must_use]
pub fn half(digest: &Digest) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(digest.split_at(16).0);
    half
}

impl Receipts {
    /// The receipt of a batch id.
    #[must_use]
    pub fn get(&self, batch_id: &str) -> Option<&Receipt> {
        self.by_id.get(batch_id)
    }

    /// The last number of an origin, 0 if none came.
    #[must_use]
    pub fn last_of(&self, origin: &str) -> u64 {
        self.origins.get(origin).copied().unwrap_or_default()
    }

    /// The set of pokes of an index.
    #[must_use]
    pub fn pokes(&self, index: u32) -> &[String] {
        self.pokes.get(index as usize).map_or(&[], |p| p)
    }

    /// The index of a set of pokes; there are few different ones.
    pub fn intern_pokes(&mut self, pokes: &[String]) -> u32 {
        let at = self.pokes.iter().position(|have| have == pokes);
        let at = at.unwrap_or_else(|| {
            self.pokes.push(pokes.to_vec());
            self.pokes.len() - 1
        });
        u32::try_from(at).unwrap_or_default()
    }

    /// Remembers a batch.
    pub fn put(&mut self, batch_id: &str, origin: Option<(&str, u64)>, receipt: Receipt) {
        self.by_id.insert(batch_id.into(), receipt);
        if let Some((origin, n)) = origin {
            self.origins.insert(origin.into(), n);
        }
    }
}

impl Receipts {
    /// Forgets what was recorded before a time of the log; the numbers of origins stay.
    pub fn forget_before(&mut self, at: i64) {
        self.by_id.retain(|_, receipt| receipt.at >= at);
    }

    /// Whether all jobs of all receipts are among so many.
    #[must_use]
    pub fn refer_to(&self, jobs: usize) -> bool {
        let mut all = self.by_id.values().flat_map(|receipt| &receipt.jobs);
        all.all(|job| (*job as usize) < jobs)
    }

    /// Appends the last numbers of origins, in byte order.
    pub fn encode_origins(&self, out: &mut Vec<u8>) {
        let mut origins: Vec<_> = self.origins.iter().collect();
        origins.sort_unstable();
        put_uint(origins.len() as u64, out);
        for (origin, n) in origins {
            put_bytes(origin.as_bytes(), out);
            put_uint(*n, out);
        }
    }

    /// Reads what [`Receipts::encode_origins`] wrote.
    ///
    /// # Errors
    /// Bytes that it never writes.
    pub fn decode_origins(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..reader.length()? {
            let origin = reader.text()?.into();
            self.origins.insert(origin, reader.uint()?);
        }
        Ok(())
    }

    /// Appends the receipts in the order of the log, each set of pokes before its first use: equal
    /// whatever order they were interned in.
    pub fn encode_receipts(&self, out: &mut Vec<u8>) {
        let mut receipts: Vec<_> = self.by_id.iter().collect();
        receipts.sort_unstable_by_key(|(_, receipt)| receipt.first_seq);
        let mut places: HashMap<u32, u64> = HashMap::new();
        let mut former = (0, 0);
        put_uint(receipts.len() as u64, out);
        for (id, receipt) in receipts {
            put_bytes(id.as_bytes(), out);
            put_uint(receipt.first_seq - former.0, out);
            receipt.at.wrapping_sub(former.1).encode(out);
            former = (receipt.first_seq, receipt.at);
            receipt.count.encode(out);
            out.extend_from_slice(&receipt.digest);
            put_uint(receipt.jobs.len() as u64, out);
            for job in &receipt.jobs {
                job.encode(out);
            }
            let next = places.len() as u64;
            let place = *places.entry(receipt.pokes).or_insert(next);
            put_uint(place, out);
            if place == next {
                self.pokes(receipt.pokes).to_vec().encode(out);
            }
        }
    }

    /// Reads what [`Receipts::encode_receipts`] wrote.
    ///
    /// # Errors
    /// Bytes that it never writes.
    pub fn decode_receipts(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut former: (u64, i64) = (0, 0);
        for _ in 0..reader.length()? {
            let id = reader.text()?;
            let first_seq = former.0.checked_add(reader.uint()?);
            let first_seq = first_seq.ok_or_else(|| reader.refuse(DecodeReason::OutOfRange))?;
            let at = former.1.wrapping_add(reader.int()?);
            former = (first_seq, at);
            let count = reader.uint32()?;
            let digest = reader.array()?;
            let jobs: Vec<JobIx> = Codec::decode(reader)?;
            let pokes = reader.uint32()?;
            if pokes as usize == self.pokes.len() {
                self.pokes.push(Codec::decode(reader)?);
            } else if pokes as usize > self.pokes.len() {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            }
            let receipt = Receipt {
                first_seq,
                count,
                digest,
                jobs: jobs.into(),
                pokes,
                at,
            };
            self.by_id.insert(id.into(), receipt);
        }
        Ok(())
    }
}
