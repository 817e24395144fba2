//! Generator rules: type-checked and compiled when they are registered, then run on each event.
//!
//! A rule reads one event and never the state, so the facts are a homomorphism of the set of
//! events: order, repeats and batching cannot matter. A rule whose expression is absent in an
//! event adds nothing to that column.

use std::sync::Arc;

use super::conflicts::Conflicts;
use super::readings::delta;
use super::tallies::Tallies;
use crate::domain::facts::{Column, Facts, Joined, RowWriter};
use crate::domain::generator::{GeneratorSpec, JoinSpec, RuleSpec};
use crate::domain::json::Map;
use crate::lattice::last::Stamp;
use crate::lattice::{Cell, KindMismatch};

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
                    let joined = match join.value(event) {
                        Some(Some((kind, said))) => self.writer.join_value(column, kind, &said)?,
                        Some(None) => continue,
                        None => match delta(join, event) {
                            Some(delta) => self.writer.join(column, &delta)?,
                            None => continue,
                        },
                    };
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
