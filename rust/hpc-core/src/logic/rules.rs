//! Generator rules: type-checked and compiled when they are registered, then run on each event.
//!
//! A rule reads one event and never the state, so the facts are a homomorphism of the set of
//! events: order, repeats and batching cannot matter. A rule whose expression is absent in an
//! event adds nothing to that column.

use std::borrow::Cow;
use std::sync::Arc;

use super::conflicts::Conflicts;
use crate::domain::expression::Expression;
use crate::domain::facts::{Column, Delta, Facts, Joined, RowWriter, Scalar};
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
    /// Namespace, or nothing.
    pub ns_id: &'e str,
    /// Checked context.
    pub ctx: &'e Map<'e>,
    /// Checked spec.
    pub spec: &'e Map<'e>,
}

/// One rule, laid out.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) rule: RuleSpec,
    pub(super) targets: Vec<Target>,
}

/// A column that a rule writes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    column: Column,
    pub(super) name: String,
    pub(super) join: JoinSpec,
    /// Whether values can contradict each other in it.
    is_watched: bool,
    /// Whether it is a tally, and no other rule writes the column.
    tally: Option<Tallied>,
}

/// How a tally is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tallied {
    /// At once: one rule alone writes it.
    Alone,
    /// Once what all rules say of it is summed: it counts an event once.
    Together,
}

/// The rules of a generator by (namespace, kind).
#[derive(Clone, Debug, Default)]
pub struct Rules {
    namespaces: Vec<String>,
    rules: Vec<Compiled>,
    by_kind: Vec<(String, Reading)>,
}

