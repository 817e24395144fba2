//! The rows of one table: found by key, each one piece of memory.
//!
//! A row is so many 64-bit words: where its key lies, a word for each cell, then for each cell the
//! seq at which it last changed, two to a word. Cells of columns that are filled late lie in an annex,
//! made alike, which a row gets with the first of them: a million jobs that wait take half the memory.
//! Rows, annexes and keys lie in segments that never move, so that growing copies nothing. A row that
//! was taken out leaves a hole; holes are squeezed out once they are more than half, and the order of
//! the others stays.

use super::store::ABSENT;
use crate::domain::index::{Index, hash};

/// Rows, or annexes, of a segment.
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

/// Where the cell of a column lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    in_annex: bool,
    index: usize,
}

/// So many cells, and after them the seqs at which they changed, each half a word.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    cells: usize,
    /// Words before the first cell.
    before: usize,
    words: usize,
}

impl Layout {
    /// `before` words, then cells, then their seqs and as many more halves.
    fn new(before: usize, cells: usize, more_halves: usize) -> Self {
        Self {
            cells,
            before,
            words: before + cells + (cells + more_halves).div_ceil(2),
        }
    }

    /// The half of a word: one for each cell, in their order, then the further ones.
    fn half(&self, words: &[u64], index: usize) -> u32 {
        let word = words.get(self.before + self.cells + index / 2);
        (word.copied().unwrap_or_default() >> (index % 2 * SEQ_BITS)) as u32
    }

    #[inline]
    fn set_half(&self, words: &mut [u64], index: usize, half: u32) {
        let shift = index % 2 * SEQ_BITS;
        if let Some(word) = words.get_mut(self.before + self.cells + index / 2) {
            *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(half) << shift;
        }
    }

    fn cell(&self, words: &[u64], index: usize) -> Option<u64> {
        words.get(self.before + index).copied()
    }

    fn has_half(&self, words: &[u64], half: u32) -> bool {
        (0..self.cells).any(|index| self.half(words, index) == half)
    }
}

/// Pieces of memory of one length, by number.
#[derive(Clone, Debug, Default)]
struct Pieces {
    words: usize,
    segments: Vec<Vec<u64>>,
    len: usize,
}

impl Pieces {
    fn new(words: usize) -> Self {
        Self {
            words,
            ..Self::default()
        }
    }

    /// Adds one of zeros; its number.
    fn push(&mut self) -> u32 {
        if self.len.is_multiple_of(SEGMENT) {
            let pieces = if self.len == 0 { 4 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(pieces * self.words));
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.resize(segment.len() + self.words, 0);
        }
        self.len += 1;
        u32::try_from(self.len - 1).unwrap_or(u32::MAX)
    }

    #[inline]
    fn get(&self, number: u32) -> &[u64] {
        let number = number as usize;
        let from = (number % SEGMENT) * self.words;
        let segment = self.segments.get(number / SEGMENT);
        segment
            .and_then(|segment| segment.get(from..from + self.words))
            .unwrap_or_default()
    }

    #[inline]
    fn get_mut(&mut self, number: u32) -> &mut [u64] {
        let number = number as usize;
        let from = (number % SEGMENT) * self.words;
        let segment = self.segments.get_mut(number / SEGMENT);
        segment
            .and_then(|segment| segment.get_mut(from..from + self.words))
            .unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        let segments = self.segments.iter();
        segments.map(Vec::capacity).sum::<usize>() * size_of::<u64>()
    }
}

/// One cell that is being changed.
#[derive(Debug)]
pub struct CellMut<'r> {
    words: &'r mut [u64],
    layout: Layout,
    index: usize,
}

impl CellMut<'_> {
    /// Its word.
    #[inline]
    pub fn word(&mut self) -> Option<&mut u64> {
        self.words.get_mut(self.layout.before + self.index)
    }

    /// Says that it changed.
    #[inline]
    pub fn set_changed(&mut self, at: u32) {
        self.layout.set_half(self.words, self.index, at);
    }
}

/// The rows.
#[derive(Clone, Debug)]
pub struct Rows {
    places: Vec<Place>,
    layout: Layout,
    annex: Layout,
    rows: Pieces,
    annexes: Pieces,
    holes: usize,
    keys: Vec<Vec<u8>>,
    index: Index,
}

