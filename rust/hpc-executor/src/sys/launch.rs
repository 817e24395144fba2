//! launch: starts a child by a vfork of our own.
//!
//! `clone(CLONE_VM | CLONE_VFORK)` as in glibc's posix_spawn: the child borrows our memory until
//! it has executed the program, so a large parent costs nothing and no fork hook runs. It goes
//! beyond posix_spawn where that would leave a gap: the marker and the death signal hold before
//! the program's first instruction (set from outside they would come late), and a missing folder
//! is told from a missing program. Affinity is set from outside ([`super::pin`]): a child that
//! waits for its busy core before it executes would hold up this process too, and with a busy
//! neighbour two slots then start a third of the tasks.
//!
//! Neighbours: [`crate::spawn`] decides what to start; nothing here looks at a task.
#![allow(unsafe_code)] // see the module above

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::ptr;

/// Enough for the calls below; the child never runs code of anyone else on it.
const STACK_BYTES: usize = 64 * 1024;

/// Where a child's output goes.
#[derive(Clone, Copy, Debug)]
pub enum Sink<'a> {
    /// An existing file, written to at its end.
    Append(&'a CStr),
    /// A file that is made, or emptied where it exists.
    Create(&'a CStr),
    /// Only for stderr: where stdout goes.
    SameAsStdout,
}

/// Everything about one child.
pub struct Launch<'a> {
    /// Paths of the program, tried in order until one can be executed.
    pub programs: &'a [CString],
    /// Its arguments, the name first.
    pub argv: &'a [&'a CStr],
    /// Its whole environment, `NAME=value`.
    pub env: &'a [&'a CStr],
    /// Its folder.
    pub cwd: &'a CStr,
    /// What it reads.
    pub stdin: &'a CStr,
    /// What it writes to.
    pub stdout: Sink<'a>,
    /// What it complains to.
    pub stderr: Sink<'a>,
    /// Soft `RLIMIT_RSS`; see [`super::marker_of`].
    pub marker: u64,
    /// Its `oom_score_adj`, as text.
    pub oom_score_adj: &'a [u8],
    /// The file that moves who writes `0` to it into a cgroup.
    pub group: Option<&'a CStr>,
    /// Its umask; ours without one.
    pub umask: Option<u32>,
    /// Soft limits to set, by the kernel's number.
    pub limits: &'a [(u32, u64)],
}

/// What could not be done; the child is gone and reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Stage {
    /// No process could be made.
    Clone = 1,
    /// The folder cannot be entered.
    Cwd = 2,
    /// stdin cannot be opened.
    Stdin = 3,
    /// stdout cannot be opened.
    Stdout = 4,
    /// stderr cannot be opened.
    Stderr = 5,
    /// No program of that name can be executed.
    Exec = 6,
    /// One of its limits cannot be set.
    Ulimit = 7,
    /// Its cgroup cannot be entered.
    Group = 8,
}

/// Starts children; holds what is made once and used for each.
pub struct Launcher {
    stack: Box<[u8]>,
    ignored: Vec<c_int>,
    parent: i32,
}

/// What the child sees, all of it made before it starts: it must not allocate.
struct Orders<'a> {
    programs: *const *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    launch: &'a Launch<'a>,
    ignored: &'a [c_int],
    parent: i32,
    stage: i32,
    errno: i32,
}

