//! Receipts: what was recorded under which batch id, so that a repeat is answered as the first was.

use std::collections::HashMap;

use super::queue::JobIx;
use crate::domain::entry::Digest;

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
