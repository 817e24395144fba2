//! The protocol between Hub, relay and client, held by fixed traces and by a random search.
//!
//! `protocol/world.rs` keeps the Hub with its log and clock; after every step `protocol/ledger.rs`,
//! a second and plainer reading of the log, task by task, must agree with what the Hub decided and
//! keeps. Every trace runs again with the Hub killed between commit and answer of each of its
//! steps. `protocol/search.rs` puts relays and a faulty network around the same world.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panic")]

#[path = "protocol/ledger.rs"]
mod ledger;
#[cfg(feature = "mutants")]
#[path = "protocol/mutants.rs"]
mod mutants;
#[path = "protocol/network.rs"]
mod network;
#[path = "protocol/puppet.rs"]
mod puppet;
#[path = "protocol/relay.rs"]
mod relay;
#[path = "protocol/scheduling.rs"]
mod scheduling;
#[path = "protocol/search.rs"]
mod search;
#[path = "protocol/snapshots.rs"]
mod snapshots;
#[path = "protocol/traces_batches.rs"]
mod traces_batches;
#[path = "protocol/traces_facts.rs"]
mod traces_facts;
#[path = "protocol/traces_forget.rs"]
mod traces_forget;
#[path = "protocol/traces_gate.rs"]
mod traces_gate;
#[path = "protocol/traces_leases.rs"]
mod traces_leases;
#[path = "protocol/traces_nodes.rs"]
mod traces_nodes;
#[path = "protocol/traces_queue.rs"]
mod traces_queue;
#[path = "protocol/traces_verdicts.rs"]
mod traces_verdicts;
#[path = "protocol/traces_why.rs"]
mod traces_why;
#[path = "protocol/world.rs"]
mod world;
