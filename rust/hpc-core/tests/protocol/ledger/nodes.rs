//! What the log tells of nodes over time: who may be given up when, and who must be told to end.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct NodeTimes {
    pub(super) epoch: u64,
    pub(super) lease: i64,
    /// When the newest claim of the epoch came.
    pub(super) heard: i64,
    pub(super) newest_n: i64,
    pub(super) place: String,
    /// Whether it has said that it ended all it ran.
    pub(super) has_left: bool,
    /// When it was committed as lost, and whether on request.
    pub(super) lost: Option<(i64, bool)>,
}

/// The newest word on draining of a node, by its stamp.
#[derive(Clone, Debug, Default)]
pub(super) struct Drain {
    pub(super) stamp: (i64, i64),
    pub(super) deadline: Option<i64>,
}

impl Ledger {
    pub(super) fn hear(&mut self, claim: &Value, now: i64) {
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

    /// P13: no attempt is given up while its relay holds it and its lease lives.
    pub(super) fn check_loss(&self, ctx: &Value, row: &[Value], claims: &[Value], now: i64) {
        let id = text(ctx, "node_id");
        let joined = row.iter().find(|event| {
            text(event, "kind") == "NodeJoined" && text(&event["payload"]["ctx"], "node_id") == id
        });
        // P5: whoever gives it up, what must never overlap is lost once the fence of its relay has come.
        let node = &self.nodes[id];
        let is_fenced = now >= node.heard.max(self.hub_started) + node.lease;
        let is_elsewhere =
            joined.is_none_or(|joined| joined["payload"]["spec"]["place"] != *node.place);
        let stops = self.terms[text(ctx, "job_id")].stops;
        assert!(
            !stops || is_fenced || node.has_left || !is_elsewhere,
            "P5: {ctx} must never overlap, and its relay may live"
        );
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
        assert!(
            on_request || stops || is_due,
            "finish: {ctx} is given up before its time"
        );
    }

    pub(super) fn apply_to_node(
        &mut self,
        kind: &str,
        ctx: &Value,
        spec: &Value,
        now: i64,
        is_own: bool,
    ) {
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
                    place: text(spec, "place").to_owned(),
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
            "NodeLeft" if epoch == node.epoch => {
                node.lost = Some((now, true));
                node.has_left = true;
            }
            _ => {}
        }
    }

    /// Whether a node has ever joined.
    pub fn has_joined(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|node| node.epoch > 0)
    }

    pub(super) fn note_drain(&mut self, event: &Value) {
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
}

/// The claims of a turn that were not refused.
pub(super) fn served_claims(inputs: &[Input<'_>], turn: &Turn) -> Vec<Value> {
    let claims = inputs.iter().filter(|input| input.verb == "claim");
    let served = claims.filter(|input| {
        let reply = turn.replies.iter().find(|reply| reply.token == input.token);
        reply.is_none_or(|reply| reply.status == 200)
    });
    served
        .map(|input| serde_json::from_slice(input.body).unwrap())
        .collect()
}
