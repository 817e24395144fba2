//! sum: the total of amounts that may be negative, over all Hubs.
//!
//! | carrier                    | order     | bot  | join               | reading       |
//! |----------------------------|-----------|------|--------------------|---------------|
//! | maps hub id → (seq, total) | pointwise | `{}` | the later seq wins | sum of totals |
//!
//! A [`super::tally`]. The element grows with each event; its reading may fall, so no rule may
//! compare it. Int only: adding floats depends on their order. Read, it stops at the ends of i64.

use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader};
use super::tally::Tally;

/// A sum over all Hubs.
///
/// ```
/// use hpc_core::lattice::{Lattice, sum::Sum};
/// let (here, there) = ("hub-a".into(), "hub-b".into());
/// let mut balance = Sum::bot();
/// balance.add(&here, 1, 5);
/// balance.add(&here, 2, -7);
/// assert!(balance.join(&Sum::of(there, 9, 10)));
/// assert!(!balance.join(&Sum::of(here, 1, 5))); // an older total adds nothing
/// assert_eq!(balance.value(), 8);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sum(Tally);

impl Sum {
    /// What one Hub has summed up to `seq`.
    #[must_use]
    pub fn of(hub: Arc<str>, seq: u64, total: i64) -> Self {
        Self(Tally::of(hub, seq, total.into()))
    }

    /// Adds the amount of the Hub's event `seq`; whether it was new. See [`Tally::add`].
    pub fn add(&mut self, hub: &Arc<str>, seq: u64, amount: i128) -> bool {
        self.0.add(hub, seq, amount)
    }

    /// The sum over all Hubs.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.value()
    }

    /// The totals by Hub.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.0
    }
}

impl Lattice for Sum {
    fn bot() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> bool {
        self.0.join(&other.0)
    }

    fn delta(&self, other: &Self) -> Self {
        Self(self.0.delta(&other.0))
    }

    fn irreducibles(&self) -> Vec<Self> {
        self.0.irreducibles().into_iter().map(Self).collect()
    }
}

impl Codec for Sum {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Tally::decode(reader)?))
    }
}
