//! Placement: where a task may run, beyond what it takes: labels, nodes by name, a node to itself.
//!
//! It is part of a request's shape (`queue.rs`): what a submit says of it, as its namespace's
//! `placement` names it, and whether a node is such a place. What fits is the node's book's.

use super::nodes::Node;
use super::units::duration;
use crate::domain::expression::Expression;
use crate::domain::ids::{ID_EXPECTED, is_id};
use crate::domain::json::{Map, Value};
use crate::domain::namespace::NamespaceSpec;
use crate::domain::problem::FieldError;
use crate::lattice::codec::{Codec, DecodeError, Reader};

/// The most labels, and nodes by name, that a submit gives.
const NAMES_MAX: usize = 1_024;

/// Where the tasks of a job may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Placement {
    /// Labels that a node must have, by key.
    pub require: Vec<(String, String)>,
    /// Only these nodes, where any are named.
    pub nodes: Vec<String>,
    /// None of these.
    pub exclude: Vec<String>,
    /// Whether a task has its node to itself.
    pub is_exclusive: bool,
    /// The most tasks of a job that are leased to one node at a time.
    pub max_per_node: Option<u64>,
    /// How long a node must still be there, ms.
    pub min_time_ms: Option<u64>,
}

impl Placement {
    /// What a submit says, by its namespace's expressions; wrong values say nothing here, as
    /// [`check`] has refused them.
    #[must_use]
    pub fn of(ns: &NamespaceSpec, spec: &Map<'_>) -> Self {
        let mut placement = Self::default();
        for (key, expression) in &ns.placement {
            let Some(value) = read(expression, spec) else {
                continue;
            };
            match key.as_str() {
                "require" => placement.require = labels(value).unwrap_or_default(),
                "nodes" => placement.nodes = ids(value).unwrap_or_default(),
                "exclude" => placement.exclude = ids(value).unwrap_or_default(),
                "exclusive" => placement.is_exclusive = matches!(value, Value::Bool(true)),
                "max_per_node" => placement.max_per_node = count(value),
                "min_time" => placement.min_time_ms = milliseconds(value),
                _ => {}
            }
        }
        placement
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_anywhere(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a node is such a place, full or not; `left_ms` is how long it will be there.
    #[must_use]
    pub fn allows(&self, node: &Node, left_ms: Option<i64>) -> bool {
        self.obstacle(node, left_ms).is_none()
    }

    /// Whether a node is among those that it names.
    #[must_use]
    pub fn names(&self, id: &str) -> bool {
        is_among(&self.nodes, id)
    }

    /// What is wrong with a node as a place, in words that follow its name.
    #[must_use]
    pub fn obstacle(&self, node: &Node, left_ms: Option<i64>) -> Option<String> {
        if !self.nodes.is_empty() && !self.names(&node.id) {
            return Some("is none of the nodes that it names".to_owned());
        }
        if is_among(&self.exclude, &node.id) {
            return Some("is excluded by it".to_owned());
        }
        for (key, value) in &self.require {
            let label = node.labels.iter().find(|(name, _)| name == key);
            match label {
                Some((_, found)) if found == value => {}
                Some((_, found)) => return Some(format!("has {key}={found}, not {key}={value}")),
                None => return Some(format!("has no label {key}={value}")),
            }
        }
        let needed = i64::try_from(self.min_time_ms?).unwrap_or(i64::MAX);
        let left = left_ms.filter(|left| *left < needed)?;
        Some(format!(
            "ends in {}, it needs {}",
            duration(left / 1000),
            duration(needed / 1000)
        ))
    }
}

/// Whether an id is among others, which are in order.
fn is_among(ids: &[String], id: &str) -> bool {
    ids.binary_search_by(|of| of.as_str().cmp(id)).is_ok()
}

fn read<'v>(expression: &'v Expression, spec: &'v Map<'_>) -> Option<&'v Value<'v>> {
    match expression {
        Expression::Spec(key) => spec.get(key),
        Expression::Literal(value) => Some(value),
        _ => None,
    }
}

fn labels(value: &Value<'_>) -> Option<Vec<(String, String)>> {
    let map = value.as_map()?;
    // The pairs of a map stand in the order of their keys.
    let pairs = map
        .iter()
        .map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())));
    pairs.collect()
}

