//! Facts: tables of cells, indexed by when each cell last changed.
//!
//! | file      | what it holds                                                         |
//! |-----------|-----------------------------------------------------------------------|
//! | `scalar`  | one value, borrowed                                                   |
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

mod changes;
mod codec;
mod pull;
mod rows;
mod scalar;
mod store;
mod table;

use std::borrow::Cow;

pub use pull::{Changed, Page};
pub use scalar::Scalar;

use crate::lattice::last::{Last, Stamp};
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Cell, KindMismatch, Lattice as _, LatticeKind};
use rows::{Found, RowId};
use store::{ABSENT, Store};
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

    fn kind(&self) -> LatticeKind {
        match self {
            Self::Value(kind, _) => *kind,
            Self::Last(..) => LatticeKind::Last,
            Self::Range(..) => LatticeKind::Tasks,
            Self::Cell(cell) => cell.kind(),
        }
    }

    /// Whether it says no more than nothing.
    fn is_bot(&self) -> bool {
        match self {
            Self::Value(LatticeKind::Or, Scalar::Bool(false)) => true,
            Self::Cell(cell) => cell.is_bot(),
            _ => false,
        }
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

    /// Begins to write what one event says of the cells of a row; [`RowWriter::end`] must follow.
    #[inline]
    pub fn write<'f>(&'f mut self, row: &RowRef<'f>, seq: u64) -> Option<RowWriter<'f>> {
        let table = self.tables.get_mut(usize::from(row.table))?;
        Some(RowWriter {
            number: table.number(seq),
            table,
            store: &mut self.store,
            key: row.key,
            found: row.found,
            has_grown: false,
        })
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
        read(&self.store, kind, table.rows.cell(id, index)?)
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
        let mut grows = false;
        delta.each_cell(&mut |table, key, column, said, _| {
            grows |= match self.find(table, key, column) {
                Some((mut mine, _)) => mine.join(said) == Ok(true),
                None => !said.is_bot(),
            };
        });
        grows
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

impl RowWriter<'_> {
    /// Joins what is said into a cell. What says no more than nothing makes no row.
    ///
    /// # Errors
    /// Where the column is of another lattice; rules are type-checked, so this is a mistake of ours.
    #[inline]
    pub fn join(&mut self, column: Column, delta: &Delta<'_>) -> Result<Joined, KindMismatch> {
        let index = usize::from(column.index);
        let Some(kind) = self.table.kinds.get(index).copied() else {
            return Ok(Joined::Same);
        };
        if delta.kind() != kind {
            let (expected, got) = (kind, delta.kind());
            return Err(KindMismatch { expected, got });
        }
        if delta.is_bot() {
            return Ok(Joined::Same);
        }
        let id = self.id();
        let mut row = self.table.rows.row_mut(id);
        let Some(word) = row.cell(index) else {
            return Ok(Joined::Same);
        };
        let joined = join_word(self.store, word, delta)?;
        if joined.has_grown() {
            row.set_changed(index, self.number);
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
            let mut row = self.table.rows.row_mut(id);
            take(self.store, kind, row.cell(index)?)
        });
        let grew = change(&mut cell);
        let Some(cell) = cell else {
            return grew;
        };
        let id = self.id();
        let mut row = self.table.rows.row_mut(id);
        if let Some(word) = row.cell(index) {
            *word = put(self.store, cell);
        }
        if grew == Ok(true) {
            row.set_changed(index, self.number);
            self.has_grown = true;
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

impl Facts {
    /// Gives every cell to `f` (table, key, column, cell, last changed), table by table in the order
    /// in which the rows were made.
    pub fn each_cell(&self, f: &mut dyn FnMut(&str, &str, &str, &Cell, u64)) {
        for table in &self.tables {
            for id in table.rows.ids() {
                for (index, column) in table.columns.iter().enumerate() {
                    if let Some(cell) = self.cell(table, id, index) {
                        let changed = table.seq(table.rows.changed(id, index));
                        f(&table.name, table.rows.key(id), column, &cell, changed);
                    }
                }
            }
        }
    }
}

/// Joins what is said into the word of a cell of the same kind.
#[inline]
fn join_word(store: &mut Store, word: &mut u64, delta: &Delta<'_>) -> Result<Joined, KindMismatch> {
    let mut short = [0; 8];
    match delta {
        Delta::Value(kind, said) => {
            if *word == ABSENT {
                *word = store.word(said);
                return Ok(Joined::Grew);
            }
            let Some(known) = store.scalar(*word, &mut short) else {
                return join_aside(store, *word, &single(*kind, said));
            };
            let grows = match kind {
                LatticeKind::Max => *said > known,
                LatticeKind::Min => *said < known,
                LatticeKind::Once if *said != known => {
                    let mut once = Cell::Once(Once::of(known.to_atom()));
                    once.join(&single(*kind, said))?;
                    store.release(*word);
                    *word = store.keep(once);
                    return Ok(Joined::GrewWide);
                }
                _ => false, // an `or` is true already
            };
            if grows {
                store.release(*word);
                *word = store.word(said);
                return Ok(Joined::Grew);
            }
            Ok(Joined::Same)
        }
        Delta::Last(stamp, node, said) => {
            let (known_stamp, known_node, value) = store.last(*word);
            if let Some(known) = store.scalar(value, &mut short) {
                let order = (stamp, *node).cmp(&(&known_stamp, known_node));
                if order.then_with(|| said.cmp(&known)).is_le() {
                    return Ok(Joined::Same);
                }
            }
            *word = store.put_last(*word, *stamp, node, said);
            Ok(Joined::Grew)
        }
        Delta::Range(first, last) => {
            let Some(known) = store::range(*word) else {
                if *word == ABSENT {
                    *word = store::of_range(*first, *last);
                    return Ok(Joined::Grew);
                }
                let said = Cell::Tasks(TaskSet::range(*first, *last));
                let joined = join_aside(store, *word, &said)?;
                narrow(store, word);
                return Ok(joined);
            };
            if known.0 <= *first && *last <= known.1 {
                return Ok(Joined::Same);
            }
            if *first <= known.1.saturating_add(1) && known.0 <= last.saturating_add(1) {
                *word = store::of_range(known.0.min(*first), known.1.max(*last));
                return Ok(Joined::Grew);
            }
            let mut tasks = TaskSet::range(known.0, known.1);
            tasks.join(&TaskSet::range(*first, *last));
            *word = store.keep(Cell::Tasks(tasks));
            Ok(Joined::GrewWide)
        }
        Delta::Cell(said) => {
            if store.cell(*word).is_some() {
                let joined = join_aside(store, *word, said)?;
                narrow(store, word);
                return Ok(joined);
            }
            let mut cell = read(store, said.kind(), *word);
            let grew = match &mut cell {
                Some(cell) => cell.join(said)?,
                None => {
                    cell = Some(said.as_ref().clone());
                    true
                }
            };
            if let (true, Some(cell)) = (grew, cell) {
                store.release(*word);
                *word = put(store, cell);
                return Ok(Joined::GrewWide);
            }
            Ok(Joined::Same)
        }
    }
}

/// Joins into a cell that lies beside the rows.
fn join_aside(store: &mut Store, word: u64, said: &Cell) -> Result<Joined, KindMismatch> {
    let grew = match store.cell_mut(word) {
        Some(cell) => cell.join(said)?,
        None => false,
    };
    Ok(if grew { Joined::GrewWide } else { Joined::Same })
}

/// Makes a word of tasks again of what has no gaps any more: else an array whose tasks end in any
/// order would keep its bitmap for ever.
fn narrow(store: &mut Store, word: &mut u64) {
    if let Some(Cell::Tasks(tasks)) = store.cell(*word)
        && let Some((first, last)) = tasks.as_range()
    {
        store.release(*word);
        *word = store::of_range(first, last);
    }
}

fn single(kind: LatticeKind, said: &Scalar<'_>) -> Cell {
    let atom = said.to_atom();
    match kind {
        LatticeKind::Max => Max::of(atom).into(),
        LatticeKind::Min => Min::of(atom).into(),
        LatticeKind::Or => Or(true).into(),
        _ => Once::of(atom).into(),
    }
}

/// The cell that a word stands for.
fn read(store: &Store, kind: LatticeKind, word: u64) -> Option<Cell> {
    let mut short = [0; 8];
    if kind == LatticeKind::Last {
        let (stamp, node, value) = store.last(word);
        let value = store.scalar(value, &mut short)?;
        return Some(Last::of(stamp, node.into(), value.to_atom()).into());
    }
    if let Some(value) = store.scalar(word, &mut short) {
        return Some(single(kind, &value));
    }
    if let Some((first, last)) = store::range(word) {
        return Some(Cell::Tasks(TaskSet::range(first, last)));
    }
    store.cell(word).cloned()
}

/// Takes the cell out of its word, which then stands for nothing.
fn take(store: &mut Store, kind: LatticeKind, word: &mut u64) -> Option<Cell> {
    let cell = match store.cell_mut(*word) {
        // Moved and not copied: what is put back is the same, or more.
        Some(cell) => Some(std::mem::replace(cell, Or(false).into())),
        None => read(store, kind, *word),
    };
    store.release(*word);
    *word = ABSENT;
    cell
}

/// The word of a cell.
fn put(store: &mut Store, cell: Cell) -> u64 {
    match Delta::of(&cell) {
        Delta::Cell(_) => store.keep(cell),
        // Into what is absent every delta goes without being joined.
        delta => {
            let mut word = ABSENT;
            let joined = join_word(store, &mut word, &delta);
            debug_assert!(joined.is_ok());
            word
        }
    }
}
