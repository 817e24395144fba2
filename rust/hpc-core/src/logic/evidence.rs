//! Evidence: for each value of cells that contradict themselves, the first event that said it.
//!
//! One pass over the log for all cells of a page, a piece at a time. An event that leads to none of
//! their rows costs the keys of its rows. Where the log is longer than the search, the event at which
//! each cell grew last is looked at by itself: some value was said there for the first time, so that
//! there is one piece of evidence for each conflict, the newest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::conflicts::{Within, is_several, onces, write_within};
use super::plan;
use super::rules::Rules;
use super::said::{Place, Witness};
use super::search::{view, write_event};
use crate::domain::entry::{Body, LogRow, StoredEvent};
use crate::domain::json::{Map, Value, decode};
use crate::domain::json_write::{ObjectWriter, write_list};
use crate::lattice::Cell;
use crate::lattice::once::Once;
use crate::lattice::value::Atom;

/// Who knows what an event says, and of which cells it is asked.
#[derive(Debug)]
struct Teller {
    /// Absent: the kernel's.
    rules: Option<Rules>,
    /// Places in the list of cells, by table and row.
    rows: HashMap<(String, String), Vec<usize>>,
}

/// A value of a conflict, with the first event that said it.
#[derive(Debug)]
struct Witnessed {
    atom: Atom,
    seq: u64,
    /// The event as JSON, without its end.
    event: Option<Vec<u8>>,
}

/// One contradiction, in a cell or within its epochs and maps.
#[derive(Debug)]
struct Conflict {
    way: Vec<Within>,
    values: Vec<Witnessed>,
    is_overflowed: bool,
}

#[derive(Debug)]
struct Suspect {
    gid: String,
    place: Place,
    changed: u64,
    conflicts: Vec<Conflict>,
    /// Whether the search ended before each value had its first event.
    is_cut: bool,
}

/// A search for the evidence of a page of conflicts.
#[derive(Debug)]
pub struct Evidence {
    cursor: u64,
    next: Option<String>,
    tellers: BTreeMap<String, Teller>,
    witness: Witness,
    suspects: Vec<Suspect>,
    /// The generators of whose events compaction has dropped none.
    whole: Vec<String>,
    hub_id: Arc<str>,
}

fn words(plan: &Map<'_>, key: &str) -> Vec<String> {
    let words = plan.get(key).and_then(Value::as_list).unwrap_or_default();
    let words = words.iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

impl Evidence {
    /// Takes the plan of `GET /conflicts` up.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn new(text: &[u8], hub_id: &str) -> Result<Self, String> {
        let value = decode(text)?;
        let plan = value.as_map().ok_or("A plan is a map")?;
        let cells = plan.get("cells").and_then(Value::as_list).unwrap_or(&[]);
        let suspects: Result<Vec<Suspect>, String> = cells
            .iter()
            .filter_map(Value::as_map)
            .map(suspect)
            .collect();
        let suspects = suspects?;
        let specs = plan.get("specs").and_then(Value::as_map);
        let mut tellers = BTreeMap::new();
        for (gid, spec) in specs.into_iter().flat_map(Map::iter) {
            let of = suspects.iter().enumerate().filter(|(_, s)| s.gid == gid);
            let mut rows: HashMap<_, Vec<usize>> = HashMap::new();
            for (i, suspect) in of {
                let Place { table, key, .. } = suspect.place.clone();
                rows.entry((table, key)).or_default().push(i);
            }
            let rules = plan::rules(spec.as_str().unwrap_or_default())?;
            tellers.insert(gid.to_owned(), Teller { rules, rows });
        }
        Ok(Self {
            cursor: plan
                .int("cursor")
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(0),
            next: plan.str("next").map(str::to_owned),
            tellers,
            witness: Witness::new(hub_id, plan::OwnKinds::of(plan)),
            suspects,
            whole: words(plan, "whole"),
            hub_id: hub_id.into(),
        })
    }

    /// The seqs at which cells that are not done grew last, ascending.
    #[must_use]
    pub fn newest(&self) -> Vec<u64> {
        let open = self.suspects.iter().filter(|suspect| suspect.is_open());
        let mut seqs: Vec<u64> = open.map(|suspect| suspect.changed).collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs
    }

    /// The seq up to which looking is of use; `None` where each value has its event.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        let open = self.suspects.iter().filter(|suspect| suspect.is_open());
        open.map(|suspect| suspect.changed).max()
    }

    /// Looks through rows, which come in the order of the log from its first one on.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn run(&mut self, rows: &[LogRow]) -> Result<(), String> {
        self.look(rows, false)
    }

    /// Ends the search before the log's end: of rows that hold [`Evidence::newest`] only the events
    /// are taken at which a cell grew last.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn cut(&mut self, rows: &[LogRow]) -> Result<(), String> {
        self.look(rows, true)
    }

    fn look(&mut self, rows: &[LogRow], newest: bool) -> Result<(), String> {
        for row in rows {
            if row.body.is_empty() {
                // Compaction has dropped what may have been the first event of a value.
                let Self {
                    suspects, whole, ..
                } = self;
                let open = suspects.iter_mut().filter(|suspect| suspect.is_open());
                for suspect in open.filter(|suspect| !whole.contains(&suspect.gid)) {
                    suspect.is_cut |= suspect.changed >= row.first_seq;
                }
                continue;
            }
            let body = Body::decode(&row.body)?;
            for (index, event) in body.events().enumerate() {
                let seq = row.first_seq + index as u64;
                if seq > self.cursor {
                    return Ok(());
                }
                for (i, said) in self.said(&event, seq)? {
                    let Some(suspect) = self.suspects.get_mut(i) else {
                        continue;
                    };
                    if !newest {
                        suspect.witness(&said, row, index, &event);
                    } else if suspect.changed == seq && suspect.is_open() {
                        suspect.is_cut = true;
                        suspect.witness(&said, row, index, &event);
                    }
                }
            }
        }
        Ok(())
    }

    /// What an event says of cells of the list.
    fn said(&self, event: &StoredEvent<'_>, seq: u64) -> Result<Vec<(usize, Cell)>, String> {
        let mut found = Vec::new();
        for teller in self.tellers.values() {
            let Some(rules) = &teller.rules else {
                self.kernel_said(teller, event, seq, &mut found)?;
                continue;
            };
            let view = view(event, seq);
            for (table, key) in rules.rows(&view) {
                let row = (table.to_owned(), key.into_owned());
                for i in teller.rows.get(&row).into_iter().flatten() {
                    let Some(suspect) = self.suspects.get(*i) else {
                        continue;
                    };
                    let said = rules
                        .said(&view, &suspect.place)
                        .map_err(|e| e.to_string())?;
                    let cell = said.and_then(|said| said.shown(&self.hub_id, seq));
                    found.extend(cell.map(|cell| (*i, cell)));
                }
            }
        }
        Ok(found)
    }

    fn kernel_said(
        &self,
        teller: &Teller,
        event: &StoredEvent<'_>,
        seq: u64,
        found: &mut Vec<(usize, Cell)>,
    ) -> Result<(), String> {
        let rows = [("jobs", "job_id"), ("nodes", "node_id")];
        for (table, field) in rows {
            let Some(key) = event.ctx.str(field) else {
                continue;
            };
            let row = (table.to_owned(), key.to_owned());
            for i in teller.rows.get(&row).into_iter().flatten() {
                let Some(suspect) = self.suspects.get(*i) else {
                    continue;
                };
                let told = self.witness.told(event, seq, &suspect.place);
                let told = told.map_err(|error| error.to_string())?;
                found.extend(told.map(|cell| (*i, cell)));
            }
        }
        Ok(())
    }

    /// The answer of `GET /conflicts` from what was found.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.cursor);
        let all = self.suspects.iter();
        let all = all.flat_map(|suspect| suspect.conflicts.iter().map(move |c| (suspect, c)));
        object.list("data", all, |out, (suspect, conflict)| {
            suspect.write(out, conflict);
        });
        match &self.next {
            Some(next) => object.str("next", next),
            None => object.raw("next", "null"),
        };
        object.end();
        out
    }
}

