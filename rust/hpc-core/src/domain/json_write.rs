//! Writing JSON: canonical scalars, and objects and lists under construction.

use std::fmt;

use super::json::Value;

/// Appends a number's decimal text.
pub fn write_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _ = write!(out, "{value}");
}

/// Appends an integer's decimal text.
pub fn write_int(out: &mut Vec<u8>, n: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Below it a whole float is written without an exponent, and is an i64.
const WHOLE_BELOW: f64 = 1e15;

/// Appends a float so that it parses back as the same float, never as an integer.
#[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
pub fn write_float(out: &mut Vec<u8>, x: f64) {
    use std::io::Write as _;
    let x = if x == 0.0 { 0.0 } else { x };
    if x.trunc() == x && x.abs() < WHOLE_BELOW {
        // Most that people write are whole numbers.
        write_int(out, x as i64);
        out.extend_from_slice(b".0");
        return;
    }
    // Debug is the shortest text that parses back, and has a point or an exponent.
    let _ = write!(out, "{x:?}");
}

/// The place of the first byte that JSON escapes: looked at in words, since nearly none is.
#[inline]
pub(super) fn first_special(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    // A byte above the first found may be found without being special, never one below it.
    let special = |word: u64| {
        let control = word.wrapping_sub(0x20 * ONES) & !word & HIGH;
        let quote = has_zero(word ^ (0x22 * ONES));
        let backslash = has_zero(word ^ (0x5c * ONES));
        control | quote | backslash
    };
    let mut at = 0;
    let mut rest = bytes;
    while let Some((word, further)) = rest.split_first_chunk() {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
        rest = further;
    }
    let is_special = |byte: &u8| matches!(*byte, 0..0x20 | b'"' | b'\\');
    rest.iter().position(is_special).map(|within| at + within)
}

/// Appends a string with quotes and the fewest escapes.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if first_special(bytes).is_none() {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut from = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..=0x1f => &[],
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..i).unwrap_or_default());
        if escape.is_empty() {
            out.extend_from_slice(b"\\u00");
            out.extend(HEX.get(usize::from(byte >> 4)));
            out.extend(HEX.get(usize::from(byte & 15)));
        } else {
            out.extend_from_slice(escape);
        }
        from = i + 1;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
    out.push(b'"');
}

/// An object under construction: writes pairs in the order of the calls.
///
/// Canonical only if the caller names its keys in byte order; answers need not be.
pub struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> ObjectWriter<'o> {
    /// Opens an object.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes a key; the caller appends the value to what this returns.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        write_str(self.out, key);
        self.out.push(b':');
        self.out
    }

    /// Writes a string.
    pub fn str(&mut self, key: &str, text: &str) -> &mut Self {
        write_str(self.key(key), text);
        self
    }

    /// Writes a number.
    pub fn int(&mut self, key: &str, n: impl fmt::Display) -> &mut Self {
        write_display(self.key(key), n);
        self
    }

    /// Writes a boolean.
    pub fn bool(&mut self, key: &str, b: bool) -> &mut Self {
        let text: &[u8] = if b { b"true" } else { b"false" };
        self.key(key).extend_from_slice(text);
        self
    }

    /// Writes a value.
    pub fn value(&mut self, key: &str, value: &Value<'_>) -> &mut Self {
        value.write(self.key(key));
        self
    }

    /// Writes text that is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut Self {
        self.key(key).extend_from_slice(json.as_bytes());
        self
    }

    /// Writes a list, each element by the given function.
    pub fn list<T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Vec<u8>, T),
    ) -> &mut Self {
        let out = self.key(key);
        write_list(out, items, &mut write);
        self
    }

    /// Closes the object.
    pub fn end(&mut self) {
        self.out.push(b'}');
    }
}

/// Writes a list, each element by the given function.
pub fn write_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: &mut impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}
