//! Jobs as bytes: what a Hub keeps of a million that are over, or wait.
//!
//! A sealed job is its id, where its namespace and handler lie (equal ones lie here once), what its
//! spec and ctx differ in from those of jobs before it (`alike.rs`), and the rest of its canonical
//! bytes. Places that became free are squeezed out by whoever knows all places, once they are more
//! than half.

use super::job::Job;
use super::jobs_codec::{Head, SEALED_BYTES_MAX};
use crate::domain::alike::{Models, Parts as Differing};
use crate::domain::texts::Texts;
use crate::lattice::codec::{DecodeError, Reader, put_bytes, put_uint};
use crate::lattice::tasks::TaskSet;

/// Bytes of a segment.
const SEGMENT: usize = 1 << 16;
/// Less free than this is let be.
const FREE_MIN: usize = 1 << 20;

/// Where a sealed job lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    segment: u32,
    start: u16,
    length: u16,
}

/// All sealed jobs.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    segments: Vec<Vec<u8>>,
    texts: Texts,
    specs: Models,
    ctxs: Models,
    used: usize,
    free: usize,
    /// Where a job is written before it has its place: what is left of it, and all.
    rest: Vec<u8>,
    bytes: Vec<u8>,
}

/// A sealed job's bytes, taken apart.
struct Parts<'s> {
    id: &'s str,
    namespace: usize,
    /// From 1; 0 is none.
    handler: usize,
    spec: Differing<'s>,
    name: Option<&'s str>,
    ctx: Differing<'s>,
    rest: &'s [u8],
}

impl<'s> Parts<'s> {
    fn read(bytes: &'s [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let reader = &mut reader;
        Ok(Self {
            id: reader.text()?,
            namespace: usize::try_from(reader.uint()?).unwrap_or(usize::MAX),
            handler: usize::try_from(reader.uint()?).unwrap_or(usize::MAX),
            spec: read_differing(reader)?,
            name: reader.flag()?.then(|| reader.text()).transpose()?,
            ctx: read_differing(reader)?,
            rest: reader.take(reader.remaining())?,
        })
    }
}

fn read_differing<'s>(reader: &mut Reader<'s>) -> Result<Differing<'s>, DecodeError> {
    Ok(Differing {
        model: reader.uint32()?,
        first: reader.uint32()?,
        last: reader.uint32()?,
        own: reader.text()?,
    })
}

fn put_differing(parts: &Differing<'_>, out: &mut Vec<u8>) {
    for number in [parts.model, parts.first, parts.last] {
        put_uint(u64::from(number), out);
    }
    put_bytes(parts.own.as_bytes(), out);
}

impl Sealed {
    /// Seals a job; `None` where something goes on with it, or it is too large.
    pub fn seal(&mut self, job: &Job) -> Option<Place> {
        if !(job.is_at_rest() || job.is_waiting()) || job.is_large() {
            return None;
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.clear();
        job.write_rest(&mut rest);
        let place = self.put(&job.head(), &rest);
        self.rest = rest;
        place
    }

    /// Seals the canonical bytes of a job.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Place> {
        let mut reader = Reader::new(bytes);
        let head = Head::read(&mut reader).ok()?;
        let rest = reader.take(reader.remaining()).ok()?;
        self.put(&head, rest)
    }

