//! The world of the search: relays, a client and a network that loses, repeats and reorders.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::relay::{Execution, Held, Relay};
use crate::world::{LEASE, World};

/// Something on its way.
#[derive(Clone, Debug)]
enum Message {
    Claim {
        relay: usize,
        session: String,
        n: u64,
        body: Value,
    },
    Report {
        relay: usize,
        id: String,
        body: Value,
    },
    Request {
        body: Value,
    },
    Answer {
        relay: usize,
        session: String,
        n: u64,
        status: u16,
        body: Value,
    },
    Receipt {
        relay: usize,
        id: String,
        status: u16,
        body: Value,
    },
}

/// To whom the answer of a token goes.
#[derive(Clone, Debug)]
enum Route {
    Claim {
        relay: usize,
        session: String,
        n: u64,
    },
    Report {
        relay: usize,
        id: String,
    },
    Request {
        id: String,
    },
}

/// One step that can come next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Deliver(usize),
    Claim(usize),
    Report(usize, String),
    Start(usize, Execution),
    End(usize, Execution, i64),
    Restart(usize),
    Tick,
    // Faults.
    Lose(usize),
    Repeat(usize),
    KillHub,
    /// The Hub dies between the commit and the answers of a delivery.
    KillHubAfter(usize),
    FreezeHub,
    KillRelay(usize),
    /// The node's folder is copied and started at another place.
    Copy(usize),
}

/// How long a tick is, ms: a quarter of a lease.
const TICK: i64 = LEASE / 4;
/// The most messages that may be on their way.
const MESSAGES_MAX: usize = 6;

pub struct Cluster {
    pub world: World,
    pub relays: Vec<Relay>,
    messages: Vec<Message>,
    routes: BTreeMap<u64, Route>,
    /// Requests of the client without a receipt.
    requests: BTreeMap<String, Value>,
    /// Reports that a relay was acknowledged.
    acknowledged: BTreeSet<String>,
    started: BTreeSet<(Execution, String)>,
}

impl Cluster {
    /// Relays of one cpu, and what a client wants.
    pub fn new(relays: usize, requests: Vec<(&str, Value)>) -> Self {
        let mut world = World::new();
        world.replay_every = 8;
        let nodes = ["a", "b", "c"];
        Self {
            world,
            relays: nodes
                .iter()
                .take(relays)
                .map(|node| Relay::new(node, "p1", 1))
                .collect(),
            messages: Vec::new(),
            routes: BTreeMap::new(),
            requests: requests
                .into_iter()
                .map(|(id, event)| (id.to_owned(), json!({"id": id, "events": [event]})))
                .collect(),
            acknowledged: BTreeSet::new(),
            started: BTreeSet::new(),
        }
    }

    /// The steps that can come next; with faults if there are some left.
    pub fn steps(&self, with_faults: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let on_way = 0..self.messages.len();
        steps.extend(on_way.clone().map(Step::Deliver));
        let has_room = self.messages.len() < MESSAGES_MAX;
        for (i, relay) in self.relays.iter().enumerate() {
            if !relay.is_up {
                steps.push(Step::Restart(i));
                continue;
            }
            let may_claim = !relay.is_open || with_faults; // again under a new number
            if relay.claims() && may_claim && has_room {
                steps.push(Step::Claim(i));
            }
            let sessions = relay.sessions_to_report().into_iter().filter(|_| has_room);
            steps.extend(sessions.map(|session| Step::Report(i, session)));
            let running = relay.which(|held, _| *held == Held::Running);
            if running.len() < relay.cpus && self.world.now.mono < relay.fence {
                let queued = relay.which(|held, _| *held == Held::Queued);
                steps.extend(queued.into_iter().take(1).map(|e| Step::Start(i, e)));
            }
            for execution in running {
                steps.push(Step::End(i, execution.clone(), 0));
                steps.push(Step::End(i, execution, 1));
            }
        }
        if !self.fence_is_due() {
            steps.push(Step::Tick);
        }
        if with_faults {
            steps.extend(on_way.clone().map(Step::Lose));
            steps.extend(on_way.clone().map(Step::Repeat));
            steps.extend(on_way.map(Step::KillHubAfter));
            steps.extend([Step::KillHub, Step::FreezeHub]);
            for (i, relay) in self
                .relays
                .iter()
                .enumerate()
                .filter(|(_, relay)| relay.is_up)
            {
                steps.push(Step::KillRelay(i));
                if self.relays.len() < 3 && relay.place == "p1" {
                    steps.push(Step::Copy(i));
                }
            }
        }
        steps
    }