impl Launcher {
    /// Finds out which signals this process ignores, so that children get the default.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: no new action is given; the old one is written to our struct.
        let ignores = |signal: &c_int| unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(*signal, ptr::null(), &raw mut old) == 0
                && old.sa_sigaction == libc::SIG_IGN
        };
        Self {
            stack: vec![0; STACK_BYTES].into_boxed_slice(),
            ignored: (1..=libc::SIGRTMAX()).filter(ignores).collect(),
            parent: std::process::id().cast_signed(),
        }
    }

    /// Starts a child; returns its pid, which is its process group and session too.
    ///
    /// # Errors
    /// The stage that failed, and why. Files that [`Sink::Create`] names may have been made.
    pub fn launch(&mut self, launch: &Launch<'_>) -> Result<i32, (Stage, io::Error)> {
        let pointers = |strings: &mut dyn Iterator<Item = *const c_char>| -> Vec<*const c_char> {
            strings.chain([ptr::null()]).collect()
        };
        let programs = pointers(&mut launch.programs.iter().map(|s| s.as_ptr()));
        let argv = pointers(&mut launch.argv.iter().map(|s| s.as_ptr()));
        let env = pointers(&mut launch.env.iter().map(|s| s.as_ptr()));
        let mut orders = Orders {
            programs: programs.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            launch,
            ignored: &self.ignored,
            parent: self.parent,
            stage: 0,
            errno: 0,
        };
        // SAFETY: the stack is ours, large enough, and its end is aligned down to 16 bytes. With
        // CLONE_VFORK this thread stands still until the child has executed or exited, so every
        // borrow in `orders` outlives its use. The child allocates nothing and takes no lock.
        let pid = unsafe {
            let top = self.stack.as_mut_ptr().add(STACK_BYTES);
            let top = top.sub(top as usize % 16);
            libc::clone(
                child,
                top.cast::<c_void>(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
                (&raw mut orders).cast::<c_void>(),
            )
        };
        if pid < 0 {
            return Err((Stage::Clone, io::Error::last_os_error()));
        }
        // SAFETY: the child wrote here through a pointer, so the value must be read anew.
        let stage = unsafe { ptr::read_volatile(&raw const orders.stage) };
        if stage == 0 {
            return Ok(pid);
        }
        // SAFETY: reaps the child that has just exited; no status is asked for.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        let stage = match stage {
            2 => Stage::Cwd,
            3 => Stage::Stdin,
            4 => Stage::Stdout,
            5 => Stage::Stderr,
            6 => Stage::Exec,
            7 => Stage::Ulimit,
            8 => Stage::Group,
            _ => Stage::Clone,
        };
        Err((stage, io::Error::from_raw_os_error(orders.errno)))
    }
}

impl Default for Launcher {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs in the child, on memory that it shares with the parent, until it executes.
extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: the parent passes a pointer to its `Orders` and stands still meanwhile.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    let stage = match obey(orders) {
        Ok(never) => match never {},
        Err(stage) => stage,
    };
    orders.errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    orders.stage = stage as i32;
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

enum Never {}

/// Only system calls below: no allocation, no lock, no unwinding.
fn obey(orders: &Orders<'_>) -> Result<Never, Stage> {
    let launch = orders.launch;
    // SAFETY: every pointer was made by the parent from strings that live on; the integers are
    // constants. The signal table and descriptors are the child's own copies.
    unsafe {
        libc::setsid();
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in orders.ignored {
            libc::sigaction(*signal, &raw const default, ptr::null_mut());
        }
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        if libc::getppid() != orders.parent {
            libc::_exit(127); // the parent died before the line above could take hold
        }
        if let Some(procs) = launch.group {
            enter(procs)?;
        }
        mark(launch.marker);
        write_oom_score(launch.oom_score_adj);
        if libc::chdir(launch.cwd.as_ptr()) != 0 {
            return Err(Stage::Cwd);
        }
        if let Some(umask) = launch.umask {
            libc::umask(umask); // before its files are made
        }
        redirect(launch)?;
        limit(launch.limits)?; // after all files are open: the limit may be on these
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        execute(orders);
    }
    Err(Stage::Exec)
}

unsafe fn mark(marker: u64) {
    // SAFETY: reads and writes one struct of our own.
    unsafe {
        let mut limit = libc::rlimit64 {
            rlim_cur: 0,
            rlim_max: 0,
        };
        if libc::getrlimit64(libc::RLIMIT_RSS, &raw mut limit) == 0 && marker <= limit.rlim_max {
            limit.rlim_cur = marker;
            libc::setrlimit64(libc::RLIMIT_RSS, &raw const limit);
        }
    }
}

/// Moves this process, and nothing that it was cloned from, into a cgroup.
unsafe fn enter(procs: &CStr) -> Result<(), Stage> {
    // SAFETY: a path and a constant that live; the descriptor is the child's own.
    unsafe {
        let fd = libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 || libc::write(fd, c"0".as_ptr().cast::<c_void>(), 1) != 1 {
            return Err(Stage::Group);
        }
        libc::close(fd);
    }
    Ok(())
}

unsafe fn limit(limits: &[(u32, u64)]) -> Result<(), Stage> {
    for (resource, soft) in limits {
        // SAFETY: reads and writes one struct of our own.
        unsafe {
            let mut limit = libc::rlimit64 {
                rlim_cur: 0,
                rlim_max: 0,
            };
            if libc::getrlimit64(*resource, &raw mut limit) != 0 {
                return Err(Stage::Ulimit);
            }
            limit.rlim_cur = *soft;
            // Who may raise the hard limit does; for everybody else this is an error.
            limit.rlim_max = limit.rlim_max.max(*soft);
            if libc::setrlimit64(*resource, &raw const limit) != 0 {
                return Err(Stage::Ulimit);
            }
        }
    }
    Ok(())
}

unsafe fn write_oom_score(score: &[u8]) {
    // SAFETY: a constant path and a slice that lives; a failure leaves the score as it was.
    unsafe {
        let path = c"/proc/self/oom_score_adj";
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, score.as_ptr().cast::<c_void>(), score.len());
            libc::close(fd);
        }
    }
}