    fn put(&mut self, head: &Head<'_>, rest: &[u8]) -> Option<Place> {
        // Whether a job is sealed must not depend on what it is held against: snapshots tell it.
        let length = head.name.map_or(0, str::len) + head.ctx.len() + rest.len();
        if length > SEALED_BYTES_MAX {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        put_bytes(head.id.as_bytes(), &mut bytes);
        put_uint(self.texts.intern(head.ns_id) as u64, &mut bytes);
        let handler = head.handler_type;
        let handler = handler.map_or(0, |handler| self.texts.intern(handler) + 1);
        put_uint(handler as u64, &mut bytes);
        put_differing(&self.specs.take_apart(&head.spec), &mut bytes);
        bytes.push(u8::from(head.name.is_some()));
        if let Some(name) = head.name {
            put_bytes(name.as_bytes(), &mut bytes);
        }
        put_differing(&self.ctxs.take_apart(&head.ctx), &mut bytes);
        bytes.extend_from_slice(rest);
        let place = self.append(&bytes);
        self.bytes = bytes;
        Some(place)
    }

    fn append(&mut self, bytes: &[u8]) -> Place {
        let has_room = |segment: &Vec<u8>| segment.len() + bytes.len() <= SEGMENT;
        if !self.segments.last().is_some_and(has_room) {
            let first = if self.segments.is_empty() {
                256
            } else {
                SEGMENT
            };
            self.segments.push(Vec::with_capacity(first));
        }
        let place = Place {
            segment: u32::try_from(self.segments.len() - 1).unwrap_or(u32::MAX),
            start: self
                .segments
                .last()
                .map_or(0, |segment| segment.len() as u16),
            length: bytes.len() as u16,
        };
        if let Some(segment) = self.segments.last_mut() {
            segment.extend_from_slice(bytes);
        }
        self.used += bytes.len();
        place
    }

    fn bytes(&self, place: Place) -> Option<&[u8]> {
        let start = usize::from(place.start);
        let segment = self.segments.get(place.segment as usize)?;
        segment.get(start..start + usize::from(place.length))
    }

    fn parts(&self, place: Place) -> Option<Parts<'_>> {
        Parts::read(self.bytes(place)?).ok()
    }

    /// The id of a sealed job.
    pub fn id(&self, place: Place) -> Option<&str> {
        Reader::new(self.bytes(place)?).text().ok()
    }

    fn head<'s>(&'s self, parts: &Parts<'s>) -> Head<'s> {
        Head {
            id: parts.id,
            ns_id: self.texts.text(parts.namespace),
            spec: self.specs.whole(&parts.spec).into(),
            handler_type: parts.handler.checked_sub(1).map(|at| self.texts.text(at)),
            name: parts.name,
            ctx: self.ctxs.whole(&parts.ctx).into(),
        }
    }

    /// A sealed job, whole.
    pub fn open(&self, place: Place) -> Option<Job> {
        let parts = self.parts(place)?;
        Job::read_rest(&self.head(&parts), &mut Reader::new(parts.rest)).ok()
    }

    /// The tasks of a sealed job.
    pub fn tasks(&self, place: Place) -> Option<TaskSet> {
        let parts = self.parts(place)?;
        Job::read_tasks(&mut Reader::new(parts.rest)).ok()
    }

    /// Appends a sealed job's canonical bytes.
    pub fn copy(&self, place: Place, out: &mut Vec<u8>) {
        if let Some(parts) = self.parts(place) {
            self.head(&parts).write(out);
            out.extend_from_slice(parts.rest);
        }
    }

    /// Drops a sealed job.
    pub fn forget(&mut self, place: Place) {
        let Some(parts) = self.parts(place) else {
            return;
        };
        let (spec, ctx) = (parts.spec.model, parts.ctx.model);
        let texts = [Some(parts.namespace), parts.handler.checked_sub(1)];
        for text in texts.into_iter().flatten() {
            self.texts.release(text);
        }
        self.specs.release(spec);
        self.ctxs.release(ctx);
        self.free += usize::from(place.length);
    }

    /// Whether more than half of it is free.
    pub fn is_sparse(&self) -> bool {
        self.free > FREE_MIN && 2 * self.free > self.used
    }

    /// Moves all sealed jobs together; these are their places.
    pub fn squeeze<'p>(&mut self, places: impl Iterator<Item = &'p mut Place>) {
        let mut squeezed = Self {
            texts: std::mem::take(&mut self.texts),
            specs: std::mem::take(&mut self.specs),
            ctxs: std::mem::take(&mut self.ctxs),
            ..Self::default()
        };
        for place in places {
            if let Some(bytes) = self.bytes(*place) {
                *place = squeezed.append(bytes);
            }
        }
        *self = squeezed;
    }
}
