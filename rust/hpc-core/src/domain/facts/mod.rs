//! Facts: tables of cells, indexed by when each cell last changed.
//!
//! | file      | what it holds                                                         |
//! |-----------|-----------------------------------------------------------------------|
//! | `scalar`  | one value, borrowed                                                   |
//! | `delta`   | what one event says of one cell                                       |
//! | `writer`  | writing what one event says of one row                                |
//! | `cells`   | cells as words: joined, read, put back                                |
//! | `store`   | what a word stands for, and what does not fit into one                |
//! | `rows`    | the rows of a table: key, words, last-changed seqs                    |
//! | `changes` | the append-only log of (seq, row), squeezed at twice what is alive    |
//! | `table`   | columns, rows and changes of one table                                |
//! | `codec`   | their bytes, for snapshots                                            |
//! | `pull`    | what changed after a cursor, as JSON                                  |
//!
//! Most of what cells hold is one value, so a cell is a 64-bit word and joins are done on words; a
//! value is copied only where it is kept. Whatever else a cell holds is a [`Cell`] beside the rows,
//! joined by its own code. `tests/laws/packed_facts.rs` holds both against each other.

mod cells;
mod changes;
mod codec;
mod delta;
mod pull;
mod rows;
mod scalar;
mod store;
mod table;
mod writer;

pub use delta::Delta;
pub use pull::{Changed, Page, RowOf};
pub use scalar::Scalar;
pub use writer::{Joined, RowWriter};

use crate::lattice::{Cell, KindMismatch, LatticeKind};
use rows::{Found, RowId};
use store::Store;
use table::Table;

/// The facts of one generator.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    tables: Vec<Table>,
    store: Store,
}

/// Place of a column: table and index within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    table: u16,
    index: u16,
}

/// A row by its key, looked up once for all the cells that an event speaks of.
#[derive(Clone, Copy, Debug)]
pub struct RowRef<'k> {
    table: u16,
    key: &'k str,
    found: Found,
}

impl RowRef<'_> {
    /// Whether there is such a row.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.found.row.is_some()
    }
}

impl Facts {
    /// No tables yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The place of a column; made if it is not there. All are made before the first join.
    pub fn column(&mut self, table: &str, column: &str, kind: LatticeKind) -> Column {
        let t = self.tables.iter().position(|known| known.name == table);
        let t = t.unwrap_or_else(|| {
            self.tables.push(Table::new(table));
            self.tables.len() - 1
        });
        let known = self.tables.get_mut(t);
        let index = known.map_or(0, |table| table.column(column, kind));
        // The type check lets no spec through that has 2^16 tables or columns.
        Column {
            table: u16::try_from(t).unwrap_or(u16::MAX),
            index: u16::try_from(index).unwrap_or(u16::MAX),
        }
    }

    /// Says that most rows have nothing in a column for long: such cells take memory once a row has
    /// something in one of them. To be said before the first join.
    pub fn fill_late(&mut self, column: Column) {
        if let Some(table) = self.tables.get_mut(usize::from(column.table)) {
            table.fill_late(usize::from(column.index));
        }
    }

    /// Has the table of a column told to whoever asks for another one: it says which of its rows are
    /// gone.
    pub fn tell_beside(&mut self, column: Column, other: &str) {
        if let Some(table) = self.tables.get_mut(usize::from(column.table)) {
            table.beside = Some(other.to_owned());
        }
    }

