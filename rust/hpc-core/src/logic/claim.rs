//! Claims: a node joins by its first claim of an epoch, renews by each, and is reconciled by what
//! it holds. The rules are the protocol's R13 to R25.

use std::borrow::Cow;

use super::answer::{Granted, RETELL_MS};
use super::attempts::{AttemptState, NodeIx};
use super::check::unknown_namespace;
use super::hub::{Fault, Hub, NewEvent, RowWriter, map};
use super::job::Job;
use super::nodes::{Hold, Node, NodeState, OpenClaim};
use super::offer::Offer;
use super::queue::JobIx;
use crate::domain::json::{Map, Value};
use crate::domain::problem::Problem;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// What a claim is to the Hub.
enum Standing {
    /// The first of an epoch.
    Join,
    /// The newest of a live epoch.
    Renew,
    /// Older than one that came already: its answer would be dropped.
    Old,
    /// The Hub gave this epoch up.
    Lost(u32),
    /// Another place is this node, or takes it over.
    Taken(NodeIx),
}

/// Nodes that a Hub knows, those that are gone among them. One takes some 500 bytes.
pub const NODES_MAX: usize = 1_000_000;

impl Hub {
    /// Answers or holds a claim.
    ///
    /// # Errors
    /// A mistake of ours.
    pub(super) fn claim(&mut self, token: u64, body: &[u8]) -> Result<(), Fault> {
        let offer = match self.check_claim(body) {
            Ok(offer) => offer,
            Err(problem) => {
                self.refuse(token, &problem);
                return Ok(());
            }
        };
        let ix = match self.standing(&offer) {
            Standing::Lost(last) => {
                self.refuse(token, &lost_epoch(&offer.node_id, offer.epoch, last));
                return Ok(());
            }
            Standing::Taken(ix) => {
                let problem = self.taken(ix);
                self.refuse(token, &problem);
                self.begin_takeover(ix, &offer);
                return Ok(());
            }
            Standing::Old => {
                let body = self.render_answer(&offer.node_id, offer.n, &[], &[]);
                self.reply(token, 200, body);
                return Ok(());
            }
            Standing::Join => self.join(&offer)?,
            Standing::Renew => match self.state.nodes.find(&offer.node_id) {
                Some(ix) => ix,
                None => return Ok(()),
            },
        };
        self.renew(ix, token, offer);
        #[cfg(feature = "mutants")]
        if is_broken(Rule::R18) {
            self.lose_what_is_not_held(ix)?;
        }
        self.adopt(ix)
    }

    fn check_claim(&self, body: &[u8]) -> Result<Offer, Box<Problem>> {
        let offer = Offer::parse(body)?;
        let namespaces = &self.state.namespaces;
        match offer
            .namespaces
            .iter()
            .find(|ns| namespaces.get(ns).is_none())
        {
            Some(ns) => Err(unknown_namespace(&self.state, ns)),
            None => {
                self.check_claimant(&offer)?;
                self.check_nodes(&offer)?;
                Ok(offer)
            }
        }
    }

    /// A node is kept for good, and who may run tasks may name one: there are only so many.
    fn check_nodes(&self, offer: &Offer) -> Result<(), Box<Problem>> {
        let most = self.nodes_max;
        if self.state.nodes.find(&offer.node_id).is_some() || self.state.nodes.len() < most {
            return Ok(());
        }
        let detail = format!(
            "{most} nodes are known, and `{}` is none of them",
            offer.node_id
        );
        let hint = "start relays under names that come again: hpc relay --node-id NAME";
        Err(
            Problem::new(429, "too_many_nodes", "Too many nodes are known", detail)
                .hint(hint)
                .into(),
        )
    }

    fn standing(&self, offer: &Offer) -> Standing {
        let known = self.state.nodes.find(&offer.node_id);
        let known = known.and_then(|ix| Some((ix, self.state.nodes.get(ix)?)));
        let Some((ix, node)) = known.filter(|(_, node)| node.epoch > 0) else {
            return Standing::Join;
        };
        let is_up = node.state == NodeState::Up;
        if node.place != offer.place && !is_broken(Rule::R23) {
            return match () {
                () if is_up && !offer.takeover => Standing::Taken(ix),
                () if offer.epoch > node.epoch && self.has_live_stops(ix) => Standing::Taken(ix),
                () if offer.epoch > node.epoch => Standing::Join,
                () if offer.takeover => Standing::Lost(node.epoch),
                () => Standing::Taken(ix),
            };
        }
        if node.taken_by.is_some() {
            return Standing::Taken(ix);
        }
        match offer.epoch.cmp(&node.epoch) {
            std::cmp::Ordering::Greater => Standing::Join,
            std::cmp::Ordering::Less if is_broken(Rule::R22) => Standing::Renew,
            std::cmp::Ordering::Less => Standing::Lost(node.epoch),
            std::cmp::Ordering::Equal if !is_up || node.session != offer.session => {
                Standing::Lost(node.epoch)
            }
            std::cmp::Ordering::Equal if offer.n <= node.n => Standing::Old,
            std::cmp::Ordering::Equal => Standing::Renew,
        }
    }

