//! Conflicts: which cells hold more than one value that was to be said only once.
//!
//! Listing them costs what is listed: whoever joins notes the cell whenever one that could contradict
//! itself has grown. A cell leaves the list where a later epoch has begun, or its row is gone, and by nothing else.
//! Facts that come from elsewhere than joins, as a snapshot's do, are looked through once.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::hub::Hub;
use super::kernel::KERNEL_GID;
use super::plan::{hex, write_own_kinds};
use super::query::Query;
use crate::domain::facts::Facts;
use crate::domain::json::{Value, decode};
use crate::domain::json_write::{ObjectWriter, write_list, write_str};
use crate::domain::problem::Problem;
use crate::lattice::Cell;
use crate::lattice::once::Once;
use crate::lattice::value::Atom;

const LIMIT_MAX: u64 = 1_000;
const LIMIT_DEFAULT: u64 = 100;

/// Table, row, column.
type Name = (String, String, String);

/// The cells of one generator that contradict themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(BTreeSet<Name>);

impl Conflicts {
    /// Those of facts that are there already, such as those of a snapshot.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut names = BTreeSet::new();
        facts.each_wide(&mut |table, key, column, cell| {
            if is_in_conflict(cell) {
                names.insert((table.to_owned(), key.to_owned(), column.to_owned()));
            }
        });
        Self(names)
    }

    /// Looks at a cell that has grown.
    pub fn note(&mut self, table: &str, key: &str, column: &str, cell: &Cell) {
        let name = || (table.to_owned(), key.to_owned(), column.to_owned());
        if is_in_conflict(cell) {
            self.0.insert(name());
        } else if !self.0.is_empty() {
            self.0.remove(&name());
        }
    }

    /// Takes a cell out whose row is gone.
    pub fn drop(&mut self, table: &str, key: &str, column: &str) {
        if !self.0.is_empty() {
            let name = (table.to_owned(), key.to_owned(), column.to_owned());
            self.0.remove(&name);
        }
    }

    /// The cells after one, in byte order of table, row and column.
    pub fn after(&self, after: Option<&Name>) -> impl Iterator<Item = &Name> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<Name, _>((from, Bound::Unbounded))
    }
}

/// Where within a cell a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Within {
    /// In an epoch.
    Epoch(Atom),
    /// At a key of a map.
    Key(String),
}

/// What was to be said once, in a cell or within its epochs and maps.
pub(super) fn onces(cell: &Cell) -> Vec<(Vec<Within>, &Once)> {
    let mut found = Vec::new();
    collect(cell, &mut Vec::new(), &mut found);
    found
}

fn collect<'c>(cell: &'c Cell, way: &mut Vec<Within>, found: &mut Vec<(Vec<Within>, &'c Once)>) {
    match cell {
        Cell::Once(once) => found.push((way.clone(), once)),
        Cell::Epoch(epoch) => {
            if let Some((at, inner)) = &epoch.0 {
                way.push(Within::Epoch(at.clone()));
                collect(inner, way, found);
                way.pop();
            }
        }
        Cell::Map(map) => {
            for (key, inner) in map.iter() {
                way.push(Within::Key(key.to_owned()));
                collect(inner, way, found);
                way.pop();
            }
        }
        _ => {}
    }
}

/// Whether several values were said where one was to be.
pub(super) fn is_several(once: &Once) -> bool {
    once.values().len() > 1 || once.is_overflowed()
}

/// Whether a cell is a once, or one within epochs and maps.
pub(super) fn can_conflict(cell: &Cell) -> bool {
    match cell {
        Cell::Once(_) => true,
        Cell::Epoch(epoch) => epoch.value().is_some_and(can_conflict),
        Cell::Map(map) => map
            .iter()
            .next()
            .is_some_and(|(_, cell)| can_conflict(cell)),
        _ => false,
    }
}

fn is_in_conflict(cell: &Cell) -> bool {
    match cell {
        Cell::Once(once) => is_several(once),
        Cell::Epoch(epoch) => epoch.value().is_some_and(is_in_conflict),
        Cell::Map(map) => map.iter().any(|(_, cell)| is_in_conflict(cell)),
        _ => false,
    }
}

/// One generator as it is asked for conflicts: its id, facts, spec and list.
struct Listed<'h> {
    gid: &'h str,
    facts: &'h Facts,
    spec: &'h str,
    conflicts: &'h Conflicts,
    /// Whether compaction has dropped nothing of what it reads.
    is_whole: bool,
}

