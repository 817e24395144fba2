//! A relay that does what a script says: it keeps node, place, session, epoch, numbers and holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::world::{Answer, World, merge};

/// A relay of a script.
#[derive(Clone, Debug)]
pub struct Puppet {
    pub node: String,
    pub place: String,
    pub session: String,
    pub epoch: u64,
    /// Number of the newest claim.
    pub n: u64,
    pub cpus: u64,
    /// What it offers, where that is more than cpus.
    pub resources: Option<BTreeMap<String, i64>>,
    pub labels: BTreeMap<String, String>,
    /// Seconds until it ends.
    pub time_left: Option<u64>,
    /// Whether it was told to end.
    pub leaving: bool,
    pub max: u64,
    pub takeover: bool,
    pub namespaces: Vec<&'static str>,
    /// (job, attempt, tasks) as the next claim names them.
    pub holds: Vec<(String, u64, String)>,
    /// Number of the newest report.
    pub reports: u64,
    open: Option<u64>,
}

impl Puppet {
    /// A relay with so many cpus, in its first epoch.
    pub fn new(node: &str, cpus: u64) -> Self {
        Self {
            node: node.to_owned(),
            place: format!("place-{node}"),
            session: format!("session-{node}-1"),
            epoch: 1,
            n: 0,
            cpus,
            resources: None,
            labels: BTreeMap::new(),
            time_left: None,
            leaving: false,
            max: 64,
            takeover: false,
            namespaces: vec!["batch"],
            holds: Vec::new(),
            reports: 0,
            open: None,
        }
    }

    /// The same relay, started again: a higher epoch, another session, nothing held.
    pub fn restarted(&self) -> Self {
        Self {
            session: format!("session-{}-{}", self.node, self.epoch + 1),
            epoch: self.epoch + 1,
            holds: Vec::new(),
            reports: 0,
            open: None,
            ..self.clone()
        }
    }

    /// The same relay after 409 `lost`: a higher epoch, and all that it holds.
    pub fn rejoined(&self) -> Self {
        Self {
            epoch: self.epoch + 1,
            open: None,
            ..self.clone()
        }
    }

    /// A relay under the same node id in another folder.
    pub fn copied(&self, place: &str) -> Self {
        Self {
            place: place.to_owned(),
            session: format!("session-{place}"),
            ..self.restarted()
        }
    }

    /// Names what an answer granted in the next claims.
    pub fn hold(&mut self, answer: &Answer) {
        self.holds.extend(answer.grants());
    }

    /// The body of a claim.
    pub fn body(&self, wait: f64) -> Value {
        let holds: Vec<Value> = self
            .holds
            .iter()
            .map(|(job, attempt, tasks)| json!({"job_id": job, "attempt": attempt, "tasks": tasks}))
            .collect();
        let resources = match &self.resources {
            Some(resources) => json!(resources),
            None => json!({"cpus": self.cpus, "slots": 4}),
        };
        let mut claim = json!({
            "node_id": self.node, "host": "host", "place": self.place, "session": self.session,
            "epoch": self.epoch, "n": self.n, "ns": self.namespaces,
            "resources": resources, "max": self.max, "wait": wait, "holds": holds,
            "takeover": self.takeover,
        });
        if !self.labels.is_empty() {
            claim["labels"] = json!(self.labels);
        }
        if let Some(time_left) = self.time_left {
            claim["time_left"] = json!(time_left);
        }
        if self.leaving {
            claim["leaving"] = json!(true);
        }
        claim
    }
}

impl World {
    /// Claims and is answered at once.
    pub fn claim(&mut self, puppet: &mut Puppet) -> Answer {
        for _ in 0..3 {
            puppet.n += 1;
            let token = self.send("claim", "", &puppet.body(0.0));
            if let Some(answer) = self.take_answer(token) {
                return answer;
            }
        }
        panic!("No answer to a claim of {}", puppet.node);
    }

    /// Claims, and from now on holds what is granted.
    pub fn take(&mut self, puppet: &mut Puppet) -> Answer {
        let answer = self.claim(puppet);
        assert_eq!(answer.status, 200, "{}", answer.body);
        puppet.hold(&answer);
        answer
    }

    /// Claims and waits for as long as the Hub lets it.
    pub fn open(&mut self, puppet: &mut Puppet) {
        puppet.n += 1;
        puppet.open = Some(self.send("claim", "", &puppet.body(60.0)));
    }

    /// The answer to the open claim, if there is one; a claim that died with its Hub is sent again.
    pub fn poll(&mut self, puppet: &mut Puppet) -> Option<Answer> {
        let token = puppet.open?;
        if self.is_dead(token) {
            self.open(puppet);
        }
        let answer = self.take_answer(puppet.open?);
        if answer.is_some() {
            puppet.open = None;
        }
        answer
    }

    /// Reports one entry on an execution, by the relay that ran it.
    pub fn report(
        &mut self,
        puppet: &mut Puppet,
        kind: &str,
        (job, attempt, tasks): (&str, u64, &str),
        spec: Value,
    ) -> Answer {
        puppet.reports += 1;
        let id = format!("{}/{}", puppet.session, puppet.reports);
        let answer = self.ask(
            "ingest",
            "",
            &report(puppet, &id, kind, (job, attempt, tasks), spec),
        );
        assert_eq!(answer.status, 200, "R9: {}", answer.body);
        answer
    }

    /// Reports that tasks started.
    pub fn started(&mut self, puppet: &mut Puppet, execution: (&str, u64, &str)) {
        self.report(
            puppet,
            "JobStarted",
            execution,
            json!({"started_at": self.now.wall}),
        );
    }

    /// Reports that tasks ended with exit code 0, after `ms`.
    pub fn succeeded(&mut self, puppet: &mut Puppet, execution: (&str, u64, &str), ms: i64) {
        let now = self.now.wall;
        let spec = json!({"exit_code": 0, "started_at": now - ms, "finished_at": now});
        self.report(puppet, "JobFinished", execution, spec);
        puppet
            .holds
            .retain(|hold| (hold.0.as_str(), hold.1, hold.2.as_str()) != execution);
    }

    /// Reports that tasks failed.
    pub fn failed(&mut self, puppet: &mut Puppet, execution: (&str, u64, &str)) {
        self.report(puppet, "JobFinished", execution, json!({"exit_code": 7}));
        puppet
            .holds
            .retain(|hold| (hold.0.as_str(), hold.1, hold.2.as_str()) != execution);
    }

    /// Reports that tasks come back.
    pub fn returned(&mut self, puppet: &mut Puppet, execution: (&str, u64, &str), reason: &str) {
        self.report(
            puppet,
            "TasksReturned",
            execution,
            json!({"reason": reason}),
        );
        puppet
            .holds
            .retain(|hold| (hold.0.as_str(), hold.1, hold.2.as_str()) != execution);
    }
}

/// A report's batch.
pub fn report(
    puppet: &Puppet,
    id: &str,
    kind: &str,
    (job, attempt, tasks): (&str, u64, &str),
    spec: Value,
) -> Value {
    let mut ctx = json!({"ns_id": "batch", "node_id": puppet.node, "epoch": puppet.epoch});
    merge(
        &mut ctx,
        json!({"job_id": job, "attempt": attempt, "tasks": tasks}),
    );
    json!({"id": id, "events": [{"kind": kind, "payload": {"ctx": ctx, "spec": spec}}]})
}
