//! Reservations: a node is kept for a task that fits nowhere now, so that small ones do not starve
//! it.
//!
//! Before a task is granted, those that stand before it and do not fit are looked at. One that fits
//! nowhere gets a node: the one that lacks least of what it needs. What stands behind it may then
//! use of that node what will be left over when the task fits, and no more: it must not have to wait
//! for one more end than without them. A node is kept for one task at a time, a shape has one node
//! at a time, and nothing of it is in the log: grants are.
//!
//! The idea is the reservation of a backfilling scheduler (Lifka, 1995), without its guess at when
//! running tasks will end.

use std::collections::HashMap;

use super::attempts::NodeIx;
use super::backlog::backlog;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Node, Reserved, Spare, at};
use super::queue::{Fit, JobIx, Rank, Shape, ShapeIx};

/// What is known of shapes that do not fit some node, for one round of matching: room only shrinks
/// in it.
#[derive(Debug, Default)]
pub(super) struct Looked(HashMap<ShapeIx, Found>);

impl Looked {
    /// What was found of a shape holds no more: a task of it was leased.
    pub(super) fn forget(&mut self, shape: ShapeIx) {
        self.0.remove(&shape);
    }
}

#[derive(Clone, Copy, Debug)]
enum Found {
    /// It fits there.
    At(NodeIx),
    /// A node is kept for it, or none could ever be.
    Settled,
}

impl Hub {
    /// How many tasks of a job a node can take now.
    pub(super) fn room(&self, ix: NodeIx, job: JobIx, with_backlog: bool) -> u64 {
        let job = self.state.jobs.get(job);
        job.map_or(0, |job| self.room_of(ix, &job, with_backlog))
    }

    /// The same of a job that is looked at.
    pub(super) fn room_of(&self, ix: NodeIx, job: &Job, with_backlog: bool) -> u64 {
        let Some(node) = self.state.nodes.get(ix) else {
            return 0;
        };
        let shape = self.state.queue.shape_at(job.shape);
        let now = self.now.mono;
        let spare = self.spare(node, job.rank);
        let mut room = node.room(shape, spare.as_ref(), now);
        let may_wait =
            node.exclusive == 0 && !shape.is_exclusive() && spare.is_none() && !node.is_stuck;
        if room == 0 && with_backlog && may_wait {
            // What does not fit into the whole offer is not leased ahead either: it could never
            // start.
            let capacity = node.capacity(shape, now);
            if capacity > 0 {
                // A job of one task is over once its time is known; of a longer one it will be.
                let is_one = job.tasks.len() == 1;
                let like_it = || self.state.queue.mean_ms(&job.ns_id, job.shape);
                let mean_ms = job.mean_ms.or_else(|| like_it().filter(|_| is_one));
                room = backlog(mean_ms, capacity).saturating_sub(node.excess(shape));
            }
        }
        room.min(left_here(job, ix, shape))
    }

    /// What a node that is kept for a task has left for those behind it; `None` where it is not.
    ///
    /// What runs there ends in pieces of which the least is known. So many of them must end as make
    /// the task fit, and what is then free beyond its need is spare.
    pub(super) fn spare(&self, node: &Node, rank: Rank) -> Option<Spare> {
        let reserved = node.reserved.filter(|reserved| reserved.rank < rank)?;
        let shape = self.state.queue.shape_at(reserved.shape);
        if shape.is_exclusive() {
            return Some(Spare::Nothing);
        }
        let mut spare: Vec<i64> = (0..node.total.len())
            .map(|resource| at(&node.total, resource) - at(&node.used, resource))
            .collect();
        for (resource, need) in &shape.needs {
            let Some(spare) = spare.get_mut(*resource) else {
                continue;
            };
            let lack = (need - *spare).max(0);
            let piece = if lack > 0 {
                self.least_piece(node, *resource)
            } else {
                1
            };
            let ends = lack.div_euclid(piece) + i64::from(lack % piece > 0);
            *spare += ends * piece - need;
        }
        Some(Spare::Amounts(spare))
    }

    /// The least that a task which is leased to a node takes of a resource.
    fn least_piece(&self, node: &Node, resource: usize) -> i64 {
        let own = self.state.nodes.find(&node.id);
        let jobs = node.leases.iter();
        let jobs = jobs.filter_map(|ix| self.state.jobs.live(*ix));
        let leases = jobs.flat_map(|job| &job.leases);
        let leases = leases.filter(|lease| Some(lease.node) == own);
        let pieces = leases.filter_map(|lease| {
            let needs = &self.state.queue.shape_at(lease.shape).needs;
            let found = needs.iter().find(|(of, _)| *of == resource);
            found.map(|(_, amount)| *amount)
        });
        pieces.min().unwrap_or(1).max(1)
    }

    /// How many tasks of a job would fit a node if nothing ran there.
    pub(super) fn capacity(&self, ix: NodeIx, job: JobIx) -> u64 {
        let (Some(node), Some(job)) = (self.state.nodes.get(ix), self.state.jobs.get(job)) else {
            return 0;
        };
        node.capacity(self.state.queue.shape_at(job.shape), self.now.mono)
    }

    /// Whether a task of a job fits a node, or one of another job of its shape might.
    pub(super) fn fit(&self, ix: NodeIx, job: JobIx) -> Fit {
        if self.room(ix, job, false) > 0 {
            return Fit::Yes;
        }
        let job = self.state.jobs.get(job);
        match job.is_some_and(|job| left_here(&job, ix, self.state.queue.shape_at(job.shape)) == 0)
        {
            true => Fit::JobIsFull,
            false => Fit::No,
        }
    }

