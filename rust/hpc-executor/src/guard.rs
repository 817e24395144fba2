//! guard: the process above the supervisor, for the moment in which that one dies.
//!
//! ```text
//! relay ── guard ── supervisor ── tasks
//! ```
//!
//! Each of the three is the subreaper of what is below it. Whoever kills the supervisor leaves its
//! tasks to the guard, which ends them at once, also where the relay was killed with it; whoever kills
//! the guard lets the supervisor end, as when the relay is gone. So of the three any two may be killed
//! and nothing that runs is left. Where all three are, the next start of the relay ends what is left
//! ([`crate::sweep`]).
//!
//! It is the process that the relay has started, and the supervisor a fork of it, made before there
//! was a thread: it shares its memory, has no descriptor but the lock of the relay's folder, which
//! the next supervisor waits for, and sleeps. It never looks at what is not below it.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::cgroup;
use crate::own_process;
use crate::reap::end_everything;
use crate::supervisor::END_MS_MAX;
use crate::sys::{self, Exit, Found, Handle, Poller};

/// How long a supervisor may outlive the relay before it is killed: it ends its tasks meanwhile.
const SUPERVISOR_MS_MAX: i32 = 8_000;

/// What it exits with where the supervisor was killed.
const KILLED: i32 = 1;

const SUPERVISOR: u64 = 0;
const RELAY: u64 = 1;

/// Makes the process above this one its guard: returns in the supervisor only, with what is at its end
/// once the guard is gone.
///
/// # Errors
/// The kernel's; then this process goes on alone.
pub(crate) fn stand(
    folder: &Path,
    socket: OwnedFd,
    lock: &File,
) -> io::Result<(OwnedFd, PipeReader)> {
    own_process::prepare()?;
    let relay = Handle::open(sys::parent())?;
    let (is_gone, alive) = io::pipe()?;
    let supervisor = sys::fork()?;
    if supervisor == 0 {
        drop(alive);
        sys::own_session();
        return Ok((socket, is_gone));
    }
    drop((socket, is_gone));
    sys::exit(watch(supervisor, &relay, folder, (lock, &alive)))
}

/// Waits for the end of the supervisor, then ends what it has left; returns what it has exited with.
///
/// What is held is held until this process ends.
fn watch(supervisor: i32, relay: &Handle, folder: &Path, _held: (&File, &PipeWriter)) -> i32 {
    sys::name_process(c"hpc-guard");
    if let Err(error) = wait(supervisor, relay) {
        crate::say!("guard: the supervisor cannot be watched: {error}");
        sys::signal_child(supervisor, libc::SIGKILL);
    }
    let code = loop {
        match sys::reap() {
            Found::One(reaped) if reaped.pid == supervisor => match reaped.exit {
                Exit::Code(code) => break code,
                Exit::Signal(_) => break KILLED,
            },
            Found::One(_) => {}
            Found::Running | Found::NoChild => break KILLED,
        }
    };
    if !end_everything(END_MS_MAX) {
        crate::say!("guard: a task's process cannot be killed; it waits in the kernel");
    }
    cgroup::sweep(folder); // also after an end in order: the supervisor was in one of them
    code
}

fn wait(supervisor: i32, relay: &Handle) -> io::Result<()> {
    let handle = Handle::open(supervisor)?;
    let poller = Poller::new()?;
    poller.add(&handle, SUPERVISOR, false)?;
    poller.add(relay, RELAY, false)?;
    let mut ready = Vec::new();
    while ready.is_empty() {
        ready = poller.wait(-1)?;
    }
    // Without a relay it ends by itself, unless somebody has stopped it.
    if !handle.ended_within(SUPERVISOR_MS_MAX) {
        handle.signal(libc::SIGKILL)?;
        let _ = handle.ended_within(-1);
    }
    Ok(())
}
