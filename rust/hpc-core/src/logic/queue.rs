//! Ready tasks by namespace, request shape and priority, so that a claim costs O(tasks granted).
//!
//! Jobs of one shape are interchangeable for fitting: if the first of them does not fit a node,
//! none does. So a claim looks at the first job of each shape only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Index of a job in [`super::jobs::Jobs`].
pub type JobIx = u32;
/// Index of a request shape.
pub type ShapeIx = u32;

/// What one task takes of each resource, by resource index, ascending; nothing that is 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(pub Vec<(usize, i64)>);

/// Higher priority first, then earlier seq.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Of the submit.
    pub priority: Reverse<i64>,
    /// Of the submit.
    pub seq: u64,
}

/// Shapes by namespace.
pub type Fresh = BTreeMap<String, BTreeSet<ShapeIx>>;

/// The queue.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    resources: Vec<String>,
    resource_ids: HashMap<String, usize>,
    shapes: Vec<Shape>,
    shape_ids: HashMap<Shape, ShapeIx>,
    ready: BTreeMap<String, BTreeMap<ShapeIx, BTreeSet<(Rank, JobIx)>>>,
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

    /// What a shape takes.
    #[must_use]
    pub fn needs(&self, shape: ShapeIx) -> &[(usize, i64)] {
        self.shapes.get(shape as usize).map_or(&[], |s| &s.0)
    }

    /// Says that a job has ready tasks.
    pub fn insert(&mut self, ns_id: &str, shape: ShapeIx, rank: Rank, job: JobIx) {
        self.freshen(ns_id, shape);
        if !self.ready.contains_key(ns_id) {
            self.ready.insert(ns_id.to_owned(), BTreeMap::new());
        }
        if let Some(shapes) = self.ready.get_mut(ns_id) {
            shapes.entry(shape).or_default().insert((rank, job));
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

    /// The shapes of which tasks have become ready since this was asked last.
    pub fn take_fresh(&mut self) -> Fresh {
        std::mem::take(&mut self.fresh)
    }

    /// Says that a job has none.
    pub fn remove(&mut self, ns_id: &str, shape: ShapeIx, rank: Rank, job: JobIx) {
        let Some(shapes) = self.ready.get_mut(ns_id) else {
            return;
        };
        if let Some(jobs) = shapes.get_mut(&shape) {
            jobs.remove(&(rank, job));
            if jobs.is_empty() {
                shapes.remove(&shape);
            }
        }
        if shapes.is_empty() {
            self.ready.remove(ns_id);
        }
    }

    /// Whether no job has ready tasks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The first job, among the namespaces, of a shape that the function lets pass; only shapes
    /// among `among`, where that is given.
    pub fn first(
        &self,
        namespaces: &[String],
        among: Option<&Fresh>,
        mut fits: impl FnMut(ShapeIx, JobIx) -> bool,
    ) -> Option<(Rank, JobIx)> {
        let mut best: Option<(Rank, JobIx)> = None;
        let mut look = |shape: ShapeIx, jobs: &BTreeSet<(Rank, JobIx)>| {
            if let Some(first) = jobs.first()
                && best.is_none_or(|best| *first < best)
                && fits(shape, first.1)
            {
                best = Some(*first);
            }
        };
        for ns_id in namespaces {
            let Some(ready) = self.ready.get(ns_id) else {
                continue;
            };
            match among {
                None => ready.iter().for_each(|(shape, jobs)| look(*shape, jobs)),
                Some(among) => {
                    for shape in among.get(ns_id).into_iter().flatten() {
                        if let Some(jobs) = ready.get(shape) {
                            look(*shape, jobs);
                        }
                    }
                }
            }
        }
        best
    }

    /// The jobs before a rank, in any shape of a namespace.
    pub fn ahead(&self, ns_id: &str, rank: Rank) -> impl Iterator<Item = JobIx> + '_ {
        self.ready
            .get(ns_id)
            .into_iter()
            .flat_map(BTreeMap::values)
            .flat_map(move |jobs| jobs.range(..(rank, 0)).map(|(_, job)| *job))
    }
}
