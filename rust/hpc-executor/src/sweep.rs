//! sweep: at the start, ends what earlier incarnations of this relay left running.
//!
//! Normally there is nothing: the supervisor ends its tasks when the relay goes. This is for what
//! outlived both. Every task carries the mark of the relay's folder, in its environment and in its
//! inherited marker ([`crate::reap::Markers`]); a process is signalled only through a pidfd that
//! was opened before the mark was read, so a pid that changes hands in between is never hit.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::reap::{Markers, variable_of};
use crate::sys::{self, Handle};

/// Environment variable that names the relay folder of a task.
pub const PLACE_VARIABLE: &str = "HPC_RELAY_PLACE";

/// Most rounds: a process that forks while we look is caught in the next.
const ROUNDS_MAX: usize = 20;

/// How long one process may take to die.
const DEATH_MS_MAX: i32 = 1_000;

/// The mark of a relay folder: device and inode, so that a copy is another place.
///
/// # Errors
/// The file system's.
pub fn place_of(folder: &Path) -> std::io::Result<String> {
    let meta = fs::metadata(folder)?;
    Ok(format!("{}:{}", meta.dev(), meta.ino()))
}

/// Ends every process that carries the mark of a place, but for this one and those above it;
/// returns how many were met.
#[must_use]
pub fn sweep(place: &str) -> usize {
    let markers = Markers::new(place);
    let spared = lineage(std::process::id().cast_signed());
    let mut met = 0;
    for _ in 0..ROUNDS_MAX {
        let round = pids()
            .filter(|pid| !spared.contains(pid) && end_if_ours(*pid, place, markers))
            .count();
        if round == 0 {
            break;
        }
        met += round;
    }
    met
}

/// A process and those above it: a relay may be started by hand out of one of its own tasks.
fn lineage(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    while let Some(parent) = found.last().and_then(|pid| parent_of(*pid)) {
        if parent <= 1 || found.contains(&parent) {
            break;
        }
        found.push(parent);
    }
    found
}

/// The parent of a process.
pub(crate) fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in brackets and may hold any of them itself; state and parent follow.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn end_if_ours(pid: i32, place: &str, markers: Markers) -> bool {
    if !is_ours(pid, place, markers) {
        return false; // most processes: no descriptor is opened for them
    }
    let Ok(handle) = Handle::open(pid) else {
        return false;
    };
    // The pid may have changed hands before the handle was opened: read the mark again. If the
    // process still lives afterwards, it was the same one all along.
    if !is_ours(pid, place, markers) || handle.ended_within(0) {
        return false;
    }
    if handle.signal(libc::SIGKILL).is_err() {
        return false;
    }
    let _ = handle.ended_within(DEATH_MS_MAX);
    true
}

fn is_ours(pid: i32, place: &str, markers: Markers) -> bool {
    let marked = sys::marker_of(pid).and_then(|marker| markers.serial(marker));
    marked.is_some() || variable_of(pid, PLACE_VARIABLE).is_some_and(|found| found == place)
}
