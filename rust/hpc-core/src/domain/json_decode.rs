//! Decoding JSON strictly: one pass by serde, and a second look where it has rounded or refused.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
};

use super::json::{Map, Value};

/// The deepest nesting of lists and maps that is decoded.
pub const DEPTH_MAX: usize = 64;

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
