//! Tallies within rules: what an event adds to a count or a sum, also within epochs and maps.
//!
//! Addition is not idempotent, so amounts are never joined: what all rules say of one cell is summed,
//! and added once for each event.

use std::sync::Arc;

use super::readings::{atom, key_text};
use super::rules::EventView;
use crate::domain::facts::{Column, Facts};
use crate::domain::generator::JoinSpec;
use crate::domain::json::Value;
use crate::lattice::value::Atom;
use crate::lattice::{Cell, KindMismatch, LatticeKind};

/// What several rules say of one tally: it counts an event once, so it is summed first.
#[derive(Debug, Default)]
pub(super) struct Tallies(Vec<(Column, String, Tally)>);

impl Tallies {
    pub(super) fn push(&mut self, column: Column, key: &str, tally: Tally) {
        let same = |(c, k, t): &&mut (Column, String, Tally)| {
            *c == column && k == key && t.path == tally.path
        };
        match self.0.iter_mut().find(same) {
            Some((.., before)) => before.amount += tally.amount,
            None => self.0.push((column, key.to_owned(), tally)),
        }
    }

    pub(super) fn add(
        &self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        facts: &mut Facts,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        for (column, key, tally) in self.0.iter().filter(|(.., tally)| tally.amount != 0) {
            let row = facts.row(*column, key);
            let writer = row.and_then(|row| facts.write(&row, event.seq));
            if let Some(mut writer) = writer {
                writer.update(*column, |cell| {
                    let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
                    Ok(tally.add(cell, &tally.path, hub_id, event.seq))
                })?;
                grew |= writer.end();
            }
        }
        Ok(grew)
    }
}

/// Where within a cell a tally stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Within an epoch.
    At(Atom),
    /// At a key of a map.
    Key(Arc<str>),
}

/// What one event adds to a tally.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    lattice: LatticeKind,
    pub(super) amount: i128,
    pub(super) path: Vec<Step>,
}

impl Tally {
    /// The bottom of what a path leads into.
    pub(super) fn bot(&self, path: &[Step]) -> Cell {
        Cell::bot(match path.first() {
            None => self.lattice,
            Some(Step::At(_)) => LatticeKind::Epoch,
            Some(Step::Key(_)) => LatticeKind::Map,
        })
    }

    /// Adds the amount at the end of a path; whether the cell grew. The total of an epoch that is
    /// over is not needed any more, so it is not kept.
    pub(super) fn add(&self, cell: &mut Cell, path: &[Step], hub_id: &Arc<str>, seq: u64) -> bool {
        match (cell, path.split_first()) {
            (Cell::Count(count), None) => count.add(hub_id, seq, self.amount.unsigned_abs()),
            (Cell::Sum(sum), None) => sum.add(hub_id, seq, self.amount),
            (Cell::Map(map), Some((Step::Key(key), rest))) => {
                let inner = map.at_mut(key, || self.bot(rest));
                self.add(inner, rest, hub_id, seq)
            }
            (Cell::Epoch(epoch), Some((Step::At(at), rest))) => match &mut epoch.0 {
                Some((known, _)) if *known > *at => false,
                Some((known, inner)) if known == at => self.add(inner, rest, hub_id, seq),
                begun => {
                    let mut inner = self.bot(rest);
                    self.add(&mut inner, rest, hub_id, seq);
                    *begun = Some((at.clone(), inner));
                    true
                }
            },
            _ => false,
        }
    }
}

impl JoinSpec {
    /// The lattice of the column.
    #[must_use]
    pub fn kind(&self) -> LatticeKind {
        match self {
            Self::Simple { lattice, .. } => *lattice,
            Self::Finite { .. } => LatticeKind::Finite,
            Self::Epoch { .. } => LatticeKind::Epoch,
            Self::Map { .. } => LatticeKind::Map,
        }
    }

    /// Whether it is a count or a sum, or one within epochs and maps.
    pub(super) fn is_tally(&self) -> bool {
        match self {
            Self::Simple { lattice, .. } => {
                matches!(lattice, LatticeKind::Count | LatticeKind::Sum)
            }
            Self::Finite { .. } => false,
            Self::Epoch { join, .. } | Self::Map { join, .. } => join.is_tally(),
        }
    }

    /// Whether it is a once, or one within epochs and maps.
    pub(super) fn has_once(&self) -> bool {
        match self {
            Self::Simple { lattice, .. } => *lattice == LatticeKind::Once,
            Self::Finite { .. } => false,
            Self::Epoch { join, .. } | Self::Map { join, .. } => join.has_once(),
        }
    }

    /// What the rule adds to a tally; a count takes nothing below 0.
    pub(super) fn tally(&self, event: &EventView<'_>, mut path: Vec<Step>) -> Option<Tally> {
        match self {
            Self::Simple { lattice, value } => {
                let amount = match (lattice, value.read(event).as_deref()) {
                    (LatticeKind::Count, Some(Value::Int(n))) => (*n).max(0).into(),
                    (LatticeKind::Sum, Some(Value::Int(n))) => (*n).into(),
                    _ => 0,
                };
                Some(Tally {
                    lattice: *lattice,
                    amount,
                    path,
                })
            }
            Self::Finite { .. } => None,
            Self::Epoch { at, join } => {
                path.push(Step::At(atom(&*at.read(event)?)?));
                join.tally(event, path)
            }
            Self::Map { key, join } => {
                path.push(Step::Key(key_text(key, event)?.as_ref().into()));
                join.tally(event, path)
            }
        }
    }
}
