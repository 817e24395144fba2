//! The state and the one function that changes it: [`State::apply`], the same live and in replay.
//!
//! Protocol R3: the live state changes only by applying entries that are in this commit. Nothing
//! here decides anything: what an event settles stands in the event.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::attempts::{Causes, NodeIx, Outcome, Settles};
use super::columns;
use super::forget::Ages;
use super::gate::{Gate, Word};
use super::generator::Generators;
use super::job::{Job, NewJob};
use super::jobs::Jobs;
use super::kernel::{Entry, KERNEL_GID, KernelFacts};
use super::nodes::{NodeState, Nodes};
use super::placement::{Placement, more_resources};
use super::queue::{JobIx, Queue, Shape, ShapeIx};
use super::registry::Namespaces;
use super::rules::EventView;
use super::tokens::Tokens;
use crate::domain::control::Registration;
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::expression::Expression;
use crate::domain::json::{Map, Value};
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{KindMismatch, Lattice as _};

/// One event of the log, checked and stamped.
#[derive(Clone, Copy, Debug)]
pub struct LogEvent<'e> {
    /// Place in the log.
    pub seq: u64,
    /// Stamp.
    pub stamp: Stamp,
    /// Kind as it was sent.
    pub kind: &'e str,
    /// The lifecycle kind that it is, if any: see [`State::kernel_kind`].
    pub kernel: Option<KernelKind>,
    /// Context.
    pub ctx: &'e Map<'e>,
    /// Spec.
    pub spec: &'e Map<'e>,
    /// What it settles.
    pub settles: &'e Settles,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct State {
    /// Of this log; tallies are kept by it.
    pub hub_id: Arc<str>,
    /// Registered namespaces.
    pub namespaces: Namespaces,
    /// Tokens, also those that open nothing any more.
    pub tokens: Tokens,
    /// Registered generators.
    pub generators: Generators,
    /// The kernel's own facts.
    pub kernel: KernelFacts,
    /// Live jobs.
    pub jobs: Jobs,
    /// Live nodes.
    pub nodes: Nodes,
    /// Ready tasks.
    pub queue: Queue,
    /// Whether the whole log is being replayed: generators are there already, as they ended up.
    pub is_replay: bool,
    /// Whether the log holds more than registrations.
    pub has_events: bool,
    /// Who comes after the job of an id.
    pub(super) dependents: HashMap<String, Vec<JobIx>>,
    /// Jobs of which tasks may wait in vain.
    pub(super) doomed: Vec<JobIx>,
    /// When the back-off of tasks of a job ends, ms since 1970.
    pub(super) delayed: BTreeSet<(i64, JobIx)>,
    /// When jobs ended, where they are kept for a time only.
    pub(super) ages: Option<Ages>,
}

impl State {
    /// Nothing is known.
    #[must_use]
    pub fn new(hub_id: &str) -> Self {
        Self {
            hub_id: hub_id.into(),
            namespaces: Namespaces::default(),
            tokens: Tokens::default(),
            generators: Generators::default(),
            kernel: KernelFacts::default(),
            jobs: Jobs::default(),
            nodes: Nodes::default(),
            queue: Queue::default(),
            is_replay: false,
            has_events: false,
            dependents: HashMap::new(),
            doomed: Vec::new(),
            delayed: BTreeSet::new(),
            ages: None,
        }
    }

    /// The lifecycle kind that an event is.
    #[must_use]
    pub fn kernel_kind(&self, kind: &str, ctx: &Map<'_>) -> Option<KernelKind> {
        KernelKind::from_wire(kind).or_else(|| {
            let ns = self.namespaces.get(ctx.str("ns_id")?)?;
            ns.spec.acts_as(kind)
        })
    }

