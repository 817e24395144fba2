//! cgroup: a memory limit that the kernel itself keeps, where this process may make groups.
//!
//! | level | where                                            | at the limit the kernel           |
//! |-------|--------------------------------------------------|-----------------------------------|
//! | v2    | a group that was delegated to the relay alone    | kills the group as a whole        |
//! | v1    | the memory group that we are in, as root         | kills one process; we the others  |
//! | none  | everywhere else                                  | knows nothing: [`crate::limits`]  |
//!
//! A task that has a memory limit gets a group below ours, named by the relay's folder, and is moved
//! into it before its program runs. Groups of others are never touched: in v2 a group with processes
//! hands no controller on, so ours must hold none but the relay and its supervisor, which move into
//! a leaf. A group is removed when its task is over; what outlives us is ended and removed by the
//! next start, which finds it by its name.
//!
//! Only files are written and read here, below a root that a test can choose. Which task gets a
//! group, and what is said of its end, is [`crate::life`]'s.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sweep::place_of;
use crate::sys::{self, Handle};

/// Most rounds of killing: who forks while we look is caught in the next.
const ROUNDS_MAX: usize = 50;

/// How long one process may take to die.
const DEATH_MS_MAX: i32 = 1_000;

/// The file of a relay's folder that says where its groups are, for the next start.
const RECORD: &str = "cgroup";

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
fn own_folder(root: &Path, controller: &str) -> Option<PathBuf> {
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

/// The groups of one relay.
pub struct Cgroups {
    home: Home,
    prefix: String,
}

/// Ends and removes every group that the last start of a relay folder may have left.
pub fn sweep(folder: &Path) {
    if let Ok(place) = place_of(folder) {
        sweep_former(folder, &prefix_of(&place));
    }
}

fn sweep_former(folder: &Path, prefix: &str) {
    if let Some(home) = recorded(&folder.join(RECORD)) {
        let prefix = prefix.to_owned();
        Cgroups { home, prefix }.sweep();
    }
}

fn prefix_of(place: &str) -> String {
    format!("hpc.{}.", place.replace(':', "."))
}

impl Cgroups {
    /// Ends and removes what former starts left, then makes ready where groups are wanted and can
    /// be made; `None` where they are not.
    ///
    /// # Errors
    /// They are required and cannot be made; the error says what is missing.
    pub fn open(folder: &Path, place: &str, wanted: Wanted) -> io::Result<Option<Self>> {
        let prefix = prefix_of(place);
        sweep_former(folder, &prefix);
        let found = match wanted {
            Wanted::Off => Err("--cgroup off".to_owned()),
            Wanted::Auto | Wanted::Require => found_and_ready(&prefix),
        };
        let told = match &found {
            Ok(home) => format!("{} {}\n", home.version.name(), home.folder.display()),
            Err(why) => format!("none {why}\n"),
        };
        fs::write(folder.join(RECORD), told)?;
        match found {
            Ok(home) => {
                let groups = Self { home, prefix };
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
        let procs = CString::new(path.join("cgroup.procs").as_os_str().as_bytes())?;
        fs::create_dir(&path)?;
        let version = self.home.version;
        let group = Group {
            version,
            path,
            procs,
        };
        if let Err(error) = group.limit(limit_bytes) {
            group.remove()?;
            return Err(error);
        }
        Ok(group)
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
            if name == LEAF {
                let _ = remove(&entry.path()); // we may be in it
                continue;
            }
            let group = Group {
                version: self.home.version,
                path: entry.path(),
                procs: CString::default(),
            };
            group.kill();
            group.wait();
            if let Err(error) = group.remove() {
                crate::say!("supervisor: {} stays: {error}", group.path.display());
            }
        }
    }
}

/// The leaf that relay and supervisor move into, in v2.
const LEAF: &str = "relay";

fn found_and_ready(prefix: &str) -> Result<Home, String> {
    let ours = [std::process::id().cast_signed(), sys::parent()];
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

/// The group of one task.
pub struct Group {
    version: Version,
    path: PathBuf,
    procs: CString,
}

impl Group {
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

    fn limit(&self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.to_string();
        let file = |name: &str| self.path.join(name);
        match self.version {
            Version::V2 => {
                write(&file("memory.max"), &bytes)?;
                write(&file("memory.oom.group"), "1")?;
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
    fn wait(&self) {
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
fn remove(path: &Path) -> io::Result<()> {
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

fn has_word(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().any(|found| found == word)
}

fn counted(text: &str, name: &str) -> Option<u64> {
    let line = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    const ME: i32 = 100;
    const RELAY: i32 = 99;

    /// A machine as far as the files go; removed at the end.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, cgroup: &str, mounts: &str) -> Self {
            let root = format!("hpc-cgroup-{name}-{}", std::process::id());
            let machine = Self(std::env::temp_dir().join(root));
            machine.put("proc/self/cgroup", cgroup);
            machine.put("proc/self/mountinfo", mounts);
            machine
        }

        /// One whose v2 group was delegated to the relay.
        fn v2(name: &str) -> Self {
            let machine = Self::new(name, "0::/user/relay.scope\n", V2_MOUNT);
            machine.put(&v2("cgroup.controllers"), "cpu memory pids\n");
            machine.put(&v2("cgroup.subtree_control"), "");
            machine.put(&v2("cgroup.type"), "domain\n");
            machine.put(&v2("cgroup.procs"), "99\n100\n");
            machine
        }

        fn put(&self, file: &str, text: &str) {
            let path = self.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn found(&self) -> Result<Home, String> {
            find(&self.0, &[ME, RELAY])
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
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
        for file in ["memory.max", "memory.swap.max", "memory.oom.group"] {
            machine.put(file, "");
        }
        let group = Group {
            version: Version::V2,
            path: machine.0.clone(),
            procs: CString::default(),
        };
        group.limit(1 << 20).unwrap();
        let text = |file: &str| read(&machine.0.join(file));
        assert_eq!(text("memory.max"), "1048576");
        assert_eq!(text("memory.swap.max"), "0");
        assert_eq!(text("memory.oom.group"), "1");
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
