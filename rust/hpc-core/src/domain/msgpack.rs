//! MessagePack of the wire: the same values as JSON, by the same limits, in fewer bytes.
//!
//! What MessagePack has and JSON has not is refused: bin, ext and timestamps, keys that are no
//! strings, NaN and infinities, bytes behind the value. Nesting is bounded while it is read, and
//! nothing is allocated for a length that the body does not hold.

use std::borrow::Cow;

use rmp::Marker;
use rmp::encode::{
    RmpWriteErr, write_array_len, write_bool, write_f64, write_map_len, write_nil, write_sint,
    write_str, write_uint,
};

use super::json::{self, DEPTH_MAX, Map, Value};

/// Decodes what a request says: MessagePack where the body begins as its maps do, else JSON, of
/// which no text begins with a byte above 0x7f.
///
/// # Errors
/// A sentence that says what was wrong and where; the body is then a 400.
///
/// ```
/// use hpc_core::domain::msgpack::decode_either;
/// assert_eq!(decode_either(b"\x81\xa1n\x07"), decode_either(br#"{"n": 7}"#));
/// assert!(decode_either(b"\x81\x01\x07").unwrap_err().contains("key"));
/// ```
pub fn decode_either(body: &[u8]) -> Result<Value<'_>, String> {
    match body.first() {
        Some(0x80..) => decode(body),
        _ => json::decode(body),
    }
}

/// Decodes one value.
///
/// # Errors
/// A sentence that says what was wrong and where.
pub fn decode(body: &[u8]) -> Result<Value<'_>, String> {
    let mut reader = Reader { body, rest: body };
    let value = reader.value(0)?;
    if !reader.rest.is_empty() {
        return Err(reader.refuse("nothing behind the value"));
    }
    Ok(value)
}

/// The MessagePack form of a JSON text of ours.
///
/// # Errors
/// The text is no JSON.
pub fn from_json(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    match encode(&json::decode_answer(text)?, &mut out) {
        Ok(()) => Ok(out),
        Err(_) => Err("A value is too large for MessagePack".to_owned()),
    }
}

