//! sys: the system calls that the standard library lacks, behind safe functions.
//!
//! The only module of the crate with `unsafe`. It decides nothing: each function is one call (or
//! a few that belong together) and its error. Starting a child stands in [`launch`].
#![allow(unsafe_code)] // the crate denies it; every block here says why it is sound

pub mod launch;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Resource use and fate of a child that was reaped.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Its process id; free for re-use from now on.
    pub pid: i32,
    /// How it ended.
    pub exit: Exit,
    /// Largest resident size of it or of a descendant that it waited for, bytes.
    pub peak_bytes: u64,
    /// User and system time of it and of descendants that it waited for, microseconds.
    pub cpu_us: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_long(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(result).map_err(io::Error::other)
    }
}

/// Takes over a descriptor that this process inherited.
///
/// # Errors
/// `EBADF` where nothing is open under the number.
pub fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD only reads; it fails for a closed descriptor.
    check(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open and the caller hands it over: nothing else will close it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Gives part of a file back to the disk: it reads as zeros, and the file stays as long as it is.
///
/// # Errors
/// The file system's: `EOPNOTSUPP` where it cannot.
pub fn punch(file: &File, start: u64, length: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let start = i64::try_from(start).map_err(io::Error::other)?;
    let length = i64::try_from(length).map_err(io::Error::other)?;
    loop {
        // SAFETY: plain integers, and a descriptor that lives as long as the file.
        match check(unsafe { libc::fallocate64(file.as_raw_fd(), mode, start, length) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            punched => return punched.map(drop),
        }
    }
}

/// Marks every descriptor from 3 on as closed at exec, so that no child inherits one.
pub fn seal_descriptors() {
    // SAFETY: changes flags only. Kernels below 5.11 lack the flag: then nothing changes, and what
    // we open ourselves is close-on-exec anyway.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
}

/// Makes this process the parent of every orphan among its descendants.
///
/// # Errors
/// The kernel's; none is expected since Linux 3.4.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: plain integers.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Ignores a signal in this process; [`launch`] gives children the default back.
pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN installs no handler; the number is one of libc's constants.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks a signal and returns a descriptor that is readable while it is pending.
///
/// # Errors
/// The kernel's, such as no free descriptor.
pub fn signal_descriptor(signal: i32) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        let fd = check(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Splits this process, which must have one thread: 0 in the new one, its pid in this one.
///
/// # Errors
/// The kernel's, such as too many processes.
pub fn fork() -> io::Result<i32> {
    // SAFETY: no other thread exists that could hold a lock which the new process then waits for.
    check(unsafe { libc::fork() })
}

/// Ends this process at once, running nothing of whoever has started it.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

/// Leaves the session and the process group that this process is in.
pub fn own_session() {
    // SAFETY: takes nothing; fails only for who leads a group, and has one of its own then.
    unsafe { libc::setsid() };
}

/// Names this process, at most 15 bytes, for those who list processes.
pub fn name_process(name: &std::ffi::CStr) {
    // SAFETY: reads a string that lives.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Milliseconds of a clock that counts while the machine sleeps.
#[must_use]
pub fn boottime_ms() -> u64 {
    clock_ms(libc::CLOCK_BOOTTIME)
}

/// Milliseconds since 1970, UTC.
#[must_use]
pub fn wall_ms() -> u64 {
    clock_ms(libc::CLOCK_REALTIME)
}

fn clock_ms(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes the struct that it is given; both clocks exist on every Linux we run on.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanos / 1_000_000
}

/// A timer on the clock of [`boottime_ms`].
pub struct BootTimer(File);

impl BootTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The kernel's, such as no free descriptor.
    pub fn new() -> io::Result<Self> {
        // SAFETY: returns a new descriptor that nothing else owns.
        let fd = unsafe {
            OwnedFd::from_raw_fd(check(libc::timerfd_create(
                libc::CLOCK_BOOTTIME,
                libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
            ))?)
        };
        Ok(Self(File::from(fd)))
    }

    /// Makes it readable at an absolute time; `None` never.
    ///
    /// # Errors
    /// The kernel's; none is expected.
    pub fn set(&self, at_ms: Option<u64>) -> io::Result<()> {
        let (seconds, nanos) = match at_ms {
            None => (0, 0),
            // All zero would unset it: a time long past means at once.
            Some(ms) => (ms / 1000, (ms % 1000) * 1_000_000 + 1),
        };
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = libc::itimerspec {
            it_interval: zero,
            it_value: libc::timespec {
                tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(nanos).unwrap_or(0),
            },
        };
        // SAFETY: reads one struct; no old value is asked for.
        check(unsafe {
            libc::timerfd_settime(
                self.0.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const spec,
                std::ptr::null_mut(),
            )
        })
        .map(drop)
    }

    /// Takes the ticks, so that it is no longer readable.
    pub fn clear(&self) {
        use std::io::Read;
        // An empty timer answers EAGAIN, which is what is wanted.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsRawFd for BootTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits for descriptors to become ready; each is known by a number of the caller's.
pub struct Poller(OwnedFd);

impl Poller {
    /// A poller of nothing.
    ///
    /// # Errors
    /// The kernel's, such as no free descriptor.
    pub fn new() -> io::Result<Self> {
        // SAFETY: returns a new descriptor that nothing else owns.
        Ok(Self(unsafe {
            OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)
        }))
    }

    /// Watches a descriptor for input, and for room for output where asked.
    ///
    /// # Errors
    /// The kernel's, such as a descriptor that is watched already.
    pub fn add(&self, fd: &impl AsRawFd, key: u64, output: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd.as_raw_fd(), key, output)
    }

    /// Changes whether room for output is watched.
    ///
    /// # Errors
    /// The kernel's, such as a descriptor that is not watched.
    pub fn change(&self, fd: &impl AsRawFd, key: u64, output: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd.as_raw_fd(), key, output)
    }

    fn control(&self, op: i32, fd: RawFd, key: u64, output: bool) -> io::Result<()> {
        let output = if output { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | output).cast_unsigned(),
            u64: key,
        };
        // SAFETY: reads one struct.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &raw mut event) }).map(drop)
    }

    /// Waits until something is ready, at most `timeout_ms` (-1: for ever); returns the keys.
    ///
    /// # Errors
    /// The kernel's; an interruption is no error and answers nothing.
    pub fn wait(&self, timeout_ms: i32) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        // SAFETY: the kernel writes at most as many events as the array holds.
        let count = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 8, timeout_ms)
        });
        match count {
            Ok(count) => Ok(events
                .iter()
                .take(usize::try_from(count).unwrap_or(0))
                .map(|event| event.u64)
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// What [`reap`] found.
pub enum Found {
    /// A child had ended and is reaped.
    One(Reaped),
    /// There are children, and none has ended.
    Running,
    /// There is no child.
    NoChild,
}

/// Reaps one child that has ended, without waiting.
#[must_use]
pub fn reap() -> Found {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value; wait4 writes both places it is given.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage);
        (pid, usage)
    };
    if pid == 0 {
        return Found::Running;
    }
    if pid < 0 {
        return Found::NoChild;
    }
    let exit = if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    };
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    Found::One(Reaped {
        pid,
        exit,
        peak_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        cpu_us: micros(usage.ru_utime) + micros(usage.ru_stime),
    })
}

