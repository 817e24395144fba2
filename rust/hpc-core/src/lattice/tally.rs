//! tally: running totals, one per Hub that first recorded an event.
//!
//! | carrier                    | order     | bot  | join                                    |
//! |----------------------------|-----------|------|-----------------------------------------|
//! | maps hub id → (seq, total) | pointwise | `{}` | per hub the later seq, then the greater |
//! |                            |           |      | total                                   |
//!
//! The core of [`super::count`] and [`super::sum`]. Addition is not idempotent, so the amounts are
//! never joined: a Hub adds in its own log order and joins the total so far with the seq that it
//! stands for. At equal seqs of one Hub the totals are equal, unless two Hubs share an id; the
//! greater one wins then, so that join stays a join whatever comes in.
//! Related: the G-counter of Shapiro et al. (2011), with the log's seq in place of monotony, so
//! that totals may fall.

use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_int, put_uint};

/// What one Hub has counted up to one place of its log. Compared in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subtotal {
    /// The seq of the newest event that is counted.
    pub seq: u64,
    /// The sum of the amounts up to it. In 128 bits, which no log fills: a total that stopped at
    /// the ends of i64 would depend on the order of the amounts.
    pub total: i128,
}

/// Running totals by Hub. A list in the order of the ids: nearly all have one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    subtotals: Vec<(Arc<str>, Subtotal)>,
}

impl Tally {
    /// What one Hub has counted.
    #[must_use]
    pub fn of(hub: Arc<str>, seq: u64, total: i128) -> Self {
        Self {
            subtotals: vec![(hub, Subtotal { seq, total })],
        }
    }

    /// Adds the amount of the Hub's event `seq`; whether it was new.
    ///
    /// An event up to the newest counted one changes nothing, so a log may be replayed. Amounts of
    /// several rules on one event are summed by the caller and added once.
    pub fn add(&mut self, hub: &Arc<str>, seq: u64, amount: i128) -> bool {
        match self.find(hub) {
            Ok(place) => {
                let Some((_, subtotal)) = self.subtotals.get_mut(place) else {
                    return false;
                };
                let is_new = seq > subtotal.seq;
                if is_new {
                    let total = subtotal.total.saturating_add(amount);
                    *subtotal = Subtotal { seq, total };
                }
                is_new
            }
            Err(place) => {
                let subtotal = Subtotal { seq, total: amount };
                self.subtotals.insert(place, (hub.clone(), subtotal));
                true
            }
        }
    }

    /// The sum over all Hubs; it stops at the ends of i64.
    #[must_use]
    pub fn value(&self) -> i64 {
        // Cut once, so that the order plays no part.
        let sum: i128 = self
            .subtotals
            .iter()
            .map(|(_, s)| s.total)
            .fold(0, i128::saturating_add);
        i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
    }

    /// What the Hub has counted, or nothing.
    #[must_use]
    pub fn subtotal(&self, hub: &str) -> Option<Subtotal> {
        let place = self.find(hub).ok()?;
        self.subtotals.get(place).map(|(_, subtotal)| *subtotal)
    }

    /// The Hubs and what they have counted, by id.
    #[must_use]
    pub fn subtotals(&self) -> &[(Arc<str>, Subtotal)] {
        &self.subtotals
    }

    fn find(&self, hub: &str) -> Result<usize, usize> {
        self.subtotals
            .binary_search_by(|(id, _)| id.as_ref().cmp(hub))
    }
}

impl Lattice for Tally {
    fn bot() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> bool {
        let mut grew = false;
        for (hub, theirs) in &other.subtotals {
            match self.find(hub) {
                Ok(place) => {
                    if let Some((_, mine)) = self.subtotals.get_mut(place)
                        && *theirs > *mine
                    {
                        *mine = *theirs;
                        grew = true;
                    }
                }
                Err(place) => {
                    self.subtotals.insert(place, (hub.clone(), *theirs));
                    grew = true;
                }
            }
        }
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        let grown = other
            .subtotals
            .iter()
            .filter(|(hub, theirs)| self.subtotal(hub).is_none_or(|mine| *theirs > mine));
        Self {
            subtotals: grown.cloned().collect(),
        }
    }

    /// What each Hub has counted.
    fn irreducibles(&self) -> Vec<Self> {
        let one = |subtotal: &(Arc<str>, Subtotal)| Self {
            subtotals: vec![subtotal.clone()],
        };
        self.subtotals.iter().map(one).collect()
    }
}

impl Codec for Tally {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(self.subtotals.len() as u64, out);
        for (hub, subtotal) in &self.subtotals {
            put_bytes(hub.as_bytes(), out);
            put_uint(subtotal.seq, out);
            put_int((subtotal.total >> 64) as i64, out);
            put_uint(subtotal.total as u64, out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.length()?;
        let mut subtotals: Vec<(Arc<str>, Subtotal)> = Vec::new();
        for _ in 0..length {
            let hub = reader.text()?;
            if subtotals
                .last()
                .is_some_and(|(last, _)| last.as_ref() >= hub)
            {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            let seq = reader.uint()?;
            let (high, low) = (reader.int()?, reader.uint()?);
            let total = i128::from(high) << 64 | i128::from(low);
            let subtotal = Subtotal { seq, total };
            subtotals.push((hub.into(), subtotal));
        }
        Ok(Self { subtotals })
    }
}
