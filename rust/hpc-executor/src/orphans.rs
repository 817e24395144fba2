//! orphans: children of the supervisor that are no task's own process, and whose they are.
//!
//! How a process is known to belong to a task stands in [`crate::reap`]; what is done about it in
//! [`crate::life`].

use std::os::unix::fs::FileExt;

use crate::board::Board;
use crate::reap;
use crate::sys;

impl Board {
    /// Our children that are no task's own process: what tasks left behind.
    pub(crate) fn orphans(&self) -> Vec<i32> {
        let mut list = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.children.read_at(&mut chunk, list.len() as u64) {
            list.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
        reap::parse_pids(&String::from_utf8_lossy(&list))
            .into_iter()
            .filter(|pid| !self.pids.contains_key(pid))
            .collect()
    }

    /// The task that an orphan belongs to; it may have ended.
    pub(crate) fn owner(&self, pid: i32) -> Option<u32> {
        if let Some(serial) = sys::marker_of(pid).and_then(|marker| self.markers.serial(marker)) {
            return Some(serial);
        }
        let by_session = sys::session_of(pid).and_then(|session| {
            let mut running = self.running.iter();
            running.find_map(|(serial, task)| (task.pid == session).then_some(*serial))
        });
        by_session.or_else(|| {
            let (job_id, number, attempt) = reap::named_task(pid)?;
            self.running.iter().find_map(|(serial, task)| {
                let lease = &task.lot.lease;
                let is_it =
                    lease.job_id == job_id && lease.attempt == attempt && task.number == number;
                is_it.then_some(*serial)
            })
        })
    }
}
