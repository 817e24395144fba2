//! The Hub's state machine: sans-IO and deterministic. Time and bytes come in as arguments.
//!
//! The way of an event, by file names:
//!
//! | file            | what happens there                                                      |
//! |-----------------|-------------------------------------------------------------------------|
//! | `hub`, `recovery` | one turn: inputs in, log rows and replies out; the state from the log  |
//! | `ingest`        | a batch: decoded, de-duplicated, checked as a whole, recorded           |
//! | `dry_run`       | the same without recording anything                                     |
//! | `check`, `check_after` | one event, before anything is recorded; the jobs that it names   |
//! | `well_formed`   | is its spec as the schema says?                                         |
//! | `verdict`       | what it settles, decided once                                           |
//! | `state`, `state_nodes` | the one function that applies it, live and in replay             |
//! | `jobs`, `job`, `sealed` | all jobs; one; those that are over, as bytes                   |
//! | `forget`, `forgotten` | jobs that are forgotten, and what is left of them                 |
//! | `attempts`, `columns` | attempts, and how reports say what became of them                 |
//! | `gate`, `dependencies`, `requests` | what keeps tasks from being ready; jobs after jobs; what people ask of them |
//! | `nodes`         | live nodes: epochs, deadlines, what they hold                           |
//! | `kernel`        | the kernel's own facts                                                  |
//! | `generator`, `rules`, `readings`, `tallies` | everyone else's facts                       |
//! | `build`         | the log again, in chunks, for generators that came late                 |
//! | `snapshot`, `sections`, `*_codec` | the state as bytes, with a checksum for each part     |
//! | `retention`     | which batches may lose their bodies                                     |
//! | `explain`, `search` | which events a cell comes from, and which did not change it         |
//! | `said`, `reason` | what one event says of a cell, and why it did not grow by it            |
//! | `plan`          | what a search over the log takes along from the engine                  |
//! | `conflicts`, `evidence` | cells that contradict themselves, and which events say so       |
//! | `past`          | the state as it was: questions to a prefix of the log, and what changed |
//! | `queue`, `schedule` | ready tasks, and which open claim gets them                         |
//! | `claim`, `offer`, `leases` | a claim; what it says; what silence leads to                 |
//! | `pull`, `read`, `await_job`, `why`, `tail` | what readers are told                        |
//! | `read_tasks`, `task_page` | single tasks: what the state says, what the log adds to it    |
//! | `control`, `type_check`, `registry` | registrations                                       |
//! | `tokens`        | tokens, and what the sender of a request may say                        |
//! | `few`           | a map of few keys                                                       |
//! | `receipts`, `query` | what was recorded under which id; query strings                     |

mod answer;
pub mod attempts;
mod attempts_codec;
mod await_job;
mod backlog;
mod build;
mod calendar;
pub mod check;
mod check_after;
pub mod claim;
pub mod columns;
pub mod conflicts;
pub mod control;
mod dependencies;
mod dry_run;
pub mod evidence;
mod explain;
mod few;
mod forget;
pub mod forgotten;
pub mod gate;
mod gate_codec;
pub mod generator;
pub mod hub;
pub mod ingest;
pub mod job;
pub mod jobs;
mod jobs_codec;
pub mod kernel;
mod leases;
pub mod limits;
pub mod nodes;
mod nodes_codec;
pub mod offer;
pub mod past;
mod placement;
mod plan;
pub mod priorities;
pub mod pull;
pub mod query;
pub mod queue;
pub mod read;
mod read_nodes;
mod read_tasks;
mod readings;
mod reason;
pub mod receipts;
mod recovery;
pub mod registry;
mod requests;
mod reservation;
mod retention;
pub mod rules;
mod said;
pub mod schedule;
mod sealed;
pub mod search;
pub mod sections;
pub mod snapshot;
pub mod state;
mod state_nodes;
mod tail;
mod tallies;
pub mod task_page;
pub mod tokens;
pub mod totals;
pub mod type_check;
mod units;
pub mod verdict;
pub mod well_formed;
mod why;
mod why_nodes;
mod why_places;
