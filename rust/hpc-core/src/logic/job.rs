//! One job: its tasks, leases and attempts.
//!
//! A job is a set of tasks. Every task is queued, parked by the gate (`gate.rs`), leased (by at most
//! one active attempt) or settled; these sets are disjoint and together all tasks. What changes
//! them are events of the log alone, the same live and in replay (protocol R3).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::attempts::{AttemptKey, AttemptState, Causes, Lease, NodeIx, Outcome, Settled, Settles};
use super::columns::{Ending, Figures, least};
use super::few::Few;
use super::gate::Gate;
use super::queue::{NEWEST, Rank, ShapeIx};
use crate::lattice::Lattice as _;
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;
use crate::mutants::{Rule, is_broken};

/// One job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, unique over all namespaces.
    pub id: Arc<str>,
    /// Its namespace.
    pub ns_id: String,
    /// Label.
    pub name: Option<String>,
    /// Canonical spec, defaults filled in.
    pub spec: String,
    /// Canonical ctx of its first submit.
    pub ctx: String,
    /// What turns its tasks into work, as its namespace said when it was submitted.
    pub handler_type: Option<String>,
    /// When its label was given.
    pub(super) name_stamp: Stamp,
    /// One value per task, canonical.
    pub entries: BTreeMap<u32, String>,
    /// Where it stands in the queue.
    pub rank: Rank,
    /// What a task of it takes.
    pub shape: ShapeIx,
    /// Whether its tasks end at the fence and must never overlap.
    pub stops: bool,
    /// When it was submitted, ms since 1970.
    pub submitted_at: i64,
    /// All its tasks.
    pub tasks: TaskSet,
    /// Ready tasks, by the number of their next attempt.
    pub queued: Few<u32, TaskSet>,
    /// Active attempts.
    pub leases: Vec<Lease>,
    /// Settled tasks by outcome.
    pub settled: Settled,
    /// Why tasks failed or were cancelled.
    pub causes: Few<(Outcome, String), TaskSet>,
    /// What was said about tasks that were cancelled.
    pub reasons: BTreeMap<String, TaskSet>,
    /// What became of every attempt.
    pub attempts: BTreeMap<AttemptKey, Figures>,
    /// How often a task was lost while it ran.
    pub losses: BTreeMap<u32, u32>,
    /// Whether an attempt was ever lost.
    pub(super) has_lost: bool,
    /// Mean duration of its tasks, in ms, of late; `None` before the first has ended.
    pub mean_ms: Option<f64>,
    /// What keeps tasks from being ready, where anything does.
    pub gate: Option<Box<Gate>>,
}

/// How many tasks of which shapes are leased; a shape may stand more than once, and counts in sum.
#[derive(Clone, Debug, Default)]
pub struct Booked {
    first: Option<(ShapeIx, i64)>,
    others: Vec<(ShapeIx, i64)>,
}

impl Booked {
    fn add(&mut self, shape: ShapeIx, count: i64) {
        let Some((first, known)) = &mut self.first else {
            self.first = Some((shape, count));
            return;
        };
        if *first == shape {
            *known += count;
        } else {
            self.others.push((shape, count));
        }
    }

    /// Whether nothing is leased.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// What has changed since: how many more of each shape, or fewer.
    pub fn since(mut self, before: &Self) -> impl Iterator<Item = (ShapeIx, i64)> {
        for (shape, count) in before.first.iter().chain(&before.others) {
            self.add(*shape, -count);
        }
        let all = self.first.into_iter().chain(self.others);
        all.filter(|(_, change)| *change != 0)
    }
}

