//! own_folders: where tasks run that name no folder.
//!
//! Neighbours: [`crate::life`] takes one for a task and gives it back; [`crate::janitor`] removes
//! what a task has left in its.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::capture::{PRIVATE_MODE, private_folder};

/// Folders for tasks that name none, under the relay's folder.
///
/// One that a task left empty serves the next: making and removing one costs as much as all else
/// that a start needs of the disk. [`OwnFolders::trim`] removes them when nothing runs.
pub struct OwnFolders {
    root: PathBuf,
    free: Vec<PathBuf>,
    /// Given back, and not looked at yet.
    used: Vec<PathBuf>,
    made: u64,
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
            used: Vec::new(),
            made: 0,
        })
    }

    /// An empty folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn take(&mut self) -> io::Result<PathBuf> {
        if let Some(folder) = self.free.pop() {
            return Ok(folder);
        }
        let folder = self.root.join(self.made.to_string());
        private_folder(&folder)?;
        self.made += 1;
        Ok(folder)
    }

    /// Takes a folder back whose task has ended.
    pub fn give(&mut self, folder: PathBuf) {
        self.used.push(folder);
    }

    /// Looks at what was given back, once nothing is more urgent: those that were left as they were serve
    /// again; the others are returned, for somebody to remove them.
    #[must_use]
    pub fn look(&mut self) -> Vec<PathBuf> {
        let (untouched, touched): (Vec<_>, Vec<_>) =
            self.used.drain(..).partition(|folder| is_untouched(folder));
        self.free.extend(untouched);
        touched
    }

    /// Removes the folders that nobody uses.
    pub fn trim(&mut self) {
        for folder in self.free.drain(..) {
            // It was empty; where it is not any more, the next start of the relay removes it.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn is_untouched(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o7777 == PRIVATE_MODE)
        && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_a_folder_that_was_left_as_it_was_serves_the_next() {
        let name = format!("hpc-own-folders-{}", std::process::id());
        let root = Scratch(std::env::temp_dir().join(name));
        let mut folders = OwnFolders::new(root.0.join("cwd")).unwrap();
        let folder = folders.take().unwrap();
        std::fs::write(folder.join("left"), "").unwrap();
        std::fs::remove_file(folder.join("left")).unwrap();
        folders.give(folder.clone());
        assert_ne!(folders.take().unwrap(), folder, "nobody has looked at it");
        assert_eq!(folders.look(), [] as [PathBuf; 0]);
        assert_eq!(folders.take().unwrap(), folder);

        std::fs::create_dir(folder.join("left")).unwrap();
        folders.give(folder.clone());
        assert_eq!(folders.look(), std::slice::from_ref(&folder));
        assert_ne!(folders.take().unwrap(), folder);
    }
}
