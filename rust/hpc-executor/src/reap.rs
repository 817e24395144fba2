//! reap: whose process is this, and how all of a task's processes are ended.
//!
//! The supervisor is the subreaper of everything it starts: when a process dies, its children
//! become children of the supervisor, double-forked daemons too. So all it ever signals are its
//! *own* children (and their process groups), whose pids cannot be taken by another process before
//! they are reaped: no pid is ever trusted beyond that. Their deaths are told by one descriptor for
//! all of them, not by a pidfd for each: orphans come without one, and a task takes two system calls
//! and a descriptor less. A pidfd is used where a process may be somebody else's ([`crate::sweep`]).
//! Ending a tree takes as many rounds as it is deep; each round is woken by the deaths of the one
//! before.
//!
//! An orphan's task is known by its **marker**: the soft `RLIMIT_RSS`, which Linux ignores and
//! which every child inherits, also through `setsid`, `env -i` and any number of forks. Where a
//! program has changed that, the session tells, then `HPC_*` of its environment. An orphan of
//! which nothing tells has left on purpose, and is ended where it is met.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use crate::sys;

/// Bit 62 makes a marker a number no sane limit has, and far above any real resident size.
const MARKER_BIT: u64 = 1 << 62;
const SERIAL_BITS: u32 = 32;
const PLACE_MASK: u64 = (1 << 30) - 1;

/// Most bytes of an environment that are read.
const ENVIRON_MAX: u64 = 1 << 20;

/// The markers of one relay folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Markers(u64);

impl Markers {
    /// The markers of a place; 30 bits of a hash of it stand in each.
    #[must_use]
    pub fn new(place: &str) -> Self {
        let bytes = place.as_bytes();
        let backwards: Vec<u8> = bytes.iter().rev().copied().collect();
        let sum = crate::record::crc32(bytes) ^ crate::record::crc32(&backwards).rotate_left(16);
        Self(MARKER_BIT | (u64::from(sum) & PLACE_MASK) << SERIAL_BITS)
    }

    /// The marker of a task.
    #[must_use]
    pub fn of(self, serial: u32) -> u64 {
        self.0 | u64::from(serial)
    }

    /// The task that a marker names, where it is one of this place.
    ///
    /// ```
    /// use hpc_executor::reap::Markers;
    /// let ours = Markers::new("1:2");
    /// assert_eq!(ours.serial(ours.of(7)), Some(7));
    /// assert_eq!(ours.serial(u64::MAX), None);
    /// assert_eq!(ours.serial(Markers::new("1:3").of(7)), None);
    /// ```
    #[must_use]
    pub fn serial(self, marker: u64) -> Option<u32> {
        (marker >> SERIAL_BITS == self.0 >> SERIAL_BITS)
            .then(|| u32::try_from(marker & u64::from(u32::MAX)).ok())
            .flatten()
    }
}

/// Children of a process, over all of its threads; none where it is gone.
///
/// The kernel may leave some out while others die; who must not miss one asks again after a death.
#[must_use]
pub fn children_of(pid: i32) -> Vec<i32> {
    let folder = format!("/proc/{pid}/task");
    let leader = || parse_pids(&read_file(&format!("{folder}/{pid}/children")));
    // The folder has two links and one per thread: most processes have one, and need no listing.
    match fs::metadata(&folder) {
        Ok(meta) if meta.nlink() == 3 => leader(),
        Ok(_) => fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .flat_map(|thread| {
                let file = thread.path().join("children");
                parse_pids(&read_file(&file.to_string_lossy()))
            })
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// A short file of `/proc` in few calls; empty where it cannot be read.
#[must_use]
pub fn read_file(path: &str) -> String {
    let Ok(mut file) = fs::File::open(path) else {
        return String::new();
    };
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = file.read(&mut chunk) {
        text.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if count < chunk.len() / 2 {
            break; // these files come in whole pages: a short one was the last
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The pids of a `children` file.
#[must_use]
pub fn parse_pids(list: &str) -> Vec<i32> {
    list.split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// Ends a child of ours that is not reaped, with its process group, at once.
pub fn end_child(pid: i32) {
    if let Some(group) = sys::group_of(pid)
        && Some(group) != sys::group_of(0)
    {
        sys::signal_group(group, libc::SIGKILL);
    }
    sys::signal_child(pid, libc::SIGKILL);
}

/// Ends everything below this process and reaps it; whether nothing is left.
///
/// Waits at most `timeout_ms` for the last to die: one in an uninterruptible wait may not.
#[must_use]
pub fn end_everything(timeout_ms: u64) -> bool {
    let me = std::process::id().cast_signed();
    let end_ms = sys::boottime_ms() + timeout_ms;
    loop {
        let children = children_of(me);
        for pid in &children {
            end_child(*pid);
        }
        loop {
            match sys::reap() {
                sys::Found::One(_) => {}
                sys::Found::NoChild => return true,
                sys::Found::Running => break,
            }
        }
        if sys::boottime_ms() >= end_ms {
            return false;
        }
        // Any of them may be the last to die; a short wait on one keeps this from spinning.
        if let Some(handle) = children
            .first()
            .and_then(|pid| sys::Handle::open(*pid).ok())
        {
            let _ = handle.ended_within(10);
        }
    }
}

/// A variable of the environment that a process was started with.
#[must_use]
pub fn variable_of(pid: i32, name: &str) -> Option<String> {
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    let mut environ = Vec::new();
    file.take(ENVIRON_MAX).read_to_end(&mut environ).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// Which task an orphan belongs to, as its environment says: job, task, attempt.
#[must_use]
pub fn named_task(pid: i32) -> Option<(String, u32, u64)> {
    Some((
        variable_of(pid, "HPC_JOB_ID")?,
        variable_of(pid, "HPC_TASK_ID")?.parse().ok()?,
        variable_of(pid, "HPC_ATTEMPT")?.parse().ok()?,
    ))
}
