//! One turn of the Hub: inputs in, log rows and replies out. Nothing leaves before its commit.
//!
//! `step` is deterministic: the same inputs at the same times give the same rows and replies. The
//! caller appends the rows, commits, and only then sends the replies (protocol R1). If the append
//! fails, this Hub has seen what never happened: it is thrown away and rebuilt from the log.

use std::fmt;

use super::attempts::Settles;
use super::await_job::HeldRead;
use super::build::Builder;
use super::calendar::Calendar;
use super::check::Checked;
use super::pull::HeldPull;
use super::receipts::Receipts;
use super::state::{LogEvent, State};
use super::tail::Watch;
use super::verdict;
use crate::domain::entry::{BODY_OPEN, Digest, LogRow, StoredEvent, close_body};
use crate::domain::event::{AHEAD_MS_MAX, Ctx, KernelKind};
use crate::domain::ids::OWN_ID_SIGN;
use crate::domain::json::{Map, Value};
use crate::domain::problem::Problem;
use crate::lattice::KindMismatch;
use crate::lattice::last::Stamp;
use crate::mutants::{Rule, is_broken};

/// What one Hub is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of the log.
    pub hub_id: String,
    /// The lease that nodes are promised, ms.
    pub lease_ms: i64,
    /// How long leases of a lost node stay its own, ms.
    pub reclaim_ms: i64,
}

/// The times of a turn, ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Since 1970, UTC; may be set back.
    pub wall: i64,
    /// Never goes back.
    pub mono: i64,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Input<'b> {
    /// Names it in the reply.
    pub token: u64,
    /// Which of the verbs.
    pub verb: &'b str,
    /// Raw query string.
    pub query: &'b str,
    /// Raw body.
    pub body: &'b [u8],
    /// Who sends it, as [`crate::domain::access::Who`]; empty: the Hub itself.
    pub who: &'b str,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Of the request.
    pub token: u64,
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: Vec<u8>,
}

/// What a turn leads to.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// To be appended, in order, before any reply leaves.
    pub rows: Vec<LogRow>,
    /// To be sent after the commit.
    pub replies: Vec<Reply>,
    /// Generators that grew, with the seq.
    pub pokes: Vec<(String, u64)>,
    /// When `step` wants to be called again, monotonic ms.
    pub wake: Option<i64>,
    /// From where a generator wants the log.
    pub build_from: Option<u64>,
}

/// A mistake of ours, or a damaged log; the Hub must not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<KindMismatch> for Fault {
    fn from(mismatch: KindMismatch) -> Self {
        Self(format!("A column changes its lattice: {mismatch}"))
    }
}

/// The Hub's state machine.
#[derive(Clone, Debug)]
pub struct Hub {
    pub(super) config: Config,
    pub(super) state: State,
    pub(super) receipts: Receipts,
    pub(super) now: Now,
    pub(super) pulls: Vec<HeldPull>,
    pub(super) reads: Vec<HeldRead>,
    pub(super) watches: Vec<Watch>,
    pub(super) turn: Turn,
    /// Who sent what is being taken; empty: nobody, the Hub does it by itself.
    pub(super) who: String,
    pub(super) last_seq: u64,
    pub(super) chain: Digest,
    pub(super) stamp: Stamp,
    /// See [`Hub::steady`].
    pub(super) steady: i64,
    /// By which ages are measured.
    pub(super) calendar: Calendar,
    pub(super) wake: Option<i64>,
    /// Of the log, for generators that are being built.
    pub(super) builder: Builder,
    /// Generators whose building has come further in this turn.
    pub(super) advanced: Vec<String>,
    /// How much the last turn wrote.
    recorded_bytes: usize,
    /// How long jobs are kept that have ended, ms; `None`: for ever.
    pub(super) keep_ms: Option<i64>,
    /// Of the log as readers know it: a cursor of another one is not of this history.
    pub(super) lineage: String,
    /// The most jobs that are not over.
    pub(super) jobs_max: usize,
    /// The most nodes that are known.
    pub(super) nodes_max: usize,
    /// Before this none is forgotten for its age, monotonic ms.
    pub(super) forget_from: i64,
}

/// A batch that is being recorded.
#[derive(Debug)]
pub(super) struct RowWriter {
    pub first_seq: u64,
    pub count: u32,
    body: Vec<u8>,
    grew: Vec<String>,
    job_ids: Vec<String>,
}

/// What an event of a short kind takes in the body of a row, beside ctx and spec.
const FRAME_BYTES: usize = 96;

/// About what a ctx or a spec takes that has no text yet.
const PART_BYTES: usize = 64;