unsafe fn redirect(launch: &Launch<'_>) -> Result<(), Stage> {
    const APPEND: c_int = libc::O_WRONLY | libc::O_APPEND;
    // SAFETY: as in `obey`.
    unsafe {
        open_as(launch.stdin, libc::O_RDONLY, 0).ok_or(Stage::Stdin)?;
        for (sink, fd, stage) in [
            (launch.stdout, 1, Stage::Stdout),
            (launch.stderr, 2, Stage::Stderr),
        ] {
            match sink {
                Sink::Append(path) => open_as(path, APPEND, fd),
                Sink::Create(path) => open_as(path, APPEND | libc::O_CREAT | libc::O_TRUNC, fd),
                Sink::SameAsStdout => (libc::dup2(1, fd) == fd).then_some(()),
            }
            .ok_or(stage)?;
        }
    }
    Ok(())
}

unsafe fn open_as(path: &CStr, flags: c_int, fd: c_int) -> Option<()> {
    // A named pipe without a partner must not hold the supervisor, which waits for this child:
    // open without blocking, and block afterwards.
    // SAFETY: as in `obey`.
    unsafe {
        let mode: libc::mode_t = 0o666;
        let flags = flags | libc::O_CLOEXEC | libc::O_NOCTTY;
        let opened = libc::open(path.as_ptr(), flags | libc::O_NONBLOCK, mode);
        if opened < 0 || libc::dup2(opened, fd) != fd {
            return None;
        }
        (libc::fcntl(fd, libc::F_SETFL, flags & !libc::O_NONBLOCK) == 0).then_some(())
    }
}

/// Tries the programs in order, as execvp does; returns only if none could be executed, with the
/// error that says most in `errno`.
unsafe fn execute(orders: &Orders<'_>) {
    // SAFETY: the arrays end with a null pointer; errno is the thread's own place.
    unsafe {
        let mut denied = false;
        let mut program = orders.programs;
        while !(*program).is_null() {
            libc::execve(*program, orders.argv, orders.env);
            match *libc::__errno_location() {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG => {}
                _ => return,
            }
            program = program.add(1);
        }
        if denied {
            *libc::__errno_location() = libc::EACCES;
        }
    }
}
