//! Live nodes: epochs, what they offer and hold, and until when they are believed.
//!
//! An epoch belongs to one place and session (protocol R22, R23). What is durable of a node comes
//! from events; deadlines, open claims and holds are volatile and rebuilt by the next claims.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::attempts::NodeIx;
use super::queue::{JobIx, Rank, Shape, ShapeIx};
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// Where no task has ended for so long, none is short: twice what is leased ahead may take, ms.
const STUCK_MS: i64 = 2_000;

/// Whether a node's newest epoch lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It claims.
    Up,
    /// It was not heard of for its lease.
    Unreachable,
    /// It went by its own will.
    Left,
}

impl NodeState {
    /// Name on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Left => "left",
        }
    }
}

/// What a claim says the relay holds: running, queued, or ended and not yet acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    /// Job, which the Hub may not know.
    pub job_id: String,
    /// Attempt.
    pub attempt: u32,
    /// Tasks.
    pub tasks: TaskSet,
}

/// A claim that waits for work.
#[derive(Clone, Debug)]
pub struct OpenClaim {
    /// Names the request to the transport.
    pub token: u64,
    /// The relay's number of it.
    pub n: i64,
    /// The most tasks that it takes.
    pub max: u64,
    /// When it is answered at the latest, monotonic ms.
    pub until: i64,
}

/// Something a relay was told and need not be told at once again.
#[derive(Clone, Debug)]
pub struct Told {
    /// Job.
    pub job_id: String,
    /// Attempt.
    pub attempt: u32,
    /// Tasks.
    pub tasks: TaskSet,
    /// Why.
    pub reason: &'static str,
    /// When, monotonic ms.
    pub at: i64,
}

/// A task that a node is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Its job.
    pub job: JobIx,
    /// Where that stands in the queue: what stands before it is not kept waiting.
    pub rank: Rank,
    /// What the task asks for.
    pub shape: ShapeIx,
}

/// What others may take of a node that is kept for a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spare {
    /// The task will have the node to itself.
    Nothing,
    /// So much of each resource, by index.
    Amounts(Vec<i64>),
}

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: Arc<str>,
    /// Newest epoch.
    pub epoch: u32,
    /// Name of the machine.
    pub host: String,
    /// Folder and boot.
    pub place: String,
    /// One start of the relay.
    pub session: String,
    /// The relay's token by which it joined; `None`: an administrator's.
    pub token: Option<String>,
    /// Whether it lives.
    pub state: NodeState,
    /// Which namespaces it serves.
    pub namespaces: Vec<String>,
    /// What it offers, by resource index.
    pub total: Vec<i64>,
    /// What its relay says of it, by key.
    pub labels: Vec<(String, String)>,
    /// What its leases take, the backlog included, by resource index.
    pub used: Vec<i64>,
    /// How many tasks have it to themselves: none or one.
    pub exclusive: i64,
    /// The lease that this epoch was promised, ms.
    pub lease_ms: i64,
    /// Newest word on draining.
    pub drained: (Stamp, bool),
    /// When what it still runs is given back, ms since 1970, where it is drained with a deadline.
    pub drain_deadline: Option<i64>,
    /// When it joined, ms since 1970.
    pub joined_at: i64,
    /// When its newest epoch ended, ms since 1970; `None` while it lives.
    pub gone_at: Option<i64>,
    /// Jobs with a lease here.
    pub leases: BTreeSet<JobIx>,
    /// Volatile: until when its relay may believe in its lease, monotonic ms. It is lost then; where
    /// it was given up on request before, what must never overlap is lost only then.
    pub deadline: Option<i64>,
    /// Volatile: host and place of the relay that takes its name over, and waits for that time.
    pub taken_by: Option<(String, String)>,
    /// Volatile: when leases of a lost epoch are given to others, monotonic ms.
    pub reclaim: Option<i64>,
    /// Volatile: when its relay will end, monotonic ms.
    pub ends_at: Option<i64>,
    /// Volatile: whether its relay ends what runs and goes.
    pub is_leaving: bool,
    /// Volatile: what it is kept for.
    pub reserved: Option<Reserved>,
    /// Volatile: newest number of a claim.
    pub n: i64,
    /// Volatile: the claim that waits.
    pub open: Option<OpenClaim>,
    /// Volatile: what the newest claim holds, in the order of (job, attempt).
    pub holds: Vec<Hold>,
    /// Volatile: cancels that it was told, in the same order.
    pub told: Vec<Told>,
    /// Volatile: tasks that it was asked to give back.
    pub asked: Vec<Told>,
    /// Volatile: whether it was not told yet of all that it is asked to give back.
    pub must_ask: bool,
    /// Volatile: whether the deadline of its drain has passed.
    pub is_drain_due: bool,
    /// Volatile: when its newest claim came, monotonic ms.
    pub heard_at: Option<i64>,
    /// Volatile: whether a task has ended there since the last match.
    pub has_moved: bool,
    /// Volatile: when one did last, monotonic ms.
    pub moved_at: i64,
    /// Volatile: whether that is so long ago that what is leased ahead waits for a long task.
    pub is_stuck: bool,
    /// Volatile: whether more may fit than at the last match.
    pub dirty: bool,
    /// Volatile: whether something may have to be told.
    pub attention: bool,
}

