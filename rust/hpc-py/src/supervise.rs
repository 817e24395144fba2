//! supervise: the entry of the supervisor's process into Rust; it stays there until it ends.

use std::path::PathBuf;

use hpc_executor::cgroup::{self, Home, Keeper, Wanted};
use hpc_executor::keeper::Retention;
use hpc_executor::supervisor::{self, Settings};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Runs the supervisor of a relay in this process, without the GIL, until the relay lets go.
///
/// Changes the process for good: it becomes a subreaper and ignores the terminal's signals.
#[expect(
    clippy::too_many_arguments,
    reason = "what a supervisor is told, each by name"
)]
#[pyfunction]
#[pyo3(signature = (socket, *, folder, session, node_id, cpus, memory_mib, output_limit, cgroup,
                    processes_max, keep_output_ms, output_quota))]
pub fn supervise(
    py: Python<'_>,
    socket: i32,
    folder: PathBuf,
    session: String,
    node_id: String,
    cpus: Vec<u32>,
    memory_mib: u64,
    output_limit: u64,
    cgroup: &str,
    processes_max: u64,
    keep_output_ms: u64,
    output_quota: u64,
) -> PyResult<()> {
    let cgroup = Wanted::parse(cgroup)
        .ok_or_else(|| PyValueError::new_err("`cgroup` must be auto, off or require"))?;
    py.detach(|| {
        let settings = Settings {
            socket: supervisor::socket(socket)?,
            folder,
            session,
            node_id,
            cpus,
            memory_mib,
            output_limit,
            cgroup,
            processes_max: (processes_max > 0).then_some(processes_max),
            retention: Retention {
                keep_ms: keep_output_ms,
                quota_bytes: output_quota,
            },
        };
        supervisor::supervise(settings)
    })
    .map_err(PyErr::from)
}

/// Where a memory cgroup can be made for a task: (`v1` or `v2`, the folder), or ("", what is
/// missing). Changes nothing.
#[pyfunction]
#[pyo3(signature = (*, root, pids))]
pub fn memory_cgroup(root: PathBuf, pids: Vec<i32>) -> (&'static str, String) {
    match cgroup::find(&root, &pids) {
        Ok(home) => (home.version.name(), home.folder.display().to_string()),
        Err(missing) => ("", missing),
    }
}

/// Who would hold how many processes the tasks of a relay make: a sentence, and whether it is held.
#[pyfunction]
#[pyo3(signature = (*, root, pids))]
pub fn process_limit(root: PathBuf, pids: Vec<i32>) -> (String, bool) {
    let home = cgroup::find(&root, &pids).ok();
    match cgroup::keeper(&root, home.as_ref()) {
        Keeper::Group(Home { version, folder }) => {
            let (version, folder) = (version.name(), folder.display());
            (format!("cgroup {version} at {folder}"), true)
        }
        Keeper::User => (
            "RLIMIT_NPROC, which counts all that the user runs here".to_owned(),
            true,
        ),
        Keeper::Nobody(missing) => (missing, false),
    }
}

/// Ends and removes every memory cgroup that a supervisor of a relay's folder has left.
#[pyfunction]
#[pyo3(signature = (folder))]
pub fn sweep_cgroups(py: Python<'_>, folder: PathBuf) {
    py.detach(|| cgroup::sweep(&folder));
}
