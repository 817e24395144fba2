//! Starting real children: what a program sees, and what is said of one that cannot start.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may stop at once

use std::ffi::{CStr, CString};
use std::fs;
use std::path::PathBuf;

use hpc_executor::sys::launch::{Launch, Launcher, Sink, Stage};
use hpc_executor::sys::{Handle, marker_of, session_of, signal_group};

fn strings(texts: &[&str]) -> Vec<CString> {
    texts.iter().map(|t| CString::new(*t).unwrap()).collect()
}

fn launch<'a>(programs: &'a [CString], argv: &'a [&'a CStr]) -> Launch<'a> {
    Launch {
        programs,
        argv,
        env: &[],
        cwd: c"/",
        stdin: c"/dev/null",
        stdout: Sink::Append(c"/dev/null"),
        stderr: Sink::SameAsStdout,
        marker: 1 << 62,
        oom_score_adj: b"300",
        group: None,
        umask: None,
        limits: &[],
    }
}

fn ended(pid: i32) -> bool {
    Handle::open(pid).is_ok_and(|handle| handle.ended_within(10_000))
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hpc-launch-{name}-{}", std::process::id()))
}

/// The marker, the session and the score hold from the first instruction.
#[test]
fn a_child_is_marked_and_leads_its_session() {
    let programs = strings(&["/nowhere/sleep", "/bin/sleep"]);
    let argv = [c"sleep", c"600"];
    let mut launcher = Launcher::new();
    let pid = launcher.launch(&launch(&programs, &argv)).unwrap();
    assert_eq!(marker_of(pid), Some(1 << 62));
    assert_eq!(session_of(pid), Some(pid));
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "300");
    signal_group(pid, 9);
    assert!(ended(pid));
}

/// A missing folder and a missing program are two reasons; a file that is none is a third.
#[test]
fn a_failure_names_its_stage() {
    let argv = [c"x"];
    let mut launcher = Launcher::new();
    let mut stage = |programs: &[&str], cwd: &CStr, stdout: Sink<'_>| {
        let programs = strings(programs);
        let asked = Launch {
            cwd,
            stdout,
            ..launch(&programs, &argv)
        };
        let (stage, error) = launcher.launch(&asked).unwrap_err();
        (stage, error.raw_os_error().unwrap())
    };
    let null = Sink::Append(c"/dev/null");
    assert_eq!(stage(&["/bin/true"], c"/nowhere", null), (Stage::Cwd, 2));
    assert_eq!(stage(&["/nowhere", "/x"], c"/", null), (Stage::Exec, 2));
    assert_eq!(stage(&["/etc/passwd", "/x"], c"/", null), (Stage::Exec, 13));
    let nowhere = Sink::Create(c"/nowhere/out");
    assert_eq!(stage(&["/bin/true"], c"/", nowhere), (Stage::Stdout, 2));
}

/// The program finds them set; a limit that nobody may have stops it, and is told from the rest.
#[test]
fn umask_and_limits_hold_from_the_first_instruction() {
    let file = temporary("limits");
    let path = CString::new(file.to_str().unwrap()).unwrap();
    let programs = strings(&["/bin/sh"]);
    let argv = [c"sh", c"-c", c"umask; ulimit -n; ulimit -c"];
    let mut launcher = Launcher::new();
    let mut asked = Launch {
        stdout: Sink::Create(&path),
        umask: Some(0o077),
        limits: &[(libc::RLIMIT_NOFILE, 17), (libc::RLIMIT_CORE, 0)],
        ..launch(&programs, &argv)
    };
    assert!(ended(launcher.launch(&asked).unwrap()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "0077\n17\n0\n");
    let mode = fs::metadata(&file).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    fs::remove_file(&file).unwrap();

    // Not even a superuser has more files than the kernel has numbers for.
    asked.limits = &[(libc::RLIMIT_NOFILE, u64::MAX)];
    let (stage, error) = launcher.launch(&asked).unwrap_err();
    assert_eq!((stage, error.raw_os_error()), (Stage::Ulimit, Some(1)));
    fs::remove_file(&file).unwrap();
}

/// Two streams into one new file follow each other; a pipe without a reader stops nobody.
#[test]
fn streams_go_where_they_should() {
    let file = temporary("both");
    let path = CString::new(file.to_str().unwrap()).unwrap();
    let programs = strings(&["/bin/sh"]);
    let argv = [c"sh", c"-c", c"echo out; echo err >&2; echo again"];
    let mut launcher = Launcher::new();
    let asked = Launch {
        stdout: Sink::Create(&path),
        ..launch(&programs, &argv)
    };
    let pid = launcher.launch(&asked).unwrap();
    assert!(ended(pid));
    assert_eq!(fs::read_to_string(&file).unwrap(), "out\nerr\nagain\n");
    fs::remove_file(&file).unwrap();

    let made = std::process::Command::new("mkfifo").arg(&file).status();
    assert!(made.unwrap().success());
    let (stage, error) = launcher.launch(&asked).unwrap_err();
    assert_eq!(stage, Stage::Stdout);
    assert_eq!(error.raw_os_error(), Some(6)); // ENXIO: nobody reads it
    fs::remove_file(&file).unwrap();
}
