//! crowd: the one group of all that a relay runs, which holds how many processes that can be.
//!
//! The supervisor is in it, so every task is from its first instant, and a start costs nothing more.
//! Relay and guard stay outside: they can still end what has no room left to be asked. Where no such
//! group can be made the kernel's limit by user does, which is void for root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::group::{self, Group};
use super::home::{Home, Version, has_word, own_folder};
use super::{read, recorded, write};
use crate::sys;

/// The name of the group, behind the relay's prefix.
pub(super) const CROWD: &str = "tasks";

/// The file of a relay's folder that says where the group is, for who removes it.
const RECORD: &str = "cgroup.tasks";

/// Who holds how many processes there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A group made in this one.
    Group(Home),
    /// The limit of the user, all that it runs on this machine counted.
    User,
    /// Nobody; a sentence says why.
    Nobody(String),
}

/// Finds who could hold the number of processes, and changes nothing.
///
/// `home` is where groups with a memory limit are made, if they are.
#[must_use]
pub fn keeper(root: &Path, home: Option<&Home>) -> Keeper {
    let missing = if let Some(folder) = own_folder(root, "pids") {
        if sys::is_writable(&folder) {
            let version = Version::V1;
            return Keeper::Group(Home { version, folder });
        }
        format!("only root can make groups in {}", folder.display())
    } else {
        let v2 = home.filter(|home| home.version == Version::V2);
        match v2 {
            Some(home) if hands_on(home, "cgroup.controllers") => {
                return Keeper::Group(home.clone());
            }
            _ => "no cgroup with the controller `pids` is ours".to_owned(),
        }
    };
    match sys::is_root() {
        true => Keeper::Nobody(format!("{missing}, and root has no limit")),
        false => Keeper::User,
    }
}

fn hands_on(home: &Home, file: &str) -> bool {
    has_word(&read(&home.folder.join(file)), "pids")
}

/// Moves this process into the group, or limits it by its user; says so where it can do neither.
pub(super) fn enter(folder: &Path, prefix: &str, home: Option<&Home>, max: u64) {
    let entered = match keeper(Path::new("/"), home) {
        Keeper::Group(home) => made(&home, prefix, max).and_then(|group| {
            let told = format!("{} {}\n", home.version.name(), group.display());
            fs::write(folder.join(RECORD), told)?;
            write(&group.join("cgroup.procs"), "0")
        }),
        Keeper::User | Keeper::Nobody(_) => return limit_by_user(max),
    };
    if let Err(error) = entered {
        crate::say!("supervisor: nothing limits how many processes tasks make: {error}");
    }
}

/// Limits what the user has on this machine, for this process and all that it starts.
pub(super) fn limit_by_user(max: u64) {
    if sys::is_root() {
        return; // it would hold only those that a task lets go of root: `hpc doctor` says it
    }
    if let Err(error) = sys::limit_processes(max) {
        crate::say!("supervisor: nothing limits how many processes tasks make: {error}");
    }
}

fn made(home: &Home, prefix: &str, max: u64) -> io::Result<PathBuf> {
    if home.version == Version::V2 && !hands_on(home, "cgroup.subtree_control") {
        write(&home.folder.join("cgroup.subtree_control"), "+pids")?;
    }
    let group = home.folder.join(format!("{prefix}{CROWD}"));
    match fs::create_dir(&group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => write(&group.join("pids.max"), &max.to_string())?,
    }
    Ok(group)
}

/// Ends what is in the group that the last start of a relay folder has made, and removes it.
///
/// The record of a folder that was copied names a group of the one that it was copied from, whose
/// relay may live: it is left alone.
pub(super) fn sweep(folder: &Path, prefix: &str) {
    let record = folder.join(RECORD);
    let Some(home) = recorded(&record) else {
        return;
    };
    if home.folder.file_name() != Some(format!("{prefix}{CROWD}").as_ref()) {
        return;
    }
    let crowd = Group::left(home.version, home.folder.clone());
    crowd.kill();
    crowd.wait();
    match group::remove(&home.folder) {
        Ok(()) => drop(fs::remove_file(record)),
        Err(error) => crate::say!("supervisor: {} stays: {error}", home.folder.display()),
    }
}