    pub fn is_fault(step: &Step) -> bool {
        use Step::{Copy, FreezeHub, KillHub, KillHubAfter, KillRelay, Lose, Repeat};
        matches!(
            step,
            Lose(_) | Repeat(_) | KillHub | KillHubAfter(_) | FreezeHub | KillRelay(_) | Copy(_)
        )
    }

    pub fn take(&mut self, step: Step) {
        match step {
            Step::Deliver(i) => {
                let message = self.messages.remove(i);
                self.deliver(message);
            }
            Step::Claim(i) => self.send_claim(i),
            Step::Report(i, session) => self.send_report(i, &session),
            Step::Start(i, execution) => self.start_task(i, &execution),
            Step::End(i, execution, code) => self.relays[i].end_task(&execution, code),
            Step::Restart(i) => self.relays[i].start(),
            Step::Tick => self.tick(TICK),
            Step::Lose(i) => {
                self.messages.remove(i);
            }
            Step::Repeat(i) => self.messages.push(self.messages[i].clone()),
            Step::KillHub => self.kill_hub(),
            Step::KillHubAfter(i) => {
                let message = self.messages.remove(i);
                let on_way = self.messages.len();
                self.deliver(message);
                self.messages.truncate(on_way);
                self.kill_hub();
            }
            Step::FreezeHub => {
                // Nobody is answered, and the relays' fences pass meanwhile.
                self.reach_fences(self.world.now.mono + 2 * LEASE);
                self.world.freeze(2 * LEASE);
            }
            Step::KillRelay(i) => self.relays[i].kill(),
            Step::Copy(i) => {
                let place = format!("p{}", self.relays.len() + 1);
                let mut copy = Relay::new(&self.relays[i].node, &place, 1);
                copy.epoch = self.relays[i].epoch;
                self.relays.push(copy);
            }
        }
        self.collect();
        self.check();
    }

    fn kill_hub(&mut self) {
        self.world.kill_hub();
        self.routes.clear();
    }

    fn send_claim(&mut self, i: usize) {
        let body = self.relays[i].claim(self.world.now.mono);
        let (session, n) = (self.relays[i].session.clone(), self.relays[i].n);
        self.messages.push(Message::Claim {
            relay: i,
            session,
            n,
            body,
        });
    }

    fn send_report(&mut self, i: usize, session: &str) {
        if let Some(body) = self.relays[i].next_report(session) {
            let id = body["id"].as_str().unwrap().to_owned();
            self.messages.push(Message::Report { relay: i, id, body });
        }
    }

    /// The client sends what it has no receipt for.
    pub fn send_requests(&mut self) {
        for body in self.requests.values() {
            self.messages.push(Message::Request { body: body.clone() });
        }
    }

    /// The client wants something more.
    pub fn want(&mut self, id: &str, event: Value) {
        let body = json!({"id": id, "events": [event]});
        self.requests.insert(id.to_owned(), body.clone());
        self.messages.push(Message::Request { body });
    }

