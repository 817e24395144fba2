//! Reader: the fields of one JSON object, each wrong one named with what it must be and what came.

use super::ids::is_id;
use super::json::{Map, Value};
use super::problem::{ERRORS_MAX, FieldError, nearest};

/// Names the fields of a map that are not known, each with the nearest that is; no more than a
/// refusal shows, however many came.
pub fn unknown_fields(
    map: &Map<'_>,
    path: &str,
    known: &[&str],
    expected: &str,
    errors: &mut Vec<FieldError>,
) {
    let unknown = map.iter().map(|(key, _)| key);
    let unknown = unknown.filter(|key| !known.contains(key));
    for key in unknown.take(ERRORS_MAX.saturating_sub(errors.len())) {
        let error = FieldError::new(join(path, key), expected, "an unknown field");
        errors.push(match nearest(key, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known: {}", known.join(", "))),
        });
    }
}

/// Reads the fields of one JSON object and names what is wrong with each.
pub struct Reader<'v, 'e> {
    map: &'v Map<'v>,
    path: String,
    errors: &'e mut Vec<FieldError>,
}

impl<'v, 'e> Reader<'v, 'e> {
    /// Starts on a map; unknown keys become errors at once.
    pub fn new(
        map: &'v Map<'v>,
        path: &str,
        known: &[&str],
        errors: &'e mut Vec<FieldError>,
    ) -> Self {
        unknown_fields(map, path, known, "a known field", errors);
        Self {
            map,
            path: path.to_owned(),
            errors,
        }
    }

    /// Records that a field is not what it must be.
    pub fn refuse(&mut self, key: &str, expected: &str) {
        let got = self
            .map
            .get(key)
            .map_or_else(|| "nothing".to_owned(), Value::shown);
        self.errors
            .push(FieldError::new(join(&self.path, key), expected, got));
    }

    /// The value of an optional field, read by a function.
    pub fn optional<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'v Value<'v>) -> Option<T>,
    ) -> Option<T> {
        let value = self.map.get(key)?;
        let read = read(value);
        if read.is_none() {
            self.refuse(key, expected);
        }
        read
    }

    /// The value of a required field, read by a function.
    pub fn required<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'v Value<'v>) -> Option<T>,
    ) -> Option<T> {
        if self.map.get(key).is_none() {
            self.refuse(key, expected);
            return None;
        }
        self.optional(key, expected, read)
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Reads a string.
#[must_use]
pub fn as_string(value: &Value<'_>) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Reads an id.
#[must_use]
pub fn as_id(value: &Value<'_>) -> Option<String> {
    value.as_str().filter(|text| is_id(text)).map(str::to_owned)
}

/// Reads an integer.
#[must_use]
pub fn as_int(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => None,
    }
}

/// Reads a boolean.
#[must_use]
pub fn as_bool(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        _ => None,
    }
}

/// Reads a number.
#[must_use]
pub fn as_number(value: &Value<'_>) -> Option<f64> {
    match value {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bounds beyond 2^53 are not exact, and said so"
        )]
        Value::Int(n) => Some(*n as f64),
        Value::Float(x) => Some(*x),
        _ => None,
    }
}