    /// A new epoch: what it holds passes over, the rest is lost in the same commit (R19).
    fn join(&mut self, offer: &Offer) -> Result<NodeIx, Fault> {
        let ix = self.state.nodes.find_or_make(&offer.node_id);
        let former = self.state.nodes.get_mut(ix).and_then(|node| {
            let open = node.open.take()?;
            Some((open.token, node.epoch, node.place.clone()))
        });
        let mut row = self.begin_row();
        for (job, attempt, tasks) in self.leases_of(ix) {
            let held = held_tasks(&offer.holds, &job_id(self.state.jobs.live(job)), attempt);
            let mut missing = tasks.difference(&held);
            if is_broken(Rule::R19) {
                missing = TaskSet::new();
            }
            self.lose_attempt(
                &mut row,
                ix,
                job,
                attempt,
                &missing,
                "a newer epoch does not hold it",
            )?;
        }
        let resources: Map<'static> = offer
            .resources
            .iter()
            .map(|(name, amount)| (name.clone(), Value::Int(*amount)))
            .collect();
        let namespaces = offer.namespaces.iter().cloned().map(Value::text).collect();
        let mut spec = map([
            ("resources", Value::Map(resources)),
            ("host", Value::text(offer.host.clone())),
            ("place", Value::text(offer.place.clone())),
            ("session", Value::text(offer.session.clone())),
            ("lease_ms", Value::Int(self.config.lease_ms)),
            ("namespaces", Value::List(namespaces)),
        ]);
        // Whoever had some says so too when they are gone: an older epoch's are not this one's.
        let known = self.state.nodes.get(ix);
        if !offer.labels.is_empty() || known.is_some_and(|node| !node.labels.is_empty()) {
            let labels = offer.labels.iter();
            let labels = labels.map(|(key, value)| (key.clone(), Value::text(value.clone())));
            spec.insert("labels", Value::Map(labels.collect()));
        }
        if let Some(token) = self.joining_token() {
            spec.insert("token", Value::text(token));
        }
        let ctx = map([
            ("node_id", Value::text(offer.node_id.clone())),
            ("epoch", Value::Int(i64::from(offer.epoch))),
        ]);
        self.record(&mut row, &NewEvent::own("NodeJoined", &ctx, &spec))?;
        self.end_own_row(row);
        if let Some(node) = self.state.nodes.get_mut(ix) {
            node.n = -1;
            node.told.clear();
            node.asked.clear();
            node.reclaim = None;
            node.taken_by = None;
        }
        if let Some((token, epoch, place)) = former {
            // A claim of the former epoch still waits: it must not renew anybody's fence.
            let problem = if place == offer.place {
                lost_epoch(&offer.node_id, epoch, offer.epoch)
            } else {
                self.taken(ix)
            };
            self.refuse(token, &problem);
        }
        Ok(ix)
    }

    /// Takes the newest claim as the open one; an older open one is answered empty.
    fn renew(&mut self, ix: NodeIx, token: u64, offer: Offer) {
        let (now, lease_ms) = (self.now.mono, self.config.lease_ms);
        let Some(node) = self.state.nodes.get_mut(ix) else {
            return;
        };
        node.n = offer.n;
        node.heard_at = Some(now);
        node.deadline = Some(now + node.lease_ms / if is_broken(Rule::R25) { 2 } else { 1 });
        node.holds = offer.holds;
        node.ends_at = offer.time_left_ms.map(|left| now.saturating_add(left));
        node.is_leaving = offer.is_leaving;
        node.attention = true;
        node.dirty = true;
        // What was asked for and not given back may be asked for again, but not so that claims spin.
        node.asked.retain(|told| told.at > now - RETELL_MS);
        // The node counts by what it was promised, which may be less than this Hub's lease.
        let until = now + offer.wait_ms.min(lease_ms.min(node.lease_ms) / 4);
        let former = node.open.replace(OpenClaim {
            token,
            n: offer.n,
            max: offer.max,
            until,
        });
        // What is leased and not held is granted again, and counts.
        let again: u64 = self
            .regrants(ix, &Granted::new())
            .iter()
            .map(|g| g.tasks.len())
            .sum();
        let node = self.state.nodes.get_mut(ix);
        if let Some(open) = node.and_then(|node| node.open.as_mut()) {
            open.max = open.max.saturating_sub(again);
        }
        if let Some(former) = former {
            let body = self.render_answer(&offer.node_id, former.n, &[], &[]);
            self.reply(former.token, 200, body);
        }
    }

