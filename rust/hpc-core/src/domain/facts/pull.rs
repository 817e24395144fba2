//! What changed after a cursor, as JSON.
//!
//! A pull costs what it returns: the change log of each table is searched for the cursor, and what
//! follows names the rows. A page ends between two seqs, and tells the cells that last changed
//! within it, each as it is now: so joining the pages gives what one pull without a limit gives.

use hashbrown::HashSet;

use super::Facts;
use super::rows::RowId;
use super::store::{self, Store};
use super::table::Table;
use crate::domain::json_write::{ObjectWriter, write_list, write_str};
use crate::lattice::LatticeKind;
use crate::lattice::tasks::TaskSet;

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

/// One row, or one cell of it.
#[derive(Clone, Copy, Debug)]
pub struct RowOf<'p> {
    /// Its table.
    pub table: &'p str,
    /// Its key.
    pub row: &'p str,
    /// Only the cell of this column.
    pub column: Option<&'p str>,
}

/// What changed in a span of the log, found and not yet written.
#[derive(Debug)]
pub struct Changed<'f> {
    rows: Vec<(usize, &'f str, RowId)>,
    after: u64,
    end: u64,
    more: bool,
}

impl Changed<'_> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }
}

impl Facts {
    /// The cells that changed after `cursor`, of at least one seq and about `limit` rows.
    #[must_use]
    pub fn pull(&self, cursor: u64, head: u64, limit: usize, table: Option<&str>) -> Page {
        let mut changed = self.changed_after(cursor, head, limit, table);
        // Equal facts are told alike, whatever changed last.
        changed.rows.sort_unstable();
        Page {
            facts: self.render(&changed, |_, _| true),
            overflow: self.render_overflow(&changed, |_, _| true),
            cursor: changed.end,
            more: changed.more,
            rows: changed.rows.len(),
        }
    }

    /// The cells of one row that changed after `cursor`, or of one column of it: one look at the row,
    /// however much else has changed. Of a table that is told with the one that is named the whole row.
    #[must_use]
    pub fn pull_row(&self, cursor: u64, head: u64, of: RowOf<'_>) -> Page {
        let tables = self.tables.iter().enumerate();
        let tables = tables.filter(|(_, known)| known.is_asked_for(Some(of.table)));
        let is_wanted = |table: &Table, name: &str| {
            table.name != of.table || of.column.is_none_or(|column| column == name)
        };
        let rows = tables.filter_map(|(t, table)| {
            let row = table.rows.find(of.row).row?;
            let mut told = told(table, row, cursor, head);
            let has_changed = told.any(|(name, ..)| is_wanted(table, name));
            has_changed.then(|| (t, table.rows.key(row), row))
        });
        let mut changed = Changed {
            rows: rows.collect(),
            after: cursor,
            end: head,
            more: false,
        };
        changed.rows.sort_unstable();
        Page {
            facts: self.render(&changed, is_wanted),
            overflow: self.render_overflow(&changed, is_wanted),
            cursor: head,
            more: false,
            rows: changed.rows.len(),
        }
    }

