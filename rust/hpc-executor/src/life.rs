//! life: one task from its start to its report.
//!
//! A task is over when its own process has ended *and* nothing that it left behind lives: then its
//! output is taken, its end is written, and its slot is free. Being asked to end (cancel, limits,
//! fence, drain) is SIGTERM to its group, its grace, then SIGKILL to everything of it.
//!
//! What a relay's owner has run before and after it goes the same way and stands in
//! [`crate::hooks`], which passes a task on to here and takes it back from here.

use std::path::PathBuf;
use std::sync::Arc;

use hpc_core::lattice::tasks::TaskSet;

use crate::board::Board;
use crate::capture::{Capture, Source, Stream};
use crate::cgroup::Group;
use crate::hooks::{self, Phase};
use crate::janitor::Chore;
use crate::limits;
use crate::orphans::SWEEP_MS_MAX;
use crate::record::{Cause, Outcome, Reason, Record, Span};
use crate::slots::Taken;
use crate::spawn::{self, Failed, Hook, Place};
use crate::starts::Of;
use crate::sys::{self, CpuSet, Exit, Reaped};
use crate::timers::Timer;
use crate::work::{Lot, seconds_to_ms};

/// How soon after its start a task's threads are looked at.
const CONFINE_MS: u64 = 50;

/// So many timers per running task are kept, those of ended tasks among them.
const TIMERS_PER_TASK: usize = 8;
const TIMERS_MIN: usize = 1_000;

/// Why a task was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Cancelled,
    TimeLimit,
    Oom,
    Flood,
    Fence,
    Drain,
}

struct Ending {
    why: Why,
    kill_ms: u64,
}

/// What is reported of a task; or why it goes back without a result.
pub(crate) type Verdict = Result<Outcome, Reason>;

/// A task that has a process: its own, or a hook's.
pub(crate) struct Task {
    pub lot: Arc<Lot>,
    pub number: u32,
    pub phase: Phase,
    pub pid: i32,
    cpus: CpuSet,
    taken: Taken,
    pub captures: [Option<Capture>; 2],
    own_folder: Option<PathBuf>,
    started_at: u64,
    ending: Option<Ending>,
    pub over: Option<(Reaped, u64)>,
    pub is_haunted: bool,
    /// When what is still there of it cannot be killed.
    pub swept_ms: u64,
    /// Processes of it that cannot be killed.
    pub stuck: Vec<i32>,
    pub peak_bytes: u64,
    pub seen_bytes: u64,
    pub look_ms: u64,
    pub group: Option<Group>,
    pub output_limit: u64,
    /// Beyond its output limit it goes on, and the middle of its output is not kept.
    pub goes_on: bool,
    pub output_seen: u64,
    pub output_look_ms: u64,
}

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Task {
    /// The file that a stream is captured in, where it is.
    pub(crate) fn capture(&self, stream: Stream) -> Option<&Capture> {
        let [stdout, stderr] = &self.captures;
        match stream {
            Stream::Stdout => stdout.as_ref(),
            Stream::Stderr => stderr.as_ref(),
        }
    }

    /// Why what runs of it was asked to end, if it was.
    pub(crate) fn why(&self) -> Option<Why> {
        match &self.ending {
            None if self.was_oom() => Some(Why::Oom),
            ending => ending.as_ref().map(|ending| ending.why),
        }
    }

    /// When all of it is killed, if it was asked to end.
    pub(crate) fn kill_ms(&self) -> Option<u64> {
        self.ending.as_ref().map(|ending| ending.kill_ms)
    }

    /// Makes it ready for its next process, of which nothing is known yet.
    pub(crate) fn renew(&mut self) {
        self.phase = Phase::Itself;
        self.ending = None;
        self.is_haunted = false;
        (self.peak_bytes, self.seen_bytes) = (0, 0);
        (self.output_seen, self.output_look_ms) = (0, 0);
    }

    pub(crate) fn grace_ms(&self) -> u64 {
        match self.phase {
            Phase::Itself => seconds_to_ms(self.lot.work.grace_s),
            _ => hooks::GRACE_MS,
        }
    }
}

