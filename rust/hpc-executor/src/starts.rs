//! starts: whether this machine can start tasks at all; if it cannot for long, it is not asked to.
//!
//! A machine without space, or without the file system that everybody's programs lie on, would fail
//! each task that it is given, and be free for the next sooner than any other. So starts that fail in a
//! row are counted, each job once, and each name that no folder of PATH has once, in however many jobs: one
//! that was misspelt says nothing of the machine, and neither does somebody who tries again and again. From the third on nothing starts for
//! a while, which doubles; after the last the node is suspect: it is drained, and says why.

use crate::board::Board;
use crate::record::Cause;
use crate::spawn::Failed;
use crate::sys;
use crate::timers::Timer;

/// So many starts that fail in a row make a node suspect: at least 31 s of them.
const FAILED_MAX: u32 = 8;

/// The first so many cost no wait.
const FREE: u32 = 2;

const WAIT_MS: u64 = 1_000;

/// A row goes on only if the next comes so soon after its wait.
const GAP_MS_MAX: u64 = 10_000;

/// Starts that have failed since the last that did not.
#[derive(Default)]
pub(crate) struct Starts {
    failed: u32,
    /// Jobs that counted, and names of programs.
    known: Vec<String>,
    /// Nothing starts before.
    pub(crate) until_ms: u64,
}

/// What could not be started.
pub(crate) struct Of<'a> {
    pub(crate) job_id: &'a str,
    pub(crate) program: &'a str,
}

impl Starts {
    /// One has not failed.
    pub(crate) fn succeeded(&mut self) {
        if self.failed > 0 {
            *self = Self::default();
        }
    }

    /// One has; how long nothing shall start, or `None` where it is enough.
    fn failed(&mut self, of: &Of<'_>, failed: &Failed, now_ms: u64) -> Option<u64> {
        if now_ms > self.until_ms + GAP_MS_MAX {
            *self = Self::default();
        }
        let is_of_machine = matches!(failed.cause, Cause::CwdNotFound | Cause::NotFound);
        if !failed.is_ours {
            let is_name = failed.cause == Cause::NotFound && !of.program.contains('/');
            let counted = if is_name { of.program } else { of.job_id };
            if !is_of_machine || self.known.iter().any(|known| known == counted) {
                return Some(0);
            }
            self.known.push(counted.to_owned());
        }
        self.failed += 1;
        if self.failed >= FAILED_MAX {
            *self = Self::default();
            return None;
        }
        let doubled = self
            .failed
            .checked_sub(FREE + 1)
            .map(|times| WAIT_MS << times);
        let least = if failed.is_ours { WAIT_MS } else { 0 };
        let wait_ms = doubled.unwrap_or(0).max(least);
        self.until_ms = now_ms + wait_ms;
        Some(wait_ms)
    }
}

impl Board {
    /// A task could not be started: counts it, and waits or gives up where it is one of many.
    pub(crate) fn start_failed(&mut self, of: &Of<'_>, failed: &Failed) {
        match self.starts.failed(of, failed, sys::boottime_ms()) {
            Some(0) => {}
            Some(wait_ms) => {
                crate::say!(
                    "supervisor: nothing starts for {} s, since starts have failed one after the other; \
                     the last: {}",
                    wait_ms / 1000,
                    failed.detail
                );
                // Also for what is not the outbox's trouble: it is tried again a second later.
                self.is_blocked |= failed.is_ours;
                self.timers.set(self.starts.until_ms, Timer::Starts);
            }
            None => self.drain_node(format!(
                "suspect: {FAILED_MAX} starts in a row have failed; the last: {}",
                failed.detail
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    fn not_found() -> Failed {
        Failed {
            cause: Cause::NotFound,
            ..Failed::refused(String::new())
        }
    }

    fn waits(starts: &mut Starts, failed: &Failed, of: &[Of<'_>]) -> Vec<Option<u64>> {
        let mut now_ms = 0;
        let mut told = Vec::new();
        for of in of {
            told.push(starts.failed(of, failed, now_ms));
            now_ms = starts.until_ms;
        }
        told
    }

    const JOBS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    fn of(job_id: &'static str, program: &'static str) -> Of<'static> {
        Of { job_id, program }
    }

    #[test]
    fn fault_49_waits_double_until_it_is_enough() {
        let seconds = [0, 0, 1, 2, 4, 8, 16].map(|s| Some(s * 1000));
        for asked in [
            JOBS.map(|job| of(job, "/data/fit")),
            JOBS.map(|name| of(name, name)),
        ] {
            let mut starts = Starts::default();
            let told = waits(&mut starts, &not_found(), &asked);
            assert_eq!(told, [seconds.as_slice(), &[None]].concat());
            // Who is looked after begins anew.
            assert_eq!(starts.failed(&of("a", "a"), &not_found(), 0), Some(0));
        }
    }

    #[test]
    fn fault_49_one_job_or_one_name_says_nothing_of_the_machine() {
        let mut starts = Starts::default();
        let asked = [(); 100].map(|()| of("a", "/data/fit"));
        assert_eq!(waits(&mut starts, &not_found(), &asked), [Some(0); 100]);
        let asked = JOBS.map(|job| of(job, "typo"));
        assert_eq!(waits(&mut starts, &not_found(), &asked), [Some(0); 8]);
        let refused = Failed::refused(String::new());
        let asked = JOBS.map(|job| of(job, "/data/fit"));
        assert_eq!(waits(&mut starts, &refused, &asked), [Some(0); 8]);
        assert_eq!(starts.failed, 2);
    }

    #[test]
    fn fault_49_a_start_that_succeeds_ends_the_row() {
        let mut starts = Starts::default();
        let asked = JOBS.map(|job| of(job, "./fit"));
        let _ = waits(&mut starts, &not_found(), asked.split_last().unwrap().1);
        starts.succeeded();
        let last = of("h", "./fit");
        assert_eq!(starts.failed(&last, &not_found(), 40_000), Some(0));
    }

    #[test]
    fn fault_49_who_tries_again_after_a_while_says_nothing_of_the_machine() {
        let mut starts = Starts::default();
        for (job, now_ms) in JOBS.into_iter().zip((0..).step_by(11_000)) {
            assert_eq!(starts.failed(&of(job, job), &not_found(), now_ms), Some(0));
        }
    }

    #[test]
    fn fault_49_trouble_of_ours_counts_each_time_and_waits_at_once() {
        let mut starts = Starts::default();
        let ours = Failed::ours("no space".to_owned());
        let seconds = [1, 1, 1, 2, 4, 8, 16].map(|s| Some(s * 1000));
        let told = waits(&mut starts, &ours, &[(); 8].map(|()| of("a", "true")));
        assert_eq!(told, [seconds.as_slice(), &[None]].concat());
    }
}
