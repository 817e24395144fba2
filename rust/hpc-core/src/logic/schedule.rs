//! Ready tasks to open claims: higher priority first, then earlier seq, among what fits.
//!
//! Never over-committed, but for a backlog (`backlog.rs`); never idle with a fitting task ready, but
//! for a node that is kept for another (`reservation.rs`). What a claim is told is `answer.rs`'s.

use super::answer::Granted;
use super::attempts::NodeIx;
use super::hub::{Fault, Hub, RowWriter};
use super::job::Job;
use super::queue::{Fit, Fresh, JobIx};
use super::reservation::Looked;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

impl Hub {
    /// Grants what fits to the claims that wait, and answers those that have something to say.
    pub(super) fn schedule(&mut self) -> Result<(), Fault> {
        let mut open: Vec<NodeIx> = Vec::new();
        for (ix, node) in self.state.nodes.iter_mut() {
            node.note_moves(self.now.mono);
            if node.open.is_some() {
                open.push(ix);
            }
        }
        self.state.wake_next();
        let mut grants: Vec<Granted> = vec![Granted::new(); open.len()];
        let mut something_changed = false;
        // What is waiting already keeps a backlog from being filled; who comes anew may want it back.
        let may_be_urgent = self.state.queue.has_fresh();
        // Who was kept a node for may have been granted all that it waited for: then others may fit
        // there.
        while self.end_reservations() | self.match_all(&open, &mut grants)? {
            something_changed = true;
        }
        if something_changed {
            let empty_handed = open.iter().zip(&grants).filter(|(_, g)| g.is_empty());
            let idle = empty_handed.map(|(ix, _)| *ix);
            let idle: Vec<NodeIx> = idle.filter(|ix| self.is_idle(*ix)).collect();
            self.take_back(&idle, may_be_urgent);
        }
        for (ix, grants) in open.into_iter().zip(grants) {
            self.answer_claim(ix, grants);
        }
        Ok(())
    }

    /// Grants what fits to all claims that wait; whether there was something to look at.
    fn match_all(&mut self, open: &[NodeIx], grants: &mut [Granted]) -> Result<bool, Fault> {
        // After the last turn nothing that was ready fitted into any open claim. So a node is
        // matched against all shapes only if its claim or its book has changed since, and against
        // those that have become ready otherwise.
        let fresh = self.state.queue.take_fresh();
        let dirty: Vec<bool> = open.iter().map(|ix| self.take_dirty(*ix)).collect();
        if fresh.is_empty() && !dirty.contains(&true) {
            return Ok(false);
        }
        if self.state.queue.is_empty() {
            return Ok(true);
        }
        let mut row = self.begin_row();
        let mut looked = Looked::default();
        for with_backlog in [false, true] {
            for ((ix, dirty), grants) in open.iter().zip(&dirty).zip(grants.iter_mut()) {
                let among = (!dirty).then_some(&fresh);
                let (row, looked) = (&mut row, &mut looked);
                if with_backlog {
                    self.match_backlog(row, *ix, among, grants)?;
                } else {
                    self.match_room(row, *ix, among, (grants, looked))?;
                }
            }
        }
        self.end_own_row(row);
        Ok(true)
    }

    /// Whether a node's claim or book has changed since it was asked last.
    fn take_dirty(&mut self, ix: NodeIx) -> bool {
        let node = self.state.nodes.get_mut(ix);
        node.is_some_and(|node| std::mem::take(&mut node.dirty))
    }

    /// Grants to one node what fits into its room, of all shapes or only among some.
    fn match_room(
        &mut self,
        row: &mut RowWriter,
        ix: NodeIx,
        among: Option<&Fresh>,
        (grants, looked): (&mut Granted, &mut Looked),
    ) -> Result<(), Fault> {
        while self.left_to_take(ix, grants) > 0 {
            let Some(node) = self.state.nodes.get(ix) else {
                return Ok(());
            };
            let fits = |job, _| self.fit(ix, job);
            let first = self.state.queue.first(&node.namespaces, among, fits);
            let Some((rank, job)) = first else {
                return Ok(());
            };
            // Who stands before it and fits nowhere may be kept this very node.
            if !self.reserve(ix, rank, looked) {
                let shape = self.state.jobs.get(job).map(|job| job.shape);
                self.grant(row, ix, job, (false, grants))?;
                if let Some(shape) = shape {
                    looked.forget(shape);
                }
            }
        }
        Ok(())
    }

    /// Leases tasks ahead to one node beyond its room: only of the first job that could ever run
    /// there, lest leases ahead of higher rank fill the room that it waits for.
    fn match_backlog(
        &mut self,
        row: &mut RowWriter,
        ix: NodeIx,
        among: Option<&Fresh>,
        grants: &mut Granted,
    ) -> Result<(), Fault> {
        while self.left_to_take(ix, grants) > 0 {
            let Some(node) = self.state.nodes.get(ix) else {
                return Ok(());
            };
            let queue = &self.state.queue;
            let has_room = |job, _| match self.room(ix, job, true) {
                0 => Fit::No,
                _ => Fit::Yes,
            };
            if among.is_some() && queue.first(&node.namespaces, among, has_room).is_none() {
                return Ok(());
            }
            let could_run = |job, rank| match self.could_run(ix, job) {
                Fit::No => has_room(job, rank),
                fit => fit,
            };
            let first = queue.first(&node.namespaces, None, could_run);
            let Some((_, job)) = first.filter(|(_, job)| self.room(ix, *job, true) > 0) else {
                return Ok(());
            };
            self.grant(row, ix, job, (true, grants))?;
        }
        Ok(())
    }

    /// How many more tasks an open claim takes.
    fn left_to_take(&self, ix: NodeIx, grants: &Granted) -> u64 {
        let node = self.state.nodes.get(ix).filter(|node| node.takes_work());
        let max = node.and_then(|node| Some(node.open.as_ref()?.max));
        let taken: u64 = grants.values().map(TaskSet::len).sum();
        max.unwrap_or_default().saturating_sub(taken)
    }

    /// Leases as many tasks of a job to a node as there is room for.
    fn grant(
        &mut self,
        row: &mut RowWriter,
        ix: NodeIx,
        job: JobIx,
        (with_backlog, grants): (bool, &mut Granted),
    ) -> Result<(), Fault> {
        self.state.jobs.wake(job);
        let Some(of) = self.state.jobs.live(job) else {
            return Ok(());
        };
        let Some((attempt, ready)) = of.next_ready() else {
            return Ok(());
        };
        let room = self.room(ix, job, with_backlog);
        let count = room
            .min(self.left_to_take(ix, grants))
            .min(Job::throttle_left(of));
        let tasks = ready.into_owned().take_first(count);
        self.record_claimed(row, ix, job, attempt, &tasks, false)?;
        self.end_reservation(ix, job);
        self.state.wake_next();
        grants.entry((job, attempt)).or_default().join(&tasks);
        Ok(())
    }
}
