//! Sections: named parts of one run of bytes, each with a checksum, and one over all.
//!
//! | bytes           | what they are                                                        |
//! |-----------------|----------------------------------------------------------------------|
//! | 8               | [`MAGIC`]                                                            |
//! | any             | the sections, one behind the other                                   |
//! | any             | the contents: format version, and of each section name, length, hash |
//! | 8, little-endian | how long the contents are                                           |
//! | 32              | blake3 over magic, contents and their length: the root               |
//!
//! The contents stand at the end, so that sections are written straight into the one buffer. The
//! root commits to every byte. So a flipped bit anywhere is found, and named by the section it is
//! in; the root alone tells two states apart.

use std::fmt;
use std::ops::Range;

use crate::lattice::codec::{DecodeError, Reader, put_bytes, put_uint};

/// How the bytes begin.
pub const MAGIC: &[u8; 8] = b"hpcSnap\n";
/// The format that this build writes and reads.
pub const FORMAT: u64 = 4;

const HASH_BYTES: usize = 32;
const LENGTH_BYTES: usize = 8;

/// What is wrong with the bytes, and in which section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of a section, or `header` or `contents`.
    pub section: String,
    /// What is wrong.
    pub why: String,
}

impl Damage {
    /// Says that a section is damaged.
    pub fn new(section: &str, why: impl fmt::Display) -> Self {
        Self {
            section: section.to_owned(),
            why: why.to_string(),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "section `{}` is damaged: {}", self.section, self.why)
    }
}

/// Writes sections.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    entries: Vec<u8>,
    count: u64,
}

impl Writer {
    /// No section yet, and room for so many bytes: what is large had better not be moved as it grows.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut out = Vec::with_capacity(bytes);
        out.extend_from_slice(MAGIC);
        Self {
            out,
            entries: Vec::new(),
            count: 0,
        }
    }

    /// Appends a section, as the function writes it.
    pub fn section(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.out.len();
        write(&mut self.out);
        let body = self.out.get(start..).unwrap_or_default();
        put_bytes(name.as_bytes(), &mut self.entries);
        put_uint(body.len() as u64, &mut self.entries);
        self.entries
            .extend_from_slice(blake3::hash(body).as_bytes());
        self.count += 1;
    }

    /// Ends with the contents and the root.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.out;
        let mut contents = Vec::with_capacity(self.entries.len() + 8);
        put_uint(FORMAT, &mut contents);
        put_uint(self.count, &mut contents);
        contents.extend_from_slice(&self.entries);
        let length = (contents.len() as u64).to_le_bytes();
        let root = root_of(&contents, length);
        out.extend_from_slice(&contents);
        out.extend_from_slice(&length);
        out.extend_from_slice(&root);
        out
    }
}

fn root_of(contents: &[u8], length: [u8; LENGTH_BYTES]) -> [u8; HASH_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC);
    hasher.update(contents);
    hasher.update(&length);
    *hasher.finalize().as_bytes()
}

/// Where each section stands in bytes that are whole, in order.
///
/// # Errors
/// The first section of which a bit is not as it was written.
pub fn open(bytes: &[u8]) -> Result<Vec<(String, Range<usize>)>, Damage> {
    let header = |why| Damage::new("header", why);
    let torn = |why: DecodeError| Damage::new("contents", why);
    if !bytes.starts_with(MAGIC) {
        return Err(header("it does not begin as a snapshot does"));
    }
    let contents = contents_of(bytes)?;
    let mut reader = Reader::new(contents);
    let format = reader.uint().map_err(torn)?;
    if format != FORMAT {
        let why = format!("its format is {format}, this program reads {FORMAT}");
        return Err(Damage::new("contents", why));
    }
    let count = reader.length().map_err(torn)?;
    let mut sections = Vec::with_capacity(count);
    let mut start = MAGIC.len();
    let end = bytes.len() - contents.len() - LENGTH_BYTES - HASH_BYTES;
    for _ in 0..count {
        let name = reader.text().map_err(torn)?.to_owned();
        let length = usize::try_from(reader.uint().map_err(torn)?).unwrap_or(usize::MAX);
        let hash: [u8; HASH_BYTES] = reader.array().map_err(torn)?;
        let range = start..start.saturating_add(length);
        let body = bytes.get(range.clone()).filter(|_| range.end <= end);
        match body {
            Some(body) if *blake3::hash(body).as_bytes() == hash => {}
            Some(_) => return Err(Damage::new(&name, "its checksum does not match")),
            None => return Err(Damage::new(&name, "it is cut short")),
        }
        start = range.end;
        sections.push((name, range));
    }
    if start != end || reader.remaining() > 0 {
        return Err(Damage::new("contents", "bytes are left over"));
    }
    Ok(sections)
}

fn contents_of(bytes: &[u8]) -> Result<&[u8], Damage> {
    let short = || Damage::new("contents", "the bytes end too early");
    let (rest, root) = bytes.split_last_chunk::<HASH_BYTES>().ok_or_else(short)?;
    let (rest, length) = rest.split_last_chunk::<LENGTH_BYTES>().ok_or_else(short)?;
    let count = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let start = rest.len().checked_sub(count).ok_or_else(short)?;
    let contents = rest
        .get(start..)
        .filter(|_| start >= MAGIC.len())
        .ok_or_else(short)?;
    if root_of(contents, *length) == *root {
        Ok(contents)
    } else {
        Err(Damage::new("contents", "the checksum does not match"))
    }
}
