//! One table of facts: its columns, its rows, and the log of what changed in it.
//!
//! Seqs are kept as 32-bit numbers from a base. Where a log outgrows them, the base moves on, and
//! the cells that changed before it get new numbers in the same order: a reader whose cursor is
//! older is told some cells again, and never too few.

use super::changes::Changes;
use super::rows::{RowId, Rows};
use crate::lattice::LatticeKind;

/// Below this length the change log is left alone.
const SQUEEZE_MIN: usize = 64;
/// How far the newest seq is from a new base.
const REBASED: u64 = 1 << 31;

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// The table that is not told without this one.
    pub beside: Option<String>,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Their lattices.
    pub kinds: Vec<LatticeKind>,
    /// Of each column whether it is filled late.
    are_late: Vec<bool>,
    /// Its rows.
    pub rows: Rows,
    /// When which row changed.
    pub changes: Changes,
    base: u64,
    /// Whether something has ever changed: from then on the base stays, whichever rows are taken out.
    is_based: bool,
    /// Length of the change log at which it is squeezed again.
    squeeze_at: usize,
}

impl Table {
    /// A table without columns.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            beside: None,
            columns: Vec::new(),
            kinds: Vec::new(),
            are_late: Vec::new(),
            rows: Rows::new(&[]),
            changes: Changes::default(),
            base: 0,
            is_based: false,
            squeeze_at: 0,
        }
    }

    /// Whether who asks for one table, or for all, is told this one.
    pub fn is_asked_for(&self, asked: Option<&str>) -> bool {
        asked.is_none_or(|asked| self.name == asked || self.beside.as_deref() == Some(asked))
    }

    /// The index of a column; made if it is not there. All are made before the first row.
    pub fn column(&mut self, name: &str, kind: LatticeKind) -> usize {
        if let Some(known) = self.columns.iter().position(|known| known == name) {
            return known;
        }
        self.columns.push(name.to_owned());
        self.kinds.push(kind);
        self.are_late.push(false);
        self.rows = Rows::new(&self.are_late);
        self.columns.len() - 1
    }

    /// Says that a column is filled late. This, too, is said before the first row is made.
    pub fn fill_late(&mut self, column: usize) {
        if let Some(is_late) = self.are_late.get_mut(column) {
            *is_late = true;
        }
        self.rows = Rows::new(&self.are_late);
    }

    /// A seq as cells keep it; at least 1. What is before the base comes out as the first after it.
    #[inline]
    pub fn number(&mut self, seq: u64) -> u32 {
        if !self.is_based {
            self.base = seq.saturating_sub(1);
        }
        if let Ok(number) = u32::try_from(seq.saturating_sub(self.base)) {
            return number.max(1);
        }
        self.rebase(seq - REBASED);
        u32::try_from(seq - self.base).unwrap_or(u32::MAX).max(1)
    }

    /// The seq of a number.
    pub fn seq(&self, number: u32) -> u64 {
        self.base + u64::from(number)
    }

    /// The number of a cursor: what changed after it has a greater one.
    pub fn cursor(&self, seq: u64) -> u32 {
        u32::try_from(seq.saturating_sub(self.base)).unwrap_or(u32::MAX)
    }

    /// Notes in the change log that cells of a row changed.
    #[inline]
    pub fn note(&mut self, row: RowId, number: u32) {
        self.is_based = true;
        if !self.changes.ends_with((number, row)) {
            self.changes.push((number, row));
            if self.changes.len() >= self.squeeze_at.max(SQUEEZE_MIN) {
                self.squeeze();
            }
        }
    }

    /// From where seqs are counted; `None` where nothing has ever changed.
    pub fn base(&self) -> Option<u64> {
        self.is_based.then_some(self.base)
    }

    /// Before cells are put back: from where their seqs are counted.
    pub fn restoring(&mut self, base: Option<u64>) {
        self.is_based = base.is_some();
        self.base = base.unwrap_or_default();
    }

    /// After a row was taken out: squeezes holes out once they are many. What the log has of rows
    /// that are gone is stale, as what has changed since is.
    pub fn tidy(&mut self) {
        if !self.rows.is_sparse() {
            return;
        }
        let (rows, moved) = self.rows.squeezed();
        let former = std::mem::replace(&mut self.rows, rows);
        self.changes.squeeze(|(at, row)| {
            let moved = moved.get(row as usize).copied().flatten()?;
            former.has_changed(row, at).then_some((at, moved))
        });
        self.squeeze_at = 2 * self.changes.len().max(self.rows.len());
    }

    fn set_changed(&mut self, row: RowId, column: usize, number: u32) {
        if let Some(mut cell) = self.rows.cell_mut(row, column) {
            cell.set_changed(number);
        }
    }

    /// Puts back when a cell changed, by its number; [`Table::restored`] must follow.
    pub fn restore(&mut self, row: RowId, column: usize, number: u32) {
        self.set_changed(row, column, number);
        self.changes.push((number, row));
    }

    /// Puts the change log in order.
    pub fn restored(&mut self) {
        self.changes.sort();
        self.squeeze_at = 2 * self.changes.len().max(self.rows.len());
    }

    fn squeeze(&mut self) {
        let rows = &self.rows;
        self.changes
            .squeeze(|(at, row)| rows.has_changed(row, at).then_some((at, row)));
        // Rows of many columns can leave more than one live entry each, so the bound is twice what
        // is live: each entry is looked at once for every time that it was pushed.
        self.squeeze_at = 2 * self.changes.len().max(self.rows.len());
    }

    /// Moves the base on. Numbers never pass those that are yet to be changed: what was the n-th
    /// distinct one becomes at most n, and they are taken in ascending order. Stale entries do not
    /// count: after a restore they are not there.
    fn rebase(&mut self, base: u64) {
        let moved = u32::try_from(base - self.base).unwrap_or(u32::MAX);
        let (rows, columns) = (&mut self.rows, self.columns.len());
        let (mut former, mut rank) = (0, 0_u32);
        self.changes.squeeze(|(at, row)| {
            if !rows.has_changed(row, at) {
                return None;
            }
            if at != former {
                former = at;
                rank += 1;
            }
            let number = at.saturating_sub(moved).max(rank);
            for column in 0..columns {
                if rows.changed(row, column) == at
                    && let Some(mut cell) = rows.cell_mut(row, column)
                {
                    cell.set_changed(number);
                }
            }
            Some((number, row))
        });
        self.base = base;
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.changes.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(table: &mut Table, row: RowId, column: usize, seq: u64) {
        let number = table.number(seq);
        table.set_changed(row, column, number);
        table.note(row, number);
    }

    #[test]
    fn a_base_that_moves_keeps_the_order_and_hides_nothing() {
        let mut table = Table::new("t");
        table.column("a", LatticeKind::Max);
        table.column("b", LatticeKind::Max);
        let mut last = Vec::new();
        for key in 0..5_u32 {
            let name = key.to_string();
            let found = table.rows.find(&name);
            let row = table.rows.make(&name, found);
            let seq = 1 + u64::from(key) * 900_000_000;
            change(&mut table, row, 0, seq);
            change(&mut table, row, 1, seq + 7);
            last.extend([(row, 0, seq), (row, 1, seq + 7)]);
        }
        let far = u64::from(u32::MAX) + 10;
        change(&mut table, 0, 0, far);
        last.remove(0);
        last.push((0, 0, far));
        assert_eq!(table.base, far - REBASED);
        let told: Vec<u64> = last
            .iter()
            .map(|(row, column, _)| table.seq(table.rows.changed(*row, *column)))
            .collect();
        assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
        for (told, (.., seq)) in told.iter().zip(&last) {
            assert!(told >= seq, "a cursor before the change would miss it");
        }
        assert_eq!(told.last(), Some(&far));
        assert_eq!(table.changes.len(), last.len() + 1, "one is stale");
    }

    #[test]
    fn rows_that_are_taken_out_leave_the_others_as_they_are() {
        let mut table = Table::new("t");
        table.column("a", LatticeKind::Max);
        let late = table.column("b", LatticeKind::Max);
        table.fill_late(late);
        let rows = 20_000_u32;
        let has_late = |n: u32| n.is_multiple_of(3);
        for n in 0..rows {
            let name = n.to_string();
            let found = table.rows.find(&name);
            let row = table.rows.make(&name, found);
            if let Some(mut cell) = table.rows.cell_mut(row, 0)
                && let Some(word) = cell.word()
            {
                *word = u64::from(n);
            }
            change(&mut table, row, 0, 10 + u64::from(n));
            if has_late(n) {
                change(&mut table, row, late, 10 + u64::from(n));
            }
        }
        let bytes = table.rows.bytes();
        let is_kept = |n: u32| n.is_multiple_of(7);
        for n in (0..rows).filter(|n| !is_kept(*n)) {
            if let Some(row) = table.rows.find(&n.to_string()).row {
                table.rows.take_out(row);
                table.tidy();
            }
        }
        assert_eq!(table.rows.len(), rows.div_ceil(7) as usize);
        assert!(table.rows.bytes() < bytes / 2, "squeezed");
        let mut told = Vec::new();
        for at in 0..table.changes.len() {
            let Some((number, row)) = table.changes.get(at) else {
                continue;
            };
            if table.rows.has_changed(row, number) {
                told.push((table.seq(number), table.rows.key(row).to_owned()));
            }
        }
        let kept: Vec<u32> = (0..rows).filter(|n| is_kept(*n)).collect();
        let expected: Vec<_> = kept
            .iter()
            .map(|n| (10 + u64::from(*n), n.to_string()))
            .collect();
        assert_eq!(told, expected);
        for n in 0..rows {
            let row = table.rows.find(&n.to_string()).row;
            let cell = row.and_then(|row| table.rows.cell(row, 0));
            assert_eq!(cell, is_kept(n).then_some(u64::from(n)));
            let told = row.map_or(0, |row| table.rows.changed(row, late));
            assert_eq!(told > 0, is_kept(n) && has_late(n));
        }
    }
}
