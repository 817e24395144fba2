//! Pull: the facts of one generator that changed since a cursor; it can wait for the next change.

use super::hub::Hub;
use super::kernel::KERNEL_GID;
use super::query::{INT_MAX, Query};
use crate::domain::facts::{Page, RowOf};
use crate::domain::json::Value;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::{Problem, nearest};

/// The most rows of a page.
pub const PULL_ROWS_MAX: u64 = 100_000;
const PULL_ROWS_DEFAULT: u64 = 10_000;
const KNOWN: [&str; 9] = [
    "gid", "cursor", "limit", "wait", "table", "row", "column", "hub", "version",
];
/// The longest wait, in seconds.
pub const WAIT_S_MAX: f64 = 60.0;

/// A pull that waits.
#[derive(Clone, Debug)]
pub struct HeldPull {
    /// Names the request to the transport.
    pub token: u64,
    /// When it is answered at the latest, monotonic ms.
    pub until: i64,
    gid: String,
    cursor: u64,
    limit: usize,
    table: Option<String>,
    row: Option<String>,
    column: Option<String>,
    /// The serving version when it came; another one ends the wait.
    version: u64,
    /// How far building had come, where what serves was being built.
    built: Option<u64>,
}

impl Hub {
    /// Names the history of the log, where it was put back from a copy: what came after the copy is
    /// not in it, though the Hub is the same.
    pub fn set_lineage(&mut self, lineage: String) {
        self.lineage = lineage;
    }

