//! max: the greatest value that was said.
//!
//! | carrier          | order                    | bot    | join    | reading                   |
//! |------------------|--------------------------|--------|---------|---------------------------|
//! | Atom, or nothing | that of [`super::value`] | absent | greater | the greatest value so far |
//!
//! For phases and last times. It never comes down: what may fall belongs in [`super::last`], what
//! may begin again in [`super::epoch`]. Trap: an Int and a Float are ordered by type first, so a
//! column that mixes them shows the greatest Float; registration keeps one type per column.

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader};
use super::value::Atom;

/// The greatest value, or nothing yet.
///
/// ```
/// use hpc_core::lattice::{Lattice, max::Max, value::Atom};
/// let mut peak = Max::bot();
/// assert!(peak.join(&Max::of(Atom::Int(7))));
/// assert!(!peak.join(&Max::of(Atom::Int(3)))); // nothing grew
/// assert_eq!(peak.value(), Some(&Atom::Int(7)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Max(pub Option<Atom>);

impl Max {
    /// One value.
    #[must_use]
    pub fn of(atom: Atom) -> Self {
        Self(Some(atom))
    }

    /// The greatest value, or nothing.
    #[must_use]
    pub fn value(&self) -> Option<&Atom> {
        self.0.as_ref()
    }
}

impl Lattice for Max {
    fn bot() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
        // None is the least of an Option, as absence is the least here.
        let grew = other.0 > self.0;
        if grew {
            self.0.clone_from(&other.0);
        }
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        if other.0 > self.0 {
            other.clone()
        } else {
            Self::bot()
        }
    }

    fn irreducibles(&self) -> Vec<Self> {
        super::whole(self)
    }

    fn leq(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
}

impl Codec for Max {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Option::decode(reader)?))
    }
}
