//! A second reading of the log: plain, task by task, and written from the protocol alone.
//!
//! It is fed every row that the Hub commits. From each event it says what the event must settle
//! (R5 to R8, R30, poison) and which attempts are active; the Hub's stamps and its live state must
//! say the same. What no single event shows, such as who may be given up when, it checks by time.

#[path = "ledger/nodes.rs"]
mod nodes;
#[path = "ledger/state.rs"]
mod state;
#[path = "ledger/task.rs"]
mod task;

use std::collections::{BTreeMap, BTreeSet};

use hpc_core::domain::entry::LogRow;
use hpc_core::logic::attempts::Outcome;
use hpc_core::logic::hub::{Hub, Input, Turn};
use hpc_core::logic::job::Job;
use serde_json::{Value, json};

use self::nodes::{Drain, NodeTimes, served_claims};
use self::task::{Task, Terms};
use crate::world::tasks;

/// A task lost this often while it ran is poison.
const POISON: u32 = 3;

/// Who was leased a task: attempt and node.
type Execution = (u64, String);

/// What must be so, by the log.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    jobs: BTreeMap<String, BTreeMap<u32, Task>>,
    terms: BTreeMap<String, Terms>,
    /// Nothing can happen to these any more.
    forgotten: BTreeSet<String>,
    nodes: BTreeMap<String, NodeTimes>,
    drains: BTreeMap<String, Drain>,
    batch_ids: BTreeSet<String>,
    /// Newest claim that was served, by node.
    pub last_claims: BTreeMap<String, Value>,
    /// Receipts that clients hold.
    acknowledged: BTreeSet<String>,
    hub_started: i64,
    lease: i64,
    reclaim: i64,
    seq: u64,
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

impl Ledger {
    pub fn new(lease: i64, reclaim: i64) -> Self {
        Self {
            lease,
            reclaim,
            ..Self::default()
        }
    }

    /// Leases count anew from here: the Hub was started, or woke up late.
    pub fn hub_started(&mut self, now: i64) {
        self.hub_started = now;
    }

