//! Receipts: what was recorded under which batch id, so that a repeat is answered as the first was.
//!
//! They are kept 30 days at least, by the time of the log: a snapshot leaves older ones out, and
//! the memory of them goes with it. The last number of an origin stays for ever, so a number that
//! has passed is known for a duplicate; the log itself, which holds each id once, knows the rest.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use super::queue::JobIx;
use crate::domain::entry::Digest;
use crate::domain::ids::BatchId;
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

/// What an origin has sent: its numbers have no gaps, so receipts need no ids.
#[derive(Clone, Debug, Default)]
struct Origin {
    last: u64,
    /// Of the numbers up to the last, as far back as they are kept.
    receipts: VecDeque<Receipt>,
}

/// All receipts, and the last number of every origin.
#[derive(Clone, Debug, Default)]
pub struct Receipts {
    by_id: HashMap<Box<str>, Receipt>,
    origins: HashMap<Box<str>, Origin>,
    pokes: Vec<Vec<String>>,
}

impl Origin {
    /// The number of the oldest receipt that is kept.
    fn first(&self) -> u64 {
        (self.last + 1).saturating_sub(self.receipts.len() as u64)
    }

    fn get(&self, n: u64) -> Option<&Receipt> {
        let place = n.checked_sub(self.first())?;
        self.receipts.get(usize::try_from(place).ok()?)
    }

    fn put(&mut self, receipt: Receipt) {
        // A queue would double its room; receipts are what a Hub has most of.
        if self.receipts.len() == self.receipts.capacity() {
            self.receipts.reserve_exact(4 + self.receipts.len() / 8);
        }
        self.receipts.push_back(receipt);
    }
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
        let numbered = || match BatchId::parse(batch_id)? {
            BatchId::Numbered { origin, n } => self.origins.get(origin)?.get(n),
            BatchId::Single(_) => None,
        };
        numbered().or_else(|| self.by_id.get(batch_id))
    }

    /// The last number of an origin, 0 if none came.
    #[must_use]
    pub fn last_of(&self, origin: &str) -> u64 {
        self.origins.get(origin).map_or(0, |origin| origin.last)
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
        let Some((origin, n)) = origin else {
            self.by_id.insert(batch_id.into(), receipt);
            return;
        };
        if !self.origins.contains_key(origin) {
            self.origins.insert(origin.into(), Origin::default());
        }
        if let Some(origin) = self.origins.get_mut(origin) {
            // Whoever records has seen that there is no gap.
            origin.last = n;
            origin.put(receipt);
        }
    }
}

impl Receipts {
    /// Forgets what was recorded before a time of the log; the numbers of origins stay.
    pub fn forget_before(&mut self, at: i64) {
        self.by_id.retain(|_, receipt| receipt.at >= at);
        for origin in self.origins.values_mut() {
            while origin.receipts.front().is_some_and(|first| first.at < at) {
                origin.receipts.pop_front();
            }
        }
    }

    /// Whether all jobs of all receipts are among so many.
    #[must_use]
    pub fn refer_to(&self, jobs: usize) -> bool {
        let numbered = self.origins.values().flat_map(|origin| &origin.receipts);
        let all = self.by_id.values().chain(numbered);
        let mut all = all.flat_map(|receipt| &receipt.jobs);
        all.all(|job| (*job as usize) < jobs)
    }

    /// Appends the last numbers of origins, in byte order.
    pub fn encode_origins(&self, out: &mut Vec<u8>) {
        let mut origins: Vec<_> = self.origins.iter().collect();
        origins.sort_unstable_by_key(|(id, _)| *id);
        put_uint(origins.len() as u64, out);
        for (id, origin) in origins {
            put_bytes(id.as_bytes(), out);
            put_uint(origin.last, out);
        }
    }

    /// Reads what [`Receipts::encode_origins`] wrote.
    ///
    /// # Errors
    /// Bytes that it never writes.
    pub fn decode_origins(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        for _ in 0..reader.length()? {
            let id = reader.text()?.into();
            let origin = Origin {
                last: reader.uint()?,
                receipts: VecDeque::new(),
            };
            self.origins.insert(id, origin);
        }
        Ok(())
    }