fn ids(value: &Value<'_>) -> Option<Vec<String>> {
    let ids = value.as_list()?.iter();
    let ids = ids.map(|id| id.as_str().filter(|id| is_id(id)).map(str::to_owned));
    let mut ids = ids.collect::<Option<Vec<_>>>()?;
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}

fn count(value: &Value<'_>) -> Option<u64> {
    match value {
        Value::Int(n) => u64::try_from(*n).ok().filter(|n| *n > 0),
        _ => None,
    }
}

fn milliseconds(value: &Value<'_>) -> Option<u64> {
    #[expect(clippy::cast_precision_loss, reason = "a length of time")]
    let seconds = match value {
        Value::Int(n) => *n as f64,
        Value::Float(x) => *x,
        _ => return None,
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive, and bounded by the cast"
    )]
    (seconds > 0.0).then(|| (seconds * 1000.0).ceil().min(1e15) as u64)
}

/// Checks what a submit says of its placement, and of resources that its namespace does not name
/// one by one.
pub fn check(ns: &NamespaceSpec, spec: &Map<'_>, errors: &mut Vec<FieldError>) {
    for (key, expression) in &ns.placement {
        let (Expression::Spec(field), Some(value)) = (expression, read(expression, spec)) else {
            continue;
        };
        let is_long = |value: &Value<'_>| {
            let length = match value {
                Value::List(list) => list.len(),
                Value::Map(map) => map.len(),
                _ => 0,
            };
            length > NAMES_MAX
        };
        let expected = match key.as_str() {
            "require" if labels(value).is_none() => "Map of label to String".to_owned(),
            "nodes" | "exclude" if ids(value).is_none() => format!("List of ids: {ID_EXPECTED}"),
            "max_per_node" if count(value).is_none() => "Int from 1".to_owned(),
            "min_time" if milliseconds(value).is_none() => "seconds above 0".to_owned(),
            _ if is_long(value) => format!("at most {NAMES_MAX} of them"),
            _ => continue,
        };
        errors.push(FieldError::new(
            format!("spec.{field}"),
            expected,
            value.shown(),
        ));
    }
    let Some((Expression::Spec(field), Value::Map(map))) = ns
        .more_resources
        .as_ref()
        .and_then(|expression| Some((expression, read(expression, spec)?)))
    else {
        return;
    };
    for (name, amount) in map.iter() {
        let field = || format!("spec.{field}.{name}");
        if !is_id(name) {
            errors.push(FieldError::new(
                field(),
                ID_EXPECTED,
                Value::text(name).shown(),
            ));
        } else if ns.resources.iter().any(|(known, _)| known == name) {
            let expected = "a resource that has no field of its own";
            errors.push(FieldError::new(
                field(),
                expected,
                Value::text(name).shown(),
            ));
        } else if count(amount).is_none() {
            errors.push(FieldError::new(field(), "Int from 1", amount.shown()));
        }
    }
}

/// What a submit takes of resources that its namespace does not name one by one.
pub fn more_resources<'s>(
    ns: &'s NamespaceSpec,
    spec: &'s Map<'_>,
) -> impl Iterator<Item = (&'s str, i64)> {
    let map = ns
        .more_resources
        .as_ref()
        .and_then(|expression| read(expression, spec)?.as_map());
    let amounts = map.into_iter().flat_map(Map::iter);
    amounts.filter_map(|(name, amount)| match amount {
        Value::Int(n) if *n > 0 => Some((name, *n)),
        _ => None,
    })
}

impl Codec for Placement {
    fn encode(&self, out: &mut Vec<u8>) {
        self.require.encode(out);
        self.nodes.encode(out);
        self.exclude.encode(out);
        self.is_exclusive.encode(out);
        self.max_per_node.encode(out);
        self.min_time_ms.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            require: Codec::decode(reader)?,
            nodes: Codec::decode(reader)?,
            exclude: Codec::decode(reader)?,
            is_exclusive: Codec::decode(reader)?,
            max_per_node: Codec::decode(reader)?,
            min_time_ms: Codec::decode(reader)?,
        })
    }
}
