//! flood: how much a task may write where its output is captured, and what is kept of more.
//!
//! A task that has asked for a limit ends at it. Of another, which goes on, the relay keeps no more
//! than its own limit: the first part of each stream and the last, while what lies between is given
//! back to the disk ([`crate::hole`]).
//!
//! Nothing stands between a task and its files, so there is nothing to count bytes with: their
//! sizes are looked at, the sooner the less room is left. Who has passed a limit of its own is
//! killed at once (who is asked to end may write on), and its files are cut to the limit before
//! they are reported. How far a flood gets in the meantime: what it writes in [`CALM_MS_MAX`], or,
//! where it is faster than [`FLOOD_MIB_PER_MS`], what it is faster by in [`LOOK_MS_MAX`].
//!
//! Files that a task writes under names of its own are none of ours, and are not counted.

use crate::board::Board;
use crate::capture::Capture;
use crate::hooks::{OUTPUT_BYTES_MAX, Phase};
use crate::janitor::Janitor;
use crate::life::{Task, Why};
use crate::limits::look_at_ms;
use crate::sys;
use crate::timers::Timer;

/// Bounds of the time between two looks.
const LOOK_MS_MIN: u64 = 5;
const LOOK_MS_MAX: u64 = 1_000;

/// A task that has written nothing since the last look is looked at this rarely at least, however
/// little room it has.
const CALM_MS_MAX: u64 = 100;

/// What a task is taken to write at worst: about what one core copies into the page cache.
const FLOOD_MIB_PER_MS: u64 = 1;

/// Of the room that a task may take, this part is free after some was given back: so that it is not
/// done in small pieces, and not looked at too often.
const FREED_PART: u64 = 8;

/// Milliseconds until the next look at a task that has written `bytes`.
#[must_use]
pub fn next_look_ms(bytes: u64, before_bytes: u64, limit_bytes: u64, last_ms: u64) -> u64 {
    let room_ms = (limit_bytes.saturating_sub(bytes) >> 20) / FLOOD_MIB_PER_MS;
    let next_ms = if bytes == before_bytes {
        (last_ms * 2).min(CALM_MS_MAX).max(room_ms)
    } else {
        room_ms
    };
    next_ms.clamp(LOOK_MS_MIN, LOOK_MS_MAX)
}

/// How many bytes of each of two streams are kept within a limit for both.
///
/// The shorter one is kept whole where it fits into half of the limit: an error message is not
/// lost to a flood beside it.
///
/// ```
/// use hpc_executor::flood::shares;
/// assert_eq!(shares([700, 20], 1000), [700, 20]);
/// assert_eq!(shares([5000, 20], 1000), [980, 20]);
/// assert_eq!(shares([20, 5000], 1000), [20, 980]);
/// assert_eq!(shares([5000, 5000], 1000), [500, 500]);
/// assert_eq!(shares([5000, 0], 1), [1, 0]);
/// ```
#[must_use]
pub fn shares([first, second]: [u64; 2], limit: u64) -> [u64; 2] {
    let half = limit / 2;
    let first_kept = first.min(half.max(limit.saturating_sub(second)));
    [first_kept, second.min(limit - first_kept)]
}

impl Task {
    /// Bytes of the streams that are captured.
    fn written(&self) -> [u64; 2] {
        self.captures
            .each_ref()
            .map(|capture| capture.as_ref().map_or(0, Capture::len))
    }

    /// Bytes that are kept of what runs of it.
    fn kept(&self) -> u64 {
        if let Phase::Before(capture) | Phase::After(capture, _) = &self.phase {
            return capture.len();
        }
        self.captures
            .iter()
            .flatten()
            .map(Capture::kept_bytes)
            .sum()
    }

    /// How much what runs of it may write.
    fn most(&self) -> u64 {
        match self.phase {
            Phase::Itself => self.output_limit,
            _ => OUTPUT_BYTES_MAX,
        }
    }

    /// Whether more is kept than may be.
    pub(crate) fn is_flooded(&self) -> bool {
        self.kept() > self.most()
    }

