//! What the words of rows stand for, and what does not fit into one.
//!
//! A word is 64 bits. Its low four say what it is, the others hold the value where it fits: Bool,
//! an Int of 60 bits, a Float whose last four bits are zero, up to seven bytes of text, a range of
//! tasks. A value of `last` is that value where it has the least stamp. What does not fit lies here,
//! and the word says where. Equal texts lie here once, and are
//! dropped with the last word that speaks of them, so that memory follows the facts and not the log.
//! Those of lists and maps are mostly alike, and lie here as what they differ in.

use super::scalar::Scalar;
use crate::domain::alike::Alike;
use crate::domain::texts::{Slab, Texts};
use crate::lattice::Cell;
use crate::lattice::last::Stamp;

/// The word of a cell to which nothing was said.
pub const ABSENT: u64 = 0;

const TAG_BITS: u32 = 4;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const BOOL: u64 = 1;
const INT: u64 = 2;
const FLOAT: u64 = 3;
const SHORT: u64 = 4;
const TEXT: u64 = 5;
const JSON: u64 = 6;
const WIDE_INT: u64 = 7;
const WIDE_FLOAT: u64 = 8;
const CELL: u64 = 9;
const RANGE: u64 = 10;
const LAST: u64 = 11;

/// The longest text that a word holds, in bytes.
const SHORT_MAX: usize = 7;
/// Bits of a task number: [`crate::lattice::tasks::TASK_MAX`] fits.
const TASK_BITS: u32 = 24;

fn tag(word: u64) -> u64 {
    word & TAG_MASK
}

fn place(word: u64) -> usize {
    usize::try_from(word >> TAG_BITS).unwrap_or(usize::MAX)
}

fn at(tag: u64, place: usize) -> u64 {
    (place as u64) << TAG_BITS | tag
}

/// The range of tasks that a word holds.
pub fn range(word: u64) -> Option<(u32, u32)> {
    let mask = (1 << TASK_BITS) - 1;
    let first = (word >> TAG_BITS) & mask;
    let last = (word >> (TAG_BITS + TASK_BITS)) & mask;
    (tag(word) == RANGE).then_some((first as u32, last as u32))
}

/// The word of a range of tasks.
pub fn of_range(first: u32, last: u32) -> u64 {
    u64::from(last) << (TAG_BITS + TASK_BITS) | u64::from(first) << TAG_BITS | RANGE
}

/// A value of `last` with its stamp and node.
#[derive(Clone, Copy, Debug)]
struct LastWord {
    stamp: Stamp,
    /// From 1; 0 is no node.
    node: u32,
    value: u64,
}

/// What does not fit into the words of one generator's rows.
#[derive(Clone, Debug, Default)]
pub struct Store {
    texts: Texts,
    jsons: Alike,
    wides: Slab<u64>,
    lasts: Slab<LastWord>,
    cells: Slab<Cell>,
}

impl Store {
    /// The word of a value.
    pub fn word(&mut self, value: &Scalar<'_>) -> u64 {
        match value {
            Scalar::Bool(flag) => at(BOOL, usize::from(*flag)),
            Scalar::Int(int) => {
                let word = int.wrapping_shl(TAG_BITS);
                if word >> TAG_BITS == *int {
                    word.cast_unsigned() | INT
                } else {
                    at(WIDE_INT, self.wides.put(int.cast_unsigned()))
                }
            }
            Scalar::Float(float) => {
                let bits = float.to_bits();
                if tag(bits) == 0 {
                    bits | FLOAT
                } else {
                    at(WIDE_FLOAT, self.wides.put(bits))
                }
            }
            Scalar::Str(text) => self.text_word(text),
            Scalar::Json(text) => at(JSON, self.jsons.intern(text)),
        }
    }

    fn text_word(&mut self, text: &str) -> u64 {
        let bytes = text.as_bytes();
        if bytes.len() > SHORT_MAX {
            return at(TEXT, self.texts.intern(text));
        }
        let mut word = [0; 8];
        if let Some(place) = word.get_mut(1..=bytes.len()) {
            place.copy_from_slice(bytes);
        }
        u64::from_le_bytes(word) | (bytes.len() as u64) << TAG_BITS | SHORT
    }

    /// What a word stands for, where it is a value; `short` holds the bytes of a short text.
    pub fn scalar<'s>(&'s self, word: u64, short: &'s mut [u8; 8]) -> Option<Scalar<'s>> {
        Some(match tag(word) {
            BOOL => Scalar::Bool(place(word) != 0),
            INT => Scalar::Int(word.cast_signed() >> TAG_BITS),
            FLOAT => Scalar::Float(f64::from_bits(word & !TAG_MASK)),
            SHORT => {
                *short = word.to_le_bytes();
                let length = usize::from(short[0] >> TAG_BITS);
                let bytes = short.get(1..=length)?;
                Scalar::Str(std::str::from_utf8(bytes).ok()?)
            }
            TEXT => Scalar::Str(self.texts.text(place(word))),
            JSON => Scalar::Json(self.jsons.text(place(word)).into()),
            WIDE_INT => Scalar::Int(self.wides.get(place(word))?.cast_signed()),
            WIDE_FLOAT => Scalar::Float(f64::from_bits(*self.wides.get(place(word))?)),
            _ => return None,
        })
    }

