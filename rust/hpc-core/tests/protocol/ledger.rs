//! A second reading of the log: plain, task by task, and written from the protocol alone.
//!
//! It is fed every row that the Hub commits. From each event it says what the event must settle
//! (R5 to R8, R30, poison) and which attempts are active; the Hub's stamps and its live state must
//! say the same. What no single event shows, such as who may be given up when, it checks by time.

use std::collections::{BTreeMap, BTreeSet};

use hpc_core::domain::entry::LogRow;
use hpc_core::logic::attempts::Outcome;
use hpc_core::logic::hub::{Hub, Input, Turn};
use hpc_core::logic::job::Job;
use serde_json::{Value, json};

use crate::world::tasks;

/// A task lost this often while it ran is poison.
const POISON: u32 = 3;

/// Who was leased a task: attempt and node.
type Execution = (u64, String);

#[derive(Clone, Debug, Default)]
struct Task {
    decided: Option<&'static str>,
    active: Option<Execution>,
    started: bool,
    losses: u32,
    /// Failures of active attempts that were not final, in this round.
    failures: u64,
    /// How often it was begun anew on request.
    round: u64,
    /// Executions that were leased, and whether a report says that they ended.
    had: BTreeMap<Execution, Had>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Had {
    started: bool,
    ended: bool,
    lost: bool,
}

/// What a submit says beyond its tasks, and what was said since.
#[derive(Clone, Debug, Default)]
struct Terms {
    retries: u64,
    /// Causes and exit codes.
    retry_on: Option<Vec<Value>>,
    max_fails: Option<usize>,
    throttle: Option<usize>,
    /// Condition and job.
    after: Vec<(&'static str, String)>,
    by_task: bool,
    /// Who held and released which tasks; none is all.
    holds: Vec<(bool, Option<BTreeSet<u32>>)>,
    /// Tasks that need not wait any more: once free, always free.
    freed: BTreeSet<u32>,
}

impl Terms {
    fn of(ctx: &Value, spec: &Value) -> Self {
        let mut after = Vec::new();
        for condition in ["after", "after_any", "after_fail"] {
            let ids = ctx[condition].as_array().cloned().unwrap_or_default();
            after.extend(
                ids.iter()
                    .map(|id| (condition, id.as_str().unwrap().to_owned())),
            );
        }
        let count = |key: &str| spec[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Self {
            retries: spec["retries"].as_u64().unwrap_or_default(),
            retry_on: spec["retry_on"].as_array().cloned(),
            max_fails: count("max_fails"),
            throttle: count("throttle"),
            after,
            by_task: ctx["after_task"] == json!(true),
            holds: Vec::new(),
            freed: BTreeSet::new(),
        }
    }

    /// The reports of these tests end by an exit code or name a cause.
    fn retries_on(&self, code: &Value, cause: &Value) -> bool {
        let Some(listed) = &self.retry_on else {
            let own = ["exit", "signal", "oom", "time limit", "output limit"];
            return cause.as_str().is_none_or(|cause| own.contains(&cause));
        };
        let named = cause.as_str().unwrap_or("exit");
        listed
            .iter()
            .any(|listed| *listed == named || !code.is_null() && listed == code)
    }

    fn is_held(&self, task: u32) -> bool {
        let said = self.holds.iter().rev();
        let mut said = said.filter(|(_, tasks)| tasks.as_ref().is_none_or(|t| t.contains(&task)));
        said.next().is_some_and(|(is_held, _)| *is_held)
    }
}

#[derive(Clone, Debug, Default)]
struct NodeTimes {
    epoch: u64,
    lease: i64,
    /// When the newest claim of the epoch came.
    heard: i64,
    newest_n: i64,
    /// When it was committed as lost, and whether on request.
    lost: Option<(i64, bool)>,
}

/// The newest word on draining of a node, by its stamp.
#[derive(Clone, Debug, Default)]
struct Drain {
    stamp: (i64, i64),
    deadline: Option<i64>,
}

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