/// The rules that read a kind, by their places in the spec.
#[derive(Clone, Debug, Default)]
struct Reading {
    /// In the order of the spec.
    all: Vec<usize>,
    /// Those that lead to one row together, which is looked up once.
    groups: Vec<Vec<usize>>,
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
            let targets = rule.join.iter().map(|(name, join)| Target {
                column: facts.column(&rule.table, name, join.kind()),
                name: name.clone(),
                join: join.clone(),
                is_watched: join.has_once(),
                tally: join.is_tally().then(|| {
                    let writes = |other: &&RuleSpec| {
                        other.table == rule.table
                            && other.join.iter().any(|(known, _)| known == name)
                    };
                    match spec.rules.iter().filter(writes).count() {
                        1 => Tallied::Alone,
                        _ => Tallied::Together,
                    }
                }),
            });
            let targets = targets.collect();
            for kind in &rule.on {
                if !rules.by_kind.iter().any(|(known, _)| known == kind) {
                    rules.by_kind.push((kind.clone(), Reading::default()));
                }
                let mut known = rules.by_kind.iter_mut();
                // A kind that a rule names twice is read once.
                if let Some((_, reading)) = known.find(|(known, _)| known == kind)
                    && reading.all.last() != Some(&i)
                {
                    reading.all.push(i);
                }
            }
            rules.rules.push(Compiled {
                rule: rule.clone(),
                targets,
            });
        }
        for (_, reading) in &mut rules.by_kind {
            for i in &reading.all {
                let rule = spec.rules.get(*i);
                let row = rule.map(|rule| (&rule.table, &rule.key, rule.is_compound));
                let mut groups = reading.groups.iter_mut();
                let same = groups.find(|group| {
                    let first = group.first().and_then(|first| spec.rules.get(*first));
                    first.map(|rule| (&rule.table, &rule.key, rule.is_compound)) == row
                });
                match same {
                    Some(group) => group.push(*i),
                    None => reading.groups.push(vec![*i]),
                }
            }
        }
        rules
    }

    /// Whether the rules read events of this namespace.
    #[must_use]
    pub fn reads(&self, ns_id: &str) -> bool {
        self.namespaces.iter().any(|ns| ns == ns_id)
    }

    /// What reads events of this namespace and kind.
    fn reading(&self, event: &EventView<'_>) -> Option<&Reading> {
        let mut by_kind = self.by_kind.iter();
        let (_, reading) = by_kind.find(|(kind, _)| kind == event.kind)?;
        self.reads(event.ns_id).then_some(reading)
    }

    /// The rules that read an event, each with its place in the spec.
    #[inline]
    pub(super) fn of(&self, event: &EventView<'_>) -> impl Iterator<Item = (usize, &Compiled)> {
        let all = self.reading(event).map_or(&[][..], |reading| &reading.all);
        all.iter()
            .filter_map(|i| Some((*i, self.rules.get(*i)?)))
            .filter(move |(_, compiled)| compiled.rule.applies(event))
    }

    /// A rule by its place in the spec.
    pub(super) fn rule(&self, index: usize) -> Option<&RuleSpec> {
        self.rules.get(index).map(|compiled| &compiled.rule)
    }

    /// The longest row key that an event leads to, in bytes.
    #[must_use]
    pub fn key_bytes(&self, event: &EventView<'_>) -> usize {
        self.of(event)
            .filter_map(|(_, compiled)| compiled.rule.row_key(event))
            .map(|key| key.len())
            .max()
            .unwrap_or_default()
    }

    /// Joins the delta of one event, and notes which cells contradict themselves; whether a cell
    /// grew.
    ///
    /// # Errors
    /// Where a cell holds another lattice than its rule: a mistake of ours.
    pub fn apply(
        &self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        facts: &mut Facts,
        conflicts: &mut Conflicts,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        let mut tallies = Tallies::default();
        for group in self
            .reading(event)
            .map_or(&[][..], |reading| &reading.groups)
        {
            let mut group = group.iter().filter_map(|i| self.rules.get(*i));
            let Some(first) = group.next() else {
                continue;
            };
            let key = first.rule.row_key(event);
            let column = first.targets.first().map(|target| target.column);
            let (Some(key), Some(column)) = (key.as_deref(), column) else {
                continue;
            };
            let row = facts.row(column, key);
            let Some(mut writer) = row.and_then(|row| facts.write(&row, event.seq)) else {
                continue;
            };
            let mut row = Row {
                writer: &mut writer,
                key,
                hub_id,
                tallies: &mut tallies,
                conflicts,
            };
            for compiled in std::iter::once(first).chain(group) {
                if compiled.rule.applies(event) {
                    row.write(compiled, event)?;
                }
            }
            grew |= writer.end();
        }
        Ok(grew | tallies.add(event, hub_id, facts)?)
    }
}

/// The row that rules write.
struct Row<'a, 'f> {
    writer: &'a mut RowWriter<'f>,
    key: &'a str,
    hub_id: &'a Arc<str>,
    tallies: &'a mut Tallies,
    conflicts: &'a mut Conflicts,
}

impl Row<'_, '_> {
    /// Joins what one rule says.
    fn write(&mut self, compiled: &Compiled, event: &EventView<'_>) -> Result<(), KindMismatch> {
        for target in &compiled.targets {
            let (column, join) = (target.column, &target.join);
            match target.tally {
                Some(tallied) => {
                    let Some(tally) = join.tally(event, Vec::new()) else {
                        continue;
                    };
                    if tallied == Tallied::Together {
                        self.tallies.push(column, self.key, tally);
                    } else if tally.amount != 0 {
                        let add = |cell: &mut Option<Cell>| {
                            let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
                            Ok(tally.add(cell, &tally.path, self.hub_id, event.seq))
                        };
                        self.writer.update(column, add)?;
                    }
                }
                None => {
                    let Some(delta) = delta(join, event) else {
                        continue;
                    };
                    let joined = self.writer.join(column, &delta)?;
                    if joined == Joined::GrewWide
                        && target.is_watched
                        && let Some(cell) = self.writer.get(column)
                    {
                        let table = &compiled.rule.table;
                        self.conflicts.note(table, self.key, &target.name, &cell);
                    }
                }
            }
        }
        Ok(())
    }
}

