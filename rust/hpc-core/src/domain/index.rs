//! From the hash of a key to its row: open addressing, one word for each place.
//!
//! The keys lie with whoever owns the rows.
//!
//! A place holds the hash beside the row, so that a look-up touches one line of memory before it
//! touches the row, and growing reads no key. (hashbrown, which is general, touches two: its control
//! bytes and its entries; measured at a million events that was a third of a join.)

/// Places of the smallest index that is not empty.
const PLACES_MIN: usize = 8;

/// Which rows have which hash. No row is ever taken out: one that is gone is no longer what is found,
/// until its owner makes the index anew.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// The hash in the upper half, the row and 1 in the lower; 0 is free. As many as a power of two.
    places: Vec<u64>,
    rows: usize,
}

impl Index {
    /// The row of this hash for which `is_it` holds.
    pub fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.places.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        loop {
            let place = *self.places.get(at)?;
            if place == 0 {
                return None;
            }
            let row = (place as u32) - 1;
            if (place >> 32) as u32 == hash && is_it(row) {
                return Some(row);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a row that is not there.
    pub fn insert(&mut self, hash: u32, row: u32) {
        // At most three of four are taken: runs stay short, and a search ends.
        if 4 * (self.rows + 1) > 3 * self.places.len() {
            let grown = vec![0; (2 * self.places.len()).max(PLACES_MIN)];
            let places = std::mem::replace(&mut self.places, grown);
            for place in places.into_iter().filter(|place| *place != 0) {
                self.put(place);
            }
        }
        self.rows += 1;
        self.put(u64::from(hash) << 32 | (u64::from(row) + 1));
    }

    fn put(&mut self, entry: u64) {
        let mask = self.places.len() - 1;
        let mut at = (entry >> 32) as usize & mask;
        while let Some(place) = self.places.get_mut(at) {
            if *place == 0 {
                *place = entry;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u64>()
    }
}

/// A hash of bytes, the same in every run; nothing that leaves depends on it.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    hasher.write(bytes);
    hasher.finish()
}
