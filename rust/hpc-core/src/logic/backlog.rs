//! Backlog: leases beyond a relay's room, at most some 100 ms of measured task time: of the job, or where
//! it is of one task of those like it, in namespace and request.
//!
//! They are committed ahead so that a relay need not wait for a commit between two short tasks
//! (protocol R4), and are taken back while another relay idles, while higher priority waits, where they
//! are held, and from behind a long task. Which tasks is `schedule.rs`'s.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::attempts::NodeIx;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Told, at};
use super::queue::ShapeIx;
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
        if idle.is_empty() {
            return;
        }
        let mut wanted = Wanted::By(idle, BTreeMap::new());
        let asked: Vec<(NodeIx, Vec<Asked>)> = crowded
            .iter()
            .map(|from| (*from, self.backlog_of(*from, &mut wanted)))
            .collect();
        for (from, asked) in asked {
            self.ask_back(from, asked);
        }
    }

    /// Asks a node to give back what has not started there and is held; and what is leased ahead, where
    /// it would wait for a long task while others run elsewhere.
    pub(super) fn ask_back_waiting(&mut self, from: NodeIx) {
        let held = self.held_ahead(from);
        self.ask_back(from, held);
        let node = self.state.nodes.get(from);
        if node.is_some_and(|node| node.is_stuck && node.is_crowded()) {
            let ahead = self.backlog_of(from, &mut Wanted::All);
            self.ask_back(from, ahead);
        }
    }

    /// Unstarted leases of a node that are held, and that it was not asked for already.
    fn held_ahead(&self, from: NodeIx) -> Vec<Asked> {
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

    fn ask_back(&mut self, from: NodeIx, asked: Vec<Asked>) {
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

    /// Unstarted leases of a node beyond its room that keep higher priority waiting there.
    fn backlog_before(&self, from: NodeIx) -> Vec<Asked> {
        let Some(node) = self.state.nodes.get(from).filter(|node| node.takes_work()) else {
            return Vec::new();
        };
        let could_run = |job, _| self.could_run(from, job);
        match self.state.queue.first(&node.namespaces, None, could_run) {
            Some((rank, _)) => self.backlog_of(from, &mut Wanted::Before(rank.priority)),
            None => Vec::new(),
        }
    }

    /// Unstarted leases of a node beyond its room: as many as are wanted, and no job of which some
    /// were asked for already. The last ones are the furthest from being started.
    fn backlog_of<'a>(&'a self, from: NodeIx, wanted: &mut Wanted<'a>) -> Vec<Asked> {
        let Some(crowded) = self.state.nodes.get(from) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut excess: BTreeMap<ShapeIx, u64> = BTreeMap::new();
        let mut asked: Option<BTreeMap<&str, Vec<&Told>>> = None;
        let jobs = crowded.leases.iter().rev();
        for job in jobs.filter_map(|job| self.state.jobs.live(*job)) {
            let excess = excess.entry(job.shape);
            let excess =
                excess.or_insert_with(|| crowded.excess(self.state.queue.shape_at(job.shape)));
            let mut left = (*excess).min(self.wanted(wanted, job));
            if left == 0 {
                continue;
            }
            let asked = asked.get_or_insert_with(|| by_job(&crowded.asked));
            let told = asked.get(&*job.id).map(Vec::as_slice);
            let pending = told.map_or(0, |told| still_asked(told, job, from));
            if pending > 0 {
                *excess = excess.saturating_sub(pending);
                wanted.took(job, pending.min(left));
                continue;
            }
            for lease in job.leases.iter().filter(|lease| lease.node == from) {
                let mut last = lease.tasks.difference(&lease.started);
                last.take_first(last.len().saturating_sub(left));
                if !last.is_empty() {
                    left -= last.len();
                    *excess -= last.len();
                    wanted.took(job, last.len());
                    found.push((job.id.to_string(), lease.attempt, last));
                }
            }
        }
        found
    }

    /// How many tasks of a job are wanted from where they wait.
    fn wanted<'a>(&self, wanted: &mut Wanted<'a>, job: &'a Job) -> u64 {
        match wanted {
            Wanted::All => u64::MAX,
            Wanted::Before(priority) if *priority < job.rank.priority => u64::MAX,
            Wanted::Before(_) => 0,
            Wanted::By(idle, left) => {
                let left = *left
                    .entry((&job.ns_id, job.shape))
                    .or_insert_with(|| self.room_among(idle, job));
                if left == 0 || !self.is_counted_by_node(job) {
                    return left;
                }
                // One of them may have as many of this job as it may have.
                let rooms = idle.iter().map(|ix| self.room_of(*ix, job, false));
                left.min(rooms.fold(0, u64::saturating_add))
            }
        }
    }

    /// How many tasks like those of a job fit into nodes that wait.
    fn room_among(&self, idle: &[NodeIx], job: &Job) -> u64 {
        let shape = self.state.queue.shape_at(job.shape);
        let nodes = idle.iter().filter_map(|ix| self.state.nodes.get(*ix));
        let serving = nodes.filter(|n| n.takes_work() && n.namespaces.contains(&job.ns_id));
        let rooms = serving.map(|node| {
            let spare = self.spare(node, job.rank);
            node.room(shape, spare.as_ref(), self.now.mono)
        });
        rooms.fold(0, u64::saturating_add)
    }

    fn is_counted_by_node(&self, job: &Job) -> bool {
        self.state.queue.shape_at(job.shape).max_per_node() < u64::MAX
    }
}

/// Tasks of an attempt of a job.
type Asked = (String, u32, TaskSet);

/// What leases ahead are wanted for.
enum Wanted<'a> {
    /// They are not to wait where they are.
    All,
    /// Something of this priority waits for their room.
    Before(Reverse<i64>),
    /// Nodes that wait; by namespace and shape what they have room for, less what was asked for.
    By(&'a [NodeIx], BTreeMap<(&'a str, ShapeIx), u64>),
}

impl<'a> Wanted<'a> {
    /// Takes note of what is on its way.
    fn took(&mut self, job: &'a Job, count: u64) {
        if let Wanted::By(_, left) = self
            && let Some(left) = left.get_mut(&(&*job.ns_id, job.shape))
        {
            *left = left.saturating_sub(count);
        }
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

/// What a node was asked to give back, by job.
fn by_job(asked: &[Told]) -> BTreeMap<&str, Vec<&Told>> {
    let mut found: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for told in asked {
        found.entry(&told.job_id).or_default().push(told);
    }
    found
}

/// How many tasks of a job a node was asked to give back and may still do so.
fn still_asked(asked: &[&Told], job: &Job, ix: NodeIx) -> u64 {
    let open = asked.iter().filter_map(|told| {
        let lease = job.lease(told.attempt, ix)?;
        let waiting = lease.tasks.difference(&lease.started);
        Some(waiting.intersection(&told.tasks).len())
    });
    open.sum()
}
