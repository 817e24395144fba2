//! capture: where the output of tasks goes that name no file.
//!
//! A task writes straight into a file of the relay's folder: no pipe, no copying, nothing to wait
//! for at its end. A file that stayed empty is used again as it is, since making one costs more
//! than all else here. At the end up to 64 KiB travel with the report; of more, the first and last
//! 32 KiB, and the whole file stays in `outputs/` for readers, as long as [`crate::keeper`] says.
//! A stream that was too long has a hole ([`crate::hole`]); the file's name says where.
//!
//! Neighbours: [`crate::frames`] has the form that it travels in, [`crate::outbox`] carries that,
//! [`crate::tail`] reads while a task runs.

use std::ffi::{CStr, CString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::frames::{Marks, write_frame, write_gone};
use crate::hole::Hole;
use crate::janitor::{Chore, Janitor};
use crate::keeper::Kept;
use crate::sys;
use crate::work::Lease;

/// A stream up to this length is reported whole.
pub const WHOLE_MAX: u64 = 64 * 1024;

/// Of a longer one, this much from each end.
pub const END_BYTES: u64 = 32 * 1024;

/// How often a folder is made for a file: the keeper removes one that is empty.
const KEEP_TRIES: usize = 3;

/// One of a task's two streams.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // each is its own word
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let both = [Self::Stdout, Self::Stderr];
        both.into_iter().find(|stream| stream.name() == name)
    }
}

/// A file that a task's stream is captured in.
pub struct Capture {
    path: PathBuf,
    c_path: CString,
    file: Arc<File>,
    hole: Hole,
}

impl Capture {
    /// Its path for the child.
    #[must_use]
    pub fn path(&self) -> &CStr {
        &self.c_path
    }

    /// Bytes in it now; 0 where that cannot be said.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, for reading.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What of it is not kept, and reads as zeros sooner or later.
    #[must_use]
    pub fn hole(&self) -> Hole {
        self.hole
    }

    /// Bytes of it that are kept.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.len().saturating_sub(self.hole.len())
    }

    /// Gives its middle back to the disk, so that about `kept` bytes stay.
    pub fn shrink(&mut self, kept: u64, janitor: &Janitor) {
        let hole = self.hole.grown(self.len(), kept);
        if hole == self.hole {
            return;
        }
        self.hole = hole; // from now on nobody reads there
        janitor.leave(Chore::Punch(Arc::clone(&self.file), hole));
    }
}

/// Who wrote what a frame or a file holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Job.
    pub job_id: String,
    /// Task.
    pub task: u32,
    /// Attempt.
    pub attempt: u64,
    /// Stream.
    pub stream: Stream,
}

impl Source {
    /// The stream of a task of a lease.
    #[must_use]
    pub fn new(lease: &Lease, task: u32, stream: Stream) -> Self {
        Self {
            job_id: lease.job_id.clone(),
            task,
            attempt: lease.attempt,
            stream,
        }
    }

    /// Whose stream a file is that was kept, and what of it is missing, by the names of its folder
    /// and of its own.
    ///
    /// ```
    /// use hpc_executor::capture::{Source, Stream};
    /// let (source, hole) = Source::kept("fit", "3.1.stderr").unwrap();
    /// assert_eq!((source.task, source.attempt, source.stream), (3, 1, Stream::Stderr));
    /// assert!(hole.is_empty());
    /// let (_, hole) = Source::kept("fit", "3.1.stderr.4096-8192").unwrap();
    /// assert_eq!((hole.start, hole.end), (4096, 8192));
    /// assert_eq!(Source::kept("fit", "notes.txt"), None);
    /// ```
    #[must_use]
    pub fn kept(job_id: &str, name: &str) -> Option<(Self, Hole)> {
        let mut parts = name.splitn(4, '.');
        let source = Self {
            job_id: job_id.to_owned(),
            task: parts.next()?.parse().ok()?,
            attempt: parts.next()?.parse().ok()?,
            stream: Stream::named(parts.next()?)?,
        };
        let hole = parts.next().map_or(Some(Hole::default()), Hole::named)?;
        Some((source, hole))
    }
}

/// Reads at most `length` bytes from an offset; fewer at the end or where the disk fails.
#[must_use]
pub fn read_at(file: &File, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                crate::say!("supervisor: captured output cannot be read: {error}");
                break;
            }
        }
    }
    bytes.truncate(filled);
    bytes
}

/// Mode of our folders, whatever the umask.
pub const PRIVATE_MODE: u32 = 0o700;

/// Makes a folder, and those above it, that only this user can enter.
///
/// # Errors
/// The file system's; one that exists is none.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_MODE)
        .create(path)
}

/// The capture files of one supervisor.
pub struct Captures {
    folder: PathBuf,
    kept: PathBuf,
    is_any_kept: bool,
    can_shrink: bool,
    free: Vec<Capture>,
    made: u64,
}

