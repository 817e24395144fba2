//! Well-formedness: an event's spec against the schema of its kind.
//!
//! Values are converted and defaults filled in, so that rules, `where` and pulls see the stored form.

use crate::domain::field::{FieldSpec, KindSpec, check_value};
use crate::domain::json::Map;
use crate::domain::problem::{FieldError, nearest};

/// Checks and completes a spec in place; errors carry paths from `spec` on.
pub fn check_spec(schema: &KindSpec, spec: &mut Map<'_>, errors: &mut Vec<FieldError>) {
    // Mostly all is as the schema has it, and of its many fields a spec has few.
    let is_plain = spec.iter().all(|(key, value)| {
        let field = schema.field(key);
        field.is_some_and(|field| matches!(check_value(field, value), Ok(None)))
    });
    if is_plain {
        let defaults = schema.fields.iter().filter(|field| field.default.is_some());
        spec.reserve(defaults.count());
    }
    let is_left = |field: &&FieldSpec| !is_plain || field.required || field.default.is_some();
    let mut named = 0;
    for field in schema.fields.iter().filter(is_left) {
        let path = || format!("spec.{}", field.key);
        match spec.get(&field.key) {
            Some(value) => {
                named += 1;
                match check_value(field, value) {
                    Ok(None) => {}
                    Ok(Some(converted)) => spec.insert(field.key.clone(), converted),
                    Err(expected) => errors.push(FieldError::new(path(), expected, value.shown())),
                }
            }
            None if field.required => {
                errors.push(FieldError::new(
                    path(),
                    field.expected_type.wire(),
                    "nothing",
                ));
            }
            None => {
                if let Some(default) = &field.default {
                    named += 1;
                    spec.insert(field.key.clone(), default.clone());
                }
            }
        }
    }
    if !is_plain && named < spec.len() && !schema.open {
        unknown_fields(schema, spec, errors);
    }
}

fn unknown_fields(schema: &KindSpec, spec: &Map<'_>, errors: &mut Vec<FieldError>) {
    let known = || schema.fields.iter().map(|field| field.key.as_str());
    for (key, _) in spec.iter().filter(|(key, _)| schema.field(key).is_none()) {
        let error = FieldError::new(
            format!("spec.{key}"),
            "a field of the schema",
            "an unknown field",
        );
        errors.push(match nearest(key, known()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known: {}", known().collect::<Vec<_>>().join(", "))),
        });
    }
}