    /// Ends the reservations of tasks that are not waiting any more and of nodes that are no place
    /// for them; whether there were any.
    pub(super) fn end_reservations(&mut self) -> bool {
        let kept: Vec<NodeIx> = self
            .state
            .nodes
            .iter()
            .filter_map(|(ix, node)| node.reserved.map(|reserved| (ix, node, reserved)))
            .filter(|(_, node, reserved)| !self.still_waits(node, *reserved))
            .map(|(ix, ..)| ix)
            .collect();
        for ix in &kept {
            if let Some(node) = self.state.nodes.get_mut(*ix) {
                node.reserved = None;
                node.dirty = true;
            }
        }
        !kept.is_empty()
    }

    fn still_waits(&self, node: &Node, reserved: Reserved) -> bool {
        let job = self.state.jobs.get(reserved.job);
        let is_ready = job.is_some_and(|job| {
            job.is_ready() && job.rank == reserved.rank && job.shape == reserved.shape
        });
        let shape = self.state.queue.shape_at(reserved.shape);
        is_ready && node.takes_work() && node.capacity(shape, self.now.mono) > 0
    }

    /// Ends the reservation of a node for a job of which a task was leased there now.
    pub(super) fn end_reservation(&mut self, ix: NodeIx, job: JobIx) {
        let node = self.state.nodes.get_mut(ix);
        if let Some(node) = node.filter(|node| node.reserved.is_some_and(|of| of.job == job)) {
            node.reserved = None;
            node.dirty = true;
        }
    }

    /// Whether a task of a job could run at a node once it has room, for match and backlog alike: a
    /// job that has there all that it may have stands in nobody's way.
    pub(super) fn could_run(&self, ix: NodeIx, job: JobIx) -> Fit {
        match self.fit(ix, job) {
            Fit::No if self.capacity(ix, job) == 0 => Fit::No,
            Fit::No => Fit::Yes,
            fit => fit,
        }
    }

    /// Keeps nodes for tasks that stand before a rank and fit nowhere; whether the node is one.
    pub(super) fn reserve(&mut self, ix: NodeIx, rank: Rank, looked: &mut Looked) -> bool {
        let Some(node) = self.state.nodes.get(ix) else {
            return false;
        };
        let heads = self.state.queue.heads_before(&node.namespaces, rank);
        let heads: Vec<(Rank, JobIx, ShapeIx)> = heads
            .filter(|(_, _, shape)| match looked.0.get(shape) {
                Some(Found::Settled) => false,
                Some(Found::At(_)) | None => true,
            })
            .collect();
        for (rank, job, shape) in heads {
            if let Some(Found::At(at)) = looked.0.get(&shape)
                && self.room(*at, job, false) > 0
            {
                continue;
            }
            let (found, reserved) = self.place_for(rank, job, shape);
            looked.0.insert(shape, found);
            if reserved == Some(ix) {
                return true;
            }
        }
        false
    }

    /// Looks for a node that a job's task fits now; without one, keeps a node for it, and says which.
    fn place_for(&mut self, rank: Rank, ix: JobIx, shape: ShapeIx) -> (Found, Option<NodeIx>) {
        self.state.jobs.wake(ix);
        let Some(job) = self.state.jobs.live(ix) else {
            return (Found::Settled, None);
        };
        let mut best: Option<(f64, NodeIx)> = None;
        let needs = self.state.queue.shape_at(shape);
        for (at, node) in self.state.nodes.iter() {
            if !node.takes_work() || !node.namespaces.contains(&job.ns_id) {
                continue;
            }
            if node
                .reserved
                .is_some_and(|reserved| reserved.shape == shape)
            {
                return (Found::Settled, None);
            }
            if self.room(at, ix, false) > 0 {
                return (Found::At(at), None);
            }
            let is_kept = node.reserved.is_some_and(|reserved| reserved.rank < rank);
            let could_run = node.capacity(needs, self.now.mono) > 0;
            if is_kept || !could_run || left_here(job, at, needs) == 0 {
                continue;
            }
            let lack = lack(node, needs);
            if best.is_none_or(|(least, _)| lack < least) {
                best = Some((lack, at));
            }
        }
        let place = best.map(|(_, at)| at);
        if let Some(node) = place.and_then(|at| self.state.nodes.get_mut(at)) {
            node.reserved = Some(Reserved {
                job: ix,
                rank,
                shape,
            });
        }
        (Found::Settled, place)
    }
}

/// How many more tasks of a job may be leased to a node beside those that are.
pub(super) fn left_here(job: &Job, ix: NodeIx, shape: &Shape) -> u64 {
    // A number at a node is one lease there, which is granted and booked by one shape: what a further
    // round asks for otherwise does not join it, but waits until it has ended.
    let next = job.next_ready().and_then(|(next, _)| job.lease(next, ix));
    if next.is_some_and(|lease| lease.shape != job.shape) {
        return 0;
    }
    match shape.max_per_node() {
        u64::MAX => u64::MAX,
        most => most.saturating_sub(job.leased_to(ix)),
    }
}

/// The greatest part of a node's whole that must become free before a task fits.
fn lack(node: &Node, shape: &Shape) -> f64 {
    let all = (0..node.total.len()).map(|resource| (resource, at(&node.total, resource)));
    let needs: Vec<(usize, i64)> = match shape.is_exclusive() {
        true => all.collect(),
        false => shape.needs.clone(),
    };
    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    let parts = needs.iter().map(|(resource, need)| {
        let total = at(&node.total, *resource).max(1);
        let lack = at(&node.used, *resource) + need - total;
        lack.max(0) as f64 / total as f64
    });
    parts.fold(0.0, f64::max)
}
