//! Recovery: the state from the log, by the same function that changes it live.
//!
//! From the whole log: generators go first, as its registrations leave them, so that each is there
//! from the first event on and its last-changed seqs are those of the log's order. From a snapshot:
//! only the rows after it; a generator that was registered in them is built over the log as one
//! that comes late, before anybody is answered. The chain is verified row by row.

use super::attempts::Settles;
use super::calendar::Calendar;
use super::hub::{Fault, Hub, Now, damaged};
use super::receipts::{Receipt, half};
use super::state::LogEvent;
use crate::domain::control::{REGISTER_GENERATOR, Registration};
use crate::domain::entry::{Body, LogRow, StoredEvent};
use crate::domain::event::KernelKind;
use crate::mutants::{Rule, is_broken};

impl Hub {
    /// Recovery, first: the generators as the registrations of the log leave them. After a snapshot
    /// those that it does not know are to be built, by [`Hub::catch_up`].
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn preload(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        self.state.is_replay = true;
        for row in rows {
            let body = Body::decode(&row.body).map_err(|e| damaged(row, &e))?;
            for (seq, event) in (row.first_seq..).zip(body.events()) {
                if event.kind != REGISTER_GENERATOR || seq <= self.last_seq {
                    continue;
                }
                let Some(Registration::Generator { gid, spec }) =
                    Registration::from_log(event.kind, event.spec)
                else {
                    return Err(damaged(row, "a registration cannot be read"));
                };
                if self.last_seq > 0 {
                    self.state.generators.put(&gid, spec, seq, self.last_seq);
                    continue;
                }
                let former = self.state.generators.get(&gid);
                let version = former.map_or(1, |g| g.version().0 + 1);
                self.state.generators.restore(&gid, spec, version, seq);
            }
        }
        Ok(())
    }

    /// Recovery, second: every row of the log after where this Hub is, in order.
    ///
    /// # Errors
    /// A row that is missing, moved, changed, or cannot be read.
    pub fn replay(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        self.replay_to(rows, u64::MAX)
    }

    /// The same around batches that were set aside: of those the caller has left out the body. What they
    /// said is not known, and this Hub is not what the log was.
    ///
    /// # Errors
    /// As [`Hub::replay`], of the others.
    pub fn replay_around(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        for row in rows {
            if row.body.is_empty() {
                let end = row.first_seq + u64::from(row.count);
                self.last_seq = self.last_seq.max(end.saturating_sub(1));
                self.chain = row.chain;
            } else {
                self.replay(std::slice::from_ref(row))?;
            }
        }
        Ok(())
    }

    /// The same up to a seq, also within a row; what follows may go on from there. A Hub that is
    /// bounded so is only read, and remembers no receipts.
    ///
    /// # Errors
    /// As [`Hub::replay`].
    pub(super) fn replay_to(&mut self, rows: &[LogRow], upto: u64) -> Result<(), Fault> {
        for row in rows {
            if self.last_seq >= upto {
                break;
            }
            let expected = self.last_seq + 1;
            let end = row.first_seq + u64::from(row.count);
            if !(row.first_seq..end).contains(&expected) {
                return Err(damaged(row, &format!("expected first seq {expected}")));
            }
            if row.body.is_empty() {
                return Err(damaged(
                    row,
                    "it is compacted, and no snapshot reaches behind it",
                ));
            }
            if row.chain != row.chain_after(&self.chain) {
                return Err(damaged(row, "its checksum does not match"));
            }
            self.replay_row(row, upto)?;
        }
        Ok(())
    }

    fn replay_row(&mut self, row: &LogRow, upto: u64) -> Result<(), Fault> {
        let body = Body::decode(&row.body).map_err(|e| damaged(row, &e))?;
        if body.len() != row.count as usize {
            return Err(damaged(row, "its number of events does not match"));
        }
        let had = self.last_seq;
        let mut jobs = Vec::new();
        let mut grew = Vec::new();
        for (seq, event) in (row.first_seq..).zip(body.events()) {
            if seq > had && seq <= upto {
                self.replay_event(seq, &event, &mut grew)?;
            }
            if self.state.kernel_kind(event.kind, event.ctx) == Some(KernelKind::SubmitJob) {
                jobs.extend(
                    event
                        .ctx
                        .str("job_id")
                        .and_then(|id| self.state.jobs.find(id)),
                );
            }
        }
        let end = row.first_seq + u64::from(row.count) - 1;
        if self.last_seq != end.min(upto) {
            return Err(damaged(row, "an event cannot be read"));
        }
        if self.last_seq < end {
            return Ok(()); // the rest of the row may come later
        }
        self.chain = row.chain;
        if upto < u64::MAX {
            return Ok(());
        }
        let receipt = Receipt {
            first_seq: row.first_seq,
            count: row.count,
            digest: half(&row.digest),
            jobs: jobs.into(),
            pokes: self.receipts.intern_pokes(&body.pokes),
            at: self.stamp.at,
        };
        self.remember(&row.batch_id, receipt);
        Ok(())
    }

    fn replay_event(
        &mut self,
        seq: u64,
        event: &StoredEvent<'_>,
        grew: &mut Vec<String>,
    ) -> Result<(), Fault> {
        self.last_seq = seq;
        self.stamp = self.stamp.max(event.stamp);
        let settles = event.settles.filter(|_| !is_broken(Rule::R3));
        let settles = settles.map(Settles::from_map).unwrap_or_default();
        let entry = LogEvent {
            seq,
            stamp: event.stamp,
            kind: event.kind,
            kernel: self.state.kernel_kind(event.kind, event.ctx),
            ctx: event.ctx,
            spec: event.spec,
            settles: &settles,
        };
        Ok(self.state.apply(&entry, grew)?)
    }

    /// Remembers the receipt of a batch of the log again, which a snapshot has left out.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn recall(&mut self, row: &LogRow) -> Result<(), Fault> {
        let mut jobs = Vec::new();
        let mut pokes = Vec::new();
        if !row.body.is_empty() {
            let body = Body::decode(&row.body).map_err(|e| damaged(row, &e))?;
            for event in body.events() {
                if self.state.kernel_kind(event.kind, event.ctx) == Some(KernelKind::SubmitJob) {
                    let job_id = event.ctx.str("job_id");
                    jobs.extend(job_id.and_then(|id| self.state.jobs.find(id)));
                }
            }
            pokes = body.pokes;
        }
        let receipt = Receipt {
            first_seq: row.first_seq,
            count: row.count,
            digest: half(&row.digest),
            jobs: jobs.into(),
            pokes: self.receipts.intern_pokes(&pokes),
            at: i64::MIN, // the next snapshot forgets it again
        };
        self.receipts.put(&row.batch_id, None, receipt);
        Ok(())
    }

    /// Recovery is over: every live node of the log has a whole lease from now (protocol R24).
    pub fn start(&mut self, now: Now) {
        self.state.is_replay = false;
        self.now = now;
        self.steady = now.wall.max(self.stamp.at);
        self.calendar = Calendar::start(now, self.stamp.at);
        self.renew_all();
        self.start_ages();
        self.wake = self.next_wake();
    }

    /// A person says that the clock is right, however far it is from the log's newest stamp.
    pub fn believe_clock(&mut self) {
        self.calendar = Calendar::start(self.now, 0);
    }
}