impl Node {
    /// A node that has not joined.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.into(),
            epoch: 0,
            host: String::new(),
            place: String::new(),
            session: String::new(),
            token: None,
            state: NodeState::Left,
            namespaces: Vec::new(),
            total: Vec::new(),
            labels: Vec::new(),
            used: Vec::new(),
            exclusive: 0,
            lease_ms: 0,
            drained: (Stamp::default(), false),
            drain_deadline: None,
            joined_at: 0,
            gone_at: None,
            leases: BTreeSet::new(),
            deadline: None,
            taken_by: None,
            reclaim: None,
            ends_at: None,
            is_leaving: false,
            reserved: None,
            n: -1,
            open: None,
            holds: Vec::new(),
            told: Vec::new(),
            asked: Vec::new(),
            must_ask: false,
            is_drain_due: false,
            heard_at: None,
            has_moved: true,
            moved_at: 0,
            is_stuck: false,
            dirty: false,
            attention: false,
        }
    }

    /// Whether it takes new work.
    #[must_use]
    pub fn takes_work(&self) -> bool {
        self.state == NodeState::Up && !self.drained.1 && !self.is_leaving
    }

    /// Takes the newest word on draining. Of two with one stamp, a drain holds, and the sooner
    /// deadline: whichever comes first, the other changes nothing.
    pub fn say_drained(&mut self, said: (Stamp, bool), deadline: Option<i64>) {
        match said.cmp(&self.drained) {
            Ordering::Greater => {
                self.drained = said;
                self.drain_deadline = deadline;
            }
            Ordering::Equal => {
                let deadlines = [self.drain_deadline, deadline];
                self.drain_deadline = deadlines.into_iter().flatten().min();
            }
            Ordering::Less => {}
        }
    }

    /// Notes whether tasks still end there. That they do not any more is to be looked at.
    pub fn note_moves(&mut self, now: i64) {
        if std::mem::take(&mut self.has_moved) {
            self.moved_at = now;
            self.is_stuck = false;
        } else if !self.is_stuck && now >= self.stuck_at() {
            self.is_stuck = true;
            self.attention = true;
        }
    }

    /// When it is stuck if no task ends before, monotonic ms.
    #[must_use]
    pub fn stuck_at(&self) -> i64 {
        self.moved_at.saturating_add(STUCK_MS)
    }

    /// Whether more is leased to it than fits.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let over = |(used, total): (&i64, &i64)| *total > 0 && used > total;
        self.used.iter().zip(&self.total).any(over)
    }

    /// Whether it is a place for tasks of a shape, full or not.
    #[must_use]
    pub fn is_place_for(&self, shape: &Shape, now: i64) -> bool {
        let placement = shape.placement.as_ref();
        placement.is_none_or(|place| place.allows(self, self.left_ms(now)))
    }

    /// How long its relay will still be there, where that is known.
    #[must_use]
    pub fn left_ms(&self, now: i64) -> Option<i64> {
        self.ends_at.map(|end| end - now)
    }

    /// How many tasks of a shape fit beside what is leased; of what is free only `spare`, where the
    /// node is kept for another task.
    #[must_use]
    pub fn room(&self, shape: &Shape, spare: Option<&Spare>, now: i64) -> u64 {
        if self.exclusive > 0 || !self.is_place_for(shape, now) {
            return 0;
        }
        let used = |resource| match is_broken(Rule::R28) {
            true => 0,
            false => at(&self.used, resource),
        };
        let free = |resource| at(&self.total, resource) - used(resource);
        match spare {
            Some(Spare::Nothing) => 0,
            Some(Spare::Amounts(_)) if shape.is_exclusive() => 0,
            Some(Spare::Amounts(spare)) => self.fit(&shape.needs, |resource| {
                free(resource).min(at(spare, resource))
            }),
            None if shape.is_exclusive() && !self.leases.is_empty() => 0,
            None => {
                let room = self.fit(&shape.needs, free);
                room.min(if shape.is_exclusive() { 1 } else { u64::MAX })
            }
        }
    }

    /// Whether it has at all what a task of a shape needs, be it a place for it or not.
    #[must_use]
    pub fn has(&self, shape: &Shape) -> bool {
        let mut needs = shape.needs.iter();
        needs.all(|(resource, need)| at(&self.total, *resource) >= *need)
    }

    /// How many tasks of a shape fit into the whole offer.
    #[must_use]
    pub fn capacity(&self, shape: &Shape, now: i64) -> u64 {
        if !self.is_place_for(shape, now) {
            return 0;
        }
        let capacity = self.fit(&shape.needs, |resource| at(&self.total, resource));
        if shape.is_exclusive() {
            capacity.min(1)
        } else {
            capacity
        }
    }

    fn fit(&self, needs: &[(usize, i64)], free: impl Fn(usize) -> i64) -> u64 {
        let fits = needs
            .iter()
            .map(|(resource, need)| free(*resource).max(0) / (*need).max(1));
        // What needs nothing fits as often as one claim can say.
        fits.min().map_or(u64::from(u32::MAX), |n| {
            u64::try_from(n).unwrap_or_default()
        })
    }

    /// How many tasks of a shape are leased beyond the whole offer.
    #[must_use]
    pub fn excess(&self, shape: &Shape) -> u64 {
        let over = shape.needs.iter().map(|(resource, need)| {
            let over = at(&self.used, *resource) - at(&self.total, *resource);
            over.max(0).div_euclid((*need).max(1))
                + i64::from(over > 0 && over % (*need).max(1) != 0)
        });
        u64::try_from(over.max().unwrap_or_default()).unwrap_or_default()
    }

    /// Books `count` tasks in (or, negative, out).
    pub fn book(&mut self, shape: &Shape, count: i64) {
        self.dirty |= count < 0;
        if shape.is_exclusive() {
            self.exclusive += count;
        }
        for (resource, need) in &shape.needs {
            if self.used.len() <= *resource {
                self.used.resize(resource + 1, 0);
            }
            if let Some(used) = self.used.get_mut(*resource) {
                *used += need * count;
            }
        }
    }
}

