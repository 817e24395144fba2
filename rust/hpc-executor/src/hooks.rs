//! hooks: commands of the relay's owner that run before and after each task.
//!
//! A task is one row of processes: `--pre`, itself, `--post`. Each has a serial of its own, and so
//! its own marker, group, timers and sweep: the next begins when nothing of the one before lives,
//! and no timer of one speaks of another. The slot and the folder are the task's for all three.
//!
//! | what comes of `--pre`                    | the task                                       |
//! |------------------------------------------|------------------------------------------------|
//! | exit code 0                              | starts                                         |
//! | anything else, or not within its time    | goes back, and the node is drained             |
//! | more memory than the task may have       | has failed, `oom`: its own limit is too low     |
//! | it cannot start                          | as if itself could not                         |
//! | the task is cancelled, fence, drain      | goes back                                      |
//!
//! `--post` runs after every task of which `--pre` has succeeded, and changes nothing of what came
//! of it. What hooks write goes to our stderr, never into the task's streams. The life of the task
//! itself is [`crate::life`]'s.

use std::ffi::{CStr, CString};

use serde::Serialize;

use crate::board::Board;
use crate::capture::{Capture, read_at};
use crate::life::{Task, Verdict, Why};
use crate::record::{Cause, Outcome, Reason};
use crate::spawn::{Failed, Hook};
use crate::sys::{self, Exit, Reaped};

const PRE: &str = "--pre";
const POST: &str = "--post";

/// Of what a hook writes, the last so many bytes are told.
const TOLD_BYTES: u64 = 64 * 1024;

/// A hook that writes more is ended.
pub(crate) const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Grace of a hook: that of its task is the job's to say, and a hook is not.
pub(crate) const GRACE_MS: u64 = 5_000;

/// Of its last line, so much stands in the reason of a drain.
const REASON_CHARS: usize = 200;

/// What the owner has run around each task; nothing, where nothing was said.
#[derive(Default)]
pub struct Hooks {
    pre: Option<CString>,
    post: Option<CString>,
    /// A hook is ended after so long.
    pub(crate) limit_ms: u64,
}

/// Which part of a task runs now, and what the others have left.
pub(crate) enum Phase {
    /// `--pre`, with what it writes.
    Before(Capture),
    /// The task itself.
    Itself,
    /// `--post`, with what it writes; the task is over.
    After(Capture, Box<Over>),
}

/// A task that is over, but for its `--post`.
pub(crate) struct Over {
    verdict: Verdict,
    is_swept: bool,
}

impl Phase {
    pub(crate) fn is_itself(&self) -> bool {
        matches!(self, Self::Itself)
    }
}

impl Board {
    /// Runs these around each task from now on; comes before the first work.
    pub fn hook(&mut self, pre: Option<String>, post: Option<String>, limit_ms: u64) {
        let script = |text: Option<String>| text.and_then(|text| CString::new(text).ok());
        self.hooks = Hooks {
            pre: script(pre),
            post: script(post),
            limit_ms,
        };
    }

    /// Starts a task, by its `--pre` where there is one.
    pub(crate) fn begin(&mut self, mut task: Task) {
        let Some(script) = self.hooks.pre.clone() else {
            self.begin_itself(task);
            return;
        };
        match self.start_hook(&mut task, &script, &[]) {
            Ok((serial, pid, capture)) => {
                task.phase = Phase::Before(capture);
                self.enlist(serial, pid, task);
            }
            Err(failed) => {
                let verdict = self.unstarted(&task, None, failed);
                self.settle(task, verdict, true);
            }
        }
    }

    /// Reports a task of which nothing runs any more, after its `--post` where there is one.
    pub(crate) fn finish(
        &mut self,
        mut task: Task,
        verdict: Verdict,
        exit: Option<Exit>,
        is_swept: bool,
    ) {
        let Some(script) = self.hooks.post.clone() else {
            self.settle(task, verdict, is_swept);
            return;
        };
        self.leave_group(task.group.take());
        task.renew();
        match self.start_hook(&mut task, &script, &told(&verdict, exit)) {
            Ok((serial, pid, capture)) => {
                task.phase = Phase::After(capture, Box::new(Over { verdict, is_swept }));
                self.enlist(serial, pid, task);
            }
            Err(failed) => {
                crate::say!("{} has failed: {}", who(POST, &task), failed.detail);
                self.settle(task, verdict, is_swept);
            }
        }
    }

    fn start_hook(
        &mut self,
        task: &mut Task,
        script: &CStr,
        env: &[String],
    ) -> Result<(u32, i32, Capture), Failed> {
        let capture = self
            .captures
            .take()
            .map_err(|error| Failed::ours(format!("no file for what a hook writes: {error}")))?;
        let serial = self.next_serial();
        let hook = Hook {
            script,
            env,
            output: capture.path(),
        };
        match self.launch(task, serial, Some(&hook)) {
            Ok(pid) => Ok((serial, pid, capture)),
            Err(failed) => {
                self.leave_group(task.group.take());
                self.captures.clear(capture);
                Err(failed)
            }
        }
    }

