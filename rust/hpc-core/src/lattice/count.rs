//! count: how many, over all Hubs.
//!
//! | carrier                        | order     | bot  | join               | reading       |
//! |--------------------------------|-----------|------|--------------------|---------------|
//! | maps hub id → (seq, total ≥ 0) | pointwise | `{}` | the later seq wins | sum of totals |
//!
//! A [`super::tally`] whose amounts are never negative, so along a log the reading only grows. Read,
//! it stops at `i64::MAX`. The sum of what may be negative is [`super::sum`].

use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader};
use super::tally::Tally;

/// A count over all Hubs.
///
/// ```
/// use hpc_core::lattice::{Lattice, count::Count};
/// let hub = "hub-a".into();
/// let mut reports = Count::bot();
/// assert!(reports.add(&hub, 1, 1));
/// assert!(reports.add(&hub, 5, 2));
/// assert!(!reports.add(&hub, 5, 2)); // event 5 again
/// assert_eq!(reports.value(), 3);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Count(Tally);

impl Count {
    /// What one Hub has counted up to `seq`.
    #[must_use]
    pub fn of(hub: Arc<str>, seq: u64, total: u64) -> Self {
        Self(Tally::of(hub, seq, total.into()))
    }

    /// Adds the amount of the Hub's event `seq`; whether it was new. See [`Tally::add`].
    pub fn add(&mut self, hub: &Arc<str>, seq: u64, amount: u128) -> bool {
        let amount = i128::try_from(amount).unwrap_or(i128::MAX);
        self.0.add(hub, seq, amount)
    }

    /// The count over all Hubs.
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

impl Lattice for Count {
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

impl Codec for Count {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tally = Tally::decode(reader)?;
        if tally
            .subtotals()
            .iter()
            .any(|(_, subtotal)| subtotal.total < 0)
        {
            return Err(reader.refuse(DecodeReason::OutOfRange));
        }
        Ok(Self(tally))
    }
}
