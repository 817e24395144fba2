//! Explain: which events of the log a cell comes from.
//!
//! A register (max, min, last, or) comes from one event: the one at which it last grew, which its
//! row remembers. Everything else comes from all events that said something of it; they are found
//! by running the rules over the log again, a piece at a time. The engine makes the plan, since it
//! has the facts; whoever has the log reads the pieces, so that neither waits for the other.

use super::attempts::Settles;
use super::hub::Hub;
use super::kernel::{Entry, KERNEL_GID, KernelFacts};
use super::query::Query;
use super::rules::{EventView, Rules};
use crate::domain::entry::{Body, LogRow, StoredEvent};
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::facts::Facts;
use crate::domain::generator::GeneratorSpec;
use crate::domain::json::{Map, Value, decode};
use crate::domain::json_write::{ObjectWriter, write_str};
use crate::domain::problem::{Problem, nearest};
use crate::lattice::codec::Codec;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Cell, KindMismatch};

/// The most events that one answer tells.
const EVENTS_MAX: u64 = 10_000;

impl Hub {
    /// The plan for one cell: `{"cursor", "only", "cell", "spec", "acts_as"}`.
    pub(super) fn explain(&mut self, token: u64, query: &str) {
        match self.plan(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn plan(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let known = ["gid", "table", "key", "column", "after", "limit"];
        let query = Query::parse(query, &known)?;
        let [gid, table, key, column] = ["gid", "table", "key", "column"].map(|name| {
            let missing =
                || Problem::bad_query(name, format!("Query parameter `{name}` is missing"));
            query.get(name).ok_or_else(|| Box::new(missing()))
        });
        let (gid, table, key, column) = (gid?, table?, key?, column?);
        query.int("after", 0, u64::MAX)?;
        query.int("limit", 1, EVENTS_MAX)?;
        let generator = self.state.generators.get(gid);
        let (facts, spec) = match generator {
            Some(generator) => (generator.facts(), generator.serving_text()),
            None if gid == KERNEL_GID => (self.state.kernel.facts(), ""),
            None => return Err(self.unknown_generator(gid)),
        };
        let (cell, changed) = found(facts, table, key, column)?;
        let cell = &cell;
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        let only = is_register(cell).then_some(changed);
        object.value(
            "only",
            &only.map_or(Value::Null, |seq| {
                Value::Int(i64::try_from(seq).unwrap_or(i64::MAX))
            }),
        );
        object.str("cell", &hex(&cell.to_bytes()));
        object.str("spec", spec);
        let namespaces = self.state.namespaces.iter();
        let own = namespaces.flat_map(|(ns_id, ns)| {
            let kinds = ns.spec.acts_as.iter();
            kinds.map(move |(kind, acts)| [ns_id, kind.as_str(), acts.wire()])
        });
        object.list("acts_as", own, |out, words| {
            crate::domain::json_write::write_list(out, words, &mut |out, word| {
                write_str(out, word)
            });
        });
        object.end();
        Ok(out)
    }
}

fn found(facts: &Facts, table: &str, key: &str, column: &str) -> Result<(Cell, u64), Box<Problem>> {
    let refuse = |what: &str, name: &str, known: Vec<&str>| {
        let problem = Problem::not_found(format!("{what} `{name}` is not there"));
        Box::new(match nearest(name, known.iter().copied()) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint(format!("known: {}", known.join(", "))),
        })
    };
    let columns = facts.columns(table);
    let columns = columns.ok_or_else(|| refuse("Table", table, facts.tables().collect()))?;
    if !columns.contains(&column) {
        return Err(refuse("Column", column, columns));
    }
    facts.find(table, key, column).ok_or_else(|| {
        let detail = format!("Nothing was said of `{column}` in row `{key}` of `{table}`");
        let hint = "see what there is: GET /pull?gid=...&cursor=0";
        Box::new(Problem::not_found(detail).hint(hint))
    })
}

/// Whether a cell is what one event said: the last at which it grew.
fn is_register(cell: &Cell) -> bool {
    match cell {
        Cell::Max(_) | Cell::Min(_) | Cell::Last(_) | Cell::Or(_) => true,
        Cell::Epoch(epoch) => epoch.value().is_none_or(is_register),
        _ => false,
    }
}

/// What a search over rows of the log knows of its cell.
#[derive(Debug)]
pub struct Search {
    rules: Option<Rules>,
    empty: Facts,
    only: Option<u64>,
    cell: Cell,
    table: String,
    key: String,
    column: String,
    hub_id: std::sync::Arc<str>,
    own_kinds: Vec<(String, String, KernelKind)>,
}

/// What a search has found in some rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The events as JSON, each followed by a comma.
    pub events: Vec<u8>,
    /// How many.
    pub count: usize,
    /// Seq of the last event that was looked at.
    pub last: u64,
}

