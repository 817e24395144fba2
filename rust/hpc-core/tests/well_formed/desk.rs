//! A Hub behind a desk: one request at a time, and a look at what it recorded.

use hpc_core::domain::entry::LogRow;
use hpc_core::logic::hub::{Config, Hub, Input, Now};
use serde_json::{Value, json};

/// A wall clock to begin with, ms.
pub const WALL: i64 = 1_700_000_000_000;

pub struct Desk {
    pub hub: Hub,
    pub log: Vec<LogRow>,
    pub now: Now,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The stable word of a refusal.
    pub fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    /// The first field error, in words: field, what was expected, what came, hint.
    pub fn error(&self) -> [&str; 4] {
        let error = &self.body["errors"][0];
        ["field", "expected", "got", "hint"].map(|key| error[key].as_str().unwrap_or_default())
    }
}

fn config() -> Config {
    Config {
        hub_id: "hub".to_owned(),
        lease_ms: 30_000,
        reclaim_ms: 300_000,
    }
}

impl Desk {
    pub fn new() -> Self {
        let now = Now {
            wall: WALL,
            mono: 0,
        };
        let mut hub = Hub::new(config());
        hub.start(now);
        Self {
            hub,
            log: Vec::new(),
            now,
        }
    }

    /// One with a namespace `ns` of this schema.
    pub fn with_schema(schema: Value) -> Self {
        let mut desk = Self::new();
        desk.register("ns", json!({"schema": schema}));
        desk
    }

    /// The same log, read by a Hub that starts now.
    pub fn restart(&mut self) {
        let mut hub = Hub::new(config());
        let controls: Vec<LogRow> = self
            .log
            .iter()
            .filter(|r| r.flags & 1 == 1)
            .cloned()
            .collect();
        hub.preload(&controls).unwrap();
        hub.replay(&self.log).unwrap();
        hub.start(self.now);
        self.hub = hub;
    }

    /// Sends a request; a refusal must leave nothing behind.
    pub fn send(&mut self, verb: &str, query: &str, body: &[u8]) -> Answer {
        let before = self.hub.last_seq();
        let input = Input {
            token: 1,
            verb,
            query,
            body,
            who: "",
        };
        let turn = self.hub.step(&[input], self.now, &[]).unwrap();
        self.log.extend(turn.rows);
        let mut build = turn.build_from;
        while build.is_some() {
            build = self.hub.step(&[], self.now, &self.log).unwrap().build_from;
        }
        let [reply] = turn.replies.as_slice() else {
            panic!("{} replies", turn.replies.len());
        };
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        if reply.status >= 400 {
            assert_eq!(
                self.hub.last_seq(),
                before,
                "a refusal leaves nothing behind"
            );
            for member in ["type", "title", "status", "detail", "code"] {
                assert!(
                    !body[member].is_null(),
                    "a problem document has `{member}`: {body}"
                );
            }
        }
        Answer {
            status: reply.status,
            body,
        }
    }

    pub fn control(&mut self, body: &Value) -> Answer {
        self.send("control", "", body.to_string().as_bytes())
    }

    /// Registers a namespace, which must be taken.
    pub fn register(&mut self, ns_id: &str, spec: Value) {
        let answer = self.control(&namespace(ns_id, spec));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// Offers one event of namespace `ns`.
    pub fn offer(&mut self, kind: &str, ctx: Value, spec: Value) -> Answer {
        let mut all = json!({"ns_id": "ns"});
        all.as_object_mut()
            .unwrap()
            .extend(ctx.as_object().unwrap().clone());
        self.ingest(&[json!({"kind": kind, "payload": {"ctx": all, "spec": spec}})])
    }

    pub fn ingest(&mut self, events: &[Value]) -> Answer {
        self.send(
            "ingest",
            "",
            json!({"events": events}).to_string().as_bytes(),
        )
    }

    /// The newest event as it stands in the log.
    pub fn newest(&self) -> Value {
        let body: Value = serde_json::from_slice(&self.log.last().unwrap().body).unwrap();
        body["events"].as_array().unwrap().last().unwrap().clone()
    }

    /// The spec of the newest event as it stands in the log.
    pub fn stored(&self) -> Value {
        self.newest()["payload"]["spec"].clone()
    }
}

/// A registration of a namespace.
pub fn namespace(ns_id: &str, spec: Value) -> Value {
    json!({"type": "RegisterNamespace", "ns_id": ns_id, "spec": spec})
}

/// A registration of a generator.
pub fn generator(gid: &str, spec: Value) -> Value {
    json!({"type": "RegisterGenerator", "gid": gid, "spec": spec})
}
