//! Type check: a generator's rules against the schemas of the namespaces that it reads.
//!
//! A rule set that passes is total on every well-formed event: what a lattice cannot take never
//! reaches it.

use std::collections::HashMap;

use super::registry::Namespaces;
use crate::domain::event::KernelKind;
use crate::domain::expression::Expression;
use crate::domain::field::ExpectedType;
use crate::domain::generator::{GeneratorSpec, JoinSpec, RuleSpec};
use crate::domain::json::Value;
use crate::domain::problem::FieldError;
use crate::lattice::LatticeKind;
use crate::lattice::finite::Diagram;

/// The most columns that the rules of one generator name.
const COLUMNS_MAX: usize = 4_096;

/// What a reference can be in the events of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Known(ExpectedType),
    Any,
}

/// Checks a generator's rules against the schemas of its namespaces.
///
/// # Errors
/// The rule, the field and the reason, for each that does not fit.
pub fn type_check(spec: &GeneratorSpec, namespaces: &Namespaces) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut seen: HashMap<(&str, &str), &JoinSpec> = HashMap::new();
    let columns: usize = spec.rules.iter().map(|rule| rule.join.len()).sum();
    if columns > COLUMNS_MAX {
        let expected = format!("rules with at most {COLUMNS_MAX} columns together");
        let error = FieldError::new("spec.rules", expected, columns.to_string());
        return vec![error.hint("register several generators")];
    }
    for (i, rule) in spec.rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        for kind in &rule.on {
            check_kind(spec, rule, kind, &path, namespaces, &mut errors);
        }
        for (column, join) in &rule.join {
            match seen.get(&(rule.table.as_str(), column.as_str())) {
                Some(other) if !other.same_lattice(join) => errors.push(FieldError::new(
                    format!("{path}.join.{column}"),
                    format!("the lattice of the other rules: {}", other.lattice_name()),
                    join.lattice_name(),
                )),
                _ => {
                    seen.insert((&rule.table, column), join);
                }
            }
        }
    }
    errors
}

fn check_kind(
    spec: &GeneratorSpec,
    rule: &RuleSpec,
    kind: &str,
    path: &str,
    namespaces: &Namespaces,
    errors: &mut Vec<FieldError>,
) {
    let mut known = false;
    for ns_id in &spec.namespaces {
        let type_of = |expression: &Expression| type_of(expression, ns_id, kind, namespaces);
        if !namespaces.has_kind(ns_id, kind) {
            continue;
        }
        known = true;
        let mut strangers = Vec::new();
        let mut check = |field: String,
                         expression: &Expression,
                         fits: &dyn Fn(Type) -> bool,
                         expected: &str| {
            match type_of(expression) {
                Err(reason) => errors.push(FieldError::new(field, "a field of the event", reason)),
                Ok(found) if !fits(found) => {
                    errors.push(FieldError::new(field, expected, found.shown()));
                }
                Ok(_) => {}
            }
        };
        for part in &rule.key {
            let fits = |t| !matches!(t, Type::Known(ExpectedType::List | ExpectedType::Map));
            check(
                format!("{path}.key"),
                part,
                &fits,
                "String, Int, Float or Bool",
            );
        }
        for (expression, _) in &rule.conditions {
            check(format!("{path}.where"), expression, &|_| true, "a field");
        }
        for (column, join) in &rule.join {
            let field = format!("{path}.join.{column}");
            let mut inner = join;
            while let JoinSpec::Epoch { at: by, join } | JoinSpec::Map { key: by, join } = inner {
                let expected = match inner {
                    JoinSpec::Epoch { .. } => "a totally ordered key for epoch",
                    _ => "String, Int, Float or Bool as a key for map",
                };
                let fits = |t| !matches!(t, Type::Known(ExpectedType::List | ExpectedType::Map));
                check(field.clone(), by, &fits, expected);
                inner = join;
            }
            match inner {
                JoinSpec::Simple { lattice, value } => {
                    let expected = format!("{} for {}", lattice.takes_words(), lattice.wire());
                    check(field, value, &|t| lattice.takes(t), &expected);
                }
                JoinSpec::Finite { diagram, value } => {
                    let strange = strange_to(diagram, value, ns_id, kind, namespaces);
                    let expected = format!("{} for finite", shown_names(diagram));
                    match strange {
                        Some(got) => strangers.push(FieldError::new(field, expected, got)),
                        None => check(
                            field,
                            value,
                            &|t| t == Type::Known(ExpectedType::String),
                            &expected,
                        ),
                    }
                }
                JoinSpec::Epoch { .. } | JoinSpec::Map { .. } => {}
            }
        }
        errors.append(&mut strangers);
    }
    if !known {
        errors.push(FieldError::new(
            format!("{path}.on"),
            "a kind of the namespaces that it reads",
            format!("\"{kind}\""),
        ));
    }
}

/// What an expression can be that its diagram does not have; `None` where every event has an
/// element of it.
fn strange_to(
    diagram: &Diagram,
    value: &Expression,
    ns_id: &str,
    kind: &str,
    namespaces: &Namespaces,
) -> Option<String> {
    let is_known = |name: &str| diagram.names().any(|known| known == name);
    let strange = |value: &Value<'_>| value.as_str().is_none_or(|name| !is_known(name));
    match value {
        Expression::Kind => (!is_known(kind)).then(|| format!("\"{kind}\"")),
        Expression::Literal(value) => strange(value).then(|| value.shown()),
        Expression::Spec(key) => match namespaces.values_of(ns_id, kind, key) {
            Some(values) => values.iter().find(|v| strange(v)).map(Value::shown),
            None => Some(format!("`$spec.{key}` without `one_of`")),
        },
        _ => Some("an expression whose values no schema lists".to_owned()),
    }
}

