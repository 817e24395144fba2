//! JSON of the wire: decoded once, with limits, and written in one canonical form.
//!
//! Refused where decoders often are silent: nesting beyond [`DEPTH_MAX`] (nothing deeper is
//! decoded), repeated keys, invalid UTF-8, lone surrogates, NaN, 1e400, and integers that no
//! 64-bit type holds. Canonical text has keys in byte order, no white space, -0.0 as 0.0, and
//! floats that parse back as floats; equal values have equal text.

use std::borrow::Cow;

pub use super::json_decode::{DEPTH_MAX, decode, decode_answer, decode_first, decode_own};
use super::json_write::{write_float, write_int, write_str};

/// A map of so many pairs is searched from its first to its last.
const FEW: usize = 12;

/// A decoded value; strings borrow from the body where they carry no escapes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer of 64 bits with sign.
    Int(i64),
    /// An integer above `i64::MAX` that 64 bits without sign hold; no field takes it.
    Big(u64),
    /// A finite float.
    Float(f64),
    /// A string.
    Str(Cow<'a, str>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A map.
    Map(Map<'a>),
}

/// A map as pairs in byte order of the keys, each key once.
#[derive(Clone, Debug, Default)]
pub struct Map<'a> {
    pairs: Pairs<'a>,
    /// A bit for each key ([`mark`]): most lookups are for optional fields that are not there.
    marks: u64,
    /// The canonical text, where it is there already.
    text: Option<&'a str>,
}

type Pairs<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

impl PartialEq for Map<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.pairs == other.pairs
    }
}

impl<'a> Map<'a> {
    /// The empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pairs: Vec::new(),
            marks: 0,
            text: None,
        }
    }

    /// A map of pairs as they came, in any order.
    ///
    /// # Errors
    /// A key that came twice.
    pub fn from_pairs(pairs: Pairs<'a>) -> Result<Self, String> {
        let mut pairs = match Self::from_sorted(pairs) {
            Ok(map) => return Ok(map),
            Err(pairs) => pairs,
        };
        pairs.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        let twice = pairs.windows(2).find_map(|pair| match pair {
            [(a, _), (b, _)] if a == b => Some(a.to_string()),
            _ => None,
        });
        match twice {
            Some(key) => Err(key),
            None => Ok(Self::of(pairs)),
        }
    }

    /// A map of pairs in byte order of the keys, as many producers write them.
    ///
    /// # Errors
    /// The pairs, if they are not in order or a key came twice.
    pub(super) fn from_sorted(pairs: Pairs<'a>) -> Result<Self, Pairs<'a>> {
        if pairs.is_sorted_by(|a, b| precedes(a.0.as_bytes(), b.0.as_bytes())) {
            Ok(Self::of(pairs))
        } else {
            Err(pairs)
        }
    }

    fn of(pairs: Pairs<'a>) -> Self {
        Self {
            marks: pairs.iter().fold(0, |marks, (key, _)| marks | mark(key)),
            pairs,
            text: None,
        }
    }

    /// Says what its canonical text is, which then is not written again.
    pub(crate) fn set_text(&mut self, text: &'a str) {
        self.text = Some(text);
    }

    /// Whether the text that is there is what would be written without it.
    pub(crate) fn has_its_text(&self) -> bool {
        let written = || self.clone().into_owned().to_text();
        self.text.is_none_or(|text| text == written())
    }

    /// Its canonical text, where it is there already.
    #[must_use]
    pub fn text(&self) -> Option<&'a str> {
        self.text
    }

    /// The value under a key.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        if self.marks & mark(key) == 0 {
            return None;
        }
        self.get_marked(key)
    }

    fn get_marked(&self, key: &str) -> Option<&Value<'a>> {
        if self.pairs.len() <= FEW {
            let mut pairs = self.pairs.iter();
            let found = pairs.find(|(have, _)| is_same(have, key));
            return found.map(|(_, value)| value);
        }
        let at = self.find(key).ok()?;
        self.pairs.get(at).map(|(_, value)| value)
    }

    /// The string under a key.
    #[must_use]
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The integer under a key.
    #[must_use]
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.get(key) {
            Some(Value::Int(n)) => Some(*n),
            _ => None,
        }
    }

    /// Puts a value under a key, in place of the former one.
    pub fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) {
        let key = key.into();
        self.text = None;
        self.marks |= mark(&key);
        match self.find(&key) {
            Ok(at) => {
                if let Some(pair) = self.pairs.get_mut(at) {
                    pair.1 = value;
                }
            }
            Err(at) => self.pairs.insert(at, (key, value)),
        }
    }

    /// Makes room for so many more pairs.
    pub fn reserve(&mut self, more: usize) {
        self.pairs.reserve_exact(more);
    }

    /// Takes the value under a key and leaves null, where the map is on its way out.
    pub fn take(&mut self, key: &str) -> Option<Value<'a>> {
        self.text = None;
        let mut pairs = self.pairs.iter_mut();
        let found = pairs.find(|(have, _)| is_same(have, key));
        found.map(|(_, value)| std::mem::replace(value, Value::Null))
    }

    /// Takes the value under a key out.
    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        let at = self.find(key).ok()?;
        self.text = None;
        Some(self.pairs.remove(at).1)
    }

    /// The pairs in byte order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.pairs.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.pairs
            .binary_search_by(|(have, _)| have.as_bytes().cmp(key.as_bytes()))
    }
}

