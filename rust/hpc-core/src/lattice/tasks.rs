//! tasks: sets of task numbers, written as range lists.
//!
//! | carrier            | order     | bot | join  | reading                 |
//! |--------------------|-----------|-----|-------|-------------------------|
//! | finite sets of u32 | inclusion | ∅   | union | which tasks of an array |
//!
//! A compressed bitmap (Roaring, Lemire et al. 2016), so a million-task array that is queued or
//! done costs kilobytes. The text form is canonical: ascending, disjoint, never adjacent ranges,
//! as in `"0-41,43"`; the empty set is `""`.

use std::fmt;

use roaring::RoaringBitmap;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_uint};

/// The greatest task number; a range list that names a greater one is refused.
pub const TASK_MAX: u32 = 9_999_999;

/// A set of task numbers.
#[derive(Clone, Default, PartialEq)]
pub struct TaskSet(RoaringBitmap);

/// Why a range list was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRanges {
    /// The part that is not `A` or `A-B` with `A <= B <= TASK_MAX`.
    pub part: String,
}

impl fmt::Display for BadRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is no range: expected A or A-B with A <= B <= {TASK_MAX}",
            self.part
        )
    }
}

impl TaskSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of one task.
    #[must_use]
    pub fn one(task: u32) -> Self {
        Self::range(task, task)
    }

    /// The set of all tasks from `first` to `last`, both included; empty where `first > last`.
    #[must_use]
    pub fn range(first: u32, last: u32) -> Self {
        let mut bitmap = RoaringBitmap::new();
        if first <= last {
            bitmap.insert_range(first..=last);
            bitmap.optimize();
        }
        Self(bitmap)
    }

    /// Parses a range list such as `"0-41,43"`. Ranges may overlap and come in any order.
    ///
    /// # Errors
    /// Names the first part that is no range.
    ///
    /// ```
    /// use hpc_core::lattice::tasks::TaskSet;
    /// assert_eq!(TaskSet::parse("3,0-1,1-2").unwrap().to_string(), "0-3");
    /// assert!(TaskSet::parse("").unwrap().is_empty());
    /// assert_eq!(TaskSet::parse("5-2").unwrap_err().part, "5-2");
    /// ```
    pub fn parse(text: &str) -> Result<Self, BadRanges> {
        let mut bitmap = RoaringBitmap::new();
        if text.is_empty() {
            return Ok(Self(bitmap));
        }
        for part in text.split(',') {
            let bad = || BadRanges {
                part: part.to_owned(),
            };
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first = number(first).ok_or_else(bad)?;
            let last = number(last).ok_or_else(bad)?;
            if first > last {
                return Err(bad());
            }
            bitmap.insert_range(first..=last);
        }
        bitmap.optimize();
        Ok(Self(bitmap))
    }

    /// How many tasks are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether no task is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the task is in the set.
    #[must_use]
    pub fn contains(&self, task: u32) -> bool {
        self.0.contains(task)
    }

    /// Whether every task of this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether no task is in both sets.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    /// The least task.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.0.min()
    }

    /// The greatest task.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        self.0.max()
    }

    /// Adds a task; whether it was new.
    pub fn insert(&mut self, task: u32) -> bool {
        self.0.insert(task)
    }

    /// Takes a task out; whether it was there.
    pub fn remove(&mut self, task: u32) -> bool {
        self.0.remove(task)
    }

    /// Takes the tasks of the other set out.
    pub fn subtract(&mut self, other: &Self) {
        self.0 -= &other.0;
    }

    /// The tasks in this set or the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(&self.0 | &other.0)
    }

    /// The tasks in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }

    /// The tasks in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self(&self.0 - &other.0)
    }

    /// Takes out and returns the `count` least tasks (all where there are fewer).
    pub fn take_first(&mut self, count: u64) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let Some(end) = u32::try_from(count)
            .ok()
            .and_then(|count| self.0.select(count))
        else {
            return std::mem::take(self);
        };
        let mut taken = self.0.clone();
        taken.remove_range(end..);
        taken.optimize();
        self.0.remove_range(..end);
        Self(taken)
    }

    /// The tasks in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter()
    }

    /// The maximal ranges in ascending order, both ends included.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let mut iter = self.0.iter();
        while let Some(range) = iter.next_range() {
            // A range of the bitmap ends with its container; join what continues in the next.
            match ranges.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(*range.start()) => {
                    last.1 = *range.end();
                }
                _ => ranges.push((*range.start(), *range.end())),
            }
        }
        ranges
    }
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= TASK_MAX)
}

impl fmt::Display for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges().into_iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl Eq for TaskSet {}

impl FromIterator<u32> for TaskSet {
    fn from_iter<I: IntoIterator<Item = u32>>(tasks: I) -> Self {
        Self(tasks.into_iter().collect())
    }
}

impl Lattice for TaskSet {
    fn bot() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        let before = self.0.len();
        self.0 |= &other.0;
        self.0.len() > before
    }

    fn delta(&self, other: &Self) -> Self {
        other.difference(self)
    }

    /// One set per task.
    fn irreducibles(&self) -> Vec<Self> {
        self.iter().map(Self::one).collect()
    }
}

impl Codec for TaskSet {
    // The number of ranges, then for each the gap before it and how far it reaches past its first.
    fn encode(&self, out: &mut Vec<u8>) {
        let ranges = self.ranges();
        put_uint(ranges.len() as u64, out);
        let mut end = 0;
        for (first, last) in ranges {
            put_uint(u64::from(first - end), out);
            put_uint(u64::from(last - first), out);
            end = last;
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.length()?;
        let mut bitmap = RoaringBitmap::new();
        let mut end: Option<u32> = None;
        for _ in 0..length {
            let gap = reader.uint32()?;
            let reach = reader.uint32()?;
            // After a range a gap of 0 would overlap it and one of 1 would continue it.
            if end.is_some() && gap < 2 {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            // The bound also keeps a few hostile bytes from asking for gigabytes of bitmap.
            let first = end.unwrap_or(0).checked_add(gap);
            let last = first
                .and_then(|first| first.checked_add(reach))
                .filter(|last| *last <= TASK_MAX);
            let (Some(first), Some(last)) = (first, last) else {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            };
            bitmap.insert_range(first..=last);
            end = Some(last);
        }
        bitmap.optimize();
        Ok(Self(bitmap))
    }
}