/// An entry of a vector that is 0 beyond its end.
#[must_use]
pub fn at(amounts: &[i64], resource: usize) -> i64 {
    amounts.get(resource).copied().unwrap_or_default()
}

/// All nodes.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    list: Vec<Node>,
    by_id: HashMap<Arc<str>, NodeIx>,
}

impl Nodes {
    /// The index of a node.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<NodeIx> {
        self.by_id.get(id).copied()
    }

    /// The index of a node; made if it is not there.
    pub fn find_or_make(&mut self, id: &str) -> NodeIx {
        self.find(id).unwrap_or_else(|| {
            let ix = NodeIx::try_from(self.list.len()).unwrap_or(NodeIx::MAX);
            let node = Node::new(id);
            self.by_id.insert(node.id.clone(), ix);
            self.list.push(node);
            ix
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a node that is not there.
    pub fn push(&mut self, node: Node) {
        let ix = NodeIx::try_from(self.list.len()).unwrap_or(NodeIx::MAX);
        self.by_id.insert(node.id.clone(), ix);
        self.list.push(node);
    }

    /// The node of an index.
    #[must_use]
    pub fn get(&self, ix: NodeIx) -> Option<&Node> {
        self.list.get(ix as usize)
    }

    /// The node of an index, to be changed.
    pub fn get_mut(&mut self, ix: NodeIx) -> Option<&mut Node> {
        self.list.get_mut(ix as usize)
    }

    /// All nodes in the order of their first joins.
    pub fn iter(&self) -> impl Iterator<Item = (NodeIx, &Node)> {
        (0..).zip(&self.list)
    }

    /// All nodes, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIx, &mut Node)> {
        (0..).zip(&mut self.list)
    }
}
