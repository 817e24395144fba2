//! value: what a cell of a lattice holds, totally ordered.
//!
//! | carrier                                         | order                                      |
//! |-------------------------------------------------|--------------------------------------------|
//! | Bool, Int (i64), Float, Str, Json (List or Map) | false < true < Int < Float < String < Json |
//!
//! Strings and JSON text are ordered by their bytes, floats by value. The order is total, so that
//! [`super::max`] and the tie-break of [`super::last`] never depend on who came first. What would
//! break it is refused at the door: NaN and infinities; -0.0 becomes 0.0. An Int and a Float are
//! never equal: `1` sorts before `0.5`, and a Float is written so that it is read as one (`1.0`).
//!
//! A List or a Map is kept as its canonical JSON text, not as a tree. It never reads or fills a
//! schema: that is well-formedness.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_int};

/// A float that is neither NaN nor infinite nor -0.0.
///
/// ```
/// use hpc_core::lattice::value::Finite;
/// assert!(Finite::new(f64::NAN).is_none());
/// assert_eq!(Finite::new(-0.0), Finite::new(0.0));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Finite(f64);

impl Finite {
    /// The float, unless it is NaN or infinite; -0.0 becomes 0.0.
    #[must_use]
    pub fn new(float: f64) -> Option<Self> {
        // -0.0 + 0.0 is 0.0, and every other sum with 0.0 is the number itself.
        float.is_finite().then_some(Self(float + 0.0))
    }

    /// The float itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

// Without NaN and -0.0 the total order is the order of the values, and equality that of the bits.
impl Ord for Finite {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Finite {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Finite {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Finite {}

impl Hash for Finite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// The canonical text of a List or a Map: keys ascending by bytes, no white space, shortest floats.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalJson(Arc<str>);

impl CanonicalJson {
    /// Takes text that is canonical already, for example what [`Atom::write_json`] wrote.
    ///
    /// It is not looked at: equal values written in two ways would be two values.
    #[must_use]
    pub fn from_canonical(text: Arc<str>) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One value of a cell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// true or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A finite float.
    Float(Finite),
    /// Text.
    Str(Arc<str>),
    /// A List or a Map.
    Json(CanonicalJson),
}

/// Why a value is no [`Atom`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAtom {
    /// null says nothing; absence is said by absence.
    Null,
    /// NaN or an infinity.
    NotFinite,
    /// An integer above `i64::MAX`.
    IntTooLarge(u64),
    /// Text that is not JSON, and why.
    NotJson(String),
}

impl fmt::Display for BadAtom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => {
                f.write_str("Value is null: expected Bool, Int, Float, String, List or Map")
            }
            Self::NotFinite => {
                f.write_str("Value is no finite number: NaN and infinities are refused")
            }
            Self::IntTooLarge(int) => write!(f, "Value {int} is no 64-bit Int"),
            Self::NotJson(why) => write!(f, "Value is not JSON: {why}"),
        }
    }
}

impl std::error::Error for BadAtom {}

impl From<bool> for Atom {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i64> for Atom {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<&str> for Atom {
    fn from(text: &str) -> Self {
        Self::Str(text.into())
    }
}

impl From<Arc<str>> for Atom {
    fn from(text: Arc<str>) -> Self {
        Self::Str(text)
    }
}

impl Atom {
    /// A Float; -0.0 becomes 0.0.
    ///
    /// # Errors
    /// NaN and infinities have no place in a total order.
    ///
    /// ```
    /// use hpc_core::lattice::value::{Atom, BadAtom};
    /// assert_eq!(Atom::float(-0.0), Atom::float(0.0));
    /// assert_eq!(Atom::float(f64::NAN), Err(BadAtom::NotFinite));
    /// ```
    pub fn float(float: f64) -> Result<Self, BadAtom> {
        Finite::new(float)
            .map(Self::Float)
            .ok_or(BadAtom::NotFinite)
    }

    /// The value of a decoded JSON value; a List or a Map becomes its canonical text.
    ///
    /// # Errors
    /// null, and an integer that is no i64. Inside a List or a Map both are kept as they are.
    pub fn from_value(value: &Value) -> Result<Self, BadAtom> {
        match value {
            Value::Null => Err(BadAtom::Null),
            Value::Bool(flag) => Ok(Self::Bool(*flag)),
            Value::String(text) => Ok(Self::Str(text.as_str().into())),
            Value::Number(number) => {
                if let Some(int) = number.as_i64() {
                    Ok(Self::Int(int))
                } else if let Some(int) = number.as_u64() {
                    Err(BadAtom::IntTooLarge(int))
                } else {
                    Self::float(number.as_f64().ok_or(BadAtom::NotFinite)?)
                }
            }
            Value::Array(_) | Value::Object(_) => {
                let mut text = String::new();
                write_value(value, &mut text)?;
                Ok(Self::Json(CanonicalJson(text.into())))
            }
        }
    }