    /// Applies one event; pushes the ids of the generators that grew.
    ///
    /// # Errors
    /// A mistake of ours: a column that changes its lattice.
    pub fn apply(
        &mut self,
        event: &LogEvent<'_>,
        grew: &mut Vec<String>,
    ) -> Result<(), KindMismatch> {
        // What comes by control has no context; whatever else bears its name has one.
        if event.ctx.is_empty()
            && let Some(registration) = Registration::from_log(event.kind, event.spec)
        {
            self.register(registration, event.seq);
            return Ok(());
        }
        self.has_events = true;
        if let Some(kind) = event.kernel {
            let entry = Entry {
                seq: event.seq,
                stamp: event.stamp,
                kind,
                ctx: Ctx::new(event.ctx),
                spec: event.spec,
                settles: event.settles,
            };
            let (tasks, finished) = self.apply_entry(&entry);
            let has_grown = match tasks {
                Some(tasks) => self.kernel.apply(&entry, &tasks, finished)?,
                None => false,
            };
            if finished {
                self.share(&entry);
                self.note_age(entry.ctx.job_id(), entry.stamp.at);
            }
            if has_grown && !grew.iter().any(|g| g == KERNEL_GID) {
                grew.push(KERNEL_GID.to_owned());
            }
        }
        let view = EventView {
            seq: event.seq,
            stamp: event.stamp,
            kind: event.kind,
            ns_id: event.ctx.str("ns_id").unwrap_or_default(),
            ctx: event.ctx,
            spec: event.spec,
        };
        self.generators.apply(&view, &self.hub_id, grew)
    }

    fn register(&mut self, registration: Registration, seq: u64) {
        match registration {
            Registration::Namespace { ns_id, spec } => {
                self.namespaces.put(&ns_id, spec, seq);
            }
            Registration::Generator { gid, spec } if !self.is_replay => {
                // Registrations alone are nothing that a generator could read.
                let head = if self.has_events {
                    seq.saturating_sub(1)
                } else {
                    0
                };
                self.generators.put(&gid, spec, seq, head);
            }
            Registration::Generator { .. } => {}
            Registration::Token { token_id, spec } => self.tokens.put(token_id, spec),
            Registration::Revoked { token_id } => self.tokens.revoke(&token_id),
        }
    }

    /// Changes jobs and nodes; the tasks of the entry that are facts, and whether every task of its
    /// job is settled now, by it. `None` where the whole entry is evidence in the log and no fact.
    pub(super) fn apply_entry(&mut self, entry: &Entry<'_>) -> (Option<TaskSet>, bool) {
        let finished = self.apply_kernel(entry);
        let evidence = self.evidence(entry);
        self.jobs.seal();
        (evidence, finished)
    }

    /// Keeps the sets of a large array that has ended once, where job and facts have the same.
    fn share(&mut self, entry: &Entry<'_>) {
        let Some(id) = entry.ctx.job_id() else {
            return;
        };
        let Some(ix) = self.jobs.find(id) else {
            return;
        };
        // A sealed job has no bitmaps in memory.
        if self.jobs.live(ix).is_some() {
            let settled = self.kernel.settled(id);
            if let Some(job) = self.jobs.get_mut(ix) {
                job.share(&settled);
            }
        }
    }

    /// After jobs and nodes are restored: queue, books and leases of nodes as the jobs say.
    pub(super) fn book_all(&mut self) {
        for (ix, job) in self.jobs.going_on() {
            if job.is_ready() {
                self.queue.insert(&job.ns_id, job.shape, job.rank, ix);
            }
            if let Some(gate) = &job.gate {
                for after in gate.after.iter().filter(|_| !gate.is_met()) {
                    let dependents = self.dependents.entry(after.job_id.clone());
                    dependents.or_default().push(ix);
                }
                let first = gate.delays.keys().next();
                self.delayed.extend(first.map(|until| (*until, ix)));
            }
            for lease in &job.leases {
                if let Some(node) = self.nodes.get_mut(lease.node) {
                    let count = i64::try_from(lease.tasks.len()).unwrap_or(i64::MAX);
                    node.book(self.queue.shape_at(lease.shape), count);
                    node.leases.insert(ix);
                }
            }
        }
    }

    /// Changes jobs and nodes; whether every task of the event's job is settled now, by this event.
    fn apply_kernel(&mut self, entry: &Entry<'_>) -> bool {
        match entry.kind {
            KernelKind::NodeJoined => self.node_joined(entry),
            KernelKind::NodeLeft => self.node_down(entry, NodeState::Left),
            KernelKind::NodeLost => self.node_down(entry, NodeState::Unreachable),
            KernelKind::NodeDrained | KernelKind::NodeUndrained => self.node_drained(entry),
            KernelKind::SubmitJob => self.submit(entry),
            KernelKind::ReportRefused => {}
            KernelKind::ForgetJob => self.forget(entry),
            KernelKind::HoldJob
            | KernelKind::ReleaseJob
            | KernelKind::SetPriority
            | KernelKind::RetryJob => self.apply_request(entry),
            _ => return self.apply_to_job(entry),
        }
        false
    }

