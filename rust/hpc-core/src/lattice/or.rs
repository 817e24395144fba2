//! or: a flag that never goes back.
//!
//! | carrier | order        | bot   | join | reading             |
//! |---------|--------------|-------|------|---------------------|
//! | Bool    | false < true | false | or   | whether it ever was |
//!
//! false is the bottom, so saying it adds nothing: a cell to which nobody said true is absent. A
//! flag that may fall belongs in [`super::last`], or inside an [`super::epoch`].

use super::Lattice;
use super::codec::{Codec, DecodeError, Reader};

/// Whether it was ever said.
///
/// ```
/// use hpc_core::lattice::{Lattice, or::Or};
/// let mut down = Or::bot();
/// assert!(!down.join(&Or(false)));
/// assert!(down.join(&Or(true)));
/// assert!(!down.join(&Or(false)));
/// assert_eq!(down, Or(true));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Or(pub bool);

impl Lattice for Or {
    fn bot() -> Self {
        Self(false)
    }

    fn join(&mut self, other: &Self) -> bool {
        let grew = other.0 && !self.0;
        self.0 |= other.0;
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        Self(other.0 && !self.0)
    }

    fn irreducibles(&self) -> Vec<Self> {
        super::whole(self)
    }

    fn leq(&self, other: &Self) -> bool {
        self.0 <= other.0
    }
}

impl Codec for Or {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.flag()?))
    }
}
