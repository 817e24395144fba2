//! All jobs: those with which something goes on as they are, the others sealed.
//!
//! A settled job without a lease is only looked at, or spoken to late; one of which no task was ever
//! leased waits, and is mostly one of many. Both are kept as their bytes (`sealed.rs`), read where they
//! are asked for, and made whole again where they change. The next of the queue are made whole before
//! they are looked at ([`Jobs::wake`]). Of one that was forgotten its place stays, with what is left of
//! it (`forgotten.rs`): it is none that can be read or changed, and its id is nobody else's.

use std::borrow::Cow;

use super::forgotten::{Forgotten, Grave, Graves, digest_of, digest_of_entries};
use super::job::Job;
use super::queue::JobIx;
use super::sealed::{Place, Sealed};
use super::totals::Totals;
use crate::domain::index::{Index, hash};
use crate::domain::texts::Slab;

#[derive(Clone, Debug)]
enum Slot {
    /// As it is, at a place of its own: a pointer would make every slot longer.
    Whole(u32),
    /// Sealed before any of its tasks was leased.
    Waiting(Place),
    /// Sealed when all was over.
    Sealed(Place),
    Forgotten(Grave),
}

/// In which form a job is kept; the number is its tag in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is, or to be so again: it is not over.
    Whole = 0,
    /// As its bytes, being over.
    Sealed = 1,
    /// As what is left of it.
    Forgotten = 2,
}

/// All jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    slots: Vec<Slot>,
    by_id: Index,
    whole: Slab<Box<Job>>,
    sealed: Sealed,
    graves: Graves,
    forgotten: usize,
    /// Those that are sealed because all is over.
    over: usize,
    /// Those that may have changed since [`Jobs::seal`].
    changed: Vec<JobIx>,
    numbered: u64,
    /// Of those that are sealed, whether they wait or are over.
    resting: Totals,
}

/// The slot of a job as it is.
fn whole_slot(whole: &mut Slab<Box<Job>>, job: Job) -> Slot {
    Slot::Whole(u32::try_from(whole.put(Box::new(job))).unwrap_or(u32::MAX))
}

