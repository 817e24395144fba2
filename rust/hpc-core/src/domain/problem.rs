//! Refusals as problem documents (RFC 9457): what failed, what was expected, what came, what next.

use super::json::Value;
use super::json_write::ObjectWriter;

/// The most field errors that one document lists.
pub const ERRORS_MAX: usize = 100;

/// The hint of a refusal that has no better one.
const CORRECT_AND_REPEAT: &str = "nothing was recorded: correct the request and send it again";

/// The hint of a refusal of a query: only reads have one, which record nothing anyway.
const CORRECT_AND_ASK: &str = "correct the request and ask again";

/// One field that is not as its schema says.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Index of the event in its batch; absent for requests that carry none.
    pub event: Option<usize>,
    /// Path of the field, such as `spec.cpu`.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What came, as JSON text; `nothing` where the field is absent.
    pub got: String,
    /// The nearest known name, or another way out.
    pub hint: Option<String>,
}

impl FieldError {
    /// An error about a field outside any event.
    pub fn new(
        field: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self {
            event: None,
            field: field.into(),
            expected: expected.into(),
            got: got.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same about an event.
    #[must_use]
    pub fn at(mut self, event: usize) -> Self {
        self.event = Some(event);
        self
    }
}

/// A refusal; nothing was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// What failed in this case.
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Field errors of a 422, at most [`ERRORS_MAX`].
    pub errors: Vec<FieldError>,
    /// Further members, such as `expected` of a gap.
    pub extra: Vec<(&'static str, Value<'static>)>,
}

impl Problem {
    /// A problem without field errors.
    pub fn new(
        status: u16,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            status,
            code,
            title,
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// 400: not JSON, or a query value that makes no sense.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad_request", "The request cannot be read", detail).hint(CORRECT_AND_REPEAT)
    }

    /// 400: a query string that cannot be read.
    pub fn unreadable_query(detail: impl Into<String>) -> Self {
        Self::bad_request(detail).hint(CORRECT_AND_ASK)
    }

    /// 400 about one parameter of the query string.
    pub fn bad_query(name: &str, detail: impl Into<String>) -> Self {
        Self::unreadable_query(detail).with("field", Value::text(name.to_owned()))
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not_found", "Nothing has this name", detail)
    }

    /// 422 with field errors, cut to [`ERRORS_MAX`].
    #[must_use]
    pub fn not_well_formed(mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_MAX);
        let detail = errors.first().map_or_else(String::new, |e| {
            let place = e.event.map_or_else(String::new, |i| format!("event {i}: "));
            format!("{place}`{}` must be {}, got {}", e.field, e.expected, e.got)
        });
        let hint = errors.iter().find_map(|e| e.hint.clone());
        let hint = hint.or_else(|| Some(CORRECT_AND_REPEAT.to_owned()));
        Self {
            hint,
            errors,
            ..Self::new(422, "not_well_formed", "Not well-formed", detail)
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with a further member.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Value<'static>) -> Self {
        self.extra.push((key, value));
        self
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let mut object = ObjectWriter::new(&mut out);
        object
            .str("type", &format!("urn:hpc:problem:{}", self.code))
            .str("title", self.title)
            .int("status", self.status)
            .str("detail", &self.detail)
            .str("code", self.code);
        if let Some(hint) = &self.hint {
            object.str("hint", hint);
        }
        for (key, value) in &self.extra {
            object.value(key, value);
        }
        if !self.errors.is_empty() {
            object.list("errors", &self.errors, |out, error| {
                let mut object = ObjectWriter::new(out);
                if let Some(event) = error.event {
                    object.int("event", event);
                }
                object
                    .str("field", &error.field)
                    .str("expected", &error.expected)
                    .str("got", &error.got);
                if let Some(hint) = &error.hint {
                    object.str("hint", hint);
                }
                object.end();
            });
        }
        object.end();
        out
    }
}

/// The known name that is nearest to a misspelt one, if any is near (edit distance at most 2, or
/// a third of its length).
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let limit = (name.chars().count() / 3).max(2);
    known
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance by the two-row method.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let here = (diagonal + usize::from(x != *y))
                .min(above + 1)
                .min(left + 1);
            diagonal = above;
            if let Some(cell) = row.get_mut(j) {
                *cell = left;
            }
            left = here;
        }
        if let Some(cell) = row.get_mut(b.len()) {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
