//! The answer to a claim: what is granted, what to end, what to give back, whose output is read.

use std::collections::BTreeMap;

use super::attempts::{AttemptState, NodeIx};
use super::claim::held_tasks;
use super::hub::Hub;
use super::nodes::{Hold, Told};
use super::queue::JobIx;
use crate::domain::json::Value;
use crate::domain::json_write::{ObjectWriter, write_list};
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// A relay that holds on to what it must end is told again after this time, ms.
pub(super) const RETELL_MS: i64 = 1000;

/// What one claim is granted, by job and attempt.
pub(super) type Granted = BTreeMap<(JobIx, u32), TaskSet>;

/// Tasks of one attempt, for a relay.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub job: JobIx,
    pub attempt: u32,
    pub tasks: TaskSet,
}

/// Something that a relay is to do with tasks that it holds.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub job_id: String,
    pub attempt: u32,
    pub tasks: TaskSet,
    pub reason: &'static str,
}

impl Hub {
    /// Answers an open claim if there is something to say, or if its time is over.
    pub(super) fn answer_claim(&mut self, ix: NodeIx, granted: Granted) {
        let now = self.now.mono;
        let Some(node) = self.state.nodes.get(ix) else {
            return;
        };
        let Some(open) = node.open.clone() else {
            return;
        };
        let over = open.until <= now;
        if granted.is_empty() && !node.attention && !over {
            return;
        }
        self.ask_back_waiting(ix);
        let Some(node) = self.state.nodes.get(ix) else {
            return;
        };
        let is_first_look = !node.told.iter().any(|told| told.at > now - RETELL_MS);
        let orders = self.orders(ix);
        let regrants = self.regrants(ix, &granted);
        let mut grants = self.in_rank_order(granted);
        let news = orders.iter().any(|order| !self.was_told(ix, order));
        let tails = self.tails_changed(ix);
        let Some(node) = self.state.nodes.get_mut(ix) else {
            return;
        };
        node.attention = false;
        let must_ask = std::mem::take(&mut node.must_ask);
        grants.extend(regrants);
        let says_something = !grants.is_empty()
            || tails
            || must_ask
            || (news || is_first_look) && !orders.is_empty();
        if !says_something && !over {
            return;
        }
        node.open = None;
        node.told = orders
            .iter()
            .map(|order| Told {
                job_id: order.job_id.clone(),
                attempt: order.attempt,
                tasks: order.tasks.clone(),
                reason: order.reason,
                at: now,
            })
            .collect();
        let node_id = node.id.to_string();
        let body = self.render_answer(&node_id, open.n, &grants, &orders);
        self.tails_told(ix);
        self.reply(open.token, 200, body);
    }

    fn was_told(&self, ix: NodeIx, order: &Order) -> bool {
        let told = self.state.nodes.get(ix).map_or(&[][..], |node| &node.told);
        let key = (order.job_id.as_str(), order.attempt);
        // Told is what was ordered, which follows the order of the holds; of each there are two at
        // most.
        let first = told.partition_point(|told| (told.job_id.as_str(), told.attempt) < key);
        let found = told.get(first..).unwrap_or_default().iter().take(2);
        let mut found = found.filter(|told| (told.job_id.as_str(), told.attempt) == key);
        found.any(|told| {
            told.reason == order.reason
                && order.tasks.is_subset(&told.tasks)
                && told.at > self.now.mono - RETELL_MS
        })
    }

    /// What is leased to a node and not held by it: a lost answer heals (R17).
    pub(super) fn regrants(&self, ix: NodeIx, fresh: &Granted) -> Vec<Grant> {
        let Some(node) = self.state.nodes.get(ix) else {
            return Vec::new();
        };
        let mut regrants = Granted::new();
        for (job_ix, attempt, mut tasks) in self.leases_of(ix) {
            if is_broken(Rule::R17) {
                break;
            }
            let Some(job) = self.state.jobs.live(job_ix) else {
                continue;
            };
            tasks.subtract(&held_tasks(&node.holds, &job.id, attempt));
            if let Some(granted) = fresh.get(&(job_ix, attempt)) {
                tasks.subtract(granted);
            }
            if !tasks.is_empty() {
                regrants.insert((job_ix, attempt), tasks);
            }
        }
        self.in_rank_order(regrants)
    }

    /// Grants in the order in which a relay is to start them.
    fn in_rank_order(&self, granted: Granted) -> Vec<Grant> {
        let mut grants: Vec<Grant> = granted
            .into_iter()
            .map(|((job, attempt), tasks)| Grant {
                job,
                attempt,
                tasks,
            })
            .collect();
        grants.sort_by_key(|grant| self.state.jobs.live(grant.job).map(|job| job.rank));
        grants
    }

    /// What a node holds and must end (R21): settled, unknown, or `stop` and no longer its own; and
    /// what it must give back, since the deadline of its drain has passed.
    fn orders(&self, ix: NodeIx) -> Vec<Order> {
        let holds = self.state.nodes.get(ix).map(|node| node.holds.as_slice());
        let holds = holds.unwrap_or_default().iter();
        let orders = holds.map(|hold| [self.order(ix, hold), self.drain_order(ix, hold)]);
        orders.flatten().flatten().collect()
    }

