//! Query strings: percent-decoded pairs, each name known and at most once unless it may repeat.

use crate::domain::problem::{Problem, nearest};

/// The greatest cursor, version or offset: an Int, like all that the log has.
pub const INT_MAX: u64 = i64::MAX.unsigned_abs();

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string.
    ///
    /// # Errors
    /// 400 for an unknown or repeated name, or bytes that are not UTF-8.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, Box<Problem>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (Some(name), Some(value)) = (unquote(name), unquote(value)) else {
                let detail = format!("Query `{part}` is not percent-encoded UTF-8");
                return Err(Problem::unreadable_query(detail).into());
            };
            if !known.contains(&name.as_str()) {
                let near = nearest(&name, known.iter().copied());
                let detail = format!("Query parameter `{name}` is not known");
                let problem = Problem::bad_query(&name, detail);
                return Err(Box::new(match near {
                    Some(near) => problem.hint(format!("did you mean `{near}`?")),
                    None => problem.hint(format!("known: {}", known.join(", "))),
                }));
            }
            if pairs.iter().any(|(have, _)| *have == name) {
                let detail = format!("Query parameter `{name}` stands twice");
                return Err(Problem::bad_query(&name, detail).into());
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find_map(|(have, value)| (have == name).then_some(value.as_str()))
    }

    /// The value of a boolean parameter.
    ///
    /// # Errors
    /// 400 unless it is `true` or `false`.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Box<Problem>> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(bad(name, "true or false", other)),
        }
    }

    /// The value of a whole number within bounds.
    ///
    /// # Errors
    /// 400 unless it is one.
    pub fn int(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, Box<Problem>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(n) if plain && (min..=max).contains(&n) => Ok(Some(n)),
            _ => Err(bad(name, &format!("an Int from {min} to {max}"), text)),
        }
    }

    /// The value of a number of seconds within bounds, in ms.
    ///
    /// # Errors
    /// 400 unless it is one.
    pub fn seconds(&self, name: &str, max: f64) -> Result<Option<i64>, Box<Problem>> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse::<f64>() {
            #[expect(clippy::cast_possible_truncation, reason = "at most 60,000")]
            Ok(s) if s.is_finite() && (0.0..=max).contains(&s) => Ok(Some((s * 1000.0) as i64)),
            _ => Err(bad(name, &format!("seconds from 0 to {max}"), text)),
        }
    }
}

fn bad(name: &str, expected: &str, got: &str) -> Box<Problem> {
    let detail = format!("Query parameter `{name}` must be {expected}, got `{got}`");
    Box::new(Problem::bad_query(name, detail))
}

fn unquote(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}
