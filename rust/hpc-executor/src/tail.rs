//! tail: output that a reader follows, while the task runs or where it stayed at the relay.
//!
//! The newest claim's answer says which streams. What is there goes at once, with a frame marked
//! `now` after which the reader knows that it has caught up; then what grows. Of a stream that is
//! not here and will not be, an empty frame says so, marked `now` and of attempt 0, which no task
//! has: then nobody waits for it. Where a stream has a hole, a frame says so in place of its bytes. It
//! only reads files.

use std::fs::File;

use crate::board::Board;
use crate::capture::{Source, Stream, read_at};
use crate::frames::{Marks, write_frame, write_gone};
use crate::hole::Hole;
use crate::wire::Followed;

/// Most bytes in one frame, and in one message.
const FRAME_BYTES: u64 = 256 * 1024;
const MESSAGE_BYTES: usize = 1 << 20;

/// How often growing streams are read.
pub const TAIL_MS: u64 = 100;

/// In a frame that says of a stream that it is not here.
const NO_ATTEMPT: u64 = 0;

struct Follow {
    asked: Followed,
    position: u64,
    attempt: Option<u64>,
    is_new: bool,
    kept: Option<(File, Hole)>,
    is_over: bool,
}

/// A stream as it can be read now.
struct Readable<'a> {
    file: &'a File,
    hole: Hole,
    /// What is beyond will be cut off.
    most: u64,
}

/// The streams that are followed now.
#[derive(Default)]
pub struct Tails {
    follows: Vec<Follow>,
}

impl Tails {
    /// Takes the newest list: what stands in it already goes on where it is. Another reader of the
    /// same stream is another entry: it has not been told yet what there is.
    pub fn replace(&mut self, streams: Vec<Followed>) {
        let mut before = std::mem::take(&mut self.follows);
        for asked in streams {
            let is_same = |follow: &Follow| {
                let known = &follow.asked;
                (known.watch, &known.job_id, known.task, known.stream)
                    == (asked.watch, &asked.job_id, asked.task, asked.stream)
            };
            let follow = match before.iter().position(is_same) {
                Some(place) => before.swap_remove(place),
                None => Follow {
                    position: asked.offset,
                    asked,
                    attempt: None,
                    is_new: true,
                    kept: None,
                    is_over: false,
                },
            };
            self.follows.push(follow);
        }
    }

    /// Whether anything is still to be read.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.follows.iter().any(|follow| !follow.is_over)
    }

    /// Reads what is new; frames for `POST /outputs`, empty where nothing is.
    #[must_use]
    pub fn read(&mut self, board: &Board) -> Vec<u8> {
        let mut frames = Vec::new();
        for follow in self.follows.iter_mut().filter(|follow| !follow.is_over) {
            if frames.len() >= MESSAGE_BYTES {
                break;
            }
            follow.read(board, &mut frames);
        }
        frames
    }
}

impl Follow {
    fn read(&mut self, board: &Board, frames: &mut Vec<u8>) {
        let Followed {
            job_id,
            task,
            stream,
            ..
        } = self.asked.clone();
        if let Some((attempt, readable)) = board.running_capture(&job_id, task, stream) {
            self.take_attempt(attempt);
            self.copy(readable.as_ref(), attempt, false, frames);
            return;
        }
        if self.kept.is_none() {
            let Some((attempt, file, hole)) = board.captures.kept(&job_id, task, stream) else {
                self.miss(board.holds.has(&job_id, task), frames);
                return;
            };
            self.take_attempt(attempt);
            self.kept = Some((file, hole));
        }
        if let (Some((file, hole)), Some(attempt)) = (self.kept.take(), self.attempt) {
            let readable = Readable {
                file: &file,
                hole,
                most: u64::MAX,
            };
            self.copy(Some(&readable), attempt, true, frames);
            self.kept = Some((file, hole));
        }
    }

    /// The stream is not here. Its task may wait here, or have ended with so little that its report
    /// carries it; otherwise it never was, or is kept no longer.
    fn miss(&mut self, is_held: bool, frames: &mut Vec<u8>) {
        if !is_held && self.attempt.is_none() {
            let marks = Marks {
                now: true,
                ..Marks::default()
            };
            write_frame(frames, &self.source(NO_ATTEMPT), 0, &[], marks);
        }
        self.is_over = !is_held || self.attempt.is_some();
    }

    fn source(&self, attempt: u64) -> Source {
        Source {
            job_id: self.asked.job_id.clone(),
            task: self.asked.task,
            attempt,
            stream: self.asked.stream,
        }
    }

    /// Another attempt writes another stream: it is read from its start.
    fn take_attempt(&mut self, attempt: u64) {
        if self.attempt.is_some_and(|known| known != attempt) {
            self.position = 0;
            self.kept = None;
        }
        self.attempt = Some(attempt);
    }

    /// Copies what is new.
    fn copy(
        &mut self,
        readable: Option<&Readable<'_>>,
        attempt: u64,
        is_kept: bool,
        frames: &mut Vec<u8>,
    ) {
        let source = self.source(attempt);
        let length = readable.map_or(0, Readable::length);
        loop {
            let room = readable.map_or(u64::MAX, |readable| {
                self.pass(readable.hole, &source, frames)
            });
            let left = length.saturating_sub(self.position);
            if left == 0 && !self.is_new && !is_kept {
                return;
            }
            let bytes = readable.map_or_else(Vec::new, |readable| {
                read_at(
                    readable.file,
                    self.position,
                    left.min(FRAME_BYTES).min(room),
                )
            });
            let is_last = bytes.len() as u64 == left || bytes.is_empty();
            let marks = Marks {
                end: is_last && is_kept,
                now: is_last && self.is_new,
                gone: 0,
            };
            write_frame(frames, &source, self.position, &bytes, marks);
            self.position += bytes.len() as u64;
            if is_last {
                self.is_new = false;
                self.is_over = is_kept;
                return;
            }
            if frames.len() >= MESSAGE_BYTES {
                return;
            }
        }
    }

    /// Passes over what is not kept, and says so; returns how much can be read from there.
    fn pass(&mut self, hole: Hole, source: &Source, frames: &mut Vec<u8>) -> u64 {
        if hole.room(self.position) == 0 {
            let start = self.position;
            write_gone(frames, source, Hole { start, ..hole });
            self.position = hole.end;
        }
        hole.room(self.position)
    }
}

impl Readable<'_> {
    fn length(&self) -> u64 {
        self.file
            .metadata()
            .map_or(0, |meta| meta.len().min(self.most))
    }
}

impl Board {
    /// The attempt of a task that runs, and its stream where that is captured.
    fn running_capture(
        &self,
        job_id: &str,
        number: u32,
        stream: Stream,
    ) -> Option<(u64, Option<Readable<'_>>)> {
        let task = self
            .running
            .values()
            .find(|task| task.number == number && task.lot.lease.job_id == job_id)?;
        let readable = task.capture(stream).map(|capture| Readable {
            file: capture.file(),
            hole: capture.hole(),
            most: if task.goes_on {
                u64::MAX
            } else {
                task.output_limit
            },
        });
        Some((task.lot.lease.attempt, readable))
    }
}
