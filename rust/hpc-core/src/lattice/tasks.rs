//! tasks: sets of task numbers, written as range lists.
//!
//! | carrier            | order     | bot | join  | reading                 |
//! |--------------------|-----------|-----|-------|-------------------------|
//! | finite sets of u32 | inclusion | ∅   | union | which tasks of an array |
//!
//! Tasks without a gap, which most sets are, are two numbers; others are a compressed bitmap (Roaring,
//! Lemire et al. 2016), shared until one of its owners changes it. So a job of one task needs no
//! memory beside the job, and a million-task array costs kilobytes. The text form is canonical:
//! ascending, disjoint, never adjacent ranges, as in `"0-41,43"`; the empty set is `""`.

use std::fmt;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_uint};

/// The greatest task number; a range list that names a greater one is refused.
pub const TASK_MAX: u32 = 9_999_999;

/// A set of task numbers.
#[derive(Clone, Default, PartialEq)]
pub struct TaskSet(Tasks);

/// Each set has one form.
#[derive(Clone, Default, PartialEq)]
enum Tasks {
    #[default]
    None,
    /// From the first to the last, both included.
    Range(u32, u32),
    /// With at least one gap.
    Bitmap(Arc<RoaringBitmap>),
}

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
        if first <= last {
            Self(Tasks::Range(first, last))
        } else {
            Self::new()
        }
    }

    /// The first and the last, where no task between them is missing.
    #[must_use]
    pub fn as_range(&self) -> Option<(u32, u32)> {
        match self.0 {
            Tasks::Range(first, last) => Some((first, last)),
            _ => None,
        }
    }

    /// The set of a bitmap.
    fn of(bitmap: RoaringBitmap) -> Self {
        match (bitmap.min(), bitmap.max()) {
            (Some(first), Some(last)) if bitmap.len() == u64::from(last - first) + 1 => {
                Self::range(first, last)
            }
            (Some(_), _) => Self(Tasks::Bitmap(Arc::new(bitmap))),
            (None, _) => Self::new(),
        }
    }

    /// The set as a bitmap of its own.
    fn to_bitmap(&self) -> RoaringBitmap {
        match &self.0 {
            Tasks::None => RoaringBitmap::new(),
            Tasks::Range(first, last) => {
                let mut bitmap = RoaringBitmap::new();
                bitmap.insert_range(*first..=*last);
                bitmap
            }
            Tasks::Bitmap(bitmap) => bitmap.as_ref().clone(),
        }
    }

    /// Changes a bitmap in place, and gives the set its one form again.
    fn change(&mut self, change: impl FnOnce(&mut RoaringBitmap)) {
        let mut bitmap = match std::mem::take(&mut self.0) {
            Tasks::Bitmap(bitmap) => Arc::unwrap_or_clone(bitmap),
            other => Self(other).to_bitmap(),
        };
        change(&mut bitmap);
        *self = Self::of(bitmap);
    }

    /// Takes no more memory than it must, for a set that will hardly change.
    pub fn shrink(&mut self) {
        if let Tasks::Bitmap(bitmap) = &self.0 {
            let mut bitmap = bitmap.as_ref().clone();
            bitmap.optimize();
            self.0 = Tasks::Bitmap(Arc::new(bitmap));
        }
    }

    /// Shares the memory of another set where they are equal.
    pub fn share(&mut self, other: &Self) {
        if let (Tasks::Bitmap(mine), Tasks::Bitmap(theirs)) = (&self.0, &other.0)
            && !Arc::ptr_eq(mine, theirs)
            && mine == theirs
        {
            self.0 = other.0.clone();
        }
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
        if text.is_empty() {
            return Ok(Self::new());
        }
        if !text.contains(',') {
            let (first, last) = range_of(text)?;
            return Ok(Self::range(first, last));
        }
        let mut bitmap = RoaringBitmap::new();
        for part in text.split(',') {
            let (first, last) = range_of(part)?;
            bitmap.insert_range(first..=last);
        }
        bitmap.optimize();
        Ok(Self::of(bitmap))
    }

    /// How many tasks are in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Tasks::None => 0,
            Tasks::Range(first, last) => u64::from(last - first) + 1,
            Tasks::Bitmap(bitmap) => bitmap.len(),
        }
    }

    /// Whether no task is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Tasks::None)
    }

    /// Whether the task is in the set.
    #[must_use]
    pub fn contains(&self, task: u32) -> bool {
        match &self.0 {
            Tasks::None => false,
            Tasks::Range(first, last) => (*first..=*last).contains(&task),
            Tasks::Bitmap(bitmap) => bitmap.contains(task),
        }
    }

    /// Whether every task of this set is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Tasks::None, _) => true,
            (_, Tasks::None) => false,
            (Tasks::Bitmap(mine), Tasks::Bitmap(theirs)) => mine.is_subset(theirs),
            (Tasks::Range(first, last), Tasks::Bitmap(theirs)) => {
                theirs.contains_range(*first..=*last)
            }
            (_, Tasks::Range(first, last)) => {
                self.first() >= Some(*first) && self.last() <= Some(*last)
            }
        }
    }

    /// Whether no task is in both sets.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Tasks::None, _) | (_, Tasks::None) => true,
            (Tasks::Range(a, b), Tasks::Range(c, d)) => b < c || d < a,
            (Tasks::Range(first, last), Tasks::Bitmap(bitmap))
            | (Tasks::Bitmap(bitmap), Tasks::Range(first, last)) => {
                bitmap.range_cardinality(*first..=*last) == 0
            }
            (Tasks::Bitmap(mine), Tasks::Bitmap(theirs)) => mine.is_disjoint(theirs),
        }
    }

    /// The least task.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        match &self.0 {
            Tasks::None => None,
            Tasks::Range(first, _) => Some(*first),
            Tasks::Bitmap(bitmap) => bitmap.min(),
        }
    }

    /// The greatest task.
    #[must_use]
    pub fn last(&self) -> Option<u32> {
        match &self.0 {
            Tasks::None => None,
            Tasks::Range(_, last) => Some(*last),
            Tasks::Bitmap(bitmap) => bitmap.max(),
        }
    }

    /// Adds a task; whether it was new.
    pub fn insert(&mut self, task: u32) -> bool {
        self.join(&Self::one(task))
    }

    /// Takes a task out; whether it was there.
    pub fn remove(&mut self, task: u32) -> bool {
        let was_there = self.contains(task);
        self.subtract(&Self::one(task));
        was_there
    }

    /// Takes the tasks of the other set out.
    pub fn subtract(&mut self, other: &Self) {
        if self.is_disjoint(other) {
            return;
        }
        match (&self.0, &other.0) {
            (Tasks::Range(a, b), Tasks::Range(c, d)) if c <= a || d >= b => {
                *self = match (c <= a, d >= b) {
                    (true, true) => Self::new(),
                    (true, false) => Self::range(d + 1, *b),
                    _ => Self::range(*a, c - 1),
                };
            }
            (_, Tasks::Range(first, last)) => {
                let range = *first..=*last;
                self.change(|bitmap| {
                    bitmap.remove_range(range);
                });
            }
            (_, Tasks::Bitmap(theirs)) => self.change(|bitmap| *bitmap -= theirs.as_ref()),
            (_, Tasks::None) => {}
        }
    }

    /// The tasks in this set or the other.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.join(other);
        union
    }

    /// The tasks in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Tasks::None, _) | (_, Tasks::None) => Self::new(),
            (Tasks::Range(a, b), Tasks::Range(c, d)) => Self::range(*a.max(c), *b.min(d)),
            (Tasks::Range(first, last), Tasks::Bitmap(bitmap))
            | (Tasks::Bitmap(bitmap), Tasks::Range(first, last)) => {
                let is_whole = bitmap.min() >= Some(*first) && bitmap.max() <= Some(*last);
                if is_whole {
                    return Self(Tasks::Bitmap(bitmap.clone()));
                }
                let mut within = RoaringBitmap::new();
                within.insert_range(*first..=*last);
                within &= bitmap.as_ref();
                Self::of(within)
            }
            (Tasks::Bitmap(mine), Tasks::Bitmap(theirs)) => {
                Self::of(mine.as_ref() & theirs.as_ref())
            }
        }
    }

    /// The tasks in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = self.clone();
        difference.subtract(other);
        difference
    }

    /// Takes out and returns the `count` least tasks (all where there are fewer).
    pub fn take_first(&mut self, count: u64) -> Self {
        if count >= self.len() {
            return std::mem::take(self);
        }
        let end = u32::try_from(count).ok().and_then(|count| match &self.0 {
            Tasks::None => None,
            Tasks::Range(first, _) => Some(first + count),
            Tasks::Bitmap(bitmap) => bitmap.select(count),
        });
        let Some(end) = end else {
            return std::mem::take(self);
        };
        let Some(last) = end.checked_sub(1) else {
            return Self::new();
        };
        let taken = self.intersection(&Self::range(0, last));
        self.subtract(&Self::range(0, last));
        taken
    }

    /// The tasks in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (range, bitmap) = match &self.0 {
            Tasks::None => (None, None),
            Tasks::Range(first, last) => (Some(*first..=*last), None),
            Tasks::Bitmap(bitmap) => (None, Some(bitmap.iter())),
        };
        let range = range.into_iter().flatten();
        range.chain(bitmap.into_iter().flatten())
    }

    /// The maximal ranges in ascending order, both ends included.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u32, u32)> {
        let bitmap = match &self.0 {
            Tasks::None => return Vec::new(),
            Tasks::Range(first, last) => return vec![(*first, *last)],
            Tasks::Bitmap(bitmap) => bitmap,
        };
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let mut iter = bitmap.iter();
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

