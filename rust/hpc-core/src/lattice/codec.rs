//! codec: the canonical bytes of lattice elements, for snapshots and digests.
//!
//! Equal elements have equal bytes, and each element has one encoding: a number in more bytes than
//! it needs, a list out of order or a flag of 2 is refused, not mended. So bytes can be compared
//! and hashed in place of elements. Integers are LEB128, signed ones by zigzag; lists and strings
//! open with their length; what is greater than the input is never allocated for.
//!
//! Each lattice writes its own body in its own file; [`super::cell`] puts the kind before it.
//! Decoding never panics and never recurses deeper than [`NESTING_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How deep epochs may be nested in the bytes of one element.
pub const NESTING_MAX: u8 = 8;

/// What has one canonical encoding.
pub trait Codec: Sized {
    /// Appends the canonical bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one element from the front.
    ///
    /// # Errors
    /// Bytes that [`Codec::encode`] never writes.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The canonical bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The element that all of the bytes say.
    ///
    /// # Errors
    /// As [`Codec::decode`], and where bytes are left over.
    ///
    /// ```
    /// use hpc_core::lattice::{codec::{Codec, DecodeReason}, value::Atom};
    /// assert_eq!(Atom::from_bytes(&Atom::Int(-1).to_bytes()), Ok(Atom::Int(-1)));
    /// assert_eq!(Atom::from_bytes(&[0, 0]).unwrap_err().reason, DecodeReason::BytesLeft);
    /// ```
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let element = Self::decode(&mut reader)?;
        if reader.remaining() > 0 {
            return Err(reader.refuse(DecodeReason::BytesLeft));
        }
        Ok(element)
    }
}

impl<T: Codec> Codec for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(element) = self {
            element.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.flag()?.then(|| T::decode(reader)).transpose()
    }
}

impl Codec for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.flag()
    }
}

impl Codec for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(u64::from(*self), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.uint32()
    }
}

impl Codec for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(*self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.uint()
    }
}

impl Codec for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        put_int(*self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.int()
    }
}

/// Finite numbers by their bits; -0.0 stays what it is.
impl Codec for f64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bits().to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = Self::from_bits(u64::from_le_bytes(reader.array()?));
        if number.is_finite() {
            Ok(number)
        } else {
            Err(reader.refuse(DecodeReason::OutOfRange))
        }
    }
}

impl Codec for String {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text().map(str::to_owned)
    }
}

impl Codec for Arc<str> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(self.as_bytes(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.text().map(Into::into)
    }
}

impl<A: Codec, B: Codec> Codec for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(self.len() as u64, out);
        for item in self {
            item.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.length()?;
        (0..length).map(|_| T::decode(reader)).collect()
    }
}

/// Pairs in ascending order of the keys.
impl<K: Codec + Ord, V: Codec> Codec for BTreeMap<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(self.len() as u64, out);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.length()?;
        let mut map = Self::new();
        for _ in 0..length {
            let (key, value) = <(K, V)>::decode(reader)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Where and why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The offset behind what was read last.
    pub offset: usize,
    /// What was wrong.
    pub reason: DecodeReason,
}

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeReason {
    /// The bytes end inside an element.
    CutShort,
    /// Bytes follow the element.
    BytesLeft,
    /// A tag that no type has.
    UnknownTag(u8),
    /// A String that is not UTF-8.
    NotUtf8,
    /// A value that another encoding says, too: a long number, a list out of order, a NaN.
    NotCanonical,
    /// A number, or a list, beyond what the lattice holds.
    OutOfRange,
    /// Epochs nested deeper than [`NESTING_MAX`].
    TooDeep,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes of a lattice are damaged before {}: ", self.offset)?;
        match self.reason {
            DecodeReason::CutShort => f.write_str("they end too early"),
            DecodeReason::BytesLeft => f.write_str("some are left over"),
            DecodeReason::UnknownTag(tag) => write!(f, "tag {tag} is unknown"),
            DecodeReason::NotUtf8 => f.write_str("text is not UTF-8"),
            DecodeReason::NotCanonical => f.write_str("the encoding is not the canonical one"),
            DecodeReason::OutOfRange => f.write_str("a number or a list is out of range"),
            DecodeReason::TooDeep => write!(f, "epochs are nested deeper than {NESTING_MAX}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends an unsigned integer in 1 to 10 bytes.
pub fn put_uint(mut uint: u64, out: &mut Vec<u8>) {
    while uint >= 0x80 {
        out.push((uint & 0x7f) as u8 | 0x80);
        uint >>= 7;
    }
    out.push(uint as u8);
}

/// Appends a signed integer in 1 to 10 bytes; those near 0 are short.
pub fn put_int(int: i64, out: &mut Vec<u8>) {
    put_uint(((int << 1) ^ (int >> 63)) as u64, out);
}

/// Appends bytes behind their length.
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_uint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Bytes that are read from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
    depth: u8,
}

impl<'a> Reader<'a> {
    /// Reads from the start of the bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            offset: 0,
            depth: 0,
        }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The error at this place.
    #[must_use]
    pub fn refuse(&self, reason: DecodeReason) -> DecodeError {
        DecodeError {
            offset: self.offset,
            reason,
        }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// Where fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.refuse(DecodeReason::CutShort));
        };
        self.rest = rest;
        self.offset += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// Where fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next byte.
    ///
    /// # Errors
    /// At the end.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// A flag: 0 or 1.
    ///
    /// # Errors
    /// Any other byte.
    pub fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.refuse(DecodeReason::NotCanonical)),
        }
    }

    /// What [`put_uint`] wrote.
    ///
    /// # Errors
    /// A number beyond 64 bits or in more bytes than it needs.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let mut uint: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.refuse(DecodeReason::OutOfRange));
            }
            uint |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.refuse(DecodeReason::NotCanonical));
                }
                return Ok(uint);
            }
        }
        Err(self.refuse(DecodeReason::OutOfRange))
    }

    /// What [`put_int`] wrote.
    ///
    /// # Errors
    /// As [`Reader::uint`].
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let uint = self.uint()?;
        Ok((uint >> 1) as i64 ^ -((uint & 1) as i64))
    }

    /// A 32-bit number that [`put_uint`] wrote.
    ///
    /// # Errors
    /// As [`Reader::uint`], and beyond 32 bits.
    pub fn uint32(&mut self) -> Result<u32, DecodeError> {
        let uint = self.uint()?;
        u32::try_from(uint).map_err(|_| self.refuse(DecodeReason::OutOfRange))
    }

    /// What [`put_bytes`] wrote.
    ///
    /// # Errors
    /// As [`Reader::uint`], and where fewer are left.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.uint()?;
        // A length beyond usize is beyond the input as well.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Text that [`put_bytes`] wrote.
    ///
    /// # Errors
    /// As [`Reader::bytes`], and where it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.refuse(DecodeReason::NotUtf8))
    }

    /// The length of a list. Each item takes a byte at least, so a longer one is cut short.
    ///
    /// # Errors
    /// A list that cannot be in what is left.
    pub fn length(&mut self) -> Result<usize, DecodeError> {
        let length = self.uint()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.remaining() => Ok(length),
            _ => Err(self.refuse(DecodeReason::CutShort)),
        }
    }

    /// Reads one level deeper.
    ///
    /// # Errors
    /// Deeper than [`NESTING_MAX`], and what `read` refuses.
    pub fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        if self.depth == NESTING_MAX {
            return Err(self.refuse(DecodeReason::TooDeep));
        }
        self.depth += 1;
        let element = read(self);
        self.depth -= 1;
        element
    }
}
