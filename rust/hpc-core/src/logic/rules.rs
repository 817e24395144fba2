//! Generator rules: type-checked and compiled when they are registered, then run on each event.
//!
//! A rule reads one event and never the state, so the facts are a homomorphism of the set of
//! events: order, repeats and batching cannot matter. A rule whose expression is absent in an
//! event adds nothing to that column.

use std::borrow::Cow;
use std::sync::Arc;

use crate::domain::expression::Expression;
use crate::domain::facts::{Column, Delta, Facts, RowRef, Scalar};
use crate::domain::generator::{GeneratorSpec, JoinSpec, RuleSpec};
use crate::domain::json::{Map, Value};
use crate::lattice::epoch::Epoch;
use crate::lattice::finite::Finite;
use crate::lattice::last::{Last, Stamp};
use crate::lattice::map::MapOf;
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::set::Set;
use crate::lattice::tasks::TaskSet;
use crate::lattice::value::{Atom, CanonicalJson};
use crate::lattice::{Cell, KindMismatch, LatticeKind};

/// One event as rules see it: in its stored form.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'e> {
    /// Place in the log.
    pub seq: u64,
    /// Hybrid stamp: ms since 1970 and a counter.
    pub stamp: Stamp,
    /// Kind as it was sent.
    pub kind: &'e str,
    /// Checked context.
    pub ctx: &'e Map<'e>,
    /// Checked spec.
    pub spec: &'e Map<'e>,
}

#[derive(Clone, Debug)]
struct Compiled {
    rule: RuleSpec,
    /// Which rules lead to the same row of the same table as this one, whatever the event is.
    row_class: usize,
    columns: Vec<(Column, JoinSpec)>,
}

/// The rules of a generator by (namespace, kind).
#[derive(Clone, Debug, Default)]
pub struct Rules {
    namespaces: Vec<String>,
    rules: Vec<Compiled>,
    by_kind: Vec<(String, Vec<usize>)>,
}

impl Rules {
    /// Compiles the rules of a spec and lays out its columns.
    #[must_use]
    pub fn compile(spec: &GeneratorSpec, facts: &mut Facts) -> Self {
        let mut rules = Self {
            namespaces: spec.namespaces.clone(),
            ..Self::default()
        };
        for (i, rule) in spec.rules.iter().enumerate() {
            let columns = rule
                .join
                .iter()
                .map(|(name, join)| {
                    let column = facts.column(&rule.table, name, join.kind());
                    (column, join.clone())
                })
                .collect();
            for kind in &rule.on {
                let known = rules.by_kind.iter().position(|(known, _)| known == kind);
                let known = known.unwrap_or_else(|| {
                    rules.by_kind.push((kind.clone(), Vec::new()));
                    rules.by_kind.len() - 1
                });
                let Some((_, reading)) = rules.by_kind.get_mut(known) else {
                    continue;
                };
                if reading.last() != Some(&i) {
                    reading.push(i); // a kind that a rule names twice is read once
                }
            }
            let mut before = rules.rules.iter();
            let same = before.find(|known| {
                let known = &known.rule;
                (&known.table, &known.key, known.is_compound)
                    == (&rule.table, &rule.key, rule.is_compound)
            });
            rules.rules.push(Compiled {
                row_class: same.map_or(i, |known| known.row_class),
                rule: rule.clone(),
                columns,
            });
        }
        rules
    }

    /// Whether the rules read events of this namespace.
    #[must_use]
    pub fn reads(&self, ns_id: &str) -> bool {
        self.namespaces.iter().any(|ns| ns == ns_id)
    }

    fn of(&self, event: &EventView<'_>) -> impl Iterator<Item = &Compiled> {
        let ns = event.ctx.str("ns_id").unwrap_or_default();
        let mut by_kind = self.by_kind.iter();
        let by_kind = by_kind.find(|(kind, _)| kind == event.kind);
        by_kind
            .filter(|_| self.reads(ns))
            .into_iter()
            .flat_map(|(_, rules)| rules)
            .filter_map(|i| self.rules.get(*i))
            .filter(move |compiled| compiled.rule.applies(event))
    }

    /// The longest row key that an event leads to, in bytes.
    #[must_use]
    pub fn key_bytes(&self, event: &EventView<'_>) -> usize {
        self.of(event)
            .filter_map(|compiled| compiled.rule.row_key(event))
            .map(|key| key.len())
            .max()
            .unwrap_or_default()
    }

