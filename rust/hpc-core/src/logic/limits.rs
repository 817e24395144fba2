//! The engine's limits by name, as `GET /healthz?full=true` and the docs show them: each number is
//! taken from where it is kept.

use super::claim::NODES_MAX;
use super::generator::Limits;
use super::ingest::{BODY_BYTES_MAX, JOBS_GOING_ON_MAX};
use super::offer::{CLAIM_TASKS_MAX, NAMES_MAX};
use super::pull::{PULL_ROWS_MAX, WAIT_S_MAX};
use super::read::PAGE_MAX;
use crate::domain::access::TOKEN_NAMES_MAX;
use crate::domain::event::{AFTER_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX, NAME_CHARS_MAX};
use crate::domain::ids::{ID_BYTES_MAX, ROW_KEY_BYTES_MAX};
use crate::domain::json::DEPTH_MAX;
use crate::domain::problem::ERRORS_MAX;
use crate::lattice::set::SET_VALUES_MAX;
use crate::lattice::tasks::TASK_MAX;

/// Name, number, and what it is of; the name ends with the unit where it is no count.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole seconds"
)]
pub fn limits() -> Vec<(&'static str, u64, &'static str)> {
    let generator = Limits::default();
    vec![
        ("batch_bytes", BODY_BYTES_MAX as u64, "body of a batch"),
        ("batch_events", BATCH_EVENTS_MAX as u64, "events of a batch"),
        (
            "event_bytes",
            EVENT_BYTES_MAX as u64,
            "one event; a spec may have as many keys as fit",
        ),
        (
            "nesting",
            DEPTH_MAX as u64,
            "lists and maps within each other",
        ),
        ("id_bytes", ID_BYTES_MAX as u64, "an id of whatever"),
        ("name_chars", NAME_CHARS_MAX as u64, "a job's name"),
        ("job_tasks", u64::from(TASK_MAX) + 1, "tasks of a job"),
        (
            "job_after",
            AFTER_MAX as u64,
            "jobs that one comes after, in each of the three lists",
        ),
        (
            "jobs_going_on",
            JOBS_GOING_ON_MAX as u64,
            "jobs that are not over, of all tokens",
        ),
        (
            "nodes",
            NODES_MAX as u64,
            "nodes that are known, also those that are gone",
        ),
        ("claim_tasks", CLAIM_TASKS_MAX, "tasks that one claim takes"),
        (
            "claim_names",
            NAMES_MAX as u64,
            "namespaces, resources or labels of a relay",
        ),
        (
            "wait_s",
            WAIT_S_MAX as u64,
            "a request that waits for news is held for so long",
        ),
        ("pull_rows", PULL_ROWS_MAX, "rows of a page of facts"),
        (
            "page_rows",
            PAGE_MAX,
            "rows of a page of jobs, nodes or tasks",
        ),
        (
            "row_key_bytes",
            ROW_KEY_BYTES_MAX as u64,
            "key of a row of facts",
        ),
        (
            "set_values",
            SET_VALUES_MAX as u64,
            "values of a cell that is a set",
        ),
        (
            "generator_rows",
            generator.rows as u64,
            "rows of a generator; it stops there",
        ),
        (
            "generator_bytes",
            generator.bytes as u64,
            "memory of a generator; it stops there",
        ),
        (
            "token_names",
            TOKEN_NAMES_MAX as u64,
            "namespaces or nodes of a token",
        ),
        (
            "refusal_errors",
            ERRORS_MAX as u64,
            "fields that a refusal names",
        ),
    ]
}
