//! spawn: turns one task of a lot into a running child.
//!
//! It fills in what differs by task (number, entry, output paths, own folder) and names what went
//! wrong in the words of the report; so it does for a hook around one. It neither counts slots nor watches: that is
//! [`crate::life`]'s. The system calls are [`crate::sys::launch`]'s.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::Value;

use crate::record::Cause;
use crate::sys::launch::{Launch, Launcher, Sink, Stage};
use crate::ulimits;
use crate::work::Lot;

/// Children are the first that the kernel ends when memory is short, not the relay.
const CHILD_OOM_SCORE_ADJ: &[u8] = b"300";

/// Runs hooks.
const SHELL: &CStr = c"/bin/sh";

/// Exit code of a program that does not exist, as the shell says it.
const EXIT_NOT_FOUND: i32 = 127;

/// Exit code of a program that exists and cannot be executed, as the shell says it.
const EXIT_NOT_EXECUTABLE: i32 = 126;

/// What one task brings along beside its lot.
pub struct Place<'a> {
    /// Node id, for `%N`.
    pub node_id: &'a str,
    /// Number of the task.
    pub task: u32,
    /// Folder of its own, where the lot names none.
    pub own_folder: Option<&'a Path>,
    /// Variables of its own, each `NAME=VALUE`: what it has of the relay's resources.
    pub own_env: Vec<String>,
    /// Captured stdout and stderr, where the lot names no file.
    pub captures: (Option<&'a CStr>, Option<&'a CStr>),
    /// Its marker.
    pub marker: u64,
    /// The file that moves a process into its group, where it has one.
    pub group: Option<&'a CStr>,
}

/// A command of the relay's owner, run in the place of a task.
pub struct Hook<'a> {
    /// Run by the shell.
    pub script: &'a CStr,
    /// What it is told beside what the task is, each `NAME=VALUE`.
    pub env: &'a [String],
    /// The file that both its streams go to.
    pub output: &'a CStr,
}

/// Why a task could not be started, as its report says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    /// Cause.
    pub cause: Cause,
    /// What a shell would exit with.
    pub exit_code: Option<i32>,
    /// A sentence.
    pub detail: String,
    /// Whether it is this machine's trouble, not the task's: then the task may run later.
    pub is_ours: bool,
    /// Whether only its group kept it from starting.
    pub is_group: bool,
}

impl Failed {
    /// A task that cannot be started here for a reason that no shell has a number for.
    #[must_use]
    pub fn refused(detail: String) -> Self {
        Self {
            cause: Cause::Refused,
            exit_code: None,
            detail,
            is_ours: false,
            is_group: false,
        }
    }

    /// Trouble of this machine, such as a full disk or no room for a process.
    #[must_use]
    pub fn ours(detail: String) -> Self {
        Self {
            is_ours: true,
            ..Self::refused(detail)
        }
    }
}

/// Starts one task of a lot; returns its pid.
///
/// # Errors
/// As the report will say it; nothing is left running.
pub fn spawn(launcher: &mut Launcher, lot: &Lot, place: &Place<'_>) -> Result<i32, Failed> {
    let work = &lot.work;
    let (own, shares) = (own_env(lot, place.task)?, c_strings(&place.own_env)?);
    let env: Vec<&CStr> = lot
        .env()
        .chain(own.iter().flatten())
        .chain(&shares)
        .map(CString::as_c_str)
        .collect();
    let args = work.args_of(place.task).map_err(Failed::refused)?;
    let own_args = args.iter().map(|word| c_string(word));
    let own_args = own_args.collect::<Result<Vec<_>, _>>()?;
    let argv: Vec<&CStr> = lot
        .argv
        .iter()
        .chain(&own_args)
        .map(CString::as_c_str)
        .collect();
    let own_programs = match (lot.programs.is_empty(), args.first()) {
        (true, Some(program)) => lot.programs_of(program).map_err(Failed::refused)?,
        _ => Vec::new(),
    };
    let own_folder = place.own_folder.map(path_string).transpose()?;
    let cwd = lot.cwd.as_deref().or(own_folder.as_deref()).unwrap_or(c"/");
    let expand = |path: &Option<String>| {
        path.as_deref()
            .map(|path| c_string(&expanded(path, &work.job_id, place.task, place.node_id)))
            .transpose()
    };
    let (stdout, stderr) = (expand(&work.stdout)?, expand(&work.stderr)?);
    let launch = Launch {
        programs: if own_programs.is_empty() {
            &lot.programs
        } else {
            &own_programs
        },
        argv: &argv,
        env: &env,
        cwd,
        stdin: &lot.stdin,
        stdout: sink(stdout.as_deref(), place.captures.0),
        stderr: if stderr.is_some() && stderr == stdout {
            Sink::SameAsStdout // two descriptions of one file would overwrite each other
        } else {
            sink(stderr.as_deref(), place.captures.1)
        },
        marker: place.marker,
        oom_score_adj: CHILD_OOM_SCORE_ADJ,
        group: place.group,
        umask: work.umask,
        limits: &lot.limits,
    };
    launcher
        .launch(&launch)
        .map_err(|(stage, error)| explain(lot, place.task, cwd, stage, &error))
}

