//! keeper: the long streams that stay in the relay's folder for readers, and which of them go.
//!
//! A file goes when it is older than it is kept, and the oldest go first while all have more bytes
//! than the quota. One whose end the Hub has not acknowledged counts and stays: the Hub could not
//! even name it yet. What is written to lies elsewhere ([`crate::capture`]) and is not known here.
//!
//! It lives on the janitor's thread ([`crate::janitor`]) and works in short steps between chores:
//! first it finds out what lies there from earlier, then it removes what is due. What is kept is
//! told before the file is moved here, so a file is never met before it is known to stay.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::capture::{Source, kept_path};
use crate::holds::Holds;
use crate::hole::Hole;
use crate::record::Span;
use crate::work::Lease;

/// Files that are looked at, and that are removed, in one step: syncs wait no longer than for that.
const SCAN_FILES: usize = 256;
const REMOVE_FILES: usize = 16;

/// What became over in a batch, or is still to be acknowledged.
pub type Ends = Vec<(Arc<Lease>, Span)>;

/// How long and how much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A file goes when it is older, milliseconds.
    pub keep_ms: u64,
    /// The oldest go while all have more, bytes.
    pub quota_bytes: u64,
}

/// A file that was kept: since when, and how much of the disk it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Milliseconds since 1970: its task's end, the file's own time.
    pub at_ms: u64,
    /// Its length, but for what was given back.
    pub bytes: u64,
    /// What was given back.
    pub hole: Hole,
}

impl Kept {
    /// What the file system says of a file, and its name of its hole.
    #[must_use]
    pub fn of(meta: &Metadata, hole: Hole) -> Self {
        let at = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            at_ms: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            bytes: meta.len().saturating_sub(hole.len()),
            hole,
        }
    }
}

type Scan = Box<dyn Iterator<Item = (Source, Kept)> + Send>;

/// Everything that is kept in one folder.
pub struct Keeper {
    folder: PathBuf,
    retention: Retention,
    /// What was there before this start and is not looked at yet.
    scan: Option<Scan>,
    /// Ends of earlier starts that are not acknowledged, until the scan is over.
    unacknowledged: Holds,
    held: HashMap<Source, Kept>,
    /// What may go, the oldest first.
    free: BTreeMap<(u64, Source), Kept>,
    bytes: u64,
}

