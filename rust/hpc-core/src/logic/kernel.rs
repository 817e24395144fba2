//! The kernel's own facts: generator `kernel`, tables `jobs` and `nodes`.
//!
//! Each is a join of what one log entry says, its `settles` included, so no reader repeats a
//! verdict. Round 0, the only one so far, has the columns `submitted`, `started`, `succeeded`,
//! `failed` and `cancelled`.

use super::attempts::{Outcome, Settles};
use super::conflicts::{Conflicts, can_conflict};
use super::rules::atom;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::facts::{Column, Facts};
use crate::domain::json::{Map, Value};
use crate::lattice::epoch::Epoch;
use crate::lattice::last::{Last, Stamp};
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Atom, Cell, KindMismatch};

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
    conflicts: Conflicts,
    jobs: [Column; 13],
    nodes: [Column; 5],
}

const JOB_COLUMNS: [&str; 13] = [
    "ns_id",
    "spec",
    "priority",
    "held",
    "name",
    "phase",
    "submitted",
    "started",
    "succeeded",
    "failed",
    "cancelled",
    "submitted_at",
    "finished_at",
];
const NODE_COLUMNS: [&str; 5] = ["epoch", "place", "resources", "down", "drained"];

impl Default for KernelFacts {
    fn default() -> Self {
        let mut facts = Facts::new();
        let jobs = JOB_COLUMNS.map(|name| facts.column("jobs", name));
        let nodes = NODE_COLUMNS.map(|name| facts.column("nodes", name));
        Self {
            facts,
            conflicts: Conflicts::default(),
            jobs,
            nodes,
        }
    }
}

impl KernelFacts {
    /// The facts.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Reads facts back; what contradicts itself is listed again.
    ///
    /// # Errors
    /// Those of `read`.
    pub(super) fn restore<E>(
        &mut self,
        read: impl FnOnce(&mut Facts) -> Result<(), E>,
    ) -> Result<(), E> {
        read(&mut self.facts)?;
        self.conflicts = Conflicts::of(&self.facts);
        Ok(())
    }

    /// The cells that contradict themselves.
    #[must_use]
    pub fn conflicts(&self) -> &Conflicts {
        &self.conflicts
    }

    /// The phase of a job; as a fact it never falls, also where a job gets further tasks.
    #[must_use]
    pub fn phase(&self, job_id: &str) -> i64 {
        let place = JOB_COLUMNS.iter().position(|known| *known == "phase");
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
        if let Some(job_id) = entry.ctx.job_id() {
            for (name, cell) in job_cells(entry, tasks, finished) {
                let column = self.job_column(name);
                let has_grown = self.facts.join(column, job_id, &cell, entry.seq)?;
                if has_grown && can_conflict(&cell) {
                    self.note("jobs", job_id, name, column);
                }
                grew |= has_grown;
            }
        }
        if let Some(node_id) = entry.ctx.node_id() {
            for (name, cell) in node_cells(entry) {
                let column = self.node_column(name);
                let has_grown = self.facts.join(column, node_id, &cell, entry.seq)?;
                if has_grown && can_conflict(&cell) {
                    self.note("nodes", node_id, name, column);
                }
                grew |= has_grown;
            }
        }
        Ok(grew)
    }

    fn note(&mut self, table: &str, key: &str, name: &str, column: Column) {
        if let Some(cell) = self.facts.get(column, key) {
            self.conflicts.note(table, key, name, cell);
        }
    }

    /// What one entry says of a column, whatever is known; `None` where it says nothing of it.
    pub(super) fn said(
        entry: &Entry<'_>,
        tasks: &TaskSet,
        finished: bool,
        [table, column]: [&str; 2],
    ) -> Result<Option<Cell>, KindMismatch> {
        let cells = match table {
            "jobs" => job_cells(entry, tasks, finished),
            "nodes" => node_cells(entry),
            _ => Vec::new(),
        };
        let mut said: Option<Cell> = None;
        for (_, cell) in cells.into_iter().filter(|(name, _)| *name == column) {
            match &mut said {
                Some(said) => said.join(&cell).map(|_| ())?,
                None => said = Some(cell),
            }
        }
        Ok(said)
    }

