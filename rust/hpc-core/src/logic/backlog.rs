//! Backlog: leases beyond a relay's room, at most some 100 ms of measured task time: of the job, or where
//! it is of one task of those like it, in namespace and request.
//!
//! They are committed ahead so that a relay need not wait for a commit between two short tasks
//! (protocol R4), and are taken back while another relay idles, while higher priority waits, where they
//! are held, and from behind a long task. Which tasks is `schedule.rs`'s.

use std::collections::BTreeMap;

use super::attempts::NodeIx;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Node, Told, at};
use super::queue::{JobIx, ShapeIx};
use crate::lattice::tasks::TaskSet;

/// How much work a relay may hold ahead, ms.
const BACKLOG_MS: f64 = 100.0;
/// Tasks that take longer are never leased ahead, ms.
const SHORT_TASK_MS: f64 = 1000.0;

impl Hub {
    /// Asks nodes with a backlog to give it back while another waits for work that would fit it, or
    /// higher priority waits for their room.
    pub(super) fn take_back(&mut self, idle: &[NodeIx], may_be_urgent: bool) {
        if idle.is_empty() && !may_be_urgent {
            return;
        }
        let crowded: Vec<NodeIx> = self
            .state
            .nodes
            .iter()
            .filter(|(_, node)| node.is_crowded())
            .map(|(ix, _)| ix)
            .collect();
        if may_be_urgent {
            for from in &crowded {
                let asked = self.backlog_before(*from);
                self.ask_back(*from, asked);
            }
        }
        // Most that are idle by some resource have no room for what is leased ahead elsewhere.
        let ahead = self.leased_ahead(&crowded);
        for idle in idle {
            if !ahead.iter().any(|job| self.has_room_for(*idle, *job)) {
                continue;
            }
            for from in &crowded {
                let asked = self.backlog_for(*from, *idle);
                self.ask_back(*from, asked);
            }
        }
    }

    /// Asks a node to give back what has not started there and is held; and what is leased ahead, where
    /// it would wait for a long task while others run elsewhere.
    pub(super) fn ask_back_waiting(&mut self, from: NodeIx) {
        let held = self.held_ahead(from);
        self.ask_back(from, held);
        let node = self.state.nodes.get(from);
        if node.is_some_and(|node| node.is_stuck && node.is_crowded()) {
            let ahead = self.backlog_of(from, |_| u64::MAX);
            self.ask_back(from, ahead);
        }
    }

    /// Unstarted leases of a node that are held, and that it was not asked for already.
    fn held_ahead(&self, from: NodeIx) -> Vec<(String, u32, TaskSet)> {
        let Some(node) = self.state.nodes.get(from) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for job in node
            .leases
            .iter()
            .filter_map(|ix| self.state.jobs.live(*ix))
        {
            let Some(gate) = job.gate.as_ref().filter(|gate| !gate.holds.is_empty()) else {
                continue;
            };
            for lease in job.leases.iter().filter(|lease| lease.node == from) {
                let mut held = gate.held(&lease.tasks.difference(&lease.started));
                let asked = node.asked.iter();
                let asked = asked.filter(|told| told.job_id == *job.id);
                for told in asked.filter(|told| told.attempt == lease.attempt) {
                    held.subtract(&told.tasks);
                }
                if !held.is_empty() {
                    found.push((job.id.to_string(), lease.attempt, held));
                }
            }
        }
        found
    }

    /// A job of each namespace and shape of which tasks are leased to nodes that have a backlog.
    fn leased_ahead(&self, crowded: &[NodeIx]) -> Vec<JobIx> {
        let nodes = crowded.iter().filter_map(|ix| self.state.nodes.get(*ix));
        let mut seen: BTreeMap<(&str, ShapeIx), JobIx> = BTreeMap::new();
        for ix in nodes.flat_map(|node| &node.leases) {
            if let Some(job) = self.state.jobs.live(*ix) {
                seen.entry((&job.ns_id, job.shape)).or_insert(*ix);
            }
        }
        seen.into_values().collect()
    }

    fn has_room_for(&self, ix: NodeIx, job: JobIx) -> bool {
        let (Some(node), Some(job)) = (self.state.nodes.get(ix), self.state.jobs.live(job)) else {
            return false;
        };
        let shape = self.state.queue.shape_at(job.shape);
        node.namespaces.contains(&job.ns_id) && node.room(shape, None, self.now.mono) > 0
    }

