//! Ready tasks to open claims: higher priority first, then earlier seq, among what fits.
//!
//! Never over-committed, but for a backlog: leases beyond the room, at most some 100 ms of a job's
//! measured task time, committed ahead so that a relay need not wait for a commit between two
//! short tasks (protocol R4). The backlog is taken back when another relay idles.

use std::collections::BTreeMap;

use super::attempts::{AttemptState, NodeIx};
use super::claim::held_tasks;
use super::hub::{Fault, Hub};
use super::job::Job;
use super::nodes::{Hold, Node, Told, at};
use super::queue::{Fresh, JobIx};
use crate::domain::json::Value;
use crate::domain::json_write::{ObjectWriter, write_list};
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

/// How much work a relay may hold ahead, ms.
const BACKLOG_MS: f64 = 100.0;
/// Tasks that take longer are never leased ahead, ms.
const SHORT_TASK_MS: f64 = 1000.0;
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
    /// Grants what fits to the claims that wait, and answers those that have something to say.
    pub(super) fn schedule(&mut self) -> Result<(), Fault> {
        let open: Vec<NodeIx> = self
            .state
            .nodes
            .iter()
            .filter(|(_, node)| node.open.is_some())
            .map(|(ix, _)| ix)
            .collect();
        let mut grants: Vec<Granted> = vec![Granted::new(); open.len()];
        // After the last turn nothing that was ready fitted into any open claim. So a node is
        // matched against all shapes only if its claim or its book has changed since, and against
        // those that have become ready otherwise.
        let fresh = self.state.queue.take_fresh();
        let dirty: Vec<bool> = open.iter().map(|ix| self.take_dirty(*ix)).collect();
        let something_changed = !fresh.is_empty() || dirty.contains(&true);
        if something_changed && !self.state.queue.is_empty() {
            let mut row = self.begin_row();
            for with_backlog in [false, true] {
                for ((ix, dirty), grants) in open.iter().zip(&dirty).zip(&mut grants) {
                    let among = (!dirty).then_some(&fresh);
                    self.match_node(&mut row, *ix, with_backlog, among, grants)?;
                }
            }
            self.end_own_row(row);
        }
        if something_changed {
            let empty_handed = open.iter().zip(&grants).filter(|(_, g)| g.is_empty());
            let idle = empty_handed.map(|(ix, _)| *ix);
            let idle: Vec<NodeIx> = idle.filter(|ix| self.is_idle(*ix)).collect();
            if !idle.is_empty() {
                self.take_back(&idle);
            }
        }
        for (ix, grants) in open.into_iter().zip(grants) {
            self.answer_claim(ix, grants);
        }
        Ok(())
    }

    /// Whether a node's claim or book has changed since it was asked last.
    fn take_dirty(&mut self, ix: NodeIx) -> bool {
        let node = self.state.nodes.get_mut(ix);
        node.is_some_and(|node| std::mem::take(&mut node.dirty))
    }

    /// Grants to one node what fits, of all shapes or only among some.
    fn match_node(
        &mut self,
        row: &mut super::hub::RowWriter,
        ix: NodeIx,
        with_backlog: bool,
        among: Option<&Fresh>,
        grants: &mut Granted,
    ) -> Result<(), Fault> {
        let taken: u64 = grants.values().map(TaskSet::len).sum();
        let Some(node) = self.state.nodes.get(ix).filter(|node| node.takes_work()) else {
            return Ok(());
        };
        let mut left = node.open.as_ref().map_or(0, |open| open.max);
        left = left.saturating_sub(taken);
        while left > 0 {
            let Some(node) = self.state.nodes.get(ix) else {
                return Ok(());
            };
            let room = |job: JobIx| self.room(node, job, with_backlog);
            // Room goes to the first that fits into it; a backlog only to the first that could
            // ever run here, lest leases ahead of higher rank fill the room that it waits for.
            let fits = |shape, job| {
                let needs = self.state.queue.needs(shape);
                room(job) > 0 || with_backlog && node.capacity(needs) > 0
            };
            let queue = &self.state.queue;
            if with_backlog && among.is_some() {
                let has_room = |_, job| room(job) > 0;
                if queue.first(&node.namespaces, among, has_room).is_none() {
                    return Ok(());
                }
            }
            let among = among.filter(|_| !with_backlog);
            let first = queue.first(&node.namespaces, among, fits);
            let Some((_, job)) = first.filter(|(_, job)| room(*job) > 0) else {
                return Ok(());
            };
            let throttle = self.state.jobs.live(job).map_or(0, Job::throttle_left);
            let count = room(job).min(left).min(throttle);
            let ready = self.state.jobs.live(job).and_then(Job::next_ready);
            let Some((attempt, ready)) = ready else {
                return Ok(());
            };
            let tasks = ready.clone().take_first(count);
            left -= tasks.len().min(left);
            self.record_claimed(row, ix, job, attempt, &tasks, false)?;
            grants.entry((job, attempt)).or_default().join(&tasks);
        }
        Ok(())
    }

    /// How many tasks of a job a node can take now.
    fn room(&self, node: &Node, job: JobIx, with_backlog: bool) -> u64 {
        let Some(job) = self.state.jobs.live(job) else {
            return 0;
        };
        let needs = self.state.queue.needs(job.shape);
        let room = node.room(needs);
        let capacity = node.capacity(needs);
        // What does not fit into the whole offer is not leased ahead either: it could never start.
        if room > 0 || !with_backlog || capacity == 0 {
            return room;
        }
        backlog(job, capacity).saturating_sub(node.excess(needs))
    }

    /// Asks nodes with a backlog to give it back while another waits for work that would fit it.
    fn take_back(&mut self, idle: &[NodeIx]) {
        let crowded: Vec<NodeIx> = self
            .state
            .nodes
            .iter()
            .filter(|(_, node)| is_crowded(node))
            .map(|(ix, _)| ix)
            .collect();
        let now = self.now.mono;
        for idle in idle {
            for from in &crowded {
                let asked = self.backlog_for(*from, *idle);
                let Some(node) = self.state.nodes.get_mut(*from) else {
                    continue;
                };
                for (job_id, attempt, tasks) in asked {
                    node.attention = true;
                    node.must_ask = true;
                    node.asked.push(Told {
                        job_id,
                        attempt,
                        tasks,
                        at: now,
                    });
                }
            }
        }
    }

    /// Whether a node that waits takes work and has something free.
    fn is_idle(&self, ix: NodeIx) -> bool {
        let node = self.state.nodes.get(ix).filter(|node| node.takes_work());
        node.is_some_and(|node| {
            let mut total = (0..).zip(&node.total);
            let may_take = node.open.as_ref().is_some_and(|open| open.max > 0);
            may_take && !is_crowded(node) && total.any(|(i, total)| *total > at(&node.used, i))
        })
    }

    /// Unstarted leases of `from` beyond its room that would fit into `idle`.
    fn backlog_for(&self, from: NodeIx, idle: NodeIx) -> Vec<(String, u32, TaskSet)> {
        let nodes = &self.state.nodes;
        let (Some(crowded), Some(idle)) = (nodes.get(from), nodes.get(idle)) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for job in crowded
            .leases
            .iter()
            .filter_map(|job| self.state.jobs.live(*job))
        {
            let serves = idle.namespaces.contains(&job.ns_id) && idle.takes_work();
            let needs = self.state.queue.needs(job.shape);
            let pending = still_asked(crowded, job, from);
            let wanted = idle
                .room(needs)
                .min(crowded.excess(needs))
                .saturating_sub(pending);
            for lease in job
                .leases
                .iter()
                .filter(|lease| lease.node == from && serves)
            {
                let unstarted = lease.tasks.difference(&lease.started);
                // The last ones are the furthest from being started.
                let keep = unstarted.len().saturating_sub(wanted);
                let mut last = unstarted;
                last.take_first(keep);
                if !last.is_empty() && pending == 0 {
                    found.push((job.id.to_string(), lease.attempt, last));
                }
            }
        }
        found
    }

    /// Answers an open claim if there is something to say, or if its time is over.
    fn answer_claim(&mut self, ix: NodeIx, granted: Granted) {
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
        // Told is what was ordered, which follows the order of the holds.
        let found = told.binary_search_by(|told| (told.job_id.as_str(), told.attempt).cmp(&key));
        found.ok().and_then(|at| told.get(at)).is_some_and(|told| {
            order.tasks.is_subset(&told.tasks) && told.at > self.now.mono - RETELL_MS
        })
    }

    /// What is leased to a node and not held by it: a lost answer heals (R17).
    pub(super) fn regrants(&self, ix: NodeIx, fresh: &Granted) -> Vec<Grant> {
        let Some(node) = self.state.nodes.get(ix) else {
            return Vec::new();
        };
        let mut regrants = Granted::new();
        for (job_ix, attempt, mut tasks) in self.leases_of(ix) {
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

    /// What a node holds and must end (R21): settled, unknown, or `stop` and no longer its own.
    fn orders(&self, ix: NodeIx) -> Vec<Order> {
        let holds = self.state.nodes.get(ix).map(|node| node.holds.as_slice());
        let holds = holds.unwrap_or_default().iter();
        holds.filter_map(|hold| self.order(ix, hold)).collect()
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
            .list("grants", grants, |out, grant| self.write_grant(out, grant))
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

    fn write_grant(&self, out: &mut Vec<u8>, grant: &Grant) {
        let Some(job) = self.state.jobs.live(grant.job) else {
            out.extend_from_slice(b"null");
            return;
        };
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
            .value("resources", &Value::Map(self.resources_of(job.shape)));
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

/// The most tasks of a job that are leased ahead to a node that runs `slots` of them at a time.
fn backlog(job: &Job, slots: u64) -> u64 {
    let Some(mean_ms) = job.mean_ms.filter(|mean| *mean <= SHORT_TASK_MS) else {
        return 0;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to 200"
    )]
    let each = if mean_ms > BACKLOG_MS {
        1
    } else {
        (BACKLOG_MS / mean_ms.max(0.5)).ceil() as u64
    };
    // Jobs that need nothing have room without end, so their slots are no measure.
    each * slots.min(1024)
}

/// How many tasks of a job a node was asked to give back and may still do so.
fn still_asked(node: &Node, job: &Job, ix: NodeIx) -> u64 {
    let asked = node.asked.iter().filter(|told| told.job_id == *job.id);
    let open = asked.filter_map(|told| {
        let lease = job.lease(told.attempt, ix)?;
        let waiting = lease.tasks.difference(&lease.started);
        Some(waiting.intersection(&told.tasks).len())
    });
    open.sum()
}

fn is_crowded(node: &Node) -> bool {
    let over = |(used, total): (&i64, &i64)| *total > 0 && used > total;
    node.used.iter().zip(&node.total).any(over)
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