impl Board {
    /// Starts a task in a place that it has taken.
    pub(crate) fn start(&mut self, lot: Arc<Lot>, number: u32, taken: Taken) {
        let output_limit = lot.work.output_limit.unwrap_or(self.output_limit);
        let goes_on = lot.work.output_limit.is_none() && self.captures.can_shrink();
        self.begin(Task {
            lot,
            number,
            phase: Phase::Itself,
            pid: 0,
            cpus: CpuSet::new(&[]),
            taken,
            captures: [None, None],
            own_folder: None,
            started_at: 0,
            ending: None,
            over: None,
            is_haunted: false,
            swept_ms: 0,
            stuck: Vec::new(),
            peak_bytes: 0,
            seen_bytes: 0,
            look_ms: 0,
            group: None,
            output_limit,
            goes_on,
            output_seen: 0,
            output_look_ms: 0,
        });
    }

    /// Starts a task itself; its start is on disk before its process exists (protocol.md R27).
    pub(crate) fn begin_itself(&mut self, mut task: Task) {
        task.started_at = sys::wall_ms();
        self.outbox.push(Record::Started {
            lease: Arc::clone(&task.lot.lease),
            tasks: Span(task.number, task.number),
            at: task.started_at,
        });
        let written = self
            .outbox
            .flush()
            .map_err(|error| Failed::ours(format!("the outbox cannot be written: {error}")));
        let serial = self.next_serial();
        match written.and_then(|()| self.spawn(&mut task, serial)) {
            Ok(pid) => {
                self.starts.succeeded();
                self.enlist(serial, pid, task);
            }
            Err(failed) => {
                let exit = failed.exit_code.map(Exit::Code);
                let verdict = self.unstarted(&task, Some(task.started_at), failed);
                self.finish(task, verdict, exit, true);
            }
        }
    }

    pub(crate) fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Watches a process of a task from its start on.
    pub(crate) fn enlist(&mut self, serial: u32, pid: i32, mut task: Task) {
        task.pid = pid;
        task.cpus = CpuSet::new(&task.taken.cpus);
        sys::pin(pid, &task.cpus);
        self.watch(serial, &mut task);
        self.pids.insert(pid, serial);
        self.running.insert(serial, task);
    }

    fn spawn(&mut self, task: &mut Task, serial: u32) -> Result<i32, Failed> {
        let lot = Arc::clone(&task.lot);
        let work = &lot.work;
        for (place, user) in task.captures.iter_mut().zip([&work.stdout, &work.stderr]) {
            if user.is_none() {
                let capture = self.captures.take();
                *place = Some(capture.map_err(|error| told("no file for its output", &error))?);
            }
        }
        self.launch(task, serial, None)
    }

    /// Starts a process of a task, or a hook, in the task's folder and in a group of its own.
    pub(crate) fn launch(
        &mut self,
        task: &mut Task,
        serial: u32,
        hook: Option<&Hook<'_>>,
    ) -> Result<i32, Failed> {
        if task.lot.cwd.is_none() && task.own_folder.is_none() {
            let folder = self.folders.take();
            task.own_folder = Some(folder.map_err(|error| told("no folder of its own", &error))?);
        }
        task.group = self.make_group(task, serial)?;
        let started = self.spawn_in(task, serial, hook);
        match started {
            Err(failed) if failed.is_group => {
                self.without_groups(&failed.detail)?;
                self.leave_group(task.group.take());
                self.spawn_in(task, serial, hook)
            }
            started => started,
        }
    }