impl Jobs {
    /// The index of a job.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<JobIx> {
        self.by_id
            .find(hash(id.as_bytes()) as u32, |ix| self.id(ix) == Some(id))
    }

    /// The id of the job of an index.
    #[must_use]
    pub fn id(&self, ix: JobIx) -> Option<&str> {
        match self.slots.get(ix as usize)? {
            Slot::Whole(place) => Some(&self.whole_at(*place)?.id),
            Slot::Waiting(place) | Slot::Sealed(place) => self.sealed.id(*place),
            Slot::Forgotten(grave) => self.graves.id(*grave),
        }
    }

    /// The job of an index, unless it was forgotten.
    #[must_use]
    pub fn get(&self, ix: JobIx) -> Option<Cow<'_, Job>> {
        match self.slots.get(ix as usize)? {
            Slot::Whole(place) => self.whole_at(*place).map(Cow::Borrowed),
            Slot::Waiting(place) | Slot::Sealed(place) => self.sealed.open(*place).map(Cow::Owned),
            Slot::Forgotten(_) => None,
        }
    }

    /// What is left of the job of an index, where it was forgotten.
    #[must_use]
    pub fn forgotten(&self, ix: JobIx) -> Option<Forgotten<'_>> {
        match self.slots.get(ix as usize)? {
            Slot::Forgotten(grave) => self.graves.get(*grave),
            _ => None,
        }
    }

    /// How many were forgotten.
    #[must_use]
    pub fn forgotten_len(&self) -> usize {
        self.forgotten
    }

    /// The namespace of the job of an index, forgotten or not.
    #[must_use]
    pub fn namespace(&self, ix: JobIx) -> Option<String> {
        let forgotten = self.forgotten(ix).map(|left| left.ns_id.to_owned());
        forgotten.or_else(|| Some(self.get(ix)?.ns_id.clone()))
    }

    /// In which form the job of an index is kept.
    #[must_use]
    pub fn form(&self, ix: JobIx) -> Form {
        match self.slots.get(ix as usize) {
            Some(Slot::Sealed(_)) => Form::Sealed,
            Some(Slot::Forgotten(_)) => Form::Forgotten,
            _ => Form::Whole,
        }
    }

    /// The job of an index, where it is not sealed: what is leased, held or comes after others never is.
    #[must_use]
    pub fn live(&self, ix: JobIx) -> Option<&Job> {
        match self.slots.get(ix as usize)? {
            Slot::Whole(place) => self.whole_at(*place),
            Slot::Waiting(_) | Slot::Sealed(_) | Slot::Forgotten(_) => None,
        }
    }

    /// Whether every task of a job has its outcome.
    #[must_use]
    pub fn is_settled(&self, ix: JobIx) -> bool {
        match self.slots.get(ix as usize) {
            Some(Slot::Whole(place)) => self.whole_at(*place).is_some_and(Job::is_settled),
            Some(Slot::Sealed(_) | Slot::Forgotten(_)) => true,
            Some(Slot::Waiting(_)) | None => false,
        }
    }

    /// Number of a job's ready tasks. One that waits is not opened for it.
    #[must_use]
    pub fn queued_count(&self, ix: JobIx) -> u64 {
        match self.slots.get(ix as usize) {
            Some(Slot::Whole(place)) => self.whole_at(*place).map_or(0, Job::queued_count),
            Some(Slot::Waiting(place)) => self.sealed.tasks(*place).map_or(0, |t| t.len()),
            Some(Slot::Sealed(_) | Slot::Forgotten(_)) | None => 0,
        }
    }

    /// Whether a job is at rest, or was forgotten.
    #[must_use]
    pub fn is_over(&self, ix: JobIx) -> bool {
        match self.live(ix) {
            Some(job) => job.is_at_rest(),
            None => self.is_settled(ix),
        }
    }

    /// The job of an index, to be changed, unless it was forgotten; [`Jobs::seal`] must follow.
    pub fn get_mut(&mut self, ix: JobIx) -> Option<&mut Job> {
        if self.changed.last() != Some(&ix) {
            self.changed.push(ix);
        }
        self.make_whole(ix)
    }

    /// Makes a job that waits whole, so that it can be looked at often; it stays so until it changes.
    pub fn wake(&mut self, ix: JobIx) {
        if let Some(Slot::Waiting(_)) = self.slots.get(ix as usize) {
            self.make_whole(ix);
        }
    }

    fn make_whole(&mut self, ix: JobIx) -> Option<&mut Job> {
        let slot = self.slots.get_mut(ix as usize)?;
        let was_over = matches!(slot, Slot::Sealed(_));
        if let Slot::Waiting(place) | Slot::Sealed(place) = slot {
            let job = self.sealed.open(*place)?;
            self.sealed.forget(*place);
            self.over -= usize::from(was_over);
            self.resting.subtract(&Totals::of(&job));
            *slot = whole_slot(&mut self.whole, job);
        }
        match slot {
            Slot::Whole(place) => self.whole.get_mut(*place as usize).map(Box::as_mut),
            _ => None,
        }
    }

    fn whole_at(&self, place: u32) -> Option<&Job> {
        self.whole.get(place as usize).map(Box::as_ref)
    }

    /// Forgets a job that is at rest, by the event of a seq, said at a time; whether it did.
    pub fn forget(&mut self, ix: JobIx, seq: u64, at: i64) -> bool {
        let job = self.get(ix).filter(|job| job.is_at_rest());
        let Some(job) = job.map(Cow::into_owned) else {
            return false;
        };
        let left = Forgotten {
            id: &job.id,
            ns_id: &job.ns_id,
            spec: digest_of(&job.spec),
            entries: digest_of_entries(job.entries.iter().map(|(task, text)| (*task, &**text))),
            seq,
            at,
            settled: job.settled.clone(),
        };
        let grave = self.graves.put(&left);
        let Some(slot) = self.slots.get_mut(ix as usize) else {
            return false;
        };
        match std::mem::replace(slot, Slot::Forgotten(grave)) {
            Slot::Whole(place) => {
                self.whole.take(place as usize);
            }
            Slot::Waiting(place) => {
                self.sealed.forget(place);
                self.resting.subtract(&Totals::of(&job));
            }
            Slot::Sealed(place) => {
                self.sealed.forget(place);
                self.over -= 1;
                self.resting.subtract(&Totals::of(&job));
            }
            Slot::Forgotten(_) => {}
        }
        self.forgotten += 1;
        true
    }

    /// Seals what has changed and come to rest, or waits.
    pub fn seal(&mut self) {
        for ix in std::mem::take(&mut self.changed) {
            if let Some(slot) = self.slots.get_mut(ix as usize)
                && let Slot::Whole(at) = slot
                && let Some(job) = self.whole.get(*at as usize)
                && let Some(place) = self.sealed.seal(job)
            {
                let is_over = job.is_at_rest();
                self.over += usize::from(is_over);
                self.resting.add(&Totals::of(job));
                self.whole.take(*at as usize);
                *slot = match is_over {
                    true => Slot::Sealed(place),
                    false => Slot::Waiting(place),
                };
            }
        }
        if self.sealed.is_sparse() {
            let places = self.slots.iter_mut().filter_map(|slot| match slot {
                Slot::Whole(_) | Slot::Forgotten(_) => None,
                Slot::Waiting(place) | Slot::Sealed(place) => Some(place),
            });
            self.sealed.squeeze(places);
        }
    }

    /// All jobs that were not forgotten, in the order of their submits.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (JobIx, Cow<'_, Job>)> {
        self.indexes().filter_map(|ix| Some((ix, self.get(ix)?)))
    }

    /// The indexes of all jobs, in the order of their submits, those that were forgotten among them.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = JobIx> + use<> {
        0..JobIx::try_from(self.slots.len()).unwrap_or(JobIx::MAX)
    }

    /// Those that are not sealed.
    pub fn whole(&self) -> impl Iterator<Item = (JobIx, &Job)> {
        self.indexes().filter_map(|ix| Some((ix, self.live(ix)?)))
    }

    /// Those that are not over, sealed or not.
    pub fn going_on(&self) -> impl Iterator<Item = (JobIx, Cow<'_, Job>)> {
        let slots = self.indexes().zip(&self.slots);
        let going_on = slots.filter_map(|(ix, slot)| match slot {
            Slot::Whole(_) | Slot::Waiting(_) => Some(ix),
            Slot::Sealed(_) | Slot::Forgotten(_) => None,
        });
        going_on.filter_map(|ix| Some((ix, self.get(ix)?)))
    }

    /// How many are not over.
    #[must_use]
    pub fn going_on_len(&self) -> usize {
        self.slots.len() - self.forgotten - self.over
    }

    /// How many there are, or were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The greatest number that the Hub has given as an id.
    #[must_use]
    pub fn numbered(&self) -> u64 {
        self.numbered
    }

    /// Restores the greatest number: forgotten jobs may have had greater ones.
    pub fn number_from(&mut self, numbered: u64) {
        self.numbered = self.numbered.max(numbered);
    }

    /// Only these jobs, and the numbers given so far: enough to try out what a batch would do.
    #[must_use]
    pub fn only<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Self {
        let mut few = Self::default();
        for id in ids {
            let Some(ix) = self.find(id).filter(|_| few.find(id).is_none()) else {
                continue;
            };
            if let Some(job) = self.get(ix) {
                few.push(job.into_owned());
            } else if let Some(left) = self.forgotten(ix) {
                few.push_left(&left);
            }
        }
        few.numbered = self.numbered;
        few
    }

    /// Adds a job; [`Jobs::seal`] may follow.
    pub fn push(&mut self, job: Job) -> JobIx {
        let ix = self.note(&job.id);
        self.slots.push(whole_slot(&mut self.whole, job));
        self.changed.push(ix);
        ix
    }

    /// Puts the id of the next job into the index.
    fn note(&mut self, id: &str) -> JobIx {
        if let Ok(number) = id.parse::<u64>() {
            self.numbered = self.numbered.max(number);
        }
        let ix = JobIx::try_from(self.slots.len()).unwrap_or(JobIx::MAX);
        self.by_id.insert(hash(id.as_bytes()) as u32, ix);
        ix
    }

    /// How many jobs and tasks there are in each state, without those that were forgotten.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = self.resting;
        for job in self.whole.iter() {
            totals.add(&Totals::of(job));
        }
        totals
    }

    /// Appends the canonical bytes of one job.
    pub fn encode(&self, ix: JobIx, out: &mut Vec<u8>) {
        match self.slots.get(ix as usize) {
            Some(Slot::Whole(place)) => {
                if let Some(job) = self.whole_at(*place) {
                    job.write(out);
                }
            }
            Some(Slot::Waiting(place) | Slot::Sealed(place)) => self.sealed.copy(*place, out),
            Some(Slot::Forgotten(grave)) => {
                if let Some(left) = self.graves.get(*grave) {
                    left.write(out);
                }
            }
            None => {}
        }
    }

    /// Adds a job of its canonical bytes, sealed as they are; `None` where they are none.
    pub fn push_sealed(&mut self, bytes: &[u8]) -> Option<JobIx> {
        let place = self.sealed.take(bytes)?;
        let job = self.sealed.open(place)?;
        self.resting.add(&Totals::of(&job));
        let id = job.id;
        let ix = self.note(&id);
        self.slots.push(Slot::Sealed(place));
        self.over += 1;
        Some(ix)
    }

    /// Adds what is left of a job.
    fn push_left(&mut self, left: &Forgotten<'_>) -> JobIx {
        let ix = self.note(left.id);
        let grave = self.graves.put(left);
        self.slots.push(Slot::Forgotten(grave));
        self.forgotten += 1;
        ix
    }

    /// Adds what is left of a job, of its canonical bytes; `None` where they are none.
    pub fn push_forgotten(&mut self, bytes: &[u8]) -> Option<JobIx> {
        Some(self.push_left(&Forgotten::read(bytes).ok()?))
    }
}
