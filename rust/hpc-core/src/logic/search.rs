//! Search: the events of the log that a cell comes from, or those that did not change it.
//!
//! It is fed rows of the log in order, a piece at a time. Of a register it is known which event it
//! is. What else a generator's cell comes from can be told of each event by itself, from anywhere
//! in the log. To say that an event did *not* change a cell takes the cell as it was then, and what
//! an entry says of a job takes the job as it was: such a search folds its cell, and no other, from
//! the first event on.

use std::sync::Arc;

use super::plan;
use super::reason::reason;
use super::rules::{EventView, Rules};
use super::said::{Place, Said, Witness};
use crate::domain::entry::{Body, LogRow, StoredEvent};
use crate::domain::json::{Map, Value, decode};
use crate::domain::json_write::{ObjectWriter, write_list, write_str};
use crate::lattice::{Cell, KindMismatch};

/// Who knows what an event says.
#[derive(Debug)]
enum Teller {
    Rules(Rules),
    Kernel(Box<Witness>),
}

/// What is looked for.
#[derive(Debug)]
enum Wanted {
    /// The one event that made a register what it is.
    Only(u64),
    /// What the cell comes from.
    Parts,
    /// What did not change it; the cell as it was at the last event looked at.
    WhyNot(Option<Cell>),
}

/// A search for the events of one cell.
#[derive(Debug)]
pub struct Search {
    teller: Teller,
    wanted: Wanted,
    /// As it is now, if there is anything.
    cell: Option<Cell>,
    place: Place,
    hub_id: Arc<str>,
    /// Seq of the last event that was looked at.
    position: u64,
}

/// What a search has found in some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The events as JSON, each followed by a comma.
    pub events: Vec<u8>,
    /// How many.
    pub count: usize,
}

impl Search {
    /// Takes a plan up; a search that folds begins at the first event, any other after `after`.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn new(text: &[u8], hub_id: &str, after: u64) -> Result<Self, String> {
        let value = decode(text)?;
        let plan = value.as_map().ok_or("A plan is a map")?;
        let teller = match plan::rules(plan.str("spec").unwrap_or_default())? {
            Some(rules) => Teller::Rules(rules),
            None => Teller::Kernel(Box::new(Witness::new(hub_id, plan::OwnKinds::of(plan)))),
        };
        let part = |name| plan.str(name).unwrap_or_default().to_owned();
        let mut search = Self {
            teller,
            wanted: wanted(plan),
            cell: plan::cell(plan)?,
            place: Place {
                table: part("table"),
                key: part("key"),
                column: part("column"),
            },
            hub_id: hub_id.into(),
            position: 0,
        };
        if !search.folds() {
            search.position = after;
        }
        Ok(search)
    }

    /// Goes on by a newer plan for the same cell.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn renew(&mut self, text: &[u8]) -> Result<(), String> {
        let value = decode(text)?;
        let plan = value.as_map().ok_or("A plan is a map")?;
        self.cell = plan::cell(plan)?;
        Ok(())
    }

    /// Seq of the last event that was looked at.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Says that the log holds nothing for this search up to a seq.
    pub fn skip_to(&mut self, seq: u64) {
        self.position = self.position.max(seq);
    }

    /// Whether it needs what came before the events that it is asked for.
    #[must_use]
    pub fn folds(&self) -> bool {
        match self.wanted {
            Wanted::Only(_) => false,
            Wanted::WhyNot(_) => true,
            Wanted::Parts => matches!(self.teller, Teller::Kernel(_)),
        }
    }

    /// Looks through rows, up to `end`, for events after `after`, until there are so many.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn run(
        &mut self,
        rows: &[LogRow],
        after: u64,
        end: u64,
        limit: usize,
    ) -> Result<Found, String> {
        let mut found = Found::default();
        for row in rows {
            if row.first_seq + u64::from(row.count) <= self.position + 1 {
                continue;
            }
            if row.body.is_empty() {
                // Compacted: whoever asks has seen to it that it held nothing of this.
                let last = row.first_seq + u64::from(row.count) - 1;
                self.skip_to(last.min(end));
                continue;
            }
            let body = Body::decode(&row.body)?;
            for (index, event) in body.events().enumerate() {
                let seq = row.first_seq + index as u64;
                if seq <= self.position {
                    continue;
                }
                if found.count == limit || seq > end {
                    return Ok(found);
                }
                self.position = seq;
                let told = self.look(&event, seq).map_err(|error| error.to_string())?;
                if let Some(told) = told.filter(|_| seq > after) {
                    found.count += 1;
                    self.write(&mut found.events, row, index, &event, &told);
                }
            }
        }
        Ok(found)
    }

    /// Whether an event is among those that are looked for, and what is to be told of it.
    fn look(&mut self, event: &StoredEvent<'_>, seq: u64) -> Result<Option<Told>, KindMismatch> {
        if matches!(self.wanted, Wanted::Only(only) if only != seq) {
            return Ok(None);
        }
        let said = match &mut self.teller {
            Teller::Rules(rules) => rules.said(&view(event, seq), &self.place)?,
            // The state that made a register so is not needed again.
            Teller::Kernel(_) if matches!(self.wanted, Wanted::Only(_)) => Some(Said::default()),
            Teller::Kernel(witness) => witness.said(event, seq, &self.place)?,
        };
        let Some(said) = said else {
            return Ok(None);
        };
        let told = |value: Option<Cell>, reason| Told {
            value,
            rules: said.rules.clone(),
            reason,
        };
        Ok(match &mut self.wanted {
            // A register is what its one event said.
            Wanted::Only(_) => Some(told(self.cell.clone(), None)),
            Wanted::Parts => {
                let mut alone = None;
                said.join_into(&mut alone, &self.hub_id, seq)?;
                let cell = self.cell.as_ref();
                alone
                    .filter(|alone| cell.is_some_and(|cell| contributes(alone, cell)))
                    .map(|alone| told(Some(alone), None))
            }
            Wanted::WhyNot(before) => {
                let value = said.shown(&self.hub_id, seq);
                let why = match (said.evidence, &value) {
                    (Some(evidence), _) => evidence.to_owned(),
                    (None, Some(value)) => reason(value, before.as_ref()),
                    (None, None) => "says nothing".to_owned(),
                };
                let grew = said.join_into(before, &self.hub_id, seq)?;
                (!grew).then(|| told(value, Some(why)))
            }
        })
    }

    fn write(
        &self,
        out: &mut Vec<u8>,
        row: &LogRow,
        index: usize,
        event: &StoredEvent<'_>,
        told: &Told,
    ) {
        let mut object = ObjectWriter::new(out);
        write_event(&mut object, row, index, event);
        if let Some(origin) = plan::origin(&row.batch_id) {
            object.str("origin", origin);
        }
        if let (Teller::Rules(rules), Some(first)) = (&self.teller, told.rules.first()) {
            object.int("rule", first);
            if told.rules.len() > 1 {
                object.list("rules", &told.rules, |out, index| {
                    crate::domain::json_write::write_display(out, index);
                });
            }
            let on = rules.rule(*first).map_or(&[][..], |rule| &rule.on);
            write_list(object.key("on"), on, &mut |out, kind| write_str(out, kind));
        }
        match &told.value {
            Some(value) => value.write_json(object.key("value")),
            None => {
                object.raw("value", "null");
            }
        }
        if let Some(reason) = &told.reason {
            object.str("reason", reason);
        }
        // `reason` is ours: why nothing came of it. This is theirs: why they held, drained, cancelled.
        if let (Teller::Kernel(_), Some(because)) = (&self.teller, event.spec.str("reason")) {
            object.str("because", because);
        }
        object.end();
        out.push(b',');
    }
}

