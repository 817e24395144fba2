//! JSON of the wire: decoded once, with limits, and written in one canonical form.
//!
//! Refused where decoders often are silent: nesting beyond [`DEPTH_MAX`] (nothing deeper is
//! decoded), repeated keys, invalid UTF-8, lone surrogates, NaN, 1e400, and integers that no
//! 64-bit type holds. Canonical text has keys in byte order, no white space, -0.0 as 0.0, and
//! floats that parse back as floats; equal values have equal text.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use super::json_write::{write_float, write_int, write_str};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

/// The deepest nesting of lists and maps that is decoded.
pub const DEPTH_MAX: usize = 64;

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Map<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Map<'a> {
    /// The empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// A map of pairs as they came, in any order.
    ///
    /// # Errors
    /// A key that came twice.
    pub fn from_pairs(mut pairs: Vec<(Cow<'a, str>, Value<'a>)>) -> Result<Self, String> {
        // Most producers write keys in one order for all events, many in byte order.
        if !pairs.is_sorted_by(|a, b| a.0.as_bytes() < b.0.as_bytes()) {
            pairs.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
            let twice = pairs.windows(2).find_map(|pair| match pair {
                [(a, _), (b, _)] if a == b => Some(a.to_string()),
                _ => None,
            });
            if let Some(key) = twice {
                return Err(key);
            }
        }
        Ok(Self(pairs))
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        if self.0.len() <= FEW {
            // Most keys differ in length, which is seen without reading them.
            let mut pairs = self.0.iter();
            let found = pairs.find(|(have, _)| have.len() == key.len() && have == key);
            return found.map(|(_, value)| value);
        }
        let at = self.find(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The value under a key, to be changed in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value<'a>> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
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
        match self.find(&key) {
            Ok(at) => {
                if let Some(pair) = self.0.get_mut(at) {
                    pair.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Takes the value under a key out.
    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        let at = self.find(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// The pairs in byte order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no pair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(have, _)| have.as_bytes().cmp(key.as_bytes()))
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
        let mut out = Vec::new();
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
        out.push(b'{');
        for (i, (key, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_str(out, key);
            out.push(b':');
            value.write(out);
        }
        out.push(b'}');
    }

    /// The canonical text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = Vec::with_capacity(128);
        self.write(&mut out);
        // The writer emits UTF-8 only.
        String::from_utf8(out).unwrap_or_default()
    }

    /// The same map with strings of its own.
    #[must_use]
    pub fn into_owned(self) -> Map<'static> {
        Map(self
            .0
            .into_iter()
            .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
            .collect())
    }
}

/// Decodes one JSON value.
///
/// # Errors
/// A sentence that says what was wrong and where; the body is then a 400.
///
/// ```
/// use hpc_core::domain::json::decode;
/// assert_eq!(decode(br#"{"b":[1, 1.0],"a":"x"}"#).unwrap().to_text(), r#"{"a":"x","b":[1,1.0]}"#);
/// assert!(decode(br#"{"a":1,"a":2}"#).unwrap_err().contains("repeated key"));
/// assert!(decode(b"[1e400]").is_err());
/// ```
pub fn decode(body: &[u8]) -> Result<Value<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|e| {
        format!(
            "The body is not UTF-8: bad byte at offset {}",
            e.valid_up_to()
        )
    })?;
    let rounded = Cell::new(false);
    let mut decoder = serde_json::Deserializer::from_str(text);
    let seed = ValueSeed {
        depth: 0,
        rounded: &rounded,
    };
    let value = seed
        .deserialize(&mut decoder)
        .and_then(|value| decoder.end().map(|()| value));
    // The scan says better what is wrong, and it sees what the decoder has rounded.
    if value.is_err() || rounded.get() {
        scan(text.as_bytes())?;
    }
    value.map_err(|e| format!("The body is not JSON: {e}"))
}

/// Decodes the value that a text of ours begins with; also how many bytes it took.
///
/// # Errors
/// What is wrong: the text is damaged.
pub fn decode_first(bytes: &[u8]) -> Result<(Value<'_>, usize), String> {
    let bad = |e: serde_json::Error| format!("The text is not JSON: {e}");
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let seed = ValueSeed {
        depth: 0,
        rounded: &Cell::new(false),
    };
    let value = seed.deserialize(&mut decoder).map_err(bad)?;
    let used = decoder.into_iter::<serde::de::IgnoredAny>().byte_offset();
    Ok((value, used))
}

/// Says where nesting is too deep or an integer too large, which the decoder rounds to a float.
fn scan(bytes: &[u8]) -> Result<(), String> {
    let mut depth = 0usize;
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => {
                i = end_of_string(bytes, i + 1);
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!(
                        "The body is nested deeper than {DEPTH_MAX} levels at offset {i}"
                    ));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                i = end_of_number(bytes, i)?;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    Ok(())
}

fn end_of_string(bytes: &[u8], mut i: usize) -> usize {
    while let Some(&byte) = bytes.get(i) {
        match byte {
            b'"' => return i + 1,
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    i
}

fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, String> {
    let mut end = start + 1;
    let mut is_integer = true;
    while let Some(&byte) = bytes.get(end) {
        match byte {
            b'0'..=b'9' => {}
            b'.' | b'e' | b'E' | b'+' | b'-' => is_integer = false,
            _ => break,
        }
        end += 1;
    }
    // 18 digits always fit.
    if is_integer && end - start > 18 {
        let digits = bytes.get(start..end).unwrap_or_default();
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        if digits.parse::<i64>().is_err() && digits.parse::<u64>().is_err() {
            return Err(format!(
                "The integer at offset {start} does not fit in 64 bits"
            ));
        }
    }
    Ok(end)
}

/// Floats from here on may be integers that the decoder has rounded.
const ROUNDED_FROM: f64 = 9_223_372_036_854_775_808.0;

/// Decodes a value at a depth.
#[derive(Clone, Copy)]
struct ValueSeed<'s> {
    depth: usize,
    /// Whether a float came that may have been an integer.
    rounded: &'s Cell<bool>,
}

impl ValueSeed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format!("nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(n).map_or(Value::Big(n), Value::Int))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Value<'de>, E> {
        if x.abs() >= ROUNDED_FROM {
            self.rounded.set(true);
        }
        Ok(Value::Float(if x == 0.0 { 0.0 } else { x }))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Str(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Str(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(seed)? {
            list.push(value);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let seed = self.deeper()?;
        let mut pairs: Vec<(Cow<'de, str>, Value<'de>)> = Vec::new();
        while let Some(Key(key)) = access.next_key()? {
            pairs.push((key, access.next_value_seed(seed)?));
        }
        let map = Map::from_pairs(pairs);
        map.map(Value::Map)
            .map_err(|key| A::Error::custom(format!("repeated key `{key}`")))
    }
}

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}
