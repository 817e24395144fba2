//! board: which tasks wait, run and end here, and every order about them.
//!
//! Orders come from the relay ([`crate::wire`]); what they lead to is written to the outbox as it
//! happens. The life of a single task (start, ending, its end) stands in [`crate::life`]; time is
//! [`crate::timers`]', the loop around it all [`crate::supervisor`]'s.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::sync::Arc;

use hpc_core::lattice::tasks::TaskSet;

use crate::capture::Captures;
use crate::cgroup::Cgroups;
use crate::environment::Environments;
use crate::holds::Holds;
use crate::hooks::{Hooks, Phase};
use crate::janitor::{Chore, Janitor};
use crate::life::{Task, Why};
use crate::outbox::Outbox;
use crate::own_folders::OwnFolders;
use crate::reap::Markers;
use crate::record::{Cause, Outcome, Reason, Record, Span};
use crate::slots::{Slots, Stock};
use crate::starts::Starts;
use crate::stuck::Stuck;
use crate::sys::{self, launch::Launcher};
use crate::timers::{Timer, Timers};
use crate::work::{CutOff, GPUS, Kind, Lease, Lot, Site, Work};

/// Grace of a task when a drain's patience is over, at most.
const DRAIN_GRACE_MS: u64 = 5_000;

/// Of the time to the fence, the part that lies between its SIGTERM and its SIGKILL. The fence is
/// 0.8 of a lease away at most, so an eighth of that ends by 0.9 (protocol.md R15).
const FENCE_GRACE_PART: u64 = 8;

/// Tasks of a lot that wait for room.
pub(crate) struct Waiting {
    pub lot: Arc<Lot>,
    pub tasks: TaskSet,
}

/// Everything about tasks; one per supervisor.
pub struct Board {
    pub(crate) site: Site,
    environments: Environments,
    pub(crate) markers: Markers,
    pub(crate) launcher: Launcher,
    pub(crate) slots: Slots,
    pub(crate) captures: Captures,
    pub(crate) folders: OwnFolders,
    pub(crate) child_list: File,
    pub(crate) janitor: Janitor,
    pub(crate) queue: VecDeque<Waiting>,
    pub(crate) running: HashMap<u32, Task>,
    pub(crate) pids: HashMap<i32, u32>,
    pub(crate) serial: u32,
    pub(crate) newborns: Vec<u32>,
    pub(crate) is_patrolled: bool,
    pub(crate) stuck: Vec<Stuck>,
    pub(crate) starts: Starts,
    pub(crate) output_limit: u64,
    pub(crate) hooks: Hooks,
    pub(crate) groups: Option<Cgroups>,
    pub(crate) are_groups_required: bool,
    /// The outbox of this session.
    pub outbox: Outbox,
    /// What is due.
    pub timers: Timers,
    /// What the relay names in its claims.
    pub holds: Holds,
    pub(crate) fence_ms: Option<u64>,
    fence_grace_ms: u64,
    fence_timer_ms: Option<u64>,
    is_draining: bool,
    /// Set while the outbox cannot be written: nothing starts that could not be told.
    pub is_blocked: bool,
}

/// What a board is made of.
pub struct Parts {
    /// Who runs the tasks.
    pub site: Site,
    /// What may be used.
    pub slots: Slots,
    /// Where output goes.
    pub captures: Captures,
    /// Where tasks without a folder run.
    pub folders: OwnFolders,
    /// For slow disk work.
    pub janitor: Janitor,
    /// The outbox of this session.
    pub outbox: Outbox,
    /// Bytes that are kept of the output of a task that sets no limit of its own.
    pub output_limit: u64,
    /// What makes groups for tasks whose memory is limited, where that is possible.
    pub groups: Option<Cgroups>,
    /// Whether such a task may not run without.
    pub are_groups_required: bool,
}