impl Keeper {
    /// Keeps what lies in a folder; `ends` are those that the Hub has not acknowledged.
    #[must_use]
    pub fn new(folder: PathBuf, retention: Retention, ends: &[(Arc<Lease>, Span)]) -> Self {
        Self {
            scan: Some(scan(&folder)),
            folder,
            retention,
            unacknowledged: held(ends),
            held: HashMap::new(),
            free: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Takes note of a file that is about to lie here; it stays until its end is acknowledged.
    pub fn keep(&mut self, source: Source, kept: Kept) {
        self.bytes += kept.bytes;
        if let Some(before) = self.held.insert(source, kept) {
            self.bytes -= before.bytes;
        }
    }

    /// The Hub has these ends: what was kept of them may go in its turn.
    pub fn acknowledge(&mut self, ends: &[(Arc<Lease>, Span)]) {
        self.unacknowledged.remove(ends);
        if self.held.is_empty() {
            return;
        }
        let over = held(ends);
        for (source, kept) in self.held.extract_if(|source, _| over.contains(source)) {
            let before = self.free.insert((kept.at_ms, source), kept);
            self.bytes -= before.map_or(0, |before| before.bytes);
        }
    }

    /// Whether there is something to do now.
    #[must_use]
    pub fn is_behind(&self, now_ms: u64) -> bool {
        self.scan.is_some() || self.is_due(now_ms)
    }

    /// Does a little of it.
    pub fn step(&mut self, now_ms: u64) {
        match self.scan.take() {
            Some(scan) => self.look(scan),
            None => self.tidy(now_ms),
        }
    }

    fn is_due(&self, now_ms: u64) -> bool {
        let oldest = self.free.first_key_value();
        oldest.is_some_and(|((at_ms, _), _)| {
            self.bytes > self.retention.quota_bytes
                || now_ms.saturating_sub(*at_ms) > self.retention.keep_ms
        })
    }

    fn look(&mut self, mut scan: Scan) {
        for _ in 0..SCAN_FILES {
            let Some((source, kept)) = scan.next() else {
                self.unacknowledged = Holds::default(); // who is held is known now
                return;
            };
            if self.held.contains_key(&source) {
                continue; // kept by this start
            }
            if self.unacknowledged.contains(&source) {
                self.keep(source, kept);
            } else {
                let before = self.free.insert((kept.at_ms, source), kept);
                self.bytes += kept.bytes;
                self.bytes -= before.map_or(0, |before| before.bytes);
            }
        }
        self.scan = Some(scan);
    }

    fn tidy(&mut self, now_ms: u64) {
        for _ in 0..REMOVE_FILES {
            if !self.is_due(now_ms) {
                return;
            }
            let Some(((_, source), kept)) = self.free.pop_first() else {
                return;
            };
            self.bytes -= kept.bytes;
            let path = kept_path(&self.folder, &source, kept.hole);
            if let Err(error) = remove(&path, kept) {
                crate::say!("supervisor: {} was not removed: {error}", path.display());
            }
        }
    }
}

fn held(ends: &[(Arc<Lease>, Span)]) -> Holds {
    let mut holds = Holds::default();
    for (lease, span) in ends {
        holds.add(lease, &span.tasks());
    }
    holds
}

/// Removes a file if it is still the one that was meant, and its folder if it was the last there.
fn remove(path: &Path, kept: Kept) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        // Another Hub's job of the same name has come into its place: that one is known too.
        Ok(meta) if Kept::of(&meta, kept.hole) != kept => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(folder) = path.parent() {
        let _ = fs::remove_dir(folder); // others of the job are there, mostly
    }
    Ok(())
}

/// What lies in the folder, job by job; no more of it is read than is taken.
fn scan(folder: &Path) -> Scan {
    let jobs = fs::read_dir(folder).into_iter().flatten().flatten();
    Box::new(jobs.flat_map(|job| {
        let job_id = job.file_name().to_string_lossy().into_owned();
        let files = fs::read_dir(job.path()).into_iter().flatten().flatten();
        files.filter_map(move |file| {
            let (source, hole) = Source::kept(&job_id, file.file_name().to_str()?)?;
            let meta = file.metadata().ok().filter(Metadata::is_file)?;
            Some((source, Kept::of(&meta, hole)))
        })
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;
    use crate::capture::{Stream, private_folder};

    const NOW_MS: u64 = 1_000_000_000_000;

    /// A folder of kept files that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hpc-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            private_folder(&path).unwrap();
            Self(path)
        }

        /// Puts a file there that is so old; returns what is known of it.
        fn put(&self, source: &Source, bytes: usize, age_ms: u64) -> Kept {
            self.put_with(source, bytes, age_ms, Hole::default())
        }

        fn put_with(&self, source: &Source, bytes: usize, age_ms: u64, hole: Hole) -> Kept {
            let path = kept_path(&self.0, source, hole);
            private_folder(path.parent().unwrap()).unwrap();
            fs::write(&path, vec![b'x'; bytes]).unwrap();
            let at = UNIX_EPOCH + std::time::Duration::from_millis(NOW_MS - age_ms);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(at).unwrap();
            Kept::of(&file.metadata().unwrap(), hole)
        }

        fn tasks(&self) -> Vec<u32> {
            let mut tasks: Vec<u32> = scan(&self.0).map(|(source, _)| source.task).collect();
            tasks.sort_unstable();
            tasks
        }

        fn keeper(&self, keep_ms: u64, quota_bytes: u64, ends: &Ends) -> Keeper {
            let retention = Retention {
                keep_ms,
                quota_bytes,
            };
            Keeper::new(self.0.clone(), retention, ends)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn lease() -> Arc<Lease> {
        Arc::new(Lease {
            ns_id: "batch".into(),
            job_id: "fit".into(),
            attempt: 1,
            epoch: 1,
        })
    }

    fn source(task: u32) -> Source {
        Source::new(&lease(), task, Stream::Stdout)
    }

    /// Works until nothing is left to do; returns in how many steps.
    fn work(keeper: &mut Keeper) -> usize {
        let mut steps = 0;
        while keeper.is_behind(NOW_MS) {
            keeper.step(NOW_MS);
            steps += 1;
        }
        steps
    }

    #[test]
    fn of_more_than_the_quota_the_oldest_go() {
        let folder = Folder::new("keeper-quota");
        for task in 0..10 {
            folder.put(&source(task), 100, 1_000 - u64::from(task));
        }
        let mut keeper = folder.keeper(u64::MAX, 450, &Vec::new());
        work(&mut keeper);
        assert_eq!(folder.tasks(), [6, 7, 8, 9]);
        assert_eq!(keeper.bytes, 400);

        let kept = folder.put(&source(10), 100, 5);
        keeper.keep(source(10), kept);
        work(&mut keeper);
        assert_eq!(folder.tasks(), [7, 8, 9, 10]);
    }

    #[test]
    fn fault_50_what_was_given_back_to_the_disk_counts_for_nothing() {
        let folder = Folder::new("keeper-hole");
        let hole = Hole {
            start: 4_096,
            end: 40_960,
        };
        folder.put_with(&source(0), 50_000, 9_000, hole);
        folder.put(&source(1), 1_000, 8_000);
        let bytes = 50_000 - hole.len();
        let mut keeper = folder.keeper(u64::MAX, bytes + 1_000, &Vec::new());
        work(&mut keeper);
        assert_eq!(folder.tasks(), [0, 1]);
        assert_eq!(keeper.bytes, bytes + 1_000);

        keeper.keep(source(2), folder.put(&source(2), 1, 7_000));
        work(&mut keeper);
        assert_eq!(folder.tasks(), [1, 2]);
    }

    #[test]
    fn what_is_too_old_goes_and_its_folder_with_the_last() {
        let folder = Folder::new("keeper-age");
        folder.put(&source(0), 1, 1_001);
        folder.put(&source(1), 1, 1_000);
        let mut keeper = folder.keeper(1_000, u64::MAX, &Vec::new());
        work(&mut keeper);
        assert_eq!(folder.tasks(), [1]);
        keeper.step(NOW_MS + 1);
        assert!(!folder.0.join("fit").exists());
    }

    #[test]
    fn what_the_hub_has_not_acknowledged_stays_and_counts() {
        let folder = Folder::new("keeper-held");
        folder.put(&source(0), 100, 9_000);
        folder.put(&source(1), 100, 8_000);
        let mut keeper = folder.keeper(1_000, 0, &vec![(lease(), Span(0, 0))]);
        keeper.keep(source(2), folder.put(&source(2), 100, 7_000));
        work(&mut keeper);
        assert_eq!(folder.tasks(), [0, 2]);
        assert_eq!(keeper.bytes, 200);

        keeper.acknowledge(&[(lease(), Span(2, 2))]);
        work(&mut keeper);
        assert_eq!(folder.tasks(), [0]);
        keeper.acknowledge(&[(lease(), Span(0, 0))]);
        work(&mut keeper);
        assert!(folder.tasks().is_empty());
        assert_eq!(keeper.bytes, 0);
    }

    #[test]
    fn an_acknowledgement_may_come_before_the_file_is_met() {
        let folder = Folder::new("keeper-early");
        folder.put(&source(0), 100, 9_000);
        let mut keeper = folder.keeper(1_000, u64::MAX, &vec![(lease(), Span(0, 5))]);
        keeper.acknowledge(&[(lease(), Span(0, 0))]);
        work(&mut keeper);
        assert!(folder.tasks().is_empty());
    }

    #[test]
    fn a_step_is_short_however_much_is_due() {
        let folder = Folder::new("keeper-steps");
        let (count, files) = (3 * SCAN_FILES, 3 * SCAN_FILES / REMOVE_FILES);
        for task in 0..u32::try_from(count).unwrap() {
            folder.put(&source(task), 1, 9_000);
        }
        let mut keeper = folder.keeper(1_000, u64::MAX, &Vec::new());
        assert_eq!(work(&mut keeper), 3 + 1 + files);
        assert!(folder.tasks().is_empty());
    }

    #[test]
    fn who_has_come_into_its_place_is_spared() {
        let folder = Folder::new("keeper-place");
        let before = folder.put(&source(0), 100, 9_000);
        let mut keeper = folder.keeper(1_000, u64::MAX, &Vec::new());
        keeper.step(NOW_MS);
        let now = folder.put(&source(0), 100, 10);
        assert_ne!(before, now);
        work(&mut keeper);
        assert_eq!(folder.tasks(), [0]);
    }
}