    /// What R18 forbids.
    #[cfg(feature = "mutants")]
    fn lose_what_is_not_held(&mut self, ix: NodeIx) -> Result<(), Fault> {
        let mut row = self.begin_row();
        for (job, attempt, tasks) in self.leases_of(ix) {
            let holds = self.state.nodes.get(ix).map_or(&[][..], |node| &node.holds);
            let held = held_tasks(holds, &job_id(self.state.jobs.live(job)), attempt);
            let missing = tasks.difference(&held);
            self.lose_attempt(&mut row, ix, job, attempt, &missing, "not held")?;
        }
        self.end_own_row(row);
        Ok(())
    }

    /// Adopts attempts that were given up and are held still: undecided, not ended, nothing active
    /// beside them, and not of the kind that must never overlap (R20, R21).
    fn adopt(&mut self, ix: NodeIx) -> Result<(), Fault> {
        let Some(node) = self.state.nodes.get(ix) else {
            return Ok(());
        };
        let mut adopted: Vec<(JobIx, u32, TaskSet)> = Vec::new();
        for hold in &node.holds {
            let Some((job_ix, job)) = self.job_of(hold) else {
                continue;
            };
            if is_broken(Rule::R20)
                || job.stops
                || job
                    .lease(hold.attempt, ix)
                    .is_some_and(|l| hold.tasks.is_subset(&l.tasks))
            {
                continue;
            }
            let mut tasks = job.leased_ever(hold.attempt, ix, &hold.tasks);
            if !is_broken(Rule::R20Ended) {
                tasks.subtract(&job.ended(hold.attempt, ix, &hold.tasks));
            }
            // What was given up by a verdict is not taken up again by a further round.
            tasks.subtract(&job.in_state(hold.attempt, ix, AttemptState::Closed));
            tasks = job.unsettled_among(&tasks);
            for lease in job.leases.iter().filter(|_| !is_broken(Rule::R20Beside)) {
                tasks.subtract(&lease.tasks);
            }
            for (_, _, other) in adopted.iter().filter(|(other, ..)| *other == job_ix) {
                tasks.subtract(other);
            }
            if !tasks.is_empty() {
                adopted.push((job_ix, hold.attempt, tasks));
            }
        }
        let mut row = self.begin_row();
        for (job, attempt, tasks) in adopted {
            self.record_claimed(&mut row, ix, job, attempt, &tasks, true)?;
        }
        self.end_own_row(row);
        Ok(())
    }

    /// Records that tasks are leased to a node.
    pub(super) fn record_claimed(
        &mut self,
        row: &mut RowWriter,
        node: NodeIx,
        job: JobIx,
        attempt: u32,
        tasks: &TaskSet,
        adopted: bool,
    ) -> Result<(), Fault> {
        let Some(ctx) = self.execution_ctx(node, job, attempt, tasks) else {
            return Ok(());
        };
        let shape = self.state.jobs.get(job).map_or(0, |job| job.shape);
        let resources = self.resources_of(shape, node);
        let mut spec = map([("resources", Value::Map(resources))]);
        if adopted {
            spec.insert("adopted", Value::Bool(true));
        }
        self.record(row, &NewEvent::own("JobClaimed", &ctx, &spec))
    }

