//! The rows of one table: found by key, each one piece of memory.
//!
//! A row is so many 64-bit words: where its key lies, a word for each cell, then for each cell the
//! seq at which it last changed, two to a word. Rows and keys lie in segments that never move, so
//! that growing copies nothing. A row that was taken out leaves a hole; holes are squeezed out once
//! they are more than half, and the order of the others stays.

use crate::domain::index::{Index, hash};

/// Rows of a segment.
const SEGMENT: usize = 1024;
/// Bytes of a segment of keys; a longer key has one of its own.
const KEY_SEGMENT: usize = 1 << 16;
/// Bits of a key's length in the word that says where it lies.
const LENGTH_BITS: u32 = 28;
/// A seq from the table's base on takes so many bits of a word.
const SEQ_BITS: usize = 32;
/// Stands in place of a row's key where the row was taken out.
const HOLE: u64 = u64::MAX;
/// Fewer holes than these are let be.
const HOLES_MIN: usize = 1024;

/// The id of a row: its place in the order in which the rows were made.
pub type RowId = u32;

/// Where the key of a row is, or would be.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    hash: u32,
    /// The row, if there is one.
    pub row: Option<RowId>,
}

/// One row that is being changed.
#[derive(Debug)]
pub struct RowMut<'r> {
    row: &'r mut [u64],
    /// Where the last-changed seqs begin.
    changed: usize,
}

impl RowMut<'_> {
    /// The word of a cell.
    #[inline]
    pub fn cell(&mut self, column: usize) -> Option<&mut u64> {
        self.row.get_mut(1 + column)
    }

    /// Says that the cell of a column changed.
    #[inline]
    pub fn set_changed(&mut self, column: usize, at: u32) {
        let shift = column % 2 * SEQ_BITS;
        if let Some(word) = self.row.get_mut(self.changed + column / 2) {
            *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(at) << shift;
        }
    }
}

/// The rows.
#[derive(Clone, Debug)]
pub struct Rows {
    columns: usize,
    /// Words of a row.
    stride: usize,
    segments: Vec<Vec<u64>>,
    /// Places of rows, holes among them.
    len: usize,
    holes: usize,
    keys: Vec<Vec<u8>>,
    index: Index,
}

