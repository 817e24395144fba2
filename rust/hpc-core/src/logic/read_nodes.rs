//! What `GET /nodes` answers: who is there, what each offers, what is taken of it.

use super::attempts::{Lease, NodeIx};
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Node, at};
use super::query::Query;
use super::queue::Shape;
use super::read::{PAGE_DEFAULT, PAGE_MAX, optional};
use crate::domain::json::Value;
use crate::domain::json_write::{ObjectWriter, write_str};
use crate::domain::problem::Problem;

/// What leases take of a node's offer.
pub(super) struct Taken {
    /// By what has started there, and by what else is leased and fits beside it, by resource index.
    pub used: Vec<i64>,
    /// How many tasks are leased beyond that: they start one after the other as others end.
    pub ahead: u64,
}

impl Hub {
    /// `GET /nodes`.
    pub(super) fn read_nodes(&mut self, token: u64, query: &str) {
        match self.nodes_page(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn nodes_page(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let query = Query::parse(query, &["after", "limit"])?;
        let limit = query.int("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
        let mut nodes: Vec<(NodeIx, &Node)> = self
            .state
            .nodes
            .iter()
            .filter(|(_, node)| node.epoch > 0)
            .filter(|(_, node)| query.get("after").is_none_or(|after| &*node.id > after))
            .collect();
        nodes.sort_unstable_by(|(_, a), (_, b)| a.id.cmp(&b.id));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_cut = nodes.len() > limit;
        nodes.truncate(limit);
        let last = nodes.last().filter(|_| is_cut);
        let next = last.map(|(_, node)| node.id.as_ref());
        Ok(self.render_list(&nodes, next, |out, (ix, node)| {
            self.write_node(out, *ix, node);
        }))
    }

    fn write_node(&self, out: &mut Vec<u8>, ix: NodeIx, node: &Node) {
        let names = self.state.queue.resources();
        let amounts = |amounts: &[i64]| {
            let pairs = names.iter().zip(amounts).filter(|(_, n)| **n != 0);
            Value::Map(
                pairs
                    .map(|(name, n)| (name.clone(), Value::Int(*n)))
                    .collect(),
            )
        };
        let leases: Vec<(&Job, &Lease)> = self.leases_at(ix, node).collect();
        let taken = self.taken_of(node, &leases);
        let reserved = node.reserved.and_then(|of| self.state.jobs.get(of.job));
        let reserved = reserved.map(|job| job.id.to_string());
        let labels = node.labels.iter();
        let labels = labels.map(|(key, value)| (key.clone(), Value::text(value.clone())));
        let mut object = ObjectWriter::new(out);
        object
            .str("node_id", &node.id)
            .str("state", node.state.wire())
            .bool("drained", node.drained.1)
            .bool("draining", node.is_leaving)
            .value(
                "drain_deadline",
                &node.drain_deadline.map_or(Value::Null, Value::Int),
            )
            .int("epoch", node.epoch)
            .str("host", &node.host)
            .str("place", &node.place)
            .str("session", &node.session)
            .list("namespaces", &node.namespaces, |out, ns| write_str(out, ns))
            .value("resources", &amounts(&node.total))
            .value("used", &amounts(&taken.used))
            .int("ahead", taken.ahead)
            .value("labels", &Value::Map(labels.collect()))
            .value("reserved_for", &optional(reserved.as_deref()))
            .int("joined_at", node.joined_at)
            .value("gone_at", &node.gone_at.map_or(Value::Null, Value::Int))
            .list("leases", &leases, |out, (job, lease)| {
                ObjectWriter::new(out)
                    .str("job_id", &job.id)
                    .int("attempt", lease.attempt)
                    .str("tasks", &lease.tasks.to_string())
                    .str("started", &lease.started.to_string())
                    .end();
            })
            .end();
    }

    pub(super) fn leases_at<'h>(
        &'h self,
        ix: NodeIx,
        node: &'h Node,
    ) -> impl Iterator<Item = (&'h Job, &'h Lease)> {
        let jobs = node.leases.iter();
        let jobs = jobs.filter_map(|job| self.state.jobs.live(*job));
        jobs.flat_map(move |job| {
            let leases = job.leases.iter().filter(move |lease| lease.node == ix);
            leases.map(move |lease| (job, lease))
        })
    }

    /// What its leases take of a node. The book has all of them in one sum, as what is leased ahead
    /// must not be leased twice; of that only what has started, and what else fits, is in use.
    pub(super) fn taken_of(&self, node: &Node, leases: &[(&Job, &Lease)]) -> Taken {
        let mut taken = Taken {
            used: vec![0; node.total.len()],
            ahead: 0,
        };
        let shape_of = |lease: &Lease| self.state.queue.shape_at(lease.shape);
        for (_, lease) in leases {
            taken.take(shape_of(lease), lease.started.len());
        }
        for (_, lease) in leases {
            let shape = shape_of(lease);
            let waiting = lease.tasks.len() - lease.started.len();
            let fits = taken.fits(node, shape).min(waiting);
            taken.take(shape, fits);
            taken.ahead += waiting - fits;
        }
        if node.exclusive > 0 {
            taken.used.clone_from(&node.total);
        }
        taken
    }
}

impl Taken {
    fn take(&mut self, shape: &Shape, tasks: u64) {
        let tasks = i64::try_from(tasks).unwrap_or(i64::MAX);
        for (resource, need) in &shape.needs {
            if let Some(used) = self.used.get_mut(*resource) {
                *used += need * tasks;
            }
        }
    }

    /// How many more tasks of a shape fit.
    fn fits(&self, node: &Node, shape: &Shape) -> u64 {
        let free = |resource| (at(&node.total, resource) - at(&self.used, resource)).max(0);
        let fits = shape.needs.iter();
        let fits = fits.map(|(resource, need)| free(*resource) / (*need).max(1));
        let fits = fits.min().unwrap_or(i64::MAX);
        u64::try_from(fits).unwrap_or_default()
    }
}