    /// Checks what one turn recorded and answered.
    pub fn check_turn(&mut self, inputs: &[Input<'_>], turn: &Turn, now: i64) {
        let claims = served_claims(inputs, turn);
        for claim in &claims {
            self.hear(claim, now);
        }
        for row in &turn.rows {
            self.check_row(row, &claims, now);
        }
        // Who is replaced is refused until the Hub dies, which the log does not say.
        for claim in inputs.iter().filter(|input| input.verb == "claim") {
            let claim: Value = serde_json::from_slice(claim.body).unwrap_or_default();
            if claim["takeover"] == json!(true) {
                self.last_claims.remove(text(&claim, "node_id"));
            }
        }
        for claim in &claims {
            self.hear(claim, now); // the first claim of an epoch counts once it has joined
        }
        for reply in turn.replies.iter().filter(|reply| reply.status == 200) {
            let input = inputs.iter().find(|input| input.token == reply.token);
            if input.is_some_and(|input| input.verb == "ingest") {
                let receipt: Value = serde_json::from_slice(&reply.body).unwrap();
                self.acknowledged.insert(text(&receipt, "id").to_owned());
            }
        }
        let lost = self.acknowledged.difference(&self.batch_ids).next();
        assert_eq!(lost, None, "P1: an acknowledged batch is in the log");
    }

    fn check_row(&mut self, row: &LogRow, claims: &[Value], now: i64) {
        assert_eq!(row.first_seq, self.seq + 1, "seqs have no gaps");
        self.seq += u64::from(row.count);
        let is_new = self.batch_ids.insert(row.batch_id.clone());
        assert!(is_new, "P2: batch id {} is recorded twice", row.batch_id);
        let body: Value = serde_json::from_slice(&row.body).unwrap();
        let events = body["events"].as_array().unwrap();
        for event in events {
            let (ctx, spec) = (&event["payload"]["ctx"], &event["payload"]["spec"]);
            let kind = text(event, "kind");
            if kind == "AttemptLost" {
                self.check_loss(ctx, events, claims, now);
            }
            self.apply_to_node(kind, ctx, spec, now, row.batch_id.starts_with("hub"));
            self.check_forgotten(kind, ctx, spec);
            self.note_drain(event);
            let expected = self.apply(kind, ctx, spec);
            self.free_tasks();
            let stamped = event["settles"].as_object();
            let stamped: BTreeMap<String, BTreeSet<u32>> = stamped
                .into_iter()
                .flatten()
                .map(|(outcome, set)| (outcome.clone(), tasks(set.as_str().unwrap())))
                .collect();
            assert_eq!(stamped, expected, "what {event} settles");
        }
    }

    /// A job may be forgotten once all its tasks are decided and none is active; from then on it is
    /// neither leased nor begun anew.
    fn check_forgotten(&mut self, kind: &str, ctx: &Value, spec: &Value) {
        let id = text(ctx, "job_id");
        if kind == "ForgetJob" && !spec["outcome"].is_null() {
            let decided = self.jobs[id].values().map(|task| {
                assert_eq!(task.active, None, "{id} is forgotten, and leased");
                task.decided.unwrap()
            });
            // The worst that became of a task, as the order of these words has it.
            let worst = |outcome: &&str| {
                ["succeeded", "cancelled", "failed"]
                    .iter()
                    .position(|known| known == outcome)
            };
            assert_eq!(spec["outcome"], decided.max_by_key(worst).unwrap(), "{id}");
            let is_first = self.forgotten.insert(id.to_owned());
            assert!(is_first, "{id} is forgotten twice");
        } else if self.forgotten.contains(id) {
            let is_begun = kind == "JobClaimed" || spec["round"].is_u64();
            assert!(!is_begun, "{kind} of {id}, which is forgotten");
        }
    }

    /// Applies one event to the tasks that it names; what it must settle, by round and outcome.
    fn apply(&mut self, kind: &str, ctx: &Value, spec: &Value) -> BTreeMap<String, BTreeSet<u32>> {
        let mut settles: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        let id = text(ctx, "job_id").to_owned();
        if kind == "JobClaimed" && spec["adopted"] != json!(true) {
            self.check_may_run(&id, &tasks(text(ctx, "tasks")));
        }
        if text(spec, "cause") == "dependency" {
            self.check_in_vain(&id, &tasks(text(ctx, "tasks")));
        }
        let terms = self.terms.entry(id.clone()).or_default();
        let job = self.jobs.entry(id).or_default();
        let named: Vec<u32> = match ctx["tasks"].as_str() {
            Some(list) => tasks(list).into_iter().collect(),
            None if kind == "SubmitJob" => vec![0],
            None => job.keys().copied().collect(),
        };
        let all = ctx["tasks"].as_str().map(tasks);
        match kind {
            "SubmitJob" => {
                if job.is_empty() {
                    *terms = Terms::of(ctx, spec);
                    let is_held = ctx["hold"] == json!(true);
                    terms.holds.extend(is_held.then_some((true, None)));
                }
                for task in named {
                    job.entry(task).or_default();
                }
                return settles;
            }
            "HoldJob" => terms.holds.push((true, all)),
            "ReleaseJob" => terms.holds.push((false, all)),
            "RetryJob" if spec["round"].is_u64() => {
                for number in named {
                    let task = job.get_mut(&number).unwrap();
                    assert!(
                        matches!(task.decided, Some("failed" | "cancelled")),
                        "only what failed or was cancelled is begun anew"
                    );
                    task.round = spec["round"].as_u64().unwrap();
                    (task.decided, task.losses, task.failures) = (None, 0, 0);
                    terms.freed.insert(number);
                }
                return settles;
            }
            _ => {}
        }
        let execution = (
            ctx["attempt"].as_u64().unwrap_or_default(),
            text(ctx, "node_id").to_owned(),
        );
        let mut settle = |task: &Task, outcome: &str, number: u32| {
            let key = match task.round {
                0 => outcome.to_owned(),
                round => format!("{round}/{outcome}"),
            };
            settles.entry(key).or_default().insert(number);
        };
        let mut has_failed = false;
        for (place, number) in named.into_iter().enumerate() {
            if let Some(task) = job.get_mut(&number)
                && let Some(outcome) = task.apply(kind, &execution, spec, (place, terms))
            {
                has_failed |= outcome == "failed" && kind == "JobFinished";
                settle(task, outcome, number);
            }
        }
        let failed = job.values().filter(|task| task.decided == Some("failed"));
        if has_failed && terms.max_fails.is_some_and(|max| failed.count() > max) {
            for (number, task) in job.iter_mut().filter(|(_, task)| task.decided.is_none()) {
                task.decided = Some("cancelled");
                (task.active, task.started) = (None, false);
                settle(task, "cancelled", *number);
            }
        }
        settles
    }

    /// What became of the tasks that a task comes after: `None` while that is open.
    fn is_free(&self, terms: &Terms, task: u32) -> Option<bool> {
        let none = BTreeMap::new();
        let mut is_open = false;
        for (condition, id) in &terms.after {
            let before = self.jobs.get(id).unwrap_or(&none);
            let own = before.get(&task).filter(|_| terms.by_task);
            let decided: Vec<Option<&str>> = match own {
                Some(own) => vec![own.decided],
                None => before.values().map(|task| task.decided).collect(),
            };
            let is_over = !decided.is_empty() && decided.iter().all(Option::is_some);
            let has_failed = decided.contains(&Some("failed"));
            let is_good = |d: &Option<&str>| matches!(d, None | Some("succeeded"));
            match *condition {
                "after" if !decided.iter().all(is_good) => return Some(false),
                "after_fail" if is_over && !has_failed => return Some(false),
                _ => is_open |= !is_over,
            }
        }
        (!is_open).then_some(true)
    }

    /// Notes which tasks need not wait any more, after one event.
    fn free_tasks(&mut self) {
        let mut free = Vec::new();
        for (id, terms) in self
            .terms
            .iter()
            .filter(|(_, terms)| !terms.after.is_empty())
        {
            let tasks = self.jobs[id].keys().copied();
            let tasks = tasks.filter(|task| self.is_free(terms, *task) == Some(true));
            free.push((id.clone(), tasks.collect::<Vec<_>>()));
        }
        for (id, tasks) in free {
            self.terms.get_mut(&id).unwrap().freed.extend(tasks);
        }
    }

    /// P11: nothing is granted before what it comes after, nothing held, no more than is allowed.
    fn check_may_run(&self, id: &str, granted: &BTreeSet<u32>) {
        let terms = &self.terms[id];
        for task in granted {
            let name = format!("task {task} of {id}");
            let is_free = terms.after.is_empty() || terms.freed.contains(task);
            assert!(is_free, "P11: {name} comes after {:?}", terms.after);
            assert!(!terms.is_held(*task), "{name} is held");
        }
        let active = self.jobs[id].values().filter(|task| task.active.is_some());
        if let Some(throttle) = terms.throttle {
            assert!(
                active.count() + granted.len() <= throttle,
                "{id} at most {throttle}"
            );
        }
    }

    fn check_in_vain(&self, id: &str, doomed: &BTreeSet<u32>) {
        for task in doomed {
            let is_free = self.is_free(&self.terms[id], *task);
            assert_eq!(is_free, Some(false), "task {task} of {id} waits in vain");
        }
    }

    /// Whether every task is settled and nothing is leased.
    pub fn unsettled(&self) -> Vec<String> {
        let jobs = self.jobs.iter();
        let open = jobs.flat_map(|(id, tasks)| {
            let open = tasks.iter().filter(|(_, task)| task.decided.is_none());
            open.map(move |(number, task)| format!("{id}/{number}: {task:?}"))
        });
        open.collect()
    }

    /// Whether an attempt of a task is active at a node.
    pub fn is_active(&self, job: &str, task: u32, attempt: u64, node: &str) -> bool {
        let task = self.jobs.get(job).and_then(|job| job.get(&task));
        let active = task.and_then(|task| task.active.as_ref());
        active.is_some_and(|(number, at)| *number == attempt && at == node)
    }

    /// Batch ids of the log.
    pub fn is_recorded(&self, batch_id: &str) -> bool {
        self.batch_ids.contains(batch_id)
    }
}