    /// The tasks of an entry that are facts; `None` where the whole entry is evidence in the log
    /// and no fact: a start of what nobody leased, the end of an epoch that never joined.
    fn evidence(&self, entry: &Entry<'_>) -> Option<TaskSet> {
        let node = entry.ctx.node_id().and_then(|id| self.nodes.find(id));
        match entry.kind {
            KernelKind::JobStarted => {
                let job = entry.ctx.job_id().and_then(|id| self.jobs.find(id));
                let job = job.and_then(|ix| self.jobs.get(ix))?;
                let tasks = job.leased_ever(entry.ctx.attempt(), node?, &entry.ctx.tasks()?);
                (!tasks.is_empty()).then_some(tasks)
            }
            KernelKind::NodeLeft | KernelKind::NodeLost => {
                let node = self.nodes.get(node?)?;
                (entry.ctx.epoch() <= node.epoch).then(TaskSet::new)
            }
            kind if kind != KernelKind::ForgetJob
                && !kind.is_about_node()
                && self.is_about_forgotten(entry) =>
            {
                None
            }
            _ => Some(entry.ctx.tasks().unwrap_or_else(|| TaskSet::one(0))),
        }
    }

    fn submit(&mut self, entry: &Entry<'_>) {
        let Some(job_id) = entry.ctx.job_id() else {
            return;
        };
        let tasks = entry.ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
        let ix = match self.jobs.find(job_id) {
            Some(ix) => {
                self.resubmit(ix, entry);
                ix
            }
            None => self.new_job(job_id, entry),
        };
        let entries = entry.ctx.entries().unwrap_or_default();
        self.change_job(ix, None, |job| {
            for (task, value) in tasks.iter().zip(entries) {
                job.entries.entry(task).or_insert_with(|| value.to_text());
            }
            if entry.ctx.map().get("hold") == Some(&Value::Bool(true)) {
                let said = Word {
                    stamp: Stamp::default(),
                    tasks: None,
                    value: true,
                };
                said.join(&mut job.gate_mut().holds);
                job.regate(None);
            }
            job.add_tasks(&tasks);
        });
        self.reconsider(ix, None);
        // Those that come after it may have been submitted before it.
        self.reconsider_after(ix);
    }

    fn resubmit(&mut self, ix: JobIx, entry: &Entry<'_>) {
        let ctx = &entry.ctx;
        self.rerank(ix, |job| {
            job.resubmit(ctx.priority(), ctx.name(), entry.stamp);
        });
    }

    fn new_job(&mut self, job_id: &str, entry: &Entry<'_>) -> JobIx {
        let ns_id = entry.ctx.ns_id().unwrap_or_default();
        let registered = self.namespaces.get(ns_id);
        let handler_type = registered.and_then(|ns| ns.spec.handler_type.clone());
        let shape = self.shape_of(ns_id, entry);
        let per_task = ["tasks", "entries"];
        let ctx = entry.ctx.map();
        let ctx = if per_task.iter().any(|key| ctx.get(key).is_some()) {
            let mut ctx = ctx.clone();
            for key in per_task {
                ctx.remove(key);
            }
            ctx.to_text()
        } else {
            ctx.to_text()
        };
        let ix = self.jobs.push(Job::new(NewJob {
            id: job_id.into(),
            ns_id: ns_id.to_owned(),
            name: entry.ctx.name().map(str::to_owned),
            spec: entry.spec.to_text(),
            ctx,
            handler_type,
            stamp: entry.stamp,
            priority: entry.ctx.priority(),
            seq: entry.seq,
            shape,
            stops: entry.spec.str("on_cut_off") == Some("stop"),
            gate: Gate::of(&entry.ctx, entry.spec),
        }));
        self.depend(ix);
        ix
    }