impl Rows {
    /// No rows yet, of so many cells.
    pub fn new(columns: usize) -> Self {
        Self {
            columns,
            stride: 1 + columns + columns.div_ceil(2),
            segments: Vec::new(),
            len: 0,
            holes: 0,
            keys: Vec::new(),
            index: Index::default(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len - self.holes
    }

    /// Looks a key up.
    pub fn find(&self, key: &str) -> Found {
        let hash = hash(key.as_bytes()) as u32;
        let row = self
            .index
            .find(hash, |row| self.key_bytes(row) == Some(key.as_bytes()));
        Found { hash, row }
    }

    /// Takes a row out; whoever calls has released what its words speak of.
    pub fn take_out(&mut self, row: RowId) {
        let words = self.row_mut(row).row;
        if let Some((key, rest)) = words.split_first_mut()
            && *key != HOLE
        {
            *key = HOLE;
            rest.fill(0);
            self.holes += 1;
        }
    }

    /// Whether more than half of it are holes.
    pub fn is_sparse(&self) -> bool {
        self.holes > HOLES_MIN && 2 * self.holes > self.len
    }

    /// The same rows without holes, and the new id of each row.
    pub fn squeezed(&self) -> (Self, Vec<Option<RowId>>) {
        let mut squeezed = Self::new(self.columns);
        let ids = 0..RowId::try_from(self.len).unwrap_or(RowId::MAX);
        let moved = ids.map(|id| {
            let key = std::str::from_utf8(self.key_bytes(id)?).ok()?;
            let found = squeezed.find(key);
            let moved = squeezed.make(key, found);
            let to = squeezed.row_mut(moved).row.iter_mut();
            for (to, from) in to.zip(self.row(id)).skip(1) {
                *to = *from;
            }
            Some(moved)
        });
        let moved = moved.collect();
        (squeezed, moved)
    }

    /// Makes the row of a key that was looked up and not found.
    pub fn make(&mut self, key: &str, found: Found) -> RowId {
        let row = RowId::try_from(self.len).unwrap_or(RowId::MAX);
        if self.len.is_multiple_of(SEGMENT) {
            let rows = if self.len == 0 { 4 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(rows * self.stride));
        }
        let key_word = self.keep_key(key);
        if let Some(segment) = self.segments.last_mut() {
            let end = segment.len() + self.stride;
            segment.push(key_word);
            segment.resize(end, 0);
        }
        self.len += 1;
        self.index.insert(found.hash, row);
        row
    }

    fn keep_key(&mut self, key: &str) -> u64 {
        let has_room = |keys: &Vec<u8>| keys.len() + key.len() <= KEY_SEGMENT;
        if !self.keys.last().is_some_and(has_room) {
            let capacity = if self.keys.is_empty() {
                64
            } else {
                KEY_SEGMENT
            };
            self.keys.push(Vec::with_capacity(capacity));
        }
        let segment = self.keys.len() - 1;
        let Some(keys) = self.keys.last_mut() else {
            return 0;
        };
        let start = segment * KEY_SEGMENT + keys.len();
        keys.extend_from_slice(key.as_bytes());
        (start as u64) << LENGTH_BITS | key.len() as u64
    }

    /// The key of a row.
    pub fn key(&self, row: RowId) -> &str {
        std::str::from_utf8(self.key_bytes(row).unwrap_or_default()).unwrap_or_default()
    }

    /// The key of a row; `None` of a hole.
    fn key_bytes(&self, row: RowId) -> Option<&[u8]> {
        let word = self.row(row).first().copied().unwrap_or_default();
        if word == HOLE {
            return None;
        }
        let start = usize::try_from(word >> LENGTH_BITS).unwrap_or(usize::MAX);
        let length = (word & ((1 << LENGTH_BITS) - 1)) as usize;
        let from = start % KEY_SEGMENT;
        let keys = self.keys.get(start / KEY_SEGMENT);
        let bytes = keys.and_then(|keys| keys.get(from..from + length));
        Some(bytes.unwrap_or_default())
    }

    /// The ids of all rows.
    pub fn ids(&self) -> impl Iterator<Item = RowId> {
        let ids = 0..RowId::try_from(self.len).unwrap_or(RowId::MAX);
        ids.filter(|row| self.row(*row).first() != Some(&HOLE))
    }

    fn row(&self, row: RowId) -> &[u64] {
        let row = row as usize;
        let from = (row % SEGMENT) * self.stride;
        let segment = self.segments.get(row / SEGMENT);
        segment
            .and_then(|segment| segment.get(from..from + self.stride))
            .unwrap_or_default()
    }

    /// One row, to be changed.
    #[inline]
    pub fn row_mut(&mut self, row: RowId) -> RowMut<'_> {
        let row = row as usize;
        let from = (row % SEGMENT) * self.stride;
        let segment = self.segments.get_mut(row / SEGMENT);
        let row = segment.and_then(|segment| segment.get_mut(from..from + self.stride));
        RowMut {
            row: row.unwrap_or_default(),
            changed: 1 + self.columns,
        }
    }

    /// The word of a cell.
    pub fn cell(&self, row: RowId, column: usize) -> Option<u64> {
        self.row(row).get(1 + column).copied()
    }

    /// When the cell of a column last changed, from the table's base; 0: never.
    pub fn changed(&self, row: RowId, column: usize) -> u32 {
        let word = self.row(row).get(1 + self.columns + column / 2);
        (word.copied().unwrap_or_default() >> (column % 2 * SEQ_BITS)) as u32
    }

    /// Whether a cell of the row last changed then.
    pub fn has_changed(&self, row: RowId, at: u32) -> bool {
        let words = self.row(row).get(1 + self.columns..).unwrap_or_default();
        let mut words = words.iter();
        words.any(|word| *word as u32 == at || (*word >> SEQ_BITS) as u32 == at)
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.segments.iter().map(Vec::capacity).sum();
        let keys: usize = self.keys.iter().map(Vec::capacity).sum();
        rows * size_of::<u64>() + keys + self.index.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_events_from_before_a_generator_may_be_longer_than_a_segment() {
        let mut rows = Rows::new(1);
        let lengths = [
            3,
            40_000,
            KEY_SEGMENT - 1,
            KEY_SEGMENT,
            KEY_SEGMENT + 5,
            1 << 20,
            7,
            0,
        ];
        let keys: Vec<String> = lengths
            .into_iter()
            .zip('a'..)
            .map(|(length, letter)| letter.to_string().repeat(length))
            .collect();
        for (row, key) in (0..).zip(&keys) {
            let found = rows.find(key);
            assert_eq!(found.row, None);
            assert_eq!(rows.make(key, found), row);
        }
        for (row, key) in (0..).zip(&keys) {
            assert_eq!(rows.find(key).row, Some(row));
            assert!(rows.key(row) == key, "a key of {} bytes", key.len());
        }
    }
}