/// What is told of an event.
struct Told {
    value: Option<Cell>,
    rules: Vec<usize>,
    reason: Option<String>,
}

fn wanted(plan: &Map<'_>) -> Wanted {
    if matches!(plan.get("why_not"), Some(Value::Bool(true))) {
        return Wanted::WhyNot(None);
    }
    let only = plan.int("only").and_then(|seq| u64::try_from(seq).ok());
    only.map_or(Wanted::Parts, Wanted::Only)
}

pub(super) fn view<'e>(event: &StoredEvent<'e>, seq: u64) -> EventView<'e> {
    EventView {
        seq,
        stamp: event.stamp,
        kind: event.kind,
        ns_id: event.ctx.str("ns_id").unwrap_or_default(),
        ctx: event.ctx,
        spec: event.spec,
    }
}

/// Which event it is, when it was said and by which node.
pub(super) fn write_event(
    object: &mut ObjectWriter<'_>,
    row: &LogRow,
    index: usize,
    event: &StoredEvent<'_>,
) {
    object
        .int("seq", row.first_seq + index as u64)
        .str("id", &row.batch_id)
        .int("index", index)
        .int("at", event.stamp.at)
        .str("kind", event.kind);
    if let Some(node_id) = event.ctx.str("node_id") {
        object.str("node_id", node_id);
    }
}

/// Whether what an event says is in a cell: an epoch that is over is not.
fn contributes(said: &Cell, cell: &Cell) -> bool {
    match (said, cell) {
        (Cell::Epoch(said), Cell::Epoch(cell)) => {
            said.at() == cell.at()
                && said
                    .value()
                    .zip(cell.value())
                    .is_some_and(|(said, cell)| contributes(said, cell))
        }
        (Cell::Map(said), Cell::Map(cell)) => said.iter().any(|(key, said)| {
            let mut held = cell.iter().filter(|(known, _)| *known == key);
            held.any(|(_, cell)| contributes(said, cell))
        }),
        // A running total is not below the next one, though it is part of it.
        (Cell::Count(_), Cell::Count(_)) | (Cell::Sum(_), Cell::Sum(_)) => true,
        (said, cell) => said.leq(cell) == Ok(true),
    }
}