/// Sends a signal to a child that is not reaped yet: its pid cannot name another process.
pub fn signal_child(pid: i32, signal: i32) {
    // SAFETY: plain integers. A child that has just ended takes no harm.
    unsafe { libc::kill(pid, signal) };
}

/// Sends a signal to a whole process group of which a child that is not reaped is a member.
pub fn signal_group(group: i32, signal: i32) {
    if group > 1 {
        // SAFETY: plain integers; 0 and 1 would mean other things and are kept out.
        unsafe { libc::kill(-group, signal) };
    }
}

/// The process group of a process, `None` where there is no such process.
#[must_use]
pub fn group_of(pid: i32) -> Option<i32> {
    // SAFETY: plain integers.
    check(unsafe { libc::getpgid(pid) }).ok()
}

/// The session of a process, `None` where there is no such process.
#[must_use]
pub fn session_of(pid: i32) -> Option<i32> {
    // SAFETY: plain integers.
    check(unsafe { libc::getsid(pid) }).ok()
}

/// The soft `RLIMIT_RSS` of a process, which Linux ignores and children inherit: see
/// [`crate::reap`] for what we keep in it.
#[must_use]
pub fn marker_of(pid: i32) -> Option<u64> {
    let mut old = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: no new limit is given; the old one is written to our struct.
    check(unsafe { libc::prlimit64(pid, libc::RLIMIT_RSS, std::ptr::null(), &raw mut old) })
        .ok()
        .map(|_| old.rlim_cur)
}

