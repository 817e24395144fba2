//! What events about nodes change: who is there, what it offers, whether it takes new work.

use super::kernel::Entry;
use super::nodes::NodeState;
use super::state::State;
use crate::domain::event::KernelKind;
use crate::domain::json::{Map, Value};

impl State {
    pub(super) fn node_joined(&mut self, entry: &Entry<'_>) {
        let Some(id) = entry.ctx.node_id() else {
            return;
        };
        let ix = self.nodes.find_or_make(id);
        let resources = entry.spec.get("resources").and_then(Value::as_map);
        let resources = resources.into_iter().flat_map(Map::iter);
        let offered: Vec<(usize, i64)> = resources
            .filter_map(|(name, value)| match value {
                Value::Int(n) => Some((self.queue.resource(name), *n)),
                _ => None,
            })
            .collect();
        let epoch = entry.ctx.epoch();
        let Some(node) = self.nodes.get_mut(ix) else {
            return;
        };
        let text = |key| entry.spec.str(key).unwrap_or_default().to_owned();
        node.epoch = epoch;
        node.host = text("host");
        node.place = text("place");
        node.session = text("session");
        node.token = entry.spec.str("token").map(str::to_owned);
        node.state = NodeState::Up;
        node.lease_ms = entry.spec.int("lease_ms").unwrap_or_default();
        node.joined_at = entry.stamp.at;
        node.gone_at = None;
        node.is_leaving = false;
        let namespaces = entry.spec.get("namespaces").and_then(Value::as_list);
        let namespaces = namespaces.unwrap_or_default().iter();
        node.namespaces = namespaces
            .filter_map(|ns| ns.as_str().map(str::to_owned))
            .collect();
        let labels = entry.spec.get("labels").and_then(Value::as_map);
        let labels = labels.into_iter().flat_map(Map::iter);
        node.labels = labels
            .filter_map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())))
            .collect();
        node.total.clear();
        for (resource, amount) in offered {
            if node.total.len() <= resource {
                node.total.resize(resource + 1, 0);
            }
            if let Some(total) = node.total.get_mut(resource) {
                *total = amount;
            }
        }
        for job in node.leases.clone() {
            if let Some(job) = self.jobs.get_mut(job) {
                job.pass_over(ix, epoch);
            }
        }
    }

    pub(super) fn node_down(&mut self, entry: &Entry<'_>, state: NodeState) {
        let ix = entry.ctx.node_id().and_then(|id| self.nodes.find(id));
        if let Some(node) = ix.and_then(|ix| self.nodes.get_mut(ix))
            && node.epoch == entry.ctx.epoch()
        {
            node.state = state;
            if state == NodeState::Left {
                node.deadline = None; // it has ended all that it ran
            }
            node.gone_at.get_or_insert(entry.stamp.at);
            node.is_leaving = false;
        }
    }

    pub(super) fn node_drained(&mut self, entry: &Entry<'_>) {
        let Some(id) = entry.ctx.node_id() else {
            return;
        };
        let ix = self.nodes.find_or_make(id);
        if let Some(node) = self.nodes.get_mut(ix) {
            let is_drain = entry.kind == KernelKind::NodeDrained;
            let deadline = entry.spec.int("deadline").filter(|_| is_drain);
            node.say_drained((entry.stamp, is_drain), deadline);
            node.dirty = true;
        }
    }
}
