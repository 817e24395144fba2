//! The kernel's own facts: generator `kernel`, tables `jobs` and `nodes`.
//!
//! Each is a join of what one log entry says, its `settles` included, so no reader repeats a
//! verdict. Round 0, the only one so far, has the columns `submitted`, `started`, `succeeded`,
//! `failed` and `cancelled`.

use super::attempts::{Outcome, Settles};
use super::rules::atom;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::facts::{Column, Delta, Facts, Scalar};
use crate::domain::json::Map;
use crate::lattice::epoch::Epoch;
use crate::lattice::last::{Last, Stamp};
use crate::lattice::max::Max;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Atom, Cell, KindMismatch, LatticeKind};

/// Id of the kernel's generator.
pub const KERNEL_GID: &str = "kernel";

/// Submitted.
pub const PHASE_SUBMITTED: i64 = 1;
/// A task has started.
pub const PHASE_RUNNING: i64 = 2;
/// Every task is settled.
pub const PHASE_FINISHED: i64 = 3;

/// One log entry as the kernel sees it.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'e> {
    /// Place in the log.
    pub seq: u64,
    /// Stamp.
    pub stamp: Stamp,
    /// What it is.
    pub kind: KernelKind,
    /// Context.
    pub ctx: Ctx<'e>,
    /// Spec.
    pub spec: &'e Map<'e>,
    /// What it settles.
    pub settles: &'e Settles,
}

/// The facts with their columns.
#[derive(Clone, Debug)]
pub struct KernelFacts {
    facts: Facts,
    jobs: [Column; JOB_COLUMNS.len()],
    nodes: [Column; NODE_COLUMNS.len()],
}

const JOB_COLUMNS: [(&str, LatticeKind); 13] = [
    ("ns_id", LatticeKind::Once),
    ("spec", LatticeKind::Once),
    ("priority", LatticeKind::Last),
    ("held", LatticeKind::Last),
    ("name", LatticeKind::Last),
    ("phase", LatticeKind::Max),
    ("submitted", LatticeKind::Tasks),
    ("started", LatticeKind::Tasks),
    ("succeeded", LatticeKind::Tasks),
    ("failed", LatticeKind::Tasks),
    ("cancelled", LatticeKind::Tasks),
    ("submitted_at", LatticeKind::Min),
    ("finished_at", LatticeKind::Max),
];
const NODE_COLUMNS: [(&str, LatticeKind); 5] = [
    ("epoch", LatticeKind::Max),
    ("place", LatticeKind::Epoch),
    ("resources", LatticeKind::Epoch),
    ("down", LatticeKind::Epoch),
    ("drained", LatticeKind::Last),
];

impl Default for KernelFacts {
    fn default() -> Self {
        let mut facts = Facts::new();
        let jobs = JOB_COLUMNS.map(|(name, kind)| facts.column("jobs", name, kind));
        let nodes = NODE_COLUMNS.map(|(name, kind)| facts.column("nodes", name, kind));
        Self { facts, jobs, nodes }
    }
}

impl KernelFacts {
    /// The facts.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The facts themselves.
    #[must_use]
    pub fn into_facts(self) -> Facts {
        self.facts
    }

    /// The phase of a job; as a fact it never falls, also where a job gets further tasks.
    #[must_use]
    pub fn phase(&self, job_id: &str) -> i64 {
        let place = JOB_COLUMNS.iter().position(|(known, _)| *known == "phase");
        let column = place.and_then(|place| self.jobs.get(place));
        match column.and_then(|column| self.facts.get(*column, job_id)) {
            Some(Cell::Max(max)) => match max.value() {
                Some(Atom::Int(phase)) => *phase,
                _ => PHASE_SUBMITTED,
            },
            _ => PHASE_SUBMITTED,
        }
    }

