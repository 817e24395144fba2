//! The gate of a job: what keeps tasks of it from being ready, and how often they may be tried.
//!
//! A task is not ready while it is held, while a job that it comes after has not come so far, or until
//! its back-off is over. Most jobs have no gate. What stands here comes from entries of the log alone;
//! only whether a back-off is over is asked of the clock, and changes nothing but the queue.

use std::collections::BTreeMap;

use super::few::Few;
use super::job::Job;
use super::priorities::Priorities;
use crate::domain::event::Ctx;
use crate::domain::json::{Map, Value};
use crate::lattice::Lattice as _;
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;

/// The first back-off, ms; it doubles with every further failure.
const BACK_OFF_MS: i64 = 1_000;
/// The longest.
const BACK_OFF_MS_MAX: i64 = 60_000;

/// What must have become of a job that others come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Every task has succeeded.
    Succeeded,
    /// Every task is settled.
    Settled,
    /// Every task is settled and one has failed.
    Failed,
}

impl Condition {
    /// Each with the field of `ctx` that names its jobs.
    pub const ALL: [(&'static str, Self); 3] = [
        ("after", Self::Succeeded),
        ("after_any", Self::Settled),
        ("after_fail", Self::Failed),
    ];
}

/// How far a job has come that another comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can still become so.
    Open,
    /// It is so.
    Met,
    /// It never will be.
    Never,
}

/// A job that another comes after.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// Its id.
    pub job_id: String,
    /// What must have become of it.
    pub condition: Condition,
    /// How far it had come when it was looked at last: whenever it changes.
    pub standing: Standing,
}

/// Somebody's word on tasks of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Word<T> {
    /// When it was said.
    pub stamp: Stamp,
    /// Of which tasks; `None` is all, also those that are yet to come.
    pub tasks: Option<TaskSet>,
    /// What holds for them, until something newer is said.
    pub value: T,
}

impl<T: Ord> Word<T> {
    /// Adds it to others, which stand in the order of their stamps; older ones on none but its tasks are
    /// forgotten.
    pub fn join(self, words: &mut Vec<Self>) {
        let covers = |older: &Self| match (&self.tasks, &older.tasks) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(tasks), Some(older)) => older.is_subset(tasks),
        };
        let is_newer = |other: &Self| (other.stamp, &other.value) > (self.stamp, &self.value);
        words.retain(|other| is_newer(other) || !covers(other));
        let place = words.partition_point(|other| !is_newer(other));
        words.insert(place, self);
    }
}

/// What keeps tasks from being ready.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gate {
    /// Tasks that are not ready, by the number of their next attempt.
    pub parked: Few<u32, TaskSet>,
    /// Who held and released what, in the order of the stamps.
    pub holds: Vec<Word<bool>>,
    /// The jobs that it comes after. Once all are met, nobody looks at them any more.
    pub after: Vec<After>,
    /// Whether each task comes after the tasks of its number only.
    pub by_task: bool,
    /// Tasks that need not wait any more, before all that is waited for has come.
    pub released: TaskSet,
    /// Tasks whose back-off ends at a time, ms since 1970.
    pub delays: BTreeMap<i64, TaskSet>,
    /// How often a task has failed in its round.
    pub failures: BTreeMap<u32, u32>,
    /// How often a task may fail and be tried again.
    pub retries: u32,
    /// How many tasks may fail; with one more the rest is cancelled.
    pub max_fails: Option<u64>,
    /// How many tasks may be leased at a time.
    pub throttle: Option<u64>,
    /// When its priority was last set; a submit has the least stamp.
    pub priority_stamp: Stamp,
    /// Where some of its tasks have one of their own.
    pub priorities: Option<Box<Priorities>>,
    /// The tasks of each further round, from the first on.
    pub rounds: Vec<TaskSet>,
}

impl Gate {
    /// What a submit says of it; `None` where it says nothing.
    #[must_use]
    pub fn of(ctx: &Ctx<'_>, spec: &Map<'_>) -> Option<Self> {
        let count = |key| spec.int(key).and_then(|n| u32::try_from(n).ok());
        let mut after = Vec::new();
        for (field, condition) in Condition::ALL {
            let ids = ctx.map().get(field).and_then(Value::as_list);
            let ids = ids.unwrap_or_default().iter().filter_map(Value::as_str);
            after.extend(ids.map(|id| After {
                job_id: id.to_owned(),
                condition,
                standing: Standing::Open,
            }));
        }
        let gate = Self {
            after,
            by_task: ctx.map().get("after_task") == Some(&Value::Bool(true)),
            retries: count("retries").unwrap_or_default(),
            max_fails: count("max_fails").map(u64::from),
            throttle: count("throttle").map(u64::from),
            ..Self::default()
        };
        (gate != Self::default()).then_some(gate)
    }

