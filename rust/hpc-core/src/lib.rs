//! hpc-core: lattices, the domain and the Hub's state machine.
//!
//! Pure: no I/O, clock, threads, randomness, PyO3 or `unsafe`. Time enters as an argument.
#![forbid(unsafe_code)]

/// The version of the protocol that a Hub of this build speaks, and the only one that it serves.
pub const PROTOCOL_VERSION: u32 = 1;

pub mod domain;
pub mod lattice;
pub mod logic;
pub mod mutants;