impl Captures {
    /// Captures into `folder`, which nobody else uses; long streams stay in `kept`, as they may have
    /// before, where ends are left that are not acknowledged.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(folder: PathBuf, kept: PathBuf, is_any_kept: bool) -> io::Result<Self> {
        private_folder(&folder)?;
        private_folder(&kept)?;
        let mut captures = Self {
            folder,
            kept,
            is_any_kept,
            can_shrink: false,
            free: Vec::new(),
            made: 0,
        };
        let capture = captures.take()?;
        captures.can_shrink = sys::punch(&capture.file, 0, 1).is_ok();
        captures.free.push(capture);
        Ok(captures)
    }

    /// Whether this file system takes the middle of a file back.
    #[must_use]
    pub fn can_shrink(&self) -> bool {
        self.can_shrink
    }

    /// Whether a stream may have been kept whose end is not acknowledged: else the keeper need not
    /// be woken for acknowledgements.
    #[must_use]
    pub fn is_any_kept(&self) -> bool {
        self.is_any_kept
    }

    /// An empty file.
    ///
    /// # Errors
    /// The file system's.
    pub fn take(&mut self) -> io::Result<Capture> {
        if let Some(capture) = self.free.pop() {
            return Ok(capture);
        }
        let path = self.folder.join(self.made.to_string());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        self.made += 1;
        let c_path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
        Ok(Capture {
            path,
            c_path,
            file: Arc::new(file),
            hole: Hole::default(),
        })
    }

    /// Takes a file back whose task has ended with every descendant; appends the frames that
    /// travel with its report.
    pub fn settle(
        &mut self,
        capture: Capture,
        source: Source,
        out: &mut Vec<u8>,
        janitor: &Janitor,
    ) {
        let (length, hole) = (capture.len(), capture.hole);
        if length == 0 && hole.is_empty() {
            self.free.push(capture);
            return;
        }
        let file = &capture.file;
        let end = Marks {
            end: true,
            ..Marks::default()
        };
        // One with a hole is never used again: the janitor may be about to make it.
        if length <= WHOLE_MAX && hole.is_empty() {
            write_frame(out, &source, 0, &read_at(file, 0, length), end);
            if file.set_len(0).is_ok() {
                self.free.push(capture);
            }
            return;
        }
        let last_at = length.saturating_sub(END_BYTES).max(hole.end);
        let first = read_at(file, 0, END_BYTES.min(hole.room(0)));
        let last = read_at(file, last_at, END_BYTES);
        write_frame(out, &source, 0, &first, Marks::default());
        if !hole.is_empty() {
            write_gone(out, &source, hole);
        }
        write_frame(out, &source, last_at, &last, end);
        self.keep(&capture, source, janitor);
    }

    /// Takes a file back of which nobody needs what is in it.
    pub fn clear(&mut self, capture: Capture) {
        if capture.is_empty() || capture.file.set_len(0).is_ok() {
            self.free.push(capture);
        }
    }

    /// Drops a file whose writers may still live: it is never used again.
    pub fn abandon(&mut self, capture: &Capture) {
        let _ = std::fs::remove_file(&capture.path);
    }

    fn keep(&mut self, capture: &Capture, source: Source, janitor: &Janitor) {
        self.is_any_kept = true;
        let path = kept_path(&self.kept, &source, capture.hole);
        // How long it is kept counts from here, not from the last byte. Told before it is there.
        let dated = capture.file.set_modified(SystemTime::now());
        let moved = dated
            .and_then(|()| capture.file.metadata())
            .and_then(|meta| {
                janitor.leave(Chore::Keep(source, Kept::of(&meta, capture.hole)));
                move_to(&capture.path, &path)
            });
        if let Err(error) = moved {
            crate::say!("supervisor: long output was not kept: {error}");
        }
    }

    /// The newest attempt's stream of a task that has ended, where it was kept, and its hole.
    #[must_use]
    pub fn kept(&self, job_id: &str, task: u32, stream: Stream) -> Option<(u64, File, Hole)> {
        if !crate::work::is_id(job_id) {
            return None;
        }
        let folder = Below::open(&self.kept.join(job_id)).ok()?;
        let (name, source, hole) = std::fs::read_dir(folder.path())
            .ok()?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let (source, hole) = Source::kept(job_id, &name)?;
                Some((name, source, hole))
            })
            .filter(|(_, source, _)| (source.task, source.stream) == (task, stream))
            .max_by_key(|(_, source, _)| source.attempt)?;
        let file = folder.file(&name).ok()?;
        Some((source.attempt, file, hole))
    }
}

/// A folder that is held, so that what is opened below it lies in it: a task, which may write where the
/// relay does, could put a link in the place of either.
struct Below(File);

impl Below {
    fn open(folder: &Path) -> io::Result<Self> {
        let flags = libc::O_NOFOLLOW | libc::O_DIRECTORY;
        let held = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(folder)?;
        Ok(Self(held))
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// Opens a file of it to read, which does not wait for a pipe's other end.
    fn file(&self, name: &str) -> io::Result<File> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.path().join(name))?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is no file"))
        }
    }
}

fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 1..KEEP_TRIES {
        to.parent().map_or(Ok(()), private_folder)?;
        match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => return moved,
        }
    }
    to.parent().map_or(Ok(()), private_folder)?;
    std::fs::rename(from, to)
}

/// Where a stream that is kept lies.
#[must_use]
pub fn kept_path(folder: &Path, source: &Source, hole: Hole) -> PathBuf {
    let (task, attempt, stream) = (source.task, source.attempt, source.stream.name());
    let mut name = format!("{task}.{attempt}.{stream}");
    if !hole.is_empty() {
        name += &format!(".{hole}");
    }
    folder.join(&source.job_id).join(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panic")]
    use std::io::Read as _;

    use super::*;

    #[test]
    fn fault_63_kept_output_is_read_from_its_folder_and_by_no_link() {
        let root = std::env::temp_dir().join(format!("hpc-below-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("fit")).unwrap();
        std::fs::write(root.join("fit/0.1.stdout"), "ours").unwrap();
        std::fs::write(root.join("secret"), "not ours").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("fit/0.2.stdout")).unwrap();
        std::os::unix::fs::symlink("fit", root.join("other")).unwrap();

        let folder = Below::open(&root.join("fit")).unwrap();
        let mut text = String::new();
        let mut file = folder.file("0.1.stdout").unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ours");
        assert!(folder.file("0.2.stdout").is_err());
        assert!(folder.file(".").is_err());
        assert!(Below::open(&root.join("other")).is_err());
        assert!(Below::open(&root.join("secret")).is_err());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