    fn spawn_in(
        &mut self,
        task: &Task,
        serial: u32,
        hook: Option<&Hook<'_>>,
    ) -> Result<i32, Failed> {
        let [stdout, stderr] = &task.captures;
        let place = Place {
            node_id: &self.site.node_id,
            task: task.number,
            own_folder: task.own_folder.as_deref(),
            own_env: task.lot.own_env(&self.slots.shown(&task.taken)),
            captures: (
                stdout.as_ref().map(Capture::path),
                stderr.as_ref().map(Capture::path),
            ),
            marker: self.markers.of(serial),
            group: task.group.as_ref().map(Group::procs),
        };
        match hook {
            None => spawn::spawn(&mut self.launcher, &task.lot, &place),
            Some(hook) => spawn::spawn_hook(&mut self.launcher, &task.lot, &place, hook),
        }
    }

    fn watch(&mut self, serial: u32, task: &mut Task) {
        let now_ms = sys::boottime_ms();
        if self.newborns.is_empty() {
            self.timers.set(now_ms + CONFINE_MS, Timer::Confine);
        }
        self.newborns.push(serial);
        if !task.phase.is_itself() {
            let at_ms = now_ms.saturating_add(self.hooks.limit_ms);
            self.timers.set(at_ms, Timer::TimeLimit(serial));
        } else if let Some(limit_s) = task.lot.work.time_limit_s {
            let at_ms = now_ms.saturating_add(seconds_to_ms(limit_s));
            self.timers.set(at_ms, Timer::TimeLimit(serial));
            if task.lot.work.warn_signal.is_some() {
                let early_ms = seconds_to_ms(task.lot.work.warn_s);
                let at_ms = at_ms.saturating_sub(early_ms).max(now_ms);
                self.timers.set(at_ms, Timer::Warn(serial));
            }
        }
        self.watch_output(serial, task, now_ms);
        self.watch_memory(serial, task, now_ms);
    }

    /// Pins what a task has started in the moment before it was pinned itself.
    pub(crate) fn confine_due(&mut self) {
        for serial in std::mem::take(&mut self.newborns) {
            if let Some(task) = self.running.get(&serial).filter(|task| task.over.is_none()) {
                limits::confine(&[task.pid], &task.cpus);
            }
        }
    }

    /// What is reported of a task that could not be started. Where that is for a reason of ours it
    /// goes back, and no other starts for a while: a machine in trouble must not fail every task
    /// that it meets.
    pub(crate) fn unstarted(
        &mut self,
        task: &Task,
        started_at: Option<u64>,
        failed: Failed,
    ) -> Verdict {
        let of = Of {
            job_id: &task.lot.lease.job_id,
            program: task.lot.work.argv.first().map_or("", String::as_str),
        };
        self.start_failed(&of, &failed);
        if failed.is_ours {
            return Err(Reason::GivenBack);
        }
        Ok(Outcome {
            exit_code: failed.exit_code,
            cause: Some(failed.cause),
            started_at,
            finished_at: sys::wall_ms(),
            detail: Some(failed.detail),
            ..Outcome::default()
        })
    }

    /// Asks a task to end; one that was asked before keeps its first reason and sooner end, and is
    /// not interrupted again in what it does about it: the Hub repeats a cancel with each answer.
    pub(crate) fn end(&mut self, serial: u32, why: Why, grace_ms: u64) {
        let kill_ms = sys::boottime_ms().saturating_add(grace_ms);
        let Some(task) = self.running.get_mut(&serial) else {
            return;
        };
        let is_first = task.ending.is_none();
        match &mut task.ending {
            Some(ending) => ending.kill_ms = ending.kill_ms.min(kill_ms),
            // It ended by itself; but after its `--pre` it must not begin any more.
            None if task.over.is_some() && !matches!(task.phase, Phase::Before(_)) => return,
            // What came of the task is known: its `--post` has its time all the same.
            None if why == Why::Cancelled && matches!(task.phase, Phase::After(..)) => return,
            None => task.ending = Some(Ending { why, kill_ms }),
        }
        if task.over.is_none() && (is_first || grace_ms == 0) {
            // Its leader is not reaped, so the group is its own.
            let signal = if grace_ms == 0 {
                libc::SIGKILL
            } else {
                libc::SIGTERM
            };
            sys::signal_group(task.pid, signal);
            sys::signal_group(task.pid, libc::SIGCONT); // a stopped one could not hear it
            if grace_ms == 0 {
                task.kill_group();
            }
        }
        self.timers.set(kill_ms, Timer::Kill(serial));
    }