/// Starts a hook around one task of a lot, with its environment and in its folder; returns its pid.
///
/// The ulimits and the umask of the job are not its.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_hook(
    launcher: &mut Launcher,
    lot: &Lot,
    place: &Place<'_>,
    hook: &Hook<'_>,
) -> Result<i32, Failed> {
    let own = own_env(lot, place.task)?;
    let (shares, told) = (c_strings(&place.own_env)?, c_strings(hook.env)?);
    let env = lot.env().chain(own.iter().flatten()).chain(&shares);
    let env: Vec<&CStr> = env.chain(&told).map(CString::as_c_str).collect();
    let own_folder = place.own_folder.map(path_string).transpose()?;
    let cwd = lot.cwd.as_deref().or(own_folder.as_deref()).unwrap_or(c"/");
    let launch = Launch {
        programs: &[SHELL.to_owned()],
        argv: &[SHELL, c"-c", hook.script],
        env: &env,
        cwd,
        stdin: c"/dev/null",
        stdout: Sink::Append(hook.output),
        stderr: Sink::SameAsStdout,
        marker: place.marker,
        oom_score_adj: CHILD_OOM_SCORE_ADJ,
        group: place.group,
        umask: None,
        limits: &[],
    };
    launcher
        .launch(&launch)
        .map_err(|(stage, error)| explain(lot, place.task, cwd, stage, &error))
}

/// The variables that tell a task which it is.
fn own_env(lot: &Lot, task: u32) -> Result<[Option<CString>; 2], Failed> {
    let entry = entry(lot, task).map(|entry| c_string(&format!("HPC_ENTRY={entry}")));
    Ok([
        Some(c_string(&format!("HPC_TASK_ID={task}"))?),
        entry.transpose()?,
    ])
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, Failed> {
    texts.iter().map(|text| c_string(text)).collect()
}

fn sink<'a>(user: Option<&'a CStr>, capture: Option<&'a CStr>) -> Sink<'a> {
    match (user, capture) {
        (Some(path), _) => Sink::Create(path),
        (None, Some(path)) => Sink::Append(path),
        (None, None) => Sink::Append(c"/dev/null"),
    }
}

fn c_string(text: &str) -> Result<CString, Failed> {
    CString::new(text).map_err(|_| Failed::refused(format!("a NUL byte in {text:?}")))
}

fn path_string(path: &Path) -> Result<CString, Failed> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failed::refused(format!("a NUL byte in {}", path.display())))
}

/// The value of `HPC_ENTRY`: a string as it is, anything else as JSON.
fn entry(lot: &Lot, task: u32) -> Option<String> {
    match lot.work.entries.as_ref()?.get(&task.to_string())? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A path with %j, %a, %N (job, task, node) and %% filled in; other signs stay as they are.
#[must_use]
pub fn expanded(path: &str, job_id: &str, task: u32, node_id: &str) -> String {
    let mut out = String::with_capacity(path.len() + 16);
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut signs = after.chars();
        match signs.next() {
            Some('j') => out.push_str(job_id),
            Some('a') => out.push_str(&task.to_string()),
            Some('N') => out.push_str(node_id),
            Some('%') => out.push('%'),
            other => {
                out.push('%');
                out.extend(other);
            }
        }
        rest = signs.as_str();
    }
    out.push_str(rest);
    out
}

fn explain(lot: &Lot, task: u32, cwd: &CStr, stage: Stage, error: &io::Error) -> Failed {
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or folder".to_owned(),
        _ => error.to_string(),
    };
    let name = |file: &Option<String>| file.clone().unwrap_or_else(|| "its file".to_owned());
    match stage {
        Stage::Cwd => Failed {
            cause: Cause::CwdNotFound,
            ..Failed::refused(format!("`{}`: {reason}", cwd.to_string_lossy()))
        },
        Stage::Exec => {
            let own = lot.work.args_of(task).unwrap_or_default().first();
            let program = lot.work.argv.first().or(own).map_or("", String::as_str);
            let absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
            Failed {
                cause: if absent { Cause::NotFound } else { Cause::Exit },
                exit_code: Some(if absent {
                    EXIT_NOT_FOUND
                } else {
                    EXIT_NOT_EXECUTABLE
                }),
                ..Failed::refused(format!("`{program}`: {reason}"))
            }
        }
        Stage::Stdin => Failed::refused(format!("stdin `{}`: {reason}", name(&lot.work.stdin))),
        Stage::Stdout => Failed::refused(format!("stdout `{}`: {reason}", name(&lot.work.stdout))),
        Stage::Stderr => Failed::refused(format!("stderr `{}`: {reason}", name(&lot.work.stderr))),
        Stage::Ulimit => Failed::refused(
            ulimits::refused(&lot.limits)
                .unwrap_or_else(|| format!("its ulimits cannot be set: {reason}")),
        ),
        Stage::Group => Failed {
            is_group: true,
            ..Failed::ours(format!("its cgroup cannot be entered: {reason}"))
        },
        Stage::Clone => Failed::ours(format!("no process could be made: {reason}")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    #[test]
    fn patterns_are_filled_in_and_others_left() {
        assert_eq!(expanded("o/%j.%a@%N", "fit", 3, "n1"), "o/fit.3@n1");
        assert_eq!(expanded("100%%-%x%", "fit", 3, "n1"), "100%-%x%");
    }
}
