//! own_process: what the supervisor's process must be before it starts another.
//!
//! The subreaper of all that it starts, deaf to the terminal's signals (when to end is the relay's to
//! say), with descriptors that no child inherits, and no safer from the kernel's memory killer than
//! others. It knows no task and no file of the relay; what a child is given of its own is
//! [`crate::spawn`]'s.

use std::fs::{self, File};
use std::io;

use crate::sys;

/// What others send is the relay's to answer; what a write raises, its error tells.
const IGNORED: [i32; 5] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGPIPE,
    libc::SIGXFSZ,
];

/// Makes this process what a supervisor must be; returns where the deaths of children are told.
///
/// # Errors
/// The kernel's; what has been changed by then stays so.
pub(crate) fn prepare() -> io::Result<File> {
    for signal in IGNORED {
        sys::ignore_signal(signal);
    }
    sys::seal_descriptors();
    sys::become_subreaper()?;
    protect_no_more_than_others();
    Ok(File::from(sys::signal_descriptor(libc::SIGCHLD)?))
}

/// A relay that is protected from the kernel's memory killer does not hand that on.
fn protect_no_more_than_others() {
    let path = "/proc/self/oom_score_adj";
    let score = fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if score.is_some_and(|score| score < 0) {
        let _ = fs::write(path, "0"); // raising it is always allowed
    }
}
