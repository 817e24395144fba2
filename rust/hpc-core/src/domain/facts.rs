//! Facts: tables of cells, indexed by when each cell last changed.
//!
//! A pull costs what it returns: an append-only log of (seq, row) is searched for the cursor, and
//! each entry gives the cells of its row that were last changed at exactly that seq. An entry of
//! which no cell is left is stale: skipped, and squeezed out once the log is twice as long as the
//! rows. So joining the pages of a pull gives what one pull without a limit gives.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::json_write::{ObjectWriter, write_list, write_str};
use crate::lattice::{Cell, KindMismatch};

/// Below this length the change log is left alone.
const SQUEEZE_MIN: usize = 64;

/// One row: a cell for each column of its table, and the seq at which it last changed (0: never).
#[derive(Clone, Debug)]
struct Row {
    table: u16,
    key: Arc<str>,
    cells: Vec<(Option<Cell>, u64)>,
    /// The seq of its newest entry in the change log.
    logged: u64,
}

#[derive(Clone, Debug)]
struct Table {
    name: String,
    columns: Vec<String>,
    rows: HashMap<Arc<str>, u32>,
}

/// The facts of one generator.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    tables: Vec<Table>,
    rows: Vec<Row>,
    changes: Vec<(u64, u32)>,
    /// Length of the change log at which it is squeezed again.
    squeeze_at: usize,
}

/// Place of a column: table and index within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    table: u16,
    index: u16,
}

/// What a pull returns, and up to where.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// `{table: {row: {column: value}}}` as JSON.
    pub facts: String,
    /// `{table: {row: [column]}}` as JSON, of cells that overflowed; `None` where there are none.
    pub overflow: Option<String>,
    /// The cursor after this page.
    pub cursor: u64,
    /// Whether more has changed after it.
    pub more: bool,
    /// Number of rows in it.
    pub rows: usize,
}

impl Facts {
    /// No tables yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The place of a column; made if it is not there.
    pub fn column(&mut self, table: &str, column: &str) -> Column {
        let t = match self.tables.iter().position(|t| t.name == table) {
            Some(t) => t,
            None => {
                self.tables.push(Table {
                    name: table.to_owned(),
                    columns: Vec::new(),
                    rows: HashMap::new(),
                });
                self.tables.len() - 1
            }
        };
        let columns = self.tables.get_mut(t).map(|t| &mut t.columns);
        let c = columns.map_or(0, |columns| {
            columns.iter().position(|c| c == column).unwrap_or_else(|| {
                columns.push(column.to_owned());
                columns.len() - 1
            })
        });
        // The type check lets no spec through that has 2^16 tables or columns.
        Column {
            table: u16::try_from(t).unwrap_or(u16::MAX),
            index: u16::try_from(c).unwrap_or(u16::MAX),
        }
    }

    /// Joins a value into a cell at a seq; whether it grew.
    ///
    /// # Errors
    /// Where the cell holds another lattice; rules are type-checked, so this is a mistake of ours.
    pub fn join(
        &mut self,
        column: Column,
        key: &str,
        value: &Cell,
        seq: u64,
    ) -> Result<bool, KindMismatch> {
        if value.is_bot() {
            return Ok(false); // what says no more than nothing adds nothing, and makes no row
        }
        self.update(column, key, seq, |cell| match cell {
            Some(cell) => cell.join(value),
            None => {
                *cell = Some(value.clone());
                Ok(true)
            }
        })
    }

    /// Changes a cell in place at a seq; the function returns whether it grew.
    ///
    /// # Errors
    /// What the function returns.
    pub fn update(
        &mut self,
        column: Column,
        key: &str,
        seq: u64,
        change: impl FnOnce(&mut Option<Cell>) -> Result<bool, KindMismatch>,
    ) -> Result<bool, KindMismatch> {
        let Some(id) = self.row(column.table, key) else {
            return Ok(false);
        };
        let Some(row) = self.rows.get_mut(id as usize) else {
            return Ok(false);
        };
        let index = usize::from(column.index);
        if row.cells.len() <= index {
            row.cells.resize(index + 1, (None, 0));
        }
        let Some((cell, changed)) = row.cells.get_mut(index) else {
            return Ok(false);
        };
        let grew = change(cell)?;
        if grew {
            *changed = seq;
            if row.logged != seq {
                row.logged = seq;
                self.changes.push((seq, id));
                self.squeeze();
            }
        }
        Ok(grew)
    }

