//! janitor: the one thread beside the loop, for disk work that may take long.
//!
//! It syncs the outbox and removes folders, so that a slow disk delays no start. It never touches
//! a task, never starts a process and allocates nothing that the loop waits for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::cgroup::Group;

/// Work for the thread.
pub enum Chore {
    /// Make what was written durable.
    Sync(Arc<File>),
    /// Remove a folder and what is in it.
    Remove(PathBuf),
    /// Remove the group of a task that is over.
    RemoveGroup(Group),
}

/// The thread's owner.
pub struct Janitor {
    chores: Option<Sender<Chore>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, such as no room for a thread.
    pub fn start() -> std::io::Result<Self> {
        let (chores, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("hpc-janitor".to_owned())
            .spawn(move || work(&inbox))?;
        Ok(Self {
            chores: Some(chores),
            thread: Some(thread),
        })
    }

    /// Leaves a chore; returns at once.
    pub fn leave(&self, chore: Chore) {
        if let Some(chores) = &self.chores {
            // The thread ends only with this value, so somebody receives.
            let _ = chores.send(chore);
        }
    }

    /// Waits until every chore is done, and ends the thread.
    pub fn finish(&mut self) {
        self.chores = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(inbox: &Receiver<Chore>) {
    // The last process of a group may be on its way out: then it is tried again after the next.
    let mut groups: Vec<Group> = Vec::new();
    for chore in inbox {
        match chore {
            Chore::Sync(file) => {
                if let Err(error) = file.sync_data() {
                    crate::say!("supervisor: the outbox could not be synced: {error}");
                }
            }
            Chore::RemoveGroup(group) => {
                groups.push(group);
                groups.retain(|group| group.remove().is_err());
            }
            Chore::Remove(folder) => {
                if let Err(error) = std::fs::remove_dir_all(&folder)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    crate::say!("supervisor: {} was not removed: {error}", folder.display());
                }
            }
        }
    }
}
