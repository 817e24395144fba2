//! cgroup: a memory limit that the kernel itself keeps, where this process may make groups.
//!
//! | level | where                                            | at the limit the kernel           |
//! |-------|--------------------------------------------------|-----------------------------------|
//! | v2    | a group that was delegated to the relay alone    | kills the group as a whole        |
//! | v1    | the memory group that we are in, as root         | kills one process; we the others  |
//! | none  | everywhere else                                  | knows nothing: [`crate::limits`]  |
//!
//! A task that has a memory limit gets a group below ours, named by the relay's folder, and is moved
//! into it before its program runs. A group is removed when its task is over; what outlives us is
//! ended and removed by the next start, which finds it by its name.
//!
//! Where groups can be made is found by `home.rs`; what is done with one stands in `group.rs`. Only
//! files are written and read. Which task gets a group, and what is said of its end, is
//! [`crate::memory`]'s and [`crate::life`]'s.

mod crowd;
mod group;
mod home;
#[cfg(test)]
mod machine;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::sweep::place_of;

pub use crowd::{Keeper, keeper};
pub use group::Group;
pub use home::{Home, Version, find};

/// The file of a relay's folder that says where its groups are, for the next start.
const RECORD: &str = "cgroup";

/// What the relay was told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Groups where they can be made.
    Auto,
    /// No groups.
    Off,
    /// Groups, or no start.
    Require,
}

impl Wanted {
    /// Reads one of `auto`, `off` and `require`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "off" => Some(Self::Off),
            "require" => Some(Self::Require),
            _ => None,
        }
    }
}

/// The groups of one relay.
pub struct Cgroups {
    home: Home,
    prefix: String,
    /// Most processes of each group, where its kind can limit that.
    processes_max: Option<u64>,
}

/// Ends and removes every group that the last start of a relay folder may have left.
pub fn sweep(folder: &Path) {
    if let Ok(place) = place_of(folder) {
        let prefix = prefix_of(&place);
        crowd::sweep(folder, &prefix);
        sweep_former(folder, &prefix);
    }
}

fn sweep_former(folder: &Path, prefix: &str) {
    if let Some(home) = recorded(&folder.join(RECORD)) {
        let (prefix, processes_max) = (prefix.to_owned(), None);
        Cgroups {
            home,
            prefix,
            processes_max,
        }
        .sweep();
    }
}

fn prefix_of(place: &str) -> String {
    format!("hpc.{}.", place.replace(':', "."))
}

impl Cgroups {
    /// Ends and removes what former starts left, then makes ready where groups are wanted and can
    /// be made; `None` where they are not. From now on this process and all that it starts are no
    /// more than `processes_max`, where that can be held.
    ///
    /// # Errors
    /// They are required and cannot be made; the error says what is missing.
    pub fn open(
        folder: &Path,
        place: &str,
        wanted: Wanted,
        processes_max: Option<u64>,
    ) -> io::Result<Option<Self>> {
        let prefix = prefix_of(place);
        crowd::sweep(folder, &prefix);
        sweep_former(folder, &prefix);
        let found = match wanted {
            Wanted::Off => Err("--cgroup off".to_owned()),
            Wanted::Auto | Wanted::Require => home::found_and_ready(&prefix),
        };
        let told = match &found {
            Ok(home) => format!("{} {}\n", home.version.name(), home.folder.display()),
            Err(why) => format!("none {why}\n"),
        };
        fs::write(folder.join(RECORD), told)?;
        match processes_max {
            Some(max) if wanted == Wanted::Off => crowd::limit_by_user(max),
            Some(max) => crowd::enter(folder, &prefix, found.as_ref().ok(), max),
            None => {}
        }
        match found {
            Ok(home) => {
                let groups = Self {
                    home,
                    prefix,
                    processes_max,
                };
                groups.sweep();
                Ok(Some(groups))
            }
            Err(why) if wanted == Wanted::Require => Err(io::Error::other(format!(
                "no memory cgroup can be made, and one is required: {why}"
            ))),
            Err(_) => Ok(None),
        }
    }

    /// Makes the group of a task.
    ///
    /// # Errors
    /// The kernel's; nothing is left behind.
    pub fn make(&self, serial: u32, limit_bytes: u64) -> io::Result<Group> {
        let me = std::process::id();
        let path = self
            .home
            .folder
            .join(format!("{}{me}.{serial}", self.prefix));
        Group::make(self.home.version, path, limit_bytes, self.processes_max)
    }

    /// Ends and removes every group of this relay that is there.
    pub fn sweep(&self) {
        for entry in fs::read_dir(&self.home.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .and_then(|name| name.strip_prefix(&self.prefix))
            else {
                continue;
            };
            if name == home::LEAF || name == crowd::CROWD {
                let _ = group::remove(&entry.path()); // we may be in it
                continue;
            }
            let group = Group::left(self.home.version, entry.path());
            group.kill();
            group.wait();
            if let Err(error) = group.remove() {
                crate::say!("supervisor: {} stays: {error}", entry.path().display());
            }
        }
    }
}

fn recorded(record: &Path) -> Option<Home> {
    let text = fs::read_to_string(record).ok()?;
    let (version, folder) = text.trim_end().split_once(' ')?;
    let version = match version {
        "v1" => Version::V1,
        "v2" => Version::V2,
        _ => return None,
    };
    Some(Home {
        version,
        folder: PathBuf::from(folder),
    })
}

fn members(folder: &Path) -> Vec<i32> {
    crate::reap::parse_pids(&read(&folder.join("cgroup.procs")))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Writes to a file of the kernel's, which is there and takes it in one piece.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}
