//! The extension `hpc._core`: conversions, GIL release and error mapping; no rule of the domain.

use pyo3::prelude::*;

mod access;
mod errors;
mod hub;
mod limits;
mod outbox;
mod past;
mod snapshot;
mod supervise;
mod tasks;

#[pymodule]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::access::kernel_kinds;
    #[pymodule_export]
    use crate::hub::{Hub, Turn, events_page, job_events_page, msgpack_of_json};
    #[pymodule_export]
    use crate::limits::limits;
    #[pymodule_export]
    use crate::outbox::Outbox;
    #[pymodule_export]
    use crate::past::{Evidence, Past, Search};
    #[pymodule_export]
    use crate::snapshot::{check_snapshot, verify_rows};
    #[pymodule_export]
    use crate::supervise::{memory_cgroup, process_limit, supervise, sweep_cgroups};
    #[pymodule_export]
    use crate::tasks::{Reports, TaskPage};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("PROTOCOL_VERSION", hpc_core::PROTOCOL_VERSION)
    }
}
