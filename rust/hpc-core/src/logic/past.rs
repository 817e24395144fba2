//! Past: the state as it was when the log ended at a seq, to be asked and never to be added to.
//!
//! It is a Hub of its own, replayed from the log up to there and no further, also where that is
//! within a batch. Generators are kept by the rules of today, so that a table which was registered
//! late can be looked at as it would have been. It begins before the first event, or at a snapshot,
//! and goes forward only: whoever wants an earlier seq begins anew.

use super::hub::{Config, Fault, Hub, Reply, Turn};
use super::kernel::KERNEL_GID;
use super::query::{INT_MAX, Query};
use super::receipts::Receipts;
use crate::domain::entry::{Digest, LogRow};
use crate::domain::facts::Facts;
use crate::domain::json::{Map, Value, decode};
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::Problem;

const ROWS_MAX: u64 = 100_000;
const ROWS_DEFAULT: u64 = 10_000;

/// The facts of one generator at a seq, kept while the state goes on.
#[derive(Clone, Debug)]
struct Kept {
    gid: String,
    seq: u64,
    facts: Facts,
}

/// A prefix of the log.
#[derive(Clone, Debug)]
pub struct Past {
    hub: Hub,
    kept: Option<Kept>,
}

impl Past {
    /// Before the first event.
    #[must_use]
    pub fn new(hub_id: &str) -> Self {
        let config = Config {
            hub_id: hub_id.to_owned(),
            lease_ms: 0,
            reclaim_ms: 0,
        };
        Self {
            hub: Hub::new(config),
            kept: None,
        }
    }

    /// Seq of its last event.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.hub.last_seq()
    }

    /// The chain value at the last batch that it knows to its end.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.hub.chain()
    }

    /// Before anything else: stands where a snapshot does.
    ///
    /// # Errors
    /// As [`Hub::restore`]; it is as before.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), Fault> {
        self.hub.restore(state)?;
        self.hub.receipts = Receipts::default(); // nobody asks the past for one
        Ok(())
    }

    /// First: the generators as the registrations of the whole log leave them.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn preload(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        self.hub.preload(rows)
    }

    /// From where [`Past::catch_up`] must go on before anything is replayed: after a snapshot that
    /// does not hold a generator of today. `None` where nothing is wanted.
    #[must_use]
    pub fn build_from(&self) -> Option<u64> {
        self.hub.build_from()
    }

    /// Gives rows of the log to the generators that a snapshot did not hold.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn catch_up(&mut self, rows: &[LogRow]) -> Result<(), Fault> {
        let is_known = |row: &&LogRow| row.first_seq <= self.last_seq();
        let known = rows.iter().take_while(is_known).count();
        self.hub.catch_up(rows.get(..known).unwrap_or_default())
    }

    /// Goes on by rows, the first of which holds the next event, up to a seq.
    ///
    /// # Errors
    /// A row that is missing, moved, changed, or cannot be read.
    pub fn replay(&mut self, rows: &[LogRow], upto: u64) -> Result<(), Fault> {
        self.hub.replay_to(rows, upto)
    }

    /// Answers a question that changes nothing.
    ///
    /// # Errors
    /// A mistake of ours: a verb that could change something, or is not answered at once.
    pub fn ask(&mut self, verb: &str, query: &str) -> Result<Reply, Fault> {
        if verb == "diff" {
            return Ok(self.diff(query));
        }
        self.hub.look(verb, query)
    }

    /// Keeps the facts of a generator as they are now, for `diff`; or says that it is not there.
    ///
    /// # Errors
    /// 404 for an id that is no generator's.
    pub fn keep(&mut self, gid: &str) -> Result<(), Box<Problem>> {
        let seq = self.last_seq();
        if self.is_kept(gid, seq) {
            return Ok(());
        }
        self.kept = None; // two at once would be one too many
        self.kept = Some(Kept {
            gid: gid.to_owned(),
            seq,
            facts: self.facts(gid)?.clone(),
        });
        Ok(())
    }

    /// Whether the facts of a generator at a seq are kept.
    #[must_use]
    pub fn is_kept(&self, gid: &str, seq: u64) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.gid == gid && kept.seq == seq)
    }

    fn facts(&self, gid: &str) -> Result<&Facts, Box<Problem>> {
        let state = self.hub.state();
        match state.generators.get(gid) {
            Some(generator) => Ok(generator.facts()),
            None if gid == KERNEL_GID => Ok(state.kernel.facts()),
            None => Err(self.hub.unknown_generator(gid)),
        }
    }

    fn diff(&self, query: &str) -> Reply {
        let (status, body) = match self.try_diff(query) {
            Ok(body) => (200, body),
            Err(problem) => (problem.status, problem.to_json()),
        };
        Reply {
            token: 0,
            status,
            body,
        }
    }

    /// What changed since the facts that are kept: each cell that grew, as it was and as it is.
    fn try_diff(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let query = Query::parse(query, &["gid", "cursor", "limit", "table"])?;
        let gid = query.get("gid").unwrap_or(KERNEL_GID);
        let limit = query.int("limit", 1, ROWS_MAX)?.unwrap_or(ROWS_DEFAULT);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let now = self.facts(gid)?;
        let kept = self.kept.as_ref().filter(|kept| kept.gid == gid);
        let (from, then) = kept.map_or((0, None), |kept| (kept.seq, Some(&kept.facts)));
        let cursor = query.int("cursor", 0, INT_MAX)?.unwrap_or(from).max(from);
        let page = now.pull(cursor, self.last_seq(), limit, query.get("table"));
        let facts = decode(page.facts.as_bytes());
        let facts = facts.unwrap_or_else(|_| Value::Map(Map::default()));
        let mut out = Vec::with_capacity(2 * page.facts.len() + 160);
        let mut object = ObjectWriter::new(&mut out);
        object
            .str("gid", gid)
            .int("from", from)
            .int("to", self.last_seq());
        write_changed(object.key("data"), &facts, then);
        object.int("cursor", page.cursor).bool("more", page.more);
        object.end();
        Ok(out)
    }
}

