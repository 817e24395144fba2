//! The change log of one table: (seq, row), append-only, in segments that never move.
//!
//! An entry is stale once no cell of its row was last changed at that seq. Whoever owns the rows
//! squeezes those out when the log is twice as long as what is alive.

/// Entries of a segment.
const SEGMENT: usize = 4096;

/// When a row changed: the seq, counted from the table's base, and the row's id.
pub type Change = (u32, u32);

/// The changes of one table, ascending.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    segments: Vec<Vec<Change>>,
    len: usize,
}

impl Changes {
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds one at the end.
    pub fn push(&mut self, change: Change) {
        if self.len.is_multiple_of(SEGMENT) {
            // The first grows by and by, so that small tables stay small.
            let capacity = if self.len == 0 { 4 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(capacity));
        }
        if let Some(segment) = self.segments.last_mut() {
            segment.push(change);
            self.len += 1;
        }
    }

    /// The one at a place.
    pub fn get(&self, place: usize) -> Option<Change> {
        let segment = self.segments.get(place / SEGMENT)?;
        segment.get(place % SEGMENT).copied()
    }

    /// Whether the row is in the log at this, its newest, seq.
    pub fn ends_with(&self, (at, row): Change) -> bool {
        let newest = (0..self.len).rev().filter_map(|place| self.get(place));
        let mut newest = newest.take_while(|(seq, _)| *seq == at);
        newest.any(|(_, known)| known == row)
    }

    /// The place of the first that is later than a seq.
    pub fn after(&self, seq: u32) -> usize {
        let whole = self
            .segments
            .partition_point(|segment| segment.last().is_some_and(|(last, _)| *last <= seq));
        let within = self.segments.get(whole).map_or(0, |segment| {
            segment.partition_point(|(known, _)| *known <= seq)
        });
        (whole * SEGMENT + within).min(self.len)
    }

    /// Keeps, and may change, those for which a function says so.
    pub fn squeeze(&mut self, mut keep: impl FnMut(Change) -> Option<Change>) {
        let segments = std::mem::take(&mut self.segments);
        self.len = 0;
        for segment in segments {
            for change in segment {
                if let Some(change) = keep(change) {
                    self.push(change);
                }
            }
        }
    }

    /// Puts them in order, each once.
    pub fn sort(&mut self) {
        let mut all: Vec<Change> = std::mem::take(&mut self.segments).concat();
        all.sort_unstable();
        all.dedup();
        self.len = 0;
        for change in all {
            self.push(change);
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let segments = self.segments.iter();
        segments.map(Vec::capacity).sum::<usize>() * size_of::<Change>()
    }
}
