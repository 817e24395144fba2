//! Fields: what a value in a spec must be, and the one function that checks it.
//!
//! It converts where the schema says so: a decimal string in an Int field, an Int in a Float field.

use super::json::{Map, Value, is_same};
use super::problem::FieldError;
use super::reader::{Reader, as_bool, as_number, as_string};

/// The types of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedType {
    /// UTF-8 text.
    String,
    /// 64 bits with sign; a decimal string is taken and recorded as the number.
    Int,
    /// A finite float; an integer is taken and recorded as a float.
    Float,
    /// `true` or `false`.
    Bool,
    /// A list.
    List,
    /// A map.
    Map,
}

impl ExpectedType {
    const ALL: [(&'static str, Self); 6] = [
        ("String", Self::String),
        ("Int", Self::Int),
        ("Float", Self::Float),
        ("Bool", Self::Bool),
        ("List", Self::List),
        ("Map", Self::Map),
    ];

    /// The type of this name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find_map(|(wire, kind)| (*wire == name).then_some(*kind))
    }

    /// Its name on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        Self::ALL
            .iter()
            .find_map(|(wire, kind)| (*kind == self).then_some(*wire))
            .unwrap_or_default()
    }
}

/// What a value must be beyond its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A String that an operating system takes: without NUL.
    Text,
    /// A List of such Strings.
    Argv,
    /// A Map of names, not empty and without `=` and NUL, to such Strings.
    Env,
}

impl Format {
    const ALL: [(&'static str, Self, ExpectedType); 3] = [
        ("text", Self::Text, ExpectedType::String),
        ("argv", Self::Argv, ExpectedType::List),
        ("env", Self::Env, ExpectedType::Map),
    ];

    /// The format of this name, if it is one of that type.
    #[must_use]
    pub fn from_wire(name: &str, expected_type: ExpectedType) -> Option<Self> {
        Self::ALL.iter().find_map(|(wire, format, of)| {
            (*wire == name && *of == expected_type).then_some(*format)
        })
    }

    /// What it expects, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "String without NUL",
            Self::Argv => "List of Strings without NUL",
            Self::Env => "Map of names, not empty, without `=` and NUL, to Strings without NUL",
        }
    }

    /// Whether a value of the right type is so.
    #[must_use]
    pub fn admits(self, value: &Value<'_>) -> bool {
        let plain = |value: &Value<'_>| value.as_str().is_some_and(|text| !text.contains('\0'));
        match (self, value) {
            (Self::Text, value) => plain(value),
            (Self::Argv, Value::List(list)) => list.iter().all(plain),
            (Self::Env, Value::Map(map)) => map.iter().all(|(name, value)| {
                !name.is_empty() && !name.contains(['=', '\0']) && plain(value)
            }),
            _ => false,
        }
    }
}

/// One field of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldSpec {
    /// Name in `spec`.
    pub key: String,
    /// Type.
    pub expected_type: ExpectedType,
    /// Whether an event without it is refused.
    pub required: bool,
    /// Least number or length.
    pub min: Option<f64>,
    /// Greatest number or length.
    pub max: Option<f64>,
    /// The values allowed.
    pub one_of: Option<Vec<Value<'static>>>,
    /// What it must be beyond its type.
    pub format: Option<Format>,
    /// What an absent optional field becomes.
    pub default: Option<Value<'static>>,
}

/// The schema of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindSpec {
    /// Its fields.
    pub fields: Vec<FieldSpec>,
    /// Whether fields that the schema does not name are taken.
    pub open: bool,
}

impl KindSpec {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&FieldSpec> {
        self.fields.iter().find(|field| is_same(&field.key, key))
    }
}