    /// `--pre` is over, with everything that it has left.
    pub(crate) fn conclude_pre(
        &mut self,
        mut task: Task,
        capture: Capture,
        reaped: &Reaped,
        is_swept: bool,
    ) {
        let why = task.why();
        let name = who(PRE, &task);
        let last_line = self.tell(&name, capture, is_swept);
        let trouble = self.trouble(why, reaped, is_swept);
        let trouble = trouble.map(|trouble| format!("{name} has failed: {trouble}{last_line}"));
        self.leave_group(task.group.take());
        task.renew();
        self.pre_is_over(task, why, trouble, is_swept);
    }

    /// `--post` is over, with everything that it has left.
    pub(crate) fn conclude_post(
        &mut self,
        task: Task,
        (capture, over): (Capture, Over),
        reaped: &Reaped,
        is_swept: bool,
    ) {
        let name = who(POST, &task);
        self.tell(&name, capture, is_swept);
        if let Some(trouble) = self.trouble(task.why(), reaped, is_swept) {
            crate::say!("{name} has failed: {trouble}");
        }
        self.settle(task, over.verdict, over.is_swept && is_swept);
    }

    fn pre_is_over(
        &mut self,
        task: Task,
        why: Option<Why>,
        trouble: Option<String>,
        is_swept: bool,
    ) {
        let verdict = match why {
            Some(Why::Cancelled) => Err(Reason::GivenBack),
            Some(Why::Fence) => Err(Reason::Fence),
            Some(Why::Drain) => Err(Reason::Drain),
            Some(Why::Oom) => Ok(Outcome {
                cause: Some(Cause::Oom),
                finished_at: sys::wall_ms(),
                detail: Some(format!(
                    "`{PRE}` of the relay needs more memory than the task has"
                )),
                ..Outcome::default()
            }),
            Some(Why::TimeLimit | Why::Flood) | None => match trouble {
                Some(trouble) => return self.fault(task, trouble, is_swept),
                None => return self.go_on(task),
            },
        };
        self.settle(task, verdict, is_swept);
    }

    /// `--pre` has succeeded; meanwhile starts may have come to a halt.
    fn go_on(&mut self, task: Task) {
        match self.halt() {
            Some(reason) => self.finish(task, Err(reason), None, true),
            None => self.begin_itself(task),
        }
    }

    /// This node is not fit: it is drained, and the task goes back.
    fn fault(&mut self, task: Task, trouble: String, is_swept: bool) {
        self.drain_node(trouble);
        self.settle(task, Err(Reason::GivenBack), is_swept);
    }

    /// What is wrong with how a hook ended.
    fn trouble(&self, why: Option<Why>, reaped: &Reaped, is_swept: bool) -> Option<String> {
        let limit_s = self.hooks.limit_ms / 1000;
        match (why, reaped.exit) {
            (Some(Why::TimeLimit), _) => Some(format!("it was not over after {limit_s} s")),
            (Some(Why::Flood), _) => Some("it writes without end".to_owned()),
            (Some(Why::Oom), _) => Some("it has passed the memory limit of its task".to_owned()),
            (_, Exit::Signal(signal)) => Some(format!("signal {signal}")),
            (_, Exit::Code(0)) if is_swept => None,
            (_, Exit::Code(0)) => Some("a process of it cannot be killed".to_owned()),
            (_, Exit::Code(code)) => Some(format!("exit code {code}")),
        }
    }

    /// Says what a hook wrote, line by line; returns the last line behind a colon, or nothing.
    fn tell(&mut self, name: &str, capture: Capture, is_swept: bool) -> String {
        let length = capture.len();
        let from = length.saturating_sub(TOLD_BYTES);
        let bytes = read_at(capture.file(), from, TOLD_BYTES);
        let text = String::from_utf8_lossy(&bytes);
        if from > 0 {
            crate::say!("{name}: ({from} bytes before these are left out)");
        }
        for line in text.lines() {
            crate::say!("{name}: {line}");
        }
        if is_swept {
            self.captures.clear(capture);
        } else {
            self.captures.abandon(&capture);
        }
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        last.map_or_else(String::new, |line| {
            format!(": {}", line.chars().take(REASON_CHARS).collect::<String>())
        })
    }
}

fn who(flag: &str, task: &Task) -> String {
    format!(
        "{flag} of task {} of job {}",
        task.number, task.lot.lease.job_id
    )
}

/// What `--post` finds in its environment of what came of the task.
fn told(verdict: &Verdict, exit: Option<Exit>) -> [String; 2] {
    let cause = match verdict {
        Ok(outcome) => outcome.cause.as_ref().map_or_else(String::new, word),
        Err(reason) => word(reason),
    };
    let exit = match exit {
        Some(Exit::Code(code)) => format!("HPC_EXIT_CODE={code}"),
        Some(Exit::Signal(signal)) => format!("HPC_SIGNAL={signal}"),
        None => "HPC_EXIT_CODE=".to_owned(),
    };
    [exit, format!("HPC_CAUSE={cause}")]
}

/// A word of the wire.
fn word<T: Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}