    /// The value that a JSON text says.
    ///
    /// # Errors
    /// Text that is not JSON or is nested deeper than 128, and what [`Atom::from_value`] refuses.
    ///
    /// ```
    /// use hpc_core::lattice::value::Atom;
    /// let map = Atom::parse(r#"{"b": [1.0, null], "a": 1}"#).unwrap();
    /// assert_eq!(map.to_json(), r#"{"a":1,"b":[1.0,null]}"#);
    /// assert_eq!(Atom::parse(" 7 "), Ok(Atom::Int(7)));
    /// assert!(Atom::parse("null").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, BadAtom> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| BadAtom::NotJson(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Appends the canonical JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Int(int) => out.extend_from_slice(int.to_string().as_bytes()),
            Self::Float(float) => out.extend_from_slice(format!("{:?}", float.0).as_bytes()),
            Self::Str(text) => {
                let mut quoted = String::with_capacity(text.len() + 2);
                write_text(text, &mut quoted);
                out.extend_from_slice(quoted.as_bytes());
            }
            Self::Json(text) => out.extend_from_slice(text.0.as_bytes()),
        }
    }

    /// The canonical JSON text.
    ///
    /// ```
    /// use hpc_core::lattice::value::Atom;
    /// assert_eq!(Atom::float(1.0).unwrap().to_json(), "1.0");
    /// assert_eq!(Atom::Int(1).to_json(), "1");
    /// assert_eq!(Atom::from("a\"b\n").to_json(), r#""a\"b\n""#);
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The integer, where it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            _ => None,
        }
    }

    /// The text, where it is a String.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The flag, where it is a Bool.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The number, where it is an Int or a Float; a large Int is rounded.
    #[must_use]
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Float(float) => Some(float.0),
            _ => None,
        }
    }

    /// The name of the type, as a schema says it.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bool(_) => "Bool",
            Self::Int(_) => "Int",
            Self::Float(_) => "Float",
            Self::Str(_) => "String",
            Self::Json(text) if text.0.starts_with('[') => "List",
            Self::Json(_) => "Map",
        }
    }
}

/// Appends a string with its quotes; escaped is only what JSON demands.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < '\u{20}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a value canonically. Its depth is bounded by the reader that made it.
fn write_value(value: &Value, out: &mut String) -> Result<(), BadAtom> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::String(text) => write_text(text, out),
        Value::Number(number) => {
            if number.is_i64() || number.is_u64() {
                out.push_str(&number.to_string());
            } else {
                let float = number.as_f64().and_then(Finite::new);
                out.push_str(&format!("{:?}", float.ok_or(BadAtom::NotFinite)?.0));
            }
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            // Sorted here, because another crate may switch on serde_json's `preserve_order`.
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (i, (key, item)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(item, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

const TAG_FALSE: u8 = 0;
const TAG_TRUE: u8 = 1;
const TAG_INT: u8 = 2;
const TAG_FLOAT: u8 = 3;
const TAG_STR: u8 = 4;
const TAG_JSON: u8 = 5;

impl Codec for Atom {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(flag) => out.push(if *flag { TAG_TRUE } else { TAG_FALSE }),
            Self::Int(int) => {
                out.push(TAG_INT);
                put_int(*int, out);
            }
            Self::Float(float) => {
                out.push(TAG_FLOAT);
                out.extend_from_slice(&float.0.to_bits().to_le_bytes());
            }
            Self::Str(text) => {
                out.push(TAG_STR);
                put_bytes(text.as_bytes(), out);
            }
            Self::Json(text) => {
                out.push(TAG_JSON);
                put_bytes(text.0.as_bytes(), out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.byte()? {
            TAG_FALSE => Ok(Self::Bool(false)),
            TAG_TRUE => Ok(Self::Bool(true)),
            TAG_INT => Ok(Self::Int(reader.int()?)),
            TAG_FLOAT => {
                let bits = u64::from_le_bytes(reader.array()?);
                match Finite::new(f64::from_bits(bits)) {
                    Some(float) if float.0.to_bits() == bits => Ok(Self::Float(float)),
                    _ => Err(reader.refuse(DecodeReason::NotCanonical)),
                }
            }
            TAG_STR => Ok(Self::Str(reader.text()?.into())),
            TAG_JSON => {
                let text = reader.text()?;
                match Self::parse(text) {
                    Ok(Self::Json(json)) if &*json.0 == text => Ok(Self::Json(json)),
                    _ => Err(reader.refuse(DecodeReason::NotCanonical)),
                }
            }
            tag => Err(reader.refuse(DecodeReason::UnknownTag(tag))),
        }
    }
}
