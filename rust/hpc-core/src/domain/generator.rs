//! GeneratorSpec: a materialised view as data; `logic::rules` compiles and checks it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expression::Expression;
use super::ids::{ID_EXPECTED, is_id};
use super::json::{Map, Value};
use super::problem::{FieldError, nearest};
use super::reader::{Reader, as_id, as_int, as_string};
use crate::lattice::LatticeKind;
use crate::lattice::finite::Diagram;

/// The rules of a view, as they came; `logic::rules` compiles them.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratorSpec {
    /// Greater than that of the specs it supersedes.
    pub revision: i64,
    /// The namespaces whose events it reads.
    pub namespaces: Vec<String>,
    /// The rules, in order.
    pub rules: Vec<RuleSpec>,
    /// The spec as it came, canonical.
    pub text: String,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    /// The kinds that it reads.
    pub on: Vec<String>,
    /// The table that it writes.
    pub table: String,
    /// The row: one expression, or several for a compound key.
    pub key: Vec<Expression>,
    /// Whether the key was a list, so that a compound key of one part is one.
    pub is_compound: bool,
    /// Equalities that must hold.
    pub conditions: Vec<(Expression, Value<'static>)>,
    /// Column to what is joined into it.
    pub join: Vec<(String, JoinSpec)>,
}

/// What a rule joins into a column: a lattice and where its value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinSpec {
    /// A lattice over one expression.
    Simple {
        /// Name of the lattice.
        lattice: LatticeKind,
        /// Its value.
        value: Expression,
    },
    /// `{"finite": {"order": {LOWER: [HIGHER, ...]}, "value": E}}`.
    Finite {
        /// What lies above what.
        diagram: Arc<Diagram>,
        /// The name of an element.
        value: Expression,
    },
    /// `{"epoch": {"at": E, "join": {L: E}}}`.
    Epoch {
        /// The totally ordered key.
        at: Expression,
        /// What is joined within an epoch.
        join: Box<JoinSpec>,
    },
    /// `{"map": {"key": E, "join": {L: E}}}`.
    Map {
        /// The key, as a row's.
        key: Expression,
        /// What is joined at a key.
        join: Box<JoinSpec>,
    },
}

/// How many epochs and maps may stand around a lattice.
const NESTING_MAX: usize = 2;

/// Bytes of a callback's URL.
const URL_BYTES_MAX: usize = 2048;

const URL_EXPECTED: &str = "null, or a URL of at most 2048 bytes";