    /// Joins what one entry says of `tasks`; `finished` tells that every task of its job is settled
    /// now.
    ///
    /// # Errors
    /// A mistake of ours: a column of another lattice.
    pub fn apply(
        &mut self,
        entry: &Entry<'_>,
        tasks: &TaskSet,
        finished: bool,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        if let Some(job_id) = entry.ctx.job_id()
            && let [first, ..] = self.jobs
            && let Some(mut row) = self.facts.row(first, job_id)
        {
            let Self { facts, jobs, .. } = self;
            let columns = JOB_COLUMNS.iter().zip(jobs.iter());
            for ((name, _), column) in columns {
                if let Some(delta) = job_delta(name, entry, tasks, finished) {
                    grew |= facts
                        .join_at(&mut row, *column, &delta, entry.seq)?
                        .has_grown();
                }
            }
        }
        if let Some(node_id) = entry.ctx.node_id() {
            let columns = NODE_COLUMNS.iter().zip(self.nodes.iter());
            for ((name, _), column) in columns {
                if let Some(cell) = node_cell(name, entry) {
                    grew |= self.facts.join(*column, node_id, &cell, entry.seq)?;
                }
            }
        }
        Ok(grew)
    }
}

/// What an entry says in a column of its job.
fn job_delta<'e>(
    column: &str,
    entry: &Entry<'e>,
    tasks: &TaskSet,
    finished: bool,
) -> Option<Delta<'e>> {
    let is_submit = entry.kind == KernelKind::SubmitJob;
    let is_start = entry.kind == KernelKind::JobStarted;
    let at = Scalar::Int(entry.stamp.at);
    let max = |value| Delta::Value(LatticeKind::Max, value);
    let once = |value| Delta::Value(LatticeKind::Once, value);
    match column {
        "phase" => {
            let phase = [
                (finished, PHASE_FINISHED),
                (is_start, PHASE_RUNNING),
                (is_submit, PHASE_SUBMITTED),
            ];
            let phase = phase.into_iter().find(|(holds, _)| *holds);
            phase.map(|(_, phase)| max(Scalar::Int(phase)))
        }
        "started" => is_start.then(|| Delta::of_tasks(tasks)),
        "finished_at" => (!entry.settles.is_empty()).then(|| max(at)),
        _ if let Some(outcome) = Outcome::from_wire(column) => {
            let settled = entry.settles.of(outcome);
            (!settled.is_empty()).then(|| Delta::of_tasks(settled))
        }
        _ if !is_submit => None,
        "ns_id" => entry.ctx.ns_id().map(|ns_id| once(Scalar::Str(ns_id))),
        "spec" => {
            let mut text = Vec::with_capacity(256);
            entry.spec.write(&mut text);
            let text = String::from_utf8(text).ok()?;
            Some(once(Scalar::Json(text.into())))
        }
        // A submit has the least stamp, so that a later request about priority always wins.
        "priority" => {
            let priority = Scalar::Int(entry.ctx.priority());
            Some(Delta::Last(Stamp::default(), "", priority))
        }
        "name" => {
            let name = entry.ctx.name()?;
            Some(Delta::Last(entry.stamp, "", Scalar::Str(name)))
        }
        "submitted" => Some(Delta::of_tasks(tasks)),
        "submitted_at" => Some(Delta::Value(LatticeKind::Min, at)),
        _ => None,
    }
}

/// What an entry says in a column of its node.
fn node_cell(column: &str, entry: &Entry<'_>) -> Option<Cell> {
    let epoch = Atom::Int(i64::from(entry.ctx.epoch()));
    let in_epoch = |cell: Cell| Cell::from(Epoch::of(epoch.clone(), cell));
    match (entry.kind, column) {
        (KernelKind::NodeJoined, "epoch") => Some(Max::of(epoch).into()),
        (KernelKind::NodeJoined, "place" | "resources") => {
            let value = atom(entry.spec.get(column)?)?;
            Some(in_epoch(Once::of(value).into()))
        }
        (KernelKind::NodeJoined, "down") => Some(in_epoch(Or(false).into())),
        (KernelKind::NodeLeft | KernelKind::NodeLost, "down") => Some(in_epoch(Or(true).into())),
        (KernelKind::NodeDrained | KernelKind::NodeUndrained, "drained") => {
            let drained = Atom::Bool(entry.kind == KernelKind::NodeDrained);
            let node = entry.ctx.node_id().unwrap_or_default();
            Some(Last::of(entry.stamp, node.into(), drained).into())
        }
        _ => None,
    }
}
