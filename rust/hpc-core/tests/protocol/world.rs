//! The Hub with its log and its clock, and puppets that say to it what a script makes them say.
//!
//! A world can be told to kill its Hub after the commit of one step, before the answers leave. The
//! helpers then do what every client does without an answer: they send the same again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hpc_core::domain::entry::LogRow;
use hpc_core::logic::hub::{Config, Hub, Input, Now, Turn};
use hpc_core::logic::totals::Totals;
use serde_json::{Value, json};

use crate::ledger::Ledger;
use crate::snapshots::Taken;

/// The lease that nodes are promised, ms.
pub const LEASE: i64 = 2_000;
/// How long leases of a lost node stay its own, ms.
pub const RECLAIM: i64 = 10 * LEASE;
const WALL: i64 = 1_700_000_000_000;

/// What the Hub said to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// The Hub and everything that is durable.
#[derive(Clone)]
pub struct World {
    pub hub: Hub,
    pub log: Vec<LogRow>,
    pub now: Now,
    pub ledger: Ledger,
    pub config: Config,
    /// Compares with a Hub that is rebuilt from the log after every so many steps; 0 never.
    pub replay_every: usize,
    pub steps: usize,
    /// Of the Hub after each commit.
    pub snapshots: Vec<Taken>,
    kill_after: Option<usize>,
    next_token: u64,
    /// Tokens below this were open when the Hub was killed.
    dead_tokens: u64,
    answers: HashMap<u64, Answer>,
}

/// Runs a trace once as it is, comparing with a rebuilt Hub after every step, and then once for
/// each of its steps with the Hub killed between the commit and the answers of that step.
pub fn holds_through_restarts(trace: fn(&mut World)) {
    let mut world = World::new();
    world.replay_every = 1;
    trace(&mut world);
    for step in 1..=world.steps {
        let mut world = World::new();
        world.kill_after = Some(step);
        trace(&mut world);
    }
}

impl World {
    /// A Hub with the namespaces `batch` and `slow`, and a generator over both.
    pub fn new() -> Self {
        let config = Config {
            hub_id: "hub".to_owned(),
            lease_ms: LEASE,
            reclaim_ms: RECLAIM,
        };
        let now = Now {
            wall: WALL,
            mono: 0,
        };
        let mut hub = Hub::new(config.clone());
        hub.start(now);
        let mut world = Self {
            hub,
            log: Vec::new(),
            now,
            ledger: Ledger::new(LEASE, RECLAIM),
            config,
            replay_every: 0,
            steps: 0,
            snapshots: Vec::new(),
            kill_after: None,
            next_token: 1,
            dead_tokens: 0,
            answers: HashMap::new(),
        };
        for ns_id in ["batch", "slow"] {
            let fields = json!([
                {"key": "cpu", "expected_type": "Int", "min": 0, "default": 1},
                {"key": "on_cut_off", "expected_type": "String", "one_of": ["finish", "stop"],
                 "default": "finish"},
                {"key": "retries", "expected_type": "Int", "min": 0},
                {"key": "retry_on", "expected_type": "List"},
                {"key": "max_fails", "expected_type": "Int", "min": 0},
                {"key": "throttle", "expected_type": "Int", "min": 1},
                {"key": "gpus", "expected_type": "Int", "min": 0},
                {"key": "resources", "expected_type": "Map"},
                {"key": "require", "expected_type": "Map"},
                {"key": "nodes", "expected_type": "List"},
                {"key": "exclude", "expected_type": "List"},
                {"key": "exclusive", "expected_type": "Bool"},
                {"key": "max_per_node", "expected_type": "Int"},
                {"key": "min_time", "expected_type": "Float"},
            ]);
            let placement = [
                "require",
                "nodes",
                "exclude",
                "exclusive",
                "max_per_node",
                "min_time",
            ];
            let placement: BTreeMap<&str, String> = placement
                .into_iter()
                .map(|name| (name, format!("$spec.{name}")))
                .collect();
            let spec = json!({
                "schema": {"SubmitJob": fields}, "placement": placement,
                "resources": {"cpus": "$spec.cpu", "gpus": "$spec.gpus", "*": "$spec.resources"},
            });
            world.control(json!({"type": "RegisterNamespace", "ns_id": ns_id, "spec": spec}));
        }
        let rules = json!([
            {"on": "SubmitJob", "table": "jobs", "key": "$ctx.job_id",
             "join": {"tasks": {"tasks": "$ctx.tasks"}, "submits": {"count": 1}}},
            {"on": "JobFinished", "table": "jobs", "key": "$ctx.job_id",
             "join": {"ends": {"count": 1}, "nodes": {"set": "$ctx.node_id"}}},
        ]);
        let spec = json!({"namespaces": ["batch", "slow"], "rules": rules});
        world.control(json!({"type": "RegisterGenerator", "gid": "usage", "spec": spec}));
        world.steps = 0;
        world
    }

