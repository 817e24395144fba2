//! The lattices: one file each, all with the same algebra.
//!
//! | file     | join                              | file      | join                      |
//! |----------|-----------------------------------|-----------|---------------------------|
//! | [`max`]  | greater                           | [`set`]   | union, 1,024 smallest     |
//! | [`min`]  | lesser                            | [`tasks`] | union of task numbers     |
//! | [`or`]   | or                                | [`count`] | per Hub the later total   |
//! | [`once`] | union, 4 smallest: conflicts show | [`sum`]   | the same, may be negative |
//! | [`last`] | greater (stamp, node, value)      | [`epoch`] | lexicographic             |
//! | [`map`]  | pointwise                         | [`finite`]| as a diagram says         |
//!
//! [`value`] is what they hold, [`cell`] one of them of a kind that is known at run time, [`codec`]
//! their canonical bytes. The laws, and registers that break one, are in `tests/laws.rs`. Nothing
//! here knows a job, a clock or a schema. After Shapiro et al. (2011) for joins,
//! Enes et al. (2019) for deltas.

pub mod capped;
pub mod cell;
pub mod codec;
pub mod count;
pub mod epoch;
pub mod finite;
pub mod last;
pub mod map;
pub mod max;
pub mod min;
pub mod once;
pub mod or;
pub mod set;
pub mod sum;
pub mod tally;
pub mod tasks;
pub mod value;

pub use cell::{Cell, KindMismatch, LatticeKind};
pub use value::Atom;

/// A join-semilattice with a least element.
///
/// Laws, held by the property tests of every implementation: `join` is associative, commutative
/// and idempotent; [`Lattice::bot`] is its unit; `a <= b` if and only if `a ⊔ b = b`.
pub trait Lattice: Clone + PartialEq {
    /// The least element: nothing is known.
    #[must_use]
    fn bot() -> Self;

    /// Replaces `self` by `self ⊔ other`; returns whether it grew, exactly.
    fn join(&mut self, other: &Self) -> bool;

    /// The least `d` with `self ⊔ d = self ⊔ other`; it is at most `other`.
    ///
    /// Where no least one exists (only [`capped`] past its cap) it is a minimal one.
    #[must_use]
    fn delta(&self, other: &Self) -> Self;

    /// Elements whose join is `self`, none of them to be spared, none the join of lesser ones.
    ///
    /// Nothing for [`Lattice::bot`]. Where several such lists exist it is always the same one.
    #[must_use]
    fn irreducibles(&self) -> Vec<Self>;

    /// Whether `self ≤ other`.
    #[must_use]
    fn leq(&self, other: &Self) -> bool {
        !other.clone().join(self)
    }
}

/// The decomposition where the order is total: what is not the bottom is in one piece.
fn whole<L: Lattice>(element: &L) -> Vec<L> {
    let said = (*element != L::bot()).then(|| element.clone());
    said.into_iter().collect()
}
