//! limits: how much memory a task's processes use, and how soon to look again.
//!
//! The watchdog reads the task's own tree (`/proc/PID/task/*/children`, then `statm` of each), never
//! all of `/proc`. Where the resident sizes pass the limit, it looks closer: pages of files do not
//! count, since the kernel can drop them, and pages that processes of a tree share count once
//! (`smaps_rollup`). How soon it looks again depends on how far away the limit is.
//!
//! It measures and confines; ending a task is [`crate::life`]'s.

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::reap::{children_of, read_file};
use crate::sys::{CpuSet, page_bytes, pin};

/// Bounds of the time between two looks.
const LOOK_MS_MIN: u64 = 5;
const LOOK_MS_MAX: u64 = 500;

/// How fast a task is taken to grow at worst: a MiB per millisecond is about what one core fills.
const GROWTH_MIB_PER_MS: u64 = 1;

/// A task that has stood still is looked at up to so many times more rarely.
const CALM_FACTOR: u64 = 8;

/// Most processes of a task that are counted; a tree that is larger is over any limit soon.
const TREE_MAX: usize = 4_096;

/// One look at a task's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Resident bytes of the tree; an upper bound where pages are shared.
    pub bytes: u64,
    /// Whether the limit is passed beyond doubt.
    pub is_over: bool,
}

/// Measures the trees under these processes against a limit.
#[must_use]
pub fn look(roots: &[i32], limit_bytes: u64) -> Look {
    let tree = tree(roots);
    let resident: u64 = tree.iter().filter_map(|pid| resident_bytes(*pid)).sum();
    if resident <= limit_bytes {
        return Look {
            bytes: resident,
            is_over: false,
        };
    }
    let own: Vec<u64> = tree.iter().filter_map(|pid| own_bytes(*pid)).collect();
    let mut bytes: u64 = own.iter().sum();
    let alone = own.iter().any(|size| *size > limit_bytes);
    if bytes > limit_bytes && !alone {
        bytes = tree
            .iter()
            .filter_map(|pid| proportional_bytes(*pid).or_else(|| own_bytes(*pid)))
            .sum();
    }
    Look {
        bytes,
        is_over: bytes > limit_bytes,
    }
}

/// Milliseconds until the next look.
#[must_use]
pub fn next_look_ms(bytes: u64, before_bytes: u64, limit_bytes: u64, last_ms: u64) -> u64 {
    let headroom_ms = (limit_bytes.saturating_sub(bytes) >> 20) / GROWTH_MIB_PER_MS;
    // Less than 1 % more than at the last look is standing still.
    let is_calm = bytes <= before_bytes + before_bytes / 100;
    let next_ms = if is_calm {
        (last_ms * 2).clamp(headroom_ms, headroom_ms * CALM_FACTOR)
    } else {
        headroom_ms
    };
    next_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX)
}

/// When that look is due: sooner by up to a quarter, so that many tasks are looked at together.
#[must_use]
pub fn look_at_ms(now_ms: u64, look_ms: u64) -> u64 {
    let grid_ms = 1 << (look_ms / 4).checked_ilog2().unwrap_or(0);
    (now_ms + look_ms) / grid_ms * grid_ms
}

/// Pins every thread under these processes that may run elsewhere too; one that has chosen fewer
/// cores keeps its choice.
pub fn confine(roots: &[i32], cpus: &CpuSet) {
    for pid in tree(roots) {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let name = thread.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if CpuSet::of(thread).is_some_and(|now| !now.is_within(cpus)) {
                pin(thread, cpus);
            }
        }
    }
}

/// The processes and all below them.
fn tree(roots: &[i32]) -> Vec<i32> {
    let mut found = Vec::new();
    let mut open: VecDeque<i32> = roots.iter().copied().collect();
    while let Some(pid) = open.pop_front() {
        if found.len() >= TREE_MAX {
            break;
        }
        found.push(pid);
        open.extend(children_of(pid));
    }
    found
}

fn resident_bytes(pid: i32) -> Option<u64> {
    let statm = read_file(&format!("/proc/{pid}/statm"));
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page_bytes())
}

/// The kernel counts resident pages by CPU and adds them up roughly, so that two readings of one
/// peak differ by some hundred pages.
const PEAK_SLACK_BYTES: u64 = 2 << 20;

/// Whether so many bytes are clearly more than this process was ever resident with.
#[must_use]
pub fn is_above_our_peak(bytes: u64) -> bool {
    let bytes = bytes.saturating_sub(PEAK_SLACK_BYTES);
    static PEAK: AtomicU64 = AtomicU64::new(0);
    // Most are not: the peak is read anew only where what is known of it would not do.
    if bytes > PEAK.load(Ordering::Relaxed) {
        let status = read_file("/proc/self/status");
        PEAK.store(
            sum_kib(&status, &["VmHWM:"]).unwrap_or(0),
            Ordering::Relaxed,
        );
    }
    bytes > PEAK.load(Ordering::Relaxed)
}

/// What a process holds that cannot be dropped: pages of files can be read again.
fn own_bytes(pid: i32) -> Option<u64> {
    let status = read_file(&format!("/proc/{pid}/status"));
    sum_kib(&status, &["RssAnon:", "RssShmem:"])
}

/// The same, each shared page divided by how many share it; this walks the page tables.
fn proportional_bytes(pid: i32) -> Option<u64> {
    let rollup = read_file(&format!("/proc/{pid}/smaps_rollup"));
    sum_kib(&rollup, &["Pss_Anon:", "Pss_Shmem:"])
}

/// The sum of some lines of the form `Name:   12 kB`, in bytes; `None` where one is missing.
fn sum_kib(text: &str, names: &[&str]) -> Option<u64> {
    let value = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(*name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let kib: Option<u64> = names.iter().map(value).sum();
    kib.map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_often_near_the_limit_and_rarely_far_from_it() {
        const MIB: u64 = 1 << 20;
        assert_eq!(next_look_ms(63 * MIB, 0, 64 * MIB, 5), LOOK_MS_MIN);
        assert_eq!(next_look_ms(10 * MIB, 0, 64 * MIB, 5), 54);
        assert_eq!(next_look_ms(10 * MIB, 10 * MIB, 64 * MIB, 100), 200);
        assert_eq!(next_look_ms(0, 0, 1 << 40, 5), LOOK_MS_MAX);
        assert_eq!(next_look_ms(65 * MIB, 65 * MIB, 64 * MIB, 500), LOOK_MS_MIN);
    }

    #[test]
    fn looks_fall_together_and_never_late() {
        for (now_ms, look_ms) in [(1000, 5), (1001, 54), (77, 500), (123, 500)] {
            let at_ms = look_at_ms(now_ms, look_ms);
            assert!(at_ms <= now_ms + look_ms && at_ms >= now_ms + look_ms * 3 / 4);
        }
        assert_eq!(look_at_ms(1000, 500), look_at_ms(1010, 500));
    }

    #[test]
    fn a_look_at_ourselves_sees_our_memory() {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        assert!(look(&[me], u64::MAX).bytes > 100_000);
        assert!(look(&[me], 1).is_over);
    }
}