fn shown_names(diagram: &Diagram) -> String {
    diagram.names().collect::<Vec<_>>().join(", ")
}

fn type_of(
    expression: &Expression,
    ns_id: &str,
    kind: &str,
    namespaces: &Namespaces,
) -> Result<Type, String> {
    use ExpectedType as T;
    match expression {
        Expression::Kind => Ok(Type::Known(T::String)),
        Expression::Seq | Expression::At => Ok(Type::Known(T::Int)),
        Expression::Map(parts) => {
            for (_, part) in parts {
                type_of(part, ns_id, kind, namespaces)?;
            }
            Ok(Type::Known(T::Map))
        }
        Expression::Literal(value) => match value {
            Value::Null | Value::Big(_) => Err(format!("the literal {}", value.shown())),
            other => Ok(T::from_wire(other.type_name()).map_or(Type::Any, Type::Known)),
        },
        Expression::Ctx(key) => match key.as_str() {
            "ns_id" | "job_id" | "node_id" | "target" | "name" | "tasks" => {
                Ok(Type::Known(T::String))
            }
            "priority" | "attempt" | "epoch" | "slots" => Ok(Type::Known(T::Int)),
            "entries" => Ok(Type::Known(T::List)),
            _ => Err(format!("`$ctx.{key}`, which ctx does not have")),
        },
        Expression::Spec(key) => namespaces.field_type(ns_id, kind, key).map_or_else(
            |known| {
                Err(format!(
                    "`$spec.{key}`, which {kind} does not have ({known})"
                ))
            },
            |found| Ok(found.map_or(Type::Any, Type::Known)),
        ),
    }
}

impl Type {
    fn shown(self) -> String {
        match self {
            Self::Known(expected) => expected.wire().to_owned(),
            Self::Any => "any".to_owned(),
        }
    }
}

impl LatticeKind {
    fn takes(self, found: Type) -> bool {
        use ExpectedType as T;
        let Type::Known(found) = found else {
            return true;
        };
        match self {
            Self::Max | Self::Min => matches!(found, T::Int | T::Float | T::String),
            Self::Or => found == T::Bool,
            Self::Count | Self::Sum => found == T::Int,
            Self::Tasks => found == T::String,
            Self::Once | Self::Last | Self::Set => true,
            Self::Epoch | Self::Map | Self::Finite => false,
        }
    }

    fn takes_words(self) -> &'static str {
        match self {
            Self::Max | Self::Min => "Int, Float or String",
            Self::Or => "Bool",
            Self::Count | Self::Sum => "Int",
            Self::Tasks => "a range list such as $ctx.tasks",
            Self::Once | Self::Last | Self::Set => "any value",
            Self::Epoch | Self::Map | Self::Finite => "a form of its own",
        }
    }
}

impl JoinSpec {
    fn same_lattice(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Simple { lattice: a, .. }, Self::Simple { lattice: b, .. }) => a == b,
            (Self::Epoch { join: a, .. }, Self::Epoch { join: b, .. })
            | (Self::Map { join: a, .. }, Self::Map { join: b, .. }) => a.same_lattice(b),
            (Self::Finite { diagram: a, .. }, Self::Finite { diagram: b, .. }) => a == b,
            _ => false,
        }
    }

    fn lattice_name(&self) -> String {
        match self {
            Self::Simple { lattice, .. } => lattice.wire().to_owned(),
            Self::Epoch { join, .. } => format!("epoch of {}", join.lattice_name()),
            Self::Map { join, .. } => format!("map of {}", join.lattice_name()),
            Self::Finite { diagram, .. } => format!("finite over {}", shown_names(diagram)),
        }
    }
}

/// The kernel kinds' own fields, for rules that read them; their types vary (value or column).
#[must_use]
pub fn kernel_fields(kind: KernelKind) -> &'static [&'static str] {
    match kind {
        KernelKind::JobFinished => &[
            "exit_code",
            "signal",
            "cause",
            "detail",
            "started_at",
            "finished_at",
            "peak_memory_bytes",
            "cpu_seconds",
        ],
        KernelKind::JobStarted => &["started_at"],
        KernelKind::JobClaimed => &["resources", "adopted"],
        KernelKind::NodeJoined => &[
            "resources",
            "place",
            "session",
            "host",
            "lease_ms",
            "namespaces",
            "labels",
        ],
        KernelKind::SetPriority => &[],
        KernelKind::RetryJob => &["reason", "resources"],
        KernelKind::CancelJob
        | KernelKind::HoldJob
        | KernelKind::ReleaseJob
        | KernelKind::ForgetJob
        | KernelKind::TasksReturned
        | KernelKind::AttemptLost
        | KernelKind::NodeLeft
        | KernelKind::NodeLost
        | KernelKind::NodeUndrained => &["reason"],
        KernelKind::NodeDrained => &["reason", "deadline"],
        KernelKind::ReportRefused => &["origin", "count", "detail"],
        KernelKind::SubmitJob => &[],
    }
}