impl Hub {
    /// The plan of `GET /conflicts`: `{"cursor", "next", "specs", "acts_as", "cells"}`.
    pub(super) fn conflicts(&mut self, token: u64, query: &str) {
        match self.conflicts_plan(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn conflicts_plan(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let query = Query::parse(query, &["gid", "after", "limit"])?;
        let limit = query.int("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let after = query.get("after").map(read_place).transpose()?;
        let gid = query.get("gid");
        let listed: Vec<Listed<'_>> = self.listed().collect();
        if let Some(gid) = gid.filter(|gid| !listed.iter().any(|one| one.gid == *gid)) {
            return Err(self.unknown_generator(gid));
        }
        let wanted = listed.iter().filter(|one| {
            gid.is_none_or(|gid| gid == one.gid)
                && after
                    .as_ref()
                    .is_none_or(|(gid, _)| one.gid >= gid.as_str())
        });
        let mut all = wanted.flat_map(|one| {
            let after = after.as_ref().filter(|(gid, _)| *gid == one.gid);
            let names = one.conflicts.after(after.map(|(_, name)| name));
            names.filter_map(move |name| {
                let (cell, changed) = one.facts.find(&name.0, &name.1, &name.2)?;
                Some((one, name, hex(&cell), changed))
            })
        });
        let page: Vec<_> = all.by_ref().take(limit).collect();
        let next = page.last().filter(|_| all.next().is_some());
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        match next {
            Some((one, name, ..)) => object.str("next", &place_text(one.gid, name)),
            None => object.raw("next", "null"),
        };
        let mut specs = ObjectWriter::new(object.key("specs"));
        for one in &listed {
            if page.iter().any(|(of, ..)| of.gid == one.gid) {
                specs.str(one.gid, one.spec);
            }
        }
        specs.end();
        let whole = listed.iter().filter(|one| one.is_whole);
        object.list("whole", whole, |out, one| write_str(out, one.gid));
        write_own_kinds(&mut object, &self.state.namespaces);
        object.list("cells", &page, |out, (one, name, cell, changed)| {
            ObjectWriter::new(out)
                .str("gid", one.gid)
                .str("table", &name.0)
                .str("key", &name.1)
                .str("column", &name.2)
                .str("cell", cell)
                .int("changed", changed)
                .end();
        });
        object.end();
        Ok(out)
    }

    /// All generators in byte order of their ids.
    fn listed(&self) -> impl Iterator<Item = Listed<'_>> {
        let registered = self.state.generators.iter().map(|(gid, one)| Listed {
            gid,
            facts: one.facts(),
            spec: one.serving_text(),
            conflicts: one.conflicts(),
            is_whole: self.state.namespaces.keep_all(one.namespaces()),
        });
        let kernel = Listed {
            gid: KERNEL_GID,
            facts: self.state.kernel.facts(),
            spec: "",
            conflicts: self.state.kernel.conflicts(),
            is_whole: true,
        };
        let mut all: Vec<Listed<'_>> = registered.chain([kernel]).collect();
        all.sort_unstable_by_key(|one| one.gid);
        all.into_iter()
    }
}

fn place_text(gid: &str, (table, key, column): &Name) -> String {
    let mut out = Vec::new();
    write_list(&mut out, [gid, table, key, column], &mut |out, word| {
        write_str(out, word);
    });
    String::from_utf8_lossy(&out).into_owned()
}

fn read_place(text: &str) -> Result<(String, Name), Box<Problem>> {
    let refused = || {
        let detail = "Query parameter `after` must be the `next` of the page before";
        Box::new(Problem::bad_query("after", detail))
    };
    let value = decode(text.as_bytes()).map_err(|_| refused())?;
    let words = value.as_list().unwrap_or_default().iter();
    let words: Vec<String> = words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect();
    match <[String; 4]>::try_from(words) {
        Ok([gid, table, key, column]) => Ok((gid, (table, key, column))),
        Err(_) => Err(refused()),
    }
}

/// The values of a conflict as a pull shows them, and where they stand.
pub(super) fn write_within(out: &mut Vec<u8>, way: &[Within]) {
    write_list(out, way, &mut |out, step| {
        let mut object = ObjectWriter::new(out);
        match step {
            Within::Epoch(at) => at.write_json(object.key("epoch")),
            Within::Key(key) => {
                object.value("key", &Value::text(key.as_str()));
            }
        }
        object.end();
    });
}
