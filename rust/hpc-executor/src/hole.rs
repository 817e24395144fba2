//! hole: the middle of a long stream that was given back to the disk, in whole blocks.
//!
//! A stream has at most one. It grows at both ends and never shrinks: the end of the stream goes on,
//! and the other stream of the task may come to need a part of the room. It only counts bytes;
//! [`crate::flood`] says when, [`crate::capture`] has the file, [`crate::janitor`] gives it back.

use std::fmt;

/// What a file system gives back is a whole number of these, bytes.
const BLOCK_BYTES: u64 = 4096;

/// Bytes of a stream of which nothing is kept; none where it ends where it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hole {
    /// Offset of the first.
    pub start: u64,
    /// Offset after the last.
    pub end: u64,
}

impl Hole {
    /// Whether everything is kept.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// How many bytes are not kept.
    #[must_use]
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The hole of a stream that is `length` long now and of which `kept` bytes, and at most two
    /// blocks more, are to stay: half of them from its beginning, half from its end.
    ///
    /// ```
    /// use hpc_executor::hole::Hole;
    /// let hole = Hole::default().grown(100 << 20, 8 << 20);
    /// assert_eq!(hole, Hole { start: 4 << 20, end: 96 << 20 });
    /// assert_eq!(hole.grown(101 << 20, 8 << 20), Hole { start: 4 << 20, end: 97 << 20 });
    /// assert!(Hole::default().grown(100, 100).is_empty());
    /// ```
    #[must_use]
    pub fn grown(self, length: u64, kept: u64) -> Self {
        if length <= kept {
            return self;
        }
        let (first, last) = (kept / 2, kept - kept / 2);
        let start = first.next_multiple_of(BLOCK_BYTES);
        let end = (length - last) / BLOCK_BYTES * BLOCK_BYTES;
        if start >= end {
            self
        } else if self.is_empty() {
            Self { start, end }
        } else {
            Self {
                start: start.min(self.start),
                end: end.max(self.end),
            }
        }
    }

    /// How many bytes can be read from an offset that does not lie in it, before it begins.
    #[must_use]
    pub fn room(self, offset: u64) -> u64 {
        if self.is_empty() || offset >= self.end {
            return u64::MAX;
        }
        self.start.saturating_sub(offset)
    }

    /// The hole that a file's name tells, as [`fmt::Display`] writes it.
    ///
    /// ```
    /// use hpc_executor::hole::Hole;
    /// let hole = Hole { start: 4096, end: 8192 };
    /// assert_eq!(Hole::named(&hole.to_string()), Some(hole));
    /// assert_eq!(Hole::named("8192-4096"), None);
    /// ```
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (start, end) = name.split_once('-')?;
        let hole = Self {
            start: start.parse().ok()?,
            end: end.parse().ok()?,
        };
        (!hole.is_empty()).then_some(hole)
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: [u64; 9] = [0, 1, 4095, 4096, 4097, 8191, 12_288, 1 << 20, (1 << 40) + 7];

    #[test]
    fn fault_50_what_stays_is_as_much_as_was_said_and_at_most_two_blocks_more() {
        for length in LENGTHS {
            for kept in LENGTHS {
                let hole = Hole::default().grown(length, kept);
                let stays = length - hole.len();
                assert!(stays >= kept.min(length), "{length} {kept}");
                assert!(
                    stays < kept.saturating_add(2 * BLOCK_BYTES),
                    "{length} {kept}"
                );
                if !hole.is_empty() {
                    assert_eq!((hole.start % BLOCK_BYTES, hole.end % BLOCK_BYTES), (0, 0));
                    assert!(hole.start >= kept / 2 && hole.end <= length - kept / 2);
                }
            }
        }
    }

    #[test]
    fn fault_50_a_hole_never_shrinks_whatever_is_to_stay() {
        for before in [
            Hole::default(),
            Hole {
                start: 4096,
                end: 20_480,
            },
        ] {
            for length in LENGTHS {
                for kept in LENGTHS {
                    let hole = before.grown(length, kept);
                    let has_all = hole.start <= before.start && before.end <= hole.end;
                    assert!(before.is_empty() || has_all, "{length} {kept}");
                }
            }
        }
    }

    #[test]
    fn fault_50_nothing_is_read_out_of_a_hole() {
        let hole = Hole {
            start: 4096,
            end: 8192,
        };
        assert_eq!(
            [0, 4000, 4096, 5000].map(|at| hole.room(at)),
            [4096, 96, 0, 0]
        );
        assert_eq!(hole.room(8192), u64::MAX);
        assert_eq!(Hole::default().room(0), u64::MAX);
    }
}