impl Board {
    /// Nothing waits and nothing runs.
    ///
    /// # Errors
    /// The kernel's: no timer, or no list of children in `/proc`.
    pub fn new(parts: Parts) -> std::io::Result<Self> {
        let me = std::process::id();
        Ok(Self {
            markers: Markers::new(&parts.site.place),
            site: parts.site,
            environments: Environments::default(),
            launcher: Launcher::new(),
            slots: parts.slots,
            captures: parts.captures,
            folders: parts.folders,
            child_list: File::open(format!("/proc/{me}/task/{me}/children"))?,
            janitor: parts.janitor,
            queue: VecDeque::new(),
            running: HashMap::new(),
            pids: HashMap::new(),
            serial: 0,
            newborns: Vec::new(),
            is_patrolled: false,
            stuck: Vec::new(),
            starts: Starts::default(),
            output_limit: parts.output_limit,
            hooks: Hooks::default(),
            groups: parts.groups,
            are_groups_required: parts.are_groups_required,
            outbox: parts.outbox,
            timers: Timers::new()?,
            holds: Holds::default(),
            fence_ms: None,
            fence_grace_ms: 0,
            fence_timer_ms: None,
            is_draining: false,
            is_blocked: false,
        })
    }

    /// Offers what has a name, beside cores and memory; comes before the first work.
    pub fn offer(&mut self, stock: BTreeMap<String, Stock>) {
        self.site.has_gpus = stock.contains_key(GPUS);
        self.slots.stock(stock);
    }

    /// Takes work on: what is not held is queued; what cannot be prepared is reported `refused`.
    /// Nothing is started before [`Board::start_ready`].
    pub fn run(&mut self, works: Vec<Work>) {
        for work in works {
            let asked = match Lot::tasks(&work) {
                Ok(asked) => asked,
                Err(error) => {
                    crate::say!("supervisor: work of job {:?} is left: {error}", work.job_id);
                    continue;
                }
            };
            let lease = lease_of(&work);
            match Lot::new(work, &self.site, &mut self.environments) {
                Ok(lot) => self.enqueue(Arc::new(lot), &asked),
                Err(detail) => self.report_refused(&Arc::new(lease), &asked, detail),
            }
        }
    }

    fn enqueue(&mut self, lot: Arc<Lot>, asked: &TaskSet) {
        let tasks = self.holds.add(&lot.lease, asked);
        if tasks.is_empty() {
            return;
        }
        if self.is_draining {
            self.report_returned(&lot.lease, &tasks, Reason::Drain);
            return;
        }
        match self.slots.could_fit(&lot.asked) {
            Err(detail) if lot.work.kind == Kind::Process => {
                self.report_failed(&lot.lease, &tasks, detail);
            }
            _ => self.queue.push_back(Waiting { lot, tasks }),
        }
    }

    /// Reports tasks as failed, cause `refused`, that are not held yet.
    pub fn refuse(&mut self, work: &Work, detail: String) {
        match Lot::tasks(work) {
            Ok(asked) => self.report_refused(&Arc::new(lease_of(work)), &asked, detail),
            Err(error) => {
                crate::say!("supervisor: work of job {:?} is left: {error}", work.job_id);
            }
        }
    }

    fn report_refused(&mut self, lease: &Arc<Lease>, asked: &TaskSet, detail: String) {
        let tasks = self.holds.add(lease, asked);
        self.report_failed(lease, &tasks, detail);
    }

    fn report_failed(&mut self, lease: &Arc<Lease>, tasks: &TaskSet, detail: String) {
        let outcome = Outcome {
            cause: Some(Cause::Refused),
            finished_at: sys::wall_ms(),
            detail: Some(detail),
            ..Outcome::default()
        };
        for (first, last) in tasks.ranges() {
            self.outbox.push(Record::Ended {
                lease: Arc::clone(lease),
                tasks: Span(first, last),
                outcome: outcome.clone(),
            });
        }
    }

    pub(crate) fn report_returned(&mut self, lease: &Arc<Lease>, tasks: &TaskSet, reason: Reason) {
        let at = sys::wall_ms();
        for (first, last) in tasks.ranges() {
            self.outbox.push(Record::Returned {
                lease: Arc::clone(lease),
                tasks: Span(first, last),
                reason,
                at,
            });
        }
    }

