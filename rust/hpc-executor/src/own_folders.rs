//! own_folders: where tasks run that name no folder.
//!
//! Neighbours: [`crate::life`] takes one for a task and gives it back; [`crate::janitor`] removes
//! what a task has left in its.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::capture::{PRIVATE_MODE, private_folder};

/// File systems whose stamps have parts of a second take them from a clock with steps of 10 ms at
/// most; two changes further apart than this have different stamps.
const STAMP_STEP_MAX: Duration = Duration::from_millis(50);

/// Folders for tasks that name none, under the relay's folder.
///
/// One that a task left empty serves the next: making and removing one costs as much as all else
/// that a start needs of the disk. [`OwnFolders::trim`] removes them when nothing runs.
pub struct OwnFolders {
    root: PathBuf,
    free: Vec<OwnFolder>,
    made: u64,
}

/// An empty folder that one task has to itself.
pub struct OwnFolder {
    path: PathBuf,
    /// When it last changed, if that was so long before it was taken that another change shows.
    changed: Option<SystemTime>,
}

impl OwnFolder {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl OwnFolders {
    /// Makes the folder that holds them.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(root: PathBuf) -> io::Result<Self> {
        private_folder(&root)?;
        Ok(Self {
            root,
            free: Vec::new(),
            made: 0,
        })
    }

    /// An empty folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn take(&mut self) -> io::Result<OwnFolder> {
        if let Some(folder) = self.free.pop() {
            return Ok(folder);
        }
        let path = self.root.join(self.made.to_string());
        private_folder(&path)?;
        self.made += 1;
        Ok(OwnFolder {
            path,
            changed: None,
        })
    }

    /// Takes a folder back whose task has ended; returns it where somebody must remove it.
    #[must_use]
    pub fn give(&mut self, mut folder: OwnFolder) -> Option<PathBuf> {
        let meta = std::fs::symlink_metadata(&folder.path).ok();
        let changed = meta.as_ref().and_then(changed_at);
        let is_untouched = folder.changed.is_some() && folder.changed == changed;
        if !is_untouched && !meta.is_some_and(|meta| is_as_made(&folder.path, &meta)) {
            return Some(folder.path);
        }
        folder.changed = changed.filter(|&at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age > STAMP_STEP_MAX)
        });
        self.free.push(folder);
        None
    }

    /// Removes the folders that nobody uses.
    pub fn trim(&mut self) {
        for folder in self.free.drain(..) {
            // It was empty; where it is not any more, the next start of the relay removes it.
            let _ = std::fs::remove_dir(folder.path);
        }
    }
}

fn is_as_made(folder: &Path, meta: &Metadata) -> bool {
    meta.is_dir()
        && meta.mode() & 0o7777 == PRIVATE_MODE
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// When a file or its name was last changed, which no program can set; None where the file system
/// seems to know whole seconds only.
fn changed_at(meta: &Metadata) -> Option<SystemTime> {
    let seconds = meta.ctime().try_into().ok()?;
    let nanos = u32::try_from(meta.ctime_nsec())
        .ok()
        .filter(|&nanos| nanos > 0)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hpc-own-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_an_empty_folder_serves_the_next() {
        let root = Scratch::new("serves");
        let mut folders = OwnFolders::new(root.0.join("cwd")).unwrap();
        let folder = folders.take().unwrap();
        let path = folder.path().to_owned();
        let passed = || {
            let made = std::fs::metadata(&path).unwrap();
            while SystemTime::now() <= changed_at(&made).unwrap() + STAMP_STEP_MAX {
                std::thread::yield_now();
            }
        };
        assert!(folders.give(folder).is_none());
        passed();
        let folder = folders.take().unwrap();
        assert!(folders.give(folder).is_none());

        let folder = folders.take().unwrap();
        assert!(folder.changed.is_some(), "it is not looked into again");
        std::fs::write(path.join("left"), "").unwrap();
        std::fs::remove_file(path.join("left")).unwrap();
        assert!(folders.give(folder).is_none(), "empty again");
        let folder = folders.take().unwrap();
        assert!(folder.changed.is_none(), "it has just been changed");

        std::fs::write(path.join("left"), "").unwrap();
        assert_eq!(folders.give(folder), Some(path));
        assert_ne!(
            folders.take().unwrap().path().file_name(),
            Some("0".as_ref())
        );
    }

    #[test]
    fn a_folder_that_was_let_alone_for_long_shows_what_was_left() {
        let root = Scratch::new("shows");
        let mut folders = OwnFolders::new(root.0.join("cwd")).unwrap();
        let mut folder = folders.take().unwrap();
        let path = folder.path().to_owned();
        folder.changed = changed_at(&std::fs::metadata(&path).unwrap());
        let made = SystemTime::now();
        while SystemTime::now() < made + STAMP_STEP_MAX {
            std::thread::yield_now();
        }
        std::fs::create_dir(path.join("left")).unwrap();
        assert_eq!(folders.give(folder), Some(path));
    }
}