/// Writes `{table: {key: {column: {"from", "to"}}}}` of the cells that read otherwise than then.
fn write_changed(out: &mut Vec<u8>, now: &Value<'_>, then: Option<&Facts>) {
    let mut tables = ObjectWriter::new(out);
    for (table, rows) in pairs(now) {
        let mut changed: Vec<(&str, Vec<u8>)> = Vec::new();
        for (key, cells) in pairs(rows) {
            let mut row = Vec::new();
            let mut object = ObjectWriter::new(&mut row);
            let mut is_changed = false;
            for (column, value) in pairs(cells) {
                let to = value.to_text();
                let before = then.and_then(|facts| facts.find(table, key, column));
                let from = before.as_ref();
                let from = from.map_or("null".to_owned(), |(cell, _)| cell.to_json());
                if before.is_some() && from == to {
                    continue; // it was said again, and reads as before
                }
                is_changed = true;
                ObjectWriter::new(object.key(column))
                    .raw("from", &from)
                    .raw("to", &to)
                    .end();
            }
            object.end();
            if is_changed {
                changed.push((key, row));
            }
        }
        if changed.is_empty() {
            continue;
        }
        let mut rows_out = ObjectWriter::new(tables.key(table));
        for (key, row) in changed {
            rows_out.key(key).extend_from_slice(&row);
        }
        rows_out.end();
    }
    tables.end();
}

fn pairs<'v>(value: &'v Value<'v>) -> impl Iterator<Item = (&'v str, &'v Value<'v>)> {
    value.as_map().into_iter().flat_map(Map::iter)
}

impl Hub {
    /// Answers one question that changes nothing, outside any turn.
    fn look(&mut self, verb: &str, query: &str) -> Result<Reply, Fault> {
        self.turn = Turn::default();
        match verb {
            "pull" => self.pull(0, query),
            "jobs" => self.read_jobs(0, query),
            "job" => self.read_job(0, query),
            "why" => self.read_why(0, query),
            "tasks" => self.read_tasks(0, query),
            "nodes" => self.read_nodes(0, query),
            "explain" => self.explain(0, query),
            "conflicts" => self.conflicts(0, query),
            other => return Err(Fault(format!("The past is not asked for `{other}`"))),
        }
        let mut turn = std::mem::take(&mut self.turn);
        self.pulls.clear();
        self.reads.clear();
        let reply = turn.replies.pop();
        reply.ok_or_else(|| Fault(format!("The past does not answer `{verb}` at once")))
    }
}