    /// The value of a cell.
    #[must_use]
    pub fn get(&self, column: Column, key: &str) -> Option<&Cell> {
        let table = self.tables.get(usize::from(column.table))?;
        let row = self.rows.get(*table.rows.get(key)? as usize)?;
        let (cell, _) = row.cells.get(usize::from(column.index))?;
        cell.as_ref()
    }

    /// The tables by name.
    pub fn tables(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().map(|table| table.name.as_str())
    }

    /// The columns of a table.
    #[must_use]
    pub fn columns(&self, table: &str) -> Option<&[String]> {
        let table = self.tables.iter().find(|known| known.name == table)?;
        Some(&table.columns)
    }

    /// A cell by the names of its place, and the seq at which it last grew.
    #[must_use]
    pub fn find(&self, table: &str, key: &str, column: &str) -> Option<(&Cell, u64)> {
        let table = self.tables.iter().find(|known| known.name == table)?;
        let index = table.columns.iter().position(|known| known == column)?;
        let row = self.rows.get(*table.rows.get(key)? as usize)?;
        let (cell, changed) = row.cells.get(index)?;
        Some((cell.as_ref()?, *changed))
    }

    /// Whether joining facts of the same columns into these would make a cell grow.
    #[must_use]
    pub fn would_grow(&self, delta: &Self) -> bool {
        let grows = |row: &Row, index: usize, cell: &Cell| {
            let mine = u16::try_from(index).ok().and_then(|index| {
                let table = row.table;
                self.get(Column { table, index }, &row.key)
            });
            match mine {
                Some(mine) => mine.clone().join(cell) == Ok(true),
                None => !cell.is_bot(),
            }
        };
        delta.rows.iter().any(|row| {
            let cells = row.cells.iter().enumerate();
            let mut said = cells.filter_map(|(i, (cell, _))| Some((i, cell.as_ref()?)));
            said.any(|(index, cell)| grows(row, index, cell))
        })
    }

    /// Number of rows over all tables.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The cells that changed after `cursor`, of at least one seq and about `limit` rows.
    #[must_use]
    pub fn pull(&self, cursor: u64, head: u64, limit: usize, table: Option<&str>) -> Page {
        let table = table.map(|name| self.tables.iter().position(|t| t.name == name));
        let from = self.changes.partition_point(|(seq, _)| *seq <= cursor);
        let mut picked: BTreeMap<(u16, &str), Vec<usize>> = BTreeMap::new();
        let mut end = head;
        let mut more = false;
        let mut last = cursor;
        for (seq, id) in self.changes.get(from..).unwrap_or_default() {
            // A page ends between two seqs, never inside one.
            if *seq != last && picked.len() >= limit {
                end = last;
                more = true;
                break;
            }
            last = *seq;
            let Some(row) = self.rows.get(*id as usize) else {
                continue;
            };
            if table.is_some_and(|t| t != Some(usize::from(row.table))) {
                continue;
            }
            let cells = row.cells.iter().enumerate();
            let changed = cells.filter(|(_, (_, changed))| changed == seq);
            let mut changed = changed.map(|(i, _)| i).peekable();
            if changed.peek().is_some() {
                picked
                    .entry((row.table, &row.key))
                    .or_default()
                    .extend(changed);
            }
        }
        Page {
            facts: self.render(&picked),
            overflow: self.render_overflow(&picked),
            cursor: end,
            more,
            rows: picked.len(),
        }
    }

    fn render(&self, picked: &BTreeMap<(u16, &str), Vec<usize>>) -> String {
        self.render_rows(picked, |out, table, row, cells| {
            let mut object = ObjectWriter::new(out);
            for index in cells {
                let (name, cell) = (table.columns.get(*index), row.cells.get(*index));
                if let (Some(name), Some((Some(cell), _))) = (name, cell) {
                    cell.write_json(object.key(name));
                }
            }
            object.end();
        })
    }

    fn render_overflow(&self, picked: &BTreeMap<(u16, &str), Vec<usize>>) -> Option<String> {
        let overflowed = |row: &Row, index: usize| {
            let cell = row.cells.get(index).and_then(|(cell, _)| cell.as_ref());
            cell.is_some_and(Cell::is_overflowed)
        };
        let mut rows: BTreeMap<(u16, &str), Vec<usize>> = BTreeMap::new();
        for ((table, key), cells) in picked {
            let row = self.row_of(*table, key);
            let cells = cells.iter().copied();
            let mut cells: Vec<usize> = cells
                .filter(|index| row.is_some_and(|row| overflowed(row, *index)))
                .collect();
            cells.sort_unstable(); // equal facts are told alike, whatever changed last
            if !cells.is_empty() {
                rows.insert((*table, key), cells);
            }
        }
        (!rows.is_empty()).then(|| {
            self.render_rows(&rows, |out, table, _, cells| {
                write_list(out, cells, &mut |out, index| {
                    write_str(out, table.columns.get(*index).map_or("", |c| c));
                });
            })
        })
    }

