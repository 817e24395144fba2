//! Limits of a generator: one that passes them stops there and says so; nothing is dropped. And how many
//! jobs may be going on.

use hpc_core::logic::generator::Limits;
use serde_json::{Value, json};

use crate::desk::{Desk, generator};

const FEW: Limits = Limits {
    rows: 3,
    bytes: usize::MAX,
};

fn desk(limits: Limits) -> Desk {
    let mut desk = Desk::with_schema(json!({"Said": [{"key": "i", "expected_type": "Int"}]}));
    desk.hub.limit_generators(limits);
    let rule = json!({"on": "Said", "table": "t", "key": "$ctx.node_id", "join": {"i": {"max": "$spec.i"}}});
    let spec = json!({"namespaces": ["ns"], "rules": [rule]});
    assert_eq!(desk.control(&generator("g", spec)).status, 200);
    desk
}

fn say(desk: &mut Desk, node: usize, i: usize) -> Value {
    let ctx = json!({"ns_id": "ns", "node_id": format!("n{node}")});
    let event = json!({"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": i}}});
    desk.ingest(&[event]).body
}

fn pull(desk: &mut Desk) -> Value {
    desk.send("pull", "gid=g&cursor=0", b"").body
}

#[test]
fn fault_60_a_generator_that_passes_its_rows_stops_there_and_says_so() {
    let mut desk = desk(FEW);
    for node in 0..4 {
        assert!(pull(&mut desk)["failed"].is_null());
        assert_eq!(say(&mut desk, node, 1)["pokes"], json!(["g"]));
    }
    let failed_at = desk.hub.last_seq();
    assert_eq!(say(&mut desk, 9, 1)["pokes"], json!([]));
    assert_eq!(
        say(&mut desk, 0, 7)["pokes"],
        json!([]),
        "what it has is as it was then"
    );
    let told = pull(&mut desk);
    assert_eq!(told["failed"], true);
    assert_eq!(told["cursor"], failed_at, "it says how far it has come");
    let rows = told["facts"]["t"].as_object().unwrap();
    assert_eq!(rows.len(), 4, "no row was dropped");
    assert_eq!(rows["n0"]["i"], 1);
}

#[test]
fn raised_limits_and_a_restart_build_it_anew() {
    let mut desk = desk(FEW);
    for node in 0..6 {
        say(&mut desk, node, node);
    }
    assert_eq!(pull(&mut desk)["failed"], true);
    desk.restart();
    let told = pull(&mut desk);
    assert!(told["failed"].is_null(), "the default is a greater one");
    assert_eq!(told["facts"]["t"].as_object().unwrap().len(), 6);
}

#[test]
fn a_generator_that_passes_its_bytes_stops_as_well() {
    let mut desk = desk(Limits {
        rows: usize::MAX,
        bytes: 10_000,
    });
    let mut told = Value::Null;
    for node in 0..3_000 {
        say(&mut desk, node, 1);
        told = pull(&mut desk);
        if told["failed"] == true {
            break;
        }
    }
    assert_eq!(told["failed"], true);
    assert_eq!(told["cursor"].as_u64().unwrap() % 1_024, 0);
}

#[test]
fn one_that_keeps_less_takes_the_place_of_one_that_has_failed() {
    let mut desk = desk(FEW);
    for node in 0..6 {
        say(&mut desk, node, node);
    }
    assert_eq!(pull(&mut desk)["failed"], true);
    let rule = json!({"on": "Said", "table": "t", "key": "all", "join": {"i": {"max": "$spec.i"}}});
    let mut request = generator("g", json!({"namespaces": ["ns"], "rules": [rule]}));
    request["replace"] = json!(1);
    assert_eq!(desk.control(&request).status, 200);
    let told = pull(&mut desk);
    assert!(told["failed"].is_null(), "{told}");
    assert_eq!(told["facts"]["t"], json!({"all": {"i": 5}}));
}

fn submit(job_id: &str) -> Value {
    json!({"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "ns", "job_id": job_id}, "spec": {}}})
}

fn end(job_id: &str) -> Value {
    json!({"kind": "CancelJob", "payload": {"ctx": {"job_id": job_id}, "spec": {}}})
}

/// A loop that submits without end is refused before it has all memory; what ends makes room, what is
/// forgotten has made it already, and everything else is taken meanwhile.
#[test]
fn more_jobs_than_may_be_going_on_are_refused_until_some_have_ended() {
    let mut desk = Desk::with_schema(json!({"SubmitJob": []}));
    desk.hub.limit_jobs(3);
    assert_eq!(desk.ingest(&["a", "b", "c"].map(submit)).status, 200);
    for _ in 0..2 {
        assert_eq!(desk.ingest(&[submit("d")]).code(), (429, "too_many_jobs"));
        desk.restart();
        desk.hub.limit_jobs(3);
    }
    let too_many = [end("a"), submit("d"), submit("e")];
    assert_eq!(desk.ingest(&too_many).code(), (429, "too_many_jobs"));
    assert_eq!(
        desk.hub.state().jobs.going_on_len(),
        3,
        "nothing of it was recorded"
    );
    assert_eq!(desk.ingest(&[end("a"), end("b")]).status, 200);
    assert_eq!(desk.ingest(&["d", "e"].map(submit)).status, 200);
    assert_eq!(desk.ingest(&[submit("f")]).code(), (429, "too_many_jobs"));
    let forget = json!({"kind": "ForgetJob", "payload": {"ctx": {"job_id": "a"}, "spec": {}}});
    assert_eq!(desk.ingest(&[forget]).status, 200);
    assert_eq!(desk.hub.state().jobs.going_on_len(), 3);
    desk.restart();
    assert_eq!(desk.hub.state().jobs.going_on_len(), 3);
}

/// Whoever may run tasks may name nodes, and each is kept for good; those that are known go on.
#[test]
fn more_nodes_than_may_be_known_are_refused() {
    let mut desk = Desk::with_schema(json!({"SubmitJob": []}));
    desk.hub.limit_nodes(2);
    let claim = |node: &str, n: u32| {
        let offer = json!({"node_id": node, "host": "h", "place": node, "session": "s", "epoch": 1,
            "n": n, "ns": ["ns"], "resources": {"cpus": 1}, "max": 1, "wait": 0});
        offer.to_string().into_bytes()
    };
    for node in ["a", "b"] {
        assert_eq!(desk.send("claim", "", &claim(node, 1)).status, 200);
    }
    let refused = desk.send("claim", "", &claim("c", 1));
    assert_eq!(refused.code(), (429, "too_many_nodes"));
    assert_eq!(desk.hub.state().nodes.len(), 2);
    assert_eq!(desk.send("claim", "", &claim("a", 2)).status, 200);
}