    fn start_task(&mut self, i: usize, execution: &Execution) {
        let place = format!("{}@{}", self.relays[i].node, self.relays[i].place);
        let elsewhere = self
            .started
            .iter()
            .find(|(other, at)| other == execution && *at != place);
        assert_eq!(elsewhere, None, "P10: {execution:?} starts at {place}");
        let is_first = self.started.insert((execution.clone(), place));
        assert!(is_first, "P8b: {execution:?} starts twice");
        self.relays[i].start_task(execution);
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Claim {
                relay,
                session,
                n,
                body,
            } => {
                let token = self.world.send("claim", "", &body);
                self.routes
                    .insert(token, Route::Claim { relay, session, n });
            }
            Message::Report { relay, id, body } => {
                let token = self.world.send("ingest", "", &body);
                self.routes.insert(token, Route::Report { relay, id });
            }
            Message::Request { body } => {
                let id = body["id"].as_str().unwrap().to_owned();
                let token = self.world.send("ingest", "", &body);
                self.routes.insert(token, Route::Request { id });
            }
            Message::Answer {
                relay,
                session,
                n,
                status,
                body,
            } => {
                let now = self.world.now.mono;
                self.relays[relay].take_answer((&session, n), status, &body, now);
            }
            Message::Receipt {
                relay,
                id,
                status,
                body,
            } => {
                if status == 200 {
                    self.acknowledged.insert(id.clone());
                }
                self.relays[relay].take_receipt(&id, status, &body);
            }
        }
        self.collect();
    }

    /// What the Hub has answered goes on its way.
    fn collect(&mut self) {
        for (token, answer) in self.world.take_answers() {
            let (status, body) = (answer.status, answer.body);
            let message = match self.routes.remove(&token) {
                Some(Route::Claim { relay, session, n }) => Message::Answer {
                    relay,
                    session,
                    n,
                    status,
                    body,
                },
                Some(Route::Report { relay, id }) => Message::Receipt {
                    relay,
                    id,
                    status,
                    body,
                },
                Some(Route::Request { id }) => {
                    // A job that is not over is not forgotten: that is asked again. One that is
                    // forgotten is not begun anew, ever.
                    let is_early = status == 422 && id.ends_with("-forget");
                    let is_late = status == 422 && id.ends_with("-retry");
                    assert!(status == 200 || is_early || is_late, "{id}: {body}");
                    if !is_early {
                        self.requests.remove(&id);
                    }
                    continue;
                }
                None => continue,
            };
            self.messages.push(message);
        }
    }

    /// Time passes: fences and the Hub's own deadlines are met when they are due.
    fn tick(&mut self, ms: i64) {
        let end = self.world.now.mono + ms;
        while self.world.now.mono < end {
            let fences = self.relays.iter().map(|relay| relay.fence);
            let fences = fences.filter(|at| *at > self.world.now.mono);
            let wake = self.world.wake().filter(|at| *at > self.world.now.mono);
            let next = fences.chain(wake).min().unwrap_or(end).min(end);
            self.reach_fences(next);
            self.world.pass(next - self.world.now.mono);
            self.collect();
        }
    }

    fn reach_fences(&mut self, now: i64) {
        for relay in self.relays.iter_mut().filter(|relay| relay.is_up) {
            if relay.fence <= now {
                relay.reach_fence();
            }
        }
    }

    fn fence_is_due(&self) -> bool {
        let due = |relay: &&Relay| relay.is_up && relay.fence <= self.world.now.mono;
        self.relays.iter().filter(due).any(|relay| {
            !relay
                .which(|held, stops| stops && *held == Held::Running)
                .is_empty()
        })
    }

    fn check(&self) {
        let mut running: BTreeMap<(String, u32), usize> = BTreeMap::new();
        for relay in &self.relays {
            for execution in relay.which(|held, stops| stops && *held == Held::Running) {
                *running.entry((execution.job, execution.task)).or_default() += 1;
            }
        }
        let twice = running.iter().find(|(_, count)| **count > 1);
        assert_eq!(twice, None, "P5: a `stop` task runs twice at once");
        for id in &self.acknowledged {
            let is_there = self.world.ledger.is_recorded(id);
            assert!(
                is_there,
                "P8: {id} is forgotten by its outbox and not in the log"
            );
        }
    }

    /// Faults are over: everyone does what is due. Everything must be decided and idle in the end
    /// (P6, P9), executions ending by themselves only where the Hub leases them.
    pub fn settle(&mut self) {
        for _ in 0..100 {
            self.send_requests();
            for i in 0..self.relays.len() {
                if !self.relays[i].is_up {
                    self.relays[i].start();
                }
                let now = self.world.now.mono;
                let relay = &self.relays[i];
                if relay.claims() && (!relay.is_open || now - relay.sent_at >= 2 * TICK) {
                    self.send_claim(i);
                }
            }
            for _ in 0..3 {
                self.act_fairly();
            }
            self.tick(TICK);
            self.check();
            if self.is_quiet() {
                return;
            }
        }
        panic!(
            "P6: still open: {:?}\n{:#?}",
            self.world.ledger.unsettled(),
            self.relays
        );
    }

    /// Delivers what is on its way, and has each relay do what is due.
    pub fn act_fairly(&mut self) {
        while !self.messages.is_empty() {
            let message = self.messages.remove(0);
            self.deliver(message);
        }
        for i in 0..self.relays.len() {
            for session in self.relays[i].sessions_to_report() {
                self.send_report(i, &session);
            }
            let relay = &self.relays[i];
            let running = relay.which(|held, _| *held == Held::Running);
            if running.len() < relay.cpus && self.world.now.mono < relay.fence {
                for execution in relay.which(|held, _| *held == Held::Queued).iter().take(1) {
                    self.start_task(i, execution);
                }
            }
            for execution in running {
                let node = self.relays[i].node.clone();
                let ledger = &self.world.ledger;
                if ledger.is_active(&execution.job, execution.task, execution.attempt, &node) {
                    self.relays[i].end_task(&execution, 0);
                }
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let idle = |relay: &Relay| relay.held.is_empty() && relay.sessions_to_report().is_empty();
        self.requests.is_empty()
            && self.relays.iter().all(idle)
            && self.world.ledger.unsettled().is_empty()
    }
}
