//! Questions to the log for Python: the past, and searches for the events behind a cell. Each is fed
//! rows by whoever reads the log, with the GIL released around the work, on a thread of its choice.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hpc_core::logic::evidence::Evidence as CoreEvidence;
use hpc_core::logic::hub::{Fault, Reply};
use hpc_core::logic::past::Past as CorePast;
use hpc_core::logic::search::Search as CoreSearch;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;

use crate::errors::{damaged, engine_fault};
use crate::hub::{RowIn, core_rows, guarded};

type Answer<'py> = (u16, Bound<'py, PyBytes>);

/// A poisoned lock means that `guarded` told of a panic; whoever was told drops the object.
pub(crate) fn locked<T>(inner: &Mutex<T>) -> MutexGuard<'_, T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The state as it was when the log ended at a seq.
#[pyclass(frozen, module = "hpc._core")]
pub struct Past {
    inner: Mutex<CorePast>,
}

#[pymethods]
impl Past {
    #[new]
    #[pyo3(signature = (*, hub_id))]
    fn new(hub_id: &str) -> Self {
        Self {
            inner: Mutex::new(CorePast::new(hub_id)),
        }
    }

    fn restore(&self, py: Python<'_>, state: PyBackedBytes) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).restore(&state)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn catch_up(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).catch_up(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn preload(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).preload(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn replay(&self, py: Python<'_>, rows: Vec<RowIn>, upto: u64) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).replay(&core_rows(&rows)?, upto)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn ask<'py>(
        &self,
        py: Python<'py>,
        verb: PyBackedStr,
        query: PyBackedStr,
    ) -> PyResult<Answer<'py>> {
        py.detach(|| guarded(|| locked(&self.inner).ask(&verb, &query)))
            .map(|Reply { status, body, .. }| (status, PyBytes::new(py, &body)))
            .map_err(|fault| engine_fault(py, &fault))
    }

    fn keep<'py>(&self, py: Python<'py>, gid: PyBackedStr) -> PyResult<Option<Answer<'py>>> {
        let kept = py.detach(|| guarded(|| Ok(locked(&self.inner).keep(&gid))));
        match kept.map_err(|fault| engine_fault(py, &fault))? {
            Ok(()) => Ok(None),
            Err(problem) => Ok(Some((problem.status, PyBytes::new(py, &problem.to_json())))),
        }
    }

    fn is_kept(&self, gid: &str, seq: u64) -> bool {
        locked(&self.inner).is_kept(gid, seq)
    }

    #[getter]
    fn last_seq(&self) -> u64 {
        locked(&self.inner).last_seq()
    }

    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &locked(&self.inner).chain())
    }

    #[getter]
    fn build_from(&self) -> Option<u64> {
        locked(&self.inner).build_from()
    }
}

/// A search for the events of one cell.
#[pyclass(frozen, module = "hpc._core")]
pub struct Search {
    inner: Mutex<CoreSearch>,
}

#[pymethods]
impl Search {
    #[new]
    fn new(py: Python<'_>, plan: &[u8], hub_id: &str, after: u64) -> PyResult<Self> {
        CoreSearch::new(plan, hub_id, after)
            .map(|search| Self {
                inner: Mutex::new(search),
            })
            .map_err(|error| engine_fault(py, &Fault(error)))
    }

    fn renew(&self, py: Python<'_>, plan: &[u8]) -> PyResult<()> {
        let renewed = locked(&self.inner).renew(plan);
        renewed.map_err(|error| engine_fault(py, &Fault(error)))
    }

    /// The events as JSON, each followed by a comma, and how many.
    fn run<'py>(
        &self,
        py: Python<'py>,
        rows: Vec<RowIn>,
        after: u64,
        end: u64,
        limit: usize,
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        py.detach(|| {
            guarded(|| {
                let rows = core_rows(&rows)?;
                locked(&self.inner)
                    .run(&rows, after, end, limit)
                    .map_err(Fault)
            })
        })
        .map(|found| (PyBytes::new(py, &found.events), found.count))
        .map_err(|fault| damaged(py, &fault))
    }

    fn skip_to(&self, seq: u64) {
        locked(&self.inner).skip_to(seq);
    }

    #[getter]
    fn folds(&self) -> bool {
        locked(&self.inner).folds()
    }

    #[getter]
    fn position(&self) -> u64 {
        locked(&self.inner).position()
    }
}

/// A search for the events that contradict each other.
#[pyclass(frozen, module = "hpc._core")]
pub struct Evidence {
    inner: Mutex<CoreEvidence>,
}

#[pymethods]
impl Evidence {
    #[new]
    fn new(py: Python<'_>, plan: &[u8], hub_id: &str) -> PyResult<Self> {
        CoreEvidence::new(plan, hub_id)
            .map(|search| Self {
                inner: Mutex::new(search),
            })
            .map_err(|error| engine_fault(py, &Fault(error)))
    }

    fn run(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).run(&core_rows(&rows)?).map_err(Fault)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn cut(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| guarded(|| locked(&self.inner).cut(&core_rows(&rows)?).map_err(Fault)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &locked(&self.inner).body())
    }

    #[getter]
    fn newest(&self) -> Vec<u64> {
        locked(&self.inner).newest()
    }

    #[getter]
    fn until(&self) -> Option<u64> {
        locked(&self.inner).until()
    }
}