    /// Looks the row of a column's table up; it need not be there.
    #[must_use]
    #[inline]
    pub fn row<'k>(&self, column: Column, key: &'k str) -> Option<RowRef<'k>> {
        let found = self.tables.get(usize::from(column.table))?.rows.find(key);
        Some(RowRef {
            table: column.table,
            key,
            found,
        })
    }

    /// Takes the row of a column's table out, with all its cells; whether it was there. Nobody who
    /// pulls is told of it: whoever does this says it by another cell.
    pub fn take_out(&mut self, column: Column, key: &str) -> bool {
        let Self { tables, store } = self;
        let Some(table) = tables.get_mut(usize::from(column.table)) else {
            return false;
        };
        let Some(row) = table.rows.find(key).row else {
            return false;
        };
        for index in 0..table.kinds.len() {
            if let Some(word) = table.rows.cell(row, index) {
                store.release(word);
            }
        }
        table.rows.take_out(row);
        table.tidy();
        true
    }

    /// Begins to write what one event says of the cells of a row; [`RowWriter::end`] must follow.
    #[inline]
    pub fn write<'f>(&'f mut self, row: &RowRef<'f>, seq: u64) -> Option<RowWriter<'f>> {
        let table = self.tables.get_mut(usize::from(row.table))?;
        let number = table.number(seq);
        Some(RowWriter::new(
            table,
            &mut self.store,
            row.key,
            row.found,
            number,
        ))
    }

    /// Joins a value into a cell at a seq; whether it grew.
    ///
    /// # Errors
    /// As [`RowWriter::join`].
    pub fn join(
        &mut self,
        column: Column,
        key: &str,
        value: &Cell,
        seq: u64,
    ) -> Result<bool, KindMismatch> {
        let Some(row) = self.row(column, key) else {
            return Ok(false);
        };
        let Some(mut writer) = self.write(&row, seq) else {
            return Ok(false);
        };
        let joined = writer.join(column, &Delta::of(value));
        writer.end();
        Ok(joined?.has_grown())
    }

    /// The value of a cell.
    #[must_use]
    pub fn get(&self, column: Column, key: &str) -> Option<Cell> {
        let table = self.tables.get(usize::from(column.table))?;
        let id = table.rows.find(key).row?;
        self.cell(table, id, usize::from(column.index))
    }

    /// Gives every cell that holds more than one value, or may, to `f`.
    pub fn each_wide(&self, f: &mut dyn FnMut(&str, &str, &str, &Cell)) {
        for table in &self.tables {
            for id in table.rows.ids() {
                for (index, column) in table.columns.iter().enumerate() {
                    let word = table.rows.cell(id, index);
                    if let Some(cell) = word.and_then(|word| self.store.cell(word)) {
                        f(&table.name, table.rows.key(id), column, cell);
                    }
                }
            }
        }
    }

    /// Makes a cell of tasks that will hardly change take no more memory than it must.
    pub fn shrink(&mut self, column: Column, key: &str) {
        let table = self.tables.get(usize::from(column.table));
        let word = table.and_then(|table| {
            let id = table.rows.find(key).row?;
            table.rows.cell(id, usize::from(column.index))
        });
        if let Some(Cell::Tasks(tasks)) = word.and_then(|word| self.store.cell_mut(word)) {
            tasks.shrink();
        }
    }

    fn cell(&self, table: &Table, id: RowId, index: usize) -> Option<Cell> {
        let kind = *table.kinds.get(index)?;
        cells::read(&self.store, kind, table.rows.cell(id, index)?)
    }

    /// The tables by name.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.as_str())
    }

    /// The columns of a table.
    #[must_use]
    pub fn columns(&self, table: &str) -> Option<Vec<&str>> {
        let table = self.tables.iter().find(|known| known.name == table)?;
        Some(table.columns.iter().map(String::as_str).collect())
    }

    /// A cell by the names of its place, and the seq at which it last grew.
    #[must_use]
    pub fn find(&self, table: &str, key: &str, column: &str) -> Option<(Cell, u64)> {
        let table = self.tables.iter().find(|known| known.name == table)?;
        let index = table.columns.iter().position(|known| known == column)?;
        let id = table.rows.find(key).row?;
        let cell = self.cell(table, id, index)?;
        Some((cell, table.seq(table.rows.changed(id, index))))
    }

    /// Whether joining facts of the same columns into these would make a cell grow.
    #[must_use]
    pub fn would_grow(&self, delta: &Self) -> bool {
        delta.tables.iter().any(|table| {
            let mut cells = table.rows.ids().flat_map(|id| {
                let columns = table.columns.iter().enumerate();
                columns.map(move |(index, column)| (id, index, column))
            });
            cells.any(|(id, index, column)| {
                let Some(said) = delta.cell(table, id, index) else {
                    return false;
                };
                match self.find(&table.name, table.rows.key(id), column) {
                    Some((mut mine, _)) => mine.join(&said) == Ok(true),
                    None => !said.is_bot(),
                }
            })
        })
    }

    /// Number of rows over all tables.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(Table::bytes).sum::<usize>() + self.store.bytes()
    }
}