    /// Ends tasks that the Hub has decided otherwise: waiting ones go back, running ones are ended.
    /// Where the Hub drains this node they go back too, as in a drain of our own.
    pub fn cancel(&mut self, job_id: &str, attempt: u64, tasks: &TaskSet, is_drain: bool) {
        let (reason, why, grace_ms_max) = match is_drain {
            true => (Reason::Drain, Why::Drain, DRAIN_GRACE_MS),
            false => (Reason::GivenBack, Why::Cancelled, u64::MAX),
        };
        self.return_named(reason, job_id, attempt, tasks);
        let chosen = self.serials(|task| {
            let lease = &task.lot.lease;
            lease.job_id == job_id && lease.attempt == attempt && tasks.contains(task.number)
        });
        for serial in chosen {
            let grace_ms = self.grace_ms(serial).min(grace_ms_max);
            self.end(serial, why, grace_ms);
        }
    }

    /// Returns those of the tasks that have not started.
    pub fn give_back(&mut self, job_id: &str, attempt: u64, tasks: &TaskSet) {
        self.return_named(Reason::GivenBack, job_id, attempt, tasks);
    }

    fn return_named(&mut self, reason: Reason, job_id: &str, attempt: u64, tasks: &TaskSet) {
        self.return_waiting(reason, |lot| {
            let lease = &lot.lease;
            (lease.job_id == job_id && lease.attempt == attempt).then_some(tasks)
        });
    }