    pub(crate) fn time_limit_due(&mut self, serial: u32) {
        let grace_ms = self.grace_ms(serial);
        self.end(serial, Why::TimeLimit, grace_ms);
    }

    /// Tells a task, by the signal that it has asked for, that its time will be over.
    pub(crate) fn warn_due(&mut self, serial: u32) {
        let task = self.running.get(&serial).filter(|task| task.over.is_none());
        if let Some(task) = task.filter(|task| task.ending.is_none())
            && let Some(signal) = task.lot.work.warn_signal
        {
            sys::signal_group(task.pid, signal);
        }
    }

    pub(crate) fn kill_due(&mut self, serial: u32) {
        let now_ms = sys::boottime_ms();
        let Some(task) = self.running.get_mut(&serial) else {
            return;
        };
        let is_due = task.kill_ms().is_some_and(|kill_ms| kill_ms <= now_ms);
        if is_due && task.over.is_none() {
            sys::signal_group(task.pid, libc::SIGKILL);
            task.kill_group();
            task.swept_ms = now_ms + SWEEP_MS_MAX;
            self.timers.set(task.swept_ms, Timer::Swept(serial));
        } else if is_due {
            self.sweep_orphans(now_ms);
        }
    }

    /// Reaps every child that has ended and brings the tasks to their end whose last it was.
    pub fn reap(&mut self) {
        let mut is_childless = false;
        loop {
            match sys::reap() {
                sys::Found::One(reaped) => self.reaped(reaped),
                sys::Found::Running => break,
                sys::Found::NoChild => {
                    is_childless = true;
                    break;
                }
            }
        }
        if is_childless {
            for serial in self.serials(|task| task.over.is_some()) {
                self.conclude(serial, true);
            }
        } else {
            self.sweep_orphans(sys::boottime_ms());
        }
        self.start_ready();
    }

    fn reaped(&mut self, reaped: Reaped) {
        self.unstick(reaped.pid);
        let Some(serial) = self.pids.remove(&reaped.pid) else {
            return; // an orphan
        };
        if let Some(task) = self.running.get_mut(&serial) {
            task.over = Some((reaped, sys::wall_ms()));
        }
    }

    /// Goes on after what has run of a task is over, with all that it left; or, where `is_swept` is
    /// false, all that could be killed.
    pub(crate) fn conclude(&mut self, serial: u32, is_swept: bool) {
        let Some(mut task) = self.running.remove(&serial) else {
            return;
        };
        let Some((reaped, finished_at)) = task.over.take() else {
            self.running.insert(serial, task);
            return;
        };
        match std::mem::replace(&mut task.phase, Phase::Itself) {
            Phase::Itself => self.conclude_itself(task, &reaped, finished_at, is_swept),
            Phase::Before(capture) => self.conclude_pre(task, capture, &reaped, is_swept),
            Phase::After(capture, over) => {
                self.conclude_post(task, (capture, *over), &reaped, is_swept);
            }
        }
        if self.timers.len() > TIMERS_MIN + TIMERS_PER_TASK * self.running.len() {
            let running = &self.running;
            self.timers.forget(|serial| !running.contains_key(&serial));
        }
    }

    fn conclude_itself(
        &mut self,
        mut task: Task,
        reaped: &Reaped,
        finished_at: u64,
        is_swept: bool,
    ) {
        if is_swept && task.is_flooded() && !task.shrink_output(&self.janitor) {
            task.cut_output(); // nobody writes to it any more
            // Who has passed the limit between two looks has passed it all the same.
            let why = Why::Flood;
            task.ending.get_or_insert(Ending { why, kill_ms: 0 });
        }
        let verdict = verdict(&task, reaped, finished_at, is_swept);
        self.finish(task, verdict, Some(reaped.exit), is_swept);
    }

