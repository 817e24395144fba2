//! janitor: the one thread beside the loop, for disk work that may take long.
//!
//! It syncs the outbox and removes folders, so that a slow disk delays no start; between two chores
//! it looks after what is kept of long output ([`crate::keeper`]). It never touches a task, never
//! starts a process and allocates nothing that the loop waits for.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use crate::capture::Source;
use crate::cgroup::Group;
use crate::hole::Hole;
use crate::keeper::{Ends, Keeper, Kept};
use crate::sys;

/// Work for the thread.
pub enum Chore {
    /// Make what was written durable.
    Sync(Arc<File>),
    /// Remove a folder and what is in it.
    Remove(PathBuf),
    /// Remove the group of a task that is over.
    RemoveGroup(Group),
    /// Give this part of a file back to the disk: of one that nobody will use again.
    Punch(Arc<File>, Hole),
    /// A long stream is about to be kept.
    Keep(Source, Kept),
    /// The Hub has these ends.
    Acknowledged(Ends),
    /// Look whether anything that is kept is too old.
    Look,
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
    pub fn start(keeper: Keeper) -> std::io::Result<Self> {
        let (chores, inbox) = channel();
        let thread = std::thread::Builder::new()
            .name("hpc-janitor".to_owned())
            .spawn(move || work(&inbox, keeper))?;
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

    /// Waits until every chore is done, and ends the thread. What is kept is for the next start.
    pub fn finish(&mut self) {
        self.chores = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(inbox: &Receiver<Chore>, mut keeper: Keeper) {
    // The last process of a group may be on its way out: then it is tried again after the next.
    let mut groups: Vec<Group> = Vec::new();
    loop {
        let chore = if keeper.is_behind(sys::wall_ms()) {
            match inbox.try_recv() {
                Err(TryRecvError::Empty) => {
                    keeper.step(sys::wall_ms());
                    continue;
                }
                Err(TryRecvError::Disconnected) => return,
                Ok(chore) => chore,
            }
        } else {
            match inbox.recv() {
                Err(_) => return,
                Ok(chore) => chore,
            }
        };
        match chore {
            Chore::Keep(source, kept) => keeper.keep(source, kept),
            Chore::Acknowledged(ends) => keeper.acknowledge(&ends),
            Chore::Look => {} // done above, before the next chore
            Chore::Punch(file, hole) => {
                if let Err(error) = sys::punch(&file, hole.start, hole.len()) {
                    crate::say!("supervisor: output was not given back to the disk: {error}");
                }
            }
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