/// What several rules say of one tally: it counts an event once, so it is summed first.
#[derive(Debug, Default)]
struct Tallies(Vec<(Column, String, Tally)>);

impl Tallies {
    fn push(&mut self, column: Column, key: &str, tally: Tally) {
        let same = |(c, k, t): &&mut (Column, String, Tally)| {
            *c == column && k == key && t.path == tally.path
        };
        match self.0.iter_mut().find(same) {
            Some((.., before)) => before.amount += tally.amount,
            None => self.0.push((column, key.to_owned(), tally)),
        }
    }

    fn add(
        &self,
        event: &EventView<'_>,
        hub_id: &Arc<str>,
        facts: &mut Facts,
    ) -> Result<bool, KindMismatch> {
        let mut grew = false;
        for (column, key, tally) in self.0.iter().filter(|(.., tally)| tally.amount != 0) {
            let row = facts.row(*column, key);
            let writer = row.and_then(|row| facts.write(&row, event.seq));
            if let Some(mut writer) = writer {
                writer.update(*column, |cell| {
                    let cell = cell.get_or_insert_with(|| tally.bot(&tally.path));
                    Ok(tally.add(cell, &tally.path, hub_id, event.seq))
                })?;
                grew |= writer.end();
            }
        }
        Ok(grew)
    }
}

/// Where within a cell a tally stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Within an epoch.
    At(Atom),
    /// At a key of a map.
    Key(Arc<str>),
}

/// What one event adds to a tally.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    lattice: LatticeKind,
    pub(super) amount: i128,
    pub(super) path: Vec<Step>,
}

impl Tally {
    /// The bottom of what a path leads into.
    pub(super) fn bot(&self, path: &[Step]) -> Cell {
        Cell::bot(match path.first() {
            None => self.lattice,
            Some(Step::At(_)) => LatticeKind::Epoch,
            Some(Step::Key(_)) => LatticeKind::Map,
        })
    }

    /// Adds the amount at the end of a path; whether the cell grew. The total of an epoch that is
    /// over is not needed any more, so it is not kept.
    pub(super) fn add(&self, cell: &mut Cell, path: &[Step], hub_id: &Arc<str>, seq: u64) -> bool {
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
    pub(super) fn is_tally(&self) -> bool {
        match self {
            Self::Simple { lattice, .. } => {
                matches!(lattice, LatticeKind::Count | LatticeKind::Sum)
            }
            Self::Finite { .. } => false,
            Self::Epoch { join, .. } | Self::Map { join, .. } => join.is_tally(),
        }
    }

    /// Whether it is a once, or one within epochs and maps.
    fn has_once(&self) -> bool {
        match self {
            Self::Simple { lattice, .. } => *lattice == LatticeKind::Once,
            Self::Finite { .. } => false,
            Self::Epoch { join, .. } | Self::Map { join, .. } => join.has_once(),
        }
    }

    /// What the rule adds to a tally; a count takes nothing below 0.
    pub(super) fn tally(&self, event: &EventView<'_>, mut path: Vec<Step>) -> Option<Tally> {
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
fn key_text<'e>(expression: &'e Expression, event: &EventView<'e>) -> Option<Cow<'e, str>> {
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
        Some(found.filter(|value| **value != Value::Null))
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
        (*found != Value::Null).then_some(Cow::Borrowed(found))
    }
}

/// The delta of one event in one column; tallies are running totals and not made here.
fn delta<'e>(join: &'e JoinSpec, event: &EventView<'e>) -> Option<Delta<'e>> {
    match join {
        JoinSpec::Simple { lattice, value } => {
            if let Some(value) = value.field(event) {
                return delta_of(*lattice, value?, event);
            }
            match value.read(event)? {
                Cow::Borrowed(value) => delta_of(*lattice, value, event),
                Cow::Owned(value) => {
                    let cell = cell_of(*lattice, &value, event)?;
                    Some(Delta::Cell(Cow::Owned(cell)))
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
