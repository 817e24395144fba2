//! Single tasks of a job for Python: which rows report on them, and a page that takes these in. Each
//! is fed rows by whoever reads the log, with the GIL released around the work.

use std::sync::Mutex;

use hpc_core::logic::hub::Fault;
use hpc_core::logic::task_page::{Reports as CoreReports, TaskPage as CorePage};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::{damaged, engine_fault};
use crate::hub::{RowIn, core_rows, guarded};
use crate::past::locked;

/// Which rows of the log report on which tasks of one job.
#[pyclass(frozen, module = "hpc._core")]
pub struct Reports {
    inner: Mutex<CoreReports>,
}

#[pymethods]
impl Reports {
    #[new]
    fn new(job_id: &str) -> Self {
        Self {
            inner: Mutex::new(CoreReports::new(job_id)),
        }
    }

    fn note(&self, py: Python<'_>, page: &TaskPage, rows: Vec<RowIn>) -> PyResult<()> {
        let note = || {
            let (mut reports, page) = (locked(&self.inner), locked(&page.inner));
            reports.note(&page, &core_rows(&rows)?).map_err(Fault)
        };
        py.detach(|| guarded(note))
            .map_err(|fault| damaged(py, &fault))
    }

    fn places(&self, py: Python<'_>, page: &TaskPage) -> PyResult<Vec<u64>> {
        py.detach(|| guarded(|| Ok(locked(&self.inner).places(&locked(&page.inner)))))
            .map_err(|fault| engine_fault(py, &fault))
    }

    #[getter]
    fn position(&self) -> u64 {
        locked(&self.inner).position()
    }
}

/// A page of tasks on its way to being whole.
#[pyclass(frozen, module = "hpc._core")]
pub struct TaskPage {
    inner: Mutex<CorePage>,
}

#[pymethods]
impl TaskPage {
    #[new]
    fn new(py: Python<'_>, page: PyBackedBytes) -> PyResult<Self> {
        py.detach(|| guarded(|| CorePage::new(&page).map_err(Fault)))
            .map(|page| Self {
                inner: Mutex::new(page),
            })
            .map_err(|fault| engine_fault(py, &fault))
    }

    fn fill(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).fill(&core_rows(&rows)?).map_err(Fault)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        py.detach(|| guarded(|| Ok(locked(&self.inner).body())))
            .map(|body| PyBytes::new(py, &body))
            .map_err(|fault| engine_fault(py, &fault))
    }

    #[getter]
    fn needs_log(&self) -> bool {
        locked(&self.inner).needs_log()
    }

    #[getter]
    fn cursor(&self) -> u64 {
        locked(&self.inner).cursor()
    }
}
