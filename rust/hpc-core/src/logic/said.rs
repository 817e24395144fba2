//! Said: what one event says of one cell, and whether the cell grows by it.
//!
//! Of a generator it is what the rules say, read one by one, so that it can be told which rule it
//! was. Of the kernel it is what the live state makes of the entry, since a report on what nobody
//! leased says nothing; a state of its own takes the entries of one row only. Neither changes any
//! facts: whoever asks holds the cell.

use std::sync::Arc;

use super::attempts::Settles;
use super::kernel::{Entry, FORGOTTEN, KernelFacts};
use super::plan::OwnKinds;
use super::readings::said;
use super::rules::{Compiled, EventView, Rules};
use super::state::State;
use super::tallies::Tally;
use crate::domain::entry::StoredEvent;
use crate::domain::event::{Ctx, KernelKind};
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Cell, KindMismatch};

/// Where a cell stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub table: String,
    pub key: String,
    pub column: String,
}

/// What one event says of a cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The join of what is no tally; it may be a bottom, which says nothing.
    cell: Option<Cell>,
    tallies: Vec<Tally>,
    /// The rules that say it, by their places in the spec.
    pub rules: Vec<usize>,
    /// Why it is evidence in the log and no fact.
    pub evidence: Option<&'static str>,
}

impl Said {
    /// Joins it into a cell, as the engine does; whether the cell grew.
    pub fn join_into(
        &self,
        cell: &mut Option<Cell>,
        hub_id: &Arc<str>,
        seq: u64,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        if self.evidence.is_some() {
            return Ok(false);
        }
        if let Some(said) = self.cell.as_ref().filter(|said| !said.is_bot()) {
            grew |= match cell {
                Some(cell) => cell.join(said)?,
                None => {
                    *cell = Some(said.clone());
                    true
                }
            };
        }
        for tally in self.tallies.iter().filter(|tally| tally.amount != 0) {
            let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
            grew |= tally.add(cell, &tally.path, hub_id, seq);
        }
        Ok(grew)
    }

    /// As a cell of its own, to be shown: an amount of 0 is one too.
    pub fn shown(&self, hub_id: &Arc<str>, seq: u64) -> Option<Cell> {
        let mut cell = self.cell.clone();
        for tally in &self.tallies {
            let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
            tally.add(cell, &tally.path, hub_id, seq);
        }
        cell
    }
}

impl Rules {
    /// The rows that an event leads to, each with the rule's place in the spec.
    pub(super) fn rows<'e>(
        &'e self,
        event: &'e EventView<'e>,
    ) -> impl Iterator<Item = (&'e str, std::borrow::Cow<'e, str>)> {
        self.of(event)
            .filter_map(|(_, found)| Some((found.rule.table.as_str(), found.rule.row_key(event)?)))
    }

    /// What an event says of a cell; `None` where no rule speaks of it.
    pub(super) fn said(
        &self,
        event: &EventView<'_>,
        place: &Place,
    ) -> Result<Option<Said>, KindMismatch> {
        let mut found = Said::default();
        for (index, Compiled { rule, targets, .. }) in self.of(event) {
            let is_here = rule.table == place.table
                && rule.row_key(event).is_some_and(|key| key == *place.key);
            if !is_here {
                continue;
            }
            let here = targets.iter().find(|target| target.name == place.column);
            let Some(join) = here.map(|target| &target.join) else {
                continue;
            };
            if join.is_tally() {
                let Some(tally) = join.tally(event, Vec::new()) else {
                    continue;
                };
                match found.tallies.iter_mut().find(|t| t.path == tally.path) {
                    Some(before) => before.amount += tally.amount,
                    None => found.tallies.push(tally),
                }
            } else {
                let Some(delta) = said(join, event) else {
                    continue;
                };
                match &mut found.cell {
                    Some(cell) => cell.join(&delta).map(|_| ())?,
                    None => found.cell = Some(delta),
                }
            }
            found.rules.push(index);
        }
        Ok((!found.rules.is_empty()).then_some(found))
    }
}

