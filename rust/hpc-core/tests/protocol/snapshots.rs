//! Snapshots of the world's Hub: taken after every commit, and held against its log.
//!
//! The law: whatever the course, a snapshot joined with the log after it is the whole, to the byte;
//! and what lives is what a replay of the log gives. So a Hub is killed and started again from any
//! of its snapshots, and every other check of the protocol goes on over it.

use hpc_core::logic::hub::Hub;

use crate::world::{World, check_totals};

/// How many snapshots, spread over the log, one check goes through.
const CHECKED: usize = 6;

/// A snapshot and how many rows of the log it holds.
pub type Taken = (usize, Vec<u8>);

impl World {
    /// Keeps a snapshot of the Hub as it is after a commit.
    pub fn take_snapshot(&mut self) {
        if !self.hub.is_building_any() {
            let bytes = self.hub.snapshot();
            self.snapshots.push((self.log.len(), bytes));
        }
    }

    /// A Hub from one of the snapshots and the log after it.
    pub fn restored(&self, (rows, bytes): &Taken) -> Hub {
        let mut hub = Hub::new(self.config.clone());
        hub.restore(bytes).unwrap();
        hub.replay(&self.log[*rows..]).unwrap();
        while let Some(from) = hub.build_from() {
            let rows: Vec<_> = self
                .log
                .iter()
                .filter(|r| r.first_seq >= from)
                .cloned()
                .collect();
            hub.catch_up(&rows).unwrap();
        }
        hub.start(self.now);
        hub
    }

    /// Whichever way it was rebuilt, the Hub of this log has the same bytes.
    pub fn check_snapshots(&self) {
        let whole = self.replayed().snapshot();
        if !self.hub.is_building_any() {
            let live = self.hub.clone().snapshot();
            assert!(live == whole, "what lives is not what a replay gives");
        }
        let every = self.snapshots.len().div_ceil(CHECKED).max(1);
        for taken in self.snapshots.iter().rev().step_by(every) {
            let mut restored = self.restored(taken);
            check_totals(&restored);
            let joined = restored.snapshot();
            assert!(
                joined == whole,
                "a snapshot after {} rows of {}, joined with the rest, is not the whole",
                taken.0,
                self.log.len()
            );
        }
    }
}