impl Suspect {
    /// Whether a value is without its event.
    fn is_open(&self) -> bool {
        let mut values = self.conflicts.iter().flat_map(|c| &c.values);
        values.any(|value| value.event.is_none())
    }

    /// Notes an event with the values that nobody before it said.
    fn witness(&mut self, said: &Cell, row: &LogRow, index: usize, event: &StoredEvent<'_>) {
        for (way, once) in onces(said) {
            for conflict in self.conflicts.iter_mut().filter(|c| c.way == way) {
                let open = conflict.values.iter_mut().filter(|v| v.event.is_none());
                for value in open.filter(|v| once.contains(&v.atom)) {
                    let mut text = Vec::new();
                    write_event(&mut ObjectWriter::new(&mut text), row, index, event);
                    value.seq = row.first_seq + index as u64;
                    value.event = Some(text);
                }
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>, conflict: &Conflict) {
        let mut object = ObjectWriter::new(out);
        object
            .str("gid", &self.gid)
            .str("table", &self.place.table)
            .str("key", &self.place.key)
            .str("column", &self.place.column);
        if !conflict.way.is_empty() {
            write_within(object.key("within"), &conflict.way);
        }
        object.list("values", &conflict.values, |out, value| {
            value.atom.write_json(out);
        });
        object.bool("overflow", conflict.is_overflowed);
        let found = conflict.values.iter();
        let mut found: Vec<&Witnessed> = found.filter(|value| value.event.is_some()).collect();
        found.sort_by_key(|value| value.seq);
        let out = object.key("evidence");
        write_list(out, &found, &mut |out, value| {
            out.extend_from_slice(value.event.as_deref().unwrap_or_default());
            out.extend_from_slice(b",\"value\":");
            value.atom.write_json(out);
            out.push(b'}');
        });
        if self.is_cut || found.len() < conflict.values.len() {
            object.bool("evidence_more", true);
        }
        object.int("changed", self.changed);
        object.end();
    }
}

fn suspect(plan: &Map<'_>) -> Result<Suspect, String> {
    let part = |name| plan.str(name).unwrap_or_default().to_owned();
    let cell = plan::cell(plan)?.ok_or("A conflict has a cell")?;
    let conflicts = onces(&cell)
        .into_iter()
        .filter(|(_, once)| is_several(once));
    let conflict = |(way, once): (Vec<Within>, &Once)| Conflict {
        way,
        values: once
            .values()
            .iter()
            .map(|atom| Witnessed {
                atom: atom.clone(),
                seq: 0,
                event: None,
            })
            .collect(),
        is_overflowed: once.is_overflowed(),
    };
    Ok(Suspect {
        gid: part("gid"),
        place: Place {
            table: part("table"),
            key: part("key"),
            column: part("column"),
        },
        changed: plan
            .int("changed")
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(0),
        conflicts: conflicts.map(conflict).collect(),
        is_cut: false,
    })
}