    /// Those among some tasks that are held.
    #[must_use]
    pub fn held(&self, among: &TaskSet) -> TaskSet {
        let mut held = TaskSet::new();
        for said in &self.holds {
            let tasks = said
                .tasks
                .as_ref()
                .map_or_else(|| among.clone(), |tasks| tasks.intersection(among));
            if said.value {
                held.join(&tasks);
            } else {
                held.subtract(&tasks);
            }
        }
        held
    }

    /// Whether no other job has to be waited for any more.
    #[must_use]
    pub fn is_met(&self) -> bool {
        let mut after = self.after.iter();
        after.all(|after| after.standing == Standing::Met)
    }

    /// Those among some tasks that wait for other jobs.
    #[must_use]
    pub fn waiting(&self, among: &TaskSet) -> TaskSet {
        if self.is_met() {
            return TaskSet::new();
        }
        among.difference(&self.released)
    }

    /// Those among some tasks whose back-off is not over at a time; `None` is before all.
    #[must_use]
    fn delayed(&self, among: &TaskSet, now: Option<i64>) -> TaskSet {
        let mut delayed = TaskSet::new();
        let after = now.map_or(i64::MIN, |now| now.saturating_add(1));
        for tasks in self.delays.range(after..).map(|(_, tasks)| tasks) {
            delayed.join(&tasks.intersection(among));
        }
        delayed
    }

    /// Forgets the back-offs that were over when something was said.
    pub fn forget_delays(&mut self, now: i64) {
        while self
            .delays
            .first_key_value()
            .is_some_and(|(until, _)| *until <= now)
        {
            self.delays.pop_first();
        }
    }

    fn blocked(&self, among: &TaskSet, now: Option<i64>) -> TaskSet {
        let mut blocked = self.held(among);
        blocked.join(&self.waiting(among));
        blocked.join(&self.delayed(among, now));
        blocked
    }

    /// Splits tasks by the round that they are in, without round 0.
    #[must_use]
    pub fn by_round(&self, tasks: &TaskSet) -> Vec<(usize, TaskSet)> {
        let mut rest = tasks.clone();
        let mut split = Vec::new();
        for (round, of) in self.rounds.iter().enumerate().rev() {
            let tasks = rest.intersection(of);
            if !tasks.is_empty() {
                rest.subtract(&tasks);
                split.push((round + 1, tasks));
            }
        }
        split
    }

    /// Number of tasks that are not ready.
    #[must_use]
    pub fn parked_count(&self) -> u64 {
        self.parked.iter().map(|(_, tasks)| tasks.len()).sum()
    }

    /// All tasks that are not ready.
    #[must_use]
    pub fn parked(&self) -> TaskSet {
        let mut parked = TaskSet::new();
        for (_, tasks) in self.parked.iter() {
            parked.join(tasks);
        }
        parked
    }
}

impl Job {
    /// The gate, made where there is none.
    pub fn gate_mut(&mut self) -> &mut Gate {
        self.gate.get_or_insert_default()
    }

    /// Makes tasks ready for the attempt of this number, or parks them.
    pub(super) fn enqueue(&mut self, attempt: u32, tasks: &TaskSet) {
        let mut ready = tasks.clone();
        if let Some(gate) = &mut self.gate {
            let blocked = gate.blocked(tasks, None);
            if !blocked.is_empty() {
                ready.subtract(&blocked);
                gate.parked.change(attempt, |parked| {
                    parked.join(&blocked);
                });
            }
        }
        if !ready.is_empty() {
            self.queued.change(attempt, |queued| {
                queued.join(&ready);
            });
        }
    }

    /// Takes tasks out of what is ready and what is not.
    pub(super) fn dequeue(&mut self, tasks: &TaskSet) {
        let without = |waiting: &mut Few<u32, TaskSet>| {
            waiting.retain(|_, known| {
                known.subtract(tasks);
                !known.is_empty()
            });
        };
        without(&mut self.queued);
        if let Some(gate) = &mut self.gate {
            without(&mut gate.parked);
            gate.delays.retain(|_, delayed| {
                delayed.subtract(tasks);
                !delayed.is_empty()
            });
        }
    }