    /// What is leased to a node still after the deadline of its drain.
    fn drain_order(&self, ix: NodeIx, hold: &Hold) -> Option<Order> {
        self.state.nodes.get(ix).filter(|node| node.is_drain_due)?;
        let (_, job) = self.job_of(hold)?;
        let tasks = job.lease(hold.attempt, ix)?.tasks.intersection(&hold.tasks);
        (!tasks.is_empty()).then(|| Order {
            job_id: hold.job_id.clone(),
            attempt: hold.attempt,
            tasks,
            reason: "drain",
        })
    }

    fn order(&self, ix: NodeIx, hold: &Hold) -> Option<Order> {
        let order = |tasks, reason| {
            Some(Order {
                job_id: hold.job_id.clone(),
                attempt: hold.attempt,
                tasks,
                reason,
            })
        };
        if is_broken(Rule::R21) {
            return None;
        }
        let Some((_, job)) = self.job_of(hold) else {
            return order(hold.tasks.clone(), "unknown job");
        };
        let active = job.lease(hold.attempt, ix).map(|lease| &lease.tasks);
        if active.is_some_and(|active| hold.tasks.is_subset(active)) {
            return None;
        }
        let mut tasks = hold
            .tasks
            .difference(&job.ended(hold.attempt, ix, &hold.tasks));
        let mut reason = "cancelled";
        let closed = job.in_state(hold.attempt, ix, AttemptState::Closed);
        let settled = tasks.intersection(&job.settled.all().union(&closed));
        if job.stops {
            if let Some(active) = active {
                tasks.subtract(active);
            }
            reason = "no longer leased to this node";
        } else {
            tasks = settled;
        }
        (!tasks.is_empty()).then(|| order(tasks, reason)).flatten()
    }

    /// The body of a claim's answer.
    pub(super) fn render_answer(
        &self,
        node_id: &str,
        n: i64,
        grants: &[Grant],
        orders: &[Order],
    ) -> Vec<u8> {
        let ix = self.state.nodes.find(node_id);
        let node = ix.and_then(|ix| self.state.nodes.get(ix));
        let lease_ms = node.map_or(self.config.lease_ms, |node| node.lease_ms);
        let asked = node.map_or(&[][..], |node| &node.asked);
        let mut out = Vec::with_capacity(512);
        let mut object = ObjectWriter::new(&mut out);
        #[expect(clippy::cast_precision_loss, reason = "leases are short")]
        let lease_s = Value::Float(lease_ms as f64 / 1000.0);
        object
            .int("n", n)
            .value("lease_s", &lease_s)
            .list("grants", grants, |out, grant| {
                self.write_grant(out, grant, ix.unwrap_or_default());
            })
            .list("cancels", orders, |out, order| {
                write_tasks(
                    out,
                    &order.job_id,
                    order.attempt,
                    &order.tasks,
                    Some(order.reason),
                );
            })
            .list("give_back", asked, |out, told| {
                write_tasks(out, &told.job_id, told.attempt, &told.tasks, None);
            });
        let tails = object.key("tail");
        let watches = self.watches.iter();
        let watches = watches.filter(|watch| ix.is_some() && watch.node == ix);
        write_list(tails, watches, &mut |out, watch| watch.write(out));
        object.end();
        out
    }

    fn write_grant(&self, out: &mut Vec<u8>, grant: &Grant, node: NodeIx) {
        let Some(job) = self.state.jobs.live(grant.job) else {
            out.extend_from_slice(b"null");
            return;
        };
        let lease = job.lease(grant.attempt, node);
        let shape = lease.map_or(job.shape, |lease| lease.shape);
        let handler = job.handler_type.as_deref();
        let handler = handler.map_or(Value::Null, Value::text);
        let mut object = ObjectWriter::new(out);
        object
            .str("job_id", &job.id)
            .str("ns_id", &job.ns_id)
            .value("handler_type", &handler)
            .int("attempt", grant.attempt)
            .str("tasks", &grant.tasks.to_string())
            .raw("ctx", &job.ctx)
            .raw("spec", &job.spec)
            .value("resources", &Value::Map(self.resources_of(shape, node)));
        if self.state.queue.shape_at(shape).is_exclusive() {
            object.value("needs", &Value::Map(self.needs_of(shape)));
        }
        if !job.entries.is_empty() {
            let inner = object.key("entries");
            let mut entries = ObjectWriter::new(inner);
            for task in grant.tasks.iter() {
                if let Some(entry) = job.entries.get(&task) {
                    entries.raw(&task.to_string(), entry);
                }
            }
            entries.end();
        }
        object.end();
    }
}

fn write_tasks(
    out: &mut Vec<u8>,
    job_id: &str,
    attempt: u32,
    tasks: &TaskSet,
    reason: Option<&str>,
) {
    let mut object = ObjectWriter::new(out);
    object
        .str("job_id", job_id)
        .int("attempt", attempt)
        .str("tasks", &tasks.to_string());
    if let Some(reason) = reason {
        object.str("reason", reason);
    }
    object.end();
}