/// Whether this process may write to a file or a folder.
#[must_use]
pub fn is_writable(path: &std::path::Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::CString::new(path.as_os_str().as_bytes()).is_ok_and(|path| {
        // SAFETY: a string that lives; nothing is changed.
        unsafe { libc::access(path.as_ptr(), libc::W_OK) == 0 }
    })
}

/// The process that started this one, or has inherited it.
#[must_use]
pub fn parent() -> i32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::getppid() }
}

/// The greatest that a limit of this process, and so of its children, may be raised to; `None`
/// where the kernel does not know it.
#[must_use]
pub fn hard_limit(resource: u32) -> Option<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one struct of ours.
    check(unsafe { libc::getrlimit64(resource, &raw mut limit) })
        .ok()
        .map(|_| limit.rlim_max)
}

/// Whether this process is root's, for whom the kernel's limits by user do not hold.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Lowers how many processes the user of this one may have while it, or what it starts, makes another.
///
/// # Errors
/// The kernel's; none is expected.
pub fn limit_processes(max: u64) -> io::Result<()> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads and writes one struct of ours; a soft limit may always be lowered.
    unsafe {
        check(libc::getrlimit64(libc::RLIMIT_NPROC, &raw mut limit))?;
        limit.rlim_cur = limit.rlim_cur.min(max);
        check(libc::setrlimit64(libc::RLIMIT_NPROC, &raw const limit)).map(drop)
    }
}

/// A process held by a descriptor: it cannot become another one while this lives.
pub struct Handle(OwnedFd);

impl Handle {
    /// Takes hold of the process that has this pid now.
    ///
    /// # Errors
    /// `ESRCH` where there is none.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: returns a new descriptor (close-on-exec by itself) that nothing else owns.
        let fd = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: as above.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a signal to it; 0 only asks whether it still exists (a zombie does).
    ///
    /// # Errors
    /// `ESRCH` where it has been reaped, `EPERM` where it is not ours.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: no siginfo is given.
        check_long(unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        })
        .map(drop)
    }

    /// Waits until it has ended; whether it has.
    #[must_use]
    pub fn ended_within(&self, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one struct, as said.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A set of cores.
#[derive(Clone, Copy)]
pub struct CpuSet(libc::cpu_set_t);

impl CpuSet {
    /// These cores; those beyond what the kernel's fixed set holds (1,024) are left out.
    #[must_use]
    pub fn new(cpus: &[u32]) -> Self {
        // SAFETY: an all-zero set is the empty set; CPU_SET is kept inside it.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            for cpu in cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok()) {
                if cpu < size_of::<libc::cpu_set_t>() * 8 {
                    libc::CPU_SET(cpu, &mut set);
                }
            }
            Self(set)
        }
    }

    /// The cores that a thread may run on, `None` where there is no such thread.
    #[must_use]
    pub fn of(thread: i32) -> Option<Self> {
        let mut set = Self::new(&[]);
        // SAFETY: writes the set that it is given, of the size that it is told.
        let result = unsafe {
            libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &raw mut set.0)
        };
        check(result).ok().map(|_| set)
    }

    /// Whether no core is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        // SAFETY: only reads.
        unsafe { libc::CPU_COUNT(&self.0) == 0 }
    }

    /// Whether every core is in the other set too.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        // SAFETY: only reads, within the set.
        (0..size_of::<libc::cpu_set_t>() * 8)
            .all(|cpu| unsafe { !libc::CPU_ISSET(cpu, &self.0) || libc::CPU_ISSET(cpu, &other.0) })
    }
}

/// Lets a thread run on these cores only; an empty set, or a core that was taken away, changes
/// nothing: the thread then runs anywhere.
pub fn pin(thread: i32, cpus: &CpuSet) {
    if !cpus.is_empty() {
        // SAFETY: reads the set, of the size that it is told.
        unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const cpus.0) };
    }
}

/// Bytes in a page of memory.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: reads a constant of the system.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}