    fn job_column(&mut self, name: &str) -> Column {
        let place = JOB_COLUMNS.iter().position(|known| *known == name);
        let known = place.and_then(|place| self.jobs.get(place)).copied();
        known.unwrap_or_else(|| self.facts.column("jobs", name))
    }

    fn node_column(&mut self, name: &str) -> Column {
        let place = NODE_COLUMNS.iter().position(|known| *known == name);
        let known = place.and_then(|place| self.nodes.get(place)).copied();
        known.unwrap_or_else(|| self.facts.column("nodes", name))
    }
}

fn job_cells(entry: &Entry<'_>, tasks: &TaskSet, finished: bool) -> Vec<(&'static str, Cell)> {
    let mut cells: Vec<(&'static str, Cell)> = Vec::new();
    let phase = |n| ("phase", Cell::Max(Max::of(Atom::Int(n))));
    match entry.kind {
        KernelKind::SubmitJob => {
            cells.push(phase(PHASE_SUBMITTED));
            if let Some(ns_id) = entry.ctx.ns_id() {
                cells.push(("ns_id", Cell::Once(Once::of(Atom::from(ns_id)))));
            }
            if let Some(spec) = atom(&Value::Map(entry.spec.clone())) {
                cells.push(("spec", Cell::Once(Once::of(spec))));
            }
            // A submit has the least stamp, so that a later request about priority always wins.
            let priority = Atom::Int(entry.ctx.priority());
            cells.push(("priority", last(Stamp::default(), "", priority)));
            if let Some(name) = entry.ctx.name() {
                cells.push(("name", last(entry.stamp, "", Atom::from(name))));
            }
            cells.push(("submitted", Cell::Tasks(tasks.clone())));
            let at = Atom::Int(entry.stamp.at);
            cells.push(("submitted_at", Cell::Min(Min::of(at))));
        }
        KernelKind::JobStarted => {
            cells.push(phase(PHASE_RUNNING));
            cells.push(("started", Cell::Tasks(tasks.clone())));
        }
        _ => {}
    }
    for outcome in Outcome::ALL {
        let settled = entry.settles.of(outcome);
        if !settled.is_empty() {
            cells.push((outcome.wire(), Cell::Tasks(settled.clone())));
        }
    }
    if !entry.settles.is_empty() {
        let at = Atom::Int(entry.stamp.at);
        cells.push(("finished_at", Cell::Max(Max::of(at))));
    }
    if finished {
        cells.push(phase(PHASE_FINISHED));
    }
    cells
}

fn node_cells(entry: &Entry<'_>) -> Vec<(&'static str, Cell)> {
    let epoch = Atom::Int(i64::from(entry.ctx.epoch()));
    let in_epoch = |cell: Cell| Cell::from(Epoch::of(epoch.clone(), cell));
    match entry.kind {
        KernelKind::NodeJoined => {
            let mut cells = vec![("epoch", Cell::Max(Max::of(epoch.clone())))];
            for field in ["place", "resources"] {
                if let Some(value) = entry.spec.get(field).and_then(atom) {
                    cells.push((field, in_epoch(Cell::Once(Once::of(value)))));
                }
            }
            cells.push(("down", in_epoch(Cell::Or(Or(false)))));
            cells
        }
        KernelKind::NodeLeft | KernelKind::NodeLost => {
            vec![("down", in_epoch(Cell::Or(Or(true))))]
        }
        KernelKind::NodeDrained | KernelKind::NodeUndrained => {
            let drained = Atom::Bool(entry.kind == KernelKind::NodeDrained);
            let node = entry.ctx.node_id().unwrap_or_default();
            vec![("drained", last(entry.stamp, node, drained))]
        }
        _ => Vec::new(),
    }
}

fn last(stamp: Stamp, node: &str, value: Atom) -> Cell {
    Cell::Last(Last::of(stamp, node.into(), value))
}
