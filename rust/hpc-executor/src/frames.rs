//! frames: the form in which pieces of output travel to the Hub, in bodies of `POST /outputs`.
//!
//! A frame is the length of its header, the header as JSON, and bytes. Only writes them; who reads
//! them is the Hub.

use serde::Serialize;

use crate::capture::{Source, Stream};
use crate::hole::Hole;

/// What a frame says about the stream beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Marks {
    /// The stream is complete: its length is where this frame ends.
    #[serde(skip_serializing_if = "is_false")]
    pub end: bool,
    /// These are all bytes that there were when a reader asked.
    #[serde(skip_serializing_if = "is_false")]
    pub now: bool,
    /// So many bytes from its offset on are not kept; it has none itself, and no other mark.
    #[serde(skip_serializing_if = "is_zero")]
    pub gone: u64,
}

#[derive(Serialize)]
struct Header<'a> {
    job_id: &'a str,
    task: u32,
    attempt: u64,
    stream: Stream,
    offset: u64,
    length: usize,
    #[serde(flatten)]
    marks: Marks,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Appends one frame.
pub fn write_frame(out: &mut Vec<u8>, source: &Source, offset: u64, bytes: &[u8], marks: Marks) {
    let header = Header {
        job_id: &source.job_id,
        task: source.task,
        attempt: source.attempt,
        stream: source.stream,
        offset,
        length: bytes.len(),
        marks,
    };
    let header = serde_json::to_vec(&header).unwrap_or_default();
    let length = u32::try_from(header.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(bytes);
}

/// Appends the frame that says of a part of a stream that it is not kept.
pub fn write_gone(out: &mut Vec<u8>, source: &Source, hole: Hole) {
    let marks = Marks {
        gone: hole.len(),
        ..Marks::default()
    };
    write_frame(out, source, hole.start, &[], marks);
}