    /// What a task of a submit takes, by its namespace's expressions.
    fn shape_of(&mut self, ns_id: &str, entry: &Entry<'_>) -> ShapeIx {
        let ns = self.namespaces.get(ns_id).map(|ns| &ns.spec);
        let mut needs: Vec<(usize, i64)> = Vec::new();
        for (name, expression) in ns.iter().flat_map(|ns| &ns.resources) {
            let amount = match expression {
                Expression::Literal(Value::Int(n)) => Some(*n),
                Expression::Spec(key) => entry.spec.int(key),
                _ => None,
            };
            if let Some(amount) = amount.filter(|amount| *amount > 0) {
                needs.push((self.queue.resource(name), amount));
            }
        }
        for (name, amount) in ns.iter().flat_map(|ns| more_resources(ns, entry.spec)) {
            needs.push((self.queue.resource(name), amount));
        }
        let placement = ns.map(|ns| Placement::of(ns, entry.spec));
        let placement = placement.filter(|place| !place.is_anywhere()).map(Box::new);
        if let Some(slots) = entry.ctx.map().int("slots") {
            needs.push((self.queue.resource("slots"), slots));
        }
        // What two say of one resource, `slots` of the ctx among them, is one need: the greater.
        needs.sort_unstable_by_key(|(resource, amount)| (*resource, Reverse(*amount)));
        needs.dedup_by_key(|(resource, _)| *resource);
        self.queue.shape(Shape { needs, placement })
    }

    fn apply_to_job(&mut self, entry: &Entry<'_>) -> bool {
        let Some(ix) = entry.ctx.job_id().and_then(|id| self.jobs.find(id)) else {
            return false;
        };
        let node = entry.ctx.node_id().and_then(|id| self.nodes.find(id));
        let (attempt, epoch) = (entry.ctx.attempt(), entry.ctx.epoch());
        let tasks = entry.ctx.tasks().unwrap_or_default();
        let mut causes: Causes = Vec::new();
        let was_settled = self.jobs.is_settled(ix);
        let settles = entry.settles;
        let closed = self.change_job(ix, node, |job| {
            if let Some(gate) = &mut job.gate {
                gate.forget_delays(entry.stamp.at);
            }
            // A report on what the node never had is evidence in the log and nothing here. So is a
            // second end: what has ended stays as it ended.
            let had = node.map(|node| job.leased_ever(attempt, node, &tasks));
            let had = had.unwrap_or_default();
            let ended = node.map(|node| job.ended(attempt, node, &had));
            let open = had.difference(&ended.unwrap_or_default());
            match (entry.kind, node) {
                (KernelKind::JobClaimed, Some(node)) => job.claim(&tasks, attempt, node, epoch),
                (KernelKind::JobStarted, Some(node)) => {
                    job.start(&had, attempt, node, first_int(entry.spec.get("started_at")));
                }
                (KernelKind::JobFinished, Some(node)) => {
                    for (ending, figures) in columns::group(entry.spec, &tasks, &open) {
                        if !ending.is_ok() {
                            let cause = ending.cause().to_owned();
                            causes.push((Outcome::Failed, cause, figures.tasks.clone()));
                        }
                        // What failed and was active and is not settled by it is tried again.
                        let mut again = job.finish(&ending, &figures, attempt, node);
                        again.subtract(&settles.tasks.all());
                        again = job.unsettled_among(&again);
                        if !ending.is_ok() && !again.is_empty() {
                            let heard_at = entry.spec.int("heard_at");
                            job.retry(attempt, &again, heard_at.unwrap_or(entry.stamp.at));
                        }
                    }
                    let rest = settles.tasks.of(Outcome::Cancelled).clone();
                    if !rest.is_empty() {
                        let reason = "too many tasks have failed".to_owned();
                        job.reasons.entry(reason).or_default().join(&rest);
                        causes.push((Outcome::Cancelled, "cancelled".to_owned(), rest));
                    }
                }
                (KernelKind::TasksReturned, Some(node)) => {
                    let reason = entry.spec.str("reason").unwrap_or_default();
                    job.give_back(&open, attempt, node, reason);
                }
                (KernelKind::AttemptLost, Some(node)) => {
                    causes.push((Outcome::Failed, "lost".to_owned(), tasks.clone()));
                    job.lose(&had, attempt, node, settles);
                }
                (KernelKind::CancelJob, _) => {
                    let all = settles.tasks.of(Outcome::Cancelled).clone();
                    if let Some(reason) = entry.spec.str("reason").filter(|_| !all.is_empty()) {
                        job.reasons.entry(reason.to_owned()).or_default().join(&all);
                    }
                    let cause = entry.spec.str("cause").unwrap_or("cancelled");
                    causes.push((Outcome::Cancelled, cause.to_owned(), all));
                }
                _ => {}
            }
            if settles.tasks.is_empty() {
                Vec::new()
            } else {
                job.settle(settles, &causes)
            }
        });
        if entry.kind == KernelKind::JobFinished
            && let Some(node) = node.and_then(|node| self.nodes.get_mut(node))
        {
            node.has_moved = true;
        }
        if entry.kind == KernelKind::JobFinished
            && let Some(job) = self.jobs.live(ix)
            && let Some(mean_ms) = job.mean_ms
        {
            self.queue.learn(&job.ns_id, job.shape, mean_ms);
        }
        self.close_elsewhere(ix, node, closed.unwrap_or_default());
        if !settles.tasks.is_empty() {
            self.reconsider_after(ix);
        }
        !was_settled && self.jobs.live(ix).is_some_and(Job::is_settled)
    }