/// Appends a value; what an `Err` would say cannot happen when writing to memory.
fn encode(value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Failed> {
    match value {
        Value::Null => write_nil(out).map_err(|_| Failed)?,
        Value::Bool(b) => write_bool(out, *b).map_err(|_| Failed)?,
        Value::Int(n) => {
            write_sint(out, *n)?;
        }
        Value::Big(n) => {
            write_uint(out, *n)?;
        }
        Value::Float(x) => write_f64(out, *x)?,
        Value::Str(text) => write_str(out, text)?,
        Value::List(list) => {
            write_array_len(out, u32::try_from(list.len()).map_err(|_| Failed)?)?;
            for value in list {
                encode(value, out)?;
            }
        }
        Value::Map(map) => {
            write_map_len(out, u32::try_from(map.len()).map_err(|_| Failed)?)?;
            for (key, value) in map.iter() {
                write_str(out, key)?;
                encode(value, out)?;
            }
        }
    }
    Ok(())
}

struct Failed;

impl<E: RmpWriteErr> From<rmp::encode::ValueWriteError<E>> for Failed {
    fn from(_: rmp::encode::ValueWriteError<E>) -> Self {
        Self
    }
}

/// What is set aside for a list or a map by its length alone; more as it comes.
const RESERVED_MAX: usize = 1_024;

struct Reader<'b> {
    body: &'b [u8],
    /// What was not read yet.
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    #[cold]
    fn refuse(&self, expected: &str) -> String {
        let at = self.at();
        format!("The body is not MessagePack as expected: {expected}, at offset {at}")
    }

    fn at(&self) -> usize {
        self.body.len() - self.rest.len()
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'b [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.refuse("it ends too early"));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            return Err(self.refuse("it ends too early"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    fn length8(&mut self) -> Result<usize, String> {
        Ok(usize::from(u8::from_be_bytes(self.array()?)))
    }

    fn length16(&mut self) -> Result<usize, String> {
        Ok(usize::from(u16::from_be_bytes(self.array()?)))
    }

    fn length32(&mut self) -> Result<usize, String> {
        let length = u32::from_be_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.refuse("a length that fits"))
    }

    fn marker(&mut self) -> Result<Marker, String> {
        let [byte] = self.array()?;
        Ok(Marker::from_u8(byte))
    }

    fn value(&mut self, depth: usize) -> Result<Value<'b>, String> {
        let marker = self.marker()?;
        let value = match marker {
            Marker::Null => Value::Null,
            Marker::True => Value::Bool(true),
            Marker::False => Value::Bool(false),
            Marker::FixPos(n) => Value::Int(n.into()),
            Marker::FixNeg(n) => Value::Int(n.into()),
            Marker::U8 => Value::Int(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Value::Int(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Value::Int(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => {
                let n = u64::from_be_bytes(self.array()?);
                i64::try_from(n).map_or(Value::Big(n), Value::Int)
            }
            Marker::I8 => Value::Int(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => Value::Int(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => Value::Int(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => Value::Int(i64::from_be_bytes(self.array()?)),
            Marker::F32 => {
                let x = f32::from_be_bytes(self.array()?);
                self.float(x.into())?
            }
            Marker::F64 => {
                let x = f64::from_be_bytes(self.array()?);
                self.float(x)?
            }
            Marker::FixArray(count) => self.list(count.into(), depth)?,
            Marker::Array16 => {
                let count = self.length16()?;
                self.list(count, depth)?
            }
            Marker::Array32 => {
                let count = self.length32()?;
                self.list(count, depth)?
            }
            Marker::FixMap(count) => self.map(count.into(), depth)?,
            Marker::Map16 => {
                let count = self.length16()?;
                self.map(count, depth)?
            }
            Marker::Map32 => {
                let count = self.length32()?;
                self.map(count, depth)?
            }
            _ => match self.text(marker)? {
                Some(text) => Value::Str(Cow::Borrowed(text)),
                None => return Err(self.refuse("what JSON has too, no bin or ext")),
            },
        };
        Ok(value)
    }

    /// The string that a marker opens; `None` where it opens something else.
    fn text(&mut self, marker: Marker) -> Result<Option<&'b str>, String> {
        let length = match marker {
            Marker::FixStr(length) => length.into(),
            Marker::Str8 => self.length8()?,
            Marker::Str16 => self.length16()?,
            Marker::Str32 => self.length32()?,
            _ => return Ok(None),
        };
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.refuse("strings in UTF-8"))?;
        Ok(Some(text))
    }

    fn float(&self, x: f64) -> Result<Value<'b>, String> {
        if x.is_finite() {
            Ok(Value::Float(if x == 0.0 { 0.0 } else { x }))
        } else {
            Err(self.refuse("finite floats"))
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, String> {
        if depth < DEPTH_MAX {
            return Ok(depth + 1);
        }
        Err(format!(
            "The body is nested deeper than {DEPTH_MAX} levels at offset {}",
            self.at()
        ))
    }

    fn list(&mut self, count: usize, depth: usize) -> Result<Value<'b>, String> {
        let depth = self.deeper(depth)?;
        let mut list = Vec::with_capacity(count.min(RESERVED_MAX));
        for _ in 0..count {
            list.push(self.value(depth)?);
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, count: usize, depth: usize) -> Result<Value<'b>, String> {
        let depth = self.deeper(depth)?;
        let mut pairs = Vec::with_capacity(count.min(RESERVED_MAX));
        for _ in 0..count {
            let marker = self.marker()?;
            let key = self.text(marker)?;
            let key = key.ok_or_else(|| self.refuse("a String as key"))?;
            pairs.push((Cow::Borrowed(key), self.value(depth)?));
        }
        Map::from_pairs(pairs)
            .map(Value::Map)
            .map_err(|key| self.refuse(&format!("no repeated key `{key}`")))
    }
}
