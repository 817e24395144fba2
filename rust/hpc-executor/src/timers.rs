//! timers: what is due when, on the clock that counts while the machine sleeps.
//!
//! A timer is never taken back: who is told of one that has lost its reason ignores it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;

use crate::sys::BootTimer;

/// What is due. The order is that of one instant: on waking the fence comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// `stop` tasks end.
    Fence,
    /// Drain's patience is over.
    Drain,
    /// A task's wall time is over.
    TimeLimit(u32),
    /// A task is told that its wall time will soon be over.
    Warn(u32),
    /// A task was asked to end and has had its grace.
    Kill(u32),
    /// A task's orphans should be gone.
    Swept(u32),
    /// A task's memory is looked at.
    Memory(u32),
    /// How much a task has written is looked at.
    Output(u32),
    /// Tasks that have just started are pinned whole.
    Confine,
    /// Starts have waited for company long enough.
    News,
    /// Ends have.
    Ends,
    /// Tails are read.
    Tail,
    /// Orphans are looked for.
    Patrol,
    /// Starts have failed, and are tried again.
    Starts,
    /// The outbox is synced, or written where that failed before.
    Sync,
    /// What is kept of long output is looked at.
    Keep,
}

/// The heap and the kernel's timer.
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Timer)>>,
    timer: BootTimer,
    armed_ms: Option<u64>,
}

impl Timers {
    /// Nothing is due.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            heap: BinaryHeap::new(),
            timer: BootTimer::new()?,
            armed_ms: None,
        })
    }

    /// The descriptor that becomes readable when something is due.
    #[must_use]
    pub fn descriptor(&self) -> &BootTimer {
        &self.timer
    }

    /// Makes something due.
    pub fn set(&mut self, at_ms: u64, timer: Timer) {
        self.heap.push(Reverse((at_ms, timer)));
    }

    /// Takes what is due, the earliest first.
    pub fn due(&mut self, now_ms: u64) -> Option<Timer> {
        let Reverse((at_ms, timer)) = *self.heap.peek()?;
        if at_ms > now_ms {
            return None;
        }
        self.heap.pop();
        Some(timer)
    }

    /// How many timers are set, those that have lost their reason among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether nothing is due, ever.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Drops the timers of tasks that are gone.
    pub fn forget(&mut self, is_gone: impl Fn(u32) -> bool) {
        self.heap.retain(|Reverse((_, timer))| match timer {
            Timer::TimeLimit(serial)
            | Timer::Warn(serial)
            | Timer::Kill(serial)
            | Timer::Swept(serial)
            | Timer::Memory(serial)
            | Timer::Output(serial) => !is_gone(*serial),
            _ => true,
        });
    }

    /// Takes note that the descriptor was readable.
    pub fn rang(&mut self) {
        self.timer.clear();
        self.armed_ms = None;
    }

    /// Sets the kernel's timer to the earliest; does nothing where it rings no later than that.
    ///
    /// # Errors
    /// The kernel's.
    pub fn arm(&mut self) -> io::Result<()> {
        let Some(Reverse((next_ms, _))) = self.heap.peek() else {
            return Ok(());
        };
        if self.armed_ms.is_some_and(|armed| armed <= *next_ms) {
            return Ok(());
        }
        self.armed_ms = Some(*next_ms);
        self.timer.set(Some(*next_ms))
    }
}
