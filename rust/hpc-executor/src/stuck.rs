//! stuck: what cannot be killed keeps its place, and the node takes no more work.
//!
//! A process that waits in the kernel, for a file server say, hears SIGKILL when that wait is over. Its
//! task is reported some seconds after the signal, as `unkillable`; cores and memory stay taken until
//! the process is gone. The Hub counts by its own book and would lease them again, so the node is
//! drained, until somebody has looked.

use crate::board::Board;
use crate::life::Task;
use crate::slots::Taken;
use crate::sys::{self, Exit, Reaped};

/// What is taken by processes that cannot be killed.
pub(crate) struct Stuck {
    /// Children of ours that are not reaped.
    pids: Vec<i32>,
    taken: Taken,
}

impl Task {
    /// What its report says of it.
    pub(crate) fn unkillable(&self) -> String {
        let pids: Vec<String> = self.stuck.iter().map(i32::to_string).collect();
        format!(
            "unkillable: process {} waits in the kernel, and keeps what the task has taken",
            pids.join(", ")
        )
    }

    /// Why this node is not fit, where something of it cannot be killed.
    pub(crate) fn trouble(&self) -> Option<String> {
        let (number, job_id) = (self.number, &self.lot.lease.job_id);
        let is_stuck = !self.stuck.is_empty();
        is_stuck.then(|| format!("task {number} of job {job_id}: {}", self.unkillable()))
    }
}

impl Board {
    /// A task was killed and has not died in time: what there is of it is reported.
    pub(crate) fn swept_due(&mut self, serial: u32) {
        let owned = |board: &Self, pid: &i32| board.owner(*pid) == Some(serial);
        let left: Vec<i32> = self
            .orphans()
            .into_iter()
            .filter(|pid| owned(self, pid))
            .collect();
        let Some(task) = self.running.get_mut(&serial) else {
            return;
        };
        if sys::boottime_ms() < task.swept_ms {
            return; // a later one was set
        }
        task.stuck = left;
        if task.over.is_none() {
            // It was sent the signal, and will die of it; nothing else is known of it.
            let (pid, exit) = (task.pid, Exit::Signal(libc::SIGKILL));
            task.stuck.insert(0, pid);
            let reaped = Reaped {
                pid,
                exit,
                peak_bytes: 0,
                cpu_us: 0,
            };
            task.over = Some((reaped, sys::wall_ms()));
        }
        let is_swept = task.stuck.is_empty();
        self.conclude(serial, is_swept);
    }

    /// Keeps what a task has taken until its last process is gone, and tells the Hub.
    pub(crate) fn keep_taken(&mut self, taken: Taken, mut pids: Vec<i32>, trouble: String) {
        let children = self.children();
        pids.retain(|pid| children.contains(pid));
        if pids.is_empty() {
            self.slots.give(taken);
            return;
        }
        self.stuck.push(Stuck { pids, taken });
        self.drain_node(trouble);
    }

    /// A child of ours is reaped: if it was the last of what was stuck, its place is free.
    pub(crate) fn unstick(&mut self, pid: i32) {
        for stuck in &mut self.stuck {
            stuck.pids.retain(|stuck| *stuck != pid);
        }
        for stuck in self.stuck.extract_if(.., |stuck| stuck.pids.is_empty()) {
            crate::say!("supervisor: process {pid} is gone; what it had is free again");
            self.slots.give(stuck.taken);
        }
    }
}
