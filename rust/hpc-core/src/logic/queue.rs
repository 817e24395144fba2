//! Ready tasks by namespace, request shape and priority, so that a claim costs O(tasks granted).
//!
//! Jobs of one shape are interchangeable for fitting: if the first of them does not fit a node,
//! none does. So a claim looks at the first job of each shape only, best rank first, until one
//! fits. (A job that may have only so many tasks on a node is passed over where it has them; it
//! holds a lease there, so those are no more than the node runs.)

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::placement::Placement;

/// Index of a job in [`super::jobs::Jobs`].
pub type JobIx = u32;
/// Index of a request shape.
pub type ShapeIx = u32;

/// The weight of the newest in a mean of late.
pub const NEWEST: f64 = 0.3;

/// What one task asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// What it takes of each resource, by resource index, ascending; nothing that is 0.
    pub needs: Vec<(usize, i64)>,
    /// Where it may run, if not anywhere.
    pub placement: Option<Box<Placement>>,
}

impl Shape {
    /// Whether a task has its node to itself.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.placement.as_ref().is_some_and(|p| p.is_exclusive)
    }

    /// The most tasks of one job that are leased to a node at a time.
    #[must_use]
    pub fn max_per_node(&self) -> u64 {
        let placement = self.placement.as_ref();
        placement.and_then(|p| p.max_per_node).unwrap_or(u64::MAX)
    }
}

/// Higher priority first, then earlier seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Of the submit.
    pub priority: Reverse<i64>,
    /// Of the submit.
    pub seq: u64,
}

/// Whether a job's tasks fit a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// One does.
    Yes,
    /// None of this shape does.
    No,
    /// The job has there as many as it may have; another one of the shape may fit.
    JobIsFull,
}

/// Jobs of one shape in the order of their ranks: by priority, as most have the same.
#[derive(Clone, Debug, Default)]
struct Line(BTreeMap<Reverse<i64>, BTreeSet<(u64, JobIx)>>);

impl Line {
    fn insert(&mut self, rank: Rank, job: JobIx) {
        let same = self.0.entry(rank.priority).or_default();
        same.insert((rank.seq, job));
    }

    fn remove(&mut self, rank: Rank, job: JobIx) {
        if let Some(same) = self.0.get_mut(&rank.priority) {
            same.remove(&(rank.seq, job));
            if same.is_empty() {
                self.0.remove(&rank.priority);
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Rank, JobIx)> + '_ {
        self.0.iter().flat_map(|(priority, same)| {
            let rank = |seq| Rank {
                priority: *priority,
                seq,
            };
            same.iter().map(move |(seq, job)| (rank(*seq), *job))
        })
    }

    fn first(&self) -> Option<(Rank, JobIx)> {
        self.iter().next()
    }

    /// Those before a rank.
    fn before(&self, rank: Rank) -> impl Iterator<Item = (Rank, JobIx)> + '_ {
        self.iter().take_while(move |(of, _)| *of < rank)
    }
}

/// The jobs of one namespace that have ready tasks.
#[derive(Clone, Debug, Default)]
struct Ready {
    by_shape: BTreeMap<ShapeIx, Line>,
    /// The first job of each shape.
    heads: BTreeSet<(Rank, JobIx, ShapeIx)>,
    /// The shapes that have another first job than when this was asked last.
    new_heads: BTreeSet<ShapeIx>,
}

impl Ready {
    /// Changes the jobs of a shape, and its head with them.
    fn change(&mut self, shape: ShapeIx, change: impl FnOnce(&mut Line)) {
        let jobs = self.by_shape.entry(shape).or_default();
        let former = jobs.first();
        change(jobs);
        let head = jobs.first();
        if head.is_none() {
            self.by_shape.remove(&shape);
        }
        if former != head {
            if let Some((rank, job)) = former {
                self.heads.remove(&(rank, job, shape));
            }
            self.heads
                .extend(head.map(|(rank, job)| (rank, job, shape)));
            self.new_heads.insert(shape);
        }
    }
}

/// Shapes by namespace.
pub type Fresh = BTreeMap<String, BTreeSet<ShapeIx>>;

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    resources: Vec<String>,
    resource_ids: BTreeMap<String, usize>,
    shapes: Vec<Shape>,
    shape_ids: BTreeMap<Shape, ShapeIx>,
    ready: BTreeMap<String, Ready>,
    /// How long tasks of a namespace and shape take of late, ms. Decides nothing but how many are leased
    /// ahead, and so is no part of what is known: it is learned anew after a start.
    means: BTreeMap<String, BTreeMap<ShapeIx, f64>>,
    none: Shape,
    fresh: Fresh,
}

impl Queue {
    /// The index of a resource; made if it is not there.
    pub fn resource(&mut self, name: &str) -> usize {
        self.find_resource(name).unwrap_or_else(|| {
            self.resources.push(name.to_owned());
            let ix = self.resources.len() - 1;
            self.resource_ids.insert(name.to_owned(), ix);
            ix
        })
    }

    /// The index of a resource that some job or node has named.
    #[must_use]
    pub fn find_resource(&self, name: &str) -> Option<usize> {
        self.resource_ids.get(name).copied()
    }

    /// The names of all resources, by index.
    #[must_use]
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// The index of a shape; made if it is not there.
    pub fn shape(&mut self, shape: Shape) -> ShapeIx {
        if let Some(ix) = self.shape_ids.get(&shape) {
            return *ix;
        }
        let ix = ShapeIx::try_from(self.shapes.len()).unwrap_or(ShapeIx::MAX);
        self.shapes.push(shape.clone());
        self.shape_ids.insert(shape, ix);
        ix
    }

