//! last: the newest value, the same one for every reader.
//!
//! | carrier                                | order                | bot    | join    | reading |
//! |----------------------------------------|----------------------|--------|---------|---------|
//! | ((at, counter), node, Atom) or nothing | lexicographic: total | absent | greater | Atom    |
//!
//! For gauges and settings that are edited. The stamp is hybrid (Kulkarni et al. 2014, bounded by
//! the Hub) and is set once, by the first Hub that records the event.
//!
//! Traps, each refuted in `tests/laws/counterexamples.rs`: a register that keeps its own value
//! where stamps are equal, or that breaks ties by node alone, does not commute. So the value
//! itself is compared last, and nobody's arrival order counts.

use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader, put_bytes, put_int, put_uint};
use super::value::Atom;

/// When something was said: a hybrid of clock and counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970, UTC.
    pub at: i64,
    /// Counts on within one millisecond.
    pub counter: u32,
}

/// A value with its stamp and its node. Compared in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Said {
    /// When.
    pub stamp: Stamp,
    /// By which node, or `""`.
    pub node: Arc<str>,
    /// What.
    pub value: Atom,
}

/// The newest value, or nothing yet. Boxed, so that the cells of a row stay small.
///
/// ```
/// use hpc_core::lattice::{Lattice, last::{Last, Stamp}, value::Atom};
/// let said = |at, value| Last::of(Stamp { at, counter: 0 }, "n1".into(), Atom::Int(value));
/// let mut gauge = said(10, 7);
/// assert!(gauge.join(&said(11, 3)));
/// assert!(!gauge.join(&said(9, 99))); // came late, is older
/// assert_eq!(gauge.value(), Some(&Atom::Int(3)));
/// assert!(gauge.join(&said(11, 4))); // a tie goes to the greater value, at every reader
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Last(pub Option<Box<Said>>);

impl Last {
    /// One value.
    #[must_use]
    pub fn of(stamp: Stamp, node: Arc<str>, value: Atom) -> Self {
        Self(Some(Box::new(Said { stamp, node, value })))
    }

    /// The newest value, or nothing.
    #[must_use]
    pub fn value(&self) -> Option<&Atom> {
        self.0.as_ref().map(|said| &said.value)
    }

    /// The newest value with its stamp and node, or nothing.
    #[must_use]
    pub fn said(&self) -> Option<&Said> {
        self.0.as_deref()
    }
}

impl Lattice for Last {
    fn bot() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
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

impl Codec for Said {
    fn encode(&self, out: &mut Vec<u8>) {
        put_int(self.stamp.at, out);
        put_uint(u64::from(self.stamp.counter), out);
        put_bytes(self.node.as_bytes(), out);
        self.value.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            stamp: Stamp {
                at: reader.int()?,
                counter: reader.uint32()?,
            },
            node: reader.text()?.into(),
            value: Atom::decode(reader)?,
        })
    }
}

impl Codec for Last {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0.is_some()));
        if let Some(said) = &self.0 {
            said.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !reader.flag()? {
            return Ok(Self(None));
        }
        Ok(Self(Some(Box::new(Said::decode(reader)?))))
    }
}