impl RowWriter {
    /// Makes room for events whose texts are there: a long body that grows by and by is copied often.
    pub fn reserve(&mut self, events: &[Checked<'_>]) {
        let length = |map: &Map<'_>| map.text().map_or(PART_BYTES, str::len);
        let texts = events.iter().map(|of| length(&of.ctx) + length(&of.spec));
        self.body
            .reserve(texts.sum::<usize>() + FRAME_BYTES * events.len());
    }
}

impl Hub {
    /// A Hub with an empty log.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            state: State::new(&config.hub_id),
            lineage: config.hub_id.clone(),
            config,
            receipts: Receipts::default(),
            now: Now::default(),
            pulls: Vec::new(),
            reads: Vec::new(),
            watches: Vec::new(),
            turn: Turn::default(),
            who: String::new(),
            last_seq: 0,
            chain: [0; 32],
            stamp: Stamp::default(),
            steady: 0,
            calendar: Calendar::default(),
            wake: None,
            builder: Builder::default(),
            advanced: Vec::new(),
            recorded_bytes: 0,
            keep_ms: None,
            jobs_max: super::ingest::JOBS_GOING_ON_MAX,
            nodes_max: super::claim::NODES_MAX,
            forget_from: 0,
        }
    }

    /// Seq of the last event, 0 if there is none.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Chain value of the last row, zeros if there is none.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.chain
    }

    /// Sets how much a generator may hold.
    pub fn limit_generators(&mut self, limits: super::generator::Limits) {
        self.state.generators.limit(limits);
    }

    /// Sets how many jobs may be going on.
    pub fn limit_jobs(&mut self, most: usize) {
        self.jobs_max = most;
    }

    /// Sets how many nodes may be known.
    pub fn limit_nodes(&mut self, most: usize) {
        self.nodes_max = most;
    }

    /// The state, to be looked at.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Looks at the clocks, before anything is forgotten for its age: by how much the wall clock is ahead
    /// of the time by which ages are measured, ms: 0, or more than a day.
    pub fn ahead_ms(&mut self, now: Now) -> i64 {
        self.calendar.look(now);
        self.calendar.ahead_ms()
    }

    /// Takes one turn.
    ///
    /// # Errors
    /// A mistake of ours; the Hub must not go on.
    pub fn step(
        &mut self,
        inputs: &[Input<'_>],
        now: Now,
        build: &[LogRow],
    ) -> Result<Turn, Fault> {
        let passed = now.mono.saturating_sub(self.now.mono).max(0);
        self.steady = self.steady().saturating_add(passed);
        self.now = now;
        self.calendar.look(now);
        self.turn = Turn::default();
        self.advanced.clear();
        let recorded_bytes = std::mem::take(&mut self.recorded_bytes);
        // A turn that is late by more than a quarter of a lease slept: nobody could renew
        // (protocol R29).
        let late = self.wake.map_or(0, |wake| now.mono - wake);
        if late > 0 && late > self.shortest_lease_ms() / 4 && !is_broken(Rule::R29) {
            self.renew_all();
        }
        self.build(build, Self::build_share(recorded_bytes))?;
        self.end_back_offs();
        for input in inputs {
            self.who.clear();
            self.who.push_str(input.who);
            self.take(input)?;
        }
        self.who.clear();
        self.expire_leases()?;
        self.settle_doomed()?;
        self.end_drains();
        self.schedule()?;
        self.forget_old()?;
        self.answer_reads();
        self.answer_pulls();
        let (build_from, is_fed) = self.build_needs();
        self.turn.build_from = build_from;
        self.wake = self.next_wake();
        self.turn.wake = if is_fed { Some(now.mono) } else { self.wake };
        Ok(std::mem::take(&mut self.turn))
    }

    fn take(&mut self, input: &Input<'_>) -> Result<(), Fault> {
        match input.verb {
            "ingest" => return self.ingest(input.token, input.query, input.body),
            "claim" => return self.claim(input.token, input.body),
            "control" => return self.control(input.token, input.body),
            "pull" => self.pull(input.token, input.query),
            "jobs" => self.read_jobs(input.token, input.query),
            "job" => self.read_job(input.token, input.query),
            "why" => self.read_why(input.token, input.query),
            "tasks" => self.read_tasks(input.token, input.query),
            "nodes" => self.read_nodes(input.token, input.query),
            "namespaces" => self.read_namespaces(input.token),
            "totals" => self.read_totals(input.token),
            "explain" => self.explain(input.token, input.query),
            "conflicts" => self.conflicts(input.token, input.query),
            "tail" => self.tail(input.token, input.query),
            "untail" => self.untail(input.query),
            "gone" => self.gone(input.query),
            other => return Err(Fault(format!("No verb is called `{other}`"))),
        }
        Ok(())
    }

    /// The stamp of an event: the producer's time, or one that is greater than all before.
    fn stamp_for(&mut self, at: Option<i64>) -> Stamp {
        let stamp = match at {
            Some(at) if at <= self.now.wall.saturating_add(AHEAD_MS_MAX) => {
                Stamp { at, counter: 0 }
            }
            _ if self.now.wall > self.stamp.at => Stamp {
                at: self.now.wall,
                counter: 0,
            },
            _ => Stamp {
                at: self.stamp.at,
                counter: self.stamp.counter.saturating_add(1),
            },
        };
        self.stamp = self.stamp.max(stamp);
        stamp
    }

    /// Begins a batch of the log.
    pub(super) fn begin_row(&self) -> RowWriter {
        RowWriter {
            first_seq: self.last_seq + 1,
            count: 0,
            body: BODY_OPEN.to_vec(),
            grew: Vec::new(),
            job_ids: Vec::new(),
        }
    }

    /// Records one event: stamps it, decides what it settles, writes it down and applies it.
    pub(super) fn record(
        &mut self,
        row: &mut RowWriter,
        event: &NewEvent<'_>,
    ) -> Result<(), Fault> {
        let NewEvent {
            kind, ctx, spec, ..
        } = *event;
        let stamp = self.stamp_for(event.at);
        let settles = self.decide(event);
        let settles_map = (!settles.tasks.is_empty()).then(|| settles.to_map());
        if row.count > 0 {
            row.body.push(b',');
        }
        let stored = StoredEvent {
            stamp,
            kind,
            ctx,
            spec,
            settles: settles_map.as_ref(),
        };
        stored.write(&mut row.body);
        row.count += 1;
        self.last_seq += 1;
        if let Some(job_id) = ctx.str("job_id")
            && row.job_ids.last().is_none_or(|last| last != job_id)
        {
            row.job_ids.push(job_id.to_owned());
        }
        let event = LogEvent {
            seq: self.last_seq,
            stamp,
            kind,
            kernel: event.kernel,
            ctx,
            spec,
            settles: &settles,
        };
        self.state.apply(&event, &mut row.grew)?;
        Ok(())
    }

    /// What an event settles, from the state before it.
    fn decide(&self, event: &NewEvent<'_>) -> Settles {
        let (ctx, spec) = (Ctx::new(event.ctx), event.spec);
        let may_settle = |kernel: &KernelKind| {
            use KernelKind::{AttemptLost, CancelJob, JobFinished};
            matches!(kernel, CancelJob | JobFinished | AttemptLost)
        };
        let Some(kernel) = event.kernel.filter(may_settle) else {
            return Settles::default();
        };
        let jobs = &self.state.jobs;
        let job = ctx.job_id().and_then(|id| jobs.get(jobs.find(id)?));
        let Some(job) = job else {
            return Settles::default();
        };
        let node = ctx.node_id().and_then(|id| self.state.nodes.find(id));
        let tasks = ctx.tasks();
        let mut settles = match (kernel, node, tasks) {
            (KernelKind::CancelJob, _, tasks) => verdict::of_cancel(&job, tasks.as_ref()),
            (KernelKind::JobFinished, Some(node), Some(tasks)) => {
                verdict::of_finish(&job, spec, &tasks, ctx.attempt(), node)
            }
            (KernelKind::AttemptLost, Some(node), Some(tasks)) => {
                verdict::of_loss(&job, &tasks, ctx.attempt(), node)
            }
            _ => Settles::default(),
        };
        settles.sort_by_round(&job);
        settles
    }

    /// Ends a batch: chains it to the one before, and pokes what grew. Returns the pokes.
    pub(super) fn end_row(
        &mut self,
        mut row: RowWriter,
        batch_id: &str,
        digest: Digest,
        flags: u32,
    ) -> Vec<String> {
        row.grew.sort_unstable();
        row.job_ids.sort_unstable();
        row.job_ids.dedup();
        close_body(&mut row.body, &row.grew, &self.who);
        let mut row_done = LogRow {
            first_seq: row.first_seq,
            count: row.count,
            batch_id: batch_id.to_owned(),
            digest,
            chain: [0; 32],
            flags,
            body: row.body,
            job_ids: row.job_ids,
        };
        row_done.chain = row_done.chain_after(&self.chain);
        self.chain = row_done.chain;
        self.recorded_bytes += row_done.body.len();
        self.turn.rows.push(row_done);
        self.poke(row.grew.clone(), self.last_seq);
        row.grew
    }

    /// Says that cells of generators grew at a seq.
    pub(super) fn poke(&mut self, gids: Vec<String>, at: u64) {
        for gid in gids {
            match self.turn.pokes.iter_mut().find(|(have, _)| *have == gid) {
                Some((_, seq)) => *seq = at.max(*seq),
                None => self.turn.pokes.push((gid, at)),
            }
        }
    }

    /// Ends a batch of the Hub's own; one without events is dropped.
    pub(super) fn end_own_row(&mut self, row: RowWriter) {
        if row.count > 0 {
            let id = self.own_id(row.first_seq);
            let digest = *blake3::hash(&row.body).as_bytes();
            self.end_row(row, &id, digest, 0);
        }
    }

    /// The id of a batch that came without one.
    pub(super) fn own_batch_id(&self) -> String {
        self.own_id(self.last_seq + 1)
    }

    /// An id that no client can send: the log takes each id once.
    fn own_id(&self, first_seq: u64) -> String {
        format!("{}{OWN_ID_SIGN}{first_seq}", self.config.hub_id)
    }

    pub(super) fn reply(&mut self, token: u64, status: u16, body: Vec<u8>) {
        self.turn.replies.push(Reply {
            token,
            status,
            body,
        });
    }

    pub(super) fn refuse(&mut self, token: u64, problem: &Problem) {
        self.reply(token, problem.status, problem.to_json());
    }

    /// A client left: nothing that it waits for is kept.
    fn gone(&mut self, query: &str) {
        let token: Option<u64> = query.strip_prefix("token=").and_then(|t| t.parse().ok());
        let Some(token) = token else {
            return;
        };
        self.pulls.retain(|pull| pull.token != token);
        self.reads.retain(|read| read.token != token);
        for (_, node) in self.state.nodes.iter_mut() {
            if node.open.as_ref().is_some_and(|open| open.token == token) {
                node.open = None;
            }
        }
    }

    pub(super) fn next_wake(&self) -> Option<i64> {
        let pulls = self.pulls.iter().map(|pull| pull.until);
        let reads = self.reads.iter().map(|read| read.until);
        let nodes = self.state.nodes.iter().flat_map(|(_, node)| {
            let open = node.open.as_ref().map(|open| open.until);
            let stuck_at = (!node.is_stuck && node.is_crowded()).then(|| node.stuck_at());
            [node.deadline, node.reclaim, open, stuck_at]
        });
        let back_off = self.state.delayed.first().map(|(until, _)| {
            let left = until.saturating_sub(self.steady()).max(0);
            self.now.mono.saturating_add(left)
        });
        let drains = self.next_drain_end().map(|at| {
            let left = at.saturating_sub(self.now.wall).max(0);
            self.now.mono.saturating_add(left)
        });
        let forgotten = self.next_forgotten();
        let others = back_off.into_iter().chain(forgotten).chain(drains);
        let held = pulls.chain(reads);
        held.chain(nodes.flatten()).chain(others).min()
    }

    /// Ms since 1970 by which a back-off is measured: as the log has it, and then by the clock that
    /// nobody sets. A clock that is set back keeps no task waiting.
    pub(super) fn steady(&self) -> i64 {
        self.steady.max(self.stamp.at)
    }

    /// Makes ready what failed long enough ago.
    fn end_back_offs(&mut self) {
        let now = self.steady();
        while let Some((until, ix)) = self.state.delayed.pop_first() {
            if until > now {
                self.state.delayed.insert((until, ix));
                break;
            }
            self.state.end_back_off(ix, now);
        }
    }
}

/// An event that is to be recorded: well-formed, in its stored form but for stamp and seq.
pub(super) struct NewEvent<'e> {
    pub(super) kind: &'e str,
    /// The lifecycle kind that it is, if any.
    pub(super) kernel: Option<KernelKind>,
    pub(super) ctx: &'e Map<'e>,
    pub(super) spec: &'e Map<'e>,
    /// The producer's time.
    pub(super) at: Option<i64>,
}

impl<'e> NewEvent<'e> {
    /// One of the Hub's own.
    pub(super) fn own(kind: &'e str, ctx: &'e Map<'e>, spec: &'e Map<'e>) -> Self {
        Self {
            kind,
            kernel: KernelKind::from_wire(kind),
            ctx,
            spec,
            at: None,
        }
    }
}

pub(super) fn damaged(row: &LogRow, why: &str) -> Fault {
    Fault(format!(
        "Batch `{}` at seq {} is damaged: {why}",
        row.batch_id, row.first_seq
    ))
}

/// A map of the Hub's own making.
pub(super) fn map<const N: usize>(pairs: [(&'static str, Value<'static>); N]) -> Map<'static> {
    pairs.into_iter().collect()
}
