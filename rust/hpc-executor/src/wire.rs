//! wire: what relay and supervisor say to each other over their socket pair.
//!
//! Both ways a message is `u32 length, little endian | bytes`. To the supervisor the bytes are an
//! [`Order`] as JSON, `{name: fields}`; from it, one letter and what the letter means:
//!
//! | letter | rest                                                                     |
//! |--------|--------------------------------------------------------------------------|
//! | `R`    | ready: JSON `{"swept","old"}` (former sessions with reports left)           |
//! | `B`    | a batch: u32 length, JSON `{"origin","n","body"}` (bytes of), body, outputs |
//! | `C`    | frames of followed output; the next only after `taken`                    |
//! | `H`    | u64 id of the question, the holds as JSON                                  |
//! | `I`    | u64 id of the question: idle now                                           |
//!
//! Nothing blocks: what the relay does not read yet waits in memory, and is bounded since every
//! kind but the answers waits for the relay's word before the next.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use serde::Deserialize;

use crate::capture::Stream;
use crate::slots::Stock;
use crate::work::Work;

/// Greatest message to the supervisor.
const ORDER_BYTES_MAX: usize = 256 << 20;

const READ_BYTES: usize = 64 * 1024;

/// A stream that a reader follows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)] // the fields of a claim's `tail`
pub struct Followed {
    #[serde(default)]
    pub watch: u64,
    pub job_id: String,
    pub task: u32,
    pub stream: Stream,
    #[serde(default)]
    pub offset: u64,
}

/// What the relay wants; see `SupervisorLink` for each.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the Python class documents them
pub enum Order {
    Offer {
        stock: BTreeMap<String, Stock>,
    },
    Hooks {
        pre: Option<String>,
        post: Option<String>,
        limit_s: f64,
    },
    Run {
        works: Vec<Work>,
    },
    Refuse {
        work: Box<Work>,
        detail: String,
    },
    Cancel {
        job_id: String,
        attempt: u64,
        tasks: String,
        reason: String,
    },
    GiveBack {
        job_id: String,
        attempt: u64,
        tasks: String,
    },
    Fence {
        boottime_ms: u64,
    },
    Lost,
    Drain {
        grace_s: f64,
    },
    Tail {
        streams: Vec<Followed>,
    },
    Acked {
        origin: String,
        n: u64,
    },
    Refused {
        origin: String,
        n: u64,
        events: Vec<usize>,
    },
    Adopt {
        origins: Vec<String>,
    },
    Holds {
        id: u64,
    },
    Running {
        id: u64,
    },
    Idle {
        id: u64,
    },
    Taken,
    Stop,
}

/// The supervisor's end of the socket.
pub struct Channel {
    socket: UnixStream,
    chunk: Box<[u8]>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    sent: usize,
}

impl Channel {
    /// Talks over a connected socket.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            chunk: vec![0; READ_BYTES].into(),
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
        })
    }

    /// Reads what has come; `None` where the relay is gone.
    #[must_use]
    pub fn receive(&mut self) -> Option<Vec<Order>> {
        loop {
            match self.socket.read(&mut self.chunk) {
                Ok(0) => return None,
                Ok(count) => {
                    self.incoming
                        .extend_from_slice(self.chunk.get(..count).unwrap_or_default());
                    if count < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        self.take_orders()
    }

    fn take_orders(&mut self) -> Option<Vec<Order>> {
        let mut orders = Vec::new();
        let mut rest = self.incoming.as_slice();
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            if length > ORDER_BYTES_MAX {
                crate::say!("supervisor: a message of {length} bytes is none of the relay's");
                return None;
            }
            let Some((message, after)) = after.split_at_checked(length) else {
                break;
            };
            match serde_json::from_slice(message) {
                Ok(order) => orders.push(order),
                Err(error) => crate::say!("supervisor: an order is not understood: {error}"),
            }
            rest = after;
        }
        let left = rest.len();
        let taken = self.incoming.len() - left;
        self.incoming.drain(..taken);
        Some(orders)
    }

    /// Adds a message; sent by [`Channel::flush`].
    pub fn send(&mut self, letter: u8, parts: &[&[u8]]) {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.outgoing.extend_from_slice(&length.to_le_bytes());
        self.outgoing.push(letter);
        for part in parts {
            self.outgoing.extend_from_slice(part);
        }
    }

    /// Adds a batch.
    pub fn send_batch(&mut self, origin: &str, n: u64, body: &[u8], outputs: &[u8]) {
        // An origin is made of letters and digits.
        let header = format!(
            "{{\"origin\":\"{origin}\",\"n\":{n},\"body\":{}}}",
            body.len()
        );
        let length = u32::try_from(header.len()).unwrap_or(0).to_le_bytes();
        self.send(b'B', &[&length, header.as_bytes(), body, outputs]);
    }

    /// Sends what it can without waiting; whether something is left.
    pub fn flush(&mut self) -> bool {
        while let Some(rest) = self
            .outgoing
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match self.socket.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break, // the relay is gone: reading will say so
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        false
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
