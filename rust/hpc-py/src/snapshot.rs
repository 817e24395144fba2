//! Snapshots and the verification of a log for Python, beside the Hub that makes and takes them.

use hpc_core::domain::entry;
use hpc_core::logic::hub::Fault;
use hpc_core::logic::snapshot;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::damaged;
use crate::hub::{RowIn, core_rows, digest_of};

/// A damaged batch as Python gets it: first seq, batch id, what is wrong.
type Damaged = (u64, String, String);

/// Looks whether a snapshot can be used: hub id, cursor and chain value at it.
#[pyfunction]
pub fn check_snapshot<'py>(
    py: Python<'py>,
    state: PyBackedBytes,
) -> PyResult<(String, u64, Bound<'py, PyBytes>)> {
    let checked = py
        .detach(|| snapshot::check(&state).map_err(|damage| Fault(format!("Snapshot: {damage}"))));
    checked
        .map(|(hub_id, last_seq, chain)| (hub_id, last_seq, PyBytes::new(py, &chain)))
        .map_err(|fault| damaged(py, &fault))
}

/// Verifies rows that should follow a chain value: the chain value behind them, and each row that
/// is not as it was recorded. With `only_chain` bodies are not looked into.
#[pyfunction]
#[pyo3(signature = (rows, chain, next_seq, *, only_chain = false))]
pub fn verify_rows<'py>(
    py: Python<'py>,
    rows: Vec<RowIn>,
    chain: PyBackedBytes,
    next_seq: u64,
    only_chain: bool,
) -> PyResult<(Bound<'py, PyBytes>, Vec<Damaged>)> {
    let verified = py.detach(|| {
        let former = digest_of(&chain, "the log")?;
        let verify = if only_chain {
            entry::verify_chain
        } else {
            entry::verify
        };
        let (chain, found) = verify(&core_rows(&rows)?, &former, next_seq);
        let found = found.into_iter();
        let found: Vec<Damaged> = found.map(|d| (d.first_seq, d.batch_id, d.why)).collect();
        Ok((chain, found))
    });
    verified
        .map(|(chain, found)| (PyBytes::new(py, &chain), found))
        .map_err(|fault: Fault| damaged(py, &fault))
}