    /// The rows that changed after `cursor`, and how far they go.
    #[must_use]
    pub fn changed_after(
        &self,
        cursor: u64,
        head: u64,
        limit: usize,
        table: Option<&str>,
    ) -> Changed<'_> {
        let tables = self.tables.iter().enumerate();
        let tables = tables.filter(|(_, known)| known.is_asked_for(table));
        // Where each table's log is read on.
        let mut reading: Vec<(usize, &Table, usize)> = tables
            .map(|(t, table)| (t, table, table.changes.after(table.cursor(cursor))))
            .collect();
        let left = reading
            .iter()
            .map(|(_, table, at)| table.changes.len() - at);
        let mut seen = HashSet::with_capacity_and_hasher(
            left.sum::<usize>().min(limit),
            foldhash::fast::FixedState::default(),
        );
        let mut changed = Changed {
            rows: Vec::with_capacity(seen.capacity().min(limit)),
            after: cursor,
            end: head,
            more: false,
        };
        let mut last = cursor;
        loop {
            let next = reading.iter_mut().filter_map(|reading| {
                let (number, row) = reading.1.changes.get(reading.2)?;
                Some((reading.1.seq(number), number, row, reading))
            });
            let Some((seq, number, row, reading)) = next.min_by_key(|(seq, ..)| *seq) else {
                return changed;
            };
            // A page ends between two seqs, never inside one.
            if seq != last && changed.rows.len() >= limit {
                changed.end = last;
                changed.more = true;
                return changed;
            }
            last = seq;
            let (t, table) = (reading.0, reading.1);
            reading.2 += 1;
            if table.rows.has_changed(row, number) && seen.insert((t, row)) {
                changed.rows.push((t, table.rows.key(row), row));
            }
        }
    }

    fn render(&self, changed: &Changed<'_>, is_wanted: impl Fn(&Table, &str) -> bool) -> String {
        self.render_rows(changed, |out, table, row| {
            let mut object = ObjectWriter::new(out);
            let told = told(table, row, changed.after, changed.end);
            for (name, kind, word) in told.filter(|(name, ..)| is_wanted(table, name)) {
                write_cell(&self.store, kind, word, object.key(name));
            }
            object.end();
        })
    }

    fn render_overflow(
        &self,
        changed: &Changed<'_>,
        is_wanted: impl Fn(&Table, &str) -> bool,
    ) -> Option<String> {
        let rows = changed.rows.iter().copied();
        let rows = rows.filter(|(t, _, row)| {
            self.tables.get(*t).is_some_and(|table| {
                let mut names = self.overflowed(table, *row, changed);
                names.any(|name| is_wanted(table, name))
            })
        });
        let rows: Vec<_> = rows.collect();
        (!rows.is_empty()).then(|| {
            let only = Changed { rows, ..*changed };
            self.render_rows(&only, |out, table, row| {
                let names = self.overflowed(table, row, &only);
                let names = names.filter(|name| is_wanted(table, name));
                write_list(out, names, &mut |out, name| write_str(out, name));
            })
        })
    }

    fn overflowed<'t>(
        &self,
        table: &'t Table,
        row: RowId,
        span: &Changed<'_>,
    ) -> impl Iterator<Item = &'t str> {
        told(table, row, span.after, span.end).filter_map(|(name, _, word)| {
            let cell = self.store.cell(word)?;
            cell.is_overflowed().then_some(name)
        })
    }

    fn render_rows(
        &self,
        changed: &Changed<'_>,
        write: impl Fn(&mut Vec<u8>, &Table, RowId),
    ) -> String {
        let mut out = Vec::with_capacity(64 + 64 * changed.rows.len());
        out.push(b'{');
        let mut current = None;
        for (t, key, row) in &changed.rows {
            let Some(table) = self.tables.get(*t) else {
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
            write(&mut out, table, *row);
        }
        if current.is_some() {
            out.push(b'}');
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default() // the writer emits UTF-8 only
    }
}

/// The cells of a row that last changed after one seq and up to another.
fn told<'t>(
    table: &'t Table,
    row: RowId,
    after: u64,
    end: u64,
) -> impl Iterator<Item = (&'t str, LatticeKind, u64)> + use<'t> {
    let (after, end) = (table.cursor(after), table.cursor(end));
    let columns = table.columns.iter().zip(&table.kinds).enumerate();
    columns.filter_map(move |(index, (name, kind))| {
        let at = table.rows.changed(row, index);
        if at <= after || at > end {
            return None;
        }
        Some((name.as_str(), *kind, table.rows.cell(row, index)?))
    })
}

fn write_cell(store: &Store, kind: LatticeKind, word: u64, out: &mut Vec<u8>) {
    let mut short = [0; 8];
    let word = match kind {
        LatticeKind::Last => store.last(word).2,
        _ => word,
    };
    if let Some(value) = store.scalar(word, &mut short) {
        if kind == LatticeKind::Once {
            out.push(b'[');
        }
        value.write_json(out);
        if kind == LatticeKind::Once {
            out.push(b']');
        }
    } else if let Some((first, last)) = store::range(word) {
        let tasks = TaskSet::range(first, last);
        write_str(out, &tasks.to_string());
    } else if let Some(cell) = store.cell(word) {
        cell.write_json(out);
    }
}