/// What a new job is made of.
#[derive(Debug)]
pub struct NewJob {
    /// See [`Job`].
    pub id: Arc<str>,
    /// See [`Job`].
    pub ns_id: String,
    /// See [`Job`].
    pub name: Option<String>,
    /// See [`Job`].
    pub spec: String,
    /// See [`Job`].
    pub ctx: String,
    /// See [`Job`].
    pub handler_type: Option<String>,
    /// Of the submit.
    pub stamp: Stamp,
    /// Greater first.
    pub priority: i64,
    /// Of the submit.
    pub seq: u64,
    /// See [`Job`].
    pub shape: ShapeIx,
    /// See [`Job`].
    pub stops: bool,
    /// See [`Job`].
    pub gate: Option<Gate>,
}

impl Job {
    /// A job without tasks.
    #[must_use]
    pub fn new(new: NewJob) -> Self {
        Self {
            id: new.id,
            ns_id: new.ns_id,
            name: new.name,
            spec: new.spec,
            ctx: new.ctx,
            handler_type: new.handler_type,
            name_stamp: new.stamp,
            entries: BTreeMap::new(),
            rank: Rank {
                priority: Reverse(new.priority),
                seq: new.seq,
            },
            shape: new.shape,
            stops: new.stops,
            submitted_at: new.stamp.at,
            tasks: TaskSet::new(),
            queued: Few::default(),
            leases: Vec::new(),
            settled: Settled::default(),
            causes: Few::default(),
            reasons: BTreeMap::new(),
            attempts: BTreeMap::new(),
            losses: BTreeMap::new(),
            has_lost: false,
            mean_ms: None,
            gate: new.gate.map(Box::new),
        }
    }

    /// Those among some tasks that are the job's and have no outcome; costs what they are, not
    /// what the job is.
    #[must_use]
    pub fn unsettled_among(&self, tasks: &TaskSet) -> TaskSet {
        let mut tasks = self.tasks.intersection(tasks);
        for outcome in Outcome::ALL {
            tasks.subtract(self.settled.of(outcome));
        }
        tasks
    }

    /// Number of settled tasks.
    #[must_use]
    pub fn settled_count(&self) -> u64 {
        Outcome::ALL.iter().map(|o| self.settled.of(*o).len()).sum()
    }

