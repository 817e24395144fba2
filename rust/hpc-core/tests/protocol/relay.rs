//! A relay as the protocol describes it, for the search: what it holds, its outboxes, its fence.
//!
//! It decides nothing but what the table of section 3 says; which of its steps comes next, and
//! what becomes of its messages, is the search's choice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::world::{LEASE, tasks};

/// The fence: 0.8 of a lease after the claim that was answered was sent.
const FENCE: i64 = LEASE * 8 / 10;

/// One task of one attempt of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Execution {
    pub job: String,
    pub attempt: u64,
    pub task: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    Queued,
    Running,
    /// Ended, and not yet acknowledged: session and number of the report.
    Ended(String, u64),
}

/// Entries of one session; entry N has number N.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pub entries: Vec<Value>,
    pub acknowledged: usize,
}

#[derive(Clone, Debug)]
pub struct Relay {
    pub node: String,
    pub place: String,
    pub session: String,
    /// Durable, like the outboxes.
    pub epoch: u64,
    pub outboxes: BTreeMap<String, Outbox>,
    pub is_up: bool,
    /// Another place has the name now: it never claims again.
    pub is_replaced: bool,
    pub cpus: usize,
    pub held: BTreeMap<Execution, (Held, bool)>,
    /// Number of the newest claim, and when it was sent.
    pub n: u64,
    pub sent_at: i64,
    pub is_open: bool,
    /// Nothing starts after it.
    pub fence: i64,
    was_answered: bool,
    /// Executions that it started in this session.
    pub started: BTreeSet<Execution>,
    starts: u64,
}

impl Relay {
    pub fn new(node: &str, place: &str, cpus: usize) -> Self {
        let mut relay = Self {
            node: node.to_owned(),
            place: place.to_owned(),
            session: String::new(),
            epoch: 0,
            outboxes: BTreeMap::new(),
            is_up: false,
            is_replaced: false,
            cpus,
            held: BTreeMap::new(),
            n: 0,
            sent_at: 0,
            is_open: false,
            fence: i64::MIN,
            was_answered: false,
            started: BTreeSet::new(),
            starts: 0,
        };
        relay.start();
        relay
    }

    /// A start: sweep, raise the epoch on disk, open a new outbox.
    pub fn start(&mut self) {
        self.starts += 1;
        self.epoch += 1;
        self.session = format!("{}-{}-{}", self.node, self.place, self.starts);
        self.outboxes
            .insert(self.session.clone(), Outbox::default());
        self.held.clear();
        self.started.clear();
        self.is_up = true;
        self.is_open = false;
        self.was_answered = false;
        self.fence = i64::MIN;
    }

    /// Killed: its children die with it (R26); what is on disk stays.
    pub fn kill(&mut self) {
        self.is_up = false;
        self.held.clear();
    }

    /// Whether it may claim.
    pub fn claims(&self) -> bool {
        self.is_up && !self.is_replaced
    }

    /// The next claim's body; each send has a number of its own (R14).
    pub fn claim(&mut self, now: i64) -> Value {
        self.n += 1;
        self.sent_at = now;
        self.is_open = true;
        let mut holds: BTreeMap<(&str, u64), Vec<String>> = BTreeMap::new();
        for execution in self.held.keys() {
            let key = (execution.job.as_str(), execution.attempt);
            holds
                .entry(key)
                .or_default()
                .push(execution.task.to_string());
        }
        let holds: Vec<Value> = holds
            .iter()
            .map(|((job, attempt), tasks)| {
                json!({"job_id": job, "attempt": attempt, "tasks": tasks.join(",")})
            })
            .collect();
        json!({
            "node_id": self.node, "host": "host", "place": self.place, "session": self.session,
            "epoch": self.epoch, "n": self.n, "ns": ["batch"], "resources": {"cpus": self.cpus},
            "max": 64, "wait": 0.5, "holds": holds,
        })
    }

    /// Takes an answer to one of its claims.
    pub fn take_answer(&mut self, (session, n): (&str, u64), status: u16, body: &Value, now: i64) {
        if !self.is_up || session != self.session || n != self.n || !self.is_open {
            return; // any other answer is dropped (R14)
        }
        self.is_open = false;
        match status {
            200 => self.take_grants(body, now),
            409 => self.take_refusal(body),
            other => panic!("{other} to a claim: {body}"),
        }
    }

    fn take_grants(&mut self, body: &Value, now: i64) {
        self.was_answered = true;
        self.fence = self.sent_at + FENCE;
        for (execution, _, reason) in list(body, "cancels") {
            let held = self.held.get(&execution).map(|(held, _)| held);
            if reason == "drain" && matches!(held, Some(Held::Queued | Held::Running)) {
                self.give_back(&execution, "drain");
            } else {
                self.end_by_cancel(&execution);
            }
        }
        if now >= self.fence {
            return;
        }
        for (execution, spec, _) in list(body, "grants") {
            let stops = spec["on_cut_off"] == "stop";
            self.held.entry(execution).or_insert((Held::Queued, stops));
        }
    }

