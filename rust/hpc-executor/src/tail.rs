//! tail: output that a reader follows, while the task runs or where it stayed at the relay.
//!
//! The newest claim's answer says which streams. What is there goes at once, with a frame marked
//! `now` after which the reader knows that it has caught up; then what grows. Of a stream that is
//! not here and will not be, an empty frame says so, marked `now` and of attempt 0, which no task
//! has: then nobody waits for it. It only reads files.

use std::fs::File;

use crate::board::Board;
use crate::capture::{Marks, Source, Stream, read_at, write_frame};
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
    kept: Option<File>,
    is_over: bool,
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
        if let Some((attempt, file, most)) = board.running_capture(&job_id, task, stream) {
            self.take_attempt(attempt);
            self.copy(file, most, attempt, false, frames);
            return;
        }
        if self.kept.is_none() {
            let Some((attempt, file)) = board.kept_capture(&job_id, task, stream) else {
                self.miss(board.holds.has(&job_id, task), frames);
                return;
            };
            self.take_attempt(attempt);
            self.kept = Some(file);
        }
        if let (Some(file), Some(attempt)) = (self.kept.take(), self.attempt) {
            self.copy(Some(&file), u64::MAX, attempt, true, frames);
            self.kept = Some(file);
        }
    }

    /// The stream is not here. Its task may wait here, or have ended with so little that its report
    /// carries it; otherwise it never was, or is kept no longer.
    fn miss(&mut self, is_held: bool, frames: &mut Vec<u8>) {
        if !is_held && self.attempt.is_none() {
            let marks = Marks {
                end: false,
                now: true,
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

    /// Copies what is new, of the first `most` bytes: what is beyond will be cut off.
    fn copy(
        &mut self,
        file: Option<&File>,
        most: u64,
        attempt: u64,
        is_kept: bool,
        frames: &mut Vec<u8>,
    ) {
        let source = self.source(attempt);
        let length = file
            .and_then(|file| file.metadata().ok())
            .map_or(0, |meta| meta.len().min(most));
        loop {
            let left = length.saturating_sub(self.position);
            if left == 0 && !self.is_new && !is_kept {
                return;
            }
            let bytes = file.map_or_else(Vec::new, |file| {
                read_at(file, self.position, left.min(FRAME_BYTES))
            });
            let is_last = bytes.len() as u64 == left || bytes.is_empty();
            let marks = Marks {
                end: is_last && is_kept,
                now: is_last && self.is_new,
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
}

impl Board {
    /// The attempt of a task that runs, the file of its stream where that is captured, and how
    /// much of it may be kept.
    fn running_capture(
        &self,
        job_id: &str,
        number: u32,
        stream: Stream,
    ) -> Option<(u64, Option<&File>, u64)> {
        let task = self
            .running
            .values()
            .find(|task| task.number == number && task.lot.lease.job_id == job_id)?;
        let file = task.capture(stream).map(|capture| capture.file());
        Some((task.lot.lease.attempt, file, task.output_limit))
    }

    fn kept_capture(&self, job_id: &str, number: u32, stream: Stream) -> Option<(u64, File)> {
        self.captures.kept(job_id, number, stream)
    }
}