    fn render_rows(
        &self,
        picked: &BTreeMap<(u16, &str), Vec<usize>>,
        write: impl Fn(&mut Vec<u8>, &Table, &Row, &[usize]),
    ) -> String {
        let mut out = vec![b'{'];
        let mut current = None;
        for ((t, key), cells) in picked {
            let (Some(table), Some(row)) = (self.tables.get(usize::from(*t)), self.row_of(*t, key))
            else {
                continue;
            };
            if current == Some(*t) {
                out.push(b',');
            } else {
                if current.is_some() {
                    out.extend_from_slice(b"},");
                }
                write_str(&mut out, &table.name);
                out.extend_from_slice(b":{");
                current = Some(*t);
            }
            write_str(&mut out, key);
            out.push(b':');
            write(&mut out, table, row, cells);
        }
        if current.is_some() {
            out.push(b'}');
        }
        out.push(b'}');
        String::from_utf8_lossy(&out).into_owned()
    }

    fn row_of(&self, table: u16, key: &str) -> Option<&Row> {
        let table = self.tables.get(usize::from(table))?;
        self.rows.get(*table.rows.get(key)? as usize)
    }

    fn row(&mut self, table: u16, key: &str) -> Option<u32> {
        let rows = &mut self.tables.get_mut(usize::from(table))?.rows;
        if let Some(id) = rows.get(key) {
            return Some(*id);
        }
        let id = u32::try_from(self.rows.len()).ok()?;
        let key: Arc<str> = key.into();
        rows.insert(key.clone(), id);
        self.rows.push(Row {
            table,
            key,
            cells: Vec::new(),
            logged: 0,
        });
        Some(id)
    }

    fn squeeze(&mut self) {
        if self.changes.len() < self.squeeze_at.max(SQUEEZE_MIN) {
            return;
        }
        let rows = &self.rows;
        self.changes.retain(|(seq, id)| {
            rows.get(*id as usize)
                .is_some_and(|row| row.cells.iter().any(|(_, changed)| changed == seq))
        });
        // Rows of many columns can leave more than one live entry each, so the bound is twice what
        // is live: each entry is looked at once for every time that it was pushed.
        self.squeeze_at = 2 * self.changes.len().max(self.rows.len());
    }
}

/// Snapshots: the facts cell by cell, each with the seq at which it last changed.
impl Facts {
    /// Gives every cell to `f` (table, key, column, cell, last changed), in the order in which the
    /// rows were made.
    pub fn each_cell(&self, f: &mut dyn FnMut(&str, &str, &str, &Cell, u64)) {
        for row in &self.rows {
            let Some(table) = self.tables.get(usize::from(row.table)) else {
                continue;
            };
            for (column, (cell, changed)) in table.columns.iter().zip(&row.cells) {
                if let Some(cell) = cell {
                    f(&table.name, &row.key, column, cell, *changed);
                }
            }
        }
    }

    /// Puts a cell back as it was; [`Facts::restored`] must follow once all are there.
    pub fn restore_cell(&mut self, table: &str, key: &str, column: &str, cell: Cell, changed: u64) {
        let column = self.column(table, column);
        let Some(id) = self.row(column.table, key) else {
            return;
        };
        let Some(row) = self.rows.get_mut(id as usize) else {
            return;
        };
        let index = usize::from(column.index);
        if row.cells.len() <= index {
            row.cells.resize(index + 1, (None, 0));
        }
        if let Some(place) = row.cells.get_mut(index) {
            *place = (Some(cell), changed);
        }
        row.logged = row.logged.max(changed);
        if changed > 0 {
            self.changes.push((changed, id));
        }
    }

    /// Ends restoring: the change log is put in order. What it had of stale entries is gone, which
    /// no pull can tell.
    pub fn restored(&mut self) {
        self.changes.sort_unstable();
        self.changes.dedup();
        self.squeeze_at = 2 * self.changes.len().max(self.rows.len());
    }
}