/// What entries say of one cell of the kernel, with the live state that it takes to know.
#[derive(Debug)]
pub(super) struct Witness {
    /// Of the entries that were met: jobs and nodes of one row.
    state: State,
    /// Kinds of namespaces that act as one of the kernel's.
    own_kinds: OwnKinds,
}

const NEVER_LEASED: &str = "evidence in the log: its node had not been given these tasks";
const NEVER_JOINED: &str = "evidence in the log: its node had not joined under this epoch";
const SETTLES_NOTHING: &str = "settles nothing: no task of it was open, or it is not final";

impl Witness {
    pub fn new(hub_id: &str, own_kinds: OwnKinds) -> Self {
        Self {
            state: State::new(hub_id),
            own_kinds,
        }
    }

    /// What an entry says of a cell, from the entries of this row before it; each must come once.
    pub fn said(
        &mut self,
        event: &StoredEvent<'_>,
        seq: u64,
        place: &Place,
    ) -> Result<Option<Said>, KindMismatch> {
        let settles = event.settles.map(Settles::from_map).unwrap_or_default();
        let Some(entry) = self.entry(event, &settles, seq, place) else {
            return Ok(None);
        };
        let is_job = place.table != "nodes";
        if let Some(node_id) = entry.ctx.node_id().filter(|_| is_job) {
            // Of its joining the entries of a job do not tell; what it was given they do.
            self.state.nodes.find_or_make(node_id);
        }
        let column = [place.table.as_str(), place.column.as_str()];
        let (tasks, finished) = self.state.apply_entry(&entry);
        let mut said = Said::default();
        if let Some(tasks) = &tasks {
            said.cell = KernelFacts::said(&entry, tasks, finished, column)?;
        }
        if said.cell.is_none() {
            let told = entry.ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
            said.cell = KernelFacts::said(&entry, &told, false, column)?;
            said.evidence = Some(if is_job { NEVER_LEASED } else { NEVER_JOINED });
        }
        if said.cell.is_none() && settles.tasks.is_empty() && ends(entry.kind, column) {
            said.evidence = Some(SETTLES_NOTHING);
            return Ok(Some(said));
        }
        Ok(said.cell.is_some().then_some(said))
    }

    /// What an entry says of a cell by itself.
    pub fn told(
        &self,
        event: &StoredEvent<'_>,
        seq: u64,
        place: &Place,
    ) -> Result<Option<Cell>, KindMismatch> {
        let settles = event.settles.map(Settles::from_map).unwrap_or_default();
        let Some(entry) = self.entry(event, &settles, seq, place) else {
            return Ok(None);
        };
        let tasks = entry.ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
        KernelFacts::said(&entry, &tasks, false, [&place.table, &place.column])
    }

    fn entry<'e>(
        &self,
        event: &StoredEvent<'e>,
        settles: &'e Settles,
        seq: u64,
        place: &Place,
    ) -> Option<Entry<'e>> {
        let ctx = Ctx::new(event.ctx);
        let row = match place.table.as_str() {
            "jobs" | FORGOTTEN => ctx.job_id(),
            _ => ctx.node_id(),
        };
        if row != Some(&place.key) {
            return None; // most events speak of other rows
        }
        Some(Entry {
            seq,
            stamp: event.stamp,
            kind: self.own_kinds.kernel_kind(event.kind, event.ctx)?,
            ctx,
            spec: event.spec,
            settles,
        })
    }
}

/// Whether an entry of a kind could have settled tasks, and so have spoken of a column.
fn ends(kind: KernelKind, [table, column]: [&str; 2]) -> bool {
    let by_report = ["succeeded", "failed", "finished_at"];
    table == "jobs"
        && match kind {
            KernelKind::JobFinished => by_report.contains(&column),
            KernelKind::AttemptLost => column == "failed",
            KernelKind::CancelJob => column == "cancelled",
            _ => false,
        }
}
