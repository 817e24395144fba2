//! home: the group of the supervisor itself, below which groups can be made.
//!
//! Groups of others are never touched: in v2 a group with processes hands no controller on, so ours
//! must hold none but the relay, its supervisor and the guard, which move into a leaf. Looking for it changes
//! nothing, and takes place below a root that a test can choose. What is made in it is
//! [`super::Cgroups`]'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{members, read, write};
use crate::{sweep, sys};

/// The leaf that relay, guard and supervisor move into, in v2.
pub(super) const LEAF: &str = "relay";

/// Which of the kernel's interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is its own word
pub enum Version {
    V1,
    V2,
}

impl Version {
    /// As it is told to people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A group in which groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// Which interface.
    pub version: Version,
    /// Its folder.
    pub folder: PathBuf,
}

/// Finds a group to make groups in, and changes nothing.
///
/// # Arguments
/// `root` is `/` but in tests; `ours` are the processes that would move into a leaf.
///
/// # Errors
/// A sentence: what is missing.
pub fn find(root: &Path, ours: &[i32]) -> Result<Home, String> {
    if let Some(folder) = own_folder(root, "memory") {
        return v1_home(folder);
    }
    let folder = own_folder(root, "").ok_or("no cgroup file system is mounted")?;
    let shown = folder.display();
    let controllers = read(&folder.join("cgroup.controllers"));
    if !has_word(&controllers, "memory") {
        return Err(format!("{shown} has no memory controller"));
    }
    let files = ["", "cgroup.procs", "cgroup.subtree_control"];
    if !files
        .iter()
        .all(|file| sys::is_writable(&folder.join(file)))
    {
        return Err(format!("{shown} is not delegated to this user"));
    }
    if !has_word(&read(&folder.join("cgroup.subtree_control")), "memory") {
        if !folder.join("cgroup.type").exists() {
            return Err("the root group hands no memory controller on".to_owned());
        }
        if members(&folder).iter().any(|pid| !ours.contains(pid)) {
            return Err(format!("other processes share {shown}"));
        }
    }
    Ok(Home {
        version: Version::V2,
        folder,
    })
}

fn v1_home(folder: PathBuf) -> Result<Home, String> {
    let shown = folder.display();
    if !folder.join("memory.limit_in_bytes").exists() {
        return Err(format!("{shown} has no memory controller"));
    }
    if !sys::is_writable(&folder) {
        return Err(format!("only root can make groups in {shown}"));
    }
    if read(&folder.join("memory.use_hierarchy")).trim() == "0" {
        return Err(format!("{shown} does not count what groups below it use"));
    }
    Ok(Home {
        version: Version::V1,
        folder,
    })
}

/// The folder of this process's group: of a v1 controller, or of v2 where it is empty.
pub(super) fn own_folder(root: &Path, controller: &str) -> Option<PathBuf> {
    let memberships = read(&root.join("proc/self/cgroup"));
    let path = memberships.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_it = if controller.is_empty() {
            number == "0"
        } else {
            names.split(',').any(|name| name == controller)
        };
        is_it.then_some(path)
    })?;
    let mounts = read(&root.join("proc/self/mountinfo"));
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (mounted, point) = (fields.next()?, fields.next()?);
        let mut rest = right.split(' ');
        let (kind, options) = (rest.next()?, rest.nth(1)?);
        let is_it = if controller.is_empty() {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        };
        if !is_it {
            return None;
        }
        let point = root.join(point.trim_start_matches('/'));
        let inner = path.strip_prefix(mounted.trim_end_matches('/'))?;
        let inner = inner.trim_matches('/');
        let folder = if inner.is_empty() {
            point
        } else {
            point.join(inner)
        };
        // A group outside of what is mounted is seen as one below `..`, and is out of reach.
        (folder.is_dir() && !inner.starts_with("..")).then_some(folder)
    })
}

/// Finds a group to make groups in, and has it hand the memory controller on where that is needed.
///
/// # Errors
/// A sentence: what is missing.
pub(super) fn found_and_ready(prefix: &str) -> Result<Home, String> {
    // This process, its guard and the relay.
    let guard = sys::parent();
    let relay = sweep::parent_of(guard).unwrap_or(guard);
    let ours = [std::process::id().cast_signed(), guard, relay];
    let home = find(Path::new("/"), &ours)?;
    if home.version == Version::V2 {
        hand_on(&home.folder, prefix, &ours)
            .map_err(|error| format!("{}: {error}", home.folder.display()))?;
    }
    Ok(home)
}