impl Rows {
    /// No rows yet, of so many cells; of each column whether it is filled late.
    pub fn new(are_late: &[bool]) -> Self {
        let (mut here, mut late) = (0, 0);
        let places = are_late.iter().map(|in_annex| {
            let next = if *in_annex { &mut late } else { &mut here };
            *next += 1;
            Place {
                in_annex: *in_annex,
                index: *next - 1,
            }
        });
        let places = places.collect();
        // After the seqs of a row's cells stands the number of its annex and 1, where it may have one.
        let layout = Layout::new(1, here, usize::from(late > 0));
        let annex = Layout::new(0, late, 0);
        Self {
            places,
            layout,
            annex,
            rows: Pieces::new(layout.words),
            annexes: Pieces::new(annex.words),
            holes: 0,
            keys: Vec::new(),
            index: Index::default(),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len - self.holes
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
        let annex = self.annex_of(row);
        if let Some((key, rest)) = self.rows.get_mut(row).split_first_mut()
            && *key != HOLE
        {
            *key = HOLE;
            rest.fill(0);
            self.holes += 1;
            if let Some(annex) = annex {
                self.annexes.get_mut(annex).fill(0);
            }
        }
    }

    /// Whether more than half of it are holes.
    pub fn is_sparse(&self) -> bool {
        self.holes > HOLES_MIN && 2 * self.holes > self.rows.len
    }

    /// The same rows without holes, and the new id of each row.
    pub fn squeezed(&self) -> (Self, Vec<Option<RowId>>) {
        let are_late: Vec<bool> = self.places.iter().map(|place| place.in_annex).collect();
        let mut squeezed = Self::new(&are_late);
        let moved = self.all_ids().map(|id| {
            let key = std::str::from_utf8(self.key_bytes(id)?).ok()?;
            let found = squeezed.find(key);
            let moved = squeezed.make(key, found);
            for column in 0..self.places.len() {
                let (word, at) = (self.cell(id, column), self.changed(id, column));
                if word.is_none_or(|word| word == ABSENT) && at == 0 {
                    continue;
                }
                if let Some(mut cell) = squeezed.cell_mut(moved, column) {
                    cell.set_changed(at);
                    if let (Some(to), Some(from)) = (cell.word(), word) {
                        *to = from;
                    }
                }
            }
            Some(moved)
        });
        let moved = moved.collect();
        (squeezed, moved)
    }

    /// Makes the row of a key that was looked up and not found.
    pub fn make(&mut self, key: &str, found: Found) -> RowId {
        let key_word = self.keep_key(key);
        let row = self.rows.push();
        if let Some(first) = self.rows.get_mut(row).first_mut() {
            *first = key_word;
        }
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
        self.all_ids()
            .filter(|row| self.row(*row).first() != Some(&HOLE))
    }

    /// The same, and those of holes.
    fn all_ids(&self) -> impl Iterator<Item = RowId> + use<> {
        0..RowId::try_from(self.rows.len).unwrap_or(RowId::MAX)
    }

    fn row(&self, row: RowId) -> &[u64] {
        self.rows.get(row)
    }

    /// The number of a row's annex, if it has one.
    fn annex_of(&self, row: RowId) -> Option<u32> {
        if self.annex.cells == 0 {
            return None;
        }
        self.layout
            .half(self.row(row), self.layout.cells)
            .checked_sub(1)
    }

    /// The cell of a column, to be changed; a column that is filled late gives the row its annex.
    #[inline]
    pub fn cell_mut(&mut self, row: RowId, column: usize) -> Option<CellMut<'_>> {
        let Place { in_annex, index } = *self.places.get(column)?;
        if !in_annex {
            return Some(CellMut {
                words: self.rows.get_mut(row),
                layout: self.layout,
                index,
            });
        }
        let annex = self.annex_of(row).unwrap_or_else(|| {
            let annex = self.annexes.push();
            let half = self.layout.cells;
            self.layout
                .set_half(self.rows.get_mut(row), half, annex + 1);
            annex
        });
        Some(CellMut {
            words: self.annexes.get_mut(annex),
            layout: self.annex,
            index,
        })
    }

    /// The words among which the cell of a column lies; `None` where the row has no annex.
    fn around(&self, row: RowId, column: usize) -> Option<(&[u64], Layout, usize)> {
        let Place { in_annex, index } = *self.places.get(column)?;
        if in_annex {
            let annex = self.annexes.get(self.annex_of(row)?);
            return Some((annex, self.annex, index));
        }
        Some((self.row(row), self.layout, index))
    }

    /// The word of a cell; `None` where the row has no annex for it.
    pub fn cell(&self, row: RowId, column: usize) -> Option<u64> {
        let (words, layout, index) = self.around(row, column)?;
        layout.cell(words, index)
    }

    /// When the cell of a column last changed, from the table's base; 0: never.
    pub fn changed(&self, row: RowId, column: usize) -> u32 {
        let around = self.around(row, column);
        around.map_or(0, |(words, layout, index)| layout.half(words, index))
    }

    /// Whether a cell of the row last changed then.
    pub fn has_changed(&self, row: RowId, at: u32) -> bool {
        let annex = || {
            let annex = self.annex_of(row)?;
            Some(self.annex.has_half(self.annexes.get(annex), at))
        };
        self.layout.has_half(self.row(row), at) || annex().unwrap_or(false)
    }

    /// About how many bytes they take.
    pub fn bytes(&self) -> usize {
        let keys: usize = self.keys.iter().map(Vec::capacity).sum();
        self.rows.bytes() + self.annexes.bytes() + keys + self.index.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_events_from_before_a_generator_may_be_longer_than_a_segment() {
        let mut rows = Rows::new(&[false]);
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