    /// Books the leases that a verdict closed at other nodes than the event's own.
    fn close_elsewhere(
        &mut self,
        ix: JobIx,
        own: Option<NodeIx>,
        closed: Vec<(NodeIx, ShapeIx, u64)>,
    ) {
        let Some(job) = self.jobs.live(ix) else {
            return;
        };
        for (node_ix, shape, count) in closed {
            let still = job.leased_to(node_ix) > 0;
            let Some(node) = self.nodes.get_mut(node_ix) else {
                continue;
            };
            node.attention = true;
            if Some(node_ix) != own {
                let count = -i64::try_from(count).unwrap_or(i64::MAX);
                node.book(self.queue.shape_at(shape), count);
                if !still {
                    node.leases.remove(&ix);
                }
            }
        }
    }

    /// Makes the next job of each shape whole: it will be looked at, and leased first.
    pub(super) fn wake_next(&mut self) {
        for ix in self.queue.take_new_heads() {
            self.jobs.wake(ix);
        }
    }

    /// Changes a job and keeps queue and the book of one node in step with it.
    pub(super) fn change_job<T>(
        &mut self,
        ix: JobIx,
        node: Option<NodeIx>,
        change: impl FnOnce(&mut Job) -> T,
    ) -> Option<T> {
        let job = self.jobs.get_mut(ix)?;
        let was_ready = job.is_ready();
        let was_queued = job.queued_count();
        let former = job.rank;
        let had = node.map(|node| job.booked_at(node)).unwrap_or_default();
        let result = change(job);
        job.settle_rank();
        let is_ready = job.is_ready();
        let has_moved = job.rank != former;
        if was_ready && (!is_ready || has_moved) {
            self.queue.remove(&job.ns_id, job.shape, former, ix);
        }
        if is_ready && (!was_ready || has_moved) {
            self.queue.insert(&job.ns_id, job.shape, job.rank, ix);
        }
        if is_ready && job.queued_count() > was_queued {
            self.queue.freshen(&job.ns_id, job.shape);
        }
        let delay = job.gate.as_ref().and_then(|gate| gate.delays.keys().next());
        self.delayed.extend(delay.map(|until| (*until, ix)));
        if let Some(node) = node.and_then(|node| Some((node, self.nodes.get_mut(node)?))) {
            let (node_ix, node) = node;
            let has = job.booked_at(node_ix);
            let has_any = !has.is_empty();
            for (shape, change) in has.since(&had) {
                node.book(self.queue.shape_at(shape), change);
            }
            if has_any {
                node.leases.insert(ix);
            } else {
                node.leases.remove(&ix);
            }
        }
        Some(result)
    }
}

/// The least of a value or a column of integers.
fn first_int(value: Option<&Value<'_>>) -> Option<i64> {
    match value? {
        Value::Int(n) => Some(*n),
        Value::List(list) => list
            .iter()
            .filter_map(|v| match v {
                Value::Int(n) => Some(*n),
                _ => None,
            })
            .min(),
        _ => None,
    }
}