/// Reads one field of a kind; a default must be a value that the field takes.
pub fn parse_field(map: &Map<'_>, path: &str, errors: &mut Vec<FieldError>) -> Option<FieldSpec> {
    let known = [
        "key",
        "required",
        "expected_type",
        "min",
        "max",
        "one_of",
        "format",
        "default",
    ];
    let before = errors.len();
    let mut reader = Reader::new(map, path, &known, errors);
    let key = reader.required("key", "String, not empty", |v| {
        as_string(v).filter(|key| !key.is_empty())
    });
    let expected_type = reader.required(
        "expected_type",
        "String, Int, Float, Bool, List or Map",
        |v| v.as_str().and_then(ExpectedType::from_wire),
    );
    let required = reader
        .optional("required", "Bool", as_bool)
        .unwrap_or(false);
    let min = reader.optional("min", "a number", as_number);
    let max = reader.optional("max", "a number", as_number);
    let one_of = reader
        .optional("one_of", "List, not empty", |v| {
            v.as_list().filter(|list| !list.is_empty())
        })
        .map(<[Value<'_>]>::to_vec);
    let (key, expected_type) = (key?, expected_type?);
    let format = reader.optional(
        "format",
        "text of a String, argv of a List, env of a Map",
        |v| Format::from_wire(v.as_str()?, expected_type),
    );
    let mut field = FieldSpec {
        key,
        expected_type,
        required,
        min: None,
        max: None,
        one_of: None,
        format: None,
        default: None,
    };
    // The values allowed are compared with what is stored, so they take its form.
    let mut allowed = Vec::new();
    for value in one_of.iter().flatten() {
        match check_value(&field, value) {
            Ok(converted) => {
                allowed.push(converted.unwrap_or_else(|| value.clone().into_owned()));
            }
            Err(expected) => {
                let path = format!("{path}.one_of");
                errors.push(FieldError::new(path, expected, value.shown()));
            }
        }
    }
    field.one_of = one_of.map(|_| allowed);
    (field.min, field.max, field.format) = (min, max, format);
    if let Some(default) = map.get("default") {
        let mut refuse = |expected: String| {
            let path = format!("{path}.default");
            errors.push(FieldError::new(path, expected, default.shown()));
        };
        match check_value(&field, default) {
            _ if required => refuse("absent: a required field has none".to_owned()),
            Ok(converted) => {
                let default = converted.unwrap_or_else(|| default.clone().into_owned());
                field.default = Some(default);
            }
            Err(expected) => refuse(expected),
        }
    }
    (errors.len() == before).then_some(field)
}

/// Checks one value; what it is converted to, if it is.
///
/// # Errors
/// What the field expects, in words.
pub fn check_value(field: &FieldSpec, value: &Value<'_>) -> Result<Option<Value<'static>>, String> {
    let converted = match (field.expected_type, value) {
        (ExpectedType::Int, Value::Str(text)) => Some(Value::Int(
            decimal(text).ok_or_else(|| field.expected_type.wire().to_owned())?,
        )),
        #[expect(
            clippy::cast_precision_loss,
            reason = "a Float field takes the nearest float"
        )]
        (ExpectedType::Float, Value::Int(n)) => Some(Value::Float(*n as f64)),
        _ => None,
    };
    let value = converted.as_ref().unwrap_or(value);
    let size = match (field.expected_type, value) {
        #[expect(clippy::cast_precision_loss, reason = "bounds are floats")]
        (ExpectedType::Int, Value::Int(n)) => Some(*n as f64),
        (ExpectedType::Float, Value::Float(x)) => Some(*x),
        (ExpectedType::String, Value::Str(text)) => Some(length(text.chars().count())),
        (ExpectedType::List, Value::List(list)) => Some(length(list.len())),
        (ExpectedType::Map, Value::Map(map)) => Some(length(map.len())),
        (ExpectedType::Bool, Value::Bool(_)) => None,
        _ => return Err(field.expected_type.wire().to_owned()),
    };
    let in_bounds = size.is_none_or(|size| {
        field.min.is_none_or(|min| size >= min) && field.max.is_none_or(|max| size <= max)
    });
    let listed = field
        .one_of
        .as_ref()
        .is_none_or(|values| values.iter().any(|allowed| allowed == value));
    if let Some(format) = field.format.filter(|format| !format.admits(value)) {
        return Err(format.words().to_owned());
    }
    if in_bounds && listed {
        Ok(converted)
    } else {
        Err(expected(field))
    }
}

#[expect(clippy::cast_precision_loss, reason = "lengths are far below 2^53")]
fn length(n: usize) -> f64 {
    n as f64
}

/// A whole number in decimal: an optional minus, then digits.
fn decimal(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// What a field expects, in words: `Int from 1 to 8`, `String, one of "a", "b"`.
#[must_use]
pub fn expected(field: &FieldSpec) -> String {
    let mut text = field.expected_type.wire().to_owned();
    let of_length = match field.expected_type {
        ExpectedType::Int | ExpectedType::Float | ExpectedType::Bool => "",
        ExpectedType::String | ExpectedType::List | ExpectedType::Map => " of length",
    };
    if field.min.is_some() || field.max.is_some() {
        text.push_str(of_length);
    }
    if let Some(min) = field.min {
        text.push_str(&format!(" from {min}"));
    }
    if let Some(max) = field.max {
        text.push_str(&format!(" to {max}"));
    }
    if let Some(values) = &field.one_of {
        let values: Vec<String> = values.iter().map(Value::shown).collect();
        text.push_str(&format!(", one of {}", values.join(", ")));
    }
    text
}
