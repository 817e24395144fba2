//! Faults of the core as the classes of `hpc/errors.py`: the one place where they are mapped.

use hpc_core::logic::hub::Fault;
use pyo3::prelude::*;

/// A row of the log that cannot be used.
pub fn damaged(py: Python<'_>, fault: &Fault) -> PyErr {
    error(py, "StorageDamaged", fault)
}

/// A mistake of ours inside the engine.
pub fn engine_fault(py: Python<'_>, fault: &Fault) -> PyErr {
    error(py, "HpcError", fault)
}

fn error(py: Python<'_>, class: &str, fault: &Fault) -> PyErr {
    let made = py
        .import("hpc.errors")
        .and_then(|errors| errors.getattr(class))
        .and_then(|class| class.call1((fault.to_string(),)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