/// Has a v2 group hand the memory controller on, which it may once it holds no process itself.
fn hand_on(folder: &Path, prefix: &str, ours: &[i32]) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    if has_word(&read(&control), "memory") {
        return Ok(());
    }
    let leaf = folder.join(format!("{prefix}{LEAF}"));
    if !leaf.is_dir() {
        fs::create_dir(&leaf)?;
    }
    let members = members(folder);
    for pid in ours.iter().filter(|pid| members.contains(pid)) {
        write(&leaf.join("cgroup.procs"), &pid.to_string())?;
    }
    write(&control, "+memory")
}

pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().any(|found| found == word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::super::machine::Machine;
    use super::*;

    const ME: i32 = 100;
    const RELAY: i32 = 99;

    impl Machine {
        /// One whose v2 group was delegated to the relay.
        fn v2(name: &str) -> Self {
            let machine = Self::new(name, "0::/user/relay.scope\n", V2_MOUNT);
            machine.put(&v2("cgroup.controllers"), "cpu memory pids\n");
            machine.put(&v2("cgroup.subtree_control"), "");
            machine.put(&v2("cgroup.type"), "domain\n");
            machine.put(&v2("cgroup.procs"), "99\n100\n");
            machine
        }

        fn found(&self) -> Result<Home, String> {
            find(&self.0, &[ME, RELAY])
        }
    }

    const V2_MOUNT: &str = "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    const V1_MOUNT: &str =
        "31 20 0:27 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n";

    fn v2(file: &str) -> String {
        format!("sys/fs/cgroup/user/relay.scope/{file}")
    }

    #[test]
    fn a_group_that_is_ours_alone_is_used() {
        let machine = Machine::v2("alone");
        let home = machine.found().unwrap();
        assert_eq!(home.version, Version::V2);
        assert!(home.folder.ends_with("sys/fs/cgroup/user/relay.scope"));
    }

    #[test]
    fn a_group_of_others_is_left_alone() {
        let machine = Machine::v2("shared");
        machine.put(&v2("cgroup.procs"), "99\n100\n4711\n");
        assert!(machine.found().is_err_and(|why| why.contains("share")));
        // A group that hands memory on holds nobody, so nobody has to leave it.
        machine.put(&v2("cgroup.subtree_control"), "memory\n");
        assert!(machine.found().is_ok());
    }

    #[test]
    fn the_root_and_a_group_without_the_controller_are_no_use() {
        let machine = Machine::v2("root");
        fs::remove_file(machine.0.join(v2("cgroup.type"))).unwrap();
        assert!(machine.found().is_err_and(|why| why.contains("root group")));
        machine.put(&v2("cgroup.controllers"), "cpu pids\n");
        assert!(machine.found().is_err_and(|why| why.contains("no memory")));
        let none = Machine::new("none", "", "");
        assert!(none.found().is_err_and(|why| why.contains("no cgroup")));
    }

    #[test]
    fn where_memory_is_a_v1_controller_that_is_what_counts() {
        let memberships = "4:memory,hugetlb:/job/7\n0::/\n";
        let mounts = format!("{V2_MOUNT}{V1_MOUNT}");
        let machine = Machine::new("v1", memberships, &mounts);
        let file = |name: &str| format!("sys/fs/cgroup/memory/job/7/{name}");
        machine.put(&file("memory.limit_in_bytes"), "9223372036854771712\n");
        machine.put(&file("memory.use_hierarchy"), "1\n");
        let home = machine.found().unwrap();
        assert_eq!(home.version, Version::V1);
        assert!(home.folder.ends_with("sys/fs/cgroup/memory/job/7"));
        machine.put(&file("memory.use_hierarchy"), "0\n");
        assert!(machine.found().is_err_and(|why| why.contains("below")));
    }

    #[test]
    fn in_a_container_the_root_of_the_mount_is_ours() {
        let machine = Machine::v2("container");
        machine.put("proc/self/cgroup", "0::/docker/0123\n");
        let mount = V2_MOUNT.replace("/ /sys", "/docker/0123 /sys");
        machine.put("proc/self/mountinfo", &mount);
        assert!(
            machine
                .found()
                .is_err_and(|why| why.contains("sys/fs/cgroup has no"))
        );
    }

    #[test]
    fn a_group_hands_memory_on_after_we_have_left_it() {
        let machine = Machine::v2("leaf");
        let folder = machine.0.join(v2(""));
        machine.put(&v2("cgroup.procs"), "100\n");
        machine.put(&v2("hpc.1.2.relay/cgroup.procs"), "");
        hand_on(&folder, "hpc.1.2.", &[ME, RELAY]).unwrap();
        assert_eq!(read(&folder.join("cgroup.subtree_control")), "+memory");
        assert_eq!(read(&folder.join("hpc.1.2.relay/cgroup.procs")), "100");
    }
}