    fn take_refusal(&mut self, body: &Value) {
        let last = body["last_epoch"].as_u64().unwrap();
        match body["code"].as_str().unwrap() {
            "lost" => {
                self.end_stops();
                for execution in self.which(|held, _| *held == Held::Queued) {
                    self.give_back(&execution, "given_back");
                }
                self.epoch = self.epoch.max(last) + 1;
            }
            "taken" if self.was_answered => {
                self.is_replaced = true;
                for execution in self.which(|held, _| !matches!(held, Held::Ended(..))) {
                    self.give_back(&execution, "fence");
                }
            }
            "taken" => self.epoch = self.epoch.max(last + 1),
            other => panic!("409 {other}"),
        }
    }

    /// The fence is reached: `stop` tasks end, and nothing starts.
    pub fn reach_fence(&mut self) {
        self.end_stops();
    }

    fn end_stops(&mut self) {
        for execution in self.which(|held, stops| stops && !matches!(held, Held::Ended(..))) {
            self.give_back(&execution, "fence");
        }
    }

    /// Executions by what they are and whether they must never overlap.
    pub fn which(&self, is: impl Fn(&Held, bool) -> bool) -> Vec<Execution> {
        let held = self
            .held
            .iter()
            .filter(|(_, (held, stops))| is(held, *stops));
        held.map(|(execution, _)| execution.clone()).collect()
    }

    /// Starts a queued execution: its start is in the outbox first (R27).
    pub fn start_task(&mut self, execution: &Execution) {
        self.report("JobStarted", execution, json!({}));
        let is_first = self.started.insert(execution.clone());
        assert!(is_first, "P8b: {execution:?} starts twice");
        if let Some((held, _)) = self.held.get_mut(execution) {
            *held = Held::Running;
        }
    }

    /// A child ends by itself.
    pub fn end_task(&mut self, execution: &Execution, exit_code: i64) {
        // Long enough that nothing is leased ahead.
        let spec = json!({"exit_code": exit_code, "started_at": 0, "finished_at": 5_000});
        self.end(execution, "JobFinished", spec);
    }

    fn end_by_cancel(&mut self, execution: &Execution) {
        match self.held.get(execution) {
            Some((Held::Queued, _)) => self.give_back(execution, "given_back"),
            Some((Held::Running, _)) => {
                let spec = json!({"signal": 15, "cause": "cancelled"});
                self.end(execution, "JobFinished", spec);
            }
            _ => {}
        }
    }

    fn give_back(&mut self, execution: &Execution, reason: &str) {
        self.end(execution, "TasksReturned", json!({"reason": reason}));
    }

    fn end(&mut self, execution: &Execution, kind: &str, spec: Value) {
        let number = self.report(kind, execution, spec);
        let session = self.session.clone();
        if let Some((held, _)) = self.held.get_mut(execution) {
            *held = Held::Ended(session, number);
        }
    }

    /// Appends to the session's outbox; returns the entry's number.
    fn report(&mut self, kind: &str, execution: &Execution, spec: Value) -> u64 {
        let ctx = json!({
            "ns_id": "batch", "job_id": execution.job, "attempt": execution.attempt,
            "tasks": execution.task.to_string(), "node_id": self.node, "epoch": self.epoch,
        });
        let outbox = self.outboxes.entry(self.session.clone()).or_default();
        outbox
            .entries
            .push(json!({"kind": kind, "payload": {"ctx": ctx, "spec": spec}}));
        outbox.entries.len() as u64
    }

    /// The oldest report of a session that is not acknowledged.
    pub fn next_report(&self, session: &str) -> Option<Value> {
        let outbox = self.outboxes.get(session)?;
        let entry = outbox.entries.get(outbox.acknowledged)?;
        let id = format!("{session}/{}", outbox.acknowledged + 1);
        Some(json!({"id": id, "events": [entry]}))
    }

    /// Takes the receipt of a report: up to it the outbox may forget (R12).
    pub fn take_receipt(&mut self, batch_id: &str, status: u16, body: &Value) {
        assert_eq!(status, 200, "R9: a report is refused: {body}");
        let Some((session, n)) = batch_id.split_once('/') else {
            return;
        };
        let n: usize = n.parse().unwrap();
        if let Some(outbox) = self.outboxes.get_mut(session) {
            outbox.acknowledged = outbox.acknowledged.max(n);
        }
        self.held.retain(|_, (held, _)| {
            !matches!(held, Held::Ended(of, number) if *of == session && *number <= n as u64)
        });
    }

    /// Sessions with reports that are not acknowledged.
    pub fn sessions_to_report(&self) -> Vec<String> {
        let boxes = self.outboxes.iter();
        let open = boxes.filter(|(_, outbox)| outbox.acknowledged < outbox.entries.len());
        open.map(|(session, _)| session.clone()).collect()
    }
}

/// A list of an answer, task by task, each with the spec and the reason that came with it.
fn list(body: &Value, key: &str) -> Vec<(Execution, Value, Value)> {
    let entries = body[key].as_array().cloned().unwrap_or_default();
    entries
        .iter()
        .flat_map(|entry| {
            let tasks = tasks(entry["tasks"].as_str().unwrap());
            tasks.into_iter().map(|task| {
                let execution = Execution {
                    job: entry["job_id"].as_str().unwrap().to_owned(),
                    attempt: entry["attempt"].as_u64().unwrap(),
                    task,
                };
                (execution, entry["spec"].clone(), entry["reason"].clone())
            })
        })
        .collect()
}
