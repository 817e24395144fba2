//! All jobs: those that something can still happen to as they are, the others sealed.
//!
//! A settled job without a lease is only looked at, or spoken to late. It is kept as its bytes
//! (`sealed.rs`), read where it is asked for, and made whole again where it changes.

use std::borrow::Cow;

use super::job::Job;
use super::queue::JobIx;
use super::sealed::{Place, Sealed};
use crate::domain::index::{Index, hash};

#[derive(Clone, Debug)]
enum Slot {
    Whole(Box<Job>),
    Sealed(Place),
}

/// All jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    slots: Vec<Slot>,
    by_id: Index,
    sealed: Sealed,
    /// Those that may have changed since [`Jobs::seal`].
    changed: Vec<JobIx>,
    numbered: u64,
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
            Slot::Whole(job) => Some(&job.id),
            Slot::Sealed(place) => self.sealed.id(*place),
        }
    }

    /// The job of an index.
    #[must_use]
    pub fn get(&self, ix: JobIx) -> Option<Cow<'_, Job>> {
        match self.slots.get(ix as usize)? {
            Slot::Whole(job) => Some(Cow::Borrowed(job)),
            Slot::Sealed(place) => self.sealed.open(*place).map(Cow::Owned),
        }
    }

    /// Whether the job of an index is sealed.
    #[must_use]
    pub fn is_sealed(&self, ix: JobIx) -> bool {
        matches!(self.slots.get(ix as usize), Some(Slot::Sealed(_)))
    }

    /// The job of an index, where it is not sealed: what is leased or queued never is.
    #[must_use]
    pub fn live(&self, ix: JobIx) -> Option<&Job> {
        match self.slots.get(ix as usize)? {
            Slot::Whole(job) => Some(job),
            Slot::Sealed(_) => None,
        }
    }

    /// The job of an index, to be changed; [`Jobs::seal`] must follow.
    pub fn get_mut(&mut self, ix: JobIx) -> Option<&mut Job> {
        let slot = self.slots.get_mut(ix as usize)?;
        if let Slot::Sealed(place) = slot {
            let job = self.sealed.open(*place)?;
            self.sealed.forget(*place);
            *slot = Slot::Whole(Box::new(job));
        }
        if self.changed.last() != Some(&ix) {
            self.changed.push(ix);
        }
        match slot {
            Slot::Whole(job) => Some(job),
            Slot::Sealed(_) => None,
        }
    }

    /// Seals what has changed and come to rest.
    pub fn seal(&mut self) {
        for ix in std::mem::take(&mut self.changed) {
            if let Some(slot) = self.slots.get_mut(ix as usize)
                && let Slot::Whole(job) = slot
                && let Some(place) = self.sealed.seal(job)
            {
                *slot = Slot::Sealed(place);
            }
        }
        if self.sealed.is_sparse() {
            let places = self.slots.iter_mut().filter_map(|slot| match slot {
                Slot::Whole(_) => None,
                Slot::Sealed(place) => Some(place),
            });
            self.sealed.squeeze(places);
        }
    }

    /// All jobs in the order of their submits.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (JobIx, Cow<'_, Job>)> {
        self.indexes().filter_map(|ix| Some((ix, self.get(ix)?)))
    }

    /// The indexes of all jobs, in the order of their submits.
    pub fn indexes(&self) -> impl DoubleEndedIterator<Item = JobIx> + use<> {
        0..JobIx::try_from(self.slots.len()).unwrap_or(JobIx::MAX)
    }

    /// Those that are not sealed.
    pub fn whole(&self) -> impl Iterator<Item = (JobIx, &Job)> {
        self.indexes()
            .zip(&self.slots)
            .filter_map(|(ix, slot)| match slot {
                Slot::Whole(job) => Some((ix, job.as_ref())),
                Slot::Sealed(_) => None,
            })
    }

    /// How many there are.
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
            if let Some(job) = self.find(id).and_then(|ix| self.get(ix))
                && few.find(id).is_none()
            {
                few.push(job.into_owned());
            }
        }
        few.numbered = self.numbered;
        few
    }

    /// Adds a job.
    pub fn push(&mut self, job: Job) -> JobIx {
        let ix = self.note(&job.id);
        self.slots.push(Slot::Whole(Box::new(job)));
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

    /// Appends the canonical bytes of one job.
    pub fn encode(&self, ix: JobIx, out: &mut Vec<u8>) {
        match self.slots.get(ix as usize) {
            Some(Slot::Whole(job)) => job.write(out),
            Some(Slot::Sealed(place)) => self.sealed.copy(*place, out),
            None => {}
        }
    }

    /// Adds a job of its canonical bytes, sealed as they are; `None` where they are none.
    pub fn push_sealed(&mut self, bytes: &[u8]) -> Option<JobIx> {
        let place = self.sealed.take(bytes)?;
        let id = self.sealed.id(place)?.to_owned();
        let ix = self.note(&id);
        self.slots.push(Slot::Sealed(place));
        Some(ix)
    }
}