impl GeneratorSpec {
    /// Reads a spec from the wire; types are checked when it is compiled.
    ///
    /// # Errors
    /// Every field that is wrong, with its path from `spec` on.
    pub fn parse(spec: &Map<'_>) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let known = ["revision", "namespaces", "callback_url", "rules"];
        let mut reader = Reader::new(spec, "spec", &known, &mut errors);
        let revision = reader.optional("revision", "Int from 1", |v| as_int(v).filter(|n| *n >= 1));
        // Whether it may be called is the Hub's to say, which knows its networks.
        reader.optional("callback_url", URL_EXPECTED, |v| match v {
            Value::Null => Some(()),
            Value::Str(url) => (url.len() <= URL_BYTES_MAX).then_some(()),
            _ => None,
        });
        let namespaces = reader.required("namespaces", "List of namespace ids", |v| {
            v.as_list()?.iter().map(as_id).collect::<Option<Vec<_>>>()
        });
        let rules = reader
            .required("rules", "List of rules, not empty", |v| {
                v.as_list().filter(|list| !list.is_empty())
            })
            .map(<[Value<'_>]>::to_vec);
        let mut parsed = Vec::new();
        for (i, rule) in rules.unwrap_or_default().iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            match rule {
                Value::Map(map) => parsed.extend(RuleSpec::parse(map, &path, &mut errors)),
                _ => errors.push(FieldError::new(path, "Map", rule.shown())),
            }
        }
        if errors.is_empty() {
            Ok(Self {
                revision: revision.unwrap_or(1),
                namespaces: namespaces.unwrap_or_default(),
                rules: parsed,
                text: Value::Map(spec.clone()).to_text(),
            })
        } else {
            Err(errors)
        }
    }
}

impl RuleSpec {
    fn parse(map: &Map<'_>, path: &str, errors: &mut Vec<FieldError>) -> Option<Self> {
        let mut reader = Reader::new(map, path, &["on", "table", "key", "where", "join"], errors);
        let on = reader.required("on", "a kind, or a list of kinds", |v| match v {
            Value::Str(kind) => Some(vec![kind.clone().into_owned()]),
            Value::List(list) if !list.is_empty() => list.iter().map(as_string).collect(),
            _ => None,
        });
        let table = reader.required("table", ID_EXPECTED, as_id);
        let references = "expressions: $ctx.x, $spec.x, $kind, $seq, $at or literals";
        let key = reader.required("key", references, |v| match v {
            Value::List(list) if !list.is_empty() => list
                .iter()
                .map(|v| Expression::parse(v).ok())
                .collect::<Option<Vec<_>>>(),
            Value::List(_) => None,
            _ => Expression::parse(v).ok().map(|e| vec![e]),
        });
        let conditions = reader.optional("where", "Map of expression to value", |v| {
            v.as_map()?
                .iter()
                .map(|(key, value)| {
                    let key = Expression::parse(&Value::text(key)).ok()?;
                    (!matches!(key, Expression::Literal(_)))
                        .then(|| (key, value.clone().into_owned()))
                })
                .collect::<Option<Vec<_>>>()
        });
        let join = reader
            .required("join", "Map of column to lattice, not empty", |v| {
                v.as_map().filter(|map| !map.is_empty())
            })
            .cloned();
        let mut columns = Vec::new();
        for (column, value) in join.iter().flat_map(Map::iter) {
            let path = format!("{path}.join.{column}");
            if !is_id(column) {
                errors.push(FieldError::new(&path, ID_EXPECTED, column));
            }
            match JoinSpec::parse(value, 0) {
                Ok(join) => columns.push((column.to_owned(), join)),
                Err(expected) => errors.push(FieldError::new(path, expected, value.shown())),
            }
        }
        Some(Self {
            on: on?,
            table: table?,
            is_compound: matches!(map.get("key"), Some(Value::List(_))),
            key: key?,
            conditions: conditions.unwrap_or_default(),
            join: columns,
        })
    }
}

impl JoinSpec {
    fn parse(value: &Value<'_>, depth: usize) -> Result<Self, String> {
        let one = value.as_map().filter(|map| map.len() == 1);
        let Some((name, inner)) = one.and_then(|map| map.iter().next()) else {
            return Err("{lattice: expression}, one lattice".to_owned());
        };
        let Some(lattice) = LatticeKind::from_wire(name) else {
            let known = LatticeKind::ALL.map(LatticeKind::wire);
            let near =
                nearest(name, known).map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            return Err(format!("a lattice ({}){near}", known.join(", ")));
        };
        match lattice {
            LatticeKind::Epoch => Self::parse_nested(inner, "epoch", "at", depth),
            LatticeKind::Map => Self::parse_nested(inner, "map", "key", depth),
            LatticeKind::Finite => Self::parse_finite(inner),
            _ => Ok(Self::Simple {
                lattice,
                value: Expression::parse(inner)?,
            }),
        }
    }

    fn parse_nested(
        inner: &Value<'_>,
        lattice: &str,
        by: &str,
        depth: usize,
    ) -> Result<Self, String> {
        if depth >= NESTING_MAX {
            return Err("nesting of at most 2".to_owned());
        }
        let expected = format!("{{\"{lattice}\": {{\"{by}\": E, \"join\": {{L: E}}}}}}");
        let map = inner.as_map().filter(|map| map.len() == 2);
        let parts = map.and_then(|map| Some((map.get(by)?, map.get("join")?)));
        let (by, join) = parts.ok_or(expected)?;
        let by = Expression::parse(by)?;
        let join = Box::new(Self::parse(join, depth + 1)?);
        Ok(match lattice {
            "epoch" => Self::Epoch { at: by, join },
            _ => Self::Map { key: by, join },
        })
    }

    fn parse_finite(inner: &Value<'_>) -> Result<Self, String> {
        let expected = r#"{"finite": {"order": {LOWER: [HIGHER, ...]}, "value": E}}"#;
        let map = inner.as_map().filter(|map| map.len() == 2);
        let parts = map.and_then(|map| Some((map.get("order")?.as_map()?, map.get("value")?)));
        let (order, value) = parts.ok_or(expected)?;
        let order = order.iter().map(|(lower, above)| {
            let above = above.as_list()?.iter().map(Value::as_str);
            Some((lower, above.collect::<Option<Vec<_>>>()?))
        });
        let order: BTreeMap<&str, Vec<&str>> = order.collect::<Option<_>>().ok_or(expected)?;
        let diagram = Diagram::new(&order).map_err(|why| why.to_string())?;
        Ok(Self::Finite {
            diagram: Arc::new(diagram),
            value: Expression::parse(value)?,
        })
    }
}