    fn control(&mut self, body: Value) {
        let answer = self.ask("control", "", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Gives the Hub one request in a turn of its own; returns the token to look for.
    pub fn send(&mut self, verb: &str, query: &str, body: &Value) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let body = body.to_string().into_bytes();
        self.turn(&[Input {
            token,
            verb,
            query,
            body: &body,
            who: "",
        }]);
        token
    }

    /// Sends a body as it is to `ingest`.
    pub fn ask_raw(&mut self, body: &[u8]) -> Answer {
        let token = self.next_token;
        self.next_token += 1;
        self.turn(&[Input {
            token,
            verb: "ingest",
            query: "",
            body,
            who: "",
        }]);
        self.take_answer(token).unwrap()
    }

    /// Sends a request until it is answered.
    pub fn ask(&mut self, verb: &str, query: &str, body: &Value) -> Answer {
        for _ in 0..3 {
            let token = self.send(verb, query, body);
            if let Some(answer) = self.take_answer(token) {
                return answer;
            }
        }
        panic!("No answer to {verb} {query} {body}");
    }

    /// The answer to a token, if there is one.
    pub fn take_answer(&mut self, token: u64) -> Option<Answer> {
        self.answers.remove(&token)
    }

    /// Whether the request of a token died with a Hub.
    pub fn is_dead(&self, token: u64) -> bool {
        token < self.dead_tokens
    }

    /// Tokens that are answered, with their answers, in order.
    pub fn take_answers(&mut self) -> BTreeMap<u64, Answer> {
        self.answers.drain().collect()
    }

    /// Lets the Hub take a turn without requests.
    pub fn step(&mut self) {
        self.turn(&[]);
    }

    /// One turn: the Hub's step, the commit, then the answers.
    fn turn(&mut self, inputs: &[Input<'_>]) {
        let mut turn = self.hub.step(inputs, self.now, &[]).unwrap();
        self.commit(inputs, &turn);
        while let Some(from) = turn.build_from {
            let rows: Vec<LogRow> = self
                .log
                .iter()
                .filter(|r| r.first_seq >= from)
                .cloned()
                .collect();
            let replies = std::mem::take(&mut turn.replies);
            turn = self.hub.step(&[], self.now, &rows).unwrap();
            self.commit(&[], &turn);
            turn.replies.splice(0..0, replies);
        }
        self.steps += 1;
        if self.kill_after == Some(self.steps) {
            self.kill_hub();
            return;
        }
        for reply in turn.replies {
            let body = serde_json::from_slice(&reply.body).unwrap();
            let status = reply.status;
            let doubled = self.answers.insert(reply.token, Answer { status, body });
            assert!(doubled.is_none(), "token {} is answered twice", reply.token);
        }
    }

    fn commit(&mut self, inputs: &[Input<'_>], turn: &Turn) {
        self.log.extend(turn.rows.iter().cloned());
        self.ledger.check_turn(inputs, turn, self.now.mono);
        self.ledger.check_drains(inputs, turn, self.now.wall);
        self.ledger.check_state(&self.hub);
        if !turn.rows.is_empty() {
            self.take_snapshot();
        }
        if self.replay_every > 0 && self.steps.is_multiple_of(self.replay_every) {
            self.check_replay();
        }
    }

    /// A Hub rebuilt from the log.
    pub fn replayed(&self) -> Hub {
        let mut hub = Hub::new(self.config.clone());
        let controls: Vec<LogRow> = self
            .log
            .iter()
            .filter(|r| r.flags & 1 == 1)
            .cloned()
            .collect();
        hub.preload(&controls).unwrap();
        hub.replay(&self.log).unwrap();
        hub.start(self.now);
        hub
    }

    /// Somebody sets the Hub's clock back.
    pub fn set_clock_back(&mut self, ms: i64) {
        self.now.wall -= ms;
    }

    /// P7: a Hub rebuilt from the log reads the same and says the same to the same claims.
    pub fn check_replay(&self) {
        self.check_snapshots();
        let (mut live, mut rebuilt) = (self.hub.clone(), self.replayed());
        check_totals(&live);
        check_totals(&rebuilt);
        assert_eq!(
            self.reads(&mut rebuilt),
            self.reads(&mut live),
            "reads after a replay"
        );
        let claims: Vec<Value> = self.last_claims();
        for claim in claims {
            let body = claim.to_string().into_bytes();
            let input = Input {
                token: 0,
                verb: "claim",
                query: "",
                body: &body,
                who: "",
            };
            let said = |hub: &mut Hub| {
                let turn = hub.step(&[input], self.now, &[]).unwrap();
                let own = turn
                    .replies
                    .into_iter()
                    .find(|reply| reply.token == 0)
                    .unwrap();
                let mut answer: Value = serde_json::from_slice(&own.body).unwrap();
                // What other relays are to give back depends on who is waiting right now.
                answer["give_back"] = Value::Null;
                (own.status, answer)
            };
            assert_eq!(
                said(&mut rebuilt),
                said(&mut live),
                "answer to {claim} after a replay"
            );
        }
    }

    /// Each node's newest claim, to be answered at once.
    fn last_claims(&self) -> Vec<Value> {
        let claims = self.ledger.last_claims.values();
        claims
            .map(|claim| {
                let mut claim = claim.clone();
                claim["n"] = json!(1_000_000);
                claim["wait"] = json!(0);
                claim
            })
            .collect()
    }

    fn reads(&self, hub: &mut Hub) -> Vec<Value> {
        let asked = [
            ("jobs", ""),
            ("nodes", ""),
            ("namespaces", ""),
            ("pull", "gid=kernel&cursor=0"),
            ("pull", "gid=usage&cursor=0"),
            ("pull", "gid=kernel&cursor=9"),
        ];
        let inputs: Vec<Input<'_>> = (0..)
            .zip(asked)
            .map(|(token, (verb, query))| Input {
                token,
                verb,
                query,
                body: b"",
                who: "",
            })
            .collect();
        let turn = hub.step(&inputs, self.now, &[]).unwrap();
        let mut replies: Vec<_> = turn.replies.iter().filter(|r| r.token < 6).collect();
        replies.sort_by_key(|reply| reply.token);
        let mut bodies: Vec<Value> = replies
            .iter()
            .map(|reply| serde_json::from_slice(&reply.body).unwrap())
            .collect();
        // `why` may name relays that hold what is settled: they say so with their next claim.
        for job in bodies[0]["data"].as_array_mut().unwrap() {
            job["why"] = Value::Null;
        }
        // For whom a node is kept is found anew when claims come.
        for node in bodies[1]["data"].as_array_mut().unwrap() {
            node["reserved_for"] = Value::Null;
        }
        bodies
    }

    /// Kills the Hub and starts it again, from the log or from a snapshot and the log after it.
    pub fn kill_hub(&mut self) {
        self.check_replay();
        let taken = self.snapshots.get(self.snapshots.len() / 2);
        self.hub = match taken.filter(|_| !self.steps.is_multiple_of(3)) {
            Some(taken) => self.restored(taken),
            None => self.replayed(),
        };
        self.answers.clear();
        self.dead_tokens = self.next_token;
        self.ledger.hub_started(self.now.mono);
    }

    /// Starts the Hub again with another lease.
    pub fn restart_with_lease(&mut self, lease_ms: i64) {
        self.config.lease_ms = lease_ms;
        self.kill_hub();
    }

    /// Lets time pass as it does for a Hub that is awake: it is called whenever it asked to be.
    pub fn pass(&mut self, ms: i64) {
        let end = self.now.mono + ms;
        while let Some(wake) = self.wake().filter(|wake| *wake <= end) {
            self.set_time(wake.max(self.now.mono));
            self.step();
        }
        self.set_time(end);
        self.step();
    }

    /// When the Hub wants to be called next.
    pub fn wake(&self) -> Option<i64> {
        self.hub.clone().step(&[], self.now, &[]).unwrap().wake
    }

    /// Lets time pass while the Hub is frozen.
    pub fn freeze(&mut self, ms: i64) {
        self.set_time(self.now.mono + ms);
        self.ledger.hub_started(self.now.mono);
        self.step();
    }

    pub fn set_time(&mut self, mono: i64) {
        self.now.wall += mono - self.now.mono;
        self.now.mono = mono;
    }

    // What clients say.

    /// Submits one-cpu tasks of namespace `batch`.
    pub fn submit(&mut self, job_id: &str, tasks: &str) -> Answer {
        self.submit_with(job_id, tasks, json!({}), json!({}))
    }

    /// Submits with further fields of ctx and spec.
    pub fn submit_with(&mut self, job_id: &str, tasks: &str, ctx: Value, spec: Value) -> Answer {
        let mut ctx = ctx;
        merge(
            &mut ctx,
            json!({"ns_id": "batch", "job_id": job_id, "tasks": tasks}),
        );
        let answer = self.ingest(&format!("submit-{job_id}-{tasks}"), "SubmitJob", ctx, spec);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer
    }

    /// Cancels a job.
    pub fn cancel(&mut self, job_id: &str) -> Answer {
        let id = format!("cancel-{job_id}-{}", self.log.len());
        self.ingest(&id, "CancelJob", json!({"job_id": job_id}), json!({}))
    }

    /// Sends one event under an id until it is answered.
    pub fn ingest(&mut self, id: &str, kind: &str, ctx: Value, spec: Value) -> Answer {
        let event = json!({"kind": kind, "payload": {"ctx": ctx, "spec": spec}});
        self.ask("ingest", "", &json!({"id": id, "events": [event]}))
    }

    // What can be read.

    /// `GET /jobs/{id}`.
    pub fn job(&mut self, job_id: &str) -> Value {
        let mut answer = self.ask("job", &format!("job_id={job_id}"), &json!({}));
        answer.body["data"].take()
    }

    /// State of a job.
    pub fn state(&mut self, job_id: &str) -> String {
        self.job(job_id)["state"].as_str().unwrap().to_owned()
    }

    /// One node of `GET /nodes`.
    pub fn node(&mut self, node_id: &str) -> Value {
        let answer = self.ask("nodes", "", &json!({}));
        let nodes = answer.body["data"].as_array().unwrap().clone();
        nodes.into_iter().find(|n| n["node_id"] == node_id).unwrap()
    }

    /// Events of the log of one kind, each with the number of its row.
    pub fn events(&self, kind: &str) -> Vec<(usize, Value)> {
        let mut found = Vec::new();
        for (number, row) in self.log.iter().enumerate() {
            let body: Value = serde_json::from_slice(&row.body).unwrap();
            let events = body["events"].as_array().unwrap().clone();
            found.extend(
                events
                    .into_iter()
                    .filter(|e| e["kind"] == kind)
                    .map(|e| (number, e)),
            );
        }
        found
    }
}

/// Puts the fields of one object into another.
pub fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        panic!("no object: {from}");
    };
    into.as_object_mut().unwrap().extend(from);
}

/// A range list as a set.
pub fn tasks(text: &str) -> BTreeSet<u32> {
    let ranges = text.split(',').filter(|part| !part.is_empty());
    ranges
        .flat_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            from.parse::<u32>().unwrap()..=to.parse().unwrap()
        })
        .collect()
}

impl Answer {
    /// The list under a key as (job, attempt, tasks).
    pub fn list(&self, key: &str) -> Vec<(String, u64, String)> {
        let list = self.body[key]
            .as_array()
            .unwrap_or_else(|| panic!("no `{key}`: {}", self.body));
        list.iter()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().unwrap().to_owned();
                (
                    text("job_id"),
                    entry["attempt"].as_u64().unwrap(),
                    text("tasks"),
                )
            })
            .collect()
    }

    /// What is granted.
    pub fn grants(&self) -> Vec<(String, u64, String)> {
        self.list("grants")
    }

    /// What is to be ended.
    pub fn cancels(&self) -> Vec<(String, u64, String)> {
        self.list("cancels")
    }
}

/// `(job, attempt, tasks)`, to compare with.
pub fn entry(job: &str, attempt: u64, tasks: &str) -> (String, u64, String) {
    (job.to_owned(), attempt, tasks.to_owned())
}

/// What is kept of the jobs that rest is what they are.
pub fn check_totals(hub: &Hub) {
    let jobs = &hub.state().jobs;
    let mut counted = Totals::default();
    for (_, job) in jobs.iter() {
        counted.add(&Totals::of(&job));
    }
    assert_eq!(jobs.totals(), counted);
}
