//! The kernel's own facts: generator `kernel`, tables `jobs`, `nodes` and `forgotten`.
//!
//! Each is a join of what one log entry says, its `settles` included, so no reader repeats a
//! verdict. The first round has the columns `submitted`, `started`, `succeeded`, `failed` and
//! `cancelled`; what further rounds were begun for and came to stands in `rounds`, under `1/tasks`,
//! `1/succeeded` and so on. `held` says of a range of tasks, `*` being all, whether they are held; for a
//! task the word with the greatest stamp holds.
//!
//! What is forgotten is the top of its row: once `forgotten` has a row of a job, `jobs` has none, and
//! nothing that is said of the job, before or after, makes one. With a top a lattice is one still, so
//! these facts too are the same in whatever order entries come.

use std::borrow::Cow;

use super::attempts::{Outcome, Settles};
use super::conflicts::{Conflicts, can_conflict};
use super::readings::atom;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::facts::{Column, Delta, Facts, Joined, Scalar};
use crate::domain::json::{Map, Value};
use crate::lattice::epoch::Epoch;
use crate::lattice::last::{Last, Stamp};
use crate::lattice::map::MapOf;
use crate::lattice::max::Max;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Atom, Cell, KindMismatch, LatticeKind};

/// Id of the kernel's generator.
pub const KERNEL_GID: &str = "kernel";

/// The table of jobs that were forgotten, and its column.
pub const FORGOTTEN: &str = "forgotten";
const OUTCOME: &str = "outcome";

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
    jobs: [Column; JOB_COLUMNS.len()],
    nodes: [Column; NODE_COLUMNS.len()],
    /// What became of a job that was forgotten.
    outcome: Column,
}

/// The columns of `jobs`, in the order of their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobColumn {
    NsId,
    Spec,
    Priority,
    Name,
    Phase,
    Submitted,
    Started,
    Succeeded,
    Failed,
    Cancelled,
    SubmittedAt,
    FinishedAt,
    Held,
    Rounds,
    Priorities,
}

const JOB_COLUMNS: [(&str, LatticeKind); 15] = [
    ("ns_id", LatticeKind::Once),
    ("spec", LatticeKind::Once),
    ("priority", LatticeKind::Last),
    ("name", LatticeKind::Last),
    ("phase", LatticeKind::Max),
    ("submitted", LatticeKind::Tasks),
    ("started", LatticeKind::Tasks),
    ("succeeded", LatticeKind::Tasks),
    ("failed", LatticeKind::Tasks),
    ("cancelled", LatticeKind::Tasks),
    ("submitted_at", LatticeKind::Min),
    ("finished_at", LatticeKind::Max),
    ("held", LatticeKind::Map),
    ("rounds", LatticeKind::Map),
    ("priorities", LatticeKind::Map),
];
/// Columns of which a job that waits has nothing.
const FILLED_LATE: [&str; 8] = [
    "started",
    "succeeded",
    "failed",
    "cancelled",
    "finished_at",
    "held",
    "rounds",
    "priorities",
];
const NODE_COLUMNS: [(&str, LatticeKind); 6] = [
    ("epoch", LatticeKind::Max),
    ("place", LatticeKind::Epoch),
    ("resources", LatticeKind::Epoch),
    ("down", LatticeKind::Epoch),
    ("drained", LatticeKind::Last),
    ("labels", LatticeKind::Epoch),
];

