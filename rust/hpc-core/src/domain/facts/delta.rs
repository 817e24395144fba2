//! What one event says of one cell, borrowed from the event.

use std::borrow::Cow;

use super::cells::single;
use super::scalar::Scalar;
use crate::lattice::last::{Last, Stamp};
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Cell, LatticeKind};

/// What one event says of one cell.
#[derive(Clone, Debug)]
pub enum Delta<'e> {
    /// One value of `max`, `min`, `or` or `once`.
    Value(LatticeKind, Scalar<'e>),
    /// A value of `last`: stamp, node, value.
    Last(Stamp, &'e str, Scalar<'e>),
    /// Tasks from one to another, both included.
    Range(u32, u32),
    /// Anything else.
    Cell(Cow<'e, Cell>),
}

impl<'e> Delta<'e> {
    /// What a cell says.
    #[must_use]
    pub fn of(cell: &'e Cell) -> Self {
        match cell {
            Cell::Max(Max(Some(atom))) => Self::Value(LatticeKind::Max, Scalar::of_atom(atom)),
            Cell::Min(Min(Some(atom))) => Self::Value(LatticeKind::Min, Scalar::of_atom(atom)),
            Cell::Or(Or(true)) => Self::Value(LatticeKind::Or, Scalar::Bool(true)),
            Cell::Once(once) if !once.is_overflowed() => match once.values() {
                [atom] => Self::Value(LatticeKind::Once, Scalar::of_atom(atom)),
                _ => Self::Cell(Cow::Borrowed(cell)),
            },
            Cell::Last(last) => match last.said() {
                Some(said) => Self::Last(said.stamp, &said.node, Scalar::of_atom(&said.value)),
                None => Self::Cell(Cow::Borrowed(cell)),
            },
            Cell::Tasks(tasks) => match tasks.as_range() {
                Some((first, last)) => Self::Range(first, last),
                None => Self::Cell(Cow::Borrowed(cell)),
            },
            _ => Self::Cell(Cow::Borrowed(cell)),
        }
    }

    /// What tasks say.
    #[must_use]
    pub fn of_tasks(tasks: &TaskSet) -> Self {
        match tasks.as_range() {
            Some((first, last)) => Self::Range(first, last),
            None => Self::Cell(Cow::Owned(Cell::Tasks(tasks.clone()))),
        }
    }

    /// The same as a cell.
    #[must_use]
    pub fn to_cell(&self) -> Cell {
        match self {
            Self::Value(kind, value) => single(*kind, value),
            Self::Last(stamp, node, value) => {
                Last::of(*stamp, (*node).into(), value.to_atom()).into()
            }
            Self::Range(first, last) => Cell::Tasks(TaskSet::range(*first, *last)),
            Self::Cell(cell) => cell.as_ref().clone(),
        }
    }

    pub(super) fn kind(&self) -> LatticeKind {
        match self {
            Self::Value(kind, _) => *kind,
            Self::Last(..) => LatticeKind::Last,
            Self::Range(..) => LatticeKind::Tasks,
            Self::Cell(cell) => cell.kind(),
        }
    }

    /// Whether it says no more than nothing.
    pub(super) fn is_bot(&self) -> bool {
        match self {
            Self::Value(LatticeKind::Or, Scalar::Bool(false)) => true,
            Self::Cell(cell) => cell.is_bot(),
            _ => false,
        }
    }
}
