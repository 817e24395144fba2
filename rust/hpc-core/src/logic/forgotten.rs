//! Forgotten jobs: what is left of a job once it was forgotten, and never less.
//!
//! Its id, its namespace, a digest of its spec, which task ended how, and when it was forgotten. That
//! is enough to answer who submits it again, comes after it, or reports on it late; what it ran,
//! where and why is gone. One of a single task takes some 50 bytes here.

use super::attempts::{Outcome, Settled};
use crate::domain::entry::Digest;
use crate::domain::texts::Texts;
use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// Bytes of a segment; one that is longer has a segment of its own.
const SEGMENT: usize = 1 << 16;

/// First half of the digest of a canonical spec: enough to tell specs apart.
pub type SpecDigest = [u8; 16];

/// The digest of a canonical spec.
#[must_use]
pub fn digest_of(spec: &str) -> SpecDigest {
    let digest: Digest = *blake3::hash(spec.as_bytes()).as_bytes();
    super::receipts::half(&digest)
}

/// The digest of entries by task, canonical, in the order of their tasks; `None` of none.
#[must_use]
pub fn digest_of_entries<'e>(entries: impl Iterator<Item = (u32, &'e str)>) -> Option<SpecDigest> {
    let mut hasher = blake3::Hasher::new();
    let mut has_any = false;
    for (task, entry) in entries {
        has_any = true;
        hasher.update(&task.to_le_bytes());
        hasher.update(&(entry.len() as u64).to_le_bytes());
        hasher.update(entry.as_bytes());
    }
    let digest: Digest = *hasher.finalize().as_bytes();
    has_any.then(|| super::receipts::half(&digest))
}

/// What is left of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Forgotten<'g> {
    /// Its id, which no other job ever has.
    pub id: &'g str,
    /// Its namespace.
    pub ns_id: &'g str,
    /// Of its spec.
    pub spec: SpecDigest,
    /// Of its entries, where it had any.
    pub entries: Option<SpecDigest>,
    /// Seq of the event by which it was forgotten.
    pub seq: u64,
    /// When that was said, ms since 1970.
    pub at: i64,
    /// Its tasks, by what became of them.
    pub settled: Settled,
}

impl Forgotten<'_> {
    /// What became of it as a whole.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.settled.outcome()
    }

    /// Appends its canonical bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_bytes(self.id.as_bytes(), out);
        put_bytes(self.ns_id.as_bytes(), out);
        self.write_rest(out);
    }

    fn write_rest(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.spec);
        self.entries.is_some().encode(out);
        out.extend_from_slice(self.entries.as_ref().map_or(&[], |digest| &digest[..]));
        put_uint(self.seq, out);
        self.at.encode(out);
        self.settled.encode(out);
    }
}

impl<'g> Forgotten<'g> {
    /// Reads the whole of some bytes.
    ///
    /// # Errors
    /// Bytes that [`Forgotten::write`] never writes.
    pub fn read(bytes: &'g [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (id, ns_id) = (reader.text()?, reader.text()?);
        let read = Self::read_rest(id, ns_id, &mut reader)?;
        if reader.remaining() > 0 || read.settled.is_empty() {
            return Err(reader.refuse(DecodeReason::NotCanonical));
        }
        Ok(read)
    }

    fn read_rest(
        id: &'g str,
        ns_id: &'g str,
        reader: &mut Reader<'_>,
    ) -> Result<Self, DecodeError> {
        Ok(Self {
            id,
            ns_id,
            spec: reader.array()?,
            entries: if reader.flag()? {
                Some(reader.array()?)
            } else {
                None
            },
            seq: reader.uint()?,
            at: reader.int()?,
            settled: Settled::decode(reader)?,
        })
    }
}

/// Where what is left of a job lies.
#[derive(Clone, Copy, Debug)]
pub struct Grave {
    segment: u32,
    start: u32,
}

/// What is left of all of them. Nothing is ever taken out.
#[derive(Clone, Debug, Default)]
pub struct Graves {
    segments: Vec<Vec<u8>>,
    namespaces: Texts,
}

impl Graves {
    /// Puts one down.
    pub fn put(&mut self, forgotten: &Forgotten<'_>) -> Grave {
        let mut bytes = Vec::with_capacity(forgotten.id.len() + 48);
        put_bytes(forgotten.id.as_bytes(), &mut bytes);
        let namespace = self.namespaces.intern(forgotten.ns_id);
        put_uint(namespace as u64, &mut bytes);
        forgotten.write_rest(&mut bytes);
        let has_room = |segment: &Vec<u8>| segment.len() + bytes.len() <= SEGMENT;
        if !self.segments.last().is_some_and(has_room) {
            let first = if self.segments.is_empty() {
                256
            } else {
                SEGMENT
            };
            self.segments
                .push(Vec::with_capacity(first.max(bytes.len())));
        }
        let start = self.segments.last().map_or(0, Vec::len);
        if let Some(segment) = self.segments.last_mut() {
            segment.extend_from_slice(&bytes);
        }
        Grave {
            segment: u32::try_from(self.segments.len() - 1).unwrap_or(u32::MAX),
            start: u32::try_from(start).unwrap_or(u32::MAX),
        }
    }

    fn reader(&self, grave: Grave) -> Option<Reader<'_>> {
        let segment = self.segments.get(grave.segment as usize)?;
        segment.get(grave.start as usize..).map(Reader::new)
    }

    /// The id of one.
    pub fn id(&self, grave: Grave) -> Option<&str> {
        self.reader(grave)?.text().ok()
    }

    /// One, whole.
    pub fn get(&self, grave: Grave) -> Option<Forgotten<'_>> {
        let mut reader = self.reader(grave)?;
        let id = reader.text().ok()?;
        let namespace = usize::try_from(reader.uint().ok()?).ok()?;
        Forgotten::read_rest(id, self.namespaces.text(namespace), &mut reader).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::tasks::TaskSet;

    fn settled(succeeded: TaskSet, failed: TaskSet) -> Settled {
        let mut settled = Settled::default();
        *settled.of_mut(Outcome::Succeeded) = succeeded;
        *settled.of_mut(Outcome::Failed) = failed;
        settled
    }

    #[test]
    fn what_is_left_comes_back_also_where_it_is_longer_than_a_segment() {
        let gaps: TaskSet = (0..400_000).filter(|n| n % 3 == 0).collect();
        let ends = [
            settled(TaskSet::one(0), TaskSet::new()),
            settled(gaps, TaskSet::one(1)),
            settled(TaskSet::new(), TaskSet::range(3, 70_000)),
        ];
        let mut graves = Graves::default();
        let mut put = Vec::new();
        for (n, settled) in ends.iter().cycle().take(9).enumerate() {
            let forgotten = Forgotten {
                id: ["a", "longer-than-that", "c"][n % 3],
                ns_id: ["batch", "hello"][n % 2],
                spec: digest_of("{}"),
                entries: (n % 2 == 0).then(|| digest_of("[]")),
                seq: n as u64,
                at: -5,
                settled: settled.clone(),
            };
            put.push((graves.put(&forgotten), forgotten));
        }
        for (grave, forgotten) in put {
            assert_eq!(graves.id(grave), Some(forgotten.id));
            assert_eq!(graves.get(grave).as_ref(), Some(&forgotten));
            let mut bytes = Vec::new();
            forgotten.write(&mut bytes);
            assert_eq!(Forgotten::read(&bytes).as_ref(), Ok(&forgotten));
            bytes.push(0);
            assert!(Forgotten::read(&bytes).is_err(), "a byte is left");
        }
    }
}