    /// Whether every task has its outcome.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled_count() == self.tasks.len()
    }

    /// Number of ready tasks.
    #[must_use]
    pub fn queued_count(&self) -> u64 {
        self.queued.iter().map(|(_, tasks)| tasks.len()).sum()
    }

    /// What a further submit says of priority, label and time, joined as the kernel's facts are:
    /// the greater priority (a submit has the least stamp), the newer label, the earlier time.
    pub fn resubmit(&mut self, priority: i64, name: Option<&str>, stamp: Stamp) {
        self.resubmit_priority(priority);
        self.submitted_at = self.submitted_at.min(stamp.at);
        let known = self.name.as_deref().map(|name| (self.name_stamp, name));
        if let Some(name) = name
            && known < Some((stamp, name))
        {
            self.name = Some(name.to_owned());
            self.name_stamp = stamp;
        }
    }

    /// Adds tasks; those that are known stay as they are.
    pub fn add_tasks(&mut self, tasks: &TaskSet) {
        let new = tasks.difference(&self.tasks);
        self.tasks.join(&new);
        self.enqueue(1, &new);
    }

    /// Makes tasks of an attempt ready again, each for a number above all that it ever had
    /// (protocol R7): where the attempt was adopted, newer ones came before.
    pub(super) fn requeue(&mut self, attempt: u32, tasks: &TaskSet) {
        let mut rest = tasks.clone();
        let mut groups: Vec<(u32, TaskSet)> = Vec::new();
        let newer = self.attempts.iter().rev();
        for (key, figures) in newer.take_while(|(key, _)| key.attempt > attempt) {
            let had = rest.intersection(&figures.tasks);
            rest.subtract(&had);
            groups.push((key.attempt + 1, had));
        }
        groups.push((attempt + 1, rest));
        for (next, tasks) in groups {
            let next = next - u32::from(is_broken(Rule::R7));
            self.enqueue(next, &tasks);
        }
    }

    /// JobClaimed: tasks are leased, or a lost attempt is adopted again, as far as it had come.
    pub fn claim(&mut self, tasks: &TaskSet, attempt: u32, node: NodeIx, epoch: u32) {
        self.dequeue(tasks);
        let had_started = AttemptState::Lost { started: true };
        let started = self
            .in_state(attempt, node, had_started)
            .intersection(tasks);
        let none = Figures::default();
        let leased = tasks.difference(&started);
        self.note(attempt, node, AttemptState::Leased, &leased, &none);
        self.note(attempt, node, AttemptState::Running, &started, &none);
        match self.lease_mut(attempt, node) {
            Some(lease) => {
                lease.tasks.join(tasks);
                lease.started.join(&started);
                lease.epoch = epoch;
            }
            None => self.leases.push(Lease {
                attempt,
                node,
                epoch,
                shape: self.shape,
                tasks: tasks.clone(),
                started,
            }),
        }
    }

    /// JobStarted.
    pub fn start(&mut self, tasks: &TaskSet, attempt: u32, node: NodeIx, at: Option<i64>) {
        let figures = Figures {
            started_at: at,
            ..Figures::default()
        };
        if let Some(lease) = self.lease_mut(attempt, node) {
            let running = tasks.intersection(&lease.tasks);
            lease.started.join(&running);
            self.note(attempt, node, AttemptState::Running, &running, &figures);
        }
        // Of what was given up meanwhile it is evidence and decides nothing; but it ran when its
        // relay was lost, and that counts.
        let lost = self.in_state(attempt, node, AttemptState::Lost { started: false });
        let late = tasks.intersection(&lost);
        for task in late.iter() {
            *self.losses.entry(task).or_default() += 1;
        }
        let state = AttemptState::Lost { started: true };
        self.note(attempt, node, state, &late, &figures);
    }

    /// JobFinished, of tasks that ended alike; returns those that were active.
    pub fn finish(
        &mut self,
        ending: &Ending,
        figures: &Figures,
        attempt: u32,
        node: NodeIx,
    ) -> TaskSet {
        let state = AttemptState::Ended(ending.clone());
        self.note(attempt, node, state, &figures.tasks, figures);
        self.learn(figures);
        self.release(attempt, node, &figures.tasks)
    }

    /// TasksReturned, of what has not ended: what was active is ready again; counts for nothing.
    pub fn give_back(&mut self, tasks: &TaskSet, attempt: u32, node: NodeIx, reason: &str) {
        let state = AttemptState::Returned(reason.to_owned());
        self.note(attempt, node, state, tasks, &Figures::default());
        let released = self.release(attempt, node, tasks);
        self.requeue(attempt, &released);
    }

    /// AttemptLost: ready again, but for what its event settles; counts if it had started.
    pub fn lose(&mut self, tasks: &TaskSet, attempt: u32, node: NodeIx, settles: &Settles) {
        let started = self.lease(attempt, node).map(|lease| &lease.started);
        let ran = started.map_or_else(TaskSet::new, |started| started.intersection(tasks));
        let mut released = self.release(attempt, node, tasks);
        let waited = released.difference(&ran);
        for (started, tasks) in [(true, &ran), (false, &waited)] {
            let state = AttemptState::Lost { started };
            self.note(attempt, node, state, tasks, &Figures::default());
        }
        self.has_lost = true;
        for task in ran.iter() {
            *self.losses.entry(task).or_default() += 1;
        }
        released.subtract(&settles.tasks.all());
        self.requeue(attempt, &released);
    }

    /// Writes outcomes down, closes what else was active on those tasks (protocol R6), and returns
    /// the nodes of the leases that were closed, each with their shape and the number of tasks; with
    /// 0 the nodes that may run such a task still, though it was given up.
    pub fn settle(&mut self, settles: &Settles, causes: &Causes) -> Vec<(NodeIx, ShapeIx, u64)> {
        for outcome in Outcome::ALL {
            let tasks = settles.tasks.of(outcome);
            if tasks.is_empty() {
                continue;
            }
            self.settled.of_mut(outcome).join(tasks);
        }
        for (outcome, cause, tasks) in causes {
            let tasks = tasks.intersection(settles.tasks.of(*outcome));
            if !tasks.is_empty() {
                self.causes.change((*outcome, cause.clone()), |known| {
                    known.join(&tasks);
                });
            }
        }
        let all = settles.tasks.all();
        self.dequeue(&all);
        let mut closed = Vec::new();
        let hit = self.leases.iter();
        let hit: Vec<Lease> = hit
            .filter(|lease| !lease.tasks.is_disjoint(&all))
            .cloned()
            .collect();
        for lease in hit {
            let (attempt, node, tasks) = (lease.attempt, lease.node, lease.tasks);
            let tasks = tasks.intersection(&all);
            self.note(
                attempt,
                node,
                AttemptState::Closed,
                &tasks,
                &Figures::default(),
            );
            if is_broken(Rule::R6) {
                continue;
            }
            let released = self.release(attempt, node, &tasks);
            closed.push((node, lease.shape, released.len()));
        }
        if self.has_lost {
            let lost = self.attempts.iter().filter(|(key, figures)| {
                matches!(key.state, AttemptState::Lost { .. }) && !figures.tasks.is_disjoint(&all)
            });
            let shape = self.shape;
            closed.extend(lost.map(|(key, _)| (key.node, shape, 0)));
        }
        closed
    }

    /// Ends leases without saying what becomes of the tasks; returns those that were active.
    fn release(&mut self, attempt: u32, node: NodeIx, tasks: &TaskSet) -> TaskSet {
        let Some(lease) = self.lease_mut(attempt, node) else {
            return TaskSet::new();
        };
        let released = lease.tasks.intersection(tasks);
        lease.tasks.subtract(tasks);
        lease.started.subtract(tasks);
        if lease.tasks.is_empty() {
            self.leases
                .retain(|lease| lease.attempt != attempt || lease.node != node);
        }
        released
    }

    /// Passes the leases of a node on to its new epoch.
    pub fn pass_over(&mut self, node: NodeIx, epoch: u32) {
        for lease in self.leases.iter_mut().filter(|lease| lease.node == node) {
            lease.epoch = epoch;
        }
    }

    /// Keeps the memory of equal sets once: `settled` holds what the kernel's facts say of each outcome.
    pub fn share(&mut self, settled: &[TaskSet; 3]) {
        let attempts = self.attempts.values_mut().map(|figures| &mut figures.tasks);
        for tasks in attempts.chain(self.causes.values_mut()) {
            for known in settled {
                tasks.share(known);
            }
        }
        for (outcome, known) in Outcome::ALL.into_iter().zip(settled) {
            self.settled.of_mut(outcome).share(known);
        }
    }

    /// What is leased to a node: how many tasks of which shape. Mostly one shape, and then nothing
    /// is allocated: every report asks for it twice.
    #[must_use]
    pub fn booked_at(&self, node: NodeIx) -> Booked {
        let mut booked = Booked::default();
        for lease in self.leases.iter().filter(|lease| lease.node == node) {
            let count = i64::try_from(lease.tasks.len()).unwrap_or(i64::MAX);
            booked.add(lease.shape, count);
        }
        booked
    }

    /// How many tasks are leased to a node.
    #[must_use]
    pub fn leased_to(&self, node: NodeIx) -> u64 {
        let leases = self.leases.iter().filter(|lease| lease.node == node);
        leases.map(|lease| lease.tasks.len()).sum()
    }

    /// The active lease of an attempt at a node.
    #[must_use]
    pub fn lease(&self, attempt: u32, node: NodeIx) -> Option<&Lease> {
        self.leases
            .iter()
            .find(|lease| lease.attempt == attempt && lease.node == node)
    }

    fn lease_mut(&mut self, attempt: u32, node: NodeIx) -> Option<&mut Lease> {
        self.leases
            .iter_mut()
            .find(|lease| lease.attempt == attempt && lease.node == node)
    }

    /// Those among some tasks that were ever leased to a node under an attempt number.
    #[must_use]
    pub fn leased_ever(&self, attempt: u32, node: NodeIx, among: &TaskSet) -> TaskSet {
        let mut tasks = TaskSet::new();
        for (_, figures) in self.attempts_of(attempt, node) {
            tasks.join(&figures.tasks.intersection(among));
        }
        tasks
    }

    /// Those among some tasks of which a report says that this attempt at this node ended.
    #[must_use]
    pub fn ended(&self, attempt: u32, node: NodeIx, among: &TaskSet) -> TaskSet {
        let mut tasks = TaskSet::new();
        for (key, figures) in self.attempts_of(attempt, node) {
            if matches!(
                key.state,
                AttemptState::Ended(_) | AttemptState::Returned(_)
            ) {
                tasks.join(&figures.tasks.intersection(among));
            }
        }
        tasks
    }

    /// The tasks of an attempt at a node that are in one state.
    pub(super) fn in_state(&self, attempt: u32, node: NodeIx, state: AttemptState) -> TaskSet {
        let key = AttemptKey {
            attempt,
            node,
            state,
        };
        let figures = self.attempts.get(&key);
        figures.map_or_else(TaskSet::new, |figures| figures.tasks.clone())
    }

    /// Attempts that were settled otherwise, of tasks that no report says have ended.
    pub(super) fn closed(&self) -> impl Iterator<Item = (&AttemptKey, &TaskSet)> {
        let all = self.attempts.iter();
        let closed = all.filter(|(key, _)| key.state == AttemptState::Closed);
        closed.map(|(key, figures)| (key, &figures.tasks))
    }

    fn attempts_of(
        &self,
        attempt: u32,
        node: NodeIx,
    ) -> impl Iterator<Item = (&AttemptKey, &Figures)> {
        let from = AttemptKey {
            attempt,
            node,
            state: AttemptState::Leased,
        };
        let from = self.attempts.range(from..);
        from.take_while(move |(key, _)| key.attempt == attempt && key.node == node)
    }

    /// Moves tasks of an attempt into a state, out of whichever they were in.
    fn note(
        &mut self,
        attempt: u32,
        node: NodeIx,
        state: AttemptState,
        tasks: &TaskSet,
        figures: &Figures,
    ) {
        if tasks.is_empty() {
            return;
        }
        let key = AttemptKey {
            attempt,
            node,
            state,
        };
        let mut started_at = figures.started_at;
        let others: Vec<AttemptKey> = self
            .attempts_of(attempt, node)
            .filter(|(other, had)| **other != key && !had.tasks.is_disjoint(tasks))
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            if let Some(had) = self.attempts.get_mut(&other) {
                // Of a lease of many it is the first start; whoever says its own knows better.
                if figures.started_at.is_none() {
                    started_at = least(started_at, had.started_at);
                }
                had.tasks.subtract(tasks);
                if had.tasks.is_empty() {
                    self.attempts.remove(&other);
                }
            }
        }
        let record = self.attempts.entry(key).or_default();
        record.tasks.join(tasks);
        record.join(figures);
        record.started_at = least(record.started_at, started_at);
    }

    /// Follows the mean duration.
    fn learn(&mut self, figures: &Figures) {
        if figures.started_at.is_none() || figures.tasks.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let mean = figures.duration_ms as f64 / figures.tasks.len() as f64;
        self.mean_ms = Some(match self.mean_ms {
            Some(old) => old + NEWEST * (mean - old),
            None => mean,
        });
    }
}
