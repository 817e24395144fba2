//! Totals: how many tasks of a job, and how many jobs and tasks of all, are in each state.
//!
//! Of jobs that rest they are kept, and change as one is sealed or made whole again; with the others
//! something goes on, and they are looked at when somebody asks.

use super::attempts::Outcome;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Node, NodeState};
use crate::domain::json_write::ObjectWriter;

/// The states of a task, the first that some task has being the job's while it is unsettled.
pub(super) const STATES: [&str; 8] = [
    "running",
    "leased",
    "queued",
    "waiting",
    "held",
    "failed",
    "cancelled",
    "succeeded",
];

/// The place of `queued`, which a job without tasks is.
const QUEUED: usize = 2;

/// A number for each of [`STATES`].
pub type Counts = [u64; STATES.len()];

/// How many jobs, and how many tasks, are in each of the states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs by their state.
    pub jobs: Counts,
    /// Their tasks.
    pub tasks: Counts,
}

impl Totals {
    /// Of one job.
    pub fn of(job: &Job) -> Self {
        let tasks = counts(job);
        let mut jobs = Counts::default();
        if let Some(count) = jobs.get_mut(place_of(&tasks)) {
            *count = 1;
        }
        Self { jobs, tasks }
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.change(others, |ours, other| ours.saturating_add(other));
    }

    /// Takes others out, which were added before.
    pub fn subtract(&mut self, others: &Self) {
        self.change(others, |ours, other| ours.saturating_sub(other));
    }

    fn change(&mut self, others: &Self, by: impl Fn(u64, u64) -> u64) {
        let pairs = self.jobs.iter_mut().zip(others.jobs);
        for (ours, other) in pairs.chain(self.tasks.iter_mut().zip(others.tasks)) {
            *ours = by(*ours, other);
        }
    }
}

impl Hub {
    /// What `GET /healthz?full=true` says of jobs, tasks and nodes.
    pub(super) fn read_totals(&mut self, token: u64) {
        let totals = self.state.jobs.totals();
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        let data = object.key("data");
        let mut data = ObjectWriter::new(data);
        for (name, counts) in [("jobs", totals.jobs), ("tasks", totals.tasks)] {
            let mut by_state = ObjectWriter::new(data.key(name));
            for (state, count) in STATES.into_iter().zip(counts) {
                by_state.int(state, count);
            }
            by_state.end();
        }
        let mut nodes = ObjectWriter::new(data.key("nodes"));
        for state in [NodeState::Up, NodeState::Unreachable, NodeState::Left] {
            nodes.int(state.wire(), self.count_nodes(|node| node.state == state));
        }
        // Of those that are up: they are here, and take nothing.
        let is_drained = |node: &Node| node.state == NodeState::Up && node.drained.1;
        nodes.int("drained", self.count_nodes(is_drained));
        nodes.end();
        data.end();
        object.end();
        self.reply(token, 200, out);
    }

    /// How many nodes that have joined are so.
    fn count_nodes(&self, is_so: impl Fn(&Node) -> bool) -> u64 {
        let all = self.state.nodes.iter().map(|(_, node)| node);
        all.filter(|node| node.epoch > 0 && is_so(node)).count() as u64
    }
}

/// How many tasks are in each of [`STATES`], by their places: a job that is sealed is counted, so this
/// is on the way of each submit.
pub(super) fn counts(job: &Job) -> Counts {
    let running: u64 = job.leases.iter().map(|lease| lease.started.len()).sum();
    let leased: u64 = job.leases.iter().map(|lease| lease.tasks.len()).sum();
    let gate = job.gate.as_ref();
    let parked = gate.map_or(0, |gate| gate.parked_count());
    let held = gate.map_or(0, |gate| gate.held(&gate.parked()).len());
    [
        running,
        leased - running.min(leased),
        job.queued_count(),
        parked - held,
        held,
        job.settled.of(Outcome::Failed).len(),
        job.settled.of(Outcome::Cancelled).len(),
        job.settled.of(Outcome::Succeeded).len(),
    ]
}

/// The state of a job: the first of [`STATES`] that some task has, while any is unsettled.
pub(super) fn state_of(job: &Job) -> &'static str {
    STATES
        .get(place_of(&counts(job)))
        .copied()
        .unwrap_or("queued")
}

/// The place in [`STATES`] of a job's state.
fn place_of(counts: &Counts) -> usize {
    counts.iter().position(|count| *count > 0).unwrap_or(QUEUED)
}
