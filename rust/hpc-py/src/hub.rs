//! The Hub's state machine for Python: bytes in, bytes out, the GIL released around the work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hpc_core::domain::entry::{self, LogRow};
use hpc_core::domain::msgpack;
use hpc_core::logic::hub::{Config, Fault, Hub as CoreHub, Input, Now, Turn as CoreTurn};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::{damaged, engine_fault};

/// A row as Python hands it over: the fields of `hpc.protocols.LogRow` in their order.
pub(crate) type RowIn = (
    u64,
    u32,
    String,
    PyBackedBytes,
    PyBackedBytes,
    u32,
    PyBackedBytes,
    Vec<String>,
);

/// A request as Python hands it over: token, verb, query, body, who sends it.
type InputIn = (u64, PyBackedStr, PyBackedStr, PyBackedBytes, PyBackedStr);

/// First seqs of batches that may be dropped, and the first that is not old enough yet.
type ExpiredOut = (Vec<u64>, Option<u64>);

/// The Hub's state machine.
#[pyclass(frozen, module = "hpc._core")]
pub struct Hub {
    inner: Mutex<CoreHub>,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, CoreHub> {
        // A poisoned lock means that `guarded` told of a panic; whoever was told drops this Hub.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guarded<T>(&self, work: impl FnOnce(&mut CoreHub) -> Result<T, Fault>) -> Result<T, Fault> {
        guarded(|| work(&mut self.lock()))
    }
}

/// Works on the core; a panic, which its lints rule out, becomes a fault. It would reach Python as
/// no `Exception`, and so end the one thread that answers everybody.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
        let said = said.unwrap_or_else(|| "without a word".to_owned());
        Err(Fault(format!("The engine panicked: {said}")))
    })
}

#[pymethods]
impl Hub {
    #[new]
    #[pyo3(signature = (*, hub_id, lease_ms, reclaim_ms, keep_jobs_ms = None, lineage = None))]
    fn new(
        hub_id: String,
        lease_ms: i64,
        reclaim_ms: i64,
        keep_jobs_ms: Option<i64>,
        lineage: Option<String>,
    ) -> Self {
        let mut hub = CoreHub::new(Config {
            hub_id,
            lease_ms,
            reclaim_ms,
        });
        hub.keep_jobs(keep_jobs_ms);
        if let Some(lineage) = lineage {
            hub.set_lineage(lineage);
        }
        Self {
            inner: Mutex::new(hub),
        }
    }