    /// Joins the delta of one event; whether a cell grew.
    ///
    /// # Errors
    /// Where a cell holds another lattice than its rule: a mistake of ours.
    pub fn apply(
        &self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        facts: &mut Facts,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        // A tally counts an event once, so what several rules say of one cell is summed first.
        let mut tallies: Vec<(Column, Cow<'_, str>, Tally)> = Vec::new();
        // Rules of one table mostly lead to one row, which is looked up once.
        let mut row: Option<(usize, RowRef<'_>)> = None;
        for compiled in self.of(event) {
            let class = compiled.row_class;
            for (column, join) in &compiled.columns {
                if join.is_tally() {
                    let (Some(tally), Some(key)) =
                        (join.tally(event, Vec::new()), compiled.rule.row_key(event))
                    else {
                        continue;
                    };
                    let same = |(c, k, t): &&mut (Column, Cow<'_, str>, Tally)| {
                        c == column && *k == key && t.path == tally.path
                    };
                    match tallies.iter_mut().find(same) {
                        Some((.., before)) => before.amount += tally.amount,
                        None => tallies.push((*column, key.clone(), tally)),
                    }
                } else if let Some(delta) = delta(join, event) {
                    if row.as_ref().is_none_or(|(known, _)| *known != class) {
                        let found = compiled.rule.row_key(event);
                        let found = found.and_then(|key| facts.row(*column, key));
                        row = found.map(|row| (class, row));
                    }
                    if let Some((_, row)) = &mut row {
                        let joined = facts.join_at(row, *column, &delta, event.seq)?;
                        grew |= joined.has_grown();
                    }
                }
            }
        }
        for (column, key, tally) in tallies.iter().filter(|(.., tally)| tally.amount != 0) {
            let Some(mut row) = facts.row(*column, key.clone()) else {
                continue;
            };
            grew |= facts.update_at(&mut row, *column, event.seq, |cell| {
                let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
                Ok(tally.add(cell, &tally.path, hub_id, event.seq))
            })?;
        }
        Ok(grew)
    }
}

/// Where within a cell a tally stands.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Within an epoch.
    At(Atom),
    /// At a key of a map.
    Key(Arc<str>),
}

/// What one event adds to a tally.
#[derive(Clone, Debug)]
struct Tally {
    lattice: LatticeKind,
    amount: i128,
    path: Vec<Step>,
}

impl Tally {
    /// The bottom of what a path leads into.
    fn bot(&self, path: &[Step]) -> Cell {
        Cell::bot(match path.first() {
            None => self.lattice,
            Some(Step::At(_)) => LatticeKind::Epoch,
            Some(Step::Key(_)) => LatticeKind::Map,
        })
    }

    /// Adds the amount at the end of a path; whether the cell grew. The total of an epoch that is
    /// over is not needed any more, so it is not kept.
    fn add(&self, cell: &mut Cell, path: &[Step], hub_id: &Arc<str>, seq: u64) -> bool {
        match (cell, path.split_first()) {
            (Cell::Count(count), None) => count.add(hub_id, seq, self.amount.unsigned_abs()),
            (Cell::Sum(sum), None) => sum.add(hub_id, seq, self.amount),
            (Cell::Map(map), Some((Step::Key(key), rest))) => {
                let inner = map.at_mut(key, || self.bot(rest));
                self.add(inner, rest, hub_id, seq)
            }
            (Cell::Epoch(epoch), Some((Step::At(at), rest))) => match &mut epoch.0 {
                Some((known, _)) if *known > *at => false,
                Some((known, inner)) if known == at => self.add(inner, rest, hub_id, seq),
                begun => {
                    let mut inner = self.bot(rest);
                    self.add(&mut inner, rest, hub_id, seq);
                    *begun = Some((at.clone(), inner));
                    true
                }
            },
            _ => false,
        }
    }
}

impl JoinSpec {
    /// The lattice of the column.
    #[must_use]
    pub fn kind(&self) -> LatticeKind {
        match self {
            Self::Simple { lattice, .. } => *lattice,
            Self::Finite { .. } => LatticeKind::Finite,
            Self::Epoch { .. } => LatticeKind::Epoch,
            Self::Map { .. } => LatticeKind::Map,
        }
    }

    /// Whether it is a count or a sum, or one within epochs and maps.
    fn is_tally(&self) -> bool {
        match self {
            Self::Simple { lattice, .. } => {
                matches!(lattice, LatticeKind::Count | LatticeKind::Sum)
            }
            Self::Finite { .. } => false,
            Self::Epoch { join, .. } | Self::Map { join, .. } => join.is_tally(),
        }
    }

