//! group: what is done with the group of one task: limited, asked, killed and removed.
//!
//! It knows no other group, and not why a task has one ([`crate::memory`]).

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Version, members, read, write};
use crate::sys::Handle;

/// Most rounds of killing: who forks while we look is caught in the next.
const ROUNDS_MAX: usize = 50;

/// How long one process may take to die.
const DEATH_MS_MAX: i32 = 1_000;

/// The group of one task.
pub struct Group {
    version: Version,
    path: PathBuf,
    procs: CString,
}

impl Group {
    /// Makes one with a limit; its folder must not be there.
    ///
    /// # Errors
    /// The kernel's; nothing is left behind.
    pub(super) fn make(
        version: Version,
        path: PathBuf,
        limit_bytes: u64,
        processes_max: Option<u64>,
    ) -> io::Result<Self> {
        let procs = CString::new(path.join("cgroup.procs").as_os_str().as_bytes())?;
        fs::create_dir(&path)?;
        let group = Self {
            version,
            path,
            procs,
        };
        if let Err(error) = group.limit(limit_bytes, processes_max) {
            group.remove()?;
            return Err(error);
        }
        Ok(group)
    }

    /// One that is there already, and that nobody shall move into.
    pub(super) fn left(version: Version, path: PathBuf) -> Self {
        Self {
            version,
            path,
            procs: CString::default(),
        }
    }

    /// The file that a process writes `0` to in order to be in the group.
    #[must_use]
    pub fn procs(&self) -> &CStr {
        &self.procs
    }

    /// Whether the kernel ends the whole of it at the limit, not one process.
    #[must_use]
    pub fn ends_as_a_whole(&self) -> bool {
        self.version == Version::V2
    }

    fn limit(&self, bytes: u64, processes_max: Option<u64>) -> io::Result<()> {
        let bytes = bytes.to_string();
        let file = |name: &str| self.path.join(name);
        match self.version {
            Version::V2 => {
                write(&file("memory.max"), &bytes)?;
                write(&file("memory.oom.group"), "1")?;
                if let Some(max) = processes_max {
                    unless_absent(write(&file("pids.max"), &max.to_string()))?;
                }
                unless_absent(write(&file("memory.swap.max"), "0"))
            }
            Version::V1 => {
                write(&file("memory.limit_in_bytes"), &bytes)?;
                // With swap counted in, there is nowhere to go but out.
                unless_absent(write(&file("memory.memsw.limit_in_bytes"), &bytes))
            }
        }
    }

    /// Whether the kernel has killed a process of it for want of memory.
    #[must_use]
    pub fn was_oom(&self) -> bool {
        let name = match self.version {
            Version::V2 => "memory.events",
            Version::V1 => "memory.oom_control",
        };
        counted(&read(&self.path.join(name)), "oom_kill").is_some_and(|count| count > 0)
    }

    /// The most that it ever held, pages of files among it; `None` where the kernel does not say.
    #[must_use]
    pub fn peak_bytes(&self) -> Option<u64> {
        let name = match self.version {
            Version::V2 => "memory.peak",
            Version::V1 => "memory.max_usage_in_bytes",
        };
        read(&self.path.join(name)).trim().parse().ok()
    }

    /// Kills everything in it.
    pub fn kill(&self) {
        if self.version == Version::V2 && write(&self.path.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        let mut known: HashSet<i32> = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let mut found = self.members();
            found.retain(|pid| known.insert(*pid));
            let held: Vec<(i32, Handle)> = found
                .into_iter()
                .filter_map(|pid| Some((pid, Handle::open(pid).ok()?)))
                .collect();
            // A pid may have changed hands before it was held: who is still a member has not.
            let still = self.members();
            for (_, handle) in held.iter().filter(|(pid, _)| still.contains(pid)) {
                let _ = handle.signal(libc::SIGKILL); // gone already is as good
            }
            if held.is_empty() {
                return;
            }
        }
    }

    /// Who is in it, or in a group that a task has made below it.
    fn members(&self) -> Vec<i32> {
        let folders = below(&self.path);
        folders.iter().flat_map(|folder| members(folder)).collect()
    }

    /// Waits for the last process of it to be gone.
    pub(super) fn wait(&self) {
        for handle in self.members().into_iter().map(Handle::open) {
            let _ = handle.map(|handle| handle.ended_within(DEATH_MS_MAX));
        }
    }

    /// Removes it.
    ///
    /// # Errors
    /// `EBUSY` while a process is in it.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path)
    }
}

/// Removes the folder of a group, and what a task has made below it; one that is gone is no error.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for folder in below(path) {
        unless_absent(fs::remove_dir(folder))?;
    }
    Ok(())
}

/// A folder and those below it, the deepest first.
fn below(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found: Vec<PathBuf> = inner.flat_map(|entry| below(&entry.path())).collect();
    found.push(path.to_owned());
    found
}

fn unless_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn counted(text: &str, name: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::super::machine::Machine;
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_group_is_read() {
        let machine = Machine::new("said", "", "");
        let group = |version| Group {
            version,
            path: machine.0.clone(),
            procs: CString::default(),
        };
        assert!(!group(Version::V2).was_oom());
        assert_eq!(group(Version::V2).peak_bytes(), None);
        machine.put(
            "memory.events",
            "max 9\noom 2\noom_kill 0\noom_group_kill 0\n",
        );
        machine.put("memory.oom_control", "under_oom 0\noom_kill 3\n");
        machine.put("memory.peak", "4096\n");
        assert!(!group(Version::V2).was_oom());
        assert!(group(Version::V1).was_oom());
        assert_eq!(group(Version::V2).peak_bytes(), Some(4096));
        machine.put("memory.events", "oom 2\noom_kill 2\n");
        assert!(group(Version::V2).was_oom());
    }

    #[test]
    fn a_limit_leaves_no_way_out_by_swap() {
        let machine = Machine::new("limit", "", "");
        for file in [
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
        ] {
            machine.put(file, "");
        }
        let group = Group {
            version: Version::V2,
            path: machine.0.clone(),
            procs: CString::default(),
        };
        group.limit(1 << 20, Some(99)).unwrap();
        let text = |file: &str| read(&machine.0.join(file));
        assert_eq!(text("memory.max"), "1048576");
        assert_eq!(text("memory.swap.max"), "0");
        assert_eq!(text("memory.oom.group"), "1");
        assert_eq!(text("pids.max"), "99");
    }
}
