//! supervise: the entry of the supervisor's process into Rust; it stays there until it ends.

use std::path::PathBuf;

use hpc_executor::supervisor::{self, Settings};
use pyo3::prelude::*;

/// Runs the supervisor of a relay in this process, without the GIL, until the relay lets go.
///
/// Changes the process for good: it becomes a subreaper and ignores the terminal's signals.
#[expect(
    clippy::too_many_arguments,
    reason = "what a supervisor is told, each by name"
)]
#[pyfunction]
#[pyo3(signature = (socket, *, folder, session, node_id, cpus, memory_mib, output_limit))]
pub fn supervise(
    py: Python<'_>,
    socket: i32,
    folder: PathBuf,
    session: String,
    node_id: String,
    cpus: Vec<u32>,
    memory_mib: u64,
    output_limit: u64,
) -> PyResult<()> {
    py.detach(|| {
        let settings = Settings {
            socket: supervisor::socket(socket)?,
            folder,
            session,
            node_id,
            cpus,
            memory_mib,
            output_limit,
        };
        supervisor::supervise(settings)
    })
    .map_err(PyErr::from)
}
