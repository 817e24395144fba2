//! Build: generators that were registered late, or replaced, are computed over the log in chunks.
//!
//! The caller reads rows of the log, as many as it likes; they are kept here and taken event by
//! event, so that one turn spends about 2 ms on them however large a batch is. A turn that follows
//! much recording spends more, or a busy log would run away from whoever builds over it.

use std::collections::VecDeque;

use super::hub::{Fault, Hub, damaged};
use super::rules::EventView;
use crate::domain::entry::{BODY_OPEN, LogRow, StoredEvent};
use crate::domain::json::decode_first;

/// Text of the log that one turn works through: about 2 ms.
const BUILD_BYTES: usize = 512 << 10;

/// Rows of the log that are being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Builder {
    rows: VecDeque<LogRow>,
    /// Seq and place in the first row's body of the event that is read next.
    next_seq: u64,
    offset: usize,
}

impl Builder {
    /// Takes rows over; what was kept and does not begin at `from` is of no use.
    fn feed(&mut self, rows: &[LogRow], from: u64) {
        if self.next_seq != from {
            self.rows.clear();
        }
        for row in rows {
            let wanted = self.rows.back().map_or(from, end_of);
            let is_next = match self.rows.back() {
                Some(_) => row.first_seq == wanted,
                None => row.first_seq <= wanted && wanted < end_of(row),
            };
            if is_next {
                if self.rows.is_empty() {
                    (self.next_seq, self.offset) = (row.first_seq, BODY_OPEN.len());
                }
                self.rows.push_back(row.clone());
            }
        }
    }
}

fn end_of(row: &LogRow) -> u64 {
    row.first_seq + u64::from(row.count)
}

impl Hub {
    /// Gives rows of the log to the generators that are being built, up to a turn's share.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub(super) fn build(&mut self, rows: &[LogRow], share: usize) -> Result<(), Fault> {
        let Some(built) = self.state.generators.build_cursor() else {
            self.builder = Builder::default();
            return Ok(());
        };
        let mut builder = std::mem::take(&mut self.builder);
        builder.feed(rows, built + 1);
        let mut spent = 0;
        while let Some(row) = builder.rows.front().filter(|_| spent < share) {
            if row.body.is_empty() {
                let end = end_of(row);
                self.state.generators.skip(builder.next_seq, end);
                builder.next_seq = end;
                builder.rows.pop_front();
                builder.offset = BODY_OPEN.len();
                continue;
            }
            let (value, used) = row
                .body
                .get(builder.offset..)
                .ok_or_else(|| "an event is missing".to_owned())
                .and_then(decode_first)
                .map_err(|why| damaged(row, &why))?;
            let event = StoredEvent::read(&value);
            let event = event.ok_or_else(|| damaged(row, "an event cannot be read"))?;
            let view = EventView {
                seq: builder.next_seq,
                stamp: event.stamp,
                kind: event.kind,
                ns_id: event.ctx.str("ns_id").unwrap_or_default(),
                ctx: event.ctx,
                spec: event.spec,
            };
            let grew = self.state.generators.build(&view, &self.state.hub_id)?;
            self.poke(grew, builder.next_seq);
            spent += used;
            builder.next_seq += 1;
            builder.offset += used + 1; // the comma, or the end of the list
            if builder.next_seq == end_of(row) {
                builder.rows.pop_front();
                builder.offset = BODY_OPEN.len();
            }
        }
        self.builder = builder;
        let head = self.last_seq;
        let (advanced, replaced) = self.state.generators.caught_up(head);
        self.advanced = advanced;
        self.poke(replaced, head);
        Ok(())
    }

    /// Recovery, last: gives the generators that came late rows of the log, all that there are.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn catch_up(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        self.build(rows, usize::MAX)
    }

    /// From where recovery must go on with [`Hub::catch_up`]; `None` once nothing is being built.
    #[must_use]
    pub fn build_from(&self) -> Option<u64> {
        self.build_needs().0
    }

    /// Whether a generator is being built.
    #[must_use]
    pub fn is_building_any(&self) -> bool {
        self.state.generators.iter().any(|(_, g)| g.is_building())
    }

    /// The share of a turn after one that wrote so much.
    pub(super) fn build_share(recorded_bytes: usize) -> usize {
        BUILD_BYTES.max(2 * recorded_bytes)
    }

    /// From where rows are wanted, and whether some are kept that the next turn can go on with.
    pub(super) fn build_needs(&self) -> (Option<u64>, bool) {
        let built = self.state.generators.build_cursor();
        let from = built
            .map(|built| built + 1)
            .filter(|from| *from <= self.last_seq);
        let is_fed = from == Some(self.builder.next_seq) && !self.builder.rows.is_empty();
        (from.filter(|_| !is_fed), is_fed)
    }
}
