//! One value of a cell, borrowed: what an event says, or what a word of a row stands for.
//!
//! The order is that of [`Atom`]; a value is copied only where it is kept.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::domain::json::Value;
use crate::domain::json_write::{write_float, write_int, write_str};
use crate::lattice::value::{Atom, CanonicalJson};

/// A value that is not copied.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// true or false.
    Bool(bool),
    /// A 64-bit integer.
    Int(i64),
    /// A finite float that is not -0.0.
    Float(f64),
    /// Text.
    Str(&'a str),
    /// The canonical text of a List or a Map.
    Json(Cow<'a, str>),
}

impl<'a> Scalar<'a> {
    /// A value as a cell holds it; `None` for null and for integers that no field takes.
    #[must_use]
    pub fn of(value: &'a Value<'_>) -> Option<Self> {
        match value {
            Value::Str(text) => Some(Self::Str(text)),
            value => Self::of_made(value),
        }
    }

    /// A value that was made and not sent; `None` where it is text, or none that a cell holds.
    #[must_use]
    pub fn of_made(value: &Value<'_>) -> Option<Scalar<'static>> {
        match value {
            Value::Str(_) | Value::Null | Value::Big(_) => None,
            Value::Bool(flag) => Some(Scalar::Bool(*flag)),
            Value::Int(int) => Some(Scalar::Int(*int)),
            Value::Float(float) => float.is_finite().then_some(Scalar::Float(float + 0.0)),
            Value::List(_) | Value::Map(_) => Some(Scalar::Json(value.to_text().into())),
        }
    }

    /// The value of an atom.
    #[must_use]
    pub fn of_atom(atom: &'a Atom) -> Self {
        match atom {
            Atom::Bool(flag) => Self::Bool(*flag),
            Atom::Int(int) => Self::Int(*int),
            Atom::Float(float) => Self::Float(float.get()),
            Atom::Str(text) => Self::Str(text),
            Atom::Json(text) => Self::Json(text.as_str().into()),
        }
    }

    /// The same value with text of its own.
    #[must_use]
    pub fn to_atom(&self) -> Atom {
        match self {
            Self::Bool(flag) => Atom::Bool(*flag),
            Self::Int(int) => Atom::Int(*int),
            // What is no finite float is made by nobody here.
            Self::Float(float) => Atom::float(*float).unwrap_or(Atom::Int(0)),
            Self::Str(text) => Atom::from(*text),
            Self::Json(text) => Atom::Json(CanonicalJson::from_canonical(text.as_ref().into())),
        }
    }

    /// Appends the canonical JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Self::Int(int) => write_int(out, *int),
            Self::Float(float) => write_float(out, *float),
            Self::Str(text) => write_str(out, text),
            Self::Json(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 1,
            Self::Float(_) => 2,
            Self::Str(_) => 3,
            Self::Json(_) => 4,
        }
    }
}

// NaN is refused at the door, so that equality is that of the order.
impl Eq for Scalar<'_> {}

impl Ord for Scalar<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Str(a), Self::Str(b)) => a.cmp(b),
            (Self::Json(a), Self::Json(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
