//! Retention: which batches of the log may lose their bodies, by the namespaces as they are now.
//!
//! A batch may where each of its events is past the retention of its namespace. The kernel's kinds
//! and registrations have none, nor has a namespace that names none: such a batch is kept for ever.
//! But where the kernel's events are about jobs that were forgotten, they may go at once; only by
//! which event that was stays.

use super::hub::{Fault, Hub, damaged};
use crate::domain::control::CONTROL_KINDS;
use crate::domain::entry::{Body, FLAG_CONTROL, LogRow, StoredEvent};
use crate::domain::event::KernelKind;

/// What may be dropped of some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The first seqs of those batches of which nothing need be kept.
    pub first_seqs: Vec<u64>,
    /// The first seq of the first batch that is only not old enough yet.
    pub pending: Option<u64>,
}

impl Hub {
    /// What of some rows need not be kept at a time, ms since 1970, less what the clock had jumped ahead
    /// by when it was looked at last; `below` is the seq of the oldest snapshot that will be kept: who
    /// asks from there on knows no job that was forgotten.
    ///
    /// # Errors
    /// A body that cannot be read.
    pub fn expired(&self, rows: &[LogRow], wall: i64, below: u64) -> Result<Expired, Fault> {
        let mut expired = Expired::default();
        let wall = wall.saturating_sub(self.calendar.ahead_ms());
        for row in rows {
            if row.flags & FLAG_CONTROL != 0 || row.body.is_empty() {
                continue;
            }
            let body = Body::decode(&row.body).map_err(|e| damaged(row, &e))?;
            let ends = body.events().map(|event| self.kept_until(&event, below));
            let end = ends.reduce(|a, b| Some(a?.max(b?))).flatten();
            match end {
                Some(end) if end < wall => expired.first_seqs.push(row.first_seq),
                Some(_) => expired.pending = expired.pending.or(Some(row.first_seq)),
                None => {}
            }
        }
        Ok(expired)
    }

    /// Whether a namespace has a retention, or a job was forgotten, so that there may be something to
    /// drop.
    #[must_use]
    pub fn has_retention(&self) -> bool {
        let mut all = self.state.namespaces.iter();
        all.any(|(_, registered)| registered.spec.retention_ms.is_some()) || self.forgotten() > 0
    }

    /// How many jobs were forgotten: more of the log may go whenever it grows.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.state.jobs.forgotten_len() as u64
    }

    /// The seqs of the newest registrations of a namespace and of a generator; 0 where there is
    /// none.
    #[must_use]
    pub fn newest_registrations(&self) -> (u64, u64) {
        let namespaces = self.state.namespaces.iter().map(|(_, ns)| ns.seq);
        let generators = self.state.generators.iter().map(|(_, g)| g.version().1);
        let newest = (namespaces.max(), generators.max());
        (newest.0.unwrap_or_default(), newest.1.unwrap_or_default())
    }

    /// The last moment that an event is kept for; `None`: for ever.
    fn kept_until(&self, event: &StoredEvent<'_>, below: u64) -> Option<i64> {
        if CONTROL_KINDS.contains(&event.kind) {
            return None;
        }
        match self.state.kernel_kind(event.kind, event.ctx) {
            Some(KernelKind::ForgetJob) => return None,
            Some(kernel) if kernel.is_about_node() => return None,
            Some(_) => {
                let jobs = &self.state.jobs;
                let left = jobs.forgotten(jobs.find(event.ctx.str("job_id")?)?)?;
                let is_known = left.seq <= below;
                return Some(if is_known { i64::MIN } else { i64::MAX });
            }
            None => {}
        }
        let registered = self.state.namespaces.get(event.ctx.str("ns_id")?)?;
        let retention = registered.spec.retention_ms?;
        Some(event.stamp.at.saturating_add(retention))
    }
}