    /// All that is neither leased nor settled, by the number of its next attempt.
    #[must_use]
    pub fn open(&self) -> Few<u32, TaskSet> {
        let mut open = self.queued.clone();
        for (attempt, tasks) in self.gate.iter().flat_map(|gate| gate.parked.iter()) {
            open.change(*attempt, |known| {
                known.join(tasks);
            });
        }
        open
    }

    /// Looks anew at what is ready, after the gate has changed or at a time.
    pub fn regate(&mut self, now: Option<i64>) {
        let open = self.open();
        let Some(gate) = &mut self.gate else {
            return;
        };
        self.queued = Few::default();
        gate.parked = Few::default();
        for (attempt, tasks) in open.iter() {
            let blocked = gate.blocked(tasks, now);
            let ready = tasks.difference(&blocked);
            for (into, tasks) in [(&mut self.queued, ready), (&mut gate.parked, blocked)] {
                if !tasks.is_empty() {
                    into.change(*attempt, |known| {
                        known.join(&tasks);
                    });
                }
            }
        }
    }

    /// Whether a lease can take tasks of it now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.queued.is_empty() && self.throttle_left() > 0
    }

    /// How many more tasks may be leased beside those that are.
    #[must_use]
    pub fn throttle_left(&self) -> u64 {
        match self.gate.as_ref().and_then(|gate| gate.throttle) {
            Some(throttle) => {
                let leased: u64 = self.leases.iter().map(|lease| lease.tasks.len()).sum();
                throttle.saturating_sub(leased)
            }
            None => u64::MAX,
        }
    }

    /// How many tasks may fail; with one more the rest is cancelled.
    #[must_use]
    pub fn max_fails(&self) -> Option<u64> {
        self.gate.as_ref()?.max_fails
    }

    /// Those among some tasks that may fail once more and be tried again.
    #[must_use]
    pub fn may_retry(&self, among: &TaskSet) -> TaskSet {
        let Some(gate) = self.gate.as_ref().filter(|gate| gate.retries > 0) else {
            return TaskSet::new();
        };
        let mut may = among.clone();
        let spent = gate.failures.iter().filter(|(_, n)| **n >= gate.retries);
        for (task, _) in spent {
            may.remove(*task);
        }
        may
    }

    /// Tasks of an attempt failed at a time and are tried again, each after its back-off.
    pub(super) fn retry(&mut self, attempt: u32, tasks: &TaskSet, at: i64) {
        let gate = self.gate_mut();
        for task in tasks.iter() {
            let failures = gate.failures.entry(task).or_default();
            *failures += 1;
            let doublings = (*failures - 1).min(16);
            let back_off = (BACK_OFF_MS << doublings).min(BACK_OFF_MS_MAX);
            let until = at.saturating_add(back_off);
            gate.delays.entry(until).or_default().insert(task);
        }
        self.requeue(attempt, tasks);
    }

    /// Begins a further round for settled tasks: they are as if they had never been settled.
    pub fn begin_round(&mut self, tasks: &TaskSet) {
        for outcome in super::attempts::Outcome::ALL {
            self.settled.of_mut(outcome).subtract(tasks);
        }
        self.causes.retain(|_, of| {
            of.subtract(tasks);
            !of.is_empty()
        });
        self.reasons.retain(|_, of| {
            of.subtract(tasks);
            !of.is_empty()
        });
        for task in tasks.iter() {
            self.losses.remove(&task);
        }
        let others = self.tasks.difference(tasks);
        let gate = self.gate_mut();
        gate.rounds.push(tasks.clone());
        gate.failures.retain(|task, _| !tasks.contains(*task));
        // What it comes after is asked anew: that may be in another round as well. The other tasks
        // have waited for it already.
        if gate.is_met() {
            gate.released.join(&others);
        }
        gate.released.subtract(tasks);
        for after in &mut gate.after {
            after.standing = Standing::Open;
        }
        self.requeue(0, tasks);
    }

    /// How far this job has come, for one that comes after it.
    #[must_use]
    pub fn standing(&self, condition: Condition) -> Standing {
        self.settled.standing(condition, self.is_settled())
    }
}

impl super::attempts::Settled {
    /// How far a job has come of which so much is settled, be that all or not.
    pub(super) fn standing(&self, condition: Condition, is_settled: bool) -> Standing {
        let [_, failed, cancelled] = super::attempts::Outcome::ALL.map(|o| self.of(o));
        match condition {
            Condition::Succeeded if !failed.is_empty() || !cancelled.is_empty() => Standing::Never,
            Condition::Failed if is_settled && failed.is_empty() => Standing::Never,
            _ if is_settled => Standing::Met,
            _ => Standing::Open,
        }
    }
}