    fn ask_back(&mut self, from: NodeIx, asked: Vec<(String, u32, TaskSet)>) {
        let now = self.now.mono;
        let Some(node) = self.state.nodes.get_mut(from) else {
            return;
        };
        for (job_id, attempt, tasks) in asked {
            node.attention = true;
            node.must_ask = true;
            node.asked.push(Told {
                job_id,
                attempt,
                tasks,
                reason: "wanted elsewhere",
                at: now,
            });
        }
    }

    /// Whether a node that waits takes work and has something free.
    pub(super) fn is_idle(&self, ix: NodeIx) -> bool {
        let node = self.state.nodes.get(ix).filter(|node| node.takes_work());
        node.is_some_and(|node| {
            let mut total = (0..).zip(&node.total);
            let may_take = node.open.as_ref().is_some_and(|open| open.max > 0);
            may_take && !node.is_crowded() && total.any(|(i, total)| *total > at(&node.used, i))
        })
    }

    /// Unstarted leases of `from` beyond its room that would fit into `idle`.
    fn backlog_for(&self, from: NodeIx, idle: NodeIx) -> Vec<(String, u32, TaskSet)> {
        let Some(node) = self.state.nodes.get(idle).filter(|node| node.takes_work()) else {
            return Vec::new();
        };
        self.backlog_of(from, |job| {
            let serves = node.namespaces.contains(&job.ns_id);
            if serves {
                self.room_of(idle, job, false)
            } else {
                0
            }
        })
    }

    /// Unstarted leases of a node beyond its room that keep higher priority waiting there.
    fn backlog_before(&self, from: NodeIx) -> Vec<(String, u32, TaskSet)> {
        let Some(node) = self.state.nodes.get(from).filter(|node| node.takes_work()) else {
            return Vec::new();
        };
        let could_run = |job, _| self.could_run(from, job);
        let first = self.state.queue.first(&node.namespaces, None, could_run);
        let Some((rank, _)) = first else {
            return Vec::new();
        };
        self.backlog_of(from, |job| {
            if rank.priority < job.rank.priority {
                u64::MAX
            } else {
                0
            }
        })
    }

    /// Unstarted leases of a node beyond its room: of each job as many as are wanted, and no more
    /// than were not asked for already.
    fn backlog_of(
        &self,
        from: NodeIx,
        wanted: impl Fn(&Job) -> u64,
    ) -> Vec<(String, u32, TaskSet)> {
        let Some(crowded) = self.state.nodes.get(from) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let jobs = crowded.leases.iter();
        for job in jobs.filter_map(|job| self.state.jobs.live(*job)) {
            let shape = self.state.queue.shape_at(job.shape);
            let pending = still_asked(crowded, job, from);
            let wanted = wanted(job).min(crowded.excess(shape));
            let wanted = wanted.saturating_sub(pending);
            for lease in job.leases.iter().filter(|lease| lease.node == from) {
                let mut last = lease.tasks.difference(&lease.started);
                // The last ones are the furthest from being started.
                last.take_first(last.len().saturating_sub(wanted));
                if !last.is_empty() && pending == 0 {
                    found.push((job.id.to_string(), lease.attempt, last));
                }
            }
        }
        found
    }
}

/// The most tasks that are leased ahead to a node that runs `slots` of them at a time, by how long they
/// take.
pub(super) fn backlog(mean_ms: Option<f64>, slots: u64) -> u64 {
    let Some(mean_ms) = mean_ms.filter(|mean| *mean <= SHORT_TASK_MS) else {
        return 0;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to 200"
    )]
    let each = if mean_ms > BACKLOG_MS {
        1
    } else {
        (BACKLOG_MS / mean_ms.max(0.5)).ceil() as u64
    };
    // Jobs that need nothing have room without end, so their slots are no measure.
    each * slots.min(1024)
}

/// How many tasks of a job a node was asked to give back and may still do so.
fn still_asked(node: &Node, job: &Job, ix: NodeIx) -> u64 {
    let asked = node.asked.iter().filter(|told| told.job_id == *job.id);
    let open = asked.filter_map(|told| {
        let lease = job.lease(told.attempt, ix)?;
        let waiting = lease.tasks.difference(&lease.started);
        Some(waiting.intersection(&told.tasks).len())
    });
    open.sum()
}