    /// Gives the middle of a flood back to the disk; whether that is what is done with it.
    pub(crate) fn shrink_output(&mut self, janitor: &Janitor) -> bool {
        if !self.goes_on || !self.phase.is_itself() {
            return false;
        }
        let limit = self.output_limit - self.output_limit / FREED_PART;
        let kept = shares(self.written(), limit);
        for (capture, kept) in self.captures.iter_mut().zip(kept) {
            if let Some(capture) = capture {
                capture.shrink(kept, janitor);
            }
        }
        true
    }

    /// What its report says of a flood that its task has not asked to be ended by.
    pub(crate) fn flood_detail(&self) -> Option<String> {
        let is_meant = self.lot.work.output_limit.is_some();
        (self.why() == Some(Why::Flood) && !is_meant).then(|| {
            format!(
                "the file system of its relay gives no part of a file back, so that more than {} \
                 bytes of output end a task; move the relay's folder, or raise its --output-limit",
                self.output_limit
            )
        })
    }

    /// Cuts what was captured beyond the limit.
    pub(crate) fn cut_output(&mut self) {
        let kept = shares(self.written(), self.output_limit);
        for (capture, kept) in self.captures.iter_mut().zip(kept) {
            if let Some(capture) = capture
                && capture.len() > kept
                && let Err(error) = capture.file().set_len(kept)
            {
                crate::say!("supervisor: output beyond its limit was not cut: {error}");
            }
        }
    }
}

impl Board {
    /// Looks at what a task has written from the start on.
    pub(crate) fn watch_output(&mut self, serial: u32, task: &mut Task, now_ms: u64) {
        if !task.phase.is_itself() || task.captures.iter().any(Option::is_some) {
            task.output_look_ms = next_look_ms(0, u64::MAX, task.most(), 0);
            let at_ms = look_at_ms(now_ms, task.output_look_ms);
            self.timers.set(at_ms, Timer::Output(serial));
        }
    }

    pub(crate) fn output_due(&mut self, serial: u32) {
        let Some(task) = self.running.get_mut(&serial).filter(|t| t.over.is_none()) else {
            return;
        };
        if task.is_flooded() && !task.shrink_output(&self.janitor) {
            self.end(serial, Why::Flood, 0);
            return;
        }
        let (bytes, limit) = (task.kept(), task.most());
        task.output_look_ms = next_look_ms(bytes, task.output_seen, limit, task.output_look_ms);
        task.output_seen = bytes;
        let at_ms = look_at_ms(sys::boottime_ms(), task.output_look_ms);
        self.timers.set(at_ms, Timer::Output(serial));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_looks_before_a_flood_can_be_over() {
        assert_eq!(next_look_ms(0, u64::MAX, 1 << 40, 0), LOOK_MS_MAX);
        assert_eq!(next_look_ms(0, u64::MAX, 64 * MIB, 0), 64);
        assert_eq!(next_look_ms(60 * MIB, 0, 64 * MIB, 64), LOOK_MS_MIN);
        assert_eq!(next_look_ms(65 * MIB, 0, 64 * MIB, 64), LOOK_MS_MIN);
    }

    #[test]
    fn who_writes_nothing_is_looked_at_rarely_and_never_too_rarely() {
        let mut look_ms = next_look_ms(0, u64::MAX, MIB, 0);
        for _ in 0..10 {
            look_ms = next_look_ms(0, 0, MIB, look_ms);
        }
        assert_eq!(look_ms, CALM_MS_MAX);
        assert_eq!(next_look_ms(5, 5, 512 * MIB, 1), 511);
        assert_eq!(next_look_ms(5, 5, 4096 * MIB, 1_000), LOOK_MS_MAX);
    }

    #[test]
    fn what_is_kept_never_passes_the_limit() {
        for first in [0, 1, 499, 500, 501, 999, 1000, 1001, u64::MAX] {
            for second in [0, 1, 499, 500, 501, 999, 1000, 1001, u64::MAX] {
                let [a, b] = shares([first, second], 1000);
                assert!(a <= first && b <= second);
                let whole = first.saturating_add(second);
                assert_eq!(a + b, whole.min(1000), "{first} {second}");
            }
        }
    }
}
