//! The outbox of one session for Python: the simulation's relays keep their reports in the file that
//! ships, so that a power cut takes from it what it would take.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hpc_executor::outbox::Outbox as CoreOutbox;
use hpc_executor::record::{Record, Span};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Tasks that ended: job, attempt, first and last.
type EndedOut<'a> = (&'a str, u64, u32, u32);

/// The outbox of one session.
#[pyclass(frozen, module = "hpc._core")]
pub struct Outbox {
    inner: Mutex<CoreOutbox>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, CoreOutbox> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(inner: CoreOutbox) -> Self {
        Self {
            inner: Mutex::new(inner),
        }
    }
}

#[pymethods]
impl Outbox {
    #[new]
    fn new(folder: PathBuf, session: &str, node_id: &str) -> PyResult<Self> {
        Ok(Self::of(CoreOutbox::open(&folder, session, node_id)?))
    }

    #[staticmethod]
    fn load(path: PathBuf) -> PyResult<Option<Self>> {
        Ok(CoreOutbox::load(&path)?.map(Self::of))
    }

    fn push(&self, record: &str) -> PyResult<()> {
        let record: Record = serde_json::from_str(record)
            .map_err(|error| PyValueError::new_err(format!("no record: {error}")))?;
        self.lock().push(record);
        Ok(())
    }

    fn flush(&self) -> PyResult<()> {
        Ok(self.lock().flush()?)
    }

    fn make_batch(&self) -> PyResult<bool> {
        Ok(self.lock().make_batch()?)
    }

    fn take_offer<'py>(&self, py: Python<'py>) -> Option<(u64, Bound<'py, PyBytes>)> {
        let (n, body) = self.lock().take_offer()?;
        Some((n, PyBytes::new(py, &body)))
    }

    fn acknowledge(&self, n: u64) -> PyResult<bool> {
        Ok(self.lock().acknowledge(n)?.is_some())
    }

    fn refuse(&self, n: u64, indexes: Vec<usize>, folder: PathBuf) -> PyResult<bool> {
        Ok(self.lock().refuse(n, &indexes, &folder)?)
    }

    fn hand_over(&self, to: &Bound<'_, Self>) -> PyResult<()> {
        let to = to.get();
        if std::ptr::eq(self, to) {
            return Err(PyValueError::new_err("an outbox has no need of itself"));
        }
        let mut own = self.lock();
        Ok(own.hand_over(&mut to.lock())?)
    }

    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let own = self.lock();
        let ended = own
            .ended()
            .map(|(lease, Span(first, last))| -> EndedOut<'_> {
                (lease.job_id.as_str(), lease.attempt, first, last)
            });
        ended.collect::<Vec<_>>().into_pyobject(py)
    }

    #[getter]
    fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}
