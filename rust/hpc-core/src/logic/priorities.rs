//! Priorities of single tasks: what was said of some of a job's, beside what holds for all of it.
//!
//! A job stands in the queue once, by the priority of what is leased of it next. So where some of
//! its tasks have a priority of their own, its rank is that of the greatest among its ready ones.

use std::borrow::Cow;
use std::cmp::Reverse;

use super::gate::Word;
use super::job::Job;
use crate::lattice::Lattice as _;
use crate::lattice::last::Stamp;
use crate::lattice::tasks::TaskSet;

/// Who said what, and what holds for all other tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Priorities {
    /// Of the job.
    pub of_job: i64,
    /// In the order of their stamps; all are newer than the job's own.
    pub said: Vec<Word<i64>>,
}

impl Priorities {
    /// Some tasks by their priority; each once, and none twice.
    #[must_use]
    pub fn split(&self, among: &TaskSet) -> Vec<(i64, TaskSet)> {
        let mut rest = among.clone();
        let mut split: Vec<(i64, TaskSet)> = Vec::new();
        let newest_first = self.said.iter().rev();
        let of_some = newest_first.map(|said| (said.value, said.tasks.as_ref()));
        for (priority, tasks) in of_some.chain([(self.of_job, None)]) {
            let own = tasks.map_or_else(|| rest.clone(), |tasks| rest.intersection(tasks));
            if own.is_empty() {
                continue;
            }
            rest.subtract(&own);
            match split.iter_mut().find(|(known, _)| *known == priority) {
                Some((_, known)) => {
                    known.join(&own);
                }
                None => split.push((priority, own)),
            }
        }
        split
    }

    /// Those among some tasks that come first.
    fn first(&self, among: &TaskSet) -> Option<(i64, TaskSet)> {
        let split = self.split(among).into_iter();
        split.max_by_key(|(priority, _)| *priority)
    }
}

impl Job {
    fn priorities(&self) -> Option<&Priorities> {
        let priorities = &self.gate.as_ref()?.priorities;
        priorities.as_deref()
    }

    /// The priority of the job, which those of its tasks have that nobody has set.
    #[must_use]
    pub fn priority(&self) -> i64 {
        let own = self.priorities().map(|priorities| priorities.of_job);
        own.unwrap_or(self.rank.priority.0)
    }

    /// Its tasks that have another priority, by it.
    #[must_use]
    pub fn own_priorities(&self) -> Vec<(i64, TaskSet)> {
        let Some(priorities) = self.priorities() else {
            return Vec::new();
        };
        let split = priorities.split(&self.tasks).into_iter();
        let mut others: Vec<_> = split.filter(|(of, _)| *of != priorities.of_job).collect();
        others.sort_by_key(|(of, _)| Reverse(*of));
        others
    }

    /// SetPriority, of all or of some tasks; the newest word on a task holds.
    pub(super) fn say_priority(&mut self, stamp: Stamp, tasks: Option<TaskSet>, priority: i64) {
        let known = self.priority();
        let gate = self.gate_mut();
        if let Some(tasks) = tasks {
            if stamp > gate.priority_stamp {
                let priorities = gate.priorities.get_or_insert_with(|| {
                    Box::new(Priorities {
                        of_job: known,
                        said: Vec::new(),
                    })
                });
                let word = Word {
                    stamp,
                    tasks: Some(tasks),
                    value: priority,
                };
                word.join(&mut priorities.said);
            }
        } else if (gate.priority_stamp, known) < (stamp, priority) {
            gate.priority_stamp = stamp;
            if let Some(priorities) = &mut gate.priorities {
                priorities.said.retain(|said| said.stamp > stamp);
            }
            self.set_priority_of_job(priority);
        }
    }

    /// What a further submit says of it: the greater counts, and a request more than any submit.
    pub(super) fn resubmit_priority(&mut self, priority: i64) {
        let is_set = (self.gate.as_ref()).is_some_and(|g| g.priority_stamp != Stamp::default());
        if !is_set && priority > self.priority() {
            self.set_priority_of_job(priority);
        }
    }

    fn set_priority_of_job(&mut self, priority: i64) {
        let gate = self.gate.as_deref_mut();
        match gate.and_then(|gate| gate.priorities.as_mut()) {
            Some(priorities) => priorities.of_job = priority,
            None => self.rank.priority = Reverse(priority),
        }
    }

    /// Puts it where what is leased next of it belongs, and forgets words on priorities that say nothing.
    pub(super) fn settle_rank(&mut self) {
        let Some(priorities) = self.priorities() else {
            return;
        };
        let ready = self.queued.iter();
        let first = ready.filter_map(|(_, tasks)| Some(priorities.first(tasks)?.0));
        let first = first.max().unwrap_or(priorities.of_job);
        let is_over = priorities.said.is_empty();
        self.rank.priority = Reverse(first);
        if is_over && let Some(gate) = &mut self.gate {
            gate.priorities = None;
        }
    }

    /// The tasks that a lease can take now: of the greatest priority and one attempt number, the one
    /// with the least task.
    #[must_use]
    pub fn next_ready(&self) -> Option<(u32, Cow<'_, TaskSet>)> {
        let ready = self.queued.iter();
        let Some(priorities) = self.priorities() else {
            let next = ready.min_by_key(|(_, tasks)| tasks.first());
            return next.map(|(attempt, tasks)| (*attempt, Cow::Borrowed(tasks)));
        };
        let first = ready.filter_map(|(attempt, tasks)| {
            let (priority, tasks) = priorities.first(tasks)?;
            Some((*attempt, priority, tasks))
        });
        let next = first.min_by_key(|(_, priority, tasks)| (Reverse(*priority), tasks.first()));
        next.map(|(attempt, _, tasks)| (attempt, Cow::Owned(tasks)))
    }
}