    fn hear(&mut self, claim: &Value, now: i64) {
        let node = self
            .nodes
            .entry(text(claim, "node_id").to_owned())
            .or_default();
        let (epoch, n) = (
            claim["epoch"].as_u64().unwrap(),
            claim["n"].as_i64().unwrap(),
        );
        if epoch > node.epoch || n > node.newest_n {
            if epoch == node.epoch {
                node.newest_n = n;
            }
            node.heard = now;
            self.last_claims
                .insert(text(claim, "node_id").to_owned(), claim.clone());
        }
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
                self.check_loss(ctx, spec, events, claims, now);
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

    /// P13: no attempt is given up while its relay holds it and its lease lives.
    fn check_loss(&self, ctx: &Value, spec: &Value, row: &[Value], claims: &[Value], now: i64) {
        let id = text(ctx, "node_id");
        let joined = row.iter().find(|event| {
            text(event, "kind") == "NodeJoined" && text(&event["payload"]["ctx"], "node_id") == id
        });
        if let Some(joined) = joined {
            let epoch = &joined["payload"]["ctx"]["epoch"];
            assert!(
                epoch.as_u64() > ctx["epoch"].as_u64(),
                "R19: only a newer epoch loses"
            );
            let same = |claim: &&Value| text(claim, "node_id") == id && claim["epoch"] == *epoch;
            let claim = claims.iter().find(same).unwrap();
            let holds = claim["holds"].as_array().unwrap();
            let held = holds.iter().filter(|hold| {
                hold["job_id"] == ctx["job_id"] && hold["attempt"] == ctx["attempt"]
            });
            let held: BTreeSet<u32> = held.flat_map(|hold| tasks(text(hold, "tasks"))).collect();
            let lost = tasks(text(ctx, "tasks"));
            assert!(
                lost.is_disjoint(&held),
                "R19: what a newer epoch holds passes over"
            );
            return;
        }
        let Some((at, on_request)) = self.nodes[id].lost else {
            panic!("P13: {ctx} is given up, and the lease of {id} lives");
        };
        let is_due = now >= at.max(self.hub_started) + self.reclaim;
        let is_stop = text(spec, "reason") == "its relay was silent";
        assert!(
            on_request || is_stop || is_due,
            "finish: {ctx} is given up before its time"
        );
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

    /// What the Hub has left of forgotten jobs is what became of each task.
    fn check_left(&self, hub: &Hub) {
        let (jobs, kernel) = (&hub.state().jobs, &hub.state().kernel);
        assert_eq!(jobs.forgotten_len(), self.forgotten.len());
        for (id, tasks) in &self.jobs {
            let Some(ix) = jobs.find(id) else {
                continue;
            };
            let is_forgotten = self.forgotten.contains(id);
            assert_eq!(kernel.is_forgotten(id), is_forgotten, "{id}");
            assert_eq!(jobs.get(ix).is_none(), is_forgotten, "{id}");
            let has_row = kernel.facts().find("jobs", id, "phase").is_some();
            assert_eq!(has_row, !is_forgotten, "{id} has a row");
            let Some(left) = jobs.forgotten(ix) else {
                continue;
            };
            assert_eq!(left.id, id);
            assert_eq!(left.settled.all().len(), tasks.len() as u64);
            for (number, task) in tasks {
                let outcome = Outcome::from_wire(task.decided.unwrap()).unwrap();
                assert!(
                    left.settled.of(outcome).contains(*number),
                    "P3: {number} of {id}"
                );
            }
        }
    }

    fn apply_to_node(&mut self, kind: &str, ctx: &Value, spec: &Value, now: i64, is_own: bool) {
        let lease = self.lease;
        let started = self.hub_started;
        let node = self
            .nodes
            .entry(text(ctx, "node_id").to_owned())
            .or_default();
        let epoch = ctx["epoch"].as_u64().unwrap_or_default();
        match kind {
            "NodeJoined" => {
                assert!(epoch > node.epoch, "R22: epochs rise");
                *node = NodeTimes {
                    epoch,
                    lease: spec["lease_ms"].as_i64().unwrap_or(lease),
                    heard: now,
                    ..NodeTimes::default()
                };
            }
            "NodeLost" if epoch == node.epoch => {
                let silent = now - node.heard.max(started);
                assert!(
                    !is_own || silent >= node.lease,
                    "R25: lost after {silent} ms of silence"
                );
                node.lost = Some((now, !is_own));
            }
            "NodeLeft" if epoch == node.epoch => node.lost = Some((now, true)),
            _ => {}
        }
    }

    /// Whether a node has ever joined.
    pub fn has_joined(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.epoch > 0)
    }

    fn note_drain(&mut self, event: &Value) {
        let deadline = match text(event, "kind") {
            "NodeDrained" => event["payload"]["spec"]["deadline"].as_i64(),
            "NodeUndrained" => None,
            _ => return,
        };
        let stamp = (
            event["at"].as_i64().unwrap(),
            event["counter"].as_i64().unwrap_or_default(),
        );
        let node = text(&event["payload"]["ctx"], "node_id").to_owned();
        let drain = self.drains.entry(node).or_default();
        if drain.stamp < stamp {
            *drain = Drain { stamp, deadline };
        }
    }

    /// A node is told to give back, for its drain, only what it has active, and only from the
    /// deadline on.
    pub fn check_drains(&self, inputs: &[Input<'_>], turn: &Turn, wall: i64) {
        for reply in turn.replies.iter().filter(|reply| reply.status == 200) {
            let input = inputs.iter().find(|input| input.token == reply.token);
            if input.is_some_and(|input| input.verb != "claim") {
                continue;
            }
            let answer: Value = serde_json::from_slice(&reply.body).unwrap();
            let cancels = answer["cancels"].as_array().cloned().unwrap_or_default();
            for order in cancels.iter().filter(|order| order["reason"] == "drain") {
                let named = tasks(text(order, "tasks"));
                let attempt = order["attempt"].as_u64().unwrap();
                let job = &self.jobs[text(order, "job_id")];
                for task in named {
                    let active = job[&task].active.as_ref();
                    let (of, node) = active.unwrap_or_else(|| panic!("{order} is not active"));
                    assert_eq!(*of, attempt, "{order}");
                    let deadline = self.drains[node].deadline;
                    assert!(
                        deadline.is_some_and(|at| at <= wall),
                        "{order} comes too soon"
                    );
                }
            }
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

    /// Checks that the Hub's live state is what the log says, and keeps its own books.
    pub fn check_state(&self, hub: &Hub) {
        let state = hub.state();
        // By node: jobs, and what their leases take.
        let mut leased: BTreeMap<&str, (BTreeSet<u32>, Vec<i64>, i64)> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        self.check_left(hub);
        for (ix, job) in state.jobs.iter() {
            self.check_job(hub, &job);
            if job.is_ready() {
                waiting.insert(ix);
            }
            for lease in &job.leases {
                let node = state.nodes.get(lease.node).unwrap();
                let count = i64::try_from(lease.tasks.len()).unwrap();
                let (jobs, used, exclusive) = leased.entry(&node.id).or_default();
                jobs.insert(ix);
                let shape = state.queue.shape_at(lease.shape);
                *exclusive += count * i64::from(shape.is_exclusive());
                for (resource, need) in &shape.needs {
                    used.resize(used.len().max(resource + 1), 0);
                    used[*resource] += need * count;
                }
            }
        }
        for (_, node) in state.nodes.iter() {
            let none = Default::default();
            let (jobs, used, exclusive) = leased.get(&*node.id).unwrap_or(&none);
            let mut used = used.clone();
            used.resize(node.used.len().max(used.len()), 0);
            assert_eq!(
                (&node.used, node.exclusive),
                (&used, *exclusive),
                "the book of {} is the sum of its leases",
                node.id
            );
            assert_eq!(node.leases, *jobs, "jobs with a lease at {}", node.id);
        }
        let last = hpc_core::logic::queue::Rank {
            priority: std::cmp::Reverse(i64::MIN),
            seq: u64::MAX,
        };
        let namespaces = state.namespaces.ids();
        let queued: BTreeSet<u32> = namespaces
            .flat_map(|ns| state.queue.ahead(ns, last))
            .collect();
        assert_eq!(queued, waiting, "the queue holds the jobs with ready tasks");
        assert_eq!(state.queue.is_empty(), waiting.is_empty());
    }

    fn check_job(&self, hub: &Hub, job: &Job) {
        let known = &self.jobs[&*job.id];
        assert_eq!(
            job.tasks.iter().collect::<Vec<_>>(),
            known.keys().copied().collect::<Vec<_>>()
        );
        for (number, task) in known {
            let name = format!("task {number} of {}", job.id);
            let outcomes = Outcome::ALL
                .into_iter()
                .filter(|o| job.settled.of(*o).contains(*number));
            let outcomes: Vec<&str> = outcomes.map(Outcome::wire).collect();
            assert_eq!(outcomes, task.decided.as_slice(), "P3: outcomes of {name}");
            let leases = job
                .leases
                .iter()
                .filter(|lease| lease.tasks.contains(*number));
            let leases: Vec<Execution> = leases
                .map(|lease| {
                    let node = hub.state().nodes.get(lease.node).unwrap();
                    assert_eq!(
                        lease.epoch, node.epoch,
                        "leases pass over to the newest epoch"
                    );
                    (u64::from(lease.attempt), node.id.to_string())
                })
                .collect();
            assert_eq!(
                leases,
                task.active.as_slice(),
                "P14: active attempts of {name}"
            );
            let open = job.open();
            let queued = open.iter().filter(|(_, ready)| ready.contains(*number));
            let queued: Vec<u64> = queued.map(|(attempt, _)| u64::from(*attempt)).collect();
            let next = task.highest() + 1;
            let is_ready = task.decided.is_none() && task.active.is_none();
            let expected = if is_ready { vec![next] } else { vec![] };
            assert_eq!(queued, expected, "R7: next attempts of {name}");
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

impl Task {
    fn highest(&self) -> u64 {
        self.had
            .keys()
            .map(|(attempt, _)| *attempt)
            .max()
            .unwrap_or(0)
    }

    /// Applies one event; what it settles the task as.
    fn apply(
        &mut self,
        kind: &str,
        execution: &Execution,
        spec: &Value,
        (place, terms): (usize, &Terms),
    ) -> Option<&'static str> {
        let is_active = self.active.as_ref() == Some(execution);
        let had = self.had.get(execution).copied();
        let outcome = match kind {
            "CancelJob" => Some("cancelled"),
            "JobClaimed" => {
                self.check_claimed(execution, spec["adopted"] == json!(true));
                self.active = Some(execution.clone());
                let had = self.had.entry(execution.clone()).or_default();
                had.lost = false;
                self.started = had.started;
                return None;
            }
            "JobStarted" if had.is_some() => {
                let had = self.had.entry(execution.clone()).or_default();
                // It ran when it was lost, as is known only now.
                self.losses += u32::from(had.lost && !had.started && !had.ended);
                had.started = true;
                self.started |= is_active;
                None
            }
            "JobFinished" if had.is_some() => {
                self.had.entry(execution.clone()).or_default().ended = true;
                let of = |key: &str| match &spec[key] {
                    Value::Array(list) => list[place].clone(),
                    value => value.clone(),
                };
                let is_ok = of("exit_code") == 0 && of("signal").is_null() && of("cause").is_null();
                match (is_ok, is_active) {
                    (true, _) => Some("succeeded"),
                    (false, true)
                        if self.decided.is_none()
                            && self.failures < terms.retries
                            && terms.retries_on(&of("exit_code"), &of("cause")) =>
                    {
                        self.failures += 1;
                        None
                    }
                    (false, true) => Some("failed"),
                    (false, false) => None,
                }
            }
            "TasksReturned" if had.is_some() => {
                self.had.entry(execution.clone()).or_default().ended = true;
                None
            }
            "AttemptLost" if is_active => {
                self.had.entry(execution.clone()).or_default().lost = true;
                self.losses += u32::from(self.started);
                (self.losses >= POISON).then_some("failed")
            }
            _ => return None,
        };
        let outcome = outcome.filter(|_| self.decided.is_none());
        let ends = matches!(kind, "JobFinished" | "TasksReturned" | "AttemptLost");
        if outcome.is_some() || is_active && ends {
            self.active = None;
            self.started = false;
        }
        self.decided = self.decided.or(outcome);
        outcome
    }

    fn check_claimed(&self, execution: &Execution, is_adopted: bool) {
        let (attempt, _) = execution;
        assert_eq!(
            self.decided, None,
            "P4: a decided task is never granted: {execution:?}"
        );
        assert_eq!(
            self.active, None,
            "P14: {execution:?} beside an active attempt"
        );
        if is_adopted {
            let had = self.had.get(execution);
            assert!(
                had.is_some_and(|had| !had.ended),
                "R20: adopts what was leased and runs"
            );
        } else {
            assert_eq!(*attempt, self.highest() + 1, "R7: the next attempt number");
        }
        let elsewhere = self
            .had
            .keys()
            .find(|had| had.0 == *attempt && had.1 != execution.1);
        assert_eq!(
            elsewhere, None,
            "P10: attempt {attempt} runs on one node only"
        );
    }
}

/// The claims of a turn that were not refused.
fn served_claims(inputs: &[Input<'_>], turn: &Turn) -> Vec<Value> {
    let claims = inputs.iter().filter(|input| input.verb == "claim");
    let served = claims.filter(|input| {
        let reply = turn.replies.iter().find(|reply| reply.token == input.token);
        reply.is_none_or(|reply| reply.status == 200)
    });
    served
        .map(|input| serde_json::from_slice(input.body).unwrap())
        .collect()
}
