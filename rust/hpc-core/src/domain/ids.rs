//! Which names are allowed: ids, row keys, batch ids.

/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// The longest row key of a table, in bytes.
pub const ROW_KEY_BYTES_MAX: usize = 1024;
/// What an id must look like, for messages.
pub const ID_EXPECTED: &str = "an id: [A-Za-z0-9][A-Za-z0-9._-]{0,127}";

/// Stands in the ids that the Hub gives to batches, and in no id that a client may send.
pub const OWN_ID_SIGN: char = ':';

/// Whether a text matches `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
///
/// ```
/// use hpc_core::domain::ids::is_id;
/// assert!(is_id("fit-1"));
/// assert!(!is_id("../etc") && !is_id("") && !is_id("-x") && !is_id("a\n"));
/// ```
#[must_use]
pub fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= ID_BYTES_MAX
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Whether a job id is of the kind that only the Hub gives: digits alone.
#[must_use]
pub fn is_hub_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A batch's idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchId<'a> {
    /// Any id, a UUID as a rule.
    Single(&'a str),
    /// `ORIGIN/N`, N from 1 without gaps.
    Numbered {
        /// Made at random when an outbox is created.
        origin: &'a str,
        /// Number of the batch.
        n: u64,
    },
}

impl<'a> BatchId<'a> {
    /// Reads a key; `None` where it is neither an id nor `ORIGIN/N`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        match text.split_once('/') {
            None => is_id(text).then_some(Self::Single(text)),
            Some((origin, number)) => {
                let plain = is_hub_number(number) && !number.starts_with('0');
                let n = number.parse().ok()?;
                (is_id(origin) && plain).then_some(Self::Numbered { origin, n })
            }
        }
    }
}
