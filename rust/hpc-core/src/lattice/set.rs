//! set: all that was said.
//!
//! | carrier      | order     | bot  | join  | reading               |
//! |--------------|-----------|------|-------|-----------------------|
//! | sets of Atom | inclusion | `{}` | union | each value, ascending |
//!
//! It keeps the 1,024 smallest values and a flag ([`super::capped`], with the trap about its
//! deltas). For tags and nodes seen; task numbers belong in [`super::tasks`]. Nothing is ever taken
//! out: what comes and goes belongs in rows of a table, with [`super::last`].

use super::capped::Capped;

/// How many values a set keeps.
pub const SET_VALUES_MAX: usize = 1024;

/// What was said, each value once.
///
/// ```
/// use hpc_core::lattice::{Lattice, set::Set, value::Atom};
/// let mut tags: Set = (0..1024).map(Atom::Int).collect();
/// assert!(!tags.is_overflowed());
/// assert!(tags.join(&Set::of(Atom::Int(-1)))); // pushes 1023 out, and says so
/// assert!(tags.is_overflowed() && !tags.contains(&Atom::Int(1023)));
/// ```
pub type Set = Capped<SET_VALUES_MAX>;
