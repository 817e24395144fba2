//! Calendar: the time by which ages are measured, so that a clock that is set forgets nothing.
//!
//! It is the wall clock, but where that has jumped ahead by more than a day of what the clock that
//! nobody sets has counted, be it in a run or since the log's newest stamp, it goes on as before until
//! the jump has stood for a day. What is forgotten is gone for good; what is kept a day longer is not.

use super::hub::Now;

/// What a clock may jump ahead by and is believed at once, and how long more must have stood, ms.
const DAY_MS: i64 = 86_400_000;

/// The time of ages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calendar {
    /// Ms since 1970.
    at: i64,
    /// The wall clock at the last look, ms since 1970.
    wall: i64,
    mono: i64,
    /// Since when the wall clock is further ahead than it may be, monotonic ms.
    ahead_since: Option<i64>,
}

impl Calendar {
    /// The Hub starts; `last` is the log's newest stamp, 0 if it has none.
    pub(super) fn start(now: Now, last: i64) -> Self {
        let mut calendar = Self {
            at: if last == 0 { now.wall } else { last },
            wall: now.wall,
            mono: now.mono,
            ahead_since: None,
        };
        calendar.look(now);
        calendar
    }

    /// Takes the times of now.
    pub(super) fn look(&mut self, now: Now) {
        let passed = now.mono.saturating_sub(self.mono).max(0);
        let expected = self.at.saturating_add(passed);
        (self.wall, self.mono) = (now.wall, now.mono);
        let is_ahead = self.at != 0 && now.wall > expected.saturating_add(DAY_MS);
        if is_ahead && self.ahead_since.is_none() {
            self.ahead_since = Some(now.mono);
        }
        let is_believed = self.believed_at().is_none_or(|at| at <= now.mono);
        if is_ahead && !is_believed {
            self.at = expected;
        } else {
            self.at = now.wall;
            self.ahead_since = None;
        }
    }

    /// By what ages are measured, ms since 1970.
    pub(super) fn at(&self) -> i64 {
        self.at
    }

    /// By how much the wall clock was ahead of that at the last look, ms.
    pub(super) fn ahead_ms(&self) -> i64 {
        self.wall.saturating_sub(self.at).max(0)
    }

    /// When a jump will have stood long enough, monotonic ms.
    pub(super) fn believed_at(&self) -> Option<i64> {
        self.ahead_since.map(|since| since.saturating_add(DAY_MS))
    }
}
