//! The engine's limits, for `GET /healthz?full=true` and the docs.

use pyo3::prelude::*;

/// Name, number, and what it is of.
#[pyfunction]
pub fn limits() -> Vec<(&'static str, u64, &'static str)> {
    hpc_core::logic::limits::limits()
}