    /// Returns waiting tasks: of each lot those that `chosen` names.
    fn return_waiting<'t>(&mut self, reason: Reason, chosen: impl Fn(&Lot) -> Option<&'t TaskSet>) {
        let mut queue = std::mem::take(&mut self.queue);
        for waiting in &mut queue {
            if let Some(tasks) = chosen(&waiting.lot) {
                let returned = waiting.tasks.intersection(tasks);
                waiting.tasks.subtract(&returned);
                self.report_returned(&waiting.lot.lease, &returned, reason);
            }
        }
        queue.retain(|waiting| !waiting.tasks.is_empty());
        self.queue = queue;
    }

    pub(crate) fn return_lots(&mut self, reason: Reason, chosen: impl Fn(&Lot) -> bool) {
        let all = TaskSet::range(0, hpc_core::lattice::tasks::TASK_MAX);
        self.return_waiting(reason, |lot| chosen(lot).then_some(&all));
    }

    /// Nothing starts after this moment, and `stop` tasks end at it; what waited for a later one may be
    /// started now, by [`Board::start_ready`].
    pub fn fence(&mut self, at_ms: u64) {
        let now_ms = sys::boottime_ms();
        self.fence_ms = Some(at_ms);
        // Of the lease that was answered last: a Hub may promise less than the one before it.
        self.fence_grace_ms = at_ms.saturating_sub(now_ms) / FENCE_GRACE_PART;
        self.time_fence(at_ms);
    }

    /// One timer serves: each answer moves the fence on, and who is woken too soon sets it anew.
    fn time_fence(&mut self, at_ms: u64) {
        if self.fence_timer_ms.is_none_or(|timer_ms| at_ms < timer_ms) {
            self.fence_timer_ms = Some(at_ms);
            self.timers.set(at_ms, Timer::Fence);
        }
    }

    /// The fence may have been reached: it has unless an answer moved it since.
    pub(crate) fn fence_due(&mut self) {
        self.fence_timer_ms = None;
        let Some(at_ms) = self.fence_ms else { return };
        if sys::boottime_ms() < at_ms {
            self.time_fence(at_ms);
            return;
        }
        self.return_lots(Reason::Fence, |lot| lot.work.on_cut_off == CutOff::Stop);
        self.end_stop_tasks();
    }

    /// The Hub gave the epoch up: `stop` tasks end, what waits goes back.
    pub fn lost(&mut self) {
        self.return_lots(Reason::GivenBack, |_| true);
        self.end_stop_tasks();
    }

    fn end_stop_tasks(&mut self) {
        // What has not begun yet must not begin any more.
        let must_end = |task: &Task| {
            let is_before = matches!(task.phase, Phase::Before(_));
            is_before || task.lot.work.on_cut_off == CutOff::Stop
        };
        for serial in self.serials(must_end) {
            let grace_ms = self.grace_ms(serial).min(self.fence_grace_ms);
            self.end(serial, Why::Fence, grace_ms);
        }
    }

    /// This node is not fit: the Hub is told, ahead of what goes back, to lease it no more.
    pub(crate) fn drain_node(&mut self, reason: String) {
        let node_id = &self.site.node_id;
        crate::say!(
            "{reason}\nsupervisor: node {node_id} is drained; when it is mended: \
             hpc node undrain {node_id}"
        );
        let at = sys::wall_ms();
        self.outbox.push(Record::Drained { reason, at });
        self.return_lots(Reason::GivenBack, |_| true);
    }

    /// How many tasks run.
    #[must_use]
    pub fn running_count(&self) -> usize {
        self.running.len()
    }

    /// Nothing starts any more; what runs may finish within the time, and is ended then.
    pub fn drain(&mut self, grace_ms: u64) {
        self.is_draining = true;
        self.return_lots(Reason::Drain, |_| true);
        let at_ms = sys::boottime_ms().saturating_add(grace_ms);
        self.timers.set(at_ms, Timer::Drain);
    }

    pub(crate) fn drain_due(&mut self) {
        for serial in self.serials(|_| true) {
            let grace_ms = self.grace_ms(serial).min(DRAIN_GRACE_MS);
            self.end(serial, Why::Drain, grace_ms);
        }
    }

    /// Why nothing starts now, if that is so; as those are told whose task goes back for it.
    pub(crate) fn halt(&self) -> Option<Reason> {
        let is_past = |at_ms| sys::boottime_ms() >= at_ms;
        match self.fence_ms {
            _ if self.is_draining => Some(Reason::Drain),
            _ if self.is_blocked || !is_past(self.starts.until_ms) => Some(Reason::GivenBack),
            Some(at_ms) if is_past(at_ms) => Some(Reason::Fence),
            _ => None,
        }
    }

    /// Starts what fits, in the order that it came, until the fence.
    pub fn start_ready(&mut self) {
        let mut place = 0;
        while self.halt().is_none() {
            let Some(waiting) = self.queue.get_mut(place) else {
                return;
            };
            let lot = Arc::clone(&waiting.lot);
            if lot.work.kind == Kind::None {
                let tasks = std::mem::take(&mut waiting.tasks);
                self.queue.remove(place);
                self.finish_at_once(&lot, &tasks);
                continue;
            }
            let Some(taken) = self.slots.take(&lot.asked) else {
                place += 1; // what came later and is smaller may fit
                continue;
            };
            let Some(number) = waiting.tasks.first() else {
                self.slots.give(taken);
                self.queue.remove(place);
                continue;
            };
            waiting.tasks.remove(number);
            if waiting.tasks.is_empty() {
                self.queue.remove(place);
            }
            self.start(lot, number, taken);
        }
    }

    /// Does what nobody waits for, once everything is told.
    pub fn tidy(&mut self) {
        for folder in self.folders.look() {
            self.janitor.leave(Chore::Remove(folder));
        }
    }

    fn finish_at_once(&mut self, lot: &Lot, tasks: &TaskSet) {
        let at = sys::wall_ms();
        for (first, last) in tasks.ranges() {
            let (lease, tasks) = (&lot.lease, Span(first, last));
            self.outbox.push(Record::Started {
                lease: Arc::clone(lease),
                tasks,
                at,
            });
            self.outbox.push(Record::Ended {
                lease: Arc::clone(lease),
                tasks,
                outcome: Outcome {
                    exit_code: Some(0),
                    started_at: Some(at),
                    finished_at: at,
                    ..Outcome::default()
                },
            });
        }
    }

    /// Tasks that run and are chosen.
    pub(crate) fn serials(&self, chosen: impl Fn(&Task) -> bool) -> Vec<u32> {
        self.running
            .iter()
            .filter_map(|(serial, task)| chosen(task).then_some(*serial))
            .collect()
    }

    pub(crate) fn grace_ms(&self, serial: u32) -> u64 {
        self.running.get(&serial).map_or(0, Task::grace_ms)
    }
}

fn lease_of(work: &Work) -> Lease {
    Lease {
        ns_id: work.ns_id.clone(),
        job_id: work.job_id.clone(),
        attempt: work.attempt,
        epoch: work.epoch,
    }
}