    /// All shapes, by index.
    #[must_use]
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// What the tasks of a shape ask for.
    #[must_use]
    pub fn shape_at(&self, shape: ShapeIx) -> &Shape {
        self.shapes.get(shape as usize).unwrap_or(&self.none)
    }

    /// Notes how long tasks of a job have taken, for the jobs like it: most are of one task, and over
    /// before their own time is known.
    pub fn learn(&mut self, ns_id: &str, shape: ShapeIx, ms: f64) {
        if !self.means.contains_key(ns_id) {
            self.means.insert(ns_id.to_owned(), BTreeMap::new());
        }
        if let Some(means) = self.means.get_mut(ns_id) {
            let mean = means.entry(shape).or_insert(ms);
            *mean += NEWEST * (ms - *mean);
        }
    }

    /// How long tasks of a namespace and shape take of late, ms; `None` before the first has ended.
    #[must_use]
    pub fn mean_ms(&self, ns_id: &str, shape: ShapeIx) -> Option<f64> {
        self.means.get(ns_id)?.get(&shape).copied()
    }

    /// Says that a job has ready tasks.
    pub fn insert(&mut self, ns_id: &str, shape: ShapeIx, rank: Rank, job: JobIx) {
        self.freshen(ns_id, shape);
        if !self.ready.contains_key(ns_id) {
            self.ready.insert(ns_id.to_owned(), Ready::default());
        }
        if let Some(ready) = self.ready.get_mut(ns_id) {
            ready.change(shape, |jobs| jobs.insert(rank, job));
        }
    }

    /// Says that more tasks of a shape are ready than at the last look.
    pub fn freshen(&mut self, ns_id: &str, shape: ShapeIx) {
        if !self.fresh.contains_key(ns_id) {
            self.fresh.insert(ns_id.to_owned(), BTreeSet::new());
        }
        if let Some(shapes) = self.fresh.get_mut(ns_id) {
            shapes.insert(shape);
        }
    }

    /// Whether tasks have become ready since they were taken last.
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The shapes of which tasks have become ready since this was asked last.
    pub fn take_fresh(&mut self) -> Fresh {
        std::mem::take(&mut self.fresh)
    }

    /// Says that a job has none.
    pub fn remove(&mut self, ns_id: &str, shape: ShapeIx, rank: Rank, job: JobIx) {
        let Some(ready) = self.ready.get_mut(ns_id) else {
            return;
        };
        ready.change(shape, |jobs| jobs.remove(rank, job));
        if ready.by_shape.is_empty() {
            self.ready.remove(ns_id);
        }
    }

    /// Whether no job has ready tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The first job, among the namespaces, of which the function says that it fits; only shapes
    /// among `among`, where that is given.
    pub fn first(
        &self,
        namespaces: &[String],
        among: Option<&Fresh>,
        mut fits: impl FnMut(JobIx, Rank) -> Fit,
    ) -> Option<(Rank, JobIx)> {
        let mut best: Option<(Rank, JobIx)> = None;
        for ns_id in namespaces {
            let Some(ready) = self.ready.get(ns_id) else {
                continue;
            };
            let mut look = |shape: ShapeIx, best: &mut Option<(Rank, JobIx)>| {
                for first in ready
                    .by_shape
                    .get(&shape)
                    .iter()
                    .flat_map(|line| line.iter())
                {
                    if best.is_some_and(|best| best <= first) {
                        return;
                    }
                    match fits(first.1, first.0) {
                        Fit::Yes => *best = Some(first),
                        Fit::No => return,
                        Fit::JobIsFull => {}
                    }
                }
            };
            if let Some(among) = among {
                for shape in among.get(ns_id).into_iter().flatten() {
                    look(*shape, &mut best);
                }
                continue;
            }
            for (rank, job, shape) in &ready.heads {
                if best.is_some_and(|best| best <= (*rank, *job)) {
                    break;
                }
                look(*shape, &mut best);
            }
        }
        best
    }

    /// The first jobs of those shapes that have another one than when this was asked last.
    pub fn take_new_heads(&mut self) -> Vec<JobIx> {
        let mut heads = Vec::new();
        for ready in self.ready.values_mut() {
            for shape in std::mem::take(&mut ready.new_heads) {
                let first = ready.by_shape.get(&shape).and_then(Line::first);
                heads.extend(first.map(|(_, job)| job));
            }
        }
        heads
    }

    /// The first jobs of the shapes, among the namespaces, that stand before a rank.
    pub fn heads_before<'q>(
        &'q self,
        namespaces: &'q [String],
        rank: Rank,
    ) -> impl Iterator<Item = (Rank, JobIx, ShapeIx)> + 'q {
        let ready = namespaces.iter().filter_map(|ns_id| self.ready.get(ns_id));
        ready.flat_map(move |ready| ready.heads.range(..(rank, 0, 0)).copied())
    }

    /// The jobs before a rank, in any shape of a namespace.
    pub fn ahead(
        &self,
        ns_id: &str,
        rank: Rank,
    ) -> impl Iterator<Item = (Rank, JobIx, ShapeIx)> + '_ {
        let ready = self.ready.get(ns_id).into_iter();
        let shapes = ready.flat_map(|ready| &ready.by_shape);
        shapes.flat_map(move |(shape, jobs)| jobs.before(rank).map(|(of, job)| (of, job, *shape)))
    }
}