    /// Answers or holds a pull.
    pub(super) fn pull(&mut self, token: u64, query: &str) {
        match self.try_pull(token, query) {
            Ok(Some(body)) => self.reply(token, 200, body),
            Ok(None) => {}
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn try_pull(&mut self, token: u64, query: &str) -> Result<Option<Vec<u8>>, Box<Problem>> {
        let query = Query::parse(query, &KNOWN)?;
        let gid = query
            .get("gid")
            .ok_or_else(|| Problem::bad_query("gid", "Query parameter `gid` is missing"))?;
        let cursor = query.int("cursor", 0, INT_MAX)?.unwrap_or(0);
        let limit = query.int("limit", 1, PULL_ROWS_MAX)?;
        let limit = usize::try_from(limit.unwrap_or(PULL_ROWS_DEFAULT)).unwrap_or(usize::MAX);
        let wait = query.seconds("wait", WAIT_S_MAX)?.unwrap_or(0);
        let version = query.int("version", 0, INT_MAX)?;
        for (part, whole) in [("row", "table"), ("column", "row")] {
            if query.get(part).is_some() && query.get(whole).is_none() {
                let detail = format!("Query parameter `{part}` needs `{whole}`");
                return Err(Problem::bad_query(part, detail).into());
            }
        }
        let (serving, head) = self.serving(gid)?;
        let other_hub = query.get("hub").is_some_and(|hub| hub != self.lineage);
        let other_version = version.is_some_and(|version| version != serving);
        let snapshot = other_hub || other_version || cursor > head.max(self.last_seq());
        let held = HeldPull {
            token,
            until: self.now.mono + wait,
            gid: gid.to_owned(),
            cursor: if snapshot { 0 } else { cursor },
            limit,
            table: query.get("table").map(str::to_owned),
            row: query.get("row").map(str::to_owned),
            column: query.get("column").map(str::to_owned),
            version: serving,
            built: (head < self.last_seq()).then_some(head),
        };
        let page = self.page(&held);
        if page.rows == 0 && wait > 0 && !snapshot {
            self.pulls.push(held);
            return Ok(None);
        }
        Ok(Some(self.render_pull(&held.gid, &page, snapshot)))
    }

    /// Answers the held pulls whose generator has news or whose time is over.
    pub(super) fn answer_pulls(&mut self) {
        let mut held = std::mem::take(&mut self.pulls);
        held.retain_mut(|pull| {
            let poked = self.turn.pokes.iter().any(|(gid, _)| *gid == pull.gid)
                || self.advanced.contains(&pull.gid);
            let over = pull.until <= self.now.mono;
            if !poked && !over {
                return true;
            }
            let page = self.page(pull);
            let (serving, head) = self.serving(&pull.gid).unwrap_or((pull.version, 0));
            let snapshot = serving != pull.version;
            let advanced = pull.built.is_some_and(|built| head > built);
            if page.rows == 0 && !over && !snapshot && !advanced {
                // Nothing for it up to here: the next look need not begin before.
                pull.cursor = page.cursor;
                return true;
            }
            let page = if snapshot {
                self.page(&HeldPull {
                    cursor: 0,
                    ..pull.clone()
                })
            } else {
                page
            };
            let body = self.render_pull(&pull.gid, &page, snapshot);
            self.reply(pull.token, 200, body);
            false
        });
        self.pulls.append(&mut held);
    }

    /// Version and cursor of what a generator's pulls are answered from.
    fn serving(&self, gid: &str) -> Result<(u64, u64), Box<Problem>> {
        if gid == KERNEL_GID {
            return Ok((1, self.last_seq()));
        }
        match self.state.generators.get(gid) {
            Some(generator) => Ok((generator.serving_version(), generator.head(self.last_seq()))),
            None => Err(self.unknown_generator(gid)),
        }
    }

    fn is_building(&self, gid: &str) -> bool {
        let generator = self.state.generators.get(gid);
        generator.is_some_and(super::generator::Generator::is_building)
    }

    /// From which seq on the facts count, where the log was compacted before they were built.
    fn since(&self, gid: &str) -> Option<u64> {
        let generator = self.state.generators.get(gid)?;
        Some(generator.since()).filter(|since| *since > 1)
    }

    fn page(&self, pull: &HeldPull) -> Page {
        let head = self.last_seq();
        let table = pull.table.as_deref();
        let generator = self.state.generators.get(&pull.gid);
        let kernel = self.state.kernel.facts();
        if let (Some(table), Some(row)) = (table, pull.row.as_deref()) {
            let column = pull.column.as_deref();
            let of = RowOf { table, row, column };
            return match generator {
                Some(generator) => generator.pull_row(pull.cursor, head, of),
                None => kernel.pull_row(pull.cursor, head, of),
            };
        }
        match generator {
            Some(generator) => generator.pull(pull.cursor, head, pull.limit, table),
            None => kernel.pull(pull.cursor, head, pull.limit, table),
        }
    }

    fn render_pull(&self, gid: &str, page: &Page, snapshot: bool) -> Vec<u8> {
        let version = self.serving(gid).map_or(1, |(version, _)| version);
        let mut out = Vec::with_capacity(page.facts.len() + 160);
        let mut object = ObjectWriter::new(&mut out);
        object
            .str("gid", gid)
            .str("hub", &self.lineage)
            .int("version", version)
            .int("cursor", page.cursor)
            .raw("facts", &page.facts)
            .bool("more", page.more);
        if let Some(overflow) = &page.overflow {
            object.raw("overflow", overflow);
        }
        if snapshot {
            object.bool("snapshot", true);
        }
        if let Some(since) = self.since(gid) {
            object.int("since", since);
        }
        if self
            .state
            .generators
            .get(gid)
            .is_some_and(|g| g.failed().is_some())
        {
            object.bool("failed", true);
        }
        if self.is_building(gid) {
            object.bool("building", true);
        }
        object.end();
        out
    }

    pub(super) fn unknown_generator(&self, gid: &str) -> Box<Problem> {
        let registered = self.state.generators.iter().map(|(gid, _)| gid);
        let known: Vec<&str> = std::iter::once(KERNEL_GID).chain(registered).collect();
        let hint = match nearest(gid, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        let known = known
            .into_iter()
            .map(|g| Value::text(g.to_owned()))
            .collect();
        let problem = Problem::not_found(format!("Generator `{gid}` is not registered"));
        Box::new(problem.hint(hint).with("known", Value::List(known)))
    }
}
