//! memory: a task's memory limit, kept by its group where it has one, else by looking at it.
//!
//! In a group of v2 the kernel ends the whole task; that it did is read at the end. In one of v1 it
//! ends a process, and a look now and then tells that the rest must follow. Without a group the
//! looks are all there is ([`crate::limits`]).

use std::collections::HashMap;

use crate::board::Board;
use crate::cgroup::Group;
use crate::janitor::Chore;
use crate::life::{Task, Why};
use crate::limits;
use crate::spawn::Failed;
use crate::sys;
use crate::timers::Timer;

/// How often a group of v1 is asked whether the kernel has killed in it. It cannot grow meanwhile.
const GROUP_LOOK_MS: u64 = 500;

impl Task {
    pub(crate) fn limit_bytes(&self) -> Option<u64> {
        self.lot.work.memory_mib.map(|mib| mib << 20)
    }

    /// Kills everything that is in the task's group, where it has one.
    pub(crate) fn kill_group(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
    }

    /// Whether the kernel has ended some of it for want of memory.
    pub(crate) fn was_oom(&self) -> bool {
        self.group.as_ref().is_some_and(Group::was_oom)
    }
}

impl Board {
    /// Makes the group of a task whose memory is limited, where groups can be made.
    pub(crate) fn make_group(&mut self, task: &Task, serial: u32) -> Result<Option<Group>, Failed> {
        let (Some(groups), Some(limit)) = (&self.groups, task.limit_bytes()) else {
            return Ok(None);
        };
        match groups.make(serial, limit) {
            Ok(group) => Ok(Some(group)),
            Err(error) => self.without_groups(&error.to_string()).map(|()| None),
        }
    }

    /// Goes on without groups, unless the relay was told that they are required.
    pub(crate) fn without_groups(&mut self, trouble: &str) -> Result<(), Failed> {
        if self.are_groups_required {
            return Err(Failed::ours(format!("no memory cgroup: {trouble}")));
        }
        crate::say!("supervisor: no memory cgroups from now on, memory is watched: {trouble}");
        self.groups = None;
        Ok(())
    }

    /// Removes the group of a task that is over.
    pub(crate) fn leave_group(&self, group: Option<Group>) {
        if let Some(group) = group {
            self.janitor.leave(Chore::RemoveGroup(group));
        }
    }

    pub(crate) fn watch_memory(&mut self, serial: u32, task: &mut Task, now_ms: u64) {
        let Some(limit) = task.limit_bytes() else {
            return;
        };
        task.look_ms = match &task.group {
            Some(group) if group.ends_as_a_whole() => return,
            Some(_) => GROUP_LOOK_MS,
            // As if it had just grown to half of its limit: nothing is known of its pace yet.
            None => limits::next_look_ms(limit / 2, 0, limit, 0),
        };
        self.timers
            .set(now_ms + task.look_ms, Timer::Memory(serial));
    }

    /// Looks at the memory of these tasks; what they have set free counts too.
    pub(crate) fn memory_due(&mut self, serials: &[u32]) {
        let mut orphans: HashMap<u32, Vec<i32>> = HashMap::new();
        for pid in self.orphans() {
            if let Some(serial) = self.owner(pid) {
                orphans.entry(serial).or_default().push(pid);
            }
        }
        for serial in serials {
            self.look_at_memory(*serial, orphans.remove(serial).unwrap_or_default());
        }
    }

    fn look_at_memory(&mut self, serial: u32, mut roots: Vec<i32>) {
        let Some(task) = self.running.get_mut(&serial).filter(|t| t.over.is_none()) else {
            return;
        };
        let Some(limit) = task.limit_bytes() else {
            return;
        };
        let is_over = if let Some(group) = &task.group {
            group.was_oom()
        } else {
            roots.push(task.pid);
            let look = limits::look(&roots, limit);
            task.peak_bytes = task.peak_bytes.max(look.bytes);
            task.look_ms = limits::next_look_ms(look.bytes, task.seen_bytes, limit, task.look_ms);
            task.seen_bytes = look.bytes;
            look.is_over
        };
        if is_over {
            self.end(serial, Why::Oom, 0);
            return;
        }
        let at_ms = limits::look_at_ms(sys::boottime_ms(), task.look_ms);
        self.timers.set(at_ms, Timer::Memory(serial));
    }
}
