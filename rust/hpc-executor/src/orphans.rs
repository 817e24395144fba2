//! orphans: children of the supervisor that are no task's own process; whose they are, their end.
//!
//! What a task leaves behind is ended once the own process of the task is over, within the grace that
//! it has. Each round of that is woken by the deaths of the one before, else by the patrol; the last
//! concludes the task. How a process is known to belong to a task stands in [`crate::reap`], what
//! comes of the task in [`crate::life`].

use std::collections::HashSet;
use std::os::unix::fs::FileExt;

use crate::board::Board;
use crate::reap;
use crate::sys;
use crate::timers::Timer;

/// How long what a task left behind may take to die before the task is reported all the same.
pub(crate) const SWEEP_MS_MAX: u64 = 10_000;

/// How soon orphans are looked for again.
const PATROL_MS: u64 = 200;

impl Board {
    /// Our children that are no task's own process: what tasks left behind.
    pub(crate) fn orphans(&self) -> Vec<i32> {
        let mut found = self.children();
        found.retain(|pid| !self.pids.contains_key(pid));
        found
    }

    /// Our children, those among them that have ended and are not reaped.
    pub(crate) fn children(&self) -> Vec<i32> {
        let mut list = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.child_list.read_at(&mut chunk, list.len() as u64) {
            list.extend_from_slice(chunk.get(..count).unwrap_or_default());
        }
        reap::parse_pids(&String::from_utf8_lossy(&list))
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

    /// Ends what ended tasks left behind, and concludes those tasks that left nothing.
    pub(crate) fn sweep_orphans(&mut self, now_ms: u64) {
        let mut haunted: HashSet<u32> = HashSet::new();
        let mut is_clean = true;
        for pid in self.orphans() {
            let owner = self.owner(pid);
            let task = owner.and_then(|serial| self.running.get(&serial));
            match task {
                Some(task) if task.over.is_none() => continue, // its task still runs
                Some(task) => {
                    haunted.extend(owner);
                    // Whoever was asked to end with the group has the group's grace.
                    let has_grace = task.kill_ms().is_some_and(|kill_ms| kill_ms > now_ms);
                    if !(has_grace && sys::group_of(pid) == Some(task.pid)) {
                        reap::end_child(pid);
                    }
                }
                None => reap::end_child(pid),
            }
            is_clean = false;
        }
        let ended = self.serials(|task| task.over.is_some());
        for serial in ended {
            if !haunted.contains(&serial) {
                self.conclude(serial, true);
                // The list of children may leave out some while others die: look once more.
                is_clean = false;
            } else if let Some(task) = self.running.get_mut(&serial)
                && !task.is_haunted
            {
                task.is_haunted = true;
                let from_ms = task.kill_ms().map_or(now_ms, |kill_ms| kill_ms.max(now_ms));
                task.swept_ms = from_ms + SWEEP_MS_MAX;
                self.timers.set(task.swept_ms, Timer::Swept(serial));
            }
        }
        if !is_clean {
            self.patrol_soon(now_ms);
        }
    }

    /// Looks for orphans again in a moment.
    pub(crate) fn patrol_soon(&mut self, now_ms: u64) {
        if !self.is_patrolled {
            self.is_patrolled = true;
            self.timers.set(now_ms + PATROL_MS, Timer::Patrol);
        }
    }

    /// Looks for orphans, and removes the folders that wait for tasks which do not come.
    pub(crate) fn patrol_due(&mut self) {
        self.is_patrolled = false;
        self.reap();
        if self.running.is_empty() {
            self.folders.trim();
        }
    }
}
