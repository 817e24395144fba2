//! once: a register that shows disagreement instead of hiding it.
//!
//! | carrier      | order     | bot  | join  | reading                                    |
//! |--------------|-----------|------|-------|--------------------------------------------|
//! | sets of Atom | inclusion | `{}` | union | `{}` unset, `{x}` is x, more is a conflict |
//!
//! It keeps the 4 smallest values and a flag ([`super::capped`], with the trap about its deltas),
//! so a gauge belongs in [`super::last`]. For what is said only once: a namespace, a spec.
//! Related: the multi-value register of Shapiro et al. (2011), without version vectors.

use super::capped::Capped;

/// How many values a conflict shows.
pub const ONCE_VALUES_MAX: usize = 4;

/// What was said: once, or in conflict.
///
/// ```
/// use hpc_core::lattice::{Lattice, once::Once, value::Atom};
/// let mut namespace = Once::of(Atom::from("batch"));
/// assert!(!namespace.join(&Once::of(Atom::from("batch")))); // the same again is harmless
/// assert!(namespace.join(&Once::of(Atom::from("array"))));
/// assert_eq!(namespace.values(), [Atom::from("array"), Atom::from("batch")]);
/// ```
pub type Once = Capped<ONCE_VALUES_MAX>;