impl Search {
    /// Takes a plan up.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn new(plan: &[u8], place: [&str; 3], hub_id: &str) -> Result<Self, String> {
        let Value::Map(plan) = decode(plan)? else {
            return Err("A plan is a map".to_owned());
        };
        let bytes = plan
            .str("cell")
            .and_then(unhex)
            .ok_or("A plan has a cell")?;
        let cell = Cell::from_bytes(&bytes).map_err(|error| error.to_string())?;
        let mut empty = Facts::new();
        let rules = match plan.str("spec") {
            None | Some("") => None,
            Some(text) => {
                let spec = decode(text.as_bytes())?;
                let spec = spec.as_map().ok_or("A generator's spec is a map")?;
                let spec = GeneratorSpec::parse(spec).map_err(|_| "A spec that was registered")?;
                Some(Rules::compile(&spec, &mut empty))
            }
        };
        let own = plan.get("acts_as").and_then(Value::as_list).unwrap_or(&[]);
        let own = own.iter().filter_map(|words| match words.as_list()? {
            [ns_id, kind, acts] => Some((
                ns_id.as_str()?.to_owned(),
                kind.as_str()?.to_owned(),
                KernelKind::from_wire(acts.as_str()?)?,
            )),
            _ => None,
        });
        let [table, key, column] = place.map(str::to_owned);
        Ok(Self {
            rules,
            empty,
            only: plan.int("only").and_then(|seq| u64::try_from(seq).ok()),
            cell,
            table,
            key,
            column,
            hub_id: hub_id.into(),
            own_kinds: own.collect(),
        })
    }

    /// Looks through rows for events after a seq, until there are so many.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn run(&self, rows: &[LogRow], after: u64, limit: usize) -> Result<Found, String> {
        let mut found = Found {
            last: after,
            ..Found::default()
        };
        for row in rows {
            let body = Body::decode(&row.body)?;
            for (index, event) in body.events().enumerate() {
                let seq = row.first_seq + index as u64;
                if seq <= after {
                    continue;
                }
                if found.count == limit {
                    return Ok(found);
                }
                found.last = seq;
                // Of a register it is known which: the state that made it so is not needed again.
                let is_part = match self.only {
                    Some(only) => seq == only,
                    None => {
                        let said = self.said(&event, seq).map_err(|error| error.to_string())?;
                        said.is_some_and(|said| contributes(&said, &self.cell))
                    }
                };
                if is_part {
                    found.count += 1;
                    ObjectWriter::new(&mut found.events)
                        .int("seq", seq)
                        .str("id", &row.batch_id)
                        .int("index", index)
                        .int("at", event.stamp.at)
                        .str("kind", event.kind)
                        .end();
                    found.events.push(b',');
                }
            }
        }
        Ok(found)
    }

    /// What one event says of the cell.
    fn said(&self, event: &StoredEvent<'_>, seq: u64) -> Result<Option<Cell>, KindMismatch> {
        let facts = match &self.rules {
            Some(rules) => {
                let mut facts = self.empty.clone();
                let view = EventView {
                    seq,
                    stamp: event.stamp,
                    kind: event.kind,
                    ctx: event.ctx,
                    spec: event.spec,
                };
                rules.apply(&view, &self.hub_id, &mut facts)?;
                facts
            }
            None => self.kernel_said(event, seq)?,
        };
        let said = facts.find(&self.table, &self.key, &self.column);
        Ok(said.map(|(cell, _)| cell))
    }

    fn kernel_said(&self, event: &StoredEvent<'_>, seq: u64) -> Result<Facts, KindMismatch> {
        let mut kernel = KernelFacts::default();
        let ctx = Ctx::new(event.ctx);
        // Most events speak of other rows.
        let speaks = [ctx.job_id(), ctx.node_id()].contains(&Some(self.key.as_str()));
        if let Some(kind) = self.kernel_kind(event.kind, event.ctx).filter(|_| speaks) {
            let settles = event.settles.map(Settles::from_map).unwrap_or_default();
            let entry = Entry {
                seq,
                stamp: event.stamp,
                kind,
                ctx,
                spec: event.spec,
                settles: &settles,
            };
            let tasks = ctx.tasks().unwrap_or_else(|| TaskSet::one(0));
            kernel.apply(&entry, &tasks, false)?;
        }
        Ok(kernel.into_facts())
    }

    fn kernel_kind(&self, kind: &str, ctx: &Map<'_>) -> Option<KernelKind> {
        KernelKind::from_wire(kind).or_else(|| {
            let ns_id = ctx.str("ns_id")?;
            let own = self.own_kinds.iter();
            let mut own = own.filter(|(ns, name, _)| ns == ns_id && name == kind);
            own.next().map(|(.., acts)| *acts)
        })
    }
}

/// Whether what an event says is in a cell: an epoch that is over is not, nor is what is evidence
/// in the log and no fact.
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

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
