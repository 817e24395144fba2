//! capped: the N smallest of the values that were said, and whether there were more.
//!
//! | carrier                       | order       | bot         | join                          |
//! |-------------------------------|-------------|-------------|-------------------------------|
//! | (at most N atoms, overflowed) | `a ⊔ b = b` | ({}, false) | union, cut to the N smallest; |
//! |                               |             |             | overflowed if either is or it |
//! |                               |             |             | was cut                       |
//!
//! The core of [`super::once`] (4) and [`super::set`] (1,024). It is the image of the free set
//! under "keep the N smallest", which commutes with union; so it is a lattice, and bounded. A cut
//! is never silent.
//!
//! Trap: it is not distributive, so past the cap no *least* delta exists. From `{1, 2, 3, 4}` to
//! the same with overflow (N = 4) leads every fifth value, and also the bare flag, none below
//! another. Ours is below `other` and minimal; while the join does not overflow it is the least. A
//! bare flag, overflowed with fewer than N values, occurs in deltas only: "there was more".

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_uint};
use super::value::Atom;

/// The N smallest values, ascending, and whether there were more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capped<const N: usize> {
    values: Vec<Atom>,
    overflowed: bool,
}

impl<const N: usize> Capped<N> {
    /// One value.
    #[must_use]
    pub fn of(atom: Atom) -> Self {
        Self::from_iter([atom])
    }

    /// The values, ascending.
    #[must_use]
    pub fn values(&self) -> &[Atom] {
        &self.values
    }

    /// Whether greater values than these were said and left out.
    #[must_use]
    pub fn is_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        self.values.is_empty() && !self.overflowed
    }

    /// Whether the value is kept here.
    #[must_use]
    pub fn contains(&self, atom: &Atom) -> bool {
        self.values.binary_search(atom).is_ok()
    }

    /// Joins one value; whether anything grew.
    pub fn insert(&mut self, atom: &Atom) -> bool {
        let Err(place) = self.values.binary_search(atom) else {
            return false;
        };
        if place >= N {
            return !std::mem::replace(&mut self.overflowed, true);
        }
        self.values.insert(place, atom.clone());
        self.cut();
        true
    }

    fn cut(&mut self) {
        if self.values.len() > N {
            self.values.truncate(N);
            self.overflowed = true;
        }
    }
}

impl<const N: usize> FromIterator<Atom> for Capped<N> {
    fn from_iter<I: IntoIterator<Item = Atom>>(atoms: I) -> Self {
        let mut values: Vec<Atom> = atoms.into_iter().collect();
        values.sort_unstable();
        values.dedup();
        let mut capped = Self {
            values,
            overflowed: false,
        };
        capped.cut();
        capped
    }
}

impl<const N: usize> Lattice for Capped<N> {
    fn bot() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> bool {
        if let [atom] = other.values.as_slice()
            && !other.overflowed
        {
            return self.insert(atom); // nearly every event says one value
        }
        let overflowed = self.overflowed;
        self.overflowed |= other.overflowed;
        let fresh: Vec<Atom> = self.fresh(other).cloned().collect();
        let kept = fresh.iter().any(|atom| self.takes(atom));
        if !fresh.is_empty() {
            self.values.extend(fresh);
            self.values.sort(); // two ascending runs: one merge
            self.cut();
        }
        kept || self.overflowed != overflowed
    }

    fn delta(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        if !joined.join(other) {
            return Self::bot();
        }
        let mut values: Vec<Atom> = joined
            .values
            .iter()
            .filter(|atom| !self.contains(atom))
            .cloned()
            .collect();
        // The values alone bring the overflow about, or one more value does, or the flag must.
        let told = self.values.len() + values.len() > N;
        let missing = joined.overflowed && !self.overflowed && !told;
        if missing && !other.overflowed {
            let next = self.fresh(other).nth(values.len()).cloned();
            values.extend(next);
        }
        Self {
            values,
            overflowed: missing && other.overflowed,
        }
    }

    /// One set per value, and the bare flag.
    fn irreducibles(&self) -> Vec<Self> {
        let flag = Self {
            values: Vec::new(),
            overflowed: true,
        };
        let values = self.values.iter().cloned().map(Self::of);
        values.chain(self.overflowed.then_some(flag)).collect()
    }
}

impl<const N: usize> Capped<N> {
    /// The values of `other` that are not here, ascending.
    fn fresh<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Atom> {
        other.values.iter().filter(|atom| !self.contains(atom))
    }

    /// Whether a value that is not here would be kept.
    fn takes(&self, atom: &Atom) -> bool {
        self.values.len() < N || self.values.last().is_some_and(|last| atom < last)
    }
}

impl<const N: usize> Codec for Capped<N> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.overflowed));
        put_uint(self.values.len() as u64, out);
        for atom in &self.values {
            atom.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let overflowed = reader.flag()?;
        let length = reader.length()?;
        if length > N {
            return Err(reader.refuse(DecodeReason::OutOfRange));
        }
        let mut values = Vec::with_capacity(length);
        for _ in 0..length {
            let atom = Atom::decode(reader)?;
            if values.last().is_some_and(|last| *last >= atom) {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            values.push(atom);
        }
        Ok(Self { values, overflowed })
    }
}
