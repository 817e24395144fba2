//! What rules read from an event: expressions, keys of rows, and the deltas that come of them.

use std::borrow::Cow;

use super::rules::EventView;
use crate::domain::expression::Expression;
use crate::domain::facts::{Delta, Scalar};
use crate::domain::generator::{JoinSpec, RuleSpec};
use crate::domain::json::{Map, Value};
use crate::lattice::epoch::Epoch;
use crate::lattice::finite::Finite;
use crate::lattice::last::Last;
use crate::lattice::map::MapOf;
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::set::Set;
use crate::lattice::tasks::TaskSet;
use crate::lattice::value::{Atom, CanonicalJson};
use crate::lattice::{Cell, LatticeKind};

impl RuleSpec {
    pub(super) fn applies(&self, event: &EventView<'_>) -> bool {
        self.conditions
            .iter()
            .all(|(expression, expected)| expression.read(event).as_deref() == Some(expected))
    }

    pub(super) fn row_key<'e>(&'e self, event: &EventView<'e>) -> Option<Cow<'e, str>> {
        if let ([expression], false) = (self.key.as_slice(), self.is_compound) {
            return key_text(expression, event);
        }
        let parts = self.key.iter().map(|e| e.read(event).map(Cow::into_owned));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        Some(Cow::Owned(Value::List(parts).to_text()))
    }
}

/// A key of a row or a map: a String as it is, anything else as its text.
pub(super) fn key_text<'e>(
    expression: &'e Expression,
    event: &EventView<'e>,
) -> Option<Cow<'e, str>> {
    if let Some(value) = expression.field(event) {
        return match value? {
            Value::Str(text) => Some(Cow::Borrowed(text)),
            value => Some(Cow::Owned(value.to_text())),
        };
    }
    match expression.read(event)? {
        Cow::Borrowed(Value::Str(text)) => Some(Cow::Borrowed(text)),
        Cow::Owned(Value::Str(text)) => Some(Cow::Owned(text.into_owned())),
        value => Some(Cow::Owned(value.to_text())),
    }
}

impl Expression {
    /// A field of the event, where the expression is one: what it holds, if it is there.
    #[inline]
    fn field<'e>(&self, event: &EventView<'e>) -> Option<Option<&'e Value<'e>>> {
        let found = match self {
            Self::Ctx(key) => event.ctx.get(key),
            Self::Spec(key) => event.spec.get(key),
            _ => return None,
        };
        Some(found.filter(|value| !matches!(value, Value::Null)))
    }

    /// What the expression is in an event; `None` where it is absent.
    #[must_use]
    pub fn read<'e>(&'e self, event: &EventView<'e>) -> Option<Cow<'e, Value<'e>>> {
        let found = match self {
            Self::Ctx(key) => event.ctx.get(key)?,
            Self::Spec(key) => event.spec.get(key)?,
            Self::Literal(value) => value,
            Self::Map(parts) => {
                let parts = parts.iter().map(|(key, part)| {
                    let value = part.read(event)?.into_owned();
                    Some((key.as_str(), value))
                });
                return parts
                    .collect::<Option<Map<'e>>>()
                    .map(|map| Cow::Owned(Value::Map(map)));
            }
            Self::Kind => return Some(Cow::Owned(Value::text(event.kind))),
            Self::Seq => {
                return i64::try_from(event.seq)
                    .ok()
                    .map(|n| Cow::Owned(Value::Int(n)));
            }
            Self::At => return Some(Cow::Owned(Value::Int(event.stamp.at))),
        };
        (!matches!(found, Value::Null)).then_some(Cow::Borrowed(found))
    }
}

impl JoinSpec {
    /// The value that an event says where the spec is a field of it in a `max`, `min` or `once`; most
    /// are.
    #[inline]
    pub(super) fn value<'e>(
        &self,
        event: &EventView<'e>,
    ) -> Option<Option<(LatticeKind, Scalar<'e>)>> {
        match self {
            Self::Simple {
                lattice: lattice @ (LatticeKind::Max | LatticeKind::Min | LatticeKind::Once),
                value,
            } => {
                let value = value.field(event)?;
                Some(value.and_then(Scalar::of).map(|said| (*lattice, said)))
            }
            _ => None,
        }
    }
}