/// The bit of a key; a map in which it is not set has no such key.
#[inline]
fn mark(key: &str) -> u64 {
    let bytes = key.as_bytes();
    let ends = (bytes.first(), bytes.last());
    let (Some(first), Some(last)) = ends else {
        return 1;
    };
    1 << ((usize::from(*first) ^ usize::from(*last).rotate_left(2) ^ (bytes.len() << 1)) % 64)
}

/// Whether two keys are equal: most differ in length or in their first byte, and are not read.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.as_bytes().first() == b.as_bytes().first() && a == b
}

/// Whether a key comes before another: the first byte says it of most.
fn precedes(a: &[u8], b: &[u8]) -> bool {
    match (a.first(), b.first()) {
        (Some(first), Some(second)) if first != second => first < second,
        _ => a < b,
    }
}

impl<'a, K: Into<Cow<'a, str>>> FromIterator<(K, Value<'a>)> for Map<'a> {
    fn from_iter<I: IntoIterator<Item = (K, Value<'a>)>>(pairs: I) -> Self {
        let mut map = Self::new();
        for (key, value) in pairs {
            map.insert(key, value);
        }
        map
    }
}

impl<'a> Value<'a> {
    /// A string value.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Str(text.into())
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The map, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map<'a>> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list, if it is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// The name of its type, as schemas spell it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "Bool",
            Self::Int(_) | Self::Big(_) => "Int",
            Self::Float(_) => "Float",
            Self::Str(_) => "String",
            Self::List(_) => "List",
            Self::Map(_) => "Map",
        }
    }

    /// Appends the canonical text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(true) => out.extend_from_slice(b"true"),
            Self::Bool(false) => out.extend_from_slice(b"false"),
            Self::Int(n) => write_int(out, *n),
            Self::Big(n) => write_int(out, *n),
            Self::Float(x) => write_float(out, *x),
            Self::Str(text) => write_str(out, text),
            Self::List(list) => {
                out.push(b'[');
                for (i, value) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    value.write(out);
                }
                out.push(b']');
            }
            Self::Map(map) => map.write(out),
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = Vec::with_capacity(64);
        self.write(&mut out);
        // The writer emits UTF-8 only.
        String::from_utf8(out).unwrap_or_default()
    }

    /// A short form for messages: the canonical text, cut after 60 characters.
    #[must_use]
    pub fn shown(&self) -> String {
        let text = self.to_text();
        match text.char_indices().nth(60) {
            Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
            None => text,
        }
    }

    /// The same value with strings of its own.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(b),
            Self::Int(n) => Value::Int(n),
            Self::Big(n) => Value::Big(n),
            Self::Float(x) => Value::Float(x),
            Self::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Self::List(list) => Value::List(list.into_iter().map(Value::into_owned).collect()),
            Self::Map(map) => Value::Map(map.into_owned()),
        }
    }
}

impl Map<'_> {
    /// Appends the canonical text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self.text {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => self.write_each(out, |_, value, out| value.write(out)),
        }
    }

    /// Appends the canonical text, each value by a function.
    pub fn write_each(
        &self,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&str, &Value<'_>, &mut Vec<u8>),
    ) {
        out.push(b'{');
        for (i, (key, value)) in self.pairs.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_str(out, key);
            out.push(b':');
            write(key, value, out);
        }
        out.push(b'}');
    }

    /// The canonical text.
    #[must_use]
    pub fn to_text(&self) -> String {
        if let Some(text) = self.text {
            return text.to_owned();
        }
        let mut out = Vec::with_capacity(32 * (self.len() + 1));
        self.write(&mut out);
        // The writer emits UTF-8 only.
        String::from_utf8(out).unwrap_or_default()
    }

    /// The same map with strings of its own.
    #[must_use]
    pub fn into_owned(self) -> Map<'static> {
        let pairs = self.pairs.into_iter();
        let pairs = pairs.map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()));
        Map {
            pairs: pairs.collect(),
            marks: self.marks,
            text: None,
        }
    }
}
