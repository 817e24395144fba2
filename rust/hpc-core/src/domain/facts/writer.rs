//! Writing what one event says of one row.

use super::Column;
use super::cells::{join_value, join_word, put, read, take};
use super::delta::Delta;
use super::rows::{Found, RowId};
use super::scalar::Scalar;
use super::store::Store;
use super::table::Table;
use crate::lattice::{Cell, KindMismatch, LatticeKind};

/// What a join did to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// Nothing: it held that already.
    Same,
    /// It grew, and holds one value.
    Grew,
    /// It grew, and may hold more than one value.
    GrewWide,
}

impl Joined {
    /// Whether it grew.
    #[must_use]
    pub fn has_grown(self) -> bool {
        self != Self::Same
    }
}

/// Writes what one event says of the cells of one row: the row is found once, and comes once into
/// the change log.
#[derive(Debug)]
pub struct RowWriter<'f> {
    table: &'f mut Table,
    store: &'f mut Store,
    key: &'f str,
    found: Found,
    /// The event's seq, as the table's cells keep it.
    number: u32,
    has_grown: bool,
}

impl<'f> RowWriter<'f> {
    /// Of a row that was looked up; `number` is the event's seq as the table keeps it.
    #[inline]
    pub(super) fn new(
        table: &'f mut Table,
        store: &'f mut Store,
        key: &'f str,
        found: Found,
        number: u32,
    ) -> Self {
        Self {
            table,
            store,
            key,
            found,
            number,
            has_grown: false,
        }
    }

    /// Joins what is said into a cell. What says no more than nothing makes no row.
    ///
    /// # Errors
    /// Where the column is of another lattice; rules are type-checked, so this is a mistake of ours.
    #[inline]
    pub fn join(&mut self, column: Column, delta: &Delta<'_>) -> Result<Joined, KindMismatch> {
        if delta.is_bot() {
            return Ok(Joined::Same);
        }
        let join = |store: &mut Store, word: &mut u64| join_word(store, word, delta);
        self.change(column, delta.kind(), join)
    }

    /// Joins one value into a cell of `max`, `min` or `once`.
    ///
    /// # Errors
    /// As [`RowWriter::join`].
    #[inline]
    pub fn join_value(
        &mut self,
        column: Column,
        kind: LatticeKind,
        said: &Scalar<'_>,
    ) -> Result<Joined, KindMismatch> {
        let join = |store: &mut Store, word: &mut u64| join_value(store, word, kind, said);
        self.change(column, kind, join)
    }

    #[inline]
    fn change(
        &mut self,
        column: Column,
        got: LatticeKind,
        join: impl FnOnce(&mut Store, &mut u64) -> Result<Joined, KindMismatch>,
    ) -> Result<Joined, KindMismatch> {
        let index = usize::from(column.index);
        let Some(expected) = self.table.kinds.get(index).copied() else {
            return Ok(Joined::Same);
        };
        if got != expected {
            return Err(KindMismatch { expected, got });
        }
        let id = self.id();
        let Some(mut cell) = self.table.rows.cell_mut(id, index) else {
            return Ok(Joined::Same);
        };
        let Some(word) = cell.word() else {
            return Ok(Joined::Same);
        };
        let joined = join(self.store, word)?;
        if joined.has_grown() {
            cell.set_changed(self.number);
            self.has_grown = true;
        }
        Ok(joined)
    }

    /// Changes a cell in place; the function returns whether it grew.
    ///
    /// # Errors
    /// What the function returns.
    pub fn update(
        &mut self,
        column: Column,
        change: impl FnOnce(&mut Option<Cell>) -> Result<bool, KindMismatch>,
    ) -> Result<bool, KindMismatch> {
        let index = usize::from(column.index);
        let Some(kind) = self.table.kinds.get(index).copied() else {
            return Ok(false);
        };
        let mut cell = self.found.row.and_then(|id| {
            let mut cell = self.table.rows.cell_mut(id, index)?;
            take(self.store, kind, cell.word()?)
        });
        let grew = change(&mut cell);
        let Some(cell) = cell else {
            return grew;
        };
        let id = self.id();
        if let Some(mut place) = self.table.rows.cell_mut(id, index) {
            if let Some(word) = place.word() {
                *word = put(self.store, cell);
            }
            if grew == Ok(true) {
                place.set_changed(self.number);
                self.has_grown = true;
            }
        }
        grew
    }

    /// The value of a cell, as it is now.
    #[must_use]
    pub fn get(&self, column: Column) -> Option<Cell> {
        let index = usize::from(column.index);
        let kind = *self.table.kinds.get(index)?;
        let word = self.table.rows.cell(self.found.row?, index)?;
        read(self.store, kind, word)
    }

    #[inline]
    fn id(&mut self) -> RowId {
        match self.found.row {
            Some(id) => id,
            None => {
                let id = self.table.rows.make(self.key, self.found);
                self.found.row = Some(id);
                id
            }
        }
    }

    /// Writes the row into the change log where a cell grew; whether one did.
    #[inline]
    pub fn end(self) -> bool {
        if let (true, Some(id)) = (self.has_grown, self.found.row) {
            self.table.note(id, self.number);
        }
        self.has_grown
    }
}