    fn preload(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.preload(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn replay(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.replay(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn replay_around(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.replay_around(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn restore(&self, py: Python<'_>, state: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.restore(&state)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn catch_up(&self, py: Python<'_>, rows: Vec<RowIn>) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.catch_up(&core_rows(&rows)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn recall(&self, py: Python<'_>, row: RowIn) -> PyResult<()> {
        py.detach(|| self.guarded(|hub| hub.recall(&core_row(&row)?)))
            .map_err(|fault| damaged(py, &fault))
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        py.detach(|| self.guarded(|hub| Ok(hub.snapshot())))
            .map(|state| PyBytes::new(py, &state))
            .map_err(|fault| engine_fault(py, &fault))
    }

    #[pyo3(signature = (rows, *, wall_ms, below))]
    fn expired(
        &self,
        py: Python<'_>,
        rows: Vec<RowIn>,
        wall_ms: i64,
        below: u64,
    ) -> PyResult<ExpiredOut> {
        py.detach(|| self.guarded(|hub| hub.expired(&core_rows(&rows)?, wall_ms, below)))
            .map(|expired| (expired.first_seqs, expired.pending))
            .map_err(|fault| damaged(py, &fault))
    }

    #[pyo3(signature = (*, wall_ms, mono_ms))]
    fn start(&self, wall_ms: i64, mono_ms: i64) {
        self.lock().start(Now {
            wall: wall_ms,
            mono: mono_ms,
        });
    }

    #[pyo3(signature = (*, wall_ms, mono_ms))]
    fn ahead_ms(&self, wall_ms: i64, mono_ms: i64) -> i64 {
        self.lock().ahead_ms(Now {
            wall: wall_ms,
            mono: mono_ms,
        })
    }

    fn believe_clock(&self) {
        self.lock().believe_clock();
    }

    #[pyo3(signature = (inputs, *, wall_ms, mono_ms, build = Vec::new()))]
    fn step(
        &self,
        py: Python<'_>,
        inputs: Vec<InputIn>,
        wall_ms: i64,
        mono_ms: i64,
        build: Vec<RowIn>,
    ) -> PyResult<Turn> {
        let now = Now {
            wall: wall_ms,
            mono: mono_ms,
        };
        py.detach(|| {
            let inputs: Vec<Input<'_>> = inputs
                .iter()
                .map(|(token, verb, query, body, who)| Input {
                    token: *token,
                    verb,
                    query,
                    body,
                    who,
                })
                .collect();
            self.guarded(|hub| hub.step(&inputs, now, &core_rows(&build)?))
        })
        .map(Turn)
        .map_err(|fault| engine_fault(py, &fault))
    }

    #[getter]
    fn last_seq(&self) -> u64 {
        self.lock().last_seq()
    }

    #[getter]
    fn chain<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.lock().chain())
    }

    #[getter]
    fn build_from(&self) -> Option<u64> {
        self.lock().build_from()
    }

    #[getter]
    fn is_building(&self) -> bool {
        self.lock().is_building_any()
    }

    #[getter]
    fn has_retention(&self) -> bool {
        self.lock().has_retention()
    }

    #[getter]
    fn forgotten(&self) -> u64 {
        self.lock().forgotten()
    }

    #[getter]
    fn tokens(&self) -> Vec<(String, String, bool)> {
        self.lock().tokens()
    }

    #[getter]
    fn generators(&self) -> Vec<(String, String)> {
        self.lock().generators()
    }

    #[getter]
    fn newest_registrations(&self) -> (u64, u64) {
        self.lock().newest_registrations()
    }
}

/// What a turn leads to.
#[pyclass(frozen, module = "hpc._core")]
pub struct Turn(CoreTurn);

#[pymethods]
impl Turn {
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.0.rows.iter().map(|row| row_out(py, row)).collect()
    }

    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> Vec<(u64, u16, Bound<'py, PyBytes>)> {
        let replies = self.0.replies.iter();
        replies
            .map(|reply| (reply.token, reply.status, PyBytes::new(py, &reply.body)))
            .collect()
    }

    #[getter]
    fn pokes(&self) -> Vec<(String, u64)> {
        self.0.pokes.clone()
    }

    #[getter]
    fn wake_ms(&self) -> Option<i64> {
        self.0.wake
    }

    #[getter]
    fn build_from(&self) -> Option<u64> {
        self.0.build_from
    }
}

/// The body of `GET /events`: the events of these rows after `cursor`, at most `limit`; `head` is
/// the end of the log.
#[pyfunction]
pub fn events_page<'py>(
    py: Python<'py>,
    rows: Vec<RowIn>,
    cursor: u64,
    limit: usize,
    head: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    py.detach(|| entry::events_page(&core_rows(&rows)?, cursor, limit, head).map_err(Fault))
        .map(|body| PyBytes::new(py, &body))
        .map_err(|fault| damaged(py, &fault))
}

/// The body of `GET /events?job=`: of these rows the events that speak of a job.
#[pyfunction]
pub fn job_events_page<'py>(
    py: Python<'py>,
    rows: Vec<RowIn>,
    job_id: &str,
    cursor: u64,
    limit: usize,
    covered: u64,
    head: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    py.detach(|| {
        let rows = core_rows(&rows)?;
        entry::job_events_page(&rows, job_id, cursor, limit, covered, head).map_err(Fault)
    })
    .map(|body| PyBytes::new(py, &body))
    .map_err(|fault| damaged(py, &fault))
}

/// The MessagePack form of a JSON text of ours.
#[pyfunction]
pub fn msgpack_of_json<'py>(py: Python<'py>, text: PyBackedBytes) -> PyResult<Bound<'py, PyBytes>> {
    py.detach(|| msgpack::from_json(&text).map_err(Fault))
        .map(|body| PyBytes::new(py, &body))
        .map_err(|fault| engine_fault(py, &fault))
}

pub(crate) fn core_rows(rows: &[RowIn]) -> Result<Vec<LogRow>, Fault> {
    rows.iter().map(core_row).collect()
}

fn core_row(row: &RowIn) -> Result<LogRow, Fault> {
    let (first_seq, count, batch_id, digest, chain, flags, body, job_ids) = row;
    Ok(LogRow {
        first_seq: *first_seq,
        count: *count,
        batch_id: batch_id.clone(),
        digest: digest_of(digest, batch_id)?,
        chain: digest_of(chain, batch_id)?,
        flags: *flags,
        body: body.to_vec(),
        job_ids: job_ids.clone(),
    })
}

/// A digest or chain value; `of` names whose it is.
pub(crate) fn digest_of(bytes: &[u8], of: &str) -> Result<entry::Digest, Fault> {
    bytes.try_into().map_err(|_| {
        let length = bytes.len();
        Fault(format!("Batch `{of}`: a digest has 32 bytes, got {length}"))
    })
}

fn row_out<'py>(py: Python<'py>, row: &LogRow) -> PyResult<Bound<'py, PyTuple>> {
    (
        row.first_seq,
        row.count,
        &row.batch_id,
        PyBytes::new(py, &row.digest),
        PyBytes::new(py, &row.chain),
        row.flags,
        PyBytes::new(py, &row.body),
        PyTuple::new(py, &row.job_ids)?,
    )
        .into_pyobject(py)
}
