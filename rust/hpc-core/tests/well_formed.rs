//! Well-formedness: what is taken, in which form it is stored, and how each refusal reads.
//!
//! One table per subject. Every refusal is checked for status, field and hint, and for having left
//! nothing behind: the log ends where it ended before.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panic")]

#[path = "well_formed/desk.rs"]
mod desk;
#[path = "well_formed/dry_run.rs"]
mod dry_run;
#[path = "well_formed/envelope.rs"]
mod envelope;
#[path = "well_formed/frozen.rs"]
mod frozen;
#[path = "well_formed/generators.rs"]
mod generators;
#[path = "well_formed/lifecycle.rs"]
mod lifecycle;
#[path = "well_formed/limits.rs"]
mod limits;
#[path = "well_formed/messagepack.rs"]
mod messagepack;
#[path = "well_formed/namespaces.rs"]
mod namespaces;
#[path = "well_formed/replacements.rs"]
mod replacements;
#[path = "well_formed/schema.rs"]
mod schema;
#[path = "well_formed/stamps.rs"]
mod stamps;
#[path = "well_formed/tokens.rs"]
mod tokens;