    /// Stamp, node and the word of the value of a `last`.
    pub fn last(&self, word: u64) -> (Stamp, &str, u64) {
        match self.lasts.get(place(word)).filter(|_| tag(word) == LAST) {
            Some(last) => {
                let node = last.node.checked_sub(1);
                let node = node.map_or("", |place| self.texts.text(place as usize));
                (last.stamp, node, last.value)
            }
            None => (Stamp::default(), "", word),
        }
    }

    /// Puts a value of `last` in place of the one that a word stands for.
    pub fn put_last(&mut self, word: u64, stamp: Stamp, node: &str, value: &Scalar<'_>) -> u64 {
        let node = match node {
            "" => 0,
            node => u32::try_from(self.texts.intern(node) + 1).unwrap_or(u32::MAX),
        };
        let value = self.word(value);
        let last = LastWord { stamp, node, value };
        if tag(word) == LAST
            && let Some(known) = self.lasts.get_mut(place(word))
        {
            let former = std::mem::replace(known, last);
            self.release_last(former);
            return word;
        }
        self.release(word);
        if node == 0 && stamp == Stamp::default() {
            return value;
        }
        at(LAST, self.lasts.put(last))
    }

    fn release_last(&mut self, last: LastWord) {
        self.release(last.value);
        if let Some(place) = last.node.checked_sub(1) {
            self.texts.release(place as usize);
        }
    }

    /// Drops what a word stands for.
    pub fn release(&mut self, word: u64) {
        match tag(word) {
            LAST => {
                if let Some(last) = self.lasts.take(place(word)) {
                    self.release_last(last);
                }
            }
            TEXT => {
                self.texts.release(place(word));
            }
            JSON => self.jsons.release(place(word)),
            WIDE_INT | WIDE_FLOAT => {
                self.wides.take(place(word));
            }
            CELL => {
                self.cells.take(place(word));
            }
            _ => {}
        }
    }

    /// The word of a cell that lies here.
    pub fn keep(&mut self, cell: Cell) -> u64 {
        at(CELL, self.cells.put(cell))
    }

    /// The cell that a word speaks of.
    pub fn cell(&self, word: u64) -> Option<&Cell> {
        (tag(word) == CELL)
            .then(|| self.cells.get(place(word)))
            .flatten()
    }

    /// The same, to be changed.
    pub fn cell_mut(&mut self, word: u64) -> Option<&mut Cell> {
        (tag(word) == CELL)
            .then(|| self.cells.get_mut(place(word)))
            .flatten()
    }

    /// About how many bytes lie here.
    pub fn bytes(&self) -> usize {
        let texts = self.texts.bytes() + self.jsons.bytes();
        texts + self.wides.bytes() + self.lasts.bytes() + self.cells.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comes_back(value: &Scalar<'_>) {
        let mut store = Store::default();
        let word = store.word(value);
        let mut short = [0; 8];
        assert_eq!(store.scalar(word, &mut short).as_ref(), Some(value));
        store.release(word);
        assert!(store.texts.is_empty() && store.jsons.is_empty());
    }

    #[test]
    fn a_word_stands_for_its_value() {
        for flag in [false, true] {
            comes_back(&Scalar::Bool(flag));
        }
        for int in [
            0,
            1,
            -1,
            i64::MAX,
            i64::MIN,
            (1 << 59) - 1,
            1 << 59,
            -(1 << 59) - 1,
        ] {
            comes_back(&Scalar::Int(int));
        }
        for float in [0.0, 0.5, 0.1, -1e300, f64::MIN_POSITIVE, f64::MAX] {
            comes_back(&Scalar::Float(float));
        }
        for text in ["", "a", "seven77", "eight888", "äöü", "\0\0", "a\0"] {
            comes_back(&Scalar::Str(text));
            comes_back(&Scalar::Json(text.into()));
        }
    }

    #[test]
    fn equal_texts_lie_here_once_and_leave_with_the_last() {
        let mut store = Store::default();
        let text = Scalar::Str("longer than a word");
        let (a, b) = (store.word(&text), store.word(&text));
        assert_eq!(a, b);
        store.release(a);
        assert_eq!(store.scalar(b, &mut [0; 8]), Some(text));
        store.release(b);
        assert!(store.texts.is_empty());
    }

    #[test]
    fn a_range_is_a_word() {
        for (first, last) in [(0, 0), (3, 9), (0, crate::lattice::tasks::TASK_MAX)] {
            assert_eq!(range(of_range(first, last)), Some((first, last)));
        }
    }
}