    /// What a task of a shape takes at a node, by name: all that it has, where it is alone there.
    pub(super) fn resources_of(&self, shape: u32, node: NodeIx) -> Map<'static> {
        let is_exclusive = self.state.queue.shape_at(shape).is_exclusive();
        let node = self.state.nodes.get(node).filter(|_| is_exclusive);
        let Some(node) = node else {
            return self.needs_of(shape);
        };
        let all = self.state.queue.resources().iter().zip(&node.total);
        let all = all.filter(|(_, amount)| **amount > 0);
        all.map(|(name, amount)| (name.clone(), Value::Int(*amount)))
            .collect()
    }

    /// What a task of a shape asks for, by name.
    pub(super) fn needs_of(&self, shape: u32) -> Map<'static> {
        let names = self.state.queue.resources();
        let needs = self.state.queue.shape_at(shape).needs.iter();
        needs
            .filter_map(|(resource, need)| Some((names.get(*resource)?.clone(), Value::Int(*need))))
            .collect()
    }

    /// Records that a lease ended without a result.
    pub(super) fn lose_attempt(
        &mut self,
        row: &mut RowWriter,
        node: NodeIx,
        job: JobIx,
        attempt: u32,
        tasks: &TaskSet,
        reason: &'static str,
    ) -> Result<(), Fault> {
        if tasks.is_empty() {
            return Ok(());
        }
        let Some(ctx) = self.execution_ctx(node, job, attempt, tasks) else {
            return Ok(());
        };
        let spec = map([("reason", Value::text(reason))]);
        self.record(row, &NewEvent::own("AttemptLost", &ctx, &spec))
    }

    fn execution_ctx(
        &self,
        node: NodeIx,
        job: JobIx,
        attempt: u32,
        tasks: &TaskSet,
    ) -> Option<Map<'static>> {
        let (node, job) = (self.state.nodes.get(node)?, self.state.jobs.get(job)?);
        Some(map([
            ("ns_id", Value::text(job.ns_id.clone())),
            ("job_id", Value::text(job.id.to_string())),
            ("node_id", Value::text(node.id.to_string())),
            ("tasks", Value::text(tasks.to_string())),
            ("attempt", Value::Int(i64::from(attempt))),
            ("epoch", Value::Int(i64::from(node.epoch))),
        ]))
    }

    /// The active leases of a node.
    pub(super) fn leases_of(&self, ix: NodeIx) -> Vec<(JobIx, u32, TaskSet)> {
        let jobs = self.state.nodes.get(ix).map(|node| &node.leases);
        let jobs = jobs.into_iter().flatten();
        jobs.filter_map(|job| Some((*job, self.state.jobs.live(*job)?)))
            .flat_map(|(job_ix, job)| {
                let leases = job.leases.iter().filter(move |lease| lease.node == ix);
                leases.map(move |lease| (job_ix, lease.attempt, lease.tasks.clone()))
            })
            .collect()
    }

    pub(super) fn job_of(&self, hold: &Hold) -> Option<(JobIx, Cow<'_, Job>)> {
        let ix = self.state.jobs.find(&hold.job_id)?;
        Some((ix, self.state.jobs.get(ix)?))
    }

    /// 409: the node is another place, or will be.
    pub(super) fn taken(&self, ix: NodeIx) -> Problem {
        let none = Node::new("");
        let node = self.state.nodes.get(ix).unwrap_or(&none);
        let joined = (&node.host, &node.place);
        let (host, place) = node.taken_by.as_ref().map_or(joined, |by| (&by.0, &by.1));
        let detail = format!("Node id `{}` is taken by {host} (place {place})", node.id);
        let hint = "stop that relay, choose another --node-id, or say --takeover";
        Problem::new(409, "taken", "The node id is taken", detail)
            .hint(hint)
            .with("last_epoch", Value::Int(i64::from(node.epoch)))
            .with("host", Value::text(host.clone()))
            .with("place", Value::text(place.clone()))
    }
}

fn job_id(job: Option<&Job>) -> String {
    job.map_or_else(String::new, |job| job.id.to_string())
}

/// The tasks that a relay holds of an attempt; `holds` are sorted by (job, attempt).
pub(super) fn held_tasks(holds: &[Hold], job_id: &str, attempt: u32) -> TaskSet {
    let key = (job_id, attempt);
    let found = holds.binary_search_by(|hold| (hold.job_id.as_str(), hold.attempt).cmp(&key));
    let hold = found.ok().and_then(|at| holds.get(at));
    hold.map_or_else(TaskSet::new, |hold| hold.tasks.clone())
}

/// 409 for an epoch that the Hub gave up.
pub(super) fn lost_epoch(node_id: &str, epoch: u32, last_epoch: u32) -> Problem {
    let detail =
        format!("Epoch {epoch} of node `{node_id}` is over; the last one was {last_epoch}");
    Problem::new(409, "lost", "The epoch is over", detail)
        .hint("claim again under a higher epoch with all that is held")
        .with("last_epoch", Value::Int(i64::from(last_epoch)))
}