    /// Appends the receipts in the order of the log, each set of pokes before its first use: equal
    /// whatever order they were interned in.
    pub fn encode_receipts(&self, out: &mut Vec<u8>) {
        let numbered = self.origins.iter().flat_map(|(id, origin)| {
            let numbers = (origin.first()..).zip(&origin.receipts);
            numbers.map(move |(n, receipt)| (Cow::Owned(format!("{id}/{n}")), receipt))
        });
        let single = self.by_id.iter();
        let single = single.map(|(id, receipt)| (Cow::Borrowed(&**id), receipt));
        let mut receipts: Vec<(Cow<'_, str>, &Receipt)> = single.chain(numbered).collect();
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

    /// Reads what [`Receipts::encode_receipts`] wrote, after [`Receipts::decode_origins`]: a receipt
    /// whose origin is not known is kept by its id.
    ///
    /// # Errors
    /// Bytes that it never writes.
    pub fn decode_receipts(&mut self, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        let mut former: (u64, i64) = (0, 0);
        let mut next: HashMap<&str, u64> = HashMap::new();
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
            self.put_back(id, receipt, &mut next);
        }
        for (id, next) in next {
            let is_whole = self.origins.get(id).is_some_and(|o| o.last + 1 == next);
            if !is_whole {
                self.set_aside(id, next);
            }
        }
        Ok(())
    }

    /// Puts a receipt back; those of an origin come in the order of their numbers.
    fn put_back<'b>(&mut self, id: &'b str, receipt: Receipt, next: &mut HashMap<&'b str, u64>) {
        let Some(BatchId::Numbered { origin, n }) = BatchId::parse(id) else {
            self.by_id.insert(id.into(), receipt);
            return;
        };
        if next.get(origin).is_some_and(|next| *next != n) {
            self.set_aside(origin, next.get(origin).copied().unwrap_or_default());
        }
        match self.origins.get_mut(origin) {
            Some(known) => {
                known.put(receipt);
                next.insert(origin, n.saturating_add(1));
            }
            None => {
                self.by_id.insert(id.into(), receipt);
            }
        }
    }

    /// Keeps the receipts of an origin that end before a number, and not at its last, by their ids:
    /// one that was told of from the log, long after it was forgotten here.
    fn set_aside(&mut self, id: &str, next: u64) {
        let Some(origin) = self.origins.get_mut(id) else {
            return;
        };
        let receipts = std::mem::take(&mut origin.receipts);
        let first = next.saturating_sub(receipts.len() as u64);
        for (n, receipt) in (first..).zip(receipts) {
            self.by_id.insert(format!("{id}/{n}").into(), receipt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::hub::{Config, Hub};

    fn receipt(first_seq: u64) -> Receipt {
        Receipt {
            first_seq,
            count: 1,
            digest: [0; 16],
            jobs: Box::default(),
            pokes: 0,
            at: first_seq.cast_signed(),
        }
    }

    fn seq(receipts: &Receipts, id: &str) -> Option<u64> {
        receipts.get(id).map(|receipt| receipt.first_seq)
    }

    #[test]
    fn numbered_receipts_are_found_also_where_old_ones_were_told_of_again()
    -> Result<(), DecodeError> {
        let mut receipts = Receipts::default();
        receipts.intern_pokes(&[]);
        for n in 1..=9 {
            receipts.put(&format!("o/{n}"), Some(("o", n)), receipt(10 * n));
        }
        receipts.put("single", None, receipt(5));
        receipts.forget_before(60);
        assert_eq!(seq(&receipts, "o/5"), None);
        assert_eq!(receipts.last_of("o"), 9);
        receipts.put("o/2", None, receipt(20));
        let mut origins = Vec::new();
        receipts.encode_origins(&mut origins);
        let mut kept = Vec::new();
        receipts.encode_receipts(&mut kept);
        let mut again = Receipts::default();
        again.decode_origins(&mut Reader::new(&origins))?;
        again.decode_receipts(&mut Reader::new(&kept))?;
        for found in [&receipts, &again] {
            for n in 6..=9 {
                assert_eq!(seq(found, &format!("o/{n}")), Some(10 * n));
            }
            assert_eq!(seq(found, "o/2"), Some(20));
            assert_eq!(
                [3, 4, 5, 10].map(|n| seq(found, &format!("o/{n}"))),
                [None; 4]
            );
            assert_eq!(seq(found, "single"), None, "it was forgotten");
        }
        let mut same = Vec::new();
        again.encode_receipts(&mut same);
        assert_eq!(kept, same);
        Ok(())
    }

    #[test]
    fn a_restored_hub_keeps_numbered_receipts_without_their_ids() {
        let new_hub = || {
            Hub::new(Config {
                hub_id: "hub".to_owned(),
                lease_ms: 1,
                reclaim_ms: 1,
            })
        };
        let origin = "abcdefghijklmnopqrstuvwxyz";
        let mut hub = new_hub();
        for n in 1..=9 {
            let id = format!("{origin}/{n}");
            hub.receipts.put(&id, Some((origin, n)), receipt(10 * n));
        }
        let bytes = hub.snapshot();
        let mut again = new_hub();
        assert!(again.restore(&bytes).is_ok());
        assert_eq!(again.receipts.by_id.len(), 0);
        assert_eq!(seq(&again.receipts, &format!("{origin}/9")), Some(90));
        assert_eq!(bytes, again.snapshot());
    }
}