    /// What the rule adds to a tally; a count takes nothing below 0.
    fn tally(&self, event: &EventView<'_>, mut path: Vec<Step>) -> Option<Tally> {
        match self {
            Self::Simple { lattice, value } => {
                let amount = match (lattice, value.read(event).as_deref()) {
                    (LatticeKind::Count, Some(Value::Int(n))) => (*n).max(0).into(),
                    (LatticeKind::Sum, Some(Value::Int(n))) => (*n).into(),
                    _ => 0,
                };
                Some(Tally {
                    lattice: *lattice,
                    amount,
                    path,
                })
            }
            Self::Finite { .. } => None,
            Self::Epoch { at, join } => {
                path.push(Step::At(atom(&*at.read(event)?)?));
                join.tally(event, path)
            }
            Self::Map { key, join } => {
                path.push(Step::Key(key_text(key, event)?.as_ref().into()));
                join.tally(event, path)
            }
        }
    }
}

impl RuleSpec {
    fn applies(&self, event: &EventView<'_>) -> bool {
        self.conditions
            .iter()
            .all(|(expression, expected)| expression.read(event).as_deref() == Some(expected))
    }

    fn row_key<'e>(&'e self, event: &EventView<'e>) -> Option<Cow<'e, str>> {
        if let ([expression], false) = (self.key.as_slice(), self.is_compound) {
            return key_text(expression, event);
        }
        let parts = self.key.iter().map(|e| e.read(event).map(Cow::into_owned));
        let parts = parts.collect::<Option<Vec<_>>>()?;
        Some(Cow::Owned(Value::List(parts).to_text()))
    }
}

/// A key of a row or a map: a String as it is, anything else as its text.
fn key_text<'e>(expression: &'e Expression, event: &EventView<'e>) -> Option<Cow<'e, str>> {
    match expression.read(event)? {
        Cow::Borrowed(Value::Str(text)) => Some(Cow::Borrowed(text)),
        Cow::Owned(Value::Str(text)) => Some(Cow::Owned(text.into_owned())),
        value => Some(Cow::Owned(value.to_text())),
    }
}

impl Expression {
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
        (*found != Value::Null).then_some(Cow::Borrowed(found))
    }
}

/// The delta of one event in one column; tallies are running totals and not made here.
fn delta<'e>(join: &'e JoinSpec, event: &EventView<'e>) -> Option<Delta<'e>> {
    match join {
        JoinSpec::Simple { lattice, value } => match value.read(event)? {
            Cow::Borrowed(value) => delta_of(*lattice, value, event),
            Cow::Owned(value) => {
                let cell = cell_of(*lattice, &value, event)?;
                Some(Delta::Cell(Cow::Owned(cell)))
            }
        },
        _ => Some(Delta::Cell(Cow::Owned(cell(join, event)?))),
    }
}

/// What a value of the event says in a column.
fn delta_of<'e>(
    lattice: LatticeKind,
    value: &'e Value<'e>,
    event: &EventView<'e>,
) -> Option<Delta<'e>> {
    Some(match lattice {
        LatticeKind::Max | LatticeKind::Min | LatticeKind::Once => {
            Delta::Value(lattice, Scalar::of(value)?)
        }
        LatticeKind::Or => match value {
            Value::Bool(_) => Delta::Value(lattice, Scalar::of(value)?),
            _ => return None,
        },
        LatticeKind::Last => {
            let node = event.ctx.str("node_id").unwrap_or_default();
            Delta::Last(event.stamp, node, Scalar::of(value)?)
        }
        LatticeKind::Tasks => Delta::of_tasks(&TaskSet::parse(value.as_str()?).ok()?),
        _ => Delta::Cell(Cow::Owned(cell_of(lattice, value, event)?)),
    })
}

/// The delta of one event as a cell of its own.
fn cell(join: &JoinSpec, event: &EventView<'_>) -> Option<Cell> {
    match join {
        JoinSpec::Simple { lattice, value } => {
            let value = value.read(event)?;
            cell_of(*lattice, &value, event)
        }
        JoinSpec::Epoch { at, join } => {
            let at = at.read(event)?;
            let at = atom(&at)?;
            Some(Cell::from(Epoch::of(at, cell(join, event)?)))
        }
        JoinSpec::Map { key, join } => {
            let key = key_text(key, event)?;
            let said = cell(join, event)?;
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
