//! hpc-executor: starts, limits, watches and reaps the processes of a relay. No PyO3.
//!
//! | module                   | answers                                                    |
//! |--------------------------|------------------------------------------------------------|
//! | [`supervisor`], [`own_process`] | the loop: relay, children, time; what the process must be |
//! | [`guard`]                | ends what runs where the supervisor is killed             |
//! | [`board`], [`life`]      | which tasks wait and run; the life of one                  |
//! | [`work`], [`environment`], [`ulimits`], [`spawn`] | what is executed, and how one task of it starts |
//! | [`own_folders`]                | where tasks run that name no folder                     |
//! | [`hooks`]                | what the owner has run before and after each               |
//! | [`slots`], [`limits`], [`flood`] | cores and memory: taken, watched; output watched   |
//! | [`memory`], [`cgroup`]   | memory limits: kept by the kernel, else by looking        |
//! | [`reap`], [`orphans`], [`sweep`] | whose process is this; nothing is left behind              |
//! | [`stuck`], [`starts`]    | what cannot be killed; a machine that starts nothing       |
//! | [`capture`], [`frames`], [`tail`] | output: captured, reported, followed         |
//! | [`keeper`], [`hole`]     | output that is kept for a time, and what of it is not      |
//! | [`outbox`], [`record`], [`report`], [`holds`] | what happened, until the Hub has it   |
//! | [`wire`], [`timers`], [`janitor`] | the relay, time, slow disk work                   |
//! | [`sys`]                  | system calls; the only module with `unsafe`                |

/// Writes a line for people to stderr.
///
/// Unlike `eprintln!` it does not panic where nobody can read it any more (a full disk, a closed
/// terminal): the supervisor still has tasks to end then.
#[macro_export]
macro_rules! say {
    ($($message:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", $crate::shown(&format!($($message)*)));
    }};
}

/// Text without what a terminal takes as a command: hooks write what they like, and are told names that
/// others chose.
fn shown(text: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    text.chars().filter(is_shown).collect()
}

pub mod board;
pub mod capture;
pub mod cgroup;
pub mod environment;
pub mod flood;
pub mod frames;
pub mod guard;
pub mod holds;
pub mod hole;
pub mod hooks;
pub mod janitor;
pub mod keeper;
pub mod life;
pub mod limits;
pub mod memory;
pub mod orphans;
pub mod outbox;
pub mod own_folders;
pub mod own_process;
pub mod reap;
pub mod record;
pub mod report;
pub mod slots;
pub mod spawn;
pub mod starts;
pub mod stuck;
pub mod supervisor;
pub mod sweep;
pub mod sys;
pub mod tail;
pub mod timers;
pub mod ulimits;
pub mod wire;
pub mod work;
