//! min: the least value that was said.
//!
//! | carrier          | order                                 | bot    | join   | reading      |
//! |------------------|---------------------------------------|--------|--------|--------------|
//! | Atom, or nothing | that of [`super::value`], upside down | absent | lesser | least so far |
//!
//! For first times. Growth is downwards: `a ≤ b` here means that b is the lesser value. Trap:
//! nothing is the least element, not the least value, so it can't be left to the order of `Option`.

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader};
use super::value::Atom;

/// The least value, or nothing yet.
///
/// ```
/// use hpc_core::lattice::{Lattice, min::Min, value::Atom};
/// let mut first = Min::bot();
/// assert!(first.join(&Min::of(Atom::Int(7))));
/// assert!(first.join(&Min::of(Atom::Int(3))));
/// assert!(!first.join(&Min::bot())); // absence is no value
/// assert_eq!(first.value(), Some(&Atom::Int(3)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Min(pub Option<Atom>);

impl Min {
    /// One value.
    #[must_use]
    pub fn of(atom: Atom) -> Self {
        Self(Some(atom))
    }

    /// The least value, or nothing.
    #[must_use]
    pub fn value(&self) -> Option<&Atom> {
        self.0.as_ref()
    }
}

impl Lattice for Min {
    fn bot() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
        let grew = !other.leq(self);
        if grew {
            self.0.clone_from(&other.0);
        }
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        if other.leq(self) {
            Self::bot()
        } else {
            other.clone()
        }
    }

    fn irreducibles(&self) -> Vec<Self> {
        super::whole(self)
    }

    fn leq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => mine >= theirs,
        }
    }
}

impl Codec for Min {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(Option::decode(reader)?))
    }
}
