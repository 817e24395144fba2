//! Tokens: what each may send, of which namespaces and nodes, and that the log keeps them.

use super::desk::*;
use hpc_core::domain::entry::{Body, events_page};
use hpc_core::logic::hub::{Hub, Input};
use serde_json::{Value as Json, json};

const ADMIN: &str = "access admin ::1";

fn send(desk: &mut Desk, who: &str, verb: &str, body: &Json) -> (u16, Json) {
    let body = body.to_string();
    let input = Input {
        token: 1,
        verb,
        query: "",
        body: body.as_bytes(),
        who,
    };
    let mut turn = desk.hub.step(&[input], desk.now, &[]).unwrap();
    desk.log.append(&mut turn.rows);
    let reply = turn.replies.remove(0);
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

fn make(desk: &mut Desk, id: &str, more: Json) -> (u16, Json) {
    let mut spec = json!({"sha256": "ab".repeat(32)});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let request = json!({"type": "RegisterToken", "token_id": id, "spec": spec});
    send(desk, ADMIN, "control", &request)
}

fn revoke(desk: &mut Desk, id: &str) -> (u16, Json) {
    let request = json!({"type": "RevokeToken", "token_id": id, "spec": {}});
    send(desk, ADMIN, "control", &request)
}

/// Whoever has a stolen token is told of no job that comes after its end, also by a claim that waits.
#[test]
fn fault_62_a_claim_that_waits_ends_with_its_token() {
    let mut desk = desk();
    make(&mut desk, "r", json!({"role": "relay"}));
    let offer = json!({"node_id": "n1", "host": "h", "place": "p", "session": "s", "epoch": 1,
        "n": 1, "ns": ["work"], "resources": {"cpus": 1}, "max": 1, "wait": 5});
    let ended = json!({"type": "RevokeToken", "token_id": "r", "spec": {}});
    let [offer, ended] = [offer, ended].map(|body| body.to_string());
    let mut step = |token, verb, body: &str, who| {
        let (query, body) = ("", body.as_bytes());
        let input = Input {
            token,
            verb,
            query,
            body,
            who,
        };
        desk.hub.step(&[input], desk.now, &[]).unwrap().replies
    };
    assert_eq!(step(7, "claim", &offer, "r relay ::1"), []);
    let told = step(8, "control", &ended, ADMIN);
    let told: Vec<_> = told.iter().map(|one| (one.token, one.status)).collect();
    assert_eq!(told, [(7, 403), (8, 200)]);
    let job = event("SubmitJob", json!({"ns_id": "work"}), json!({})).to_string();
    let told = step(9, "ingest", &job, ADMIN);
    assert_eq!(told.len(), 1, "nobody is leased it");
}

fn event(kind: &str, ctx: Json, spec: Json) -> Json {
    json!({"events": [{"kind": kind, "payload": {"ctx": ctx, "spec": spec}}]})
}

fn submit(desk: &mut Desk, who: &str, ns: &str) -> (u16, Json) {
    send(
        desk,
        who,
        "ingest",
        &event("SubmitJob", json!({"ns_id": ns}), json!({})),
    )
}

fn claim(desk: &mut Desk, who: &str, node: &str, epoch: u32, n: u32) -> (u16, Json) {
    let offer = json!({"node_id": node, "host": "h", "place": "p", "session": format!("s{epoch}"),
        "epoch": epoch, "n": n, "ns": ["work"], "resources": {"cpus": 1}, "max": 1, "wait": 0});
    send(desk, who, "claim", &offer)
}

/// A Hub with two namespaces, `work` and `other`.
fn desk() -> Desk {
    let mut desk = Desk::new();
    for ns in ["work", "other"] {
        let spec = json!({"schema": {"SubmitJob": [], "Sample": [], "Note": []},
            "by": {"Sample": "monitor"}});
        let request = json!({"type": "RegisterNamespace", "ns_id": ns, "spec": spec});
        assert_eq!(send(&mut desk, "", "control", &request).0, 200);
    }
    desk
}

fn code(answer: &(u16, Json)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

const DENIED: (u16, &str) = (403, "not_allowed");

#[test]
fn a_role_sends_its_own_kinds_alone() {
    let mut desk = desk();
    for role in ["submit", "relay", "monitor", "read", "admin"] {
        assert_eq!(make(&mut desk, role, json!({"role": role})).0, 200);
    }
    let lease = json!({"job_id": "1", "tasks": "0", "attempt": 1, "node_id": "n", "epoch": 1});
    let ns = json!({"ns_id": "work", "node_id": "n"});
    let sent = [
        (
            event(
                "SubmitJob",
                json!({"ns_id": "work", "job_id": "a"}),
                json!({}),
            ),
            "submit",
        ),
        (event("Note", json!({"ns_id": "work"}), json!({})), "submit"),
        (event("Sample", ns, json!({})), "monitor"),
        (
            event("JobFinished", lease, json!({"exit_code": 0})),
            "relay",
        ),
        (
            event("NodeLost", json!({"node_id": "n"}), json!({})),
            "admin",
        ),
    ];
    for (batch, sender) in &sent {
        for role in ["submit", "relay", "monitor", "read", "admin"] {
            let answer = send(&mut desk, &format!("{role} {role} ::1"), "ingest", batch);
            let may = [*sender, "admin"].contains(&role);
            assert_eq!(answer.0 != 403, may, "{role} {batch}: {}", answer.1);
        }
    }
    let own = event("JobClaimed", json!({"ns_id": "work"}), json!({}));
    assert_eq!(code(&send(&mut desk, ADMIN, "ingest", &own)), DENIED);
    for (batch, hint) in [
        (
            &sent[3].0,
            "send it with a token of role `relay` or `admin`",
        ),
        (&sent[4].0, "send it with a token of role `admin`"),
    ] {
        let answer = send(&mut desk, "submit submit ::1", "ingest", batch);
        assert_eq!(answer.1["hint"], hint);
    }
}

#[test]
fn a_token_that_nobody_made_or_that_is_over_sends_nothing() {
    let mut desk = desk();
    assert_eq!(code(&submit(&mut desk, "x submit ::1", "work")), DENIED);
    make(&mut desk, "x", json!({"role": "submit"}));
    assert_eq!(submit(&mut desk, "x submit ::1", "work").0, 200);
    for who in [
        "x admin ::1",
        "access submit ::1",
        "x king ::1",
        "x",
        "other admin ::1",
    ] {
        assert_eq!(code(&submit(&mut desk, who, "work")), DENIED, "{who}");
    }
    assert_eq!(revoke(&mut desk, "x").0, 200);
    assert_eq!(code(&submit(&mut desk, "x submit ::1", "work")), DENIED);
    let until = desk.now.wall + 10;
    make(
        &mut desk,
        "y",
        json!({"role": "submit", "expires_at": until}),
    );
    assert_eq!(submit(&mut desk, "y submit ::1", "work").0, 200);
    desk.now.wall = until;
    assert_eq!(code(&submit(&mut desk, "y submit ::1", "work")), DENIED);
}

#[test]
fn a_token_of_a_namespace_sends_in_no_other() {
    let mut desk = desk();
    make(
        &mut desk,
        "s",
        json!({"role": "submit", "namespaces": ["work"]}),
    );
    make(
        &mut desk,
        "r",
        json!({"role": "relay", "namespaces": ["other"]}),
    );
    assert_eq!(submit(&mut desk, "s submit ::1", "work").0, 200);
    let denied = submit(&mut desk, "s submit ::1", "other");
    assert_eq!(code(&denied), DENIED);
    assert_eq!(denied.1["field"], "ctx.ns_id");
    // A request about a job is of the job's namespace, whether or not it says so.
    let job = submit(&mut desk, ADMIN, "other").1["jobs"][0].clone();
    let cancel = event("CancelJob", json!({"job_id": job}), json!({}));
    assert_eq!(
        code(&send(&mut desk, "s submit ::1", "ingest", &cancel)),
        DENIED
    );
    assert_eq!(code(&claim(&mut desk, "r relay ::1", "n", 1, 0)), DENIED);
}

#[test]
fn a_relay_speaks_for_the_nodes_that_joined_by_its_token() {
    let mut desk = desk();
    for id in ["a", "b"] {
        make(&mut desk, id, json!({"role": "relay"}));
    }
    make(&mut desk, "m", json!({"role": "relay", "nodes": ["m"]}));
    let (a, b) = ("a relay ::1", "b relay ::1");
    submit(&mut desk, ADMIN, "work");
    let granted = claim(&mut desk, a, "n", 1, 0);
    assert_eq!(granted.1["grants"][0]["job_id"], "1", "{}", granted.1);
    assert_eq!(code(&claim(&mut desk, b, "n", 2, 0)), DENIED);
    assert_eq!(code(&claim(&mut desk, "m relay ::1", "n2", 1, 0)), DENIED);
    assert_eq!(claim(&mut desk, "m relay ::1", "m", 1, 0).0, 200);

    let drained = event("NodeDrained", json!({"node_id": "n"}), json!({}));
    assert_eq!(code(&send(&mut desk, b, "ingest", &drained)), DENIED);
    assert_eq!(send(&mut desk, a, "ingest", &drained).0, 200);
    let ctx = json!({"job_id": "1", "tasks": "0", "attempt": 1, "node_id": "n", "epoch": 1});
    let finished = event("JobFinished", ctx, json!({"exit_code": 0}));
    let denied = send(&mut desk, b, "ingest", &finished);
    assert_eq!(
        (code(&denied), &denied.1["field"]),
        (DENIED, &json!("ctx.node_id"))
    );
    // Once its token is over, the node is another's; its reports are taken from there.
    revoke(&mut desk, "a");
    assert_eq!(code(&send(&mut desk, a, "ingest", &finished)), DENIED);
    assert_eq!(claim(&mut desk, b, "n", 2, 0).0, 200);
    assert_eq!(send(&mut desk, b, "ingest", &finished).0, 200);
    // An administrator's node is nobody's else while it is up.
    assert_eq!(claim(&mut desk, ADMIN, "k", 1, 0).0, 200);
    assert_eq!(code(&claim(&mut desk, b, "k", 2, 0)), DENIED);
    let left = event("NodeLeft", json!({"node_id": "k", "epoch": 1}), json!({}));
    assert_eq!(code(&send(&mut desk, b, "ingest", &left)), DENIED);
    assert_eq!(send(&mut desk, ADMIN, "ingest", &left).0, 200);
    assert_eq!(claim(&mut desk, b, "k", 2, 0).0, 200);
}

#[test]
fn a_token_is_made_once_and_by_the_rules() {
    let mut desk = desk();
    let spec = json!({"role": "submit", "label": "nightly"});
    assert_eq!(make(&mut desk, "x", spec.clone()).1["duplicate"], false);
    assert_eq!(make(&mut desk, "x", spec).1["duplicate"], true);
    let other = make(&mut desk, "x", json!({"role": "admin"}));
    assert_eq!(code(&other), (409, "token_conflict"));
    assert_eq!(code(&revoke(&mut desk, "none")), (404, "unknown_token"));
    assert_eq!(revoke(&mut desk, "x").1["duplicate"], false);
    assert_eq!(revoke(&mut desk, "x").1["duplicate"], true);
    for (id, more, field) in [
        ("access", json!({"role": "admin"}), "token_id"),
        ("y", json!({}), "spec.role"),
        ("y", json!({"role": "king"}), "spec.role"),
        (
            "y",
            json!({"role": "admin", "namespaces": ["work"]}),
            "spec.namespaces",
        ),
        (
            "y",
            json!({"role": "submit", "namespaces": []}),
            "spec.namespaces",
        ),
        ("y", json!({"role": "submit", "nodes": ["n"]}), "spec.nodes"),
        (
            "y",
            json!({"role": "submit", "sha256": "AB"}),
            "spec.sha256",
        ),
        (
            "y",
            json!({"role": "submit", "expires_at": -1}),
            "spec.expires_at",
        ),
        ("y", json!({"role": "submit", "more": 1}), "spec.more"),
    ] {
        let refused = make(&mut desk, id, more);
        assert_eq!(
            (refused.0, &refused.1["errors"][0]["field"]),
            (422, &json!(field))
        );
    }
    // What a namespace may not have as a kind of its own cannot be smuggled in as one.
    for kind in ["RegisterToken", "RevokeToken"] {
        let spec = json!({"schema": {kind: []}});
        let request = json!({"type": "RegisterNamespace", "ns_id": "sly", "spec": spec});
        assert_eq!(send(&mut desk, ADMIN, "control", &request).0, 422);
        let sly = event(
            kind,
            json!({"ns_id": "work"}),
            json!({"token_id": "y", "spec": {}}),
        );
        assert_eq!(send(&mut desk, ADMIN, "ingest", &sly).0, 422);
    }
}

#[test]
fn the_log_says_who_sent_a_batch_and_nobody_where_it_is_the_hubs() {
    let mut desk = desk();
    make(&mut desk, "s", json!({"role": "submit"}));
    submit(&mut desk, "s submit 10.0.0.7", "work");
    claim(&mut desk, ADMIN, "n", 1, 0);
    let who: Vec<Option<String>> = desk
        .log
        .iter()
        .map(|row| Body::decode(&row.body).unwrap().who)
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let wanted = [
        None,
        None,
        some(ADMIN),
        some("s submit 10.0.0.7"),
        some(ADMIN),
        None,
    ];
    assert_eq!(who, wanted);
    let page = events_page(&desk.log, 3, 10, 6).unwrap();
    let page: Json = serde_json::from_slice(&page).unwrap();
    let by = json!({"token": "s", "role": "submit", "from": "10.0.0.7"});
    assert_eq!(page["data"][0]["by"], by);
    assert!(page["data"][2].get("by").is_none());
}

#[test]
fn tokens_are_in_a_snapshot_as_in_a_replay() {
    let mut desk = desk();
    make(&mut desk, "a", json!({"role": "relay"}));
    make(
        &mut desk,
        "s",
        json!({"role": "submit", "namespaces": ["work"]}),
    );
    claim(&mut desk, "a relay ::1", "n", 1, 0);
    make(&mut desk, "gone", json!({"role": "submit"}));
    revoke(&mut desk, "gone");
    let config = hpc_core::logic::hub::Config {
        hub_id: desk.hub.state().hub_id.to_string(),
        lease_ms: 30_000,
        reclaim_ms: 300_000,
    };
    let mut replayed = Hub::new(config.clone());
    replayed.preload(&desk.log).unwrap();
    replayed.replay(&desk.log).unwrap();
    let snapshot = desk.hub.snapshot();
    assert!(replayed.snapshot() == snapshot);
    let mut restored = Hub::new(config);
    restored.restore(&snapshot).unwrap();
    assert!(restored.snapshot() == snapshot);
    desk.hub = restored;
    desk.hub.start(desk.now);
    assert_eq!(code(&submit(&mut desk, "gone submit ::1", "work")), DENIED);
    assert_eq!(code(&submit(&mut desk, "s submit ::1", "other")), DENIED);
    assert_eq!(submit(&mut desk, "s submit ::1", "work").0, 200);
    let drained = event("NodeDrained", json!({"node_id": "n"}), json!({}));
    assert_eq!(send(&mut desk, "a relay ::1", "ingest", &drained).0, 200);
}