    /// Takes the output, writes what came of it, and frees the slot.
    pub(crate) fn settle(&mut self, task: Task, verdict: Verdict, is_swept: bool) {
        let lease = Arc::clone(&task.lot.lease);
        let number = task.number;
        let frames = self.release(task, is_swept);
        self.outbox.push_output(frames);
        match verdict {
            Ok(outcome) => self.outbox.push(Record::Ended {
                lease,
                tasks: Span(number, number),
                outcome,
            }),
            Err(reason) => self.report_returned(&lease, &TaskSet::one(number), reason),
        }
    }

    /// Gives back what a task had; returns the frames of its output. The slot is not used before
    /// the end is written: that happens in this same turn, and a start writes first.
    fn release(&mut self, task: Task, is_swept: bool) -> Vec<u8> {
        let trouble = task.trouble();
        let mut frames = Vec::new();
        for (capture, stream) in task.captures.into_iter().zip(STREAMS) {
            match capture {
                Some(capture) if is_swept => {
                    let source = Source::new(&task.lot.lease, task.number, stream);
                    self.captures
                        .settle(capture, source, &mut frames, &self.janitor);
                }
                Some(capture) => self.captures.abandon(&capture),
                None => {}
            }
        }
        if let Some(folder) = task.own_folder {
            // Who cannot be killed still has it: then it is never given to another.
            if is_swept {
                self.folders.give(folder);
            } else {
                self.janitor.leave(Chore::Remove(folder));
            }
            // The patrol before this one may have seen this task run, and so have trimmed nothing.
            self.patrol_soon(sys::boottime_ms());
        }
        self.leave_group(task.group);
        match trouble {
            None => self.slots.give(task.taken),
            Some(trouble) => self.keep_taken(task.taken, task.stuck, trouble),
        }
        frames
    }
}

fn told(what: &str, error: &std::io::Error) -> Failed {
    Failed::ours(format!("{what}: {error}"))
}

fn verdict(task: &Task, reaped: &Reaped, finished_at: u64, is_swept: bool) -> Verdict {
    let (exit_code, signal) = match reaped.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let by_itself = match reaped.exit {
        Exit::Code(0) => None,
        Exit::Code(_) => Some(Cause::Exit),
        Exit::Signal(_) => Some(Cause::Signal),
    };
    let cause = match task.why() {
        Some(Why::Cancelled) => Some(Cause::Cancelled),
        Some(Why::TimeLimit) => Some(Cause::TimeLimit),
        Some(Why::Oom) => Some(Cause::Oom),
        Some(Why::Flood) => Some(Cause::OutputLimit),
        // Who ends on SIGTERM may exit 0 with its work half done: after the signal nothing that it
        // says of itself is a result.
        Some(Why::Fence) => return Err(Reason::Fence),
        Some(Why::Drain) => return Err(Reason::Drain),
        None => by_itself,
    };
    let detail = (!is_swept)
        .then(|| task.unkillable())
        .or_else(|| task.flood_detail());
    Ok(Outcome {
        exit_code,
        signal,
        cause,
        started_at: Some(task.started_at),
        finished_at: finished_at.max(task.started_at), // the clock may have been set back
        peak_memory_bytes: (task.group.as_ref())
            .and_then(Group::peak_bytes)
            .or_else(|| peak_bytes(task.peak_bytes, reaped.peak_bytes)),
        cpu_us: Some(reaped.cpu_us),
        detail,
    })
}

/// The peak of a task: what was seen while it ran, or what the kernel kept of its processes.
///
/// A process that is started by vfork inherits its parent's peak in the kernel's figure, so one
/// that is not above the supervisor's own says nothing.
fn peak_bytes(seen: u64, kept: u64) -> Option<u64> {
    let kept = if limits::is_above_our_peak(kept) {
        kept
    } else {
        0
    };
    Some(seen.max(kept)).filter(|bytes| *bytes > 0)
}
