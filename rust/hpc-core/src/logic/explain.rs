//! Explain: which events of the log a cell comes from.
//!
//! A register (max, min, last, or) comes from one event: the one at which it last grew, which its
//! row remembers. Everything else comes from all events that said something of it; they are found
//! by running the rules over the log again (search.rs), a piece at a time. The engine makes the
//! plan, since it has the facts; whoever has the log reads the pieces, so that neither waits for
//! the other.

use super::hub::Hub;
use super::kernel::KERNEL_GID;
use super::plan::{hex, write_own_kinds};
use super::query::{INT_MAX, Query};
use crate::domain::facts::Facts;
use crate::domain::json::Value;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::{Problem, nearest};
use crate::lattice::Cell;

/// The most events that one answer tells.
const EVENTS_MAX: u64 = 10_000;

impl Hub {
    /// The plan for one cell: `{"cursor", "only", "cell", "spec", "acts_as", "place", "job"}`.
    pub(super) fn explain(&mut self, token: u64, query: &str) {
        match self.plan(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn plan(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let known = ["gid", "table", "key", "column", "after", "limit", "why_not"];
        let query = Query::parse(query, &known)?;
        let [gid, table, key, column] = ["gid", "table", "key", "column"].map(|name| {
            let missing =
                || Problem::bad_query(name, format!("Query parameter `{name}` is missing"));
            query.get(name).ok_or_else(|| Box::new(missing()))
        });
        let (gid, table, key, column) = (gid?, table?, key?, column?);
        query.int("after", 0, INT_MAX)?;
        query.int("limit", 1, EVENTS_MAX)?;
        let why_not = query.bool("why_not")?.unwrap_or(false);
        let generator = self.state.generators.get(gid);
        let (facts, spec) = match generator {
            Some(generator) => (generator.facts(), generator.serving_text()),
            None if gid == KERNEL_GID => (self.state.kernel.facts(), ""),
            None => return Err(self.unknown_generator(gid)),
        };
        // What compaction has dropped was of other namespaces, and never of the kernel.
        let is_whole = generator.is_none_or(|g| self.state.namespaces.keep_all(g.namespaces()));
        // To ask why nothing came of what was said, something need not have come of it.
        let cell = match found(facts, table, key, column)? {
            None if spec.is_empty() && table == "jobs" && self.state.kernel.is_forgotten(key) => {
                return self.known_job(key).map(|_| Vec::new());
            }
            None if !why_not => return Err(unsaid(gid, table, key, column)),
            cell => cell,
        };
        let mut out = Vec::new();
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        let only = cell.as_ref();
        let only = only.filter(|(cell, _)| is_register(cell) && !why_not);
        let only = only.map(|(_, changed)| *changed);
        object.value(
            "only",
            &only.map_or(Value::Null, |seq| {
                Value::Int(i64::try_from(seq).unwrap_or(i64::MAX))
            }),
        );
        object
            .bool("why_not", why_not)
            .bool("whole", is_whole)
            .str("cell", &cell.map_or(String::new(), |(cell, _)| hex(&cell)))
            .str("spec", spec)
            .str("table", table)
            .str("key", key)
            .str("column", column)
            // The log has an index of what speaks of a job.
            .bool("job", spec.is_empty() && table != "nodes");
        write_own_kinds(&mut object, &self.state.namespaces);
        object.end();
        Ok(out)
    }
}

fn found(
    facts: &Facts,
    table: &str,
    key: &str,
    column: &str,
) -> Result<Option<(Cell, u64)>, Box<Problem>> {
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
    Ok(facts.find(table, key, column))
}

fn unsaid(gid: &str, table: &str, key: &str, column: &str) -> Box<Problem> {
    let detail = format!("Nothing was said of `{column}` in row `{key}` of `{table}`");
    let hint = format!("see what there is: hpc pull {gid}");
    Box::new(Problem::not_found(detail).hint(hint))
}

/// Whether a cell is what one event said: the last at which it grew.
fn is_register(cell: &Cell) -> bool {
    match cell {
        Cell::Max(_) | Cell::Min(_) | Cell::Last(_) | Cell::Or(_) => true,
        Cell::Epoch(epoch) => epoch.value().is_none_or(is_register),
        _ => false,
    }
}
