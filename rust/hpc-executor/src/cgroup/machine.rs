//! machine: a machine as far as the files of its groups go, for the tests of them.
#![allow(clippy::unwrap_used)] // a test may stop at once

use std::fs;
use std::path::PathBuf;

/// Its root; removed at the end.
pub(super) struct Machine(pub PathBuf);

impl Machine {
    /// One of which only the groups and mounts of this process are known.
    pub fn new(name: &str, cgroup: &str, mounts: &str) -> Self {
        let root = format!("hpc-cgroup-{name}-{}", std::process::id());
        let machine = Self(std::env::temp_dir().join(root));
        machine.put("proc/self/cgroup", cgroup);
        machine.put("proc/self/mountinfo", mounts);
        machine
    }

    /// Writes a file, by its path below the root.
    pub fn put(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