impl Default for KernelFacts {
    fn default() -> Self {
        let mut facts = Facts::new();
        let jobs = JOB_COLUMNS.map(|(name, kind)| facts.column("jobs", name, kind));
        for (column, (name, _)) in jobs.into_iter().zip(JOB_COLUMNS) {
            if FILLED_LATE.contains(&name) {
                facts.fill_late(column);
            }
        }
        let nodes = NODE_COLUMNS.map(|(name, kind)| facts.column("nodes", name, kind));
        let outcome = facts.column(FORGOTTEN, OUTCOME, LatticeKind::Once);
        facts.tell_beside(outcome, "jobs");
        Self {
            facts,
            outcome,
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
        let column = self.jobs.get(JobColumn::Phase as usize);
        match column.and_then(|column| self.facts.get(*column, job_id)) {
            Some(Cell::Max(max)) => match max.value() {
                Some(Atom::Int(phase)) => *phase,
                _ => PHASE_SUBMITTED,
            },
            _ => PHASE_SUBMITTED,
        }
    }

    /// When a task of a job was settled last, ms since 1970.
    #[must_use]
    pub fn finished_at(&self, job_id: &str) -> Option<i64> {
        let column = self.jobs.get(JobColumn::FinishedAt as usize)?;
        match self.facts.get(*column, job_id)? {
            Cell::Max(max) => match max.value()? {
                Atom::Int(at) => Some(*at),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a job was forgotten.
    #[must_use]
    pub fn is_forgotten(&self, job_id: &str) -> bool {
        let row = self.facts.row(self.outcome, job_id);
        row.is_some_and(|row| row.is_there())
    }

    /// The settled tasks of a job that is over, by outcome; they take no more memory than they must.
    #[must_use]
    pub fn settled(&mut self, job_id: &str) -> [TaskSet; 3] {
        Outcome::ALL.map(|outcome| {
            let Some(column) = self.jobs.get(JobColumn::of(outcome) as usize) else {
                return TaskSet::new();
            };
            self.facts.shrink(*column, job_id);
            match self.facts.get(*column, job_id) {
                Some(Cell::Tasks(tasks)) => tasks,
                _ => TaskSet::new(),
            }
        })
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
        let mut grew = self.forget(entry)?;
        let Self {
            facts,
            conflicts,
            jobs,
            nodes,
            outcome,
        } = self;
        if let Some(job_id) = entry.ctx.job_id() {
            let [first, ..] = jobs;
            // Beside the row of a forgotten job there is none, so only a new one is looked for there.
            let row = facts.row(*first, job_id).filter(|row| {
                let left = || facts.row(*outcome, job_id);
                row.is_there() || !left().is_some_and(|left| left.is_there())
            });
            if let Some(mut writer) = row.and_then(|row| facts.write(&row, entry.seq)) {
                say_job(entry, tasks, finished, &mut |place, delta| {
                    let Some(column) = jobs.get(place as usize) else {
                        return Ok(());
                    };
                    let joined = writer.join(*column, delta)?;
                    if let (Joined::GrewWide, JobColumn::NsId | JobColumn::Spec) = (joined, place)
                        && let Some(cell) = writer.get(*column)
                    {
                        conflicts.note("jobs", job_id, place.name(), &cell);
                    }
                    Ok(())
                })?;
                grew |= writer.end();
            }
        }
        if let Some(node_id) = entry.ctx.node_id() {
            for (name, cell) in node_cells(entry) {
                let place = NODE_COLUMNS.iter().position(|(known, _)| *known == name);
                let Some(column) = place.and_then(|place| nodes.get(place)) else {
                    continue;
                };
                let has_grown = facts.join(*column, node_id, &cell, entry.seq)?;
                if has_grown
                    && can_conflict(&cell)
                    && let Some(cell) = facts.get(*column, node_id)
                {
                    conflicts.note("nodes", node_id, name, &cell);
                }
                grew |= has_grown;
            }
        }
        Ok(grew)
    }

    /// Puts the row of `forgotten` in place of the one of `jobs`, where an entry says so; whether it is
    /// new.
    fn forget(&mut self, entry: &Entry<'_>) -> Result<bool, KindMismatch> {
        let (Some(job_id), Some(outcome)) = (entry.ctx.job_id(), outcome_said(entry)) else {
            return Ok(false);
        };
        let grew = self.facts.join(self.outcome, job_id, &outcome, entry.seq)?;
        let [first, ..] = self.jobs;
        if self.facts.take_out(first, job_id) {
            for (column, _) in JOB_COLUMNS {
                self.conflicts.drop("jobs", job_id, column);
            }
        }
        Ok(grew)
    }

    /// What one entry says of a column, whatever is known; `None` where it says nothing of it.
    pub(super) fn said(
        entry: &Entry<'_>,
        tasks: &TaskSet,
        finished: bool,
        [table, column]: [&str; 2],
    ) -> Result<Option<Cell>, KindMismatch> {
        let mut said: Option<Cell> = None;
        let mut join = |cell: Cell| match &mut said {
            Some(said) => said.join(&cell).map(|_| ()),
            None => {
                said = Some(cell);
                Ok(())
            }
        };
        match table {
            "jobs" => say_job(entry, tasks, finished, &mut |place, delta| {
                if place.name() == column {
                    join(delta.to_cell())?;
                }
                Ok(())
            })?,
            "nodes" => {
                let cells = node_cells(entry).into_iter();
                for (_, cell) in cells.filter(|(name, _)| *name == column) {
                    join(cell)?;
                }
            }
            FORGOTTEN if column == OUTCOME => {
                outcome_said(entry).map(join).transpose()?.unwrap_or(())
            }
            _ => {}
        }
        Ok(said)
    }
}

/// What an entry says that became of a job which is forgotten by it.
fn outcome_said(entry: &Entry<'_>) -> Option<Cell> {
    let said = (entry.kind == KernelKind::ForgetJob).then_some(entry.spec)?;
    Some(Cell::Once(Once::of(atom(said.get(OUTCOME)?)?)))
}

impl JobColumn {
    fn name(self) -> &'static str {
        JOB_COLUMNS.get(self as usize).map_or("", |(name, _)| name)
    }

    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// Says what an entry says of its job, column by column.
fn say_job(
    entry: &Entry<'_>,
    tasks: &TaskSet,
    finished: bool,
    say: &mut dyn FnMut(JobColumn, &Delta<'_>) -> Result<(), KindMismatch>,
) -> Result<(), KindMismatch> {
    let max = |n| Delta::Value(LatticeKind::Max, Scalar::Int(n));
    let once = |value| Delta::Value(LatticeKind::Once, value);
    match entry.kind {
        KernelKind::SubmitJob => {
            say(JobColumn::Phase, &max(PHASE_SUBMITTED))?;
            if let Some(ns_id) = entry.ctx.ns_id() {
                say(JobColumn::NsId, &once(Scalar::Str(ns_id)))?;
            }
            let spec = entry.spec.text();
            let spec = spec.map_or_else(|| entry.spec.to_text().into(), Cow::Borrowed);
            say(JobColumn::Spec, &once(Scalar::Json(spec)))?;
            // A submit has the least stamp, so that a later request about priority always wins.
            let priority = Scalar::Int(entry.ctx.priority());
            say(
                JobColumn::Priority,
                &Delta::Last(Stamp::default(), "", priority),
            )?;
            if let Some(name) = entry.ctx.name() {
                let name = Delta::Last(entry.stamp, "", Scalar::Str(name));
                say(JobColumn::Name, &name)?;
            }
            if entry.ctx.map().get("hold") == Some(&Value::Bool(true)) {
                say(JobColumn::Held, &held(Stamp::default(), None, true))?;
            }
            say(JobColumn::Submitted, &Delta::of_tasks(tasks))?;
            let at = Delta::Value(LatticeKind::Min, Scalar::Int(entry.stamp.at));
            say(JobColumn::SubmittedAt, &at)?;
        }
        KernelKind::JobStarted => {
            say(JobColumn::Phase, &max(PHASE_RUNNING))?;
            say(JobColumn::Started, &Delta::of_tasks(tasks))?;
        }
        KernelKind::HoldJob | KernelKind::ReleaseJob => {
            let is_held = entry.kind == KernelKind::HoldJob;
            let said = held(entry.stamp, entry.ctx.tasks().as_ref(), is_held);
            say(JobColumn::Held, &said)?;
        }
        KernelKind::SetPriority => {
            let priority = entry.ctx.priority();
            if let Some(tasks) = entry.ctx.tasks() {
                let said = said_of(entry.stamp, Some(&tasks), Atom::Int(priority));
                say(JobColumn::Priorities, &said)?;
            } else {
                let priority = Scalar::Int(priority);
                say(JobColumn::Priority, &Delta::Last(entry.stamp, "", priority))?;
            }
        }
        KernelKind::RetryJob => {
            if let Some(round) = entry.spec.int("round") {
                say(JobColumn::Rounds, &in_round(round, "tasks", tasks))?;
            }
        }
        _ => {}
    }
    for outcome in Outcome::ALL {
        let settled = entry.settles.in_first_round(outcome);
        if !settled.is_empty() {
            say(JobColumn::of(outcome), &Delta::of_tasks(&settled))?;
        }
    }
    for (round, outcome, tasks) in entry.settles.later() {
        let said = in_round(i64::from(*round), outcome.wire(), tasks);
        say(JobColumn::Rounds, &said)?;
    }
    if !entry.settles.tasks.is_empty() {
        // A job gets old from when the Hub heard of its end: its sender's clock may be years behind.
        let heard_at = entry.spec.int("heard_at").unwrap_or(entry.stamp.at);
        say(JobColumn::FinishedAt, &max(heard_at.max(entry.stamp.at)))?;
    }
    if finished {
        say(JobColumn::Phase, &max(PHASE_FINISHED))?;
    }
    Ok(())
}

/// That tasks, or all, are held or not.
fn held(stamp: Stamp, tasks: Option<&TaskSet>, is_held: bool) -> Delta<'static> {
    said_of(stamp, tasks, Atom::Bool(is_held))
}

/// The newest word on some tasks, or on all.
fn said_of(stamp: Stamp, tasks: Option<&TaskSet>, said: Atom) -> Delta<'static> {
    let of = tasks.map_or_else(|| "*".to_owned(), TaskSet::to_string);
    let said = Last::of(stamp, "".into(), said);
    let said = MapOf::from_cell(of.as_str().into(), said.into());
    Delta::Cell(Cow::Owned(said.into()))
}

/// What became of tasks in a further round.
fn in_round(round: i64, what: &str, tasks: &TaskSet) -> Delta<'static> {
    let key = format!("{round}/{what}");
    let said = MapOf::from_cell(key.as_str().into(), Cell::Tasks(tasks.clone()));
    Delta::Cell(Cow::Owned(said.into()))
}

fn node_cells(entry: &Entry<'_>) -> Vec<(&'static str, Cell)> {
    let epoch = Atom::Int(i64::from(entry.ctx.epoch()));
    let in_epoch = |cell: Cell| Cell::from(Epoch::of(epoch.clone(), cell));
    match entry.kind {
        KernelKind::NodeJoined => {
            let mut cells = vec![("epoch", Cell::Max(Max::of(epoch.clone())))];
            for field in ["place", "resources", "labels"] {
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