/// The range that a part of a list says.
fn range_of(part: &str) -> Result<(u32, u32), BadRanges> {
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    let range = number(first).zip(number(last));
    range
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| BadRanges {
            part: part.to_owned(),
        })
}

fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| *n <= TASK_MAX)
}

impl fmt::Display for TaskSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Tasks::Range(first, last) = self.0 {
            return match last - first {
                0 => write!(f, "{first}"),
                _ => write!(f, "{first}-{last}"),
            };
        }
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
        Self::of(tasks.into_iter().collect())
    }
}

impl Lattice for TaskSet {
    fn bot() -> Self {
        Self::new()
    }

    fn join(&mut self, other: &Self) -> bool {
        if other.is_subset(self) {
            return false;
        }
        match (&self.0, &other.0) {
            (Tasks::None, _) => *self = other.clone(),
            (Tasks::Range(a, b), Tasks::Range(c, d))
                if *c <= b.saturating_add(1) && *a <= d.saturating_add(1) =>
            {
                *self = Self::range(*a.min(c), *b.max(d));
            }
            (Tasks::Range(first, last), Tasks::Bitmap(theirs)) => {
                let mut bitmap = theirs.as_ref().clone();
                bitmap.insert_range(*first..=*last);
                *self = Self::of(bitmap);
            }
            (_, Tasks::Range(first, last)) => {
                let range = *first..=*last;
                self.change(|bitmap| {
                    bitmap.insert_range(range);
                });
            }
            (_, Tasks::Bitmap(theirs)) => self.change(|bitmap| *bitmap |= theirs.as_ref()),
            (_, Tasks::None) => {}
        }
        true
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
        if let Tasks::None = self.0 {
            return put_uint(0, out);
        }
        if let Tasks::Range(first, last) = self.0 {
            for number in [1, first, last - first] {
                put_uint(u64::from(number), out);
            }
            return;
        }
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
        if length == 0 {
            return Ok(Self::new());
        }
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
            if length == 1 {
                return Ok(Self::range(first, last));
            }
            bitmap.insert_range(first..=last);
            end = Some(last);
        }
        bitmap.optimize();
        Ok(Self::of(bitmap))
    }
}
