//! Measuring: CPU time of this thread, and bytes that are allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counts what is allocated and not yet freed, and how often somebody asked. One thread runs, so a
/// load and a store count as well as an atomic addition, and cost what is measured far less.
pub struct Counting;

fn count(more: usize, less: usize) {
    LIVE.store(LIVE.load(Relaxed).wrapping_add(more).wrapping_sub(less), Relaxed);
    CALLS.store(CALLS.load(Relaxed) + u64::from(more > 0), Relaxed);
}

static LIVE: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Bytes that are allocated now.
pub fn live_bytes() -> usize {
    LIVE.load(Relaxed)
}

/// Allocations so far.
pub fn allocations() -> u64 {
    CALLS.load(Relaxed)
}

/// CPU time of this thread, in ns: what other work on a shared machine hardly disturbs.
pub fn cpu_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the clock exists on every Linux, and the structure is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a function returns and how long it took, in ns.
pub fn timed<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let began = cpu_ns();
    let result = run();
    (result, cpu_ns() - began)
}