/// The delta of one event in one column; tallies are running totals and not made here.
pub(super) fn delta<'e>(join: &'e JoinSpec, event: &EventView<'e>) -> Option<Delta<'e>> {
    match join {
        JoinSpec::Simple { lattice, value } => {
            if let Some(value) = value.field(event) {
                return delta_of(*lattice, value?, event);
            }
            match value.read(event)? {
                Cow::Borrowed(value) => delta_of(*lattice, value, event),
                // A value that was made is a scalar too, but for text of its own.
                Cow::Owned(value) => {
                    let said = Scalar::of_made(&value);
                    let delta = said.and_then(|said| delta_of_scalar(*lattice, said, event));
                    delta.or_else(|| {
                        let cell = cell_of(*lattice, &value, event)?;
                        Some(Delta::Cell(Cow::Owned(cell)))
                    })
                }
            }
        }
        _ => Some(Delta::Cell(Cow::Owned(said(join, event)?))),
    }
}

/// What a value of the event says in a column.
fn delta_of<'e>(
    lattice: LatticeKind,
    value: &'e Value<'e>,
    event: &EventView<'e>,
) -> Option<Delta<'e>> {
    match lattice {
        LatticeKind::Max | LatticeKind::Min | LatticeKind::Once | LatticeKind::Last => {
            delta_of_scalar(lattice, Scalar::of(value)?, event)
        }
        LatticeKind::Or => match value {
            Value::Bool(_) => Some(Delta::Value(lattice, Scalar::of(value)?)),
            _ => None,
        },
        LatticeKind::Tasks => Some(Delta::of_tasks(&TaskSet::parse(value.as_str()?).ok()?)),
        _ => Some(Delta::Cell(Cow::Owned(cell_of(lattice, value, event)?))),
    }
}

/// What one value says in a column of a lattice that holds one; `None` for other lattices.
fn delta_of_scalar<'e>(
    lattice: LatticeKind,
    said: Scalar<'e>,
    event: &EventView<'e>,
) -> Option<Delta<'e>> {
    match lattice {
        LatticeKind::Max | LatticeKind::Min | LatticeKind::Once => {
            Some(Delta::Value(lattice, said))
        }
        LatticeKind::Last => {
            let node = event.ctx.str("node_id").unwrap_or_default();
            Some(Delta::Last(event.stamp, node, said))
        }
        _ => None,
    }
}

/// The delta of one event as a cell of its own; tallies are running totals and not made here.
pub(super) fn said(join: &JoinSpec, event: &EventView<'_>) -> Option<Cell> {
    match join {
        JoinSpec::Simple { lattice, value } => {
            let value = value.read(event)?;
            cell_of(*lattice, &value, event)
        }
        JoinSpec::Epoch { at, join } => {
            let at = at.read(event)?;
            let at = atom(&at)?;
            Some(Cell::from(Epoch::of(at, said(join, event)?)))
        }
        JoinSpec::Map { key, join } => {
            let key = key_text(key, event)?;
            let said = said(join, event)?;
            Some(Cell::from(MapOf::from_cell(key.as_ref().into(), said)))
        }
        JoinSpec::Finite { diagram, value } => {
            let value = value.read(event)?;
            Finite::of(diagram, value.as_str()?).map(Cell::from)
        }
    }
}

fn cell_of(lattice: LatticeKind, value: &Value<'_>, event: &EventView<'_>) -> Option<Cell> {
    match lattice {
        LatticeKind::Tasks => {
            let tasks = TaskSet::parse(value.as_str()?).ok()?;
            Some(Cell::Tasks(tasks))
        }
        LatticeKind::Or => match value {
            Value::Bool(b) => Some(Cell::Or(Or(*b))),
            _ => None,
        },
        LatticeKind::Max => Some(Max::of(atom(value)?).into()),
        LatticeKind::Min => Some(Min::of(atom(value)?).into()),
        LatticeKind::Once => Some(Once::of(atom(value)?).into()),
        LatticeKind::Set => Some(Set::of(atom(value)?).into()),
        LatticeKind::Last => {
            let node = event.ctx.str("node_id").unwrap_or_default();
            Some(Last::of(event.stamp, node.into(), atom(value)?).into())
        }
        LatticeKind::Count
        | LatticeKind::Sum
        | LatticeKind::Epoch
        | LatticeKind::Map
        | LatticeKind::Finite => None,
    }
}

/// A value as a lattice holds it; `None` for null and for integers that no field takes.
#[must_use]
pub fn atom(value: &Value<'_>) -> Option<Atom> {
    match value {
        Value::Null | Value::Big(_) => None,
        Value::Bool(b) => Some(Atom::Bool(*b)),
        Value::Int(n) => Some(Atom::Int(*n)),
        Value::Float(x) => Atom::float(*x).ok(),
        Value::Str(text) => Some(Atom::Str(text.as_ref().into())),
        Value::List(_) | Value::Map(_) => Some(Atom::Json(CanonicalJson::from_canonical(
            value.to_text().into(),
        ))),
    }
}
