//! epoch: a lattice that may begin again.
//!
//! | carrier              | order                    | bot    | join                             |
//! |----------------------|--------------------------|--------|----------------------------------|
//! | (Atom, L) or nothing | lexicographic, key first | absent | higher key wins, equal keys join |
//!
//! For incarnations of nodes and attempts: within one key the inner lattice only grows, and a
//! higher key forgets all of it.
//!
//! Trap: it is a lattice only because keys are totally ordered. A pair over a partial order (a
//! version vector) is not associative; `tests/laws/counterexamples.rs` holds the counter-example.

use std::convert::Infallible;

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader};
use super::value::Atom;

/// An inner lattice under the highest key, or nothing yet.
///
/// ```
/// use hpc_core::lattice::{Lattice, epoch::Epoch, or::Or, value::Atom};
/// let mut down = Epoch::of(Atom::Int(1), Or(true));
/// assert!(down.join(&Epoch::of(Atom::Int(2), Or(false)))); // up again
/// assert!(!down.join(&Epoch::of(Atom::Int(1), Or(true)))); // late news of a former life
/// assert_eq!(down.value(), Some(&Or(false)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch<L>(pub Option<(Atom, L)>);

impl<L> Default for Epoch<L> {
    fn default() -> Self {
        Self(None)
    }
}

impl<L> Epoch<L> {
    /// An element of the inner lattice under its key. Its bottom is more than nothing: it says
    /// that the key has begun.
    #[must_use]
    pub fn of(at: Atom, value: L) -> Self {
        Self(Some((at, value)))
    }

    /// The highest key, or nothing.
    #[must_use]
    pub fn at(&self) -> Option<&Atom> {
        self.0.as_ref().map(|(at, _)| at)
    }

    /// What is said under the highest key, or nothing.
    #[must_use]
    pub fn value(&self) -> Option<&L> {
        self.0.as_ref().map(|(_, value)| value)
    }
}

impl<L: Clone> Epoch<L> {
    /// Joins by a join of the inner elements that may refuse; then `self` is as before.
    pub(super) fn try_join<E>(
        &mut self,
        other: &Self,
        join: impl FnOnce(&mut L, &L) -> Result<bool, E>,
    ) -> Result<bool, E> {
        match (&mut self.0, &other.0) {
            (_, None) => Ok(false),
            (Some((mine, value)), Some((theirs, more))) if mine == theirs => join(value, more),
            (Some((mine, _)), Some((theirs, _))) if *mine > *theirs => Ok(false),
            (_, Some(_)) => {
                self.0.clone_from(&other.0);
                Ok(true)
            }
        }
    }

    /// The delta by a join and a delta of the inner elements that may refuse.
    pub(super) fn try_delta<E>(
        &self,
        other: &Self,
        join: impl FnOnce(&mut L, &L) -> Result<bool, E>,
        delta: impl FnOnce(&L, &L) -> Result<L, E>,
    ) -> Result<Self, E> {
        match (&self.0, &other.0) {
            (_, None) => Ok(Self(None)),
            (Some((mine, value)), Some((theirs, more))) if mine == theirs => {
                // Where nothing grew the least delta is nothing, not the key with a bottom.
                if join(&mut value.clone(), more)? {
                    Ok(Self::of(mine.clone(), delta(value, more)?))
                } else {
                    Ok(Self(None))
                }
            }
            (Some((mine, _)), Some((theirs, _))) if *mine > *theirs => Ok(Self(None)),
            (_, Some(_)) => Ok(other.clone()),
        }
    }

    /// The decomposition by that of the inner element.
    pub(super) fn parts(&self, parts: impl FnOnce(&L) -> Vec<L>) -> Vec<Self> {
        let Some((at, value)) = &self.0 else {
            return Vec::new();
        };
        let mut parts = parts(value);
        if parts.is_empty() {
            parts.push(value.clone()); // the key with a bottom says that the key has begun
        }
        let under = |part| Self::of(at.clone(), part);
        parts.into_iter().map(under).collect()
    }
}

impl<L: Lattice> Lattice for Epoch<L> {
    fn bot() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
        let Ok(grew) = self.try_join(other, |mine, more| Ok::<_, Infallible>(mine.join(more)));
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        let Ok(delta) = self.try_delta(
            other,
            |mine, more| Ok::<_, Infallible>(mine.join(more)),
            |mine, more| Ok(mine.delta(more)),
        );
        delta
    }

    fn irreducibles(&self) -> Vec<Self> {
        self.parts(L::irreducibles)
    }
}

impl<L: Codec> Codec for Epoch<L> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0.is_some()));
        if let Some((at, value)) = &self.0 {
            at.encode(out);
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !reader.flag()? {
            return Ok(Self(None));
        }
        let at = Atom::decode(reader)?;
        let value = reader.nested(L::decode)?;
        Ok(Self::of(at, value))
    }
}
