//! Totals: how many tasks of a job, and how many jobs and tasks of all, are in each state.
//!
//! Of jobs that rest they are kept, and change as one is sealed or made whole again; with the others
//! something goes on, and they are looked at when somebody asks.

use super::attempts::Outcome;
use super::hub::Hub;
use super::job::Job;
use super::nodes::NodeState;
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
        let state = state_among(tasks);
        Self {
            jobs: STATES.map(|of| u64::from(of == state)),
            tasks,
        }
    }

    /// Adds others.
    pub fn add(&mut self, others: &Self) {
        self.change(others, u64::saturating_add);
    }

    /// Takes others out, which were added before.
    pub fn subtract(&mut self, others: &Self) {
        self.change(others, u64::saturating_sub);
    }

    fn change(&mut self, others: &Self, by: fn(u64, u64) -> u64) {
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
            let of = |node: &&super::nodes::Node| node.epoch > 0 && node.state == state;
            let all = self.state.nodes.iter().map(|(_, node)| node);
            nodes.int(state.wire(), all.filter(of).count() as u64);
        }
        nodes.end();
        data.end();
        object.end();
        self.reply(token, 200, out);
    }
}

/// How many tasks are in each of [`STATES`].
pub(super) fn counts(job: &Job) -> Counts {
    let running: u64 = job.leases.iter().map(|lease| lease.started.len()).sum();
    let leased: u64 = job.leases.iter().map(|lease| lease.tasks.len()).sum();
    let gate = job.gate.as_ref();
    let parked = gate.map_or(0, |gate| gate.parked_count());
    let held = gate.map_or(0, |gate| gate.held(&gate.parked()).len());
    STATES.map(|state| match state {
        "running" => running,
        "leased" => leased - running.min(leased),
        "queued" => job.queued_count(),
        "waiting" => parked - held,
        "held" => held,
        "failed" => job.settled.of(Outcome::Failed).len(),
        "cancelled" => job.settled.of(Outcome::Cancelled).len(),
        "succeeded" => job.settled.of(Outcome::Succeeded).len(),
        _ => 0,
    })
}

/// The state of a job: the first of [`STATES`] that some task has, while any is unsettled.
pub(super) fn state_of(job: &Job) -> &'static str {
    state_among(counts(job))
}

fn state_among(counts: Counts) -> &'static str {
    let mut has = STATES.into_iter().zip(counts).filter(|(_, n)| *n > 0);
    has.next().map_or("queued", |(state, _)| state)
}
